"""Synthetic traffic of two versions, block by block: what a policy is tried on before it is used. Pure; numpy only."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np

from router.evidence import Arm, Block

SHARES = (0.40, 0.30, 0.15, 0.10, 0.05)
"""Of the classes that both versions predict, unless told otherwise."""
SCORE_BUCKETS = 10
Path = Callable[[float], float]
"""A factor, or a share, at each second."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one version behaves. errors, invalid: rates; latency times `slower` (`tail`: only what is above p95); shares
    of classes; score shifted by sd; good: of the labels that come back."""

    errors: float = 0.001
    slower: float = 1.0
    tail: float = 1.0
    shares: tuple[float, ...] = SHARES
    score: float = 0.0
    invalid: float = 0.0
    good: float = 0.95


def _same(value: float, _second: float) -> float:
    return value


def constant(value: float) -> Path:
    """The same at all times."""
    return partial(_same, value)


STEADY = constant(1.0)
CALM = constant(0.0)
ORDINARY = Behaviour()


@dataclass(frozen=True, slots=True)
class Latency:
    """Lognormal, counted in the cells between `edges` (seconds). `spread`: standard deviation of the logarithm."""

    edges: tuple[float, ...]
    median_seconds: float = 0.02
    spread: float = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """One block. second: when it begins; requests: in both arms; share: planned for the candidate; actual: what it
    gets, where the split is broken."""

    second: float
    requests: int
    share: float
    index: int = 0
    epoch: int = 0
    actual: float | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Two versions under one load. The candidate turns bad at `onset` seconds; what happens to both: errors times
    `error_tide`, latency times `load_tide`, scores higher by `mix_tide` sd and as many fifths of the first class's
    share are the last one's. labelled: the share of requests whose label comes back."""

    candidate: Behaviour
    stable: Behaviour
    latency: Latency
    onset: float = 0.0
    error_tide: Path = STEADY
    load_tide: Path = STEADY
    mix_tide: Path = CALM
    labelled: float = 0.0

    def block(self, rng: np.random.Generator, moment: Moment) -> Block:
        """What is counted in one block."""
        chance = moment.share if moment.actual is None else moment.actual
        ours = int(rng.binomial(moment.requests, chance))
        version = self.candidate if moment.second >= self.onset else self.stable
        weight = round(moment.share * 1e6)
        arms = (
            self._arm(rng, version, ours, (moment.second, weight)),
            self._arm(rng, self.stable, moment.requests - ours, (moment.second, 1_000_000 - weight)),
        )
        return Block("m", "r", moment.epoch, "synthetic", moment.index, *arms)

    def _arm(self, rng: np.random.Generator, version: Behaviour, n: int, at: tuple[float, int]) -> Arm:
        second, weight_ppm = at
        load, mix = round(self.load_tide(second), 2), round(self.mix_tide(second), 2)
        errors = int(rng.binomial(n, min(1.0, version.errors * self.error_tide(second))))
        cells = rng.multinomial(n, latency_shares(self.latency, version.slower * load, version.tail))
        labels = int(rng.binomial(n, self.labelled)) if self.labelled else 0
        return Arm(
            assigned=n,
            done=n,
            errors=errors,
            latency=tuple(cells.tolist()),
            classes=tuple(rng.multinomial(n, _mixed(version.shares, mix)).tolist()),
            scores=tuple(rng.multinomial(n, score_shares(version.score + mix)).tolist()),
            rewards=labels,
            rewards_good=int(rng.binomial(labels, version.good)) if labels else 0,
            flags={"invalid": (n - errors, int(rng.binomial(n - errors, version.invalid)) if version.invalid else 0)},
            weight_ppm=weight_ppm,
        )


def _mixed(shares: tuple[float, ...], mix: float) -> tuple[float, ...]:
    moved = shares[0] * mix / 5.0
    return (shares[0] - moved, *shares[1:-1], shares[-1] + moved) if moved else shares


def _above(x: float) -> float:
    """P(standard normal > x)."""
    return 0.5 * math.erfc(x / math.sqrt(2.0))


@cache
def latency_shares(latency: Latency, slower: float = 1.0, tail: float = 1.0) -> tuple[float, ...]:
    """Probability of each cell; `tail` stretches what is above p95."""
    p95 = latency.median_seconds * math.exp(1.6448536 * latency.spread)

    def exceeds(seconds: float) -> float:
        if tail != 1.0 and seconds > p95:
            return _above(math.log(max(p95, seconds / tail) / latency.median_seconds) / latency.spread)
        return _above(math.log(seconds / slower / latency.median_seconds) / latency.spread)

    above = (1.0, *(exceeds(edge) for edge in latency.edges), 0.0)
    return tuple(max(0.0, a - b) for a, b in pairwise(above))


@cache
def score_shares(shift: float) -> tuple[float, ...]:
    """Probability of each decile of the reference for a normal score shifted by `shift` sd."""
    deciles = (-1.2815516, -0.8416212, -0.5244005, -0.2533471, 0.0, 0.2533471, 0.5244005, 0.8416212, 1.2815516)
    above = (1.0, *(_above(decile - shift) for decile in deciles), 0.0)
    return tuple(a - b for a, b in pairwise(above))
