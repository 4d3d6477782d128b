"""The self-check: rollouts of a version against itself that nobody sees. Every alarm is a false one. Pure; numpy only.

Workers count an eighth of the main variant's requests a second time; the rest of them is the other arm. Both go through
the policy and the evaluator that rollouts have, round after round. What makes those wrong here (callers that share
their luck, stalls that hit neighbours together) shows as alarms, before it takes back a good version.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import reduce
from operator import add, sub
from typing import Final

from router.analysis import ASSIGNMENT, SequentialVerdict, Wealth
from router.analysis_body import AnalysisBody
from router.analysis_spec import policy_of
from router.arms import SPLIT, arm_of, shape_of
from router.cursor import Subject
from router.demands import Shape, Stand
from router.evaluator import judged
from router.evidence import Arm, Block
from router.policy import Policy
from router.routes import Route
from router.sequential import Action
from router.strategies import Step, StepKind
from router.tally import BlockCopy
from router.telemetry import DRAWN_ONE_IN, VARIANT, VIRTUAL
from router.verdict import VerdictKind

ENOUGH: Final = 2_000
"""Requests of both arms without which a round has shown nothing."""

_DRAWN_PPM: Final = 1_000_000 // DRAWN_ONE_IN
_STEPS: Final = (Step(StepKind.WEIGHT, weight_ppm=_DRAWN_PPM),)
_WHOLE_CELLS: Final = ("latency", "classes", "scores")


class Outcome(StrEnum):
    """How a round ended. `quiet`: as it should; `idle`: with too few requests to say anything."""

    QUIET = "quiet"
    IDLE = "idle"
    ABORT = "abort"
    HOLD = "hold"
    ASSIGNMENT = "assignment"


ALARMS: Final = (Outcome.ABORT, Outcome.HOLD, Outcome.ASSIGNMENT)


def default_policy() -> Policy:
    """What rollouts are judged by where their document says nothing."""
    policy = policy_of(AnalysisBody(), has_key=False)
    assert policy is not None  # the default is sequential
    return policy


@dataclass(frozen=True, slots=True)
class Reading:
    """What was counted of a variant since its epoch began: all of its requests, and those that were drawn."""

    variant: str
    epoch: int
    shape: Shape
    whole: Arm
    drawn: Arm


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A virtual rollout. last: the counts behind the last block, None before the first; outcome: None while it runs."""

    number: int
    variant: str
    shape: Shape
    wealth: Wealth = field(default_factory=Wealth)
    epoch: int = -1
    last: tuple[Arm, Arm] | None = None
    blocks: int = 0
    requests: int = 0
    verdict: SequentialVerdict | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """One model. ended: rounds by how they ended, since the controller started."""

    round: Round
    ended: Mapping[Outcome, int] = field(default_factory=dict)

    @property
    def false_alarm_ratio(self) -> float | None:
        """Of the rounds that could show something, those with an alarm; None before the first."""
        alarms = sum(self.ended.get(outcome, 0) for outcome in ALARMS)
        told = alarms + self.ended.get(Outcome.QUIET, 0)
        return alarms / told if told else None


def read(copies: Sequence[BlockCopy], route: Route) -> Reading | None:
    """The variant with most weight; None where nothing of it is drawn."""
    main = max(route.variants, key=lambda variant: variant.weight_ppm)
    named = {"model": route.model, "variant": main.name, "version": str(main.version), "assignment": SPLIT}
    own = [copy for copy in copies if copy.epoch == route.epoch and _is(copy, named)]
    shape = shape_of(own, Subject(route.model, (main.name, main.version), (main.name, main.version)))
    if shape is None or not any(copy.spec.kind == VIRTUAL for copy in own):
        return None
    whole, drawn = (
        reduce(Arm.__add__, (arm_of(copy, shape) for copy in own if copy.spec.kind == kind), Arm())
        for kind in (VARIANT, VIRTUAL)
    )
    return Reading(f"{main.name}:{main.version}", route.epoch, shape, whole, drawn)


