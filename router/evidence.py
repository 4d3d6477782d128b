"""Blocks: what was counted of two versions in one short time, whoever counted it. Pure; standard library only.

A block is the difference of two readings of monotone counters, within one epoch. Counts of workers are added up before
blocks are cut, so that the number of workers changes nothing; blocks of several replicas follow one another in the
order of `Block.order`. A block closes by time and by numbers of requests, never by how requests ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import reduce
from operator import add, sub
from typing import Any

from router.errors import InvalidArgument

MIN_REQUESTS = 20
MIN_AGE_SECONDS = 1.0
MAX_AGE_SECONDS = 60.0


def _require_part(name: str, k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise InvalidArgument(f"{name}: {k} of {n} requests cannot be")


@dataclass(frozen=True, slots=True)
class Arm:
    """What happened to one version's requests. Each family counts each request once, and its n is the sum of its own
    cells. Counted for the version that was *assigned*, also when another answered.

    assigned: requests (or units) given by the split; done: ended, or at their deadline; errors: of `done`; latency,
    classes, scores: cells in order; rewards: labels that came back, rewards_good: of `rewards`; flags: further marks,
    name -> (n, marked). weight_ppm: the planned share in the split, None where there is no random split. followed: the
    latency of requests that ran behind another one in its run, where `latency` has one a run (empty: nobody did).
    """

    assigned: int = 0
    done: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    rewards: int = 0
    rewards_good: int = 0
    flags: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    weight_ppm: int | None = None
    followed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require_part("errors", self.errors, self.done)
        _require_part("rewards_good", self.rewards_good, self.rewards)
        for name, (n, k) in self.flags.items():
            _require_part(f"flags.{name}", k, n)
        for cells in (self.latency, self.followed, self.classes, self.scores, (self.assigned,)):
            if cells and min(cells) < 0:
                raise InvalidArgument(f"a count is negative: {min(cells)}")

    def rate(self, mark: str) -> tuple[int, int]:
        """(n, marked) of "errors", "reward" (marked = good) or a flag; (0, 0) for a flag that was not counted."""
        if mark == "errors":
            return self.done, self.errors
        if mark == "reward":
            return self.rewards, self.rewards_good
        return self.flags.get(mark, (0, 0))

    def __add__(self, other: "Arm") -> "Arm":
        """Counts of another worker in the same block. Raises InvalidArgument when cells do not match."""
        names = self.flags.keys() | other.flags.keys()
        flags = {name: _added_pair(self.rate(name), other.rate(name)) for name in sorted(names)}
        return Arm(
            assigned=self.assigned + other.assigned,
            done=self.done + other.done,
            errors=self.errors + other.errors,
            latency=_added("latency", self.latency, other.latency),
            followed=_added("followed", self.followed, other.followed),
            classes=_added("classes", self.classes, other.classes),
            scores=_added("scores", self.scores, other.scores),
            rewards=self.rewards + other.rewards,
            rewards_good=self.rewards_good + other.rewards_good,
            flags=flags,
            weight_ppm=self.weight_ppm if self.weight_ppm is not None else other.weight_ppm,
        )

    def since(self, earlier: "Arm", weight_ppm: int | None = None) -> "Arm":
        """What was added since an earlier reading of the same counters. A family that went down was started anew, and
        counts from 0. weight_ppm: the planned share meanwhile, if that is not the present one."""
        done, errors = _since((self.done, self.errors), (earlier.done, earlier.errors))
        rewards, good = _since((self.rewards, self.rewards_good), (earlier.rewards, earlier.rewards_good))
        flags = {}
        for name, pair in self.flags.items():
            n, k = _since(pair, earlier.flags.get(name, (0, 0)))
            flags[name] = (n, k)
        return Arm(
            assigned=_since((self.assigned,), (earlier.assigned,))[0],
            done=done,
            errors=errors,
            latency=_since(self.latency, earlier.latency),
            followed=_since(self.followed, earlier.followed),
            classes=_since(self.classes, earlier.classes),
            scores=_since(self.scores, earlier.scores),
            rewards=rewards,
            rewards_good=good,
            flags=flags,
            weight_ppm=self.weight_ppm if weight_ppm is None else weight_ppm,
        )


_CELLS = ("latency", "followed", "classes", "scores")


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same request through both versions (shadow): how many, and in how many only one of them failed."""

    total: int = 0
    candidate_only: int = 0
    stable_only: int = 0

    def __post_init__(self) -> None:
        if min(self.candidate_only, self.stable_only) < 0 or self.candidate_only + self.stable_only > self.total:
            raise InvalidArgument(f"{self.candidate_only} + {self.stable_only} of {self.total} pairs cannot be")

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Pairs)))


