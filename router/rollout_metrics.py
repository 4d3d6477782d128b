"""Where every rollout is, what was decided and how hooks fare, as values for the metrics page."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from router.analysis import ASSIGNMENT
from router.errors import SerinError
from router.evaluator import EVIDENCE
from router.history import Event
from router.metrics import Sample
from router.rollout import Rollout
from router.webhooks import PAGE, QUIET_SECONDS, History, HookCounts

PREFIX: Final = "rollout."
MAX_MODELS: Final = 1000
"""So many models are told apart; what is decided of more is counted as model "other"."""


class Decisions:
    """Counts what is decided from now on, by model, decision and reason; `run` until the history closes."""

    def __init__(self, history: History) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self._history = history
        self._models: set[str] = set()

    async def run(self) -> None:
        """Follows the history. What cannot be read is read later."""
        history, after = self._history, self._history.last_event
        while not history.closing:
            try:
                page = await history.events(after, PAGE)
            except SerinError:
                page = ()
            for event in page:
                self.book(event)
            after = page[-1].id if page else after
            if len(page) < PAGE:
                await self._news(after)

    async def _news(self, after: int) -> None:
        history = self._history
        await history.bell.until(lambda: history.closing or history.last_event > after, QUIET_SECONDS)

    def book(self, event: Event) -> None:
        """Counts an event of a rollout; others are none."""
        if not event.kind.startswith(PREFIX) or event.model is None:
            return
        known = event.model in self._models or len(self._models) < MAX_MODELS
        model = event.model if known else "other"
        self._models.add(model)
        self.counts[model, event.kind.removeprefix(PREFIX), reason_of(event)] += 1


def reason_of(event: Event) -> str:
    """A fixed word: `person`, `check`, `contract`, the move that the event tells, or `serin`."""
    after: Mapping[str, Any] = event.after if isinstance(event.after, Mapping) else {}
    if event.who.actor != "serin":
        return "person"
    if event.kind == f"{PREFIX}aborting":
        checks = (after.get("evidence") or {}).get("checks") or ()
        if any(check.get("verdict") == "fail" for check in checks):
            return "check"
        if "contract" in after:
            return "contract"
    return str(after.get("move") or "serin")


def rollout_samples(rollouts: Iterable[Rollout]) -> Iterator[Sample]:
    """Of each model's last rollout."""
    for rollout in rollouts:
        model = rollout.model
        yield Sample("serin_rollout_phase", (model, str(rollout.phase)), 1)
        yield Sample("serin_rollout_step", (model,), rollout.step + 1)
        yield Sample("serin_rollout_steps", (model,), len(rollout.spec.steps))
        if rollout.is_active:
            for verdict in rollout.seen.verdicts:
                yield Sample("serin_rollout_check", (model, verdict.check, str(verdict.kind)), 1)
            yield Sample("serin_rollout_assignment_broken", (model,), float(_is_misdealt(rollout)))


def _is_misdealt(rollout: Rollout) -> bool:
    """Whether the recorded evidence has claimed that the split does not follow its weights."""
    evidence: Mapping[str, Any] = rollout.memory.get(EVIDENCE) or {}
    return ASSIGNMENT in evidence.get("wealth", {}).get("crossed", {})


def decision_samples(decisions: Decisions) -> Iterator[Sample]:
    """Of all models."""
    for labels, count in decisions.counts.items():
        yield Sample("serin_rollout_decisions_total", labels, count)


def hook_samples(hooks: Mapping[str, HookCounts]) -> Iterator[Sample]:
    """Of all hooks."""
    for name, counts in hooks.items():
        yield Sample("serin_hook_backlog", (name,), counts.backlog)
        for result, count in counts.results.items():
            yield Sample("serin_hook_deliveries_total", (name, result), count)
