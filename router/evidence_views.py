"""The evidence of a rollout as a JSON document for people: counts, estimates, odds, what is still needed. Pure."""

import math
from collections.abc import Mapping
from typing import Any, Final

from router.analysis import ASSIGNMENT, CheckVerdict, SequentialVerdict, Wealth, odds_text
from router.cutting import MIRRORED
from router.demands import Shape, Stand, checks_at
from router.errors import InvalidArgument
from router.evaluator import EVIDENCE, Evidence, judged
from router.explanation import CheckExplanation, Estimate, explain
from router.policy import Metric, Policy
from router.sequential import Action, LatencyCheck, Margin, RateCheck, SequentialCheck
from router.strategies import Step

Document = dict[str, Any]
TOO_RARE: Final = 10_000_000
"""More requests than this nobody waits for: a number would only look like one."""


def evidence_document(
    policy: Policy | None,
    steps: tuple[Step, ...],
    index: int,
    memory: Mapping[str, Any],
    accepted: tuple[str, ...] = (),
) -> Document | None:
    """What a rollout's memory says at step `index`; None where no evidence is gathered or none was yet."""
    recorded = memory.get(EVIDENCE)
    if policy is None or recorded is None:
        return None
    try:
        evidence = Evidence.from_json(recorded)
    except InvalidArgument as error:
        return {"lost": error.message}
    stand = Stand(steps, max(0, index), evidence.shape, evidence.cursor.together, accepted)
    running = max((mark.epoch for mark in evidence.cursor.marks if mark.closed is None), default=None)
    epoch = evidence.wealth.epoch if running is None else running
    _, verdict = judged(policy, stand, evidence.wealth, (), epoch)
    checks = checks_at(policy, stand)
    told = {one.name: one for one in explain(checks, evidence.wealth, policy.budgets)}
    return {
        **_whole(policy, verdict),
        "blocks": evidence.rows,
        "warming": _warming(evidence, policy),
        "assignment": _assignment(evidence.wealth, policy, verdict),
        "mirrored": _mirrored(evidence),
        "golden": _golden(evidence),
        "checks": [
            _check(check, spoken, told[check.name], (policy, evidence.shape))
            for check, spoken in zip(checks, verdict.checks, strict=True)
        ],
    }


def _whole(policy: Policy, verdict: SequentialVerdict) -> Document:
    budgets = policy.budgets
    return {
        "verdict": str(verdict.kind),
        "decision": str(verdict.decision),
        "check": verdict.check,
        "reason": verdict.reason,
        "harm": _against(verdict.harm_log_e, budgets.false_rollback),
        "hold": _against(verdict.hold_log_e, budgets.false_hold),
    }


def _against(log_e: float, alpha: float) -> Document:
    """An e-value and what it has to reach."""
    return {"log_e": _number(log_e), "odds": odds_text(log_e), "needed": odds_text(-math.log(alpha))}


def _assignment(wealth: Wealth, policy: Policy, verdict: SequentialVerdict) -> Document:
    candidate, both, expected = wealth.assigned
    return {
        **_against(verdict.assignment_log_e, policy.budgets.broken_assignment),
        "candidate": candidate,
        "of": both,
        "expected": round(expected, 1),
        "broken": ASSIGNMENT in wealth.crossed,
    }


def _mirrored(evidence: Evidence) -> Document:
    """Runs of the candidate that answered nobody and are among the requests of its errors, in the epochs in sight."""
    counted = [mark.candidate.flags.get(MIRRORED, (0, 0)) for mark in evidence.cursor.marks]
    return {"requests": sum(n for n, _ in counted), "failed": sum(k for _, k in counted)}


def _golden(evidence: Evidence) -> Document:
    """Golden rows that the candidate ran, which are among the requests of its errors, in the epochs in sight."""
    counted = [mark.golden[0] for mark in evidence.cursor.marks]
    return {"requests": sum(arm.done for arm in counted), "failed": sum(arm.errors for arm in counted)}


def _warming(evidence: Evidence, policy: Policy) -> Document:
    cold = sorted(int(slot) for slot, warmth in evidence.cursor.warmth.items() if warmth.left_out is None)
    return {"workers": cold, "seconds": policy.warmup_seconds, "requests": policy.warmup_requests}


def _check(
    check: SequentialCheck, spoken: CheckVerdict, told: CheckExplanation, by: tuple[Policy, Shape | None]
) -> Document:
    policy, shape = by
    alpha = policy.budgets.false_rollback if check.action is Action.ABORT else policy.budgets.false_hold
    safe = None
    if check.safe is not None and spoken.safe_log_e is not None:
        safe = {**_against(spoken.safe_log_e, policy.budgets.false_promotion), "margin": margin_text(check, check.safe)}
    needed = told.requests_needed
    return {
        "name": check.name,
        "verdict": str(spoken.kind),
        "reason": spoken.reason,
        "action": str(check.action),
        "required": check.required,
        "requests": {"candidate": spoken.requests[0], "stable": spoken.requests[1]},
        "harm": {**_against(spoken.harm_log_e, alpha), "p": _number(spoken.p_value)},
        "safe": safe,
        "estimates": [_estimate(one, check.name, shape) for one in told.estimates],
        "requests_needed": needed if needed is not None and needed < TOO_RARE else None,
    }


def margin_text(check: SequentialCheck, margin: Margin) -> str:
    """`fewer than 2 times stable's, or a rate below 0.5 %`."""
    ways = []
    if margin.ratio is not None:
        if check.name == Metric.LATENCY:
            ways.append(f"less than {100 * (margin.ratio - 1):.3g} % slower at every quantile{_floor_text(check)}")
        elif isinstance(check, RateCheck) and check.more_is_better:
            ways.append(f"more than {margin.ratio:g} times stable's")
        else:
            ways.append(f"fewer than {margin.ratio:g} times stable's")
    if margin.below is not None:
        ways.append(f"a rate below {100 * margin.below:g} %")
    return ", or ".join(ways)


def _floor_text(check: SequentialCheck) -> str:
    floor = check.ignore_below if isinstance(check, LatencyCheck) else 0.0
    return f", or that quantile below {1000 * floor:g} ms" if floor else ""


def _estimate(one: Estimate, name: str, shape: Shape | None) -> Document:
    label = one.label
    if name == Metric.CLASS_SHARE and shape is not None and shape.classes.labels:
        label = shape.classes.labels[int(one.label.removeprefix("class "))]
    return {
        "label": label,
        "candidate": {"requests": one.candidate[0], "marked": one.candidate[1]},
        "stable": {"requests": one.control[0], "marked": one.control[1]},
        "scale": one.scale,
        "low": _number(one.low),
        "value": _number(one.value),
        "high": _number(one.high),
        "exact": one.exact,
    }


def _number(value: float) -> float | None:
    """Rounded for people; None for what is no number of JSON."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
