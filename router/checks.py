"""What a person wants to be true of a candidate, as plain values; measuring and judging them is done elsewhere."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

METRICS: Final = (
    "error_rate",
    "fallback_rate",
    "nonfinite_rate",
    "latency_p50_seconds",
    "latency_p95_seconds",
    "latency_p99_seconds",
    "mean_confidence",
    "class_share",
    "requests",
    "shadow_flip_rate",
    "shadow_drop_rate",
)
"""What Serin counts itself (source `counts`). `class_share` takes `label`; the shadow ones need a shadow step."""

COUNTS: Final = "counts"
"""The source that is always there: Serin's own counts."""

ABOVE_NOISE: Final = "shadow_flip_rate"
"""The metric that may be held against the noise floor."""

BETWEEN_LOOKS_SECONDS: Final = 10.0
EACH_TICK: Final = 0.0
"""Intervals: of those that ask others, and of those that nobody has to be asked for."""


class CheckKind(StrEnum):
    """`threshold`: a number against a limit; `hook`: a named hook that must answer 2xx; `sequential`: evidence."""

    THRESHOLD = "threshold"
    HOOK = "hook"
    SEQUENTIAL = "sequential"


class Compare(StrEnum):
    """The measured number itself, or candidate / stable, or candidate - stable."""

    VALUE = "value"
    RATIO = "ratio"
    DIFFERENCE = "difference"


class Tolerance(StrEnum):
    """Which failures are counted against `tolerate`: those in a row, or all of the step."""

    CONSECUTIVE = "consecutive"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Check:
    """`source`: `counts` or a name from the settings, which takes `query`. `tolerate` 3 fails on the 4th failure.

    `label`: the class of `class_share`. `margin` and `alpha` are for sequential checks only.
    """

    name: str
    kind: CheckKind = CheckKind.THRESHOLD
    metric: str = ""
    source: str = COUNTS
    query: str = ""
    label: str = ""
    maximum: float | None = None
    minimum: float | None = None
    compare: Compare = Compare.VALUE
    min_requests: int = 50
    tolerate: int = 0
    tolerance: Tolerance = Tolerance.CONSECUTIVE
    interval_seconds: float = BETWEEN_LOOKS_SECONDS
    margin: float | None = None
    alpha: float | None = None
