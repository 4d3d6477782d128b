"""How far live counts lie from a reference, and whether that is more than chance: effect size first, noise gate second.

Pure; standard library only. With many requests every p-value fires, and with few every distance does, so a feature has
drifted only where both say so (statistics.md 6). Letters: n live requests, m of the reference, B bins, F features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import NormalDist
from typing import Final, Literal

FALSE_ALARMS: Final = 0.01
"""q: of one window over all features, before the second window must agree."""

WARN, ALARM = 0.1, 0.2
"""Of the PSI of numbers and of the JS distance of categories."""

DRIFTED_SHARE: Final = 0.3
"""So much of a model's features must have drifted before the whole of its inputs has."""

OUT_OF_REACH: Final = 1e9
"""In place of a noise limit where there is nothing to compare."""

LARGEST_BAD_SHARE: Final = 0.01
BAD_FACTOR: Final = 2.0

Counts = tuple[int, ...]
ValueKind = Literal["number", "category"]


class Level(StrEnum):
    """What is said of one feature in one window."""

    NO_DATA = "no_data"
    OK = "ok"
    WARN = "warn"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Distances:
    """psi: population stability index, nats. js: Jensen-Shannon distance, 0 to 1. wasserstein: in sd of the reference,
    None for categories and where there are too few edges. share_change: of the bin that changed most. noise: the PSI
    that chance alone stays below."""

    psi: float
    js: float
    wasserstein: float | None
    share_change: float
    noise: float
    live: int
    reference: int


def distances(kind: ValueKind, reference: Counts, live: Counts, edges: Sequence[float], features: int) -> Distances:
    """Of counts in the same bins. `edges`: between the first bins of a number; what lies behind them (missing values)
    has no place on the line. `features`: how many are looked at together."""
    bins = len(edges) + 1
    placed = kind == "number" and len(edges) > 1
    return Distances(
        psi=psi(reference, live),
        js=js_distance(reference, live),
        wasserstein=wasserstein(reference[:bins], live[:bins], edges) if placed else None,
        share_change=_share_change(reference, live),
        noise=noise_limit(reference, live, features),
        live=sum(live),
        reference=sum(reference),
    )


def level_of(kind: ValueKind, found: Distances) -> Level:
    """Far enough, and more than chance."""
    if not found.live or not found.reference:
        return Level.NO_DATA
    distance = found.psi if kind == "number" else found.js
    if distance < WARN or found.psi < found.noise:
        return Level.OK
    return Level.ALARM if distance >= ALARM else Level.WARN


def psi(reference: Counts, live: Counts) -> float:
    """Population stability index of counts in the same bins, half a request added to each so that none is empty."""
    total_r, total_l = (sum(counts) + 0.5 * len(counts) for counts in (reference, live))
    shares = [((r + 0.5) / total_r, (x + 0.5) / total_l) for r, x in zip(reference, live, strict=True)]
    return sum((x - r) * math.log(x / r) for r, x in shares)


def js_distance(reference: Counts, live: Counts) -> float:
    """Square root of the Jensen-Shannon divergence in bits: 0 for equal shares, 1 where no bin is shared."""
    p, q = _shares(reference), _shares(live)
    if not p or not q:
        return 0.0
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = (_bits(p, middle) + _bits(q, middle)) / 2
    return math.sqrt(max(0.0, divergence))


def wasserstein(reference: Counts, live: Counts, edges: Sequence[float]) -> float:
    """Earth mover's distance of binned numbers in sd of the reference. Values are taken to lie in the middle of their
    bin; the outer bins have no end and get the width of their neighbours to each side of that middle."""
    p, q = _shares(reference), _shares(live)
    if not p or not q:
        return 0.0
    inner = [(low + high) / 2 for low, high in pairwise(edges)]
    first, last = edges[1] - edges[0], edges[-1] - edges[-2]
    at = [edges[0] - first, *inner, edges[-1] + last]
    widths = [2 * first, *(high - low for low, high in pairwise(edges)), 2 * last]
    mean = sum(share * x for share, x in zip(p, at, strict=True))
    spread = sum(s * ((x - mean) ** 2 + w * w / 12) for s, x, w in zip(p, at, widths, strict=True))
    moved, behind = 0.0, 0.0
    for a, b, (here, there) in zip(p, q, pairwise(at), strict=False):
        behind += a - b
        moved += abs(behind) * (there - here)
    return moved / math.sqrt(spread)


def noise_limit(reference: Counts, live: Counts, features: int, q: float = FALSE_ALARMS) -> float:
    """Without drift PSI / (1/n + 1/m) is nearly chi-square with B - 1 degrees of freedom (Yurdakul 2018): its quantile
    at 1 - q/F. Bins that nobody ever fell into do not count."""
    n, m = sum(live), sum(reference)
    used = sum(1 for r, x in zip(reference, live, strict=True) if r or x)
    if not n or not m or used < 2:
        return OUT_OF_REACH
    return (1 / n + 1 / m) * chi_square_quantile(used - 1, 1.0 - q / max(1, features))


def chi_square_quantile(degrees: int, probability: float) -> float:
    """Wilson & Hilferty (1931): the cube root of a chi-square is nearly normal."""
    part = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - part + NormalDist().inv_cdf(probability) * math.sqrt(part)) ** 3


def has_drifted(drifted: int, features: int, critical: bool) -> bool:
    """Whether a model's inputs as a whole have: enough features did, or one that is marked critical."""
    return critical or (features > 0 and drifted >= DRIFTED_SHARE * features and drifted > 0)


def bad_limit(bad: int, of: int) -> float:
    """The share of bad values that is still tolerated, from a baseline of `bad` values among `of`."""
    return max(LARGEST_BAD_SHARE, BAD_FACTOR * bad / of) if of else LARGEST_BAD_SHARE


def _shares(counts: Counts) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else []


def _bits(p: Sequence[float], middle: Sequence[float]) -> float:
    return sum(a * math.log2(a / c) for a, c in zip(p, middle, strict=True) if a > 0)


def _share_change(reference: Counts, live: Counts) -> float:
    pairs = zip(_shares(reference), _shares(live), strict=False)
    return max((abs(a - b) for a, b in pairs), default=0.0)
