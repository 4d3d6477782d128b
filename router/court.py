"""Evidence for the judge: what a rollout remembers is taken up, weighed with a new reading, and handed back to be kept.

Nothing lives here but a copy of what was decoded last: whatever decides is in the rollout's memory.
"""

from collections.abc import Sequence
from typing import Any

from router.afterwatch import Beat, keep_watch
from router.assessor import Assessment, Question
from router.cursor import Subject
from router.errors import InvalidArgument
from router.evaluator import EVIDENCE, Evidence, lost, verdict_from
from router.replay import WATCH
from router.routes import variant_named
from router.stepmemory import MEMORY
from router.tally import BlockCopy
from router.verdict import Verdict, VerdictKind
from router.weighing import Trial, speaks, weigh


class Court:
    """One evaluator for all rollouts of a gateway."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Evidence]] = {}

    def hear(self, question: Question, copies: Sequence[BlockCopy]) -> Assessment:
        """The verdict of the evidence, if the step asks for one, and what is to be remembered and logged."""
        trial = trial_of(question)
        if trial is None:
            return Assessment(memory={})
        recorded = question.memory.get(EVIDENCE)
        if recorded is None and MEMORY in question.memory:
            return _spoken(trial, lost("it was never recorded, or the record is gone"), {})
        try:
            evidence = self._evidence(question.model, recorded)
        except InvalidArgument as error:
            return _spoken(trial, lost(error.message), {EVIDENCE: recorded})
        finding = weigh(trial, evidence, copies)
        if finding.evidence is not evidence:
            recorded = finding.evidence.to_json()
            self._known[question.model] = (recorded, finding.evidence)
        log = () if finding.row is None else (finding.row,)
        return _spoken(trial, verdict_from(finding.verdict), {EVIDENCE: recorded}, log)

    def watch(self, question: Question, copies: Sequence[BlockCopy]) -> Assessment:
        """The verdict of the watch after promotion; `stable` is what was promoted."""
        variant = variant_named(question.route, question.stable)
        if question.policy is None or not question.policy.watch or variant is None:
            return Assessment()
        beat = Beat(
            question.rollout,
            question.policy,
            question.model,
            (variant.name, variant.version),
            question.route.epoch,
            question.now,
            question.window_seconds,
        )
        try:
            kept = keep_watch(beat, question.memory.get(WATCH), copies)
        except InvalidArgument as error:
            return Assessment((Verdict(VerdictKind.ERROR, WATCH, error.message),))
        log = () if kept.row is None else (kept.row,)
        return Assessment((kept.verdict,), memory={**question.memory, WATCH: kept.memory}, log=log)

    def _evidence(self, model: str, recorded: Any) -> Evidence:
        known = self._known.get(model)
        if known is not None and known[0] is recorded:
            return known[1]
        evidence = Evidence() if recorded is None else Evidence.from_json(recorded)
        self._known[model] = (recorded, evidence)
        return evidence


def trial_of(question: Question) -> Trial | None:
    """What evidence is asked; None where nothing is judged by it."""
    if question.policy is None or not question.policy.rules or len(question.candidates) != 1:
        return None
    route, name = question.route, question.candidates[0]
    candidate, stable = variant_named(route, name), variant_named(route, question.stable)
    if candidate is None or stable is None:
        return None
    beside = next((one for one in route.variants if one.apart), None)
    subject = Subject(
        question.model,
        (candidate.name, candidate.version),
        (stable.name, stable.version),
        None if beside is None else (beside.name, beside.version),
    )
    weights = (candidate.weight_ppm, stable.weight_ppm + (0 if beside is None else beside.weight_ppm))
    return Trial(
        question.rollout,
        question.policy,
        question.steps,
        question.step,
        subject,
        route.epoch,
        weights,
        question.now,
        question.accepted,
    )


def _spoken(trial: Trial, verdict: Verdict, memory: dict[str, Any], log: tuple[dict[str, Any], ...] = ()) -> Assessment:
    return Assessment((verdict,) if speaks(trial) else (), memory=memory, log=log)
