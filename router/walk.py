"""The walk through the steps: which move is due now, if any. Failure first, then deadlines, then what is waited for."""

from dataclasses import replace

from router.clock import Now
from router.moves import Advance, make, result_of, serin
from router.phases import Move, Phase
from router.plan import OnDeadline, OnInconclusive
from router.rollout import Rollout, clock_at, is_approved, missing, span, verdict_of
from router.strategies import End
from router.verdict import VerdictKind


def walk(rollout: Rollout, now: Now) -> Advance | None:
    """The move that is due at the present step; None when there is none."""
    verdict = verdict_of(rollout)
    if verdict is not None and verdict.kind is VerdictKind.FAIL:
        return make(rollout, Move.FAIL, serin(verdict.reason), now)
    late = _overdue(rollout, now)
    if late is not None:
        return late
    if rollout.phase is Phase.PAUSED or missing(rollout, rollout.seen, now):
        return None
    if verdict is not None and verdict.kind is not VerdictKind.PASS:
        return _unproven(rollout, verdict.kind, verdict.reason, now)
    step, waiting = rollout.current, rollout.phase is Phase.WAITING_APPROVAL
    if step is not None and step.wait.approval and not is_approved(rollout):
        return None if waiting else make(rollout, Move.ASK, serin("an approval is asked for"), now)
    return _leave(replace(rollout, proven=rollout.proven or verdict is not None), now)


def _leave(rollout: Rollout, now: Now) -> Advance | None:
    if not rollout.is_at_last_step:
        return make(rollout, Move.NEXT, serin("the step is done"), now)
    if rollout.spec.end is End.PROMOTE:
        return make(replace(rollout, winner=rollout.candidates[0].name), Move.FINISH, serin("all steps are done"), now)
    if rollout.phase is Phase.WAITING_APPROVAL:
        return None
    decided = replace(rollout, result=result_of(rollout))
    return make(decided, Move.ASK, serin("all steps are done; a decision is asked for"), now)


def _unproven(rollout: Rollout, kind: VerdictKind, reason: str, now: Now) -> Advance | None:
    if not rollout.seen.verdicts:
        return None  # nobody has looked yet
    if kind is VerdictKind.INCONCLUSIVE and rollout.spec.limits.on_inconclusive is OnInconclusive.ABORT:
        return make(rollout, Move.FAIL, serin(f"inconclusive: {reason}"), now)
    if rollout.phase is not Phase.PROGRESSING:
        return None
    return make(rollout, Move.HOLD, serin(f"{kind}: {reason}"), now)


def _overdue(rollout: Rollout, now: Now) -> Advance | None:
    limits, clock, step = rollout.spec.limits, clock_at(rollout, now), rollout.current
    if clock.total_seconds >= limits.max_seconds:
        return _at_deadline(rollout, f"not done within {span(limits.max_seconds)} (max_duration)", True, now)
    own = step.wait.deadline_seconds if step is not None else None
    deadline = limits.step_seconds if own is None else own
    if deadline is None or clock.step_seconds < deadline or rollout.phase is Phase.PAUSED:
        return None
    return _at_deadline(rollout, f"step {rollout.step + 1} not done within {span(deadline)}", False, now)


def _at_deadline(rollout: Rollout, reason: str, is_last: bool, now: Now) -> Advance | None:
    action, verdict = rollout.spec.limits.on_deadline, verdict_of(rollout)
    if action is OnDeadline.HOLD and not is_last:
        return make(rollout, Move.HOLD, serin(reason), now) if rollout.phase is Phase.PROGRESSING else None
    proven = verdict is not None and verdict.kind is VerdictKind.PASS
    if action is not OnDeadline.PROMOTE or not proven or rollout.spec.end is End.DECIDE:
        return make(rollout, Move.DEADLINE, serin(reason), now)
    if is_last or rollout.is_at_last_step:
        return make(replace(rollout, winner=rollout.candidates[0].name), Move.FINISH, serin(reason), now)
    return make(rollout, Move.NEXT, serin(f"{reason}; its checks pass"), now)
