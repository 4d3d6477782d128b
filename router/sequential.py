"""Sequential checks: what must be shown of a candidate by evidence, and what is done when it is not. Values. Pure.

A check compares the candidate with a control that ran at the same time. *Harm* is evidence that it is worse than
tolerated; *safety* is evidence that it is not worse than a margin (non-inferiority). Ratios are candidate over control.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from router.errors import InvalidArgument


class Action(StrEnum):
    """What harm leads to. REPORT: nothing but numbers."""

    ABORT = "abort"
    HOLD = "hold"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Margin:
    """What "safe" means: less than `ratio` times the control's rate (or latency), or a rate below `below`; either
    shows it. For marks of which more is better: more than `ratio` times."""

    ratio: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        _require(self.ratio is not None or self.below is not None, "a safe margin needs a ratio, a limit, or both")
        _require(self.ratio is None or 0.0 < self.ratio < math.inf, f"a safe ratio is above 0, not {self.ratio}")
        _require(self.below is None or 0.0 < self.below < 1.0, f"a safe rate is between 0 and 1, not {self.below}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialCheck:
    """What all checks have. weight: its part of the false-alarm budget among checks of one action; safe: the margin
    that this step needs; later: margins of other steps, for which evidence is gathered already; required: whether
    `safe` must be shown before the next step; min_requests: candidate requests in this epoch before it may pass;
    control: "stable" or "baseline"; suspended: why it cannot tell (it is `inconclusive` then, and bets nothing);
    exempt: why nothing is asked of it at this step (it bets, and harm still counts, but it holds nothing up);
    doubtful: why it cannot show safety at present (it is `inconclusive` then, but harm still counts).
    Weights and actions stay as they are through a rollout; switching a check to REPORT is the one change that keeps
    every guarantee. Raises InvalidArgument for values that cannot be."""

    name: str
    weight: float = 1.0
    action: Action = Action.HOLD
    required: bool = False
    safe: Margin | None = None
    later: tuple[Margin, ...] = ()
    min_requests: int = 0
    control: str = "stable"
    suspended: str = ""
    exempt: str = ""
    doubtful: str = ""

    def __post_init__(self) -> None:
        _require(0.0 < self.weight < math.inf, f"{self.name}: a weight is above 0, not {self.weight}")
        _require(self.control in ("stable", "baseline"), f"{self.name}: the control is stable or baseline")
        shows = self.safe is not None or self.doubtful != ""
        _require(shows or not self.required, f"{self.name}: required, but `safe` does not say of what")
        _require(not (self.required and self.exempt), f"{self.name}: required and exempt exclude each other")

    @property
    def margins(self) -> tuple[Margin, ...]:
        """Every margin that evidence is gathered for, once."""
        return tuple(dict.fromkeys((*(() if self.safe is None else (self.safe,)), *self.later)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCheck(SequentialCheck):
    """The rate of a mark ("errors", "reward", "paired", or a flag of the arms). Harm: the ratio is above `tolerated`
    *and* the candidate's rate above `ignore_below`. With `more_is_better`: the ratio is below `tolerated`. "paired":
    the odds "only the candidate failed" : "only stable failed" on mirrored requests."""

    mark: str = "errors"
    tolerated: float = 1.0
    ignore_below: float = 0.0
    more_is_better: bool = False

    def __post_init__(self) -> None:
        # A slotted dataclass is a new class: zero-argument super() would look for the old one.
        SequentialCheck.__post_init__(self)
        _require(0.0 < self.tolerated < math.inf, f"{self.name}: a tolerated ratio is above 0, not {self.tolerated}")
        _require(0.0 <= self.ignore_below < 0.9, f"{self.name}: ignore_below is a rate, not {self.ignore_below}")
        floors = self.ignore_below or any(margin.below for margin in self.margins)
        _require(not (self.more_is_better and floors), f"{self.name}: floors are for rates of which less is better")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCheck(SequentialCheck):
    """The rate of a mark in one arm against a fixed limit (an SLO, a baseline). Safe: `Margin(below=...)`. With
    `slower_than`, the mark is "latency at or above that edge" (its index). `arm`: "candidate" or "stable"."""

    limit: float
    mark: str = "errors"
    slower_than: int | None = None
    arm: str = "candidate"

    def __post_init__(self) -> None:
        SequentialCheck.__post_init__(self)
        _require(0.0 < self.limit < 0.9, f"{self.name}: a limit lies between 0 and 0.9, not at {self.limit}")
        _require(self.arm in ("candidate", "stable"), f"{self.name}: the arm is candidate or stable")
        ratios = any(margin.ratio is not None for margin in self.margins)
        _require(not ratios, f"{self.name}: one arm has no ratio; say `below`")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCheck(SequentialCheck):
    """Quantiles of latency. Harm: slower than (1 + max_increase) times the control at some quantile. Safe:
    `Margin(ratio=1.2)` is +20 % at every quantile. `edges`: upper edges of the latency cells, in any unit, growing; one
    more cell lies above. `reference`: the control's cells from before the rollout, if there are any. `ignore_below`: in
    the unit of the edges; a quantile below it is neither harm nor unsafe, whatever the control's is. `by_request`:
    safety counts every request rather than one a run, which is right while few run together."""

    edges: tuple[float, ...]
    quantiles: tuple[float, ...] = (0.5, 0.95, 0.99)
    max_increase: float = 0.10
    ignore_below: float = 0.0
    reference: tuple[int, ...] = ()
    by_request: bool = False

    def __post_init__(self) -> None:
        SequentialCheck.__post_init__(self)
        growing = len(self.edges) > 1 and all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        _require(
            growing and self.edges[0] > 0.0, f"{self.name}: edges are above 0 and grow, and there are at least two"
        )
        likely = bool(self.quantiles) and all(0.0 < quantile < 1.0 for quantile in self.quantiles)
        _require(likely, f"{self.name}: quantiles lie between 0 and 1")
        slower = all(margin.ratio is not None and margin.ratio > 1.0 for margin in self.margins)
        _require(slower and self.max_increase >= 0.0, f"{self.name}: a margin of latency is a ratio above 1")
        known = 0.0 <= self.ignore_below <= self.edges[-1] and (not self.ignore_below or min(self.quantiles) > 0.1)
        _require(known, f"{self.name}: ignore_below is at most the last edge, and for quantiles above 0.1 only")
        fits = len(self.reference) in (0, len(self.edges) + 1)
        _require(fits, f"{self.name}: the reference has {len(self.reference)} cells for {len(self.edges)} edges")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCheck(SequentialCheck):
    """Shares of predicted classes, both directions. Harm: some share is off by more than `tolerance` (of 1)."""

    classes: int
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        SequentialCheck.__post_init__(self)
        _require(self.classes > 1, f"{self.name}: there are at least two classes, not {self.classes}")
        _require(0.0 <= self.tolerance < 1.0, f"{self.name}: a tolerance is a share, not {self.tolerance}")
        _require(not self.margins, f"{self.name}: class shares have no safe margin")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCheck(SequentialCheck):
    """The distribution of a score over ordered buckets, both directions. Harm: another distribution, and the estimated
    probability that a candidate's score exceeds a control's is off one half by at least `min_auc_shift`."""

    buckets: int
    min_auc_shift: float = 0.03

    def __post_init__(self) -> None:
        SequentialCheck.__post_init__(self)
        _require(self.buckets > 1, f"{self.name}: there are at least two buckets, not {self.buckets}")
        _require(0.0 <= self.min_auc_shift < 0.5, f"{self.name}: a shift is below 0.5, not {self.min_auc_shift}")
        _require(not self.margins, f"{self.name}: a score's distribution has no safe margin")


@dataclass(frozen=True, slots=True)
class Budgets:
    """Error probabilities, each over the whole rollout: all checks, all steps, all looks; false_promotion for each
    required check and margin. Raises InvalidArgument outside (0, 1)."""

    false_rollback: float = 0.01
    false_hold: float = 0.01
    false_promotion: float = 0.05
    broken_assignment: float = 0.001

    def __post_init__(self) -> None:
        rates = (self.false_rollback, self.false_hold, self.false_promotion, self.broken_assignment)
        _require(all(0.0 < rate < 1.0 for rate in rates), f"an error probability lies between 0 and 1: {rates}")


def default_checks(edges: Sequence[float], classes: int = 0, score_buckets: int = 0) -> tuple[SequentialCheck, ...]:
    """The defaults: errors and latency abort and must be shown safe, invalid outputs abort, shifts of predictions and
    worse rewards hold. `edges`: of the latency cells; classes and score_buckets: 0 leaves that check out. The error
    margins of the three default steps (3.0, 2.0, 1.5) are all gathered; `safe` is the middle one."""
    floor = 0.005
    checks: list[SequentialCheck] = [
        RateCheck(
            name="errors", weight=0.4, action=Action.ABORT, tolerated=1.2, ignore_below=0.001, required=True,
            safe=Margin(2.0, floor), later=(Margin(3.0, floor), Margin(1.5, floor)),
        ),
        LatencyCheck(
            name="latency", weight=0.4, action=Action.ABORT, required=True, safe=Margin(1.2), edges=tuple(edges)
        ),
        RateCheck(name="outputs_valid", mark="invalid", weight=0.2, action=Action.ABORT),
        RateCheck(name="reward", mark="reward", more_is_better=True, safe=Margin(0.95)),
    ]  # fmt: skip
    if classes:
        checks.append(ClassCheck(name="class_share", classes=classes))
    if score_buckets:
        checks.append(ScoreCheck(name="score", buckets=score_buckets))
    return tuple(checks)


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise InvalidArgument(text)
