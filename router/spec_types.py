"""The kinds of values that a rollout's document is made of: times, percent, names, counts."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StrictFloat, StrictInt, WithJsonSchema

from router.amounts import DURATION_PATTERN, seconds_of
from router.errors import InvalidArgument
from router.names import NAME_RULE, is_name
from router.routes import percent_to_ppm, ppm_to_percent


def _seconds(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a time such as 30s, 10m, 2h or 7d")
    try:
        return seconds_of(value)
    except InvalidArgument as error:
        raise ValueError(error.message) from error


def _ppm(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a percentage such as 12.5")
    try:
        return percent_to_ppm(value)
    except InvalidArgument as error:
        raise ValueError(error.message) from error


def _named(value: str) -> str:
    if not is_name(value):
        raise ValueError(NAME_RULE)
    return value


_DURATION = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}]}
_PERCENT = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 100}, {"type": "string"}]}

Duration = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_DURATION)]
Percent = Annotated[
    int,
    BeforeValidator(_ppm),
    PlainSerializer(lambda ppm: float(ppm_to_percent(ppm))),
    WithJsonSchema(_PERCENT),
]
"""Percent outside, parts per million inside."""
Name = Annotated[str, AfterValidator(_named), Field(max_length=128)]
Version = Annotated[StrictInt, Field(ge=1)] | Annotated[str, Field(min_length=1, max_length=128)]
Header = Annotated[str, Field(min_length=1, max_length=128)]
Value = Annotated[str, Field(max_length=1024)]
Requests = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]
Number = StrictFloat | StrictInt
