"""Simulated queues whose requests run together, on a machine that stands still now and then. A block a second."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtests.simulated_traffic import EDGES, RATE
from router.evidence import Arm, Block

CANDIDATE, STABLE, BASELINE = 0, 1, 2

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Queues:
    """Versions alike, each with a queue of its own that runs all that waits, `most` at a time.

    share: the candidate's, and that of a baseline (stable once more, with its own queue) where there is one;
    run_seconds: of one request alone, each more in a run adds `each` of that; stalls: how often a minute the whole
    machine stands still, for `stall_seconds` in the mean; slow_runs: the part of runs that take ten times as long,
    whichever version; burst: so many requests come at one moment.
    """

    share: float = 0.05
    baseline: bool = False
    run_seconds: float = 0.004
    each: float = 0.1
    most: int = 32
    stalls: float = 3.0
    stall_seconds: float = 0.2
    slow_runs: float = 0.0
    burst: int = 1
    onset: int = 0
    minutes: int = 60

    def blocks(self, rng: np.random.Generator) -> Iterator[Block]:
        """So many minutes of them."""
        seconds = 60 * self.minutes
        stalls = self._stalls(rng, seconds)
        moments = np.sort(rng.random(rng.poisson(RATE * seconds / self.burst)) * seconds).repeat(self.burst)
        drawn = rng.random(len(moments))
        ours, theirs = drawn < self.share, (drawn >= self.share) & (drawn < 2.0 * self.share)
        if not self.baseline:
            theirs[:] = False
        arms = [self._arms(rng, moments[mine], stalls, seconds) for mine in (ours, ~(ours | theirs), theirs)]
        for second, each in enumerate(zip(*arms, strict=True)):
            control = each[BASELINE] if self.baseline else None
            yield Block("m", "r", 0, "simulated", second, each[CANDIDATE], each[STABLE], baseline=control)

    def _stalls(self, rng: np.random.Generator, seconds: int) -> tuple[list[float], list[float]]:
        """When the machine stands still, and until when; none begins before the last has ended."""
        begun = np.sort(rng.random(rng.poisson(self.stalls * self.minutes)) * seconds)
        ends: list[float] = []
        begins: list[float] = []
        for begin, length in zip(begun.tolist(), rng.exponential(self.stall_seconds, len(begun)).tolist(), strict=True):
            if not ends or begin > ends[-1]:
                begins.append(begin)
                ends.append(begin + length)
        return begins, ends

    def _arms(
        self, rng: np.random.Generator, moments: Times, stalls: tuple[list[float], list[float]], seconds: int
    ) -> list[Arm]:
        """What one version did in each second."""
        ended, taken, leads = self._run(rng, moments.tolist(), stalls)
        cells = np.searchsorted(EDGES, taken, side="right")
        at = np.minimum(ended, seconds - 1).astype(np.int64)
        counts = np.zeros((2, seconds, len(EDGES) + 1), dtype=np.int64)
        np.add.at(counts, (np.where(leads, 0, 1), at, cells), 1)
        done = counts.sum(axis=(0, 2)).tolist()
        led, followed = counts.tolist()
        return [
            Arm(done=n, latency=tuple(first), followed=tuple(rest) if any(rest) else ())
            for n, first, rest in zip(done, led, followed, strict=True)
        ]

    def _run(
        self, rng: np.random.Generator, moments: Sequence[float], stalls: tuple[list[float], list[float]]
    ) -> tuple[Times, Times, NDArray[np.bool_]]:
        """Of each request: when it ended, how long it took, and whether it led its run."""
        ended: list[float] = []
        leads: list[bool] = []
        free, at = 0.0, 0
        luck = np.exp(0.3 * rng.standard_normal(len(moments)))
        luck[rng.random(len(moments)) < self.slow_runs] *= 10.0
        works = (self.run_seconds * luck).tolist()
        while at < len(moments):
            begin = _awake(stalls, max(moments[at], free))
            behind = min(bisect_right(moments, begin, at), at + self.most)
            free = _finished(stalls, begin, works[at] * (1.0 + self.each * (behind - at - 1)))
            ended += [free] * (behind - at)
            leads += [True, *[False] * (behind - at - 1)]
            at = behind
        when = np.asarray(ended)
        return when, when - np.asarray(moments), np.asarray(leads)


def _awake(stalls: tuple[list[float], list[float]], moment: float) -> float:
    """The moment, or the end of the stall that it lies in."""
    last = bisect_right(stalls[0], moment) - 1
    return max(moment, stalls[1][last]) if last >= 0 else moment


def _finished(stalls: tuple[list[float], list[float]], begin: float, work: float) -> float:
    """When so much work is done that begins at a moment outside of stalls."""
    begins, ends = stalls
    following = bisect_right(begins, begin)
    end = begin + work
    while following < len(begins) and begins[following] < end:
        end += ends[following] - begins[following]
        following += 1
    return end
