"""A rollout tried on synthetic traffic: its own steps, its own policy, the machine and the evaluator of the live one.

Nothing here decides: `advance` moves the rollout and `judged` reads the evidence, as they do in a running gateway. Only
what happens around them is played: workers follow at once, a person approves at once, and a day passes in a second.
Checks that are no evidence (thresholds, hooks, sources) are taken to pass. Pure; numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np

from router.advance import Acked, Assessed, Command, Compared, Input, Ready, Tick, advance
from router.analysis import ASSIGNMENT, SequentialVerdict, Wealth
from router.assessor import Assessment, Contract, ContractKind
from router.clock import Clock, Now
from router.demands import Shape, Stand, Watched, applies, is_randomised
from router.errors import InvalidArgument
from router.evaluator import judged, verdict_from
from router.evidence import Block
from router.history import Who
from router.phases import Move, Phase
from router.plan import RolloutSpec
from router.policy import Policy
from router.rollout import Rollout, weights_of
from router.routes import PPM, Route, Variant
from router.sequential import Action
from router.strategies import StepKind
from router.synthetic import SCORE_BUCKETS, SHARES, Moment, Traffic
from router.verdict import Verdict, VerdictKind

AT_ONCE: Final = 30
"""Blocks that are read together while nothing moves; around a move they are read one by one."""

_LONGEST_BLOCK_SECONDS: Final = 60.0
_LABELS: Final = tuple(str(number) for number in range(len(SHARES)))
_SHAPE: Final = Shape(Watched("class:synthetic", len(SHARES), _LABELS), Watched("score:synthetic", SCORE_BUCKETS))
_PERSON: Final = Who("rehearsal", "approved at once")


class Ending(StrEnum):
    """How a rehearsal ends. `held`: a person must decide about other predictions or a broken split; `decision`: all
    steps are done and a person chooses; `expired`: out of time; `undecided`: still going when the rehearsal ended."""

    ABORTED = "aborted"
    HELD = "held"
    PROMOTED = "promoted"
    DECISION = "decision"
    EXPIRED = "expired"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rehearsal. seconds: from its start, or from the onset of the fault; exposed: requests that the candidate
    answered in that time; check, reason: what decided; step: where, from 1."""

    ending: Ending
    seconds: float
    exposed: int
    step: int
    check: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Play:
    """What is rehearsed. rate: requests a second; horizon_seconds: where the rehearsal ends whatever has come out."""

    spec: RolloutSpec
    traffic: Traffic
    rate: float
    horizon_seconds: float

    def __post_init__(self) -> None:
        steps = range(len(self.spec.steps))
        if self.spec.analysis is None or len(self.spec.to) != 1:
            raise InvalidArgument("only a rollout of one candidate that evidence judges (`analysis`) can be rehearsed")
        if not any(is_randomised(self.spec.steps, index) for index in steps):
            raise InvalidArgument("no step of this rollout has a randomised control, so there is nothing to rehearse")


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """Where a rehearsal is. counted: (candidate, stable) in this step; exposed: of the candidate since the onset."""

    rollout: Rollout
    second: float = 0.0
    index: int = 0
    wealth: Wealth = field(default_factory=Wealth)
    verdict: SequentialVerdict | None = None
    counted: tuple[int, int] = (0, 0)
    exposed: int = 0


def rehearse(play: Play, rng: np.random.Generator) -> Outcome:
    """One rollout from its start to its end."""
    scene, length = _opened(play.spec), block_seconds(_policy(play), play.rate)
    while scene.second < play.horizon_seconds:
        blocks = _blocks(play, scene, length, rng)
        after = _looked(play, scene, blocks, length)
        if _place(after) != _place(scene):
            after = _one_by_one(play, scene, blocks, length)
        scene = after
        ending = _ending(scene)
        if ending is not None:
            return _outcome(play, scene, ending)
    return _outcome(play, scene, Ending.UNDECIDED)


def block_seconds(policy: Policy, rate: float) -> float:
    """How long a block lasts at this rate: until it has its requests, at least a second, at most its greatest age."""
    longest = min(_LONGEST_BLOCK_SECONDS, policy.max_age_seconds)
    return float(min(longest, max(1.0, np.ceil(policy.min_requests / rate))))


def _policy(play: Play) -> Policy:
    policy = play.spec.analysis
    assert policy is not None  # `Play` refuses a rollout without one
    return policy


def _opened(spec: RolloutSpec) -> _Scene:
    """At its first step, which every worker follows."""
    source = Variant("stable", 1, PPM)
    candidates = tuple(Variant(arm.name or "candidate", 2, arm.weight_ppm) for arm in spec.to)
    start = Rollout(
        id=f"{spec.model}-rehearsal", number=1, spec=spec, stable=Route(spec.model, (source,)), source=source,
        candidates=candidates, digests={}, started_by=_PERSON, started_at=0.0, clock=Clock("rehearsal", 0.0),
    )  # fmt: skip
    ready = _moved(start, Ready({}), 0.0)
    return _Scene(_moved(ready, Compared(Contract(ContractKind.IDENTICAL)), 0.0))


