"""Strata: requests of the same few minutes, whenever their labels come, in a ring longer than the horizon. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Final

STRATA: Final = 300
LEAST_MINUTES: Final = 5


def stratum_minutes(horizon_seconds: float) -> int:
    """How many minutes make a stratum, so that the ring is longer than the horizon by several of them."""
    return max(LEAST_MINUTES, -int(-horizon_seconds // (60 * (STRATA - 10))))


@dataclass(frozen=True, slots=True)
class RewardCounts:
    """Cells of one variant in one epoch, a cell a stratum of `minutes` minutes."""

    minutes: int
    good: Sequence[int] = (0,) * STRATA
    bad: Sequence[int] = (0,) * STRATA
    issued: Sequence[int] = (0,) * STRATA

    def __add__(self, other: "RewardCounts") -> "RewardCounts":
        return RewardCounts(
            self.minutes,
            tuple(map(add, self.good, other.good)),
            tuple(map(add, self.bad, other.bad)),
            tuple(map(add, self.issued, other.issued)),
        )
