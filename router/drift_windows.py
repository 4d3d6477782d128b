"""Tumbling windows over what is watched of a model: (what was known, counts, now) -> what is known, and what changed.

A window closes with enough requests and enough time, else it widens. Drift is claimed when two windows in a row say so,
and taken back when two in a row do not; bad values are claimed as soon as chance cannot explain them, and taken back by
a whole window without. Pure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import sub
from typing import Final, Literal

from router.drift import (
    FALSE_ALARMS,
    Counts,
    Distances,
    Level,
    ValueKind,
    bad_limit,
    distances,
    has_drifted,
    level_of,
)
from router.families import bernoulli_llr, rates_above
from router.wealth import log_mean_exp

Side = Literal["input", "output"]
Key = str
"""Side and name of a subject: "input/age"."""

IN_A_ROW: Final = 2
LARGEST_LIMIT: Final = 0.85
"""Where more than that is tolerated nothing can be worse enough to be claimed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a window closes."""

    requests: int = 1000
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Bad:
    """How many values were bad in one way, for ever; and in the reference, of how many."""

    word: str
    count: int
    baseline: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Subject:
    """One feature or output: its counts for ever, in bins. `version`: of an output, since each version's differ."""

    side: Side
    name: str
    kind: ValueKind
    counts: Counts
    reference: Counts = ()
    edges: tuple[float, ...] = ()
    bad: tuple[Bad, ...] = ()
    critical: bool = False
    version: int = 0

    @property
    def key(self) -> Key:
        return f"{self.side}/{self.name}"

    @property
    def identity(self) -> str:
        """What may not change while counts are compared."""
        return f"{self.version} {self.kind} {len(self.counts)} {self.edges} {self.reference}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a window said. `against`: the model's reference, or the first window of live traffic."""

    level: Level
    distances: Distances
    against: Literal["reference", "live"]
    seconds: float


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one subject. `base` and `bad_base`: counts when the open window began. `streak`: windows in a
    row that alarm, negative for those that do not. `bad_shares`: of the open window."""

    identity: str
    opened: float
    base: Counts
    bad_base: Mapping[str, int] = field(default_factory=dict)
    learned: Counts = ()
    streak: int = 0
    drifted: bool = False
    bad: tuple[str, ...] = ()
    bad_now: tuple[str, ...] = ()
    bad_shares: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0
    reading: Reading | None = None
    critical: bool = False


Watched = Mapping[Key, Known]
"""What is known of one model."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What an update changed: names of subjects that began or ceased to drift, and "name word" for bad values."""

    drifted: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    spoiled: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()


def update(watched: Watched, subjects: Sequence[Subject], now: float, policy: Policy) -> dict[Key, Known]:
    """After one look at the counts. `now`: seconds that only grow. Subjects that are gone are forgotten."""
    many = {side: sum(subject.side == side for subject in subjects) for side in ("input", "output")}
    return {
        subject.key: _updated(watched.get(subject.key), subject, now, policy, many[subject.side])
        for subject in subjects
    }


def difference(before: Watched, after: Watched) -> Difference:
    """What has begun and ended between the two. What is no longer watched has ended."""
    was, now = (_claims(watched) for watched in (before, after))
    old_bad, new_bad = (_spoiled(watched) for watched in (before, after))
    return Difference(_only(now, was), _only(was, now), _only(new_bad, old_bad), _only(old_bad, new_bad))


def inputs_drifted(watched: Watched) -> bool:
    """Whether a model's inputs as a whole have drifted."""
    inputs = [known for key, known in watched.items() if key.startswith("input/")]
    drifted = [known for known in inputs if known.drifted]
    return has_drifted(len(drifted), len(inputs), any(known.critical for known in drifted))


def reopened(watched: Watched, now: float) -> dict[Key, Known]:
    """What a controller that has just started knows: its clock began anew, and so does the time of open windows."""
    return {key: replace(known, opened=now) for key, known in watched.items()}


def _updated(known: Known | None, subject: Subject, now: float, policy: Policy, features: int) -> Known:
    if known is None or known.identity != subject.identity or any(a < b for a, b in _pairs(subject, known)):
        return Known(subject.identity, now, subject.counts, _bad_counts(subject), critical=subject.critical)
    live = tuple(map(sub, subject.counts, known.base))
    known = _with_bad(replace(known, requests=sum(live), critical=subject.critical), subject, features)
    if sum(live) < policy.requests or now - known.opened < policy.seconds:
        return known
    return _closed(known, subject, live, now, features)


def _pairs(subject: Subject, known: Known) -> Iterable[tuple[int, int]]:
    yield from zip(subject.counts, known.base, strict=True)
    yield from ((bad.count, known.bad_base.get(bad.word, 0)) for bad in subject.bad)


def _bad_counts(subject: Subject) -> dict[str, int]:
    return {bad.word: bad.count for bad in subject.bad}


def _with_bad(known: Known, subject: Subject, features: int) -> Known:
    """Bad values of the open window: anytime-valid, so it may be asked at every look."""
    n, words, shares = known.requests, set(known.bad_now), {}
    for bad in subject.bad:
        k = bad.count - known.bad_base.get(bad.word, 0)
        if k and n:
            shares[bad.word] = k / n
        if _is_worse(k, n, bad_limit(*bad.baseline), features * len(subject.bad)):
            words.add(bad.word)
    claimed = tuple(sorted({*known.bad, *words}))
    return replace(known, bad=claimed, bad_now=tuple(sorted(words)), bad_shares=shares)


def _is_worse(k: int, n: int, limit: float, claims: int) -> bool:
    """Family D: k bad values of n against "at most `limit` are bad". Mixing rates gives a test martingale in n."""
    if n == 0 or k <= limit * n or limit > LARGEST_LIMIT:
        return False
    log_e = float(log_mean_exp(bernoulli_llr(k, n, limit, rates_above(limit)))[0])
    return log_e >= math.log(claims / FALSE_ALARMS)


def _closed(known: Known, subject: Subject, live: Counts, now: float, features: int) -> Known:
    fresh = replace(
        known, opened=now, base=subject.counts, bad_base=_bad_counts(subject), bad=known.bad_now, bad_now=(), requests=0
    )
    reference = subject.reference or known.learned
    if not reference:
        return replace(fresh, learned=live)
    found = distances(subject.kind, reference, live, subject.edges, features)
    level = level_of(subject.kind, found)
    streak = max(known.streak, 0) + 1 if level is Level.ALARM else min(known.streak, 0) - 1
    return replace(
        fresh,
        streak=streak,
        drifted=streak >= IN_A_ROW or (known.drifted and streak > -IN_A_ROW),
        reading=Reading(level, found, "reference" if subject.reference else "live", now - known.opened),
    )


def _claims(watched: Watched) -> set[str]:
    return {key for key, known in watched.items() if known.drifted}


def _spoiled(watched: Watched) -> set[str]:
    return {f"{key} {word}" for key, known in watched.items() for word in known.bad}


def _only(one: set[str], other: set[str]) -> tuple[str, ...]:
    return tuple(sorted(one - other))
