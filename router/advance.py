"""How a rollout moves: (what happened, rollout, now) -> rollout, the route it wants, and the history of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch

from router.assessor import Assessment, Contract, ContractKind
from router.clock import Now
from router.history import Who
from router.moves import Advance, make, serin
from router.phases import AT_A_STEP, ENDED, UNCONFIRMED, IllegalTransition, Move, Phase, after, illegal
from router.plan import AllowedContract
from router.rollout import Approval, Rollout, Seen, asked, clock_at, lacks, possible, span
from router.routes import Variant
from router.strategies import End
from router.verdict import VerdictKind
from router.walk import walk

CHECKPOINT_SECONDS = 30.0
"""Time that was spent is recorded this often at least: so much may be lost to a reboot."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The candidates are loaded and warm in every live worker. `digests`: their content by version."""

    digests: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """What the contract gate found."""

    contract: Contract


@dataclass(frozen=True, slots=True)
class Assessed:
    """An answer about step number `step` of a rollout; one that was overtaken by a move is not listened to."""

    rollout: str
    step: int
    assessment: Assessment


@dataclass(frozen=True, slots=True)
class Watched:
    """An answer about what a rollout has promoted."""

    rollout: str
    assessment: Assessment


@dataclass(frozen=True, slots=True)
class Command:
    """A person's word. `to`: which candidate, when there are several."""

    move: Move
    who: Who
    to: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The candidate cannot go on serving."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker could not take over the route of this revision."""

    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class Acked:
    """Every live worker follows this revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """Something else took its place."""

    who: Who


Input = Tick | Ready | Compared | Assessed | Watched | Command | Trouble | Refused | Acked | Superseded


@singledispatch
def advance(given: Input, rollout: Rollout, now: Now) -> Advance:
    """What a rollout makes of an input. Raises IllegalTransition, with nothing changed, for what a person may not."""
    raise TypeError(f"not an input: {given!r}")


@advance.register
def _(given: Tick, rollout: Rollout, now: Now) -> Advance:
    limits, clock = rollout.spec.limits, clock_at(rollout, now)
    if rollout.phase in (Phase.PENDING, Phase.CHECKING) and clock.total_seconds >= limits.ready_seconds:
        return make(rollout, Move.DEADLINE, serin(f"not ready within {span(limits.ready_seconds)}"), now)
    if rollout.phase is Phase.WINDOW and clock.step_seconds >= limits.window_seconds:
        return make(rollout, Move.EXPIRE, serin(f"no rollback within {span(limits.window_seconds)}"), now)
    found = walk(rollout, now) if rollout.phase in AT_A_STEP else None
    if found is not None:
        return found
    unmarked = clock.boot_id != rollout.clock.boot_id or clock.mark - rollout.clock.mark >= CHECKPOINT_SECONDS
    return Advance(replace(rollout, clock=clock) if rollout.is_active and unmarked else rollout)


@advance.register
def _(given: Ready, rollout: Rollout, now: Now) -> Advance:
    if rollout.phase is not Phase.PENDING:
        return Advance(rollout)
    meant = replace(rollout, digests=dict(given.digests))
    return make(meant, Move.CHECK, serin("loaded and warm in every live worker"), now)


@advance.register
def _(given: Compared, rollout: Rollout, now: Now) -> Advance:
    if rollout.phase is not Phase.CHECKING:
        return Advance(rollout)
    kept, why = _is_kept(given.contract, rollout.spec.contract)
    checked = replace(rollout, contract=given.contract)
    if not kept:
        return make(checked, Move.FAIL, serin(why), now)
    if not rollout.spec.steps:
        return make(replace(checked, winner=rollout.candidates[0].name), Move.FINISH, serin(why), now)
    return make(checked, Move.BEGIN, serin(why), now)


@advance.register
def _(given: Assessed, rollout: Rollout, now: Now) -> Advance:
    if (given.rollout, given.step) != (rollout.id, rollout.step) or rollout.phase not in AT_A_STEP:
        return Advance(rollout)
    said = given.assessment
    seen = Seen(said.verdicts, dict(said.requests), said.mirrored)
    memory = rollout.memory if said.memory is None else dict(said.memory)
    informed = replace(rollout, seen=seen, memory=memory)
    moved = walk(informed, now)
    if moved is not None:
        return replace(moved, log=said.log)
    kinds = [(v.check, v.kind) for v in rollout.seen.verdicts] != [(v.check, v.kind) for v in seen.verdicts]
    if memory == rollout.memory and not kinds:
        return Advance(rollout)  # numbers alone are not worth a record
    return Advance(replace(informed, clock=clock_at(informed, now)), log=said.log)


@advance.register
def _(given: Watched, rollout: Rollout, now: Now) -> Advance:
    if given.rollout != rollout.id or rollout.phase is not Phase.WINDOW:
        return Advance(rollout)
    said = given.assessment
    memory = rollout.memory if said.memory is None else dict(said.memory)
    seen = replace(rollout.seen, verdicts=said.verdicts)
    informed = replace(rollout, seen=seen, memory=memory)
    bad = next((verdict for verdict in said.verdicts if verdict.kind is VerdictKind.FAIL), None)
    if bad is not None:
        return replace(make(informed, Move.TROUBLE, serin(bad.reason), now), log=said.log)
    if (memory, seen) == (rollout.memory, rollout.seen):
        return Advance(rollout)
    return Advance(replace(informed, clock=clock_at(informed, now)), log=said.log)


@advance.register
def _(given: Trouble, rollout: Rollout, now: Now) -> Advance:
    if rollout.phase in ENDED or rollout.phase in (Phase.ABORTING, Phase.ROLLING_BACK):
        return Advance(rollout)
    return make(rollout, Move.TROUBLE, serin(given.reason), now)


@advance.register
def _(given: Refused, rollout: Rollout, now: Now) -> Advance:
    stale = given.revision != rollout.route_revision or rollout.is_confirmed
    if stale or rollout.phase not in AT_A_STEP | {Phase.PROMOTING}:
        return Advance(rollout)
    return make(rollout, Move.FAIL, serin(given.reason), now)


@advance.register
def _(given: Acked, rollout: Rollout, now: Now) -> Advance:
    if given.revision < rollout.route_revision or rollout.phase in ENDED:
        return Advance(rollout)
    followed = replace(rollout, clock=clock_at(rollout, now), confirmed=rollout.route_revision)
    if rollout.phase not in UNCONFIRMED:
        return Advance(rollout if rollout.is_confirmed else followed)
    done = make(followed, Move.CONFIRMED, rollout.why, now)
    if done.rollout.phase is not Phase.WINDOW or rollout.spec.limits.window_seconds > 0:
        return done
    closed = make(done.rollout, Move.EXPIRE, serin("no rollback window was asked for"), now)
    return replace(closed, events=done.events)


@advance.register
def _(given: Superseded, rollout: Rollout, now: Now) -> Advance:
    return make(rollout, Move.SUPERSEDE, given.who, now)


@advance.register
def _(given: Command, rollout: Rollout, now: Now) -> Advance:
    _require_possible(rollout, given.move, now)  # whatever else is wrong, say first that it is not its time
    decides = rollout.is_at_last_step and rollout.spec.end is End.DECIDE
    if given.move is Move.PROMOTE_STEP and rollout.is_at_last_step:
        if decides:
            raise IllegalTransition("the last step ends with a decision: `promote` a candidate or `abort`")
        return _promote(rollout, Move.FINISH, given, now)
    if given.move is Move.PROMOTE:
        return _promote(rollout, Move.PROMOTE, given, now)
    if given.move is Move.APPROVE:
        return _approve(rollout, given, now)
    if given.move is Move.RETRY:
        raise IllegalTransition("a retry starts a rollout of its own")
    return make(rollout, given.move, given.who, now)


def _approve(rollout: Rollout, given: Command, now: Now) -> Advance:
    """Where checks ask for a person, what they show is accepted; the step itself is approved where nothing is asked."""
    names, who = asked(rollout), given.who
    if not names and rollout.result is not None:
        raise IllegalTransition("a decision is asked for, not an approval: `promote` a candidate or `abort`")
    approval = Approval(rollout.step, who.actor, who.reason, now.wall, names)
    approved = replace(rollout, approvals=(*rollout.approvals, approval))
    if names:
        approved = replace(approved, seen=replace(rollout.seen, verdicts=()))  # to be looked at anew
        who = replace(who, reason=": ".join(filter(None, (f"accepts {', '.join(names)}", who.reason))))
    return make(approved, Move.APPROVE, who, now)


def _require_possible(rollout: Rollout, move: Move, now: Now) -> None:
    try:
        after(rollout.phase, move)
        if move in (Move.APPROVE, Move.REJECT) and rollout.result is None and move not in possible(rollout):
            raise illegal(rollout.phase, move, possible(rollout))
    except IllegalTransition as error:
        step = rollout.current
        waits = move is Move.APPROVE and rollout.phase in AT_A_STEP and step is not None and step.wait.approval
        lacking = lacks(rollout, now) if waits else ()
        if not lacking:
            raise
        raise IllegalTransition(
            f"{error.message}. Before it can be approved it waits for {', '.join(lacking)}"
        ) from error


def _promote(rollout: Rollout, move: Move, command: Command, now: Now) -> Advance:
    return make(replace(rollout, winner=_winner(rollout, command.to).name), move, command.who, now)


def _winner(rollout: Rollout, to: str) -> Variant:
    named = [c for c in rollout.candidates if to in ("", c.name, str(c.version))]
    if len(named) == 1:
        return named[0]
    names = ", ".join(candidate.name for candidate in rollout.candidates)
    raise IllegalTransition(f"promote which one? Say `to`: one of {names}; `abort` goes back to stable")


def _is_kept(contract: Contract, allowed: AllowedContract) -> tuple[bool, str]:
    ranks = [ContractKind.IDENTICAL, ContractKind.COMPATIBLE, ContractKind.UNKNOWN, ContractKind.BREAKING]
    limit = {AllowedContract.IDENTICAL: 0, AllowedContract.COMPATIBLE: 1, AllowedContract.BREAKING: 3}[allowed]
    differences = "; ".join(contract.differences) or "no signature to compare"
    if ranks.index(contract.kind) <= limit:
        return True, f"contract: {contract.kind}"
    return False, f"the contract is {contract.kind}, `contract: {allowed}` allows less: {differences}"
