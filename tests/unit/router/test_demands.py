"""What evidence must show at a step, from the document to the checks of the engine."""

from dataclasses import replace
from typing import Any

import pytest

from router.demands import Shape, Stand, Watched, applies, checks_at, limits_of, margin_at
from router.plan import RolloutSpec
from router.policy import Policy, Rule
from router.sequential import Action, ClassCheck, LatencyCheck, Margin, SequentialCheck
from router.spec import parse_spec

SHAPE = Shape(Watched("class:label", 10, tuple("0123456789")), Watched("value:score", 8))


def spec(**more: Any) -> RolloutSpec:
    return parse_spec({"model": "digits", "to": 2, **more})


def policy(of: RolloutSpec) -> Policy:
    assert of.analysis is not None
    return of.analysis


def rule(of: RolloutSpec, name: str) -> Rule:
    return next(rule for rule in policy(of).rules if rule.metric == name)


def checks(of: RolloutSpec, index: int, together: bool = False) -> dict[str, SequentialCheck]:
    return {check.name: check for check in checks_at(policy(of), Stand(of.steps, index, SHAPE, together))}


STEPS = {"steps": [{"shadow": 100}, {"weight": 5}, {"weight": 25}, {"weight": 50}, {"weight": 100}, {"pause": "1m"}]}


def test_a_canary_without_checks_is_judged_by_the_defaults_of_the_design() -> None:
    found = checks(spec(), 0)
    errors, latency = found["errors"], found["latency"]
    assert [(c.name, c.weight, c.action, c.required) for c in found.values()] == [
        ("errors", 0.4, Action.ABORT, True),
        ("latency", 0.4, Action.ABORT, True),
        ("outputs_valid", 0.2, Action.ABORT, False),
        ("class_share", 1.0, Action.HOLD, False),
        ("score", 1.0, Action.HOLD, False),
    ]
    assert errors.safe == Margin(3.0, 0.005)
    assert isinstance(latency, LatencyCheck)
    assert (latency.safe, latency.quantiles, latency.max_increase) == (Margin(1.2), (0.5, 0.95, 0.99), 0.10)
    budgets = policy(spec()).budgets
    assert (budgets.false_rollback, budgets.false_promotion, budgets.broken_assignment) == (0.01, 0.05, 0.001)


def test_the_margin_grows_narrower_with_the_weight_and_all_margins_are_gathered_from_the_first_block() -> None:
    of = spec(**STEPS)
    found = [margin_at(rule(of, "errors"), of.steps, index) for index in range(4)]
    assert found == [None, Margin(3.0, 0.005), Margin(2.0, 0.005), Margin(1.5, 0.005)]
    gathered = {frozenset(checks(of, index)["errors"].margins) for index in range(4)}
    assert gathered == {frozenset({Margin(3.0, 0.005), Margin(2.0, 0.005), Margin(1.5, 0.005)})}


def test_a_step_may_ask_for_margins_of_its_own() -> None:
    of = spec(steps=[{"weight": 5, "safe": {"ratio": 4, "increase": 0.5}}, {"weight": 50}])
    first, second = checks(of, 0), checks(of, 1)
    assert (first["errors"].safe, first["latency"].safe) == (Margin(4.0, 0.005), Margin(1.5))
    assert (second["errors"].safe, second["latency"].safe) == (Margin(1.5, 0.005), Margin(1.2))


def test_a_margin_of_the_metric_holds_at_every_step_that_says_nothing() -> None:
    of = spec(analysis={"metrics": {"errors": {"safe": {"ratio": 2.5, "or_below": 0.01}}}})
    assert {margin_at(rule(of, "errors"), of.steps, index) for index in range(4)} == {Margin(2.5, 0.01)}


@pytest.mark.parametrize(("index", "expected"), list(enumerate([True, True, True, True, False, False])))
def test_evidence_judges_where_chance_assigns_or_requests_are_mirrored(index: int, expected: bool) -> None:
    of = spec(**STEPS)
    assert applies(of.analysis, of.steps, index) is expected


