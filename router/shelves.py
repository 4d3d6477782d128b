"""Blocks of evidence from labels that came back: one for each stratum, so that no ramp can confound them. Pure.

A stratum holds the requests of some minutes in one epoch (`router.rewards`), whenever their labels come. What came in
since the last cut is compared between the versions; and once no request is added any more, whether labels come for both
alike: of those that had none by the last cut, how many have one by now.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from router.cursor import Ground
from router.demands import LABELLED
from router.evidence import Arm, Block
from router.policy import Metric, Policy
from router.strata import STRATA, RewardCounts

SOURCE: Final = "feedback"
MARGIN_SECONDS: Final = 5.0
"""How much later than its minutes a stratum is taken to be over: clocks and readings are a little late."""

LONGEST_STRATUM_SECONDS: Final = 3 * 3600.0
"""More than the minutes of a stratum at the longest horizon."""

Cells = tuple[int, int, int]
"""good, bad, issued"""

NOTHING: Final[Cells] = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One stratum of one epoch, of candidate and stable. began: when its first request was seen; at: the last cut;
    candidate, stable: their cells then; first: their cells before its first request; waiting: how many of each had no
    label at the last cut, None while requests are still added."""

    epoch: int
    place: int
    began: float
    at: float
    candidate: Cells = NOTHING
    stable: Cells = NOTHING
    first: tuple[Cells, Cells] = (NOTHING, NOTHING)
    waiting: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Shelves:
    """How far labels were cut. epochs: those in which the rollout compared its versions."""

    epochs: tuple[int, ...] = ()
    strata: tuple[Shelf, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"epochs": list(self.epochs), "strata": [list(asdict(shelf).values()) for shelf in self.strata]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Shelves":
        """What `to_json` made."""
        return cls(tuple(content["epochs"]), tuple(_shelf(told) for told in content["strata"]))


Judged = Mapping[int, tuple[RewardCounts, RewardCounts]]
"""Epoch -> counts of candidate and stable."""

NO_LABELS: Final[Judged] = MappingProxyType({})


def cut_labels(shelves: Shelves, judged: Judged, ground: Ground, by: tuple[int, Policy]) -> tuple[Shelves, list[Block]]:
    """The blocks that are due, in one tick with the index given, and the shelves behind them."""
    epochs = shelves.epochs
    if ground.weights is not None and ground.epoch not in epochs:
        epochs = (*epochs, ground.epoch)
    known = {(shelf.epoch, shelf.place): shelf for shelf in shelves.strata}
    kept = dict(known)  # also what cannot be read at this moment: to begin anew with it would count it twice
    blocks: list[Block] = []
    for epoch in epochs:
        for seen in _seen(epoch, judged, known):
            shelf, block = _cut_one(seen, ground, by)
            kept[epoch, seen.place] = shelf
            blocks += [] if block is None else [block]
    past = _past(kept.values(), ground, by[1])
    left = tuple(shelf for (epoch, _), shelf in sorted(kept.items()) if epoch not in past)
    after = Shelves(tuple(epoch for epoch in epochs if epoch not in past), left)
    return (shelves if after == shelves else after), blocks


def _past(shelves: Iterable[Shelf], ground: Ground, policy: Policy) -> set[int]:
    """Epochs that are over, and whose labels have all come or come too late."""
    youngest: dict[int, float] = {}
    for shelf in shelves:
        youngest[shelf.epoch] = max(shelf.began, youngest.get(shelf.epoch, shelf.began))
    return {
        epoch
        for epoch, began in youngest.items()
        if epoch != ground.epoch and ground.now - began > _delay(policy) + LONGEST_STRATUM_SECONDS
    }


@dataclass(frozen=True, slots=True)
class _Seen:
    """A stratum as it is now, and as it was."""

    epoch: int
    place: int
    minutes: int
    candidate: Cells
    stable: Cells
    shelf: Shelf | None


def _seen(epoch: int, judged: Judged, known: Mapping[tuple[int, int], Shelf]) -> Iterator[_Seen]:
    """The strata of an epoch in which something changed or may be due; none before the first label comes."""
    ours, theirs = judged.get(epoch, (None, None))
    if ours is None or theirs is None or not any(map(any, (ours.good, ours.bad, theirs.good, theirs.bad))):
        return
    mine = zip(ours.good, ours.bad, ours.issued, strict=True)
    others = zip(theirs.good, theirs.bad, theirs.issued, strict=True)
    for place, (candidate, stable) in enumerate(zip(mine, others, strict=True)):
        shelf = known.get((epoch, place))
        if shelf is None:
            rests = candidate == NOTHING and stable == NOTHING
        else:
            rests = shelf.waiting is not None and candidate == shelf.candidate and stable == shelf.stable
        if not rests:
            yield _Seen(epoch, place, ours.minutes, candidate, stable, shelf)


def _cut_one(seen: _Seen, ground: Ground, by: tuple[int, Policy]) -> tuple[Shelf, Block | None]:
    now, length = ground.now, seen.minutes * 60.0
    shelf = seen.shelf or Shelf(seen.epoch, seen.place, now, now)
    if _fell(seen.candidate, shelf.candidate) or _fell(seen.stable, shelf.stable):
        # A state directory was lost, or the counts of a long past epoch made room: what is left proves nothing.
        return replace(shelf, began=now, at=now, **_as_it_is(seen)), None
    age = now - shelf.began
    asked = (seen.candidate[2], seen.stable[2]) != (shelf.candidate[2], shelf.stable[2])
    if asked and age > (STRATA - 2) * length:  # the ring has come round
        shelf = replace(shelf, began=now, at=now, waiting=None, first=(shelf.candidate, shelf.stable))
        age = 0.0
    if age > length + _delay(by[1]):
        return shelf, None  # later than the rollout waits for
    is_over = age >= length + MARGIN_SECONDS
    came = _came(seen.candidate, shelf.candidate) + _came(seen.stable, shelf.stable)
    if not _is_due(came, now - shelf.at, by[1]) and not (is_over and shelf.waiting is None):
        return shelf, None
    return _moved(seen, shelf, now, is_over), _block(seen, shelf, is_over, (ground, by[0]))


def _delay(policy: Policy) -> float:
    """How late labels may come."""
    return next((rule.delay_seconds for rule in policy.rules if rule.metric is Metric.REWARD), 0.0)


def _as_it_is(seen: _Seen) -> dict[str, Any]:
    cells = (seen.candidate, seen.stable)
    return {"candidate": seen.candidate, "stable": seen.stable, "first": cells, "waiting": None}


def _is_due(came: int, age: float, policy: Policy) -> bool:
    return came > 0 and ((came >= policy.min_requests and age >= 1.0) or age >= policy.max_age_seconds)


def _moved(seen: _Seen, shelf: Shelf, now: float, is_over: bool) -> Shelf:
    waiting = None
    if is_over:
        one, two = (
            _waiting(cells, first) for cells, first in zip((seen.candidate, seen.stable), shelf.first, strict=True)
        )
        waiting = (one, two)
    return replace(shelf, at=now, candidate=seen.candidate, stable=seen.stable, waiting=waiting)


def _block(seen: _Seen, shelf: Shelf, is_over: bool, by: tuple[Ground, int]) -> Block | None:
    ground, index = by
    ours = _arm(seen.candidate, shelf.candidate, _flag(0, seen.candidate, shelf) if is_over else None)
    theirs = _arm(seen.stable, shelf.stable, _flag(1, seen.stable, shelf) if is_over else None)
    if ours.rewards + theirs.rewards == 0 and not any(k for arm in (ours, theirs) for _, k in arm.flags.values()):
        return None
    head = Block(ground.model, ground.rollout, seen.epoch, SOURCE, index, stratum=seen.place + 1)
    return replace(head, candidate=ours, stable=theirs)


def _flag(arm: int, now: Cells, shelf: Shelf) -> tuple[int, int]:
    """(without a label by the last cut, of those with one by now); at the first time of all that were issued."""
    before = (shelf.candidate, shelf.stable)[arm]
    if shelf.waiting is None:
        before = shelf.first[arm]
        waited = now[2] - before[2]
    else:
        waited = shelf.waiting[arm]
    came = _came(now, before)
    return max(waited, came), came


def _arm(now: Cells, before: Cells, labelled: tuple[int, int] | None) -> Arm:
    good, bad = now[0] - before[0], now[1] - before[1]
    return Arm(rewards=good + bad, rewards_good=good, flags={} if labelled is None else {LABELLED: labelled})


def _waiting(now: Cells, first: Cells) -> int:
    return max(0, now[2] - first[2] - _came(now, first))


def _came(now: Cells, before: Cells) -> int:
    return now[0] + now[1] - before[0] - before[1]


def _fell(now: Cells, before: Cells) -> bool:
    return any(a < b for a, b in zip(now, before, strict=True))


def _shelf(told: Sequence[Any]) -> Shelf:
    epoch, place, began, at, candidate, stable, first, waiting = told
    cells = _cells(candidate), _cells(stable), (_cells(first[0]), _cells(first[1]))
    return Shelf(epoch, place, began, at, *cells, None if waiting is None else (waiting[0], waiting[1]))


def _cells(told: Sequence[int]) -> Cells:
    good, bad, issued = told
    return good, bad, issued
