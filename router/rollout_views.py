"""A rollout as a JSON document for people: all that watch, explain and history show."""

from datetime import UTC, datetime
from typing import Any

from router.assessor import noise_floor_of
from router.clock import Now
from router.evidence_views import evidence_document
from router.history import Who
from router.phases import AT_A_STEP, Phase
from router.rollout import (
    Rollout,
    accepted,
    asked,
    clock_at,
    is_approved,
    is_judged,
    lacks,
    missing,
    possible,
    requests_seen,
    verdict_of,
)
from router.rollout_routes import route_of
from router.routes import Route, ppm_to_percent
from router.strategies import End, Step, label
from router.verdict import Verdict

Document = dict[str, Any]


def rollout_document(rollout: Rollout, route: Route | None, now: Now, obstacle: str = "") -> Document:
    """`route`: the recorded one of its model. `obstacle`: why the last tick could not do what was due."""
    verdict = verdict_of(rollout)
    return {
        **summary_document(rollout),
        "started_by": _who(rollout.started_by),
        "from": rollout.source.version,
        "step": _step_document(rollout, now) if rollout.current is not None else None,
        "steps": [_listed(rollout, index, step) for index, step in enumerate(rollout.spec.steps)],
        "variants": _variants(rollout, route),
        "checks": [_check_document(one) for one in rollout.seen.verdicts],
        "verdict": None if verdict is None else str(verdict.kind),
        "evidence": evidence_document(
            rollout.spec.analysis, rollout.spec.steps, rollout.step, rollout.memory, accepted(rollout)
        ),
        "mirrored": rollout.seen.mirrored,
        "noise_floor": _noise_document(rollout),
        "contract": None
        if rollout.contract is None
        else {"kind": str(rollout.contract.kind), "differences": list(rollout.contract.differences)},
        "deadlines": _deadlines(rollout, now),
        "approvals": [
            {"step": a.step + 1, "actor": a.actor, "reason": a.reason, "at": _date(a.at), "accepted": list(a.accepted)}
            for a in rollout.approvals
        ],
        "followed": rollout.is_confirmed,
        "route_revision": rollout.route_revision or None,
        "obstacle": obstacle,
        "next": next_words(rollout, now),
        "possible": [str(move) for move in possible(rollout)],
        "result": rollout.result,
        "spec": rollout.spec.document,
    }


def summary_document(rollout: Rollout) -> Document:
    """A rollout in a list."""
    return {
        "id": rollout.id,
        "number": rollout.number,
        "model": rollout.model,
        "strategy": str(rollout.spec.strategy),
        "to": [{"name": c.name, "version": c.version} for c in rollout.candidates],
        "phase": str(rollout.phase),
        "active": rollout.is_active,
        "reason": rollout.why.reason,
        "actor": rollout.why.actor,
        "step_number": rollout.step + 1,
        "step_count": len(rollout.spec.steps),
        "winner": rollout.winner or None,
        "started_at": _date(rollout.started_at),
        "ended_at": None if rollout.ended_at is None else _date(rollout.ended_at),
    }


def next_words(rollout: Rollout, now: Now) -> str:
    """What happens next, and what it waits for, in one sentence."""
    if rollout.phase in AT_A_STEP:
        return _at_step(rollout, now)
    return _NEXT.get(rollout.phase, "")


_NEXT = {
    Phase.PENDING: "waits for the candidate to be loaded in every live worker",
    Phase.CHECKING: "compares the candidate's contract with stable's",
    Phase.PROMOTING: "waits for every live worker to follow the route",
    Phase.ABORTING: "waits for every live worker to be back on stable",
    Phase.ROLLING_BACK: "waits for every live worker to be back on stable",
    Phase.WINDOW: "promoted; `rollback` returns to the old version until the window closes",
    Phase.ABORTED: "`retry` starts it again",
    Phase.ROLLED_BACK: "`retry` starts it again",
}


def _at_step(rollout: Rollout, now: Now) -> str:
    target = "asks for a decision" if rollout.spec.end is End.DECIDE else "is promoted"
    if not rollout.is_at_last_step:
        target = f"goes on to {label(rollout.spec.steps[rollout.step + 1])}"
    if rollout.phase is Phase.PAUSED:
        return f"paused by {rollout.why.actor}; `resume` goes on"
    if rollout.result is not None:
        return "a decision is asked for: `promote` a candidate, or `abort`"
    if names := asked(rollout):
        return f"a person must decide: `approve` accepts what {', '.join(names)} shows, `reject` goes back to stable"
    waits, step = list(lacks(rollout, now)), rollout.current
    if step is not None and step.wait.approval and not is_approved(rollout):
        waits.append("an approval")
    return f"{target} after {', '.join(waits)}" if waits else f"{target} now"


