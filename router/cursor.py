"""How far blocks of evidence have been cut, and what they are cut from: values, and as JSON. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import compress
from typing import Any, Final

from router.evidence import Arm, arm_from_json

Slots = Mapping[int, Arm]
"""Worker slot -> what it counted of one variant."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose counts are looked for: variants as (name, version). baseline: the part of stable that runs in a queue of
    its own, which counts as stable's too."""

    model: str
    candidate: tuple[str, int]
    stable: tuple[str, int]
    baseline: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of one epoch, by worker slot. mirrored: (ended, failed) runs of the candidate; baseline: a part of
    stable; golden: rows that candidate and stable ran beside their requests."""

    candidate: Slots = field(default_factory=dict)
    stable: Slots = field(default_factory=dict)
    mirrored: tuple[int, int] = (0, 0)
    baseline: Slots = field(default_factory=dict)
    golden: tuple[Arm, Arm] = (Arm(), Arm())


@dataclass(frozen=True, slots=True)
class Ground:
    """What the cutter must know of the moment. now: seconds of a clock that does not go back; weights: of candidate and
    stable in ppm, None where nobody is assigned by chance; mirrors: whether mirrored runs fill the sample."""

    model: str
    rollout: str
    epoch: int
    now: float
    weights: tuple[int, int] | None
    mirrors: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """The last cut of an epoch: when, and what had been counted. closed: since when the epoch is over."""

    epoch: int
    at: float
    weights: tuple[int, int] | None
    mirrors: bool
    candidate: Arm = field(default_factory=Arm)
    stable: Arm = field(default_factory=Arm)
    closed: float | None = None
    baseline: Arm = field(default_factory=Arm)
    golden: tuple[Arm, Arm] = (Arm(), Arm())


Arms = tuple[Arm, Arm, Arm]
"""Of candidate, stable and baseline."""


@dataclass(frozen=True, slots=True)
class Warmth:
    """One worker. since: its first request for the candidate; left_out: epoch -> arms that were counted before it was
    warm, None while it is not."""

    since: float
    left_out: Mapping[str, Arms] | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far blocks have been cut. index: of the last block; began: when the first mark was made; together: whether
    a version runs many of its requests together."""

    index: int = 0
    began: float = 0.0
    together: bool = False
    marks: tuple[Mark, ...] = ()
    warmth: Mapping[str, Warmth] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "index": self.index,
            "began": self.began,
            "together": self.together,
            "marks": [_mark_json(mark) for mark in self.marks],
            "warmth": {slot: _warmth_json(warmth) for slot, warmth in self.warmth.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Cursor":
        """What `to_json` made."""
        marks = tuple(_mark(mark) for mark in content["marks"])
        warmth = {slot: _warmth(told) for slot, told in content["warmth"].items()}
        return cls(content["index"], content["began"], content["together"], marks, warmth)


# JSON


_NUMBERS: Final = ("assigned", "done", "errors", "rewards", "rewards_good", "weight_ppm")
_ARMS: Final = ("candidate", "stable", "baseline")
_CELLS: Final = ("latency", "followed", "classes", "scores")


def lean(arm: Arm) -> dict[str, Any]:
    """An arm without what is 0, and cells as {place: count}: most of 158 latency cells are empty."""
    told: dict[str, Any] = {name: value for name in _NUMBERS if (value := getattr(arm, name))}
    for name in _CELLS:
        if cells := getattr(arm, name):
            found = zip(compress(_places(len(cells)), cells), filter(None, cells), strict=True)
            told[name] = {"n": len(cells), **dict(found)}
    if arm.flags:
        told["flags"] = {name: list(pair) for name, pair in arm.flags.items()}
    return told


@cache
def _places(cells: int) -> tuple[str, ...]:
    return tuple(map(str, range(cells)))


def full(told: Mapping[str, Any]) -> Arm:
    """The arm that `lean` told of."""
    content = dict(told)
    for name in _CELLS:
        if name in content:
            cells = content[name]
            content[name] = tuple(cells.get(str(at), 0) for at in range(cells["n"]))
    return arm_from_json(content)


def _mark_json(mark: Mark) -> dict[str, Any]:
    weights = None if mark.weights is None else list(mark.weights)
    told = {"epoch": mark.epoch, "at": mark.at, "weights": weights, "mirrors": mark.mirrors, "closed": mark.closed}
    golden = {"golden": [lean(arm) for arm in mark.golden]} if any(arm.done for arm in mark.golden) else {}
    return {**told, **{name: lean(getattr(mark, name)) for name in _ARMS}, **golden}


def _mark(told: Mapping[str, Any]) -> Mark:
    weights = None if told["weights"] is None else (told["weights"][0], told["weights"][1])
    candidate, stable = (full(arm) for arm in told.get("golden", ({}, {})))
    arms = {name: full(told.get(name, {})) for name in _ARMS}
    return Mark(**{**told, "weights": weights, **arms, "golden": (candidate, stable)})


def _warmth_json(warmth: Warmth) -> dict[str, Any]:
    left_out = warmth.left_out
    arms = None if left_out is None else {epoch: [lean(arm) for arm in arms] for epoch, arms in left_out.items()}
    return {"since": warmth.since, "left_out": arms}


def _warmth(told: Mapping[str, Any]) -> Warmth:
    left_out = told["left_out"]
    if left_out is None:
        return Warmth(told["since"])
    return Warmth(told["since"], {epoch: _three(arms) for epoch, arms in left_out.items()})


def _three(told: Sequence[Mapping[str, Any]]) -> Arms:
    """What an earlier release kept has no baseline."""
    candidate, stable, baseline = (full(arm) for arm in (*told, {}, {})[:3])
    return candidate, stable, baseline
