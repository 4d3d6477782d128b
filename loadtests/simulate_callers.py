"""What callers of very unequal activity do to evidence, and what counting each of them once does about it.

    python -m loadtests.simulate_callers [--runs 200] [--minutes 30] [--seed 1]

5,000 callers, the k-th busiest with a share of requests in proportion to 1/k. Each keeps its variant, as with a routing
key. 2 % of them fail 4 of 10 requests, whichever variant answers: the two versions are equal, and whoever aborts is
wrong. 100 requests a second, a block and a look each second, the harm of errors alone, without tolerance.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from router.analysis import Wealth, assess
from router.evidence import Arm, Block
from router.sequential import Action, RateCheck
from service.seen import SeenCallers

CALLERS = 5_000
FRAGILE = 0.02
FAILS = 0.4
ALPHA = 0.05
RATE = 100
CHECKS = (RateCheck(name="errors", action=Action.ABORT),)
RAMP = (0.05, 0.10, 0.25, 0.50)

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Crowd:
    """Callers of one run: who gets the candidate at which share, who fails, and who is busy. `worse`: the part of the
    requests that the candidate fails besides."""

    shares: tuple[float, ...] = (0.5,)
    worse: float = 0.0
    seconds: int = 1800

    def requests(self, rng: np.random.Generator) -> Iterator[tuple[int, NDArray[np.int64], Flags, Flags]]:
        """Each second: the step, who asked, whether the candidate answered, and whether it failed."""
        place = rng.random(CALLERS)  # the same throughout, so that a growing share only moves callers towards it
        fragile = rng.random(CALLERS) < FRAGILE
        busy = 1.0 / np.arange(1, CALLERS + 1)
        edges = np.cumsum(busy / busy.sum())
        for second in range(self.seconds):
            step = min(len(self.shares) - 1, second * len(self.shares) // self.seconds)
            who = np.searchsorted(edges, rng.random(RATE)).clip(max=CALLERS - 1)
            candidate = place[who] < self.shares[step]
            failed = fragile[who] & (rng.random(RATE) < FAILS)
            failed |= candidate & (rng.random(RATE) < self.worse)
            yield step, who, candidate, failed


@dataclass(frozen=True)
class Found:
    """Of one run: after how many seconds harm was "shown" (infinite: never), and on how many counted requests."""

    seconds: float
    counted: int


def watch(crowd: Crowd, seed: int, folder: Path | None) -> Found:
    """One run. `folder`: for the map of callers, each counted once; None counts every request."""
    steps = len(crowd.shares)
    once = None if folder is None else [SeenCallers(folder, f"run {seed}", step, steps) for step in range(steps)]
    wealth, counted = Wealth(), 0
    for second, (step, who, candidate, failed) in enumerate(crowd.requests(np.random.default_rng(seed))):
        if once is not None:
            first = np.array([once[step].is_first(b"%d" % caller) for caller in who.tolist()])
            candidate, failed = candidate[first], failed[first]
        counted += len(candidate)
        arms = (_arm(candidate, failed), _arm(~candidate, failed))
        wealth, verdict = assess(CHECKS, wealth, [Block("m", "r", step, "simulated", second, *arms)])
        if verdict.harm_log_e >= -math.log(ALPHA):
            return Found(second + 1.0, counted)
    return Found(math.inf, counted)


def _arm(mine: Flags, failed: Flags) -> Arm:
    n = int(mine.sum())
    return Arm(assigned=n, done=n, errors=int((mine & failed).sum()))


def rate(crowd: Crowd, seeds: range, *, once: bool) -> tuple[float, float, float]:
    """Over some runs: the part that showed harm, the median seconds until then, and the median of counted requests."""
    with TemporaryDirectory(prefix="serin-callers-") as folder:
        found = []
        for seed in seeds:
            own = Path(folder) / str(seed) if once else None
            found.append(watch(crowd, seed, own))
            for file in own.iterdir() if own is not None else ():
                file.unlink()
    seconds = [one.seconds for one in found]
    return (
        float(np.mean(np.isfinite(seconds))),
        float(np.median(seconds)),
        float(np.median([one.counted for one in found])),
    )


def main() -> None:
    """Print the table."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--runs", type=int, default=200)
    wanted.add_argument("--minutes", type=int, default=30)
    wanted.add_argument("--seed", type=int, default=1)
    told = wanted.parse_args()
    rows = {
        "equal versions, 50 %": Crowd(seconds=told.minutes * 60),
        "equal versions, 5-10-25-50 %": Crowd(RAMP, seconds=told.minutes * 60),
        "candidate fails 5 % more, 50 %": Crowd(worse=0.05, seconds=told.minutes * 60),
        "candidate fails 5 % more, 5-10-25-50 %": Crowd(RAMP, 0.05, told.minutes * 60),
    }
    print(f"{told.runs} runs of {told.minutes} minutes, alpha {ALPHA:.0%}: harm shown, median seconds, median counted")
    for name, crowd in rows.items():
        for once in (False, True):
            begun = time.process_time()
            part, seconds, counted = rate(crowd, range(told.seed, told.seed + told.runs), once=once)
            spent = time.process_time() - begun
            by = "callers once" if once else "requests"
            print(f"{name:40} {by:13} {part:6.1%} {seconds:8.0f} s {counted:9.0f}   ({spent:.0f} s of CPU)", flush=True)


if __name__ == "__main__":
    main()
