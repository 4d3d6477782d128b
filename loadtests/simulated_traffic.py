"""Simulated traffic of two versions, block by block: what the evidence is tried on."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np

from router.evidence import Arm, Block

RATE = 100
"""Requests a second, and in a block."""
EDGES = tuple(0.002 * 1.1**step for step in range(71))
MEDIAN_SECONDS, SPREAD = 0.02, 0.5
SHARES = (0.40, 0.30, 0.15, 0.10, 0.05)

Path = Callable[[int], float]


@dataclass(frozen=True)
class Version:
    """How one version behaves: rate of errors, latency times `slower` (`tail`: only what is above p95), shares of
    classes, score shifted by sd."""

    errors: float = 0.001
    slower: float = 1.0
    tail: float = 1.0
    shares: tuple[float, ...] = SHARES
    score: float = 0.0


def _same(value: float, _second: int) -> float:
    return value


def constant(value: float) -> Path:
    """The same at all times."""
    return partial(_same, value)


def steady(_second: int) -> float:
    """No tide."""
    return 1.0


def canary(_second: int) -> float:
    """5 % at all times."""
    return 0.05


def ramp(second: int) -> float:
    """5, 10, 25, 50 %, a quarter of an hour each."""
    return (0.05, 0.10, 0.25, 0.50)[min(3, second // 900)]


@dataclass(frozen=True)
class World:
    """Traffic of a stable version and a candidate. share: the candidate's; the candidate turns bad at `onset`; what
    happens to both: errors times `error_tide`, latency times `load_tide`."""

    candidate: Version = Version()
    stable: Version = Version()
    share: Path = canary
    onset: int = 0
    error_tide: Path = steady
    load_tide: Path = steady
    actual_share: Path | None = None
    rate: int = RATE

    def blocks(self, rng: np.random.Generator) -> Iterator[Block]:
        """A block a second, for ever."""
        second = 0
        while True:
            planned = self.share(second)
            ours = int(rng.binomial(self.rate, (self.actual_share or self.share)(second)))
            version = self.candidate if second >= self.onset else self.stable
            weight = round(planned * 1e6)
            arms = (
                self._arm(rng, version, ours, second, weight),
                self._arm(rng, self.stable, self.rate - ours, second, 1_000_000 - weight),
            )
            yield Block("m", "r", round(planned * 100), "simulated", second, *arms)
            second += 1

    def _arm(self, rng: np.random.Generator, version: Version, n: int, second: int, weight_ppm: int) -> Arm:
        load = round(self.load_tide(second), 2)
        return Arm(
            assigned=n,
            done=n,
            errors=int(rng.binomial(n, min(1.0, version.errors * self.error_tide(second)))),
            latency=tuple(rng.multinomial(n, latency_shares(version.slower * load, version.tail)).tolist()),
            classes=tuple(rng.multinomial(n, version.shares).tolist()),
            scores=tuple(rng.multinomial(n, score_shares(version.score)).tolist()),
            weight_ppm=weight_ppm,
        )


def _above(x: float) -> float:
    """P(standard normal > x)."""
    return 0.5 * math.erfc(x / math.sqrt(2.0))


@cache
def latency_shares(slower: float = 1.0, tail: float = 1.0) -> tuple[float, ...]:
    """Probability of each latency cell: lognormal, times `slower`; `tail` stretches what is above p95."""
    p95 = MEDIAN_SECONDS * math.exp(1.6448536 * SPREAD)

    def exceeds(seconds: float) -> float:
        plain = _above(math.log(seconds / slower / MEDIAN_SECONDS) / SPREAD)
        if tail == 1.0 or seconds <= p95:
            return plain
        return _above(math.log(max(p95, seconds / tail) / MEDIAN_SECONDS) / SPREAD)

    above = (1.0, *(exceeds(edge) for edge in EDGES), 0.0)
    return tuple(max(0.0, a - b) for a, b in pairwise(above))


@cache
def score_shares(shift: float) -> tuple[float, ...]:
    """Probability of each decile of the reference for a normal score shifted by `shift` sd."""
    deciles = (-1.2815516, -0.8416212, -0.5244005, -0.2533471, 0.0, 0.2533471, 0.5244005, 0.8416212, 1.2815516)
    above = (1.0, *(_above(decile - shift) for decile in deciles), 0.0)
    return tuple(a - b for a, b in pairwise(above))


@cache
def reference() -> tuple[int, ...]:
    """Latency cells of 2,000 requests of stable before the rollout."""
    return tuple(np.random.default_rng(0).multinomial(2000, latency_shares()).tolist())
