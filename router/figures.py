"""The numbers that people set limits for, from plain counts: rates, quantiles, shares, means. Pure.

Failures of a variant are `error`, `timeout`, `nonfinite` and `shed`, out of these and `ok`. What the client caused,
cancelled, or lost with a worker that another version killed, and what was diverted before it was tried, is in neither.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from router.checks import Check
from router.verdict import VerdictKind

Cells = tuple[int, ...]

# Cells of `layout.Outcome`; a test holds both together.
OK, ERROR, TIMEOUT, NONFINITE, SHED = 0, 1, 2, 3, 6
FAILURES: Final = (ERROR, TIMEOUT, NONFINITE, SHED)

LATENCY_EDGES_SECONDS: Final = tuple(round(20 * 1.1**step) / 1e6 for step in range(157))
"""Upper edges of the latency buckets: 20 µs to 60 s, each 10 % above the one before."""


@dataclass(frozen=True, slots=True)
class Family:
    """A watched output: a cell each label (class), or each edge, one above, and one for what is not finite."""

    cells: Cells
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """What one variant did. `plain`: cells by family (outcome, latency, pairs, sampled, fallback); `families`: watched
    outputs by `kind:output`, a row a request."""

    plain: Mapping[str, Cells] = field(default_factory=dict)
    families: Mapping[str, Family] = field(default_factory=dict)

    def cells(self, name: str, least: int = 0) -> Cells:
        """The cells of a plain family, at least so many."""
        found = self.plain.get(name, ())
        return found + (0,) * (least - len(found))

    @property
    def ended(self) -> int:
        """Requests that succeeded or failed by the variant itself."""
        outcomes = self.cells("outcome", SHED + 1)
        return outcomes[OK] + sum(outcomes[cell] for cell in FAILURES)

    @property
    def pairs(self) -> int:
        """Mirrored requests whose answer was compared with stable's."""
        return sum(self.cells("pairs"))


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number, or why there is none (`kind` no_data or error). `requests`: that it rests on, None: not known.

    `low`, `high`: between which the exact number lies, where counts are cut into buckets.
    """

    value: float | None = None
    requests: int | None = None
    kind: VerdictKind = VerdictKind.NO_DATA
    reason: str = ""
    low: float | None = None
    high: float | None = None


def no_data(reason: str, requests: int | None = 0) -> Measurement:
    """There is nothing yet."""
    return Measurement(requests=requests, reason=reason)


def failed(reason: str) -> Measurement:
    """It could not be measured."""
    return Measurement(kind=VerdictKind.ERROR, reason=reason)


def figure(check: Check, counts: Counts) -> Measurement:
    """The number that a check of source `counts` asks for, of one variant."""
    if check.metric in _QUANTILES:
        return _latency(counts, _QUANTILES[check.metric])
    if check.metric == "class_share":
        return _class_share(counts, check.label)
    measure = _FIGURES.get(check.metric)
    return failed(f"there is no metric {check.metric!r}") if measure is None else measure(counts)


def quantile(cells: Cells, q: float) -> tuple[float, float, float]:
    """(low, value, high) of a quantile in seconds: the edges of its bucket, and the place within it by its rank.

    The exact quantile lies between the edges, so the value is off by at most a tenth; above 60 s it is 60 s and high is
    infinite.
    """
    rank, below = max(1, math.ceil(q * sum(cells))), 0
    for at, upto in enumerate(accumulate(cells)):
        if upto >= rank:
            low = LATENCY_EDGES_SECONDS[at - 1] if at else 0.0
            if at >= len(LATENCY_EDGES_SECONDS):
                return low, low, math.inf
            high = LATENCY_EDGES_SECONDS[at]
            return low, low + (high - low) * (rank - below) / cells[at], high
        below = upto
    return 0.0, 0.0, math.inf


def _latency(counts: Counts, q: float) -> Measurement:
    cells = counts.cells("latency")
    requests = sum(cells)
    if not requests:
        return no_data("no request has been timed yet")
    low, value, high = quantile(cells, q)
    return Measurement(value, requests, low=low, high=high)


def _rate(part: int, whole: int, what: str) -> Measurement:
    return Measurement(part / whole, whole) if whole else no_data(f"no {what} yet")


def _error_rate(counts: Counts) -> Measurement:
    outcomes = counts.cells("outcome", SHED + 1)
    return _rate(sum(outcomes[cell] for cell in FAILURES), counts.ended, "requests")


def _fallback_rate(counts: Counts) -> Measurement:
    return _rate(min(sum(counts.cells("fallback")), counts.ended), counts.ended, "requests")


def _nonfinite_rate(counts: Counts) -> Measurement:
    """Refused answers and watched ones; the same request may be in both, so the larger number stands for both."""
    watched = [family.cells[-1] for name, family in counts.families.items() if not name.startswith("class:")]
    found = max([counts.cells("outcome", SHED + 1)[NONFINITE], *watched])
    return _rate(min(found, counts.ended), counts.ended, "requests")


def _requests(counts: Counts) -> Measurement:
    return Measurement(float(counts.ended), counts.ended)


def _flip_rate(counts: Counts) -> Measurement:
    return _rate(counts.cells("pairs", 2)[1], counts.pairs, "mirrored requests")


def _drop_rate(counts: Counts) -> Measurement:
    given, dropped = counts.cells("sampled", 2)[:2]
    return _rate(dropped, given + dropped, "requests sampled for the mirror")


def _class_share(counts: Counts, label: str) -> Measurement:
    classes = [family for name, family in counts.families.items() if name.startswith("class:")]
    if not classes:
        return no_data("no class has been predicted yet")
    for family in classes:
        if label in family.labels:
            return _rate(family.cells[family.labels.index(label)], sum(family.cells), "predictions")
    known = ", ".join(classes[0].labels[:10])
    return failed(f"no watched output has the class {label!r}; there are {known}")


def _mean_confidence(counts: Counts) -> Measurement:
    """Each bin counts as its middle; low and high are the means if all lay at its ends. Probabilities are 0 to 1."""
    family = next((found for name, found in counts.families.items() if name.startswith("confidence:")), None)
    cells = family.cells[:-1] if family is not None else ()
    requests = sum(cells)
    if family is None or not requests:
        return no_data("no confidence has been seen yet")
    edges = [min(1.0, max(0.0, edge)) for edge in family.edges]
    lows, highs = [0.0, *edges], [*edges, 1.0]
    low, high = (sum(n * at for n, at in zip(cells, ends, strict=True)) / requests for ends in (lows, highs))
    return Measurement((low + high) / 2, requests, low=low, high=high)


_QUANTILES: Final = {"latency_p50_seconds": 0.5, "latency_p95_seconds": 0.95, "latency_p99_seconds": 0.99}
_FIGURES: Final[Mapping[str, Callable[[Counts], Measurement]]] = {
    "error_rate": _error_rate,
    "fallback_rate": _fallback_rate,
    "nonfinite_rate": _nonfinite_rate,
    "mean_confidence": _mean_confidence,
    "requests": _requests,
    "shadow_flip_rate": _flip_rate,
    "shadow_drop_rate": _drop_rate,
}
