"""How a rollout is judged by evidence, as plain values: what `analysis:` of its document says. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from router.sequential import Action, Budgets, Margin


class Metric(StrEnum):
    """What evidence is gathered about."""

    ERRORS = "errors"
    LATENCY = "latency"
    OUTPUTS_VALID = "outputs_valid"
    CLASS_SHARE = "class_share"
    SCORE = "score"
    REWARD = "reward"


@dataclass(frozen=True, slots=True)
class Rule:
    """One metric: what harm is, what it leads to, and what must be shown before the next step.

    max_ratio: of rates, candidate / stable (reward: harm is below it); ignore_below: a rate (of latency a
    quantile, seconds) that is never harm; max_increase: of latency, 0.1 is 10 %; tolerance: of a class's share;
    min_auc_shift: of a score. `safe` None: the margin grows narrower with the weight (errors) or nothing must be shown.
    output: whose classes or scores, "": the first that is watched. delay_seconds: how late labels may come.
    """

    metric: Metric
    action: Action
    weight: float = 1.0
    required: bool = False
    safe: Margin | None = None
    max_ratio: float = 1.0
    ignore_below: float = 0.0
    quantiles: tuple[float, ...] = ()
    max_increase: float = 0.0
    tolerance: float = 0.0
    min_auc_shift: float = 0.0
    output: str = ""
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What the watch after promotion holds the new stable version to: the share of requests that fail, or that take
    `slower_than_seconds` or longer."""

    name: str
    share: float
    slower_than_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it. min_requests, max_age_seconds: when a block closes; warmup_*: the first of each worker are left out;
    assignment: what a broken split leads to (hold or report); mirror_ppm: above 0 mirrored requests fill the sample in
    steps with weight too; by_key: the first request of each routing key counts; watch: limits after promotion;
    baseline: latency is compared with stable in a queue of its own at the candidate's weight, where shares differ;
    golden_per_second: golden rows that each worker runs on both versions in steps with weight, to fill the sample."""

    rules: tuple[Rule, ...] = ()
    budgets: Budgets = field(default_factory=Budgets)
    min_requests: int = 20
    max_age_seconds: float = 60.0
    warmup_seconds: float = 10.0
    warmup_requests: int = 20
    assignment: Action = Action.HOLD
    mirror_ppm: int = 0
    by_key: bool = False
    watch: tuple[Limit, ...] = ()
    baseline: bool = False
    golden_per_second: float = 0.0


ERRORS_FLOOR: Final = 0.005
"""A rate of errors below which a candidate is safe whatever stable's is."""

LADDER: Final = ((250_000, 3.0), (500_000, 2.0), (1_000_001, 1.5))
"""Below this weight the candidate must be shown to fail less than so many times as often as stable."""


def ratio_at(weight_ppm: int) -> float:
    """The default margin of errors at a weight: the more traffic, the more must be shown."""
    return next(ratio for below, ratio in LADDER if weight_ppm < below)
