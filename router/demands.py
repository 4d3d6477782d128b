"""What the evidence must show at a step: a policy and a list of steps as sequential checks. Pure.

Checks, weights and actions are the same at every step, so that one budget covers the whole rollout; only the margin
that must be shown, and which checks may hold the step, differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from router.figures import LATENCY_EDGES_SECONDS
from router.policy import ERRORS_FLOOR, Metric, Policy, Rule, ratio_at
from router.sequential import (
    Action,
    ClassCheck,
    LatencyCheck,
    LimitCheck,
    Margin,
    RateCheck,
    ScoreCheck,
    SequentialCheck,
)
from router.strategies import Step, StepKind, shares_at, weight_at

WHOLE: Final = 1_000_000
INVALID: Final = "invalid"
"""The flag of answers that hold numbers which are not finite."""

LABELLED: Final = "labelled"
"""The flag of requests that a label has come for."""

FEWER_LABELS, MORE_LABELS = "labels_fewer", "labels_more"
LABELS_APART: Final = 0.8
"""Labels that come for fewer than so many times as many requests of one version as of the other compare nothing."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A watched output both versions count alike: `kind:output`, and how many cells of it are counted. `problem`: why
    there is none."""

    family: str = ""
    cells: int = 0
    labels: tuple[str, ...] = ()
    problem: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Watched":
        return cls(content["family"], content["cells"], tuple(content["labels"]), content["problem"])


@dataclass(frozen=True, slots=True)
class Shape:
    """Which outputs stand for classes and for scores: found when the rollout is first looked at, and kept."""

    classes: Watched = Watched()
    scores: Watched = Watched()


UNKNOWN: Final = Shape(*(Watched(problem="nothing has been counted of both versions yet"),) * 2)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a rollout stands. shape: None until both versions were counted; together: whether many requests of a
    version run with others; accepted: checks that hold no more, since a person has accepted what they show."""

    steps: tuple[Step, ...]
    index: int
    shape: Shape | None = None
    together: bool = False
    accepted: tuple[str, ...] = ()


EVEN: Final = (333_000, 667_000)
"""Between these weights candidate and stable have alike shares: neither has twice as much as the other."""

BASELINE: Final = "baseline"
"""The control of latency where stable runs a part of its requests in a queue of its own."""

TOGETHER: Final = (
    "many requests run together, and how long those take depends on the share of the traffic; say `baseline: true`, "
    "add a step of 50, or say `latency: {required: false}`, or `max_batch_rows = 1` in model.toml"
)


def is_randomised(steps: Sequence[Step], index: int) -> bool:
    """Whether chance decides who gets the candidate in this step, and stable is asked at the same time."""
    if shares_at(steps, index):
        return True
    return 0 < weight_at(steps, index) < WHOLE


def has_baseline(steps: Sequence[Step], index: int) -> bool:
    """Whether stable could run a part of its requests at the candidate's weight, and that would make a difference."""
    return 0 <= index < len(steps) and 0 < weight_at(steps, index) < EVEN[0]


def is_mirrored(steps: Sequence[Step], index: int) -> bool:
    """Whether requests are also run on the candidate in this step, which answers nobody by the split."""
    step = steps[index]
    return step.share_ppm > 0 and step.kind is not StepKind.NOISE and weight_at(steps, index) == 0


def applies(policy: Policy | None, steps: Sequence[Step], index: int) -> bool:
    """Whether evidence must be shown before step `index` is left."""
    if policy is None or not policy.rules or not 0 <= index < len(steps) or not steps[index].checked:
        return False
    judged = any(rule.metric is Metric.ERRORS for rule in policy.rules)
    return is_randomised(steps, index) or (judged and is_mirrored(steps, index))


def checks_at(policy: Policy, stand: Stand) -> tuple[SequentialCheck, ...]:
    """Every check of the policy, as it stands at this step; where labels judge, also whether they come for both."""
    found = _checks_at(policy, stand.steps, stand.index, stand.shape, stand.together)
    return tuple(_accepted(check) if check.name in stand.accepted else check for check in found)


def _accepted(check: SequentialCheck) -> SequentialCheck:
    """To report only is the one change of a check that keeps every guarantee."""
    return replace(check, action=Action.REPORT) if check.action is Action.HOLD else check


@lru_cache(maxsize=256)  # the same at each look, and each look would make some twenty values
def _checks_at(
    policy: Policy, steps: tuple[Step, ...], index: int, shape: Shape | None, together: bool
) -> tuple[SequentialCheck, ...]:
    stand = Stand(steps, index, shape, together)
    judged = tuple(_check(policy, rule, stand) for rule in policy.rules)
    reward = next((rule for rule in policy.rules if rule.metric is Metric.REWARD), None)
    return judged if reward is None else (*judged, *_arrivals(reward))


def _arrivals(reward: Rule) -> tuple[SequentialCheck, ...]:
    """Versions whose labels come at different rates cannot be compared by them: then a person must look. That none has
    come yet holds nothing up."""
    action = Action.REPORT if reward.action is Action.REPORT else Action.HOLD
    exempt = "labels come for both versions alike, as far as is known"
    fewer = RateCheck(
        name=FEWER_LABELS, weight=reward.weight / 2, action=action, mark=LABELLED, tolerated=LABELS_APART,
        more_is_better=True, exempt=exempt,
    )  # fmt: skip
    more = RateCheck(
        name=MORE_LABELS, weight=reward.weight / 2, action=action, mark=LABELLED, tolerated=1.0 / LABELS_APART,
        exempt=exempt,
    )  # fmt: skip
    return fewer, more


