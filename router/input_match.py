"""Whether the versions of a split get the same inputs. They must: callers are dealt to them at random. Pure.

A difference means a broken routing or preprocessing, and then nothing that is measured of the versions can be believed.
The blocks of one comparison are bets of families A (each bin) and B (order of the bins of numbers) on "no difference",
so the claim is false with probability at most ALPHA however often one looks. Only requests that were dealt
independently of each other may be counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import sub
from typing import Any, Final

import numpy as np

from router.drift import Counts, ValueKind
from router.families import ODDS_GRID, SCORE_GRID, Floats, Marks, conditional_llr, tilt_llr, two_sided
from router.wealth import EProcess, even_prior, log_mean_exp, merge

ALPHA: Final = 0.001
MIN_REQUESTS: Final = 20

Arm = Mapping[str, Counts]
"""Feature -> counts in its bins, the last one for missing values."""


@dataclass(frozen=True, slots=True)
class Split:
    """Counts of two versions in one epoch. `identity`: of the comparison (rollout and versions); wealth never crosses
    over to another. `kinds`: of each feature."""

    identity: str
    epoch: int
    kinds: Mapping[str, ValueKind]
    candidate: Arm
    stable: Arm


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """Wealth of one feature: a row each bin, and one for the order of the bins of a number."""

    bins: EProcess
    order: EProcess | None

    @property
    def log_e(self) -> float:
        rows = self.bins.log_e if self.order is None else np.concatenate([self.bins.log_e, self.order.log_e])
        return float(log_mean_exp(rows))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; numbers come back exactly."""
        return {"bins": self.bins.to_json(), "order": None if self.order is None else self.order.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Bets":
        order = content["order"]
        return cls(EProcess.from_json(content["bins"]), None if order is None else EProcess.from_json(order))


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What is known of one comparison. `differs`: the feature that spoke when it was claimed; it stays so."""

    identity: str
    epoch: int
    candidate: Arm
    stable: Arm
    bets: Mapping[str, Bets] = field(default_factory=dict)
    requests: int = 0
    log_e: float = 0.0
    differs: str = ""

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values, so that whoever goes on from there says the same."""
        plain = {name: getattr(self, name) for name in ("identity", "epoch", "requests", "log_e", "differs")}
        bets = {name: each.to_json() for name, each in self.bets.items()}
        return {**plain, "candidate": _told(self.candidate), "stable": _told(self.stable), "bets": bets}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Match":
        """Raises KeyError, TypeError or ValueError for what is none."""
        arms = {arm: {name: tuple(cells) for name, cells in content[arm].items()} for arm in ("candidate", "stable")}
        bets = {name: Bets.from_json(each) for name, each in content["bets"].items()}
        return cls(**{**content, **arms, "bets": bets})


def compare(known: Match | None, split: Split, differs: str = "") -> Match:
    """After one look. The first look at a comparison only notes the counts; so does one at a new epoch's, from 0 on.
    `differs`: what an earlier life of the controller had claimed of it."""
    if known is None or known.identity != split.identity or _bins(known.candidate) != _bins(split.candidate):
        return Match(split.identity, split.epoch, split.candidate, split.stable, differs=differs)
    same = known.epoch == split.epoch
    blocks = {name: _block(known, split, name, same) for name in split.candidate}
    requests = max((sum(ours) + sum(theirs) for ours, theirs in blocks.values()), default=0)
    if requests < MIN_REQUESTS:
        nothing = replace(known, epoch=split.epoch, candidate=_zero(split.candidate), stable=_zero(split.stable))
        return known if same else nothing
    bets = {name: _bet(known.bets.get(name), split.kinds[name], *block) for name, block in blocks.items()}
    log_e = merge([each.log_e for each in bets.values()], [1.0] * len(bets))
    worst = max(bets, key=lambda name: bets[name].log_e)
    claimed = known.differs or (worst if log_e >= math.log(1.0 / ALPHA) else "")
    looked = replace(known, epoch=split.epoch, candidate=split.candidate, stable=split.stable, bets=bets)
    return replace(looked, requests=known.requests + requests, log_e=log_e, differs=claimed)


def _block(known: Match, split: Split, name: str, same: bool) -> tuple[Counts, Counts]:
    ours, theirs = (known.candidate[name], known.stable[name]) if same else ((), ())
    return _since(split.candidate[name], ours), _since(split.stable[name], theirs)


def _since(now: Counts, before: Counts) -> Counts:
    """Counts that went down were begun anew."""
    if len(now) != len(before) or any(a < b for a, b in zip(now, before, strict=True)):
        return now
    return tuple(map(sub, now, before))


def _bins(arm: Arm) -> dict[str, int]:
    return {name: len(counts) for name, counts in arm.items()}


def _told(arm: Arm) -> dict[str, list[int]]:
    return {name: list(counts) for name, counts in arm.items()}


def _zero(arm: Arm) -> dict[str, Counts]:
    return {name: (0,) * len(counts) for name, counts in arm.items()}


def _bet(known: Bets | None, kind: ValueKind, ours: Counts, theirs: Counts) -> Bets:
    n_c, n_s = float(sum(ours)), float(sum(theirs))
    k_c, k_s = _floats(ours), _floats(theirs)
    marks = Marks(np.full(len(k_c), n_c), k_c, np.full(len(k_s), n_s), k_s)
    llr = conditional_llr(marks, two_sided(ODDS_GRID))
    prior = even_prior(llr.shape[1])
    bins = (known.bins if known else EProcess.start(len(k_c), prior)).update(llr, prior)
    if kind == "category" or len(ours) < 3:
        return Bets(bins, None)
    llr = tilt_llr(k_c[:-1], k_s[:-1], two_sided(SCORE_GRID))
    prior = even_prior(llr.shape[1])
    before = known.order if known is not None and known.order is not None else EProcess.start(1, prior)
    return Bets(bins, before.update(llr, prior))


def _floats(counts: Sequence[int]) -> Floats:
    return np.asarray(counts, dtype=np.float64)
