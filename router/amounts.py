"""Times as people write them: `90`, `90s`, `10m`, `2h 30m`, `7d`."""

import re
from typing import Final

from router.errors import InvalidArgument

DURATION_PATTERN: Final = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|min|m|h|d|w)\s*)+$"
LONGEST_SECONDS: Final = 366 * 86_400.0

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d|w)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def seconds_of(value: str | int | float) -> float:
    """Seconds; a bare number is seconds. Raises InvalidArgument for anything else, below 0 and above a year."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 64 or re.fullmatch(DURATION_PATTERN, text) is None:
            raise InvalidArgument("must be a time such as 30s, 10m, 2h or 7d")
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    else:
        seconds = float(value)
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise InvalidArgument("must lie between 0 and 366 days")
    return seconds
