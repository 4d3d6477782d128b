"""Simulated traffic at 100 requests a second, a block a second: what the evidence is tried on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from router.evidence import Block
from router.synthetic import ORDINARY, STEADY, Behaviour, Latency, Moment, Path, Traffic, constant, latency_shares

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
    actual_share: Path | None = None
    rate: int = RATE

    def blocks(self, rng: np.random.Generator) -> Iterator[Block]:
        """A block a second, for ever."""
        traffic = Traffic(self.candidate, self.stable, LATENCY, self.onset, self.error_tide, self.load_tide)
        second = 0
        while True:
            planned = self.share(second)
            actual = None if self.actual_share is None else self.actual_share(second)
            yield traffic.block(rng, Moment(second, self.rate, planned, second, round(planned * 100), actual))
            second += 1


@cache
def reference() -> tuple[int, ...]:
    """Latency cells of 2,000 requests of stable before the rollout."""
    return tuple(np.random.default_rng(0).multinomial(2000, latency_shares(LATENCY)).tolist())
