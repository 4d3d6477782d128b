"""How often a candidate that is exactly at the margin is shown to be safe, in many runs at once.

    python -m loadtests.simulate_margin [--runs 500] [--seed 1]

Errors of both versions go up and down within a quarter of an hour, and the candidate always has 1.5 times as many: the
odds of that ratio depend on the rate, which is known from earlier blocks only. 100 requests a second for an hour, a
block and a look each second. The same functions as `router.analysis` uses; a row of each array is a run.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtests.simulated_traffic import RATE, ramp
from router.families import DOWNWARDS, Floats, Marks
from router.ledger import RECENT
from router.rates import log_odds_margins
from router.sequential import Margin, RateCheck
from router.synthetic import constant
from router.tilts import Ask, answer
from router.wealth import EProcess, design_prior

RATIO = 1.5
LEVELS = (0.05, 0.01)
CHECK = RateCheck(name="errors", required=True, safe=Margin(RATIO))


@dataclass(frozen=True)
class Swing:
    """The control's errors: `rate`, times 1 - depth to 1 + depth. share: the candidate's; worse: how many times as many
    errors it has."""

    rate: float
    depth: float
    share: Callable[[float], float]
    worse: float = RATIO
    seconds: int = 3600

    def at(self, second: int) -> float:
        return self.rate * (1.0 + self.depth * math.sin(second / 150.0))


def crossed(swing: Swing, runs: int, seed: int) -> list[float]:
    """The part of the runs in which safety was shown, at each level."""
    rng = np.random.default_rng(seed)
    recent = np.zeros((runs, 2))
    prior = design_prior(1 + len(DOWNWARDS))
    process = EProcess.start(runs, prior)
    for second in range(swing.seconds):
        rate = swing.at(second)
        ours = rng.binomial(RATE, swing.share(second), runs)
        n = np.stack([ours, RATE - ours]).astype(float)
        k = np.stack([rng.binomial(ours, swing.worse * rate), rng.binomial(RATE - ours, rate)]).astype(float)
        margins = log_odds_margins(CHECK, recent, RATIO)
        [llr] = answer([Ask(Marks(n[0], k[0], n[1], k[1]), DOWNWARDS, margins, -margins)])
        process = process.update(llr, prior)
        recent = _faded(recent, n[1], k[1])
    return [float((process.peak >= -math.log(alpha)).mean()) for alpha in LEVELS]


def _faded(recent: Floats, n: Floats, k: Floats) -> Floats:
    """What is known of the control after one more block, older requests fading as in `ledger.histories`."""
    after: Floats = recent * 0.5 ** (n / RECENT)[:, None] + np.stack([n - k, k], axis=1)
    return after


def main() -> None:
    """Print the table."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--runs", type=int, default=500)
    wanted.add_argument("--seed", type=int, default=1)
    told = wanted.parse_args()
    rows = {
        "errors 1-19 %, 50 %": Swing(0.1, 0.9, constant(0.5)),
        "errors 1-19 %, 5 %": Swing(0.1, 0.9, constant(0.05)),
        "errors 1-19 %, ramp": Swing(0.1, 0.9, ramp),
        "errors 10 %, 50 %": Swing(0.1, 0.0, constant(0.5)),
    }
    print(f"promotion at exactly x{RATIO:g}, {told.runs} runs of an hour: part of them shown safe")
    for name, swing in rows.items():
        shown = crossed(swing, told.runs, told.seed)
        parts = "  ".join(f"alpha {alpha:g}: {part:6.2%}" for alpha, part in zip(LEVELS, shown, strict=True))
        print(f"  {name:24} {parts}", flush=True)


if __name__ == "__main__":
    main()
