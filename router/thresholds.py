"""Numbers against limits: five-valued, with a reason a person can read. No data and no answer never pass. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from router.checks import ABOVE_NOISE, COUNTS, Check, CheckKind, Compare, Tolerance
from router.figures import Measurement
from router.strategies import Step, StepKind, mirrors, weight_at
from router.verdict import Number, Verdict, VerdictKind

SHADOW_METRICS: Final = ("shadow_flip_rate", "shadow_drop_rate")
GROWING: Final = ("requests",)
"""Counts that only grow: below a minimum they are not there yet, which is no failure."""

_NOT_MIRRORED: Final = ("fallback_rate", "class_share", "mean_confidence")


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of a candidate; of stable too, in the same window, where the check compares."""

    variant: str
    candidate: Measurement
    stable: Measurement | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a check failed in the present step: in all, and without a pass in between."""

    total: int = 0
    in_a_row: int = 0


def judge(check: Check, pairs: Sequence[Pair], before: Failures) -> tuple[Verdict, Failures]:
    """The verdict of a check and its failures from now on; with several candidates the worst of them speaks.

    `tolerate` N: the failure N + 1 (in a row or in all, as `tolerance` says) fails the check; until then it is
    inconclusive. Only a pass ends a row; no data and errors neither end nor lengthen it.
    """
    found = [look(check, pair) for pair in pairs]
    if not found:
        return Verdict(VerdictKind.NO_DATA, check.name, "there is no candidate"), before
    worst = min(found, key=lambda verdict: _ORDER.index(verdict.kind))
    if len(pairs) > 1:
        name = pairs[found.index(worst)].variant
        worst = replace(worst, reason=f"variant {name}: {worst.reason}", numbers={**worst.numbers, "variant": name})
    return tolerated(check, worst, before)


def tolerated(check: Check, verdict: Verdict, before: Failures) -> tuple[Verdict, Failures]:
    """A verdict of one look, with the failures that the check may have."""
    if verdict.kind is VerdictKind.PASS:
        return verdict, replace(before, in_a_row=0)
    if verdict.kind is not VerdictKind.FAIL:
        return verdict, before
    after = Failures(before.total + 1, before.in_a_row + 1)
    in_a_row = check.tolerance is Tolerance.CONSECUTIVE
    count = after.in_a_row if in_a_row else after.total
    numbers = {**verdict.numbers, "failures": count, "tolerate": check.tolerate}
    how = " in a row" if in_a_row else ""
    reason = f"{verdict.reason}; failure {count}{how}, {check.tolerate} tolerated" if check.tolerate else verdict.reason
    kind = VerdictKind.FAIL if count > check.tolerate else VerdictKind.INCONCLUSIVE
    return Verdict(kind, check.name, reason, numbers), after


def look(check: Check, pair: Pair) -> Verdict:
    """One look at one candidate."""
    for of, seen in ((f"variant {pair.variant}", pair.candidate), ("stable", pair.stable)):
        missing = _missing(check, seen, of)
        if missing is not None:
            return Verdict(missing[0], check.name, missing[1], _numbers(check, pair, None))
    value = compared(check.compare, pair)
    kind, why = _against(check, value)
    told = _told(check, pair, value)
    return Verdict(kind, check.name, f"{told} {why}", _numbers(check, pair, value))


def compared(compare: Compare, pair: Pair) -> float:
    """The number that is held against the limits. Without anything on stable's side a ratio is 1 for nothing on the
    candidate's, else infinite. Both values must be there."""
    value = pair.candidate.value or 0.0
    if compare is Compare.VALUE or pair.stable is None:
        return value
    stable = pair.stable.value or 0.0
    if compare is Compare.DIFFERENCE:
        return value - stable
    if stable == 0.0:
        return 1.0 if value == 0.0 else math.copysign(math.inf, value)
    return value / stable


def unmeasurable(check: Check, steps: Sequence[Step], index: int) -> str | None:
    """Why a check could never have data in step `index`, so that it is refused at once; None when it can."""
    if check.kind is not CheckKind.THRESHOLD or not steps[index].checked:
        return None
    step, compares = steps[index], check.compare is not Compare.VALUE
    if check.source == COUNTS and check.metric in SHADOW_METRICS:
        if not any(mirrors(earlier) for earlier in steps[: index + 1]):
            return f"{check.metric} needs mirrored requests, in this step or an earlier one"
        floor = any(earlier.kind is StepKind.NOISE for earlier in steps[:index])
        return None if floor or not compares else f"{check.metric} is compared with a noise floor that comes later"
    if check.source == COUNTS and check.metric in _NOT_MIRRORED and _only_mirrors(steps, index):
        return f"{check.metric} is not counted of mirrored requests; say `checks: false` at this step"
    if compares and step.kind is StepKind.SWITCH:
        return "nothing is left for stable here, so there is nothing to compare with; use `compare: value`"
    return None


