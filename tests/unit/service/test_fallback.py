"""Who may answer in a candidate's place, and when that has been done too often."""

import pytest

from router.errors import DeadlineExceeded, Internal, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from router.routes import Fallback
from service.fallback import (
    SPENT_NS,
    WINDOW_SECONDS,
    Budget,
    FallbackGuard,
    NonFiniteAnswer,
    Window,
    half_time,
    reason_of,
)
from service.runtime.accused import Poison

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeadlineExceeded("late"), "timeout"),
        (ResourceExhausted("full"), "shed"),
        (Poison("killed two workers there"), "error"),
        (Unavailable("loading"), "shed"),
        (Internal("broken"), "error"),
        (ValueError("unforeseen"), "error"),
        (NonFiniteAnswer("nan"), "nonfinite"),
        (InvalidArgument("wrong shape"), None),
        (NotFound("not loaded any more"), "shed"),
    ],
)
def test_a_callers_mistake_is_no_reason_to_ask_another_version(error, reason):
    assert reason_of(error) == reason


@pytest.mark.parametrize(("now", "deadline", "half"), [(100, 300, 200), (100, 100, 100), (100, 50, 100)])
def test_a_candidate_gets_half_of_what_remains(now, deadline, half):
    assert half_time(now, deadline) == half


def test_a_window_forgets_what_is_older_than_it_is_long():
    window = Window()
    for second in range(20):
        window.add(second)
    assert window.total == WINDOW_SECONDS

    window.add(28, 0)
    assert window.total == 1
    window.add(1_000_000)
    assert window.total == 1


def spend(budget: Budget, requests: int, retries: int, *, at: int = 0) -> list[bool]:
    for _ in range(requests):
        budget.request(at)
    return [budget.retry("canary", at) for _ in range(retries)]


def test_a_fifth_of_the_requests_may_be_run_again():
    budget = Budget(200_000)

    assert spend(budget, 100, 19) == [False] * 19
    assert not budget.is_spent("canary", 0)
    assert spend(budget, 0, 1) == [True]
    assert budget.is_spent("canary", 0)


def test_a_candidate_that_fails_all_of_its_tenth_never_spends_it():
    budget = Budget(200_000)

    for number in range(10_000):
        budget.request(number * SECOND // 50)
        if number % 10 == 9:
            assert not budget.retry("canary", number * SECOND // 50)


def test_a_quiet_route_has_a_few_tries():
    budget = Budget(200_000)

    assert spend(budget, 1, 2) == [False, False]
    assert spend(budget, 0, 1) == [True]


def test_no_budget_is_spent_with_the_first_failure():
    assert spend(Budget(0), 1000, 1) == [True]


def test_it_is_told_once_and_the_candidate_is_tried_again_after_a_while():
    budget = Budget(200_000)

    assert spend(budget, 1, 5) == [False, False, True, False, False]
    assert budget.is_spent("canary", SPENT_NS - 1)
    assert not budget.is_spent("canary", SPENT_NS)


def test_of_several_candidates_the_one_that_fails_most_is_left_alone():
    budget = Budget(200_000)
    spend(budget, 20, 3)
    assert budget.retry("other", 0)

    assert budget.is_spent("canary", 0)
    assert not budget.is_spent("other", 0)


def test_old_failures_are_forgiven():
    budget = Budget(200_000)
    spend(budget, 1, 2)

    assert spend(budget, 1, 2, at=11 * SECOND) == [False, False]


def test_trouble_names_the_variant_and_the_reason():
    guard = FallbackGuard.of(Fallback("stable", budget_ppm=0), None)
    assert guard is not None
    assert guard.failed("canary", "timeout", 0)

    assert guard.trouble.startswith("fallback budget spent: canary failed too often")
    assert guard.trouble.endswith("timeout")


def test_the_budget_of_a_rule_goes_on_and_that_of_another_begins():
    guard = FallbackGuard.of(Fallback("stable"), None)

    assert FallbackGuard.of(Fallback("stable"), guard) is guard
    assert FallbackGuard.of(Fallback("stable", budget_ppm=1), guard) is not guard
    assert FallbackGuard.of(None, guard) is None


def test_nobody_steps_in_for_the_one_who_steps_in():
    guard = FallbackGuard.of(Fallback("stable"), None)
    assert guard is not None

    assert guard.covers("canary")
    assert not guard.covers("stable")
