"""Simulated traffic at 100 requests a second, a block a second: what the evidence is tried on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np

from router.evidence import Arm, Block
from router.synthetic import CALM, ORDINARY, STEADY, Behaviour, Latency, Moment, Path, Traffic, constant, latency_shares

RATE = 100
"""Requests a second, and in a block."""
EDGES = tuple(0.002 * 1.1**step for step in range(71))
LATENCY = Latency(EDGES)

canary = constant(0.05)


def ramp(second: float) -> float:
    """5, 10, 25, 50 %, a quarter of an hour each."""
    return (0.05, 0.10, 0.25, 0.50)[min(3, int(second) // 900)]


@dataclass(frozen=True)
class World:
    """Traffic with a share for the candidate at each second."""

    candidate: Behaviour = ORDINARY
    stable: Behaviour = ORDINARY
    share: Path = canary
    onset: int = 0
    error_tide: Path = STEADY
    load_tide: Path = STEADY
    mix_tide: Path = CALM
    actual_share: Path | None = None
    rate: int = RATE

    def blocks(self, rng: np.random.Generator) -> Iterator[Block]:
        """A block a second, for ever."""
        tides = (self.error_tide, self.load_tide, self.mix_tide)
        traffic = Traffic(self.candidate, self.stable, LATENCY, self.onset, *tides)
        second = 0
        while True:
            planned = self.share(second)
            actual = None if self.actual_share is None else self.actual_share(second)
            yield traffic.block(rng, Moment(second, self.rate, planned, second, round(planned * 100), actual))
            second += 1


@dataclass(frozen=True)
class Batches:
    """Two arms alike that run requests `size` at a time, 50 batches a second each; one in a hundred batches stalls, ten
    times as slow. `marked`: whether latency is counted once a batch or once a request."""

    size: int
    marked: str
    onset: int = 0

    def blocks(self, rng: np.random.Generator) -> Iterator[Block]:
        """A block a second, for ever."""
        for second in count():
            yield Block("m", "r", 0, "simulated", second, self._arm(rng), Arm(done=1), baseline=self._arm(rng))

    def _arm(self, rng: np.random.Generator) -> Arm:
        batches = 50
        stalled = int(rng.binomial(batches, 0.01))
        cells = rng.multinomial(batches - stalled, latency_shares(LATENCY))
        cells += rng.multinomial(stalled, latency_shares(LATENCY, 10.0))
        each = self.size if self.marked == "request" else 1
        return Arm(done=batches * self.size, latency=tuple((cells * each).tolist()))


@cache
def reference() -> tuple[int, ...]:
    """Latency cells of 2,000 requests of stable before the rollout."""
    return tuple(np.random.default_rng(0).multinomial(2000, latency_shares(LATENCY)).tolist())