def _is(copy: BlockCopy, named: Mapping[str, str]) -> bool:
    return all(copy.spec.labels.get(label) == text for label, text in named.items())


def checked(known: Checked | None, reading: Reading, number: int, policy: Policy) -> Checked:
    """After one look, in round `number`: the time of a round is up when the next one has begun."""
    if known is None:
        return Checked(_begun(reading, number))
    now = known.round
    if now.number != number or now.variant != reading.variant:
        ended = known.ended if now.outcome is not None else _book(known.ended, _at_its_end(now))
        return Checked(_begun(reading, number), ended)
    if now.outcome is not None:
        return known
    after = _looked(now, reading, policy)
    return Checked(after, known.ended if after.outcome is None else _book(known.ended, after.outcome))


def _begun(reading: Reading, number: int) -> Round:
    return Round(number, reading.variant, reading.shape, epoch=reading.epoch, last=(reading.whole, reading.drawn))


def _book(ended: Mapping[Outcome, int], outcome: Outcome) -> dict[Outcome, int]:
    return dict(Counter(ended) + Counter([outcome]))


def _at_its_end(ended: Round) -> Outcome:
    return Outcome.QUIET if ended.requests >= ENOUGH else Outcome.IDLE


def _looked(now: Round, reading: Reading, policy: Policy) -> Round:
    """With a block of what was counted since the last one, if there is enough. The two arms are read at slightly
    different moments; where that shows as a count below zero the block waits for the next look."""
    if reading.epoch != now.epoch or reading.shape != now.shape or now.last is None:
        return replace(now, epoch=reading.epoch, shape=reading.shape, last=(reading.whole, reading.drawn))
    grown = [_less(new, old) for new, old in zip((reading.whole, reading.drawn), now.last, strict=True)]
    if grown[0] is None or grown[1] is None:
        return replace(now, last=(reading.whole, reading.drawn))  # counters began anew
    rest = _less(grown[0], grown[1])
    if rest is None or grown[0].done < policy.min_requests:
        return now
    ours, theirs = replace(grown[1], weight_ppm=_DRAWN_PPM), replace(rest, weight_ppm=1_000_000 - _DRAWN_PPM)
    block = Block(reading.variant, "self-check", now.epoch, "workers", now.blocks, ours, theirs)
    wealth, verdict = judged(policy, Stand(_STEPS, 0, now.shape, False), now.wealth, [block], now.epoch)
    return replace(
        now,
        wealth=wealth,
        last=(reading.whole, reading.drawn),
        blocks=now.blocks + 1,
        requests=now.requests + grown[0].done,
        verdict=verdict,
        outcome=_alarm(wealth, verdict),
    )


def _alarm(wealth: Wealth, verdict: SequentialVerdict) -> Outcome | None:
    failed = {check.action for check in verdict.checks if check.kind is VerdictKind.FAIL}
    if Action.ABORT in failed:
        return Outcome.ABORT
    if ASSIGNMENT in wealth.crossed:
        return Outcome.ASSIGNMENT
    return Outcome.HOLD if Action.HOLD in failed else None


def _less(one: Arm, other: Arm) -> Arm | None:
    """The counts of `one` that are not those of `other`; None where there are fewer."""
    plain = [getattr(one, name) - getattr(other, name) for name in ("assigned", "done", "errors")]
    cells = [tuple(map(sub, getattr(one, name), getattr(other, name))) for name in _WHOLE_CELLS]
    behind = tuple(map(sub, one.followed, other.followed or (0,) * len(one.followed)))
    flags = {name: tuple(map(sub, pair, other.flags.get(name, (0, 0)))) for name, pair in one.flags.items()}
    numbers = [*plain, *behind, *reduce(add, cells, ()), *reduce(add, flags.values(), ())]
    if min(numbers) < 0 or plain[2] > plain[1] or any(k > n for n, k in flags.values()):
        return None
    told = {name: (n, k) for name, (n, k) in flags.items()}
    latency, classes, scores = cells
    return Arm(plain[0], plain[1], plain[2], latency, classes, scores, flags=told, followed=behind)
