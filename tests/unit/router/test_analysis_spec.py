"""The `analysis:` part of a document: what holds when nothing is said, and what is refused by the field's path."""

from typing import Any

import pytest

from router.errors import InvalidArgument
from router.policy import Metric
from router.sequential import Action
from router.spec import parse_spec

TO = {"model": "digits", "to": 2}
CHECK = {"name": "errors", "metric": "error_rate", "max": 0.05}


def test_checks_of_your_own_keep_their_meaning_and_no_evidence_is_asked_for_beside_them() -> None:
    assert parse_spec({**TO, "checks": [CHECK]}).analysis is None
    assert parse_spec({**TO, "checks": []}).analysis is None


def test_checks_and_analysis_judge_together_when_both_are_there() -> None:
    spec = parse_spec({**TO, "checks": [CHECK], "analysis": {}})
    assert spec.analysis is not None
    assert len(spec.checks) == 1


def test_the_threshold_method_is_the_default_error_rate_and_no_evidence() -> None:
    spec = parse_spec({**TO, "analysis": {"method": "threshold"}})
    assert spec.analysis is None
    assert [check.maximum for check in spec.checks] == [0.05]


def test_limits_after_promotion_need_no_control_and_go_with_every_strategy() -> None:
    watch = {"method": "threshold", "watch": {"errors": 0.02}}
    spec = parse_spec({**TO, "strategy": "blue-green", "blue-green": {"bake": "1m"}, "analysis": watch})
    assert spec.analysis is not None
    assert (spec.analysis.rules, [limit.share for limit in spec.analysis.watch]) == ((), [0.02])
    assert [check.metric for check in spec.checks] == ["error_rate"]
    assert parse_spec(spec.document) == spec


@pytest.mark.parametrize(
    "document",
    [
        {"strategy": "blue-green", "blue-green": {"bake": "1m"}},
        {"strategy": "ab", "to": [{"version": 2, "weight": 20}]},
        {"strategy": "shadow"},
        {"strategy": "instant"},
        {"steps": [{"switch": True, "pause": "1m"}]},
    ],
)
def test_where_evidence_cannot_judge_it_is_not_the_default(document: dict[str, Any]) -> None:
    assert parse_spec({**TO, **document}).analysis is None


def test_a_step_with_all_the_traffic_keeps_a_threshold_since_nothing_is_left_to_compare_with() -> None:
    spec = parse_spec({**TO, "steps": [{"weight": 10}, {"weight": 100, "pause": "1m"}]})
    assert spec.analysis is not None
    assert [check.metric for check in spec.checks] == ["error_rate"]


def test_a_metric_that_is_not_listed_keeps_its_defaults_and_false_leaves_one_out() -> None:
    metrics = {"errors": {"max_ratio": 1.5}, "score": False, "reward": {"action": "abort"}}
    spec = parse_spec({**TO, "analysis": {"metrics": metrics}})
    assert spec.analysis is not None
    rules = {rule.metric: rule for rule in spec.analysis.rules}
    assert list(rules) == [
        Metric.ERRORS, Metric.LATENCY, Metric.OUTPUTS_VALID, Metric.CLASS_SHARE, Metric.REWARD,
    ]  # fmt: skip
    assert rules[Metric.ERRORS].max_ratio == 1.5
    assert (rules[Metric.REWARD].action, rules[Metric.REWARD].delay_seconds) == (Action.ABORT, 86_400.0)


def test_metrics_may_be_a_list_of_names() -> None:
    listed = [{"name": "errors", "weight": 0.5}, {"name": "latency", "quantiles": [0.9]}]
    named = {"errors": {"weight": 0.5}, "latency": {"quantiles": [0.9]}}
    one, other = (parse_spec({**TO, "analysis": {"metrics": metrics}}) for metrics in (listed, named))
    assert one == other


def test_the_document_is_the_same_rollout_when_the_default_is_written_out() -> None:
    spec = parse_spec(TO)
    assert spec.document["analysis"]["false_rollback_rate"] == 0.01
    assert parse_spec(spec.document) == spec


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"strategy": "cohort", "cohort": {"header": "x"}, "analysis": {}}, "analysis: strategy cohort has no random"),
        ({"strategy": "blue-green", "analysis": {}}, "analysis: strategy blue-green has no randomised control"),
        ({"steps": [{"switch": True}], "analysis": {}}, "analysis: no step of this rollout has a randomised control"),
        ({"steps": [{"preview": {}, "approval": True}], "analysis": {}}, "analysis: no step"),
        (
            {
                "strategy": "ab",
                "to": [{"version": 2, "weight": 20}, {"version": 3, "weight": 20}],
                "analysis": {},
            },
            "analysis: compares one candidate",
        ),
        (
            {"analysis": {"metrics": {str(metric): False for metric in Metric}}},
            "analysis.metrics: leaves nothing to judge",
        ),
        ({"analysis": {"metrics": {"speed": {}}}}, "analysis.metrics.speed"),
        ({"analysis": {"metrics": [{"name": "errors"}, {"name": "errors"}]}}, "analysis.metrics: names errors twice"),
        ({"analysis": {"false_rollback_rate": 0}}, "analysis.false_rollback_rate"),
        ({"analysis": {"metrics": {"errors": {"safe": {"ratio": 0.5}}}}}, "analysis.metrics.errors"),
        ({"analysis": {"watch": {}}}, "analysis.watch: needs `errors` or `latency`"),
        ({"analysis": {"watch": {"errors": 0.1}}, "rollback_window": 0}, "analysis.watch: needs a rollback_window"),
        ({"analysis": {"watch": {"latency": {"slower_than": "2m"}}}}, "analysis.watch.latency.slower_than"),
        ({"analysis": {"block": {"max_age": "0.5s"}}}, "analysis.block.max_age"),
        ({"strategy": "shadow", "analysis": {"low_traffic": 10}}, "analysis.low_traffic: needs a step with a weight"),
        ({"strategy": "shadow", "analysis": {"metrics": {"errors": False}}}, "analysis.metrics.errors"),
        ({"strategy": "shadow", "analysis": {"golden": 1}}, "analysis.golden: needs a step with a weight"),
        ({"analysis": {"golden": 1, "metrics": {"errors": False}}}, "analysis.golden: needs"),
        ({"analysis": {"golden": 101}}, "analysis.golden"),
        ({"steps": [{"weight": 50}], "analysis": {"baseline": True}}, "analysis.baseline: needs a weight below"),
        ({"analysis": {"baseline": True, "metrics": {"latency": False}}}, "analysis.baseline: needs"),
        (
            {"steps": [{"cohort": {"header": "x"}, "safe": {"ratio": 2}}, {"weight": 5}]},
            "steps[0].safe: needs a step with a weight",
        ),
        ({"steps": [{"weight": 5, "safe": {"ratio": 2}}], "checks": []}, "steps[0].safe: needs"),
    ],
)
def test_what_nobody_could_show_is_refused_with_the_fields_path(document: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_spec({**TO, **document})
    assert error.value.message.startswith(told), error.value.message


@pytest.mark.parametrize(
    ("document", "by_key"),
    [
        ({}, False),
        ({"analysis": {"unit": "key"}}, True),
        ({"key": {"header": "x-user"}}, True),
        ({"key": {"header": "x-user"}, "analysis": {"unit": "request"}}, False),
    ],
)
def test_callers_are_counted_where_the_document_says_so_or_says_what_they_are_recognised_by(
    document: dict[str, Any], by_key: bool
) -> None:
    policy = parse_spec({**TO, **document}).analysis
    assert policy is not None
    assert policy.by_key is by_key
