"""What a rollout's document asks for and nobody could honour: refused when it is applied, by the field's path."""

from collections.abc import Mapping
from typing import Final

from router.checks import ABOVE_NOISE, COUNTS, METRICS, CheckKind, Compare
from router.errors import InvalidArgument
from router.names import require
from router.plan import RolloutSpec
from router.spec_body import CheckBody, SpecBody
from router.strategies import End, Step, StepKind, Strategy, least_seconds, mirrors

_OPTIONS: Final[Mapping[Strategy, str]] = {
    Strategy.CANARY: "canary",
    Strategy.BLUE_GREEN: "blue_green",
    Strategy.AB: "ab",
    Strategy.SHADOW: "shadow",
    Strategy.COHORT: "cohort",
    Strategy.STEPS: "steps",
}
_UNRANDOMISED: Final = (Strategy.COHORT, Strategy.BLUE_GREEN)


def require_options(body: SpecBody, strategy: Strategy) -> None:
    if body.steps is not None and body.strategy not in (Strategy.CANARY, Strategy.STEPS):
        raise InvalidArgument(
            f"steps: a list of steps is strategy `steps`, not `{body.strategy}`; leave one of them out"
        )
    if body.steps is None and strategy is Strategy.STEPS:
        raise InvalidArgument("steps: required by strategy steps")
    for other, name in _OPTIONS.items():
        if other is not strategy and getattr(body, name) is not None:
            raise InvalidArgument(f"{other}: belongs to strategy {other}, but this one is {strategy}")


def require_honourable(spec: RolloutSpec, body: SpecBody) -> None:
    shares = any(step.kind is StepKind.SHARE for step in spec.steps)
    require(shares == isinstance(body.to, list), "to", "a list with weights is for ab (and `share` steps), and needed")
    versions = [arm.version for arm in spec.to]
    require(len(set(versions)) == len(versions), "to", "names a version twice")
    names = [arm.name or arm.version for arm in spec.to]
    require(len(set(names)) == len(names), "to", "uses a name twice")
    require(sum(arm.weight_ppm for arm in spec.to) <= 1_000_000, "to", "the weights sum to more than 100 percent")
    require(not shares or spec.end is End.DECIDE or body.end is None, "end", "must be `decide` where shares are fixed")
    _require_growing(spec.steps)
    _require_noise(spec.steps)
    _require_time(spec)
    _require_safeguards(spec, body, shares)


def _require_growing(steps: tuple[Step, ...]) -> None:
    """Weights only grow: a caller who got the candidate keeps it until the rollout ends."""
    last = 0
    for index, step in enumerate(steps):
        if step.kind in (StepKind.WEIGHT, StepKind.SWITCH):
            require(step.weight_ppm >= last, f"steps[{index}].weight", "must not be below the weight before it")
            last = step.weight_ppm


def _require_noise(steps: tuple[Step, ...]) -> None:
    """A floor that nothing was measured for would hold up every check that is held against it."""
    for index, step in enumerate(steps):
        if step.kind is StepKind.NOISE:
            require(step.share_ppm > 0, f"steps[{index}].noise_floor", "must be above 0")
            require(step.wait.requests > 0, f"steps[{index}].requests", "required by `noise_floor`")


def _require_time(spec: RolloutSpec) -> None:
    needed, limits = least_seconds(spec.steps), spec.limits
    longest = limits.max_seconds
    require(longest > 0, "max_duration", "must be above 0")
    require(needed < longest, "max_duration", f"is {longest:g} s, but the steps' pauses alone take {needed:g} s")
    for index, step in enumerate(spec.steps):
        deadline = limits.step_seconds if step.wait.deadline_seconds is None else step.wait.deadline_seconds
        late = deadline is not None and deadline <= step.wait.seconds
        require(not late, f"steps[{index}].deadline", "must be longer than the step's pause")


def _require_safeguards(spec: RolloutSpec, body: SpecBody, shares: bool) -> None:
    kinds = {step.kind for step in spec.steps}
    reached = bool(kinds & {StepKind.WEIGHT, StepKind.SWITCH, StepKind.COHORT, StepKind.PREVIEW, StepKind.SHARE})
    asked = body.fallback is not None and body.fallback.enabled
    require(reached or not asked, "fallback.enabled", "no step of this rollout answers requests with the candidate")
    weighted = StepKind.WEIGHT in kinds and len(spec.to) == 1 and not shares
    limit = spec.exposure
    require(limit is None or weighted, "exposure", "needs one candidate and a step that gives it weight")
    some = limit is None or any(one is not None for one in (limit.requests, limit.keys, limit.failures))
    require(some, "exposure", "must limit requests, keys or failures")
    mirrored = any(step.share_ppm > 0 for step in spec.steps)
    require(mirrored or not spec.compare, "compare", "no step of this rollout mirrors requests")
    require(mirrored or body.pairs is None, "pairs", "no step of this rollout mirrors requests")
    checked = any(step.checked for step in spec.steps)
    require(checked or not spec.checks, "checks", "this rollout has no step in which they could run")
    twice = [check.name for check in spec.checks]
    require(len(set(twice)) == len(twice), "checks", "uses a name twice")


def require_check(at: str, body: CheckBody, strategy: Strategy, steps: tuple[Step, ...]) -> None:
    if body.kind is CheckKind.SEQUENTIAL:
        why = "has no randomised control" if strategy in _UNRANDOMISED else "cannot use it yet"
        raise InvalidArgument(f"{at}.kind: sequential: strategy {strategy} {why}; use threshold")
    if body.kind is CheckKind.HOOK:
        require(body.source != COUNTS, f"{at}.source", "must name a hook of the settings")
        return
    require(body.max is not None or body.min is not None, at, "needs `max`, `min` or both")
    bounded = body.max is None or body.min is None or body.min <= body.max
    require(bounded, f"{at}.min", "must not be above `max`")
    if body.source != COUNTS:
        require(body.query != "", f"{at}.query", f"required by source {body.source}")
        require(body.metric == "", f"{at}.metric", f"belongs to source {COUNTS}; {body.source} takes `query`")
        require(body.compare is Compare.VALUE, f"{at}.compare", f"only source {COUNTS} knows stable")
        return
    require(body.metric in METRICS, f"{at}.metric", f"must be one of {', '.join(METRICS)}")
    require(body.query == "", f"{at}.query", "belongs to sources that the settings name")
    require((body.metric == "class_share") == (body.label != ""), f"{at}.label", "names the class of `class_share`")
    if body.metric.startswith("shadow_"):
        _require_mirrored(at, body, steps)


def _require_mirrored(at: str, body: CheckBody, steps: tuple[Step, ...]) -> None:
    mirrored = any(mirrors(step) for step in steps)
    require(mirrored, f"{at}.metric", "no step of this rollout runs requests on the candidate too")
    if body.compare is Compare.VALUE:
        return
    above = body.metric == ABOVE_NOISE and body.compare is Compare.DIFFERENCE
    require(
        above, f"{at}.compare", f"only {ABOVE_NOISE} has something to compare with: `difference` to the noise floor"
    )
    seen = [step.wait.requests for step in steps if step.kind is StepKind.NOISE]
    require(bool(seen), f"{at}.compare", "needs the noise floor; give the rollout a `noise_floor`")
    enough = sum(seen) >= body.min_requests
    require(enough, f"{at}.min_requests", f"is more than the {sum(seen)} requests of the noise floor")
