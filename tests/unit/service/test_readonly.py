"""Settings that can be looked at."""

from typing import Any

import pytest

from router.errors import Unimplemented
from service.readonly import log_settings, require_unchanged, trace_settings


@pytest.mark.parametrize("wanted", [{}, {"trace_level": ["OFF"]}, {"trace_rate": None, "trace_file": ""}])
def test_what_is_so_already_may_be_asked_for(wanted: dict[str, Any]) -> None:
    require_unchanged(wanted, trace_settings())


@pytest.mark.parametrize("wanted", [{"trace_level": ["TIMESTAMPS"]}, {"nonsense": 1}, {"trace_rate": "1"}])
def test_a_change_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(Unimplemented, match="read only"):
        require_unchanged(wanted, trace_settings())


def test_logs_are_told_by_level() -> None:
    assert set(log_settings()) >= {"log_info", "log_error", "log_verbose_level"}