def _step_document(rollout: Rollout, now: Now) -> Document:
    step = rollout.spec.steps[rollout.step]
    spent = clock_at(rollout, now).step_seconds if rollout.is_open else rollout.clock.step_seconds
    walking = rollout.phase in AT_A_STEP
    return {
        **_listed(rollout, rollout.step, step),
        "of": len(rollout.spec.steps),
        "spent_seconds": round(spent, 1),
        "left_seconds": round(max(0.0, step.wait.seconds - spent), 1),
        "requests_seen": requests_seen(rollout, rollout.seen),
        "approved": is_approved(rollout),
        "waits_for": list(missing(rollout, rollout.seen, now)) if walking else [],
    }


def _listed(rollout: Rollout, index: int, step: Step) -> Document:
    walked = index < rollout.step or rollout.phase in (Phase.PROMOTING, Phase.WINDOW, Phase.PROMOTED)
    return {
        "number": index + 1,
        "kind": str(step.kind),
        "label": label(step),
        "state": "done" if walked else ("current" if index == rollout.step else "next"),
        "pause_seconds": step.wait.seconds,
        "requests": step.wait.requests,
        "approval": step.wait.approval,
        "until": None if step.wait.until is None else _date(step.wait.until),
        "checked": is_judged(rollout, index),
    }


def _variants(rollout: Rollout, route: Route | None) -> list[Document]:
    """Each arm with its weight: desired, recorded and measured in percent (measured null: nothing counted yet)."""
    wanted = {v.name: v.weight_ppm for v in route_of(rollout).variants}
    recorded = {v.name: v.weight_ppm for v in route.variants} if route is not None else {}
    total = sum(rollout.seen.requests.values())
    found = []
    beside = [("baseline", variant) for variant in route_of(rollout).variants if variant.apart]
    for role, variant in [("stable", rollout.source), *beside, *(("candidate", c) for c in rollout.candidates)]:
        requests = rollout.seen.requests.get(variant.name, 0)
        found.append(
            {
                "name": variant.name,
                "version": variant.version,
                "role": role,
                "desired": _percent(wanted.get(variant.name, 0)),
                "desired_ppm": wanted.get(variant.name, 0),
                "recorded_ppm": recorded.get(variant.name, 0),
                "measured": round(100 * requests / total, 4) if total else None,
                "requests": requests,
            }
        )
    return found


def _noise_document(rollout: Rollout) -> Document | None:
    floor = noise_floor_of(rollout.memory)
    if floor is None:
        return None
    return {"requests": floor.requests, "flipped": floor.flipped, "flip_rate": floor.flip_rate}


def _deadlines(rollout: Rollout, now: Now) -> Document:
    limits, clock, step = rollout.spec.limits, clock_at(rollout, now), rollout.current
    own = step.wait.deadline_seconds if step is not None else None
    deadline = limits.step_seconds if own is None else own
    walking, window = rollout.phase in AT_A_STEP, rollout.phase is Phase.WINDOW
    return {
        "step_left_seconds": _left(deadline, clock.step_seconds) if walking and deadline is not None else None,
        "total_left_seconds": _left(limits.max_seconds, clock.total_seconds) if rollout.is_open else None,
        "window_left_seconds": _left(limits.window_seconds, clock.step_seconds) if window else None,
        "on_deadline": str(limits.on_deadline),
        "on_inconclusive": str(limits.on_inconclusive),
    }


def _left(limit: float, spent: float) -> float:
    return round(max(0.0, limit - spent), 1)


def _check_document(verdict: Verdict) -> Document:
    return {
        "name": verdict.check,
        "verdict": str(verdict.kind),
        "reason": verdict.reason,
        "numbers": dict(verdict.numbers),
    }


def _who(who: Who) -> Document:
    return {"actor": who.actor, "reason": who.reason}


def _percent(ppm: int) -> float | int:
    text = ppm_to_percent(ppm)
    return float(text) if "." in text else int(text)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