def limits_of(policy: Policy) -> tuple[LimitCheck, ...]:
    """The checks of the watch after promotion."""
    return tuple(
        LimitCheck(name=limit.name, limit=limit.share, arm="stable", slower_than=_edge(limit.slower_than_seconds))
        for limit in policy.watch
    )


def margin_at(rule: Rule, steps: Sequence[Step], index: int) -> Margin | None:
    """What must be shown at a step: what the step says, else the metric, else what its weight asks for. While requests
    are only mirrored nothing must be, unless the step says so: it is enough that no harm is seen."""
    own = steps[index].safe if 0 <= index < len(steps) else None
    if is_mirrored(steps, index) and (own is None or own.ratio is None):
        return None
    if rule.metric is Metric.ERRORS and rule.required:
        below = ERRORS_FLOOR if rule.safe is None else rule.safe.below
        if own is not None and own.ratio is not None:
            return Margin(own.ratio, below)
        return rule.safe or Margin(ratio_at(weight_at(steps, index)), below)
    if rule.metric is Metric.LATENCY and own is not None and own.increase is not None:
        return Margin(1.0 + own.increase)
    return rule.safe


def _edge(seconds: float | None) -> int | None:
    """The first latency edge that is not below a limit."""
    if seconds is None:
        return None
    return next((at for at, edge in enumerate(LATENCY_EDGES_SECONDS) if edge >= seconds * 0.999), None)


def _check(policy: Policy, rule: Rule, stand: Stand) -> SequentialCheck:
    steps, index = stand.steps, stand.index
    check = _MAKERS[rule.metric](rule, stand.shape or UNKNOWN)
    margins = tuple(margin_at(rule, steps, at) for at in range(len(steps)) if applies(policy, steps, at))
    safe = margin_at(rule, steps, index)
    later = tuple(margin for margin in dict.fromkeys(margins) if margin is not None)
    required = rule.required and safe is not None
    check = replace(check, safe=safe, later=later, required=required)
    exempt = _exempt(policy, rule, stand)
    if exempt:
        return replace(check, required=False, exempt=exempt)
    if not isinstance(check, LatencyCheck):
        return check
    if policy.baseline and has_baseline(steps, index):
        return replace(check, control=BASELINE, by_request=not stand.together)
    return _of_batches(policy, check, stand) if stand.together else replace(check, by_request=True)


def _of_batches(policy: Policy, check: SequentialCheck, stand: Stand) -> SequentialCheck:
    """How long a batch takes depends on how many come, so on the share of the traffic. Between shares that are alike it
    can be compared. With a small share the candidate has it easier: that it is slower all the same counts, that it is
    not shows nothing. With a large one nothing can be told."""
    steps, index = stand.steps, stand.index
    if _is_even(steps, index):
        return check
    if weight_at(steps, index) > EVEN[1]:
        return replace(check, suspended=TOGETHER)
    fair = [at for at in range(index + 1, len(steps)) if applies(policy, steps, at) and _is_even(steps, at)]
    if fair:
        asked = f"it is asked in step {fair[0] + 1}, where shares are alike: many requests run together"
        return replace(check, safe=None, later=(), required=False, exempt=asked)
    return replace(check, safe=None, later=(), doubtful=TOGETHER)


def _is_even(steps: Sequence[Step], index: int) -> bool:
    return EVEN[0] <= weight_at(steps, index) <= EVEN[1]


def _exempt(policy: Policy, rule: Rule, stand: Stand) -> str:
    """Why a check asks nothing of this step; empty: it asks."""
    if not is_randomised(stand.steps, stand.index):
        if rule.metric is Metric.ERRORS:
            return ""
        return "nothing is asked of it while requests are only mirrored"
    for fills, what in ((policy.mirror_ppm, "mirrored requests"), (policy.golden_per_second, "golden rows")):
        if fills and rule.metric is not Metric.ERRORS:
            return f"nothing is asked of it while {what} fill the sample"
    return ""


def _rate(rule: Rule, _shape: Shape) -> SequentialCheck:
    return RateCheck(
        name=str(rule.metric), weight=rule.weight, action=rule.action, mark=_MARKS[rule.metric],
        tolerated=rule.max_ratio, ignore_below=rule.ignore_below, more_is_better=rule.metric is Metric.REWARD,
    )  # fmt: skip


def _latency(rule: Rule, _shape: Shape) -> SequentialCheck:
    return LatencyCheck(
        name=str(rule.metric), weight=rule.weight, action=rule.action, edges=LATENCY_EDGES_SECONDS,
        quantiles=rule.quantiles, max_increase=rule.max_increase, ignore_below=rule.ignore_below,
    )  # fmt: skip


def _classes(rule: Rule, shape: Shape) -> SequentialCheck:
    return ClassCheck(
        name=str(rule.metric), weight=rule.weight, action=rule.action, tolerance=rule.tolerance,
        classes=max(2, shape.classes.cells), suspended=shape.classes.problem,
    )  # fmt: skip


def _score(rule: Rule, shape: Shape) -> SequentialCheck:
    return ScoreCheck(
        name=str(rule.metric), weight=rule.weight, action=rule.action, min_auc_shift=rule.min_auc_shift,
        buckets=max(2, shape.scores.cells), suspended=shape.scores.problem,
    )  # fmt: skip


_MARKS: Final = {Metric.ERRORS: "errors", Metric.OUTPUTS_VALID: INVALID, Metric.REWARD: "reward"}
_MAKERS: Final = {
    Metric.ERRORS: _rate,
    Metric.OUTPUTS_VALID: _rate,
    Metric.REWARD: _rate,
    Metric.LATENCY: _latency,
    Metric.CLASS_SHARE: _classes,
    Metric.SCORE: _score,
}
