"""What the judge of a rollout must not forget between two looks, nor in a restart: JSON in the rollout's record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.assessor import Question
from router.checks import Check
from router.routes import Route
from router.stepcounts import Base, Reading, base_at_start, without_epoch
from router.thresholds import Failures, failures_json, failures_of
from router.verdict import Verdict, VerdictKind

MEMORY: Final = "thresholds"
"""Under which key of a question's memory it is kept."""


@dataclass(frozen=True, slots=True)
class StepMemory:
    """Where the counts of the step begin (`base`, in `epoch`), the failures so far, and what shadow steps have shown
    (`kept`)."""

    step: int
    epoch: int
    base: Base
    failures: Mapping[str, Failures]
    kept: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """JSON values; it changes only when something is to be remembered."""
        failures = failures_json(self.failures)
        return {"step": self.step, "epoch": self.epoch, "base": self.base, "failures": failures, "kept": self.kept}


def recalled(question: Question, reading: Reading) -> StepMemory:
    """The memory of the question's step; a step that is looked at first begins with this reading."""
    known = question.memory.get(MEMORY) or {}
    kept, epoch = known.get("kept", {}), known.get("epoch")
    if known.get("step") != question.step:
        return StepMemory(question.step, reading.epoch, base_at_start(reading, epoch), {}, kept)
    base = known["base"] if epoch == reading.epoch else without_epoch(known["base"])
    failures = {name: failures_of(content) for name, content in known.get("failures", {}).items()}
    return StepMemory(question.step, reading.epoch, base, failures, kept)


def remembered(check: Check, verdict: Verdict, question: Question, kept: dict[str, Mapping[str, Any]]) -> Verdict:
    """Where nothing is mirrored any more, what the last mirroring step has shown still holds. Changes `kept`."""
    if any(mirrors_to(question.route, name) for name in question.candidates):
        if verdict.kind is not VerdictKind.PASS:
            kept.pop(check.name, None)
        elif check.name not in kept:
            kept[check.name] = {"step": question.step, "reason": verdict.reason, "numbers": dict(verdict.numbers)}
        return verdict
    found = kept.get(check.name)
    if found is None:
        return verdict
    return Verdict(VerdictKind.PASS, check.name, f"in step {found['step'] + 1}: {found['reason']}", found["numbers"])


def mirrors_to(route: Route, name: str) -> bool:
    """Whether requests are also run on this variant."""
    return any((mirror.variant or str(mirror.version)) == name for mirror in route.mirrors)
