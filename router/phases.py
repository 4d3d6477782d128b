"""The phases of a rollout and every move between them, as one table. A move that is not in it is not possible."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from router.errors import FailedPrecondition


class Phase(StrEnum):
    """Where a rollout is. `aborting`, `promoting` and `rolling_back` end when every live worker has confirmed."""

    PENDING = "pending"
    CHECKING = "checking"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    WAITING_APPROVAL = "waiting_approval"
    HOLDING = "holding"
    PROMOTING = "promoting"
    WINDOW = "window"
    PROMOTED = "promoted"
    ABORTING = "aborting"
    ABORTED = "aborted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class Move(StrEnum):
    """What moves a rollout. The first nine are words of people, the rest happens by itself."""

    PROMOTE = "promote"
    PROMOTE_STEP = "promote_step"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    APPROVE = "approve"
    REJECT = "reject"
    RETRY = "retry"
    ROLLBACK = "rollback"
    CHECK = "check"  # the candidate is ready in every live worker
    BEGIN = "begin"  # the contract is kept
    NEXT = "next"  # a step is done
    HOLD = "hold"  # a step has waited long enough, but its checks do not pass
    ASK = "ask"  # only an approval or a decision is missing
    FINISH = "finish"  # the last step is done
    FAIL = "fail"  # a check, the contract or a worker says no
    TROUBLE = "trouble"  # the candidate is unavailable, in quarantine, unloaded or replaced
    DEADLINE = "deadline"  # a limit of time says so
    CONFIRMED = "confirmed"  # every live worker follows the route
    EXPIRE = "expire"  # the rollback window is over
    SUPERSEDE = "supersede"  # a new rollout or a route that a person set


class IllegalTransition(FailedPrecondition):
    """A move that this phase does not know; nothing was changed."""


PEOPLE: Final = (
    Move.PROMOTE,
    Move.PROMOTE_STEP,
    Move.PAUSE,
    Move.RESUME,
    Move.ABORT,
    Move.APPROVE,
    Move.REJECT,
    Move.RETRY,
    Move.ROLLBACK,
)

ENDED: Final = frozenset({Phase.PROMOTED, Phase.ABORTED, Phase.ROLLED_BACK, Phase.SUPERSEDED})
"""Nothing happens any more by itself."""

AT_A_STEP: Final = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.WAITING_APPROVAL, Phase.HOLDING})
"""A step is being walked, and its checks are watched."""

OPEN: Final = frozenset(
    {*AT_A_STEP, Phase.PENDING, Phase.CHECKING, Phase.PROMOTING, Phase.ABORTING, Phase.ROLLING_BACK}
)
"""The rollout owns the route: nobody else sets it."""

UNCONFIRMED: Final = frozenset({Phase.PROMOTING, Phase.ABORTING, Phase.ROLLING_BACK})
"""The route is recorded, and the phase ends when it is confirmed."""

_BAD: Final = {Move.FAIL: Phase.ABORTING, Move.TROUBLE: Phase.ABORTING, Move.ABORT: Phase.ABORTING}
_BEFORE: Final = {**_BAD, Move.DEADLINE: Phase.ABORTING, Move.SUPERSEDE: Phase.SUPERSEDED}
_WALKING: Final = {
    **_BEFORE,
    Move.PROMOTE: Phase.PROMOTING,
    Move.PROMOTE_STEP: Phase.PROGRESSING,
    Move.FINISH: Phase.PROMOTING,
}
_GOING: Final = {
    **_WALKING,
    Move.PAUSE: Phase.PAUSED,
    Move.NEXT: Phase.PROGRESSING,
    Move.HOLD: Phase.HOLDING,
    Move.ASK: Phase.WAITING_APPROVAL,
    Move.APPROVE: Phase.PROGRESSING,
    Move.REJECT: Phase.ABORTING,
}

TABLE: Final[Mapping[Phase, Mapping[Move, Phase]]] = {
    Phase.PENDING: {**_BEFORE, Move.CHECK: Phase.CHECKING},
    Phase.CHECKING: {**_BEFORE, Move.BEGIN: Phase.PROGRESSING, Move.FINISH: Phase.PROMOTING},
    Phase.PROGRESSING: _GOING,
    Phase.HOLDING: _GOING,
    Phase.WAITING_APPROVAL: _GOING,
    Phase.PAUSED: {**_WALKING, Move.RESUME: Phase.PROGRESSING},
    Phase.PROMOTING: {**_BAD, Move.CONFIRMED: Phase.WINDOW},
    Phase.WINDOW: {
        Move.ROLLBACK: Phase.ROLLING_BACK,
        Move.TROUBLE: Phase.ROLLING_BACK,
        Move.EXPIRE: Phase.PROMOTED,
        Move.SUPERSEDE: Phase.PROMOTED,
    },
    Phase.PROMOTED: {},
    Phase.ABORTING: {Move.ABORT: Phase.ABORTING, Move.CONFIRMED: Phase.ABORTED},
    Phase.ABORTED: {Move.RETRY: Phase.PENDING},
    Phase.ROLLING_BACK: {Move.ROLLBACK: Phase.ROLLING_BACK, Move.CONFIRMED: Phase.ROLLED_BACK},
    Phase.ROLLED_BACK: {Move.RETRY: Phase.PENDING},
    Phase.SUPERSEDED: {},
}
"""phase -> move -> phase."""

_HINTS: Final[Mapping[tuple[Phase, Move], str]] = {
    (Phase.WINDOW, Move.ABORT): "it is promoted; `rollback` takes it back",
    (Phase.PROMOTED, Move.ABORT): "it is promoted; start a rollout or set the route to go back",
    (Phase.PROMOTED, Move.ROLLBACK): "the rollback window is over; start a rollout or set the route to go back",
    (Phase.ABORTED, Move.PROMOTE): "`retry` starts it again",
    (Phase.ABORTED, Move.RESUME): "`retry` starts it again",
    **{(phase, Move.ROLLBACK): "it is not promoted yet; `abort` goes back to stable" for phase in AT_A_STEP},
    **{
        (phase, move): "no step has begun yet"
        for phase in (Phase.PENDING, Phase.CHECKING)
        for move in (Move.PAUSE, Move.PROMOTE, Move.PROMOTE_STEP)
    },
    (Phase.PROGRESSING, Move.RESUME): "it is not paused",
    **{(phase, Move.APPROVE): "it asks for no approval now" for phase in (Phase.PROGRESSING, Phase.HOLDING)},
    **{
        (phase, Move.REJECT): "it asks for no approval now; `abort` ends it"
        for phase in (Phase.PROGRESSING, Phase.HOLDING)
    },
}


def after(phase: Phase, move: Move) -> Phase:
    """The phase after a move. Raises IllegalTransition that says what is possible instead."""
    target = TABLE[phase].get(move)
    if target is None:
        raise illegal(phase, move, words(phase))
    return target


def illegal(phase: Phase, move: Move, possible: Iterable[Move]) -> IllegalTransition:
    """What a person is told who asked for a move that is not possible now."""
    hint = _HINTS.get((phase, move))
    why = f": {hint}" if hint else ""
    named = ", ".join(possible) or "nothing"
    return IllegalTransition(f"cannot {move.replace('_', ' ')} while {phase}{why}. Possible now: {named}")


def words(phase: Phase) -> tuple[Move, ...]:
    """What a person may ask for in a phase."""
    return tuple(move for move in PEOPLE if move in TABLE[phase])
