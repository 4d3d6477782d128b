"""Weighing: a reading of all workers becomes blocks, and the blocks a verdict, for one rollout at one moment. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from router.analysis import SequentialVerdict
from router.arms import read_arms, shape_of
from router.cursor import Counted, Ground, Subject
from router.cutting import cut
from router.demands import Shape, Stand, applies, is_mirrored, is_randomised
from router.evaluator import Evidence, json_of, judged, told_of
from router.evidence import Block
from router.labels import read_labels
from router.policy import Metric, Policy
from router.shelves import NO_LABELS, Judged, cut_labels
from router.strategies import Step
from router.tally import BlockCopy
from router.telemetry import UNITS, VARIANT

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """What is being judged at this moment. now: seconds of a clock that does not go back; accepted: checks whose harm a
    person has accepted."""

    rollout: str
    policy: Policy
    steps: tuple[Step, ...]
    index: int
    subject: Subject
    epoch: int
    weights: tuple[int, int]
    now: float
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What came out. evidence: the same value when nothing is to be recorded; row: a line for the log of blocks."""

    evidence: Evidence
    verdict: SequentialVerdict
    row: Document | None = None


def weigh(trial: Trial, evidence: Evidence, copies: Sequence[BlockCopy]) -> Finding:
    """New blocks from a reading of all workers, and what all blocks mean together."""
    shape = evidence.shape
    if shape is None:
        running = [copy for copy in copies if copy.epoch == trial.epoch]
        shape = shape_of(running, trial.subject, _outputs(trial.policy))
    kind = UNITS if trial.policy.by_key else VARIANT
    counted = read_arms(copies, trial.subject, shape or Shape(), kind)
    return weigh_counted(trial, evidence, counted, shape, read_labels(copies, trial.subject, trial.policy))


def weigh_counted(
    trial: Trial, evidence: Evidence, counted: Mapping[int, Counted], shape: Shape | None, labels: Judged = NO_LABELS
) -> Finding:
    """The same from arms and labels that were read already."""
    ground, batched = _ground(trial), evidence.cursor.together
    stand = Stand(trial.steps, trial.index, shape, batched, trial.accepted)
    cursor, blocks = cut(evidence.cursor, counted, ground, trial.policy)
    index = cursor.index if blocks else cursor.index + 1
    shelves, returned = cut_labels(evidence.shelves, labels, ground, (index, trial.policy))
    if returned:
        cursor, blocks = replace(cursor, index=index), (*blocks, *returned)
    wealth, verdict = judged(trial.policy, stand, evidence.wealth, blocks, trial.epoch)
    if cursor is evidence.cursor and shelves is evidence.shelves and shape == evidence.shape:
        return Finding(evidence, verdict)
    after = Evidence(wealth, cursor, shape, evidence.rows + bool(blocks), shelves)
    return Finding(after, verdict, _row(trial, blocks, (verdict, batched), after) if blocks else None)


def speaks(trial: Trial) -> bool:
    """Whether the present step asks for evidence."""
    return applies(trial.policy, trial.steps, trial.index)


def _row(trial: Trial, blocks: Sequence[Block], found: tuple[SequentialVerdict, bool], after: Evidence) -> Document:
    verdict, batched = found
    told = [json_of(block) for block in blocks]
    row = {"number": after.rows, "step": trial.index, "epoch": trial.epoch, "batched": batched, "blocks": told}
    row["accepted"] = list(trial.accepted)
    shaped = after.shape is not None
    return {**row, "shaped": shaped, "verdict": told_of(verdict)}


def _ground(trial: Trial) -> Ground:
    chance = is_randomised(trial.steps, trial.index)
    mirrors = trial.policy.mirror_ppm > 0 if chance else is_mirrored(trial.steps, trial.index)
    model = trial.subject.model
    return Ground(model, trial.rollout, trial.epoch, trial.now, trial.weights if chance else None, mirrors)


def _outputs(policy: Policy) -> tuple[str, str]:
    named = {rule.metric: rule.output for rule in policy.rules}
    return named.get(Metric.CLASS_SHARE, ""), named.get(Metric.SCORE, "")
