"""What a rollout asks of its assessor: at a step, and in the window after promotion. Pure."""

from router.assessor import Assessment, Question
from router.clock import Now
from router.demands import applies
from router.evaluator import EVIDENCE
from router.phases import Phase
from router.rollout import Rollout, Seen, accepted, clock_at
from router.routes import Route
from router.verdict import Verdict, VerdictKind


def question_of(rollout: Rollout, route: Route, now: Now) -> Question:
    """What is asked of the present step."""
    step, spec = rollout.current, rollout.spec
    return Question(
        rollout=rollout.id,
        model=rollout.model,
        step=rollout.step,
        seconds=clock_at(rollout, now).step_seconds,
        route=route,
        stable=rollout.source.name,
        candidates=tuple(candidate.name for candidate in rollout.candidates),
        checks=spec.checks if step is not None and step.checked else (),
        memory=rollout.memory,
        policy=spec.analysis,
        steps=spec.steps,
        now=now.seconds,
        accepted=accepted(rollout),
    )


def is_watched(rollout: Rollout) -> bool:
    """Whether what was promoted is still held to limits."""
    policy = rollout.spec.analysis
    return rollout.phase is Phase.WINDOW and policy is not None and bool(policy.watch)


def question_after(rollout: Rollout, route: Route, now: Now) -> Question:
    """What is asked of a version that was promoted: it is `stable` now."""
    return Question(
        rollout=rollout.id,
        model=rollout.model,
        step=rollout.step,
        seconds=clock_at(rollout, now).step_seconds,
        route=route,
        stable=rollout.winner,
        candidates=(),
        checks=(),
        memory=rollout.memory,
        policy=rollout.spec.analysis,
        now=now.seconds,
        window_seconds=rollout.spec.limits.window_seconds,
    )


def unanswered(question: Question, seen: Seen, reason: str) -> Assessment:
    """The assessment when nobody could look: an error for whatever was asked."""
    names = [check.name for check in question.checks]
    if applies(question.policy, question.steps, question.step):
        names.append(EVIDENCE)
    told = tuple(Verdict(VerdictKind.ERROR, name, reason) for name in names)
    return Assessment(told, seen.requests, seen.mirrored)
