"""From the `analysis:` part of a document to a policy that can be honoured, or a refusal that names the field."""

from typing import Final

from router.analysis_body import AnalysisBody, MetricsBody, WatchBody
from router.demands import WHOLE, has_baseline, is_mirrored, is_randomised
from router.figures import LATENCY_EDGES_SECONDS
from router.names import require
from router.policy import ERRORS_FLOOR, Limit, Metric, Policy, Rule
from router.sequential import Action, Budgets, Margin
from router.spec_body import SpecBody
from router.strategies import Step, StepKind, Strategy

_DEFAULT: Final = (Strategy.CANARY, Strategy.STEPS)
_UNRANDOMISED: Final = (Strategy.COHORT, Strategy.BLUE_GREEN, Strategy.INSTANT)
SEQUENTIAL: Final = "sequential"


def analysis_of(body: SpecBody, strategy: Strategy, steps: tuple[Step, ...]) -> AnalysisBody | None:
    """What holds: what the document says, or the defaults where it says nothing of checks either."""
    if body.analysis is not None or body.checks is not None or strategy not in _DEFAULT:
        return body.analysis
    weighted = any(step.kind is StepKind.WEIGHT and 0 < step.weight_ppm < WHOLE and step.checked for step in steps)
    return AnalysisBody() if weighted and not isinstance(body.to, list) else None


def is_uncontrolled(step: Step) -> bool:
    """Whether nothing is left for stable, so that evidence cannot judge the step."""
    return step.kind in (StepKind.WEIGHT, StepKind.SWITCH) and step.weight_ppm == WHOLE


def policy_of(body: AnalysisBody | None, *, has_key: bool) -> Policy | None:
    """The policy; None where thresholds alone judge. `has_key`: the document says what callers are recognised by."""
    if body is None or (body.method != SEQUENTIAL and body.watch is None):
        return None
    budgets = Budgets(
        float(body.false_rollback_rate),
        float(body.false_hold_rate),
        float(body.false_promotion_rate),
        float(body.srm.alpha),
    )
    if body.method != SEQUENTIAL:
        return Policy(budgets=budgets, watch=_limits(body.watch))  # limits need no control
    return Policy(
        rules=_rules(body.metrics),
        budgets=budgets,
        min_requests=body.block.min_requests,
        max_age_seconds=body.block.max_age,
        warmup_seconds=body.warmup.seconds,
        warmup_requests=body.warmup.requests,
        assignment=Action(body.srm.action),
        mirror_ppm=body.low_traffic,
        by_key=body.unit == "key" or (body.unit is None and has_key),
        watch=_limits(body.watch),
        baseline=body.baseline,
        golden_per_second=float(body.golden),
    )


def require_honourable_analysis(body: SpecBody, strategy: Strategy, steps: tuple[Step, ...]) -> None:
    """Raises InvalidArgument for what nobody could show."""
    analysis = body.analysis
    sequential = analysis is not None and analysis.method == SEQUENTIAL
    for index, step in enumerate(steps):
        if step.safe is not None:
            judged = sequential and (is_randomised(steps, index) or is_mirrored(steps, index))
            require(judged, f"steps[{index}].safe", "needs a step with a weight, and `analysis` that is sequential")
    if analysis is not None:
        _require_times(analysis, body)
    if analysis is None or not sequential:
        return
    use = "use `checks`, or `method: threshold`"
    require(strategy not in _UNRANDOMISED, "analysis", f"strategy {strategy} has no randomised control; {use}")
    one = not isinstance(body.to, list) or len(body.to) == 1
    require(one, "analysis", f"compares one candidate with stable, but `to` names several; {use}")
    chance = any(is_randomised(steps, index) for index in range(len(steps)))
    mirrored = any(is_mirrored(steps, index) for index in range(len(steps)))
    require(chance or mirrored, "analysis", f"no step of this rollout has a randomised control; {use}")
    require(
        chance or analysis.metrics.errors is not False, "analysis.metrics.errors", "all that mirrored requests show"
    )
    require(chance or analysis.low_traffic == 0, "analysis.low_traffic", "needs a step with a weight")
    judged = chance and analysis.metrics.errors is not False
    require(judged or analysis.golden == 0, "analysis.golden", "needs a step with a weight, and errors to judge")
    useful = any(has_baseline(steps, index) for index in range(len(steps))) and analysis.metrics.latency is not False
    require(useful or not analysis.baseline, "analysis.baseline", "needs a weight below 33.3, and latency to compare")
    require(bool(_rules(analysis.metrics)), "analysis.metrics", "leaves nothing to judge; use `method: threshold`")
    _require_floor(analysis.metrics)


