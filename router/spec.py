"""From a person's document to a rollout that can be honoured, or a refusal that names the field."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from router.analysis_body import StepSafeBody
from router.analysis_spec import analysis_of, is_uncontrolled, policy_of, require_honourable_analysis
from router.checks import BETWEEN_LOOKS_SECONDS, COUNTS, EACH_TICK, Check, CheckKind
from router.errors import InvalidArgument
from router.plan import Arm, ExposureLimit, Limits, Pairs, RolloutSpec, Safety
from router.refusals import require_check, require_honourable, require_options
from router.routes import KeySource
from router.safeguards import Comparison
from router.spec_body import CheckBody, ExposureBody, FallbackBody, SpecBody, StepBody, WaitBody
from router.strategies import (
    PREVIEW_HEADER,
    End,
    Step,
    StepKind,
    StepSafe,
    Strategy,
    Wait,
    ab,
    blue_green,
    canary,
    cohort,
    instant,
    noise,
    preview,
    shadow,
)

DAY: Final = 86_400.0
MOST_ERRORS: Final = 5
DEFAULT_CHECKS: Final = (Check("errors", metric="error_rate", maximum=0.05, interval_seconds=EACH_TICK),)
"""Where the candidate gets weight, evidence cannot judge it, and the document names no checks."""


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **SpecBody.model_json_schema(by_alias=True),
    }


def parse_spec(document: Any) -> RolloutSpec:
    """The rollout that a document (JSON values) asks for. Raises InvalidArgument that names every wrong field."""
    try:
        body = SpecBody.model_validate(document)
    except ValidationError as error:
        raise InvalidArgument(_told(error)) from error
    strategy = Strategy.STEPS if body.steps is not None else body.strategy
    require_options(body, strategy)
    steps = _STEPS[strategy](body)
    body = body.model_copy(update={"analysis": analysis_of(body, strategy, steps)})
    require_honourable_analysis(body, strategy, steps)
    policy = policy_of(body.analysis, has_key=body.key is not None)
    spec = RolloutSpec(
        model=body.model,
        strategy=strategy,
        to=_arms(body),
        steps=steps,
        end=body.end or (End.DECIDE if strategy in (Strategy.AB, Strategy.SHADOW) else End.PROMOTE),
        limits=_limits(body, strategy),
        source=None if body.source is None else str(body.source),
        key=None if body.key is None else KeySource(_lower(body.key.header), body.key.cookie, body.key.parameter),
        salt=body.salt or "",
        checks=_checks(body.checks, strategy, steps, policy is not None and bool(policy.rules)),
        analysis=policy,
        fallback=_fallback(body.fallback, strategy),
        exposure=_exposure(body.exposure),
        contract=body.contract,
        compare=tuple(Comparison(**one.model_dump()) for one in body.compare or ()),
        pairs=Pairs(**body.pairs.model_dump()) if body.pairs is not None else Pairs(),
        document=body.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"reason"}),
    )
    require_honourable(spec, body)
    return spec


# Steps


def _canary(body: SpecBody) -> tuple[Step, ...]:
    options = body.canary
    return canary() if options is None else canary(options.weights, _wait(options))


def _blue_green(body: SpecBody) -> tuple[Step, ...]:
    options = body.blue_green
    if options is None:
        return blue_green(preview(Wait(approval=True)))
    shown = preview(_wait(options), options.shadow, options.header.lower(), options.value)
    return blue_green(shown, options.bake)


def _ab(body: SpecBody) -> tuple[Step, ...]:
    if body.ab is None:
        return ab(Wait())
    until = None if body.ab.until is None else _date("ab.until", body.ab.until)
    return ab(replace(_wait(body.ab), until=until))


def _shadow(body: SpecBody) -> tuple[Step, ...]:
    options = body.shadow
    if options is None:
        return shadow(1_000_000, Wait(requests=1000))
    return shadow(options.share, _wait(options), options.noise_floor)


def _cohort(body: SpecBody) -> tuple[Step, ...]:
    if body.cohort is None:
        raise InvalidArgument("cohort: required by strategy cohort, as in {header: x-beta, value: yes}")
    return cohort(body.cohort.header.lower(), body.cohort.value, _wait(body.cohort))


def _listed(body: SpecBody) -> tuple[Step, ...]:
    return tuple(_step(f"steps[{index}]", step) for index, step in enumerate(body.steps or ()))


_STEPS: Final[Mapping[Strategy, Callable[[SpecBody], tuple[Step, ...]]]] = {
    Strategy.CANARY: _canary,
    Strategy.BLUE_GREEN: _blue_green,
    Strategy.AB: _ab,
    Strategy.SHADOW: _shadow,
    Strategy.COHORT: _cohort,
    Strategy.INSTANT: lambda body: instant(),
    Strategy.STEPS: _listed,
}


_KINDS: Final = ("weight", "noise_floor", "cohort", "preview", "switch", "share")


def _step(at: str, body: StepBody) -> Step:
    given = [name for name in _KINDS if getattr(body, name) is not None]
    mirrors = body.shadow is not None
    alone = given == ["preview"] or not given if mirrors else len(given) < 2
    if not alone:
        raise InvalidArgument(f"{at}: {' and '.join([*given, *['shadow'] * mirrors])} exclude each other")
    wait, share = _wait(body), body.shadow or 0
    step = _bare_step(body, wait, share)
    return step if body.safe is None else replace(step, safe=_safe(body.safe))


def _safe(body: StepSafeBody) -> StepSafe:
    ratio, increase = (None if number is None else float(number) for number in (body.ratio, body.increase))
    return StepSafe(ratio, increase)


def _bare_step(body: StepBody, wait: Wait, share: int) -> Step:
    if body.weight is not None:
        return Step(StepKind.WEIGHT, wait, weight_ppm=body.weight, checked=body.checks)
    if body.switch:
        return Step(StepKind.SWITCH, wait, weight_ppm=1_000_000, checked=body.checks)
    if body.noise_floor is not None:
        return noise(body.noise_floor, wait)
    if body.cohort is not None:
        header = body.cohort.header.lower()
        return Step(StepKind.COHORT, wait, header=header, value=body.cohort.value, checked=body.checks)
    if body.preview is not None:
        shown = preview(wait, share, body.preview.header.lower() or PREVIEW_HEADER, body.preview.value)
        return replace(shown, checked=shown.checked and body.checks)
    if body.shadow is not None:
        return Step(StepKind.SHADOW, wait, share_ppm=share, checked=body.checks)
    return Step(StepKind.SHARE if body.share else StepKind.PAUSE, wait, checked=body.checks)


def _wait(body: WaitBody) -> Wait:
    return Wait(body.pause, body.requests, body.approval, None, body.deadline)


# The rest


def _arms(body: SpecBody) -> tuple[Arm, ...]:
    if isinstance(body.to, list):
        return tuple(Arm(str(arm.version), arm.name or "", arm.weight) for arm in body.to)
    return (Arm(str(body.to)),)


def _limits(body: SpecBody, strategy: Strategy) -> Limits:
    longest = body.max_duration
    if longest is None:
        longest = 30 * DAY if strategy is Strategy.AB else DAY
    return Limits(
        longest,
        body.step_deadline,
        body.on_deadline,
        body.on_inconclusive,
        body.rollback_window,
        body.ready_deadline,
    )


def _checks(
    bodies: list[CheckBody] | None, strategy: Strategy, steps: tuple[Step, ...], by_evidence: bool
) -> tuple[Check, ...]:
    if bodies is None:
        weighted = [step for step in steps if step.kind in (StepKind.WEIGHT, StepKind.SWITCH) and step.checked]
        return DEFAULT_CHECKS if any(is_uncontrolled(step) or not by_evidence for step in weighted) else ()
    for index, body in enumerate(bodies):
        require_check(f"checks[{index}]", body, strategy, steps)
    return tuple(
        Check(
            name=body.name,
            kind=body.kind,
            metric=body.metric,
            source=body.source,
            query=body.query,
            label=body.label,
            maximum=None if body.max is None else float(body.max),
            minimum=None if body.min is None else float(body.min),
            compare=body.compare,
            min_requests=body.min_requests,
            tolerate=body.tolerate,
            tolerance=body.tolerance,
            interval_seconds=_interval(body),
        )
        for body in bodies
    )


def _interval(body: CheckBody) -> float:
    """Own counts cost nothing to look at; but where failures are counted, each second must not be one."""
    if body.interval is not None:
        return body.interval
    own = body.kind is CheckKind.THRESHOLD and body.source == COUNTS
    return EACH_TICK if own and not body.tolerate else BETWEEN_LOOKS_SECONDS


def _fallback(body: FallbackBody | None, strategy: Strategy) -> Safety | None:
    if body is None:
        return Safety() if strategy in (Strategy.CANARY, Strategy.COHORT, Strategy.STEPS) else None
    return Safety(tuple(dict.fromkeys(body.on)), body.budget) if body.enabled else None


def _exposure(body: ExposureBody | None) -> ExposureLimit | None:
    return None if body is None else ExposureLimit(body.requests, body.keys, body.failures)


def _date(at: str, text: str) -> float:
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(f"{at}: must be a date such as 2025-12-24T18:00:00Z") from error
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()


def _lower(text: str | None) -> str | None:
    return text.lower() if text is not None else None


def _told(error: ValidationError) -> str:
    told: dict[str, str] = {}
    for one in error.errors():
        told.setdefault(_path(one["loc"]), one["msg"].removeprefix("Value error, "))
    # Of the branches of a union the one that got further is the one that was meant.
    deepest = [f"{path}: {text}" for path, text in told.items() if not any(_is_below(other, path) for other in told)]
    more = f" (and {len(deepest) - MOST_ERRORS} more)" if len(deepest) > MOST_ERRORS else ""
    return "; ".join(deepest[:MOST_ERRORS]) + more


def _is_below(path: str, other: str) -> bool:
    return path.startswith((f"{other}.", f"{other}["))


_UNION_TAGS: Final = ("constrained-int", "constrained-str", "int", "str", "float")


def _path(loc: Iterable[str | int]) -> str:
    """`steps[1].weight`: as people write it, without what only pydantic means by a branch of a union."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in _UNION_TAGS and not part.startswith(("list[", "function-", "literal[")):
            text += f".{part[:64]}" if text else part[:64]
    return text or "rollout"
