"""One move of a rollout: its next phase and step, the route that it then wants, and the line in the history."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from router.assessor import Contract
from router.clock import Now
from router.evidence_views import evidence_document
from router.history import Event, Who
from router.phases import ENDED, UNCONFIRMED, Move, Phase, after
from router.rollout import Rollout, Seen, accepted, clock_at, told, weights_of
from router.rollout_routes import route_of
from router.routes import Route
from router.strategies import End, label


@dataclass(frozen=True, slots=True)
class Advance:
    """The rollout after it; the same value: nothing to record. `route`: to be recorded with it, when it is another.
    `log`: lines for the log of blocks."""

    rollout: Rollout
    route: Route | None = None
    events: tuple[Event, ...] = ()
    log: tuple[dict[str, Any], ...] = ()


_KIND: Final[Mapping[Move, str]] = {
    Move.CHECK: "checking",
    Move.BEGIN: "step",
    Move.NEXT: "step",
    Move.PROMOTE_STEP: "step",
    Move.APPROVE: "approved",
    Move.REJECT: "rejected",
    Move.RESUME: "resumed",
    Move.EXPIRE: "window_closed",
}
_DECIDES: Final = (Move.PROMOTE, Move.FINISH, Move.ABORT, Move.REJECT, Move.DEADLINE)
_ENTERS: Final = (Move.BEGIN, Move.NEXT, Move.PROMOTE_STEP)


def make(rollout: Rollout, move: Move, who: Who, now: Now) -> Advance:
    """The rollout after a move. Raises IllegalTransition."""
    target = after(rollout.phase, move)
    if target is rollout.phase and move in (Move.ABORT, Move.ROLLBACK):
        return Advance(rollout)  # said twice: it is on its way
    clock = clock_at(rollout, now)
    moved = replace(rollout, phase=target, why=rollout.why if move is Move.EXPIRE else who, clock=clock)
    if move in _DECIDES and rollout.spec.end is End.DECIDE and rollout.step >= 0 and rollout.result is None:
        moved = replace(moved, result=result_of(rollout))
    if move in _ENTERS:
        moved = replace(moved, step=rollout.step + 1, seen=Seen(), clock=replace(clock, step_seconds=0.0))
    if target is Phase.WINDOW:
        moved = replace(moved, clock=replace(clock, step_seconds=0.0))
    if target in ENDED:
        moved = replace(moved, ended_at=now.wall)
    writes = move in _ENTERS or (target in UNCONFIRMED and move is not Move.CONFIRMED)
    wants = writes or (move is Move.SUPERSEDE and target is Phase.SUPERSEDED)
    return Advance(moved, route_of(moved) if wants else None, (_event(rollout, moved, move, who),))


def _event(before: Rollout, moved: Rollout, move: Move, who: Who) -> Event:
    kind = _KIND.get(move, "promoted" if moved.phase is Phase.WINDOW else str(moved.phase))
    kind = {
        Move.ASK: "waiting",
        Move.SUPERSEDE: "superseded" if moved.phase is Phase.SUPERSEDED else "window_closed",
    }.get(move, kind)
    evidence = _evidence(before)
    contract = {"contract": _contract(moved.contract)} if before.contract is None and moved.contract else {}
    result = {"result": moved.result} if moved.result is not None and before.result is None else {}
    now = {**told(moved), "weights_ppm": _weights(moved), "evidence": evidence, **contract, **result}
    was = {**told(before), "weights_ppm": _weights(before)}
    return Event(f"rollout.{kind}", moved.model, who, was, now, rollout=moved.id)


def _evidence(before: Rollout) -> dict[str, Any]:
    """What was known when it moved."""
    seen, spec = before.seen, before.spec
    told = {"checks": _verdicts(before), "requests": seen.requests, "mirrored": seen.mirrored}
    found = evidence_document(spec.analysis, spec.steps, before.step, before.memory, accepted(before))
    return told if found is None else {**told, "analysis": found}


def _weights(rollout: Rollout) -> dict[str, int]:
    return {variant.name: variant.weight_ppm for variant in route_of(rollout).variants}


def _verdicts(rollout: Rollout) -> list[dict[str, Any]]:
    return [
        {"check": v.check, "verdict": str(v.kind), "reason": v.reason, "numbers": dict(v.numbers)}
        for v in rollout.seen.verdicts
    ]


def _contract(contract: Contract) -> dict[str, Any]:
    return {"kind": str(contract.kind), "differences": list(contract.differences)}


def result_of(rollout: Rollout) -> dict[str, Any]:
    """What an A/B or a shadow found, for whoever decides."""
    step = rollout.current
    return {
        "step": label(step) if step else "",
        "shares_ppm": weights_of(rollout, rollout.step),
        "requests": dict(rollout.seen.requests),
        "mirrored": rollout.seen.mirrored,
        "checks": _verdicts(rollout),
    }


def serin(reason: str) -> Who:
    """What happens by itself, and why."""
    return Who("serin", reason)