def refusal(check: Check) -> str | None:
    """Why a threshold check cannot be honoured whatever the step, beginning with the field; None when it can."""
    if check.maximum is None and check.minimum is None:
        return "max: needs `max`, `min` or both"
    above = check.metric == ABOVE_NOISE and check.compare is Compare.DIFFERENCE
    if _compares(check) and not above and check.source == COUNTS and check.metric in SHADOW_METRICS:
        return f"compare: {check.metric} compares with stable already; use `value`"
    return None


_ORDER: Final = (
    VerdictKind.FAIL,
    VerdictKind.ERROR,
    VerdictKind.NO_DATA,
    VerdictKind.INCONCLUSIVE,
    VerdictKind.PASS,
)


def failures_of(content: Any) -> Failures:
    """What `to_json` made; none when it is something else."""
    if isinstance(content, list | tuple) and len(content) == 2 and all(isinstance(item, int) for item in content):
        return Failures(content[0], content[1])
    return Failures()


def failures_json(failures: Mapping[str, Failures]) -> dict[str, list[int]]:
    """By check, those that have any."""
    return {name: [found.total, found.in_a_row] for name, found in failures.items() if found.total}


def _only_mirrors(steps: Sequence[Step], index: int) -> bool:
    return steps[index].share_ppm > 0 and weight_at(steps, index) == 0


def _missing(check: Check, seen: Measurement | None, of: str) -> tuple[VerdictKind, str] | None:
    if seen is None:
        return (VerdictKind.ERROR, "stable was not measured") if of == "stable" and _compares(check) else None
    if seen.kind is VerdictKind.ERROR and seen.value is None:
        return VerdictKind.ERROR, seen.reason
    if seen.value is not None and not math.isfinite(seen.value):
        return (VerdictKind.NO_DATA, f"{of} gives NaN") if math.isnan(seen.value) else _infinite(of)
    needed = 0 if check.metric in GROWING and check.source == COUNTS else check.min_requests
    if seen.requests is not None and seen.requests < needed:
        return VerdictKind.NO_DATA, f"{of} has {seen.requests} of at least {needed} requests"
    return None if seen.value is not None else (VerdictKind.NO_DATA, f"{of}: {seen.reason or 'no data'}")


def _infinite(of: str) -> tuple[VerdictKind, str]:
    return VerdictKind.ERROR, f"{of} gives an infinite number; is something divided by 0?"


def _compares(check: Check) -> bool:
    return check.compare is not Compare.VALUE


def _against(check: Check, value: float) -> tuple[VerdictKind, str]:
    if check.maximum is None and check.minimum is None:
        return VerdictKind.ERROR, "has no limit to be held against"
    if check.maximum is not None and value > check.maximum:
        return VerdictKind.FAIL, f"is above {check.maximum:.6g}"
    if check.minimum is not None and value < check.minimum:
        growing = check.metric in GROWING and check.source == COUNTS and not _compares(check)
        return (VerdictKind.NO_DATA if growing else VerdictKind.FAIL), f"is below {check.minimum:.6g}"
    limits = [f"at most {check.maximum:.6g}"] if check.maximum is not None else []
    limits += [f"at least {check.minimum:.6g}"] if check.minimum is not None else []
    return VerdictKind.PASS, f"is {' and '.join(limits)}"


def _told(check: Check, pair: Pair, value: float) -> str:
    name = check.metric if check.source == COUNTS else check.name
    seen = f"{name} {_number(pair.candidate)}"
    if pair.stable is None or not _compares(check):
        return seen
    word = "ratio" if check.compare is Compare.RATIO else "difference"
    return f"{seen} against {_number(pair.stable)} of stable: the {word} {value:.4g}"


def _number(seen: Measurement) -> str:
    requests = "" if seen.requests is None else f" ({seen.requests} requests)"
    return f"{seen.value:.4g}{requests}"


def _numbers(check: Check, pair: Pair, value: float | None) -> dict[str, Number]:
    stable = pair.stable or Measurement()
    found: dict[str, float | int | None] = {
        "value": pair.candidate.value,
        "low": pair.candidate.low,
        "high": pair.candidate.high,
        "requests": pair.candidate.requests,
        "stable": stable.value,
        "stable_requests": stable.requests,
        "compared": value if _compares(check) else None,
        "max": check.maximum,
        "min": check.minimum,
    }
    return {name: _plain(number) for name, number in found.items() if number is not None}


def _plain(number: float | int) -> Number:
    return number if math.isfinite(number) else str(number)
