"""A rollout as one value: what it is to do, where it is, what it has seen, and what it still waits for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.assessor import Contract
from router.clock import Clock, Now, at
from router.demands import applies
from router.history import Who
from router.phases import AT_A_STEP, ENDED, OPEN, Move, Phase, words
from router.plan import RolloutSpec
from router.routes import Route, Variant
from router.strategies import Step, StepKind, label, shares_at, weight_at
from router.verdict import Verdict, VerdictKind, combine


@dataclass(frozen=True, slots=True)
class Seen:
    """The last answer about the present step."""

    verdicts: tuple[Verdict, ...] = ()
    requests: dict[str, int] = field(default_factory=dict)
    mirrored: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """Who let a step pass; with `accepted`, who accepted what those checks show, for the rest of the rollout."""

    step: int
    actor: str
    reason: str
    at: float
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollout:
    """`number`: its ETag. `stable`: the route to go back to; `source`: the variant in it that is stable.

    `candidates`: with their fixed shares (A/B), else weight 0. `digests`: the content that was meant. `step` -1: none
    has begun. `proven`: the checks of some step have passed. `winner`: the variant that is promoted. `why`: who or what
    caused the last move. `route_revision`: of the route that it wants; `confirmed`: up to which all workers follow.
    `revision` grows with every record of it. `started_at`, `ended_at`: wall clock.
    """

    id: str
    number: int
    spec: RolloutSpec
    stable: Route
    source: Variant
    candidates: tuple[Variant, ...]
    digests: dict[int, str]
    started_by: Who
    started_at: float
    phase: Phase = Phase.PENDING
    step: int = -1
    clock: Clock = field(default_factory=Clock)
    approvals: tuple[Approval, ...] = ()
    proven: bool = False
    winner: str = ""
    seen: Seen = Seen()
    memory: dict[str, Any] = field(default_factory=dict)
    contract: Contract | None = None
    result: dict[str, Any] | None = None
    why: Who = field(default_factory=Who)
    route_revision: int = 0
    confirmed: int = 0
    revision: int = 0
    ended_at: float | None = None

    @property
    def model(self) -> str:
        """Its model."""
        return self.spec.model

    @property
    def is_open(self) -> bool:
        """Whether it owns the route: nobody else sets it."""
        return self.phase in OPEN

    @property
    def is_active(self) -> bool:
        """Whether something may still happen by itself."""
        return self.phase not in ENDED

    @property
    def is_confirmed(self) -> bool:
        """Whether every live worker followed its last route."""
        return self.confirmed >= self.route_revision

    @property
    def current(self) -> Step | None:
        """The present step."""
        steps = self.spec.steps
        return steps[self.step] if 0 <= self.step < len(steps) else None

    @property
    def is_at_last_step(self) -> bool:
        """Whether no step follows."""
        return self.step >= len(self.spec.steps) - 1

    @property
    def versions(self) -> frozenset[int]:
        """Every version that it needs in memory."""
        return frozenset({self.source.version, *(candidate.version for candidate in self.candidates)})


def clock_at(rollout: Rollout, now: Now) -> Clock:
    """What has been spent up to now: pauses, and waiting for workers to follow, are not time of the step."""
    walking = rollout.phase in (AT_A_STEP | {Phase.WINDOW}) - {Phase.PAUSED} and rollout.is_confirmed
    return at(rollout.clock, now, walking, rollout.is_open)


def verdict_of(rollout: Rollout) -> Verdict | None:
    """What the checks of the present step say together; None when it has none and nothing is doubted."""
    asked = is_judged(rollout, rollout.step) or bool(rollout.seen.verdicts)
    return combine(rollout.seen.verdicts) if asked else None


def is_judged(rollout: Rollout, index: int) -> bool:
    """Whether checks or evidence must let a step pass."""
    spec = rollout.spec
    if not 0 <= index < len(spec.steps) or not spec.steps[index].checked:
        return False
    return bool(spec.checks) or applies(spec.analysis, spec.steps, index)


def weights_of(rollout: Rollout, step: int) -> dict[str, int]:
    """The weight of each variant of the rollout during a step, in parts per million; stable has the rest."""
    steps = rollout.spec.steps
    if shares_at(steps, step):
        given = {candidate.name: candidate.weight_ppm for candidate in rollout.candidates}
    else:
        given = {candidate.name: weight_at(steps, step) for candidate in rollout.candidates}
    return {rollout.source.name: rollout.source.weight_ppm - sum(given.values()), **given}


def is_approved(rollout: Rollout) -> bool:
    """Whether the present step was approved."""
    return any(approval.step == rollout.step and not approval.accepted for approval in rollout.approvals)


def accepted(rollout: Rollout) -> tuple[str, ...]:
    """The checks that hold no more, since a person has accepted what they show."""
    return tuple(dict.fromkeys(name for approval in rollout.approvals for name in approval.accepted))


def asked(rollout: Rollout) -> tuple[str, ...]:
    """The checks that hold it now until a person accepts what they show."""
    return tuple(dict.fromkeys(name for verdict in rollout.seen.verdicts for name in verdict.asks))


def possible(rollout: Rollout) -> tuple[Move, ...]:
    """What a person may ask for now. There is something to approve where an approval is awaited, but no decision, and
    where checks ask for a person."""
    waits = rollout.phase is Phase.WAITING_APPROVAL
    left_out: set[Move] = set()
    if waits and rollout.result is not None:
        left_out = {Move.APPROVE, Move.PROMOTE_STEP}
    elif not waits and not asked(rollout):
        left_out = {Move.APPROVE, Move.REJECT}
    return tuple(move for move in words(rollout.phase) if move not in left_out)


def requests_seen(rollout: Rollout, seen: Seen) -> int:
    """The requests that the present step counts: mirrored ones, those of the smallest share, or the candidate's."""
    step = rollout.current
    if step is not None and step.share_ppm > 0:
        return seen.mirrored
    if step is not None and step.kind is StepKind.SHARE:
        names = [rollout.source.name, *(candidate.name for candidate in rollout.candidates)]
        return min(seen.requests.get(name, 0) for name in names)
    return sum(seen.requests.get(candidate.name, 0) for candidate in rollout.candidates)


