from typing import Any

import pytest
from jsonschema import Draft202012Validator

from router.errors import InvalidArgument
from router.plan import OnDeadline
from router.spec import parse_spec, schema
from router.spec_text import read_document
from router.strategies import End, StepKind, Strategy

CANARY: dict[str, Any] = {"model": "digits", "to": 2}
GOOD: dict[str, dict[str, Any]] = {
    "canary": {**CANARY, "canary": {"weights": [0.0001, "1%", 50], "pause": "2h 30m", "requests": 500}},
    "blue-green": {**CANARY, "strategy": "blue-green", "blue-green": {"shadow": 10, "requests": 50, "bake": "1m"}},
    "ab": {
        "model": "digits",
        "strategy": "ab",
        "to": [{"version": 2, "weight": 20}, {"version": 3, "weight": 20, "name": "c"}],
        "ab": {"until": "2030-01-01T00:00:00Z"},
    },
    "shadow": {**CANARY, "strategy": "shadow", "shadow": {"share": 10}},
    "instant": {**CANARY, "strategy": "instant"},
    "cohort": {**CANARY, "strategy": "cohort", "cohort": {"header": "X-Beta", "value": "yes"}},
    "steps": {
        **CANARY,
        "steps": [
            {"shadow": 100, "requests": 2000},
            {"weight": 1, "pause": "10m"},
            {"approval": True},
            {"weight": "5", "requests": 100, "deadline": "1h"},
            {"switch": True, "pause": "1m"},
        ],
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_every_strategy_is_understood_and_follows_the_schema(name: str) -> None:
    spec = parse_spec(GOOD[name])
    assert spec.strategy is Strategy(name)
    assert spec.end is (End.DECIDE if name in ("ab", "shadow") else End.PROMOTE)
    Draft202012Validator(schema()).validate(GOOD[name])


@pytest.mark.parametrize("name", GOOD)
def test_a_document_with_its_defaults_is_the_same_rollout(name: str) -> None:
    spec = parse_spec(GOOD[name])
    assert parse_spec(spec.document) == spec


def test_the_schema_is_sound() -> None:
    Draft202012Validator.check_schema(schema())


def test_a_reason_does_not_make_another_rollout() -> None:
    assert parse_spec({**CANARY, "reason": "a"}).document == parse_spec({**CANARY, "reason": "b"}).document


FLIPS: dict[str, Any] = {"name": "flips", "metric": "shadow_flip_rate", "max": 0.1}
ABOVE: dict[str, Any] = {**FLIPS, "compare": "difference"}


def test_a_canary_is_judged_by_evidence_and_falls_back_unless_told_otherwise() -> None:
    spec = parse_spec(CANARY)
    assert spec.checks == ()
    assert spec.analysis is not None
    assert spec.fallback is not None
    assert spec.limits.on_deadline is OnDeadline.ABORT
    bare = parse_spec({**CANARY, "checks": [], "fallback": {"enabled": False}})
    assert (bare.checks, bare.fallback) == ((), None)


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, 0.0),
        ({"tolerate": 3}, 10.0),
        ({"interval": "30s"}, 30.0),
        ({"kind": "hook", "source": "ops", "metric": "", "max": None}, 10.0),
        ({"source": "prom", "query": "up", "metric": ""}, 10.0),
    ],
)
def test_own_counts_are_looked_at_each_tick_unless_failures_are_counted(more: dict[str, Any], seconds: float) -> None:
    check = {"name": "x", "metric": "error_rate", "max": 0.1, **more}
    [found] = parse_spec({**CANARY, "checks": [{k: v for k, v in check.items() if v not in ("", None)}]}).checks
    assert found.interval_seconds == seconds


def test_a_shadow_may_measure_stable_against_itself_first() -> None:
    flips = {"name": "flips", "metric": "shadow_flip_rate", "compare": "difference", "max": 0.01}
    asked = {**CANARY, "strategy": "shadow", "shadow": {"share": 10, "noise_floor": 200}, "checks": [flips]}
    floor, shadow = parse_spec({**asked, "pairs": {"most": 3, "inputs": True, "values": False}}).steps
    assert (floor.kind, floor.share_ppm, floor.wait.requests, floor.checked) == (StepKind.NOISE, 100_000, 200, False)
    assert (shadow.kind, shadow.share_ppm, shadow.wait.requests) == (StepKind.SHADOW, 100_000, 1000)


