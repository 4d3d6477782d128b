"""Latencies become a rate and percentiles."""

import pytest

from loadtests.measured import percentile, summary


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0), (1.0, 100.0), (0.001, 1.0)])
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(1, 101)], share) == value


def test_a_summary_has_rate_percentiles_and_errors() -> None:
    found = summary([0.003, 0.001, 0.002], 1.5, {"connection lost": 2, "status 503": 1})
    assert (found.requests, found.per_second, found.p50_ms, found.p99_ms) == (3, 2.0, 2.0, 3.0)
    assert found.failed == 3


def test_nothing_measured_is_zero_and_no_division() -> None:
    found = summary([], 0.0, {})
    assert (found.per_second, found.p50_ms, found.failed) == (0.0, 0.0, 0)