def _moved(rollout: Rollout, given: Input, second: float) -> Rollout:
    """After an input, and after all workers have followed what it wants."""
    now = Now("rehearsal", second, second)
    moved = advance(given, rollout, now)
    if moved.route is None:
        return moved.rollout
    sent = replace(moved.rollout, route_revision=moved.rollout.route_revision + 1)
    return advance(Acked(sent.route_revision), sent, now).rollout


def _blocks(play: Play, scene: _Scene, length: float, rng: np.random.Generator) -> list[Block]:
    """What is counted until the next look, under the present weights."""
    candidate = play.spec.to[0].name or "candidate"
    share = weights_of(scene.rollout, scene.rollout.step)[candidate] / PPM
    if not is_randomised(play.spec.steps, scene.rollout.step):
        share = 0.0  # nobody is assigned by chance: there is nothing to compare
    moments = (
        Moment(scene.second + number * length, int(rng.poisson(play.rate * length)), share, scene.index + number,
               scene.rollout.route_revision)
        for number in range(AT_ONCE)
    )  # fmt: skip
    return [play.traffic.block(rng, moment) for moment in moments]


def _looked(play: Play, scene: _Scene, blocks: Sequence[Block], length: float) -> _Scene:
    """After one look at new blocks."""
    policy, rollout, steps = replace(_policy(play), baseline=False), scene.rollout, play.spec.steps
    stand = Stand(steps, rollout.step, _SHAPE, False)
    wealth, verdict = judged(policy, stand, scene.wealth, blocks, rollout.route_revision)
    second, index = scene.second + length * len(blocks), scene.index + len(blocks)
    ours, theirs = (
        sum(arm.done for arm in arms) for arms in zip(*((b.candidate, b.stable) for b in blocks), strict=True)
    )
    seen = scene.counted[0] + ours, scene.counted[1] + theirs
    moved = _moved(rollout, Assessed(rollout.id, rollout.step, _assessment(rollout, verdict, seen)), second)
    moved = _moved(moved, Tick(), second)
    if moved.phase is Phase.WAITING_APPROVAL and moved.result is None:
        moved = _moved(moved, Command(Move.APPROVE, _PERSON), second)
    exposed = scene.exposed + (ours if scene.second >= play.traffic.onset else 0)
    counted = seen if moved.step == rollout.step else (0, 0)
    return _Scene(moved, second, index, wealth, verdict, counted, exposed)


def _assessment(rollout: Rollout, verdict: SequentialVerdict, seen: tuple[int, int]) -> Assessment:
    """What the judge would say: the evidence, and that all other checks pass."""
    others = [Verdict(VerdictKind.PASS, check.name, "not rehearsed") for check in rollout.spec.checks]
    spoken = [verdict_from(verdict)] if applies(rollout.spec.analysis, rollout.spec.steps, rollout.step) else []
    requests = {rollout.candidates[0].name: seen[0], rollout.source.name: seen[1]}
    step = rollout.current
    mirrored = seen[1] if step is not None and step.kind is StepKind.SHADOW else 0
    return Assessment((*others, *spoken), requests, mirrored)


def _one_by_one(play: Play, scene: _Scene, blocks: Sequence[Block], length: float) -> _Scene:
    """A look after each block, until something moves."""
    place = _place(scene)
    for block in blocks:
        scene = _looked(play, scene, [block], length)
        if _place(scene) != place:
            break
    return scene


def _place(scene: _Scene) -> tuple[object, ...]:
    """What a look must not step over."""
    return scene.rollout.phase in (Phase.PROGRESSING, Phase.HOLDING), scene.rollout.step, _asks_a_person(scene)


def _asks_a_person(scene: _Scene) -> bool:
    """Whether evidence has been found that only a person can answer."""
    if scene.verdict is None:
        return False
    found = any(v.kind is VerdictKind.FAIL and v.action is Action.HOLD for v in scene.verdict.checks)
    return found or ASSIGNMENT in scene.wealth.crossed


def _ending(scene: _Scene) -> Ending | None:
    rollout, verdict = scene.rollout, scene.verdict
    if rollout.phase in (Phase.ABORTING, Phase.ABORTED):
        failed = verdict is not None and verdict.kind is VerdictKind.FAIL
        return Ending.ABORTED if failed or "inconclusive" in rollout.why.reason else Ending.EXPIRED
    if rollout.phase in (Phase.PROMOTING, Phase.WINDOW, Phase.PROMOTED):
        return Ending.PROMOTED
    if rollout.phase is Phase.WAITING_APPROVAL:
        return Ending.DECISION
    return Ending.HELD if _asks_a_person(scene) else None


def _outcome(play: Play, scene: _Scene, ending: Ending) -> Outcome:
    seconds, verdict = max(0.0, scene.second - play.traffic.onset), scene.verdict
    check, reason = "", scene.rollout.why.reason
    if verdict is not None and ending in (Ending.ABORTED, Ending.HELD, Ending.UNDECIDED):
        check, reason = verdict.check, verdict.reason
    return Outcome(ending, seconds, scene.exposed, scene.rollout.step + 1, check, reason)
