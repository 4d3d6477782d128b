"""Where a number lies in a JSON document: a small, fixed path syntax. Pure.

`data.rates[0].error`, `$.data`, `["name with.dots"]`, `[-1]` (the last one). Names without quotes are letters, digits,
`_` and `-`. There are no wildcards, filters or functions.
"""

import json
import math
import re
from typing import Any, Final

from router.errors import InvalidArgument
from router.figures import Measurement, failed, no_data

MAX_PARTS: Final = 32
_PART: Final = re.compile(
    r"""\.?(?P<name>[A-Za-z0-9_-]+)|\[(?P<index>-?[0-9]{1,9})\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]"""
)

Path = tuple[str | int, ...]


def parse_path(text: str) -> Path:
    """The names and indices of a path; () is the document itself. Raises InvalidArgument that shows where it ends."""
    rest = text.strip().removeprefix("$")
    parts: list[str | int] = []
    at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        # Names are joined by dots: `a.b`, but neither `a..b` nor `[0]b`.
        bare = match is not None and match["name"] is not None and not match[0].startswith(".")
        if match is None or (bare and at > 0):
            raise InvalidArgument(f"not a path such as `data.rates[0].error`, at {rest[at : at + 20]!r}")
        parts.append(_part(match))
        at = match.end()
    if len(parts) > MAX_PARTS:
        raise InvalidArgument(f"a path has at most {MAX_PARTS} parts")
    return tuple(parts)


def number_at(document: Any, path: Path) -> Measurement:
    """The number there, or a text that is one. `null`, NaN and a list that is too short are no data; else an error."""
    found, walked = document, "the answer"
    for part in path:
        if found is None:
            return no_data(f"{walked} is null", None)
        if isinstance(part, int) and isinstance(found, list):
            if not -len(found) <= part < len(found):
                return no_data(f"{walked} has no element {part}", None)
        elif not (isinstance(part, str) and isinstance(found, dict) and part in found):
            return failed(f"{walked} has no {part!r}")
        found, walked = found[part], f"{walked}[{json.dumps(part)}]"
    return _number(found, walked)


def _part(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    if match["name"] is not None:
        return match["name"]
    try:
        return str(json.loads(match["quoted"]))
    except ValueError as error:
        raise InvalidArgument(f"not a JSON text: {match['quoted']}") from error


def _number(found: Any, walked: str) -> Measurement:
    if found is None:
        return no_data(f"{walked} is null", None)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return failed(f"{walked} is no number")
    try:
        value = float(found)
    except (ValueError, OverflowError):
        return failed(f"{walked} is no number")
    return no_data(f"{walked} is NaN", None) if math.isnan(value) else Measurement(value)
