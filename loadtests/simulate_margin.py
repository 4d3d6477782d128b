"""How often a candidate that is exactly at the margin is shown to be safe, or harmful, in many runs at once.

    python -m loadtests.simulate_margin [--runs 500] [--seed 1]

Errors of both versions go up and down within a quarter of an hour, or leap every five minutes, and the candidate always
has 1.5 times as many (or 1.2, or 0.95 times as many right answers): the odds of that ratio depend on the rate, which is
known from earlier blocks only. 100 requests a second for an hour, a block and a look each second. The same functions as
`router.analysis` uses; a row of each array is a run.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtests.simulated_traffic import RATE, ramp
from router.families import DOWNWARDS, UPWARDS, Floats, Marks
from router.ledger import RECENT, RECENT_MARKS
from router.rates import log_odds_margins
from router.sequential import Margin, RateCheck
from router.synthetic import constant
from router.tilts import Ask, answer
from router.wealth import EProcess, design_prior, even_prior

RATIO = 1.5
LEVELS = (0.05, 0.01)
CHECK = RateCheck(name="errors", required=True, safe=Margin(RATIO))


SLIGHTLY = RateCheck(name="errors", tolerated=1.2)
RIGHT = RateCheck(name="reward", mark="reward", more_is_better=True, tolerated=0.95, required=True, safe=Margin(0.95))


@dataclass(frozen=True)
class Swing:
    """The control's worse marks: `rate`, times 1 - depth to 1 + depth; or `rate` and `leap`, five minutes each. share:
    the candidate's; worse: how many times as many marks (of more-is-better ones: good marks) it has."""

    rate: float
    depth: float
    share: Callable[[float], float]
    worse: float = RATIO
    seconds: int = 3600
    leap: float | None = None
    check: RateCheck = CHECK
    harm: bool = False

    def at(self, second: int) -> float:
        if self.leap is not None:
            return self.leap if second // 300 % 2 else self.rate
        return self.rate * (1.0 + self.depth * math.sin(second / 150.0))

    def of_candidate(self, rate: float) -> float:
        return 1.0 - self.worse * (1.0 - rate) if self.check.more_is_better else self.worse * rate


def crossed(swing: Swing, runs: int, seed: int) -> list[float]:
    """The part of the runs in which safety (or harm) was shown, at each level."""
    rng = np.random.default_rng(seed)
    recent = np.zeros((runs, 2))
    prior = even_prior(len(UPWARDS)) if swing.harm else design_prior(1 + len(DOWNWARDS))
    process = EProcess.start(runs, prior)
    for second in range(swing.seconds):
        rate = swing.at(second)
        ours = rng.binomial(RATE, swing.share(second), runs)
        n = np.stack([ours, RATE - ours]).astype(float)
        marked = [rng.binomial(ours, swing.of_candidate(rate)), rng.binomial(RATE - ours, rate)]
        k = np.stack(marked).astype(float)
        [llr] = answer([_ask(swing, Marks(n[0], k[0], n[1], k[1]), recent)])
        process = process.update(llr, prior)
        recent = _faded(recent, n[1], k[1])
    return [float((process.peak >= -math.log(alpha)).mean()) for alpha in LEVELS]


def _ask(swing: Swing, marks: Marks, recent: Floats) -> Ask:
    """What `rates` asks of a block, of harm or of safety."""
    check = swing.check
    if swing.harm:
        return Ask(marks, UPWARDS, log_odds_margins(check, recent, check.tolerated, harm=True))
    ratio = RATIO if check.safe is None or check.safe.ratio is None else check.safe.ratio
    margins = log_odds_margins(check, recent, ratio)
    return Ask(marks, DOWNWARDS, margins, -np.where(np.isnan(margins), 0.1, margins))


def _faded(recent: Floats, n: Floats, k: Floats) -> Floats:
    """What is known of the control after one more block, older requests fading as in `ledger.histories`."""
    after: Floats = recent * 0.5 ** (n / RECENT + k / RECENT_MARKS)[:, None] + np.stack([n - k, k], axis=1)
    return after


def main() -> None:
    """Print the table."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--runs", type=int, default=500)
    wanted.add_argument("--seed", type=int, default=1)
    told = wanted.parse_args()
    half = constant(0.5)
    rows = {
        "safe: errors 1-19 % x1.5, 50 %": Swing(0.1, 0.9, half),
        "safe: errors 1-19 % x1.5, 5 %": Swing(0.1, 0.9, constant(0.05)),
        "safe: errors 1-19 % x1.5, ramp": Swing(0.1, 0.9, ramp),
        "safe: errors 10 % x1.5, 50 %": Swing(0.1, 0.0, half),
        "safe: errors 1 or 20 % x1.5, 50 %": Swing(0.01, 0.0, half, leap=0.2),
        "safe: 95 or 60 % right x0.95, 50 %": Swing(0.05, 0.0, half, 0.95, leap=0.4, check=RIGHT),
        "harm: errors 1 or 40 % x1.2, 50 %": Swing(0.01, 0.0, half, 1.2, leap=0.4, check=SLIGHTLY, harm=True),
        "harm: 95 or 60 % right x0.95, 50 %": Swing(0.05, 0.0, half, 0.95, leap=0.4, check=RIGHT, harm=True),
    }
    print(f"exactly at the margin, {told.runs} runs of an hour: part of them in which it was crossed")
    for name, swing in rows.items():
        shown = crossed(swing, told.runs, told.seed)
        parts = "  ".join(f"alpha {alpha:g}: {part:6.2%}" for alpha, part in zip(LEVELS, shown, strict=True))
        print(f"  {name:36} {parts}", flush=True)


if __name__ == "__main__":
    main()
