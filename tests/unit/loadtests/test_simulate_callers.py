"""Callers of unequal activity fool a count of requests, and not a count of callers."""

import pytest

from loadtests.simulate_callers import RAMP, Crowd, rate


@pytest.mark.slow
def test_equal_versions_look_different_by_request_and_not_by_caller():
    crowd = Crowd(seconds=120)
    by_request, _, requests = rate(crowd, range(20), once=False)
    by_caller, _, callers = rate(crowd, range(20), once=True)
    assert by_request >= 0.1
    assert by_caller <= 0.05
    assert callers < requests / 3


@pytest.mark.slow
def test_a_worse_candidate_is_found_by_caller_too():
    found, _, _ = rate(Crowd(RAMP, worse=0.1, seconds=240), range(10), once=True)
    assert found >= 0.9
