"""Settings that Triton lets clients change and that are read only here: tracing and logging."""

import logging
from collections.abc import Mapping

from router.errors import Unimplemented
from router.names import shown

Value = str | int | bool | list[str]


def trace_settings() -> dict[str, Value]:
    """Nothing is traced."""
    return {
        "trace_file": "",
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_mode": "triton",
    }


def log_settings() -> dict[str, Value]:
    """What the setting `log_level` of Serin says, in Triton's words."""
    log = logging.getLogger("serin")
    return {
        "log_file": "",
        "log_info": log.isEnabledFor(logging.INFO),
        "log_warning": log.isEnabledFor(logging.WARNING),
        "log_error": log.isEnabledFor(logging.ERROR),
        "log_verbose_level": int(log.isEnabledFor(logging.DEBUG)),
        "log_format": "default",
    }


def require_unchanged(wanted: Mapping[str, object], settings: Mapping[str, Value]) -> None:
    """Raises Unimplemented when `wanted` would change anything. None, which resets a setting, changes nothing."""
    for name, value in wanted.items():
        if value is not None and value != settings.get(name):
            raise Unimplemented(f"{shown(name)} cannot be set here: trace and log settings are read only")