def test_nothing_is_judged_in_a_step_that_asks_for_no_checks() -> None:
    of = spec(steps=[{"weight": 5, "checks": False}, {"weight": 50}])
    assert [applies(of.analysis, of.steps, index) for index in (0, 1)] == [False, True]


def test_while_requests_are_mirrored_only_errors_are_asked_about_and_no_margin_must_be_shown() -> None:
    found = checks(spec(**STEPS), 0)
    assert (found["errors"].safe, found["errors"].required, found["errors"].exempt) == (None, False, "")
    assert all(check.exempt and not check.required for name, check in found.items() if name != "errors")


def test_with_mirrored_requests_in_the_sample_latency_holds_nothing_up_but_still_counts_as_harm() -> None:
    latency = checks(spec(analysis={"low_traffic": 100}), 0)["latency"]
    assert (latency.required, latency.action, bool(latency.exempt)) == (False, Action.ABORT, True)


def test_with_golden_rows_in_the_sample_only_errors_are_asked_about() -> None:
    found = checks(spec(analysis={"golden": 2}), 0)
    assert (found["errors"].required, found["errors"].exempt) == (True, "")
    assert found["latency"].exempt == "nothing is asked of it while golden rows fill the sample"


def test_how_many_classes_there_are_is_found_when_both_versions_were_counted() -> None:
    of = spec()
    known = checks(of, 0)["class_share"]
    assert isinstance(known, ClassCheck)
    assert (known.classes, known.suspended) == (10, "")
    unknown = next(c for c in checks_at(policy(of), Stand(of.steps, 0)) if c.name == "class_share")
    assert unknown.suspended == "nothing has been counted of both versions yet"


def test_latency_of_batches_is_asked_where_shares_are_alike_and_harm_counts_before() -> None:
    of = spec(steps=[{"weight": 5}, {"weight": 50}, {"weight": 90}])
    small, even, large = (checks(of, index, together=True)["latency"] for index in range(3))
    assert (small.margins, small.required, small.suspended) == ((), False, "")
    assert small.exempt.startswith("it is asked in step 2, where shares are alike")
    assert even == replace(checks(of, 1)["latency"], by_request=False)
    assert large.suspended.startswith("many requests run together")


def test_without_a_step_of_alike_shares_latency_of_batches_holds_and_says_what_to_do() -> None:
    latency = checks(spec(steps=[{"weight": 5}, {"weight": 20}]), 0, together=True)["latency"]
    assert (latency.margins, latency.required, latency.exempt, latency.suspended) == ((), True, "", "")
    assert "add a step of 50" in latency.doubtful


def test_with_a_baseline_latency_of_batches_is_asked_at_small_shares_too() -> None:
    of = spec(steps=[{"weight": 5}, {"weight": 33.3}], analysis={"baseline": True})
    small, even = (checks(of, index, together=True)["latency"] for index in range(2))
    assert (small.control, small.required, small.doubtful, small.exempt) == ("baseline", True, "", "")
    assert small.margins
    assert even.control == "stable"
    assert checks(of, 0)["errors"].control == "stable"


def test_the_watch_holds_the_promoted_version_to_shares_of_failed_and_of_slow_requests() -> None:
    watch = {"errors": 0.02, "latency": {"slower_than": "250ms", "share": 0.05}}
    errors, latency = limits_of(policy(spec(analysis={"watch": watch})))
    assert (errors.limit, errors.slower_than, errors.arm) == (0.02, None, "stable")
    assert (latency.limit, latency.slower_than) == (0.05, 99)


def test_where_labels_judge_it_is_watched_that_they_come_for_both_versions() -> None:
    found = checks(spec(analysis={"metrics": {"reward": {"action": "abort", "weight": 1}}}), 0)
    assert found["reward"].action is Action.ABORT
    for name in ("labels_fewer", "labels_more"):
        assert (found[name].action, found[name].weight, found[name].required) == (Action.HOLD, 0.5, False)
    assert "labels_fewer" not in checks(spec(), 0)
