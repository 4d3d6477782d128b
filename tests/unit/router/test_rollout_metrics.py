"""Where rollouts are and what they decided, as metrics with fixed words."""

from types import SimpleNamespace
from typing import Any

import pytest

from router.analysis import ASSIGNMENT, Wealth
from router.evaluator import EVIDENCE, Evidence
from router.history import Event, Who
from router.metrics import METRICS, Sample
from router.rollout import Seen
from router.rollout_metrics import Decisions, decision_samples, hook_samples, reason_of, rollout_samples
from router.webhooks import HookCounts
from tests.unit.router.test_webhooks import Past

FAILED = {"evidence": {"checks": [{"check": "errors", "verdict": "fail"}]}}
LABELS = {metric.name: metric.labels for metric in METRICS}


def event(kind: str, actor: str = "serin", after: Any = None, model: str = "digits") -> Event:
    return Event(f"rollout.{kind}", model, Who(actor, "because"), None, after or {})


@pytest.mark.parametrize(
    ("happened", "reason"),
    [
        (event("aborting", "ann", FAILED), "person"),
        (event("aborting", after=FAILED), "check"),
        (event("aborting", after={"contract": {"kind": "breaking"}}), "contract"),
        (event("aborting", after={"move": "deadline"}), "deadline"),
        (event("step", after={"move": "next", **FAILED}), "next"),
        (event("aborting"), "serin"),
        (Event("rollout.step", "digits", Who(), None, "text"), "serin"),
    ],
)
def test_a_decision_has_one_of_a_few_reasons(happened: Event, reason: str) -> None:
    assert reason_of(happened) == reason


async def test_decisions_are_counted_from_now_on() -> None:
    past = Past("rollout.started")
    decisions = Decisions(past)
    past.happen("rollout.step", "route.set")
    past.closing = False
    for happened in past.known:
        decisions.book(happened)
    assert decisions.counts == {("digits", "started", "person"): 1, ("digits", "step", "person"): 1}
    assert set(decision_samples(decisions)) == {
        Sample("serin_rollout_decisions_total", ("digits", "started", "person"), 1),
        Sample("serin_rollout_decisions_total", ("digits", "step", "person"), 1),
    }


def test_models_beyond_a_limit_share_a_name() -> None:
    decisions = Decisions(Past())
    for number in range(1100):
        decisions.book(event("step", model=f"m{number}"))
    models = {model for model, _, _ in decisions.counts}
    assert len(models) == 1001
    assert decisions.counts["other", "step", "serin"] == 100


@pytest.mark.parametrize(
    ("wealth", "broken"),
    [(Wealth(), 0.0), (Wealth(crossed={ASSIGNMENT: 9.0}), 1.0), (Wealth(crossed={"errors": 9.0}), 0.0)],
)
def test_a_split_that_does_not_follow_its_weights_is_told(wealth: Wealth, broken: float) -> None:
    memory = {EVIDENCE: Evidence(wealth=wealth).to_json()}
    rollout: Any = SimpleNamespace(
        model="m",
        phase="progressing",
        step=0,
        spec=SimpleNamespace(steps=()),
        is_active=True,
        memory=memory,
        seen=Seen(),
    )
    assert Sample("serin_rollout_assignment_broken", ("m",), broken) in set(rollout_samples([rollout]))


def test_every_sample_has_the_labels_of_its_metric() -> None:
    counts = HookCounts(backlog=3)
    counts.results["failed"] = 2
    found = list(hook_samples({"ops": counts}))
    assert Sample("serin_hook_deliveries_total", ("ops", "failed"), 2) in found
    assert all(len(sample.labels) == len(LABELS[sample.name]) for sample in found)