@dataclass(frozen=True, slots=True)
class Block:
    """One step of evidence. The words for where it came from are opaque: they only order and name it.

    index: the tick, growing for each source; stratum: for labels that came back late, the minute of their request (a
    block a stratum, so that a ramp cannot confound them), else 0. baseline: stable in a queue of its own at the
    candidate's weight. problem: why the counts could not be had; then they are not looked at.
    """

    model: str
    rollout: str
    epoch: int
    source: str
    index: int
    candidate: Arm = Arm()
    stable: Arm = Arm()
    baseline: Arm | None = None
    pairs: Pairs | None = None
    stratum: int = 0
    problem: str = ""

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Blocks are taken in this order, whichever arrives first in a tick: index, epoch, stratum, source."""
        return self.index, self.epoch, self.stratum, self.source

    def arm(self, control: str) -> Arm:
        """What the candidate is compared with: "stable" or "baseline" (empty where there is none)."""
        return self.stable if control == "stable" else self.baseline or Arm()

    def __add__(self, other: "Block") -> "Block":
        """Another worker's part of the same block. Raises InvalidArgument when it is another block's."""
        if (self.model, self.rollout, self.order) != (other.model, other.rollout, other.order):
            raise InvalidArgument(f"{self.order} and {other.order} are not the same block")
        return replace(
            self,
            candidate=self.candidate + other.candidate,
            stable=self.stable + other.stable,
            baseline=_sum(self.baseline, other.baseline),
            pairs=_sum(self.pairs, other.pairs),
            problem=self.problem or other.problem,
        )

    def to_json(self) -> dict[str, Any]:
        """A plain value for the log; `from_json` gives the block back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Block":
        arms = {name: arm_from_json(content[name]) for name in ("candidate", "stable")}
        baseline = arm_from_json(content["baseline"]) if content["baseline"] else None
        pairs = Pairs(**content["pairs"]) if content["pairs"] else None
        return cls(**{**content, **arms, "baseline": baseline, "pairs": pairs})


def merge_workers(blocks: Iterable[Block]) -> Block:
    """The parts of several workers as one block: addition, in any order and grouping."""
    return reduce(lambda one, other: one + other, blocks)


def is_full(requests: int, age_seconds: float) -> bool:
    """Whether a block may close: enough requests and old enough, or simply old."""
    return (requests >= MIN_REQUESTS and age_seconds >= MIN_AGE_SECONDS) or age_seconds >= MAX_AGE_SECONDS


def arm_from_json(content: Mapping[str, Any]) -> Arm:
    """The arm of plain JSON values; what is left out was not counted."""
    cells = {name: tuple(content.get(name, ())) for name in _CELLS}
    return Arm(**{**content, **cells, "flags": {name: (n, k) for name, (n, k) in content.get("flags", {}).items()}})


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def _added_pair(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _added(name: str, one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    if one and other and len(one) != len(other):
        raise InvalidArgument(f"{name}: {len(one)} cells and {len(other)} do not add up")
    return tuple(map(add, one, other)) if one and other else tuple(one or other)


def _since(now: tuple[int, ...], earlier: tuple[int, ...]) -> tuple[int, ...]:
    if len(now) != len(earlier):
        return now
    added = tuple(map(sub, now, earlier))
    return now if min(added, default=0) < 0 else added