def _require_floor(metrics: MetricsBody) -> None:
    if metrics.latency is False:
        return
    at, longest = "analysis.metrics.latency.ignore_below", LATENCY_EDGES_SECONDS[-1]
    require(metrics.latency.ignore_below <= longest, at, f"must be at most {longest:g} s")
    low = metrics.latency.ignore_below > 0 and min(metrics.latency.quantiles) <= 0.1
    require(not low, at, "must be 0 with quantiles of 0.1 or less")


def _require_times(analysis: AnalysisBody, body: SpecBody) -> None:
    require(analysis.block.max_age >= 1.0, "analysis.block.max_age", "must be at least 1s")
    watch = analysis.watch
    if watch is None:
        return
    require(watch.errors is not None or watch.latency is not None, "analysis.watch", "needs `errors` or `latency`")
    require(body.rollback_window > 0, "analysis.watch", "needs a rollback_window in which it could roll back")
    fits = watch.latency is None or 0 < watch.latency.slower_than <= LATENCY_EDGES_SECONDS[-1]
    require(fits, "analysis.watch.latency.slower_than", "must be above 0 and at most 60s")


def _rules(metrics: MetricsBody) -> tuple[Rule, ...]:
    found = (_errors(metrics), _latency(metrics), _valid(metrics), _classes(metrics), _score(metrics), _reward(metrics))
    return tuple(rule for rule in found if rule is not None)


def _errors(metrics: MetricsBody) -> Rule | None:
    body = metrics.errors
    if body is False:
        return None
    safe = None
    if body.safe is not None and body.safe.ratio is not None:
        below = ERRORS_FLOOR if body.safe.or_below is None else float(body.safe.or_below)
        safe = Margin(float(body.safe.ratio), below)
    elif body.safe is not None and body.safe.or_below is not None:
        safe = Margin(below=float(body.safe.or_below))
    return Rule(
        Metric.ERRORS, body.action, float(body.weight), body.required, safe,
        max_ratio=float(body.max_ratio), ignore_below=float(body.ignore_below),
    )  # fmt: skip


def _latency(metrics: MetricsBody) -> Rule | None:
    body = metrics.latency
    if body is False:
        return None
    safe = None if body.safe is None else Margin(1.0 + float(body.safe.increase))
    return Rule(
        Metric.LATENCY, body.action, float(body.weight), body.required and safe is not None, safe,
        quantiles=tuple(float(quantile) for quantile in body.quantiles), max_increase=float(body.max_increase),
        ignore_below=body.ignore_below,
    )  # fmt: skip


def _valid(metrics: MetricsBody) -> Rule | None:
    body = metrics.outputs_valid
    if body is False:
        return None
    return Rule(
        Metric.OUTPUTS_VALID, body.action, float(body.weight),
        max_ratio=float(body.max_ratio), ignore_below=float(body.ignore_below),
    )  # fmt: skip


def _classes(metrics: MetricsBody) -> Rule | None:
    body = metrics.class_share
    if body is False:
        return None
    tolerance = float(body.tolerance)
    return Rule(Metric.CLASS_SHARE, body.action, float(body.weight), tolerance=tolerance, output=body.output)


def _score(metrics: MetricsBody) -> Rule | None:
    body = metrics.score
    if body is False:
        return None
    shift = float(body.min_auc_shift)
    return Rule(Metric.SCORE, body.action, float(body.weight), min_auc_shift=shift, output=body.output)


def _reward(metrics: MetricsBody) -> Rule | None:
    body = metrics.reward
    if body is False:
        return None
    safe = None if body.safe is None else Margin(float(body.safe.ratio))
    return Rule(
        Metric.REWARD, body.action, float(body.weight), body.required and safe is not None, safe,
        max_ratio=float(body.max_ratio), delay_seconds=body.delay,
    )  # fmt: skip


def _limits(watch: WatchBody | None) -> tuple[Limit, ...]:
    if watch is None:
        return ()
    errors = () if watch.errors is None else (Limit("errors", float(watch.errors)),)
    slow = watch.latency
    latency = () if slow is None else (Limit("latency", float(slow.share), slow.slower_than),)
    return (*errors, *latency)