def test_a_list_of_steps_is_taken_as_it_is_written() -> None:
    spec = parse_spec(GOOD["steps"])
    kinds = [StepKind.SHADOW, StepKind.WEIGHT, StepKind.PAUSE, StepKind.WEIGHT, StepKind.SWITCH]
    assert [step.kind for step in spec.steps] == kinds
    assert [step.wait.seconds for step in spec.steps] == [0, 600, 0, 0, 60]
    assert spec.steps[2].wait.approval
    assert spec.steps[3].wait.deadline_seconds == 3600


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"colour": "blue"}, "colour: "),
        ({"to": 0}, "to: "),
        ({"to": True}, "to: "),
        ({"model": "../x"}, "model: must match"),
        ({"canary": {"weights": []}}, "canary.weights: "),
        ({"canary": {"weights": [5, 1]}}, "steps[1].weight: must not be below"),
        ({"canary": {"weights": ["0.00001"]}}, "canary.weights[0]: weight 0.00001 is finer"),
        ({"canary": {"pause": "soon"}}, "canary.pause: must be a time"),
        ({"canary": {"pause": -1}}, "canary.pause: "),
        ({"steps": [{"weight": 1, "switch": True}]}, "steps[0]: weight and switch exclude each other"),
        ({"steps": [{"weight": 1, "shadow": 5}]}, "steps[0]: weight and shadow exclude each other"),
        ({"steps": [{"pause": "1h", "deadline": "1h"}]}, "steps[0].deadline: "),
        ({"steps": [{"weight": 1}], "strategy": "ab"}, "steps: "),
        ({"strategy": "ab"}, "to: a list with weights"),
        ({"to": [{"version": 2, "weight": 10}]}, "to: a list with weights"),
        ({"to": [{"version": 2}], "strategy": "ab"}, "to[0].weight: Field required"),
        ({"to": [{"version": 2, "weight": 60}, {"version": 3, "weight": 60}], "strategy": "ab"}, "to: the weights sum"),
        ({"to": [{"version": 2, "weight": 10}] * 2, "strategy": "ab"}, "to: names a version twice"),
        ({"strategy": "ab", "to": [{"version": 2, "weight": 10}], "ab": {"until": "soon"}}, "ab.until: must be a date"),
        ({"strategy": "cohort"}, "cohort: required"),
        ({"strategy": "instant", "canary": {}}, "canary: belongs to strategy canary"),
        ({"max_duration": "10m"}, "max_duration: is 600 s, but the steps' pauses alone take 1200 s"),
        ({"step_deadline": "5m"}, "steps[0].deadline: must be longer"),
        ({"checks": [{"name": "x", "metric": "error_rate"}]}, "checks[0]: needs `max`"),
        ({"checks": [{"name": "x", "metric": "errors", "max": 1}]}, "checks[0].metric: must be one of"),
        ({"checks": [{"name": "x", "metric": "error_rate", "max": 0, "min": 1}]}, "checks[0].min: "),
        ({"checks": [{"name": "x", "metric": "class_share", "max": 1}]}, "checks[0].label: "),
        ({"checks": [{"name": "x", "metric": "shadow_flip_rate", "max": 1}]}, "checks[0].metric: no step"),
        ({"checks": [{"name": "x", "source": "prom", "max": 1}]}, "checks[0].query: required"),
        (
            {"checks": [{"name": "x", "source": "prom", "query": "q", "max": 1, "compare": "ratio"}]},
            "checks[0].compare",
        ),
        ({"checks": [{"name": "x", "kind": "hook"}]}, "checks[0].source: must name a hook"),
        ({"checks": [{"name": "x", "kind": "sequential"}]}, "checks[0].kind: sequential"),
        ({"checks": [{"name": "x", "metric": "requests", "min": 1}] * 2}, "checks: uses a name twice"),
        ({"strategy": "instant", "checks": [{"name": "x", "metric": "error_rate", "max": 1}]}, "checks: this rollout"),
        ({"pairs": {"most": 5}}, "pairs: no step"),
        ({"strategy": "shadow", "pairs": {"most": 500}, "shadow": {}}, "pairs.most: "),
        ({"steps": [{"noise_floor": 50}]}, "steps[0].requests: required by `noise_floor`"),
        ({"steps": [{"noise_floor": 50, "requests": 9, "weight": 1}]}, "steps[0]: weight and noise_floor exclude"),
        ({"steps": [{"noise_floor": 5, "requests": 9}], "checks": [FLIPS]}, "checks[0].metric: no step"),
        ({"strategy": "shadow", "checks": [ABOVE]}, "checks[0].compare: needs the noise floor"),
        ({"strategy": "shadow", "shadow": {"noise_floor": 9}, "checks": [ABOVE]}, "checks[0].min_requests: is more"),
        ({"strategy": "shadow", "checks": [{**ABOVE, "compare": "ratio"}]}, "checks[0].compare: only shadow_flip_rate"),
        ({"strategy": "shadow", "fallback": {"enabled": True}}, "fallback.enabled: no step"),
        ({"strategy": "shadow", "exposure": {"requests": 5}}, "exposure: needs"),
        ({"exposure": {}}, "exposure: must limit"),
        ({"fallback": {"on": ["tired"]}}, "fallback.on[0]: "),
        ({"compare": [{"output": "*", "kind": "exact"}]}, "compare: no step"),
        ({"on_deadline": "wait"}, "on_deadline: "),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_path(more: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_spec({**CANARY, **more})
    assert refused.value.message.startswith(path)


@pytest.mark.parametrize("what", [None, [], "canary", 7, {"model": 1, "to": {}}])
def test_anything_else_is_refused_too(what: Any) -> None:
    with pytest.raises(InvalidArgument):
        parse_spec(what)


def test_sequential_checks_are_refused_where_there_is_no_control() -> None:
    check = {"name": "x", "kind": "sequential"}
    with pytest.raises(InvalidArgument, match="has no randomised control"):
        parse_spec({**CANARY, "strategy": "blue-green", "checks": [check]})


def test_yaml_says_what_it_looks_like() -> None:
    text = "model: digits\nto: 2\nfallback: {on: [timeout]}\nab: {until: 2030-01-01}\nvalue: yes\n"
    found = read_document(text)
    assert (found["fallback"], found["ab"], found["value"]) == ({"on": ["timeout"]}, {"until": "2030-01-01"}, "yes")


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: &x 1\nb: *x", "a: [1", "!!python/object:os.system x", "[" * 5000])
def test_a_text_that_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        read_document(text)