def missing(rollout: Rollout, seen: Seen, now: Now) -> tuple[str, ...]:
    """What the present step still waits for besides checks and people, in words; empty: nothing."""
    step = rollout.current
    if step is None:
        return ()
    wait, spent = step.wait, clock_at(rollout, now).step_seconds
    found = []
    if not rollout.is_confirmed:
        found.append("every live worker to follow the route")
    if spent < wait.seconds:
        found.append(f"{span(wait.seconds - spent)} of {span(wait.seconds)}")
    if wait.until is not None and now.wall < wait.until:
        found.append(f"{span(wait.until - now.wall)} until its date")
    if step.kind is StepKind.SHARE and (wait.seconds, wait.requests, wait.until) == (0, 0, None):
        found.append("a decision")
    counted = requests_seen(rollout, seen)
    if counted < wait.requests:
        found.append(f"{wait.requests - counted} of {wait.requests} requests")
    return tuple(found)


def lacks(rollout: Rollout, now: Now) -> tuple[str, ...]:
    """What the present step still waits for besides people: `missing`, and checks that do not pass."""
    verdict = verdict_of(rollout)
    waits = missing(rollout, rollout.seen, now)
    if verdict is None or verdict.kind is VerdictKind.PASS:
        return waits
    return (*waits, f"the checks to pass ({verdict.kind}: {verdict.reason})")


def told(rollout: Rollout) -> Mapping[str, Any]:
    """Where it is, for the history."""
    step = rollout.current
    return {
        "rollout": rollout.id,
        "phase": str(rollout.phase),
        "step": rollout.step + 1,
        "steps": len(rollout.spec.steps),
        "label": label(step) if step else "",
    }


def span(seconds: float) -> str:
    """A time in words, such as `2 min 30 s`."""
    whole = max(1, round(seconds))
    parts = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2])
