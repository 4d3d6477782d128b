"""Numbers from counts: what is in a rate, how far a quantile is off, what is no data."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import booking, figures, telemetry
from router.checks import METRICS, Check
from router.figures import Counts, Family, Measurement, figure, quantile
from router.layout import Outcome
from router.verdict import VerdictKind


def outcomes(**counts: int) -> tuple[int, ...]:
    cells = [0] * 16
    for name, count in counts.items():
        cells[Outcome[name.upper()]] = count
    return tuple(cells)


def latencies(*micros: int) -> tuple[int, ...]:
    cells = [0] * (len(telemetry.LATENCY_EDGES_US) + 1)
    for one in micros:
        cells[booking._latency_bucket(one * 1000)] += 1
    return tuple(cells)


def measured(metric: str, counts: Counts, label: str = "") -> Measurement:
    return figure(Check("c", metric=metric, label=label), counts)


def test_cells_and_edges_are_those_of_the_counters() -> None:
    own = (figures.OK, figures.ERROR, figures.TIMEOUT, figures.NONFINITE, figures.SHED)
    assert own == (Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.NONFINITE, Outcome.SHED)
    assert tuple(edge / 1e6 for edge in telemetry.LATENCY_EDGES_US) == figures.LATENCY_EDGES_SECONDS


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_a_specification_is_known_and_without_counts_none_is_there(metric: str) -> None:
    found = measured(metric, Counts())
    assert found.kind is VerdictKind.NO_DATA
    assert found.value in (None, 0.0)
    assert "there is no metric" not in found.reason


def test_an_unknown_metric_is_an_error() -> None:
    assert measured("happiness", Counts()).kind is VerdictKind.ERROR


def test_failures_of_the_variant_count_and_those_of_clients_and_others_do_not() -> None:
    counts = Counts(
        {
            "outcome": outcomes(
                ok=90, error=4, timeout=3, nonfinite=2, shed=1, client_error=50, cancelled=50, lost=50, diverted=50
            )
        }
    )
    assert measured("error_rate", counts) == Measurement(0.1, 100)
    assert measured("requests", counts) == Measurement(100.0, 100)
    assert measured("nonfinite_rate", counts) == Measurement(0.02, 100)


def test_a_nonfinite_answer_that_was_served_counts_as_such() -> None:
    watched = {"value:y": Family((5, 0, 0, 7), edges=(0.0, 1.0)), "class:l": Family((3, 9), ("a", "other"))}
    assert measured("nonfinite_rate", Counts({"outcome": outcomes(ok=100)}, watched)).value == 0.07


def test_fallbacks_are_a_share_of_the_candidates_requests() -> None:
    counts = Counts({"outcome": outcomes(ok=80, error=20), "fallback": (15,)})
    assert measured("fallback_rate", counts) == Measurement(0.15, 100)


def test_the_share_of_a_class() -> None:
    counts = Counts({}, {"class:label": Family((30, 60, 10), ("a", "b", "other"))})
    assert measured("class_share", counts, "b") == Measurement(0.6, 100)
    unknown = measured("class_share", counts, "z")
    assert unknown.kind is VerdictKind.ERROR
    assert "'z'; there are a, b, other" in unknown.reason


def test_the_mean_confidence_says_how_far_it_may_be_off() -> None:
    counts = Counts({}, {"confidence:p": Family((0, 10, 10, 4), edges=(0.5, 0.9))})
    found = measured("mean_confidence", counts)
    assert (found.value, found.low, found.high) == pytest.approx((0.825, 0.7, 0.95))
    assert found.requests == 20


def test_shadow_rates_rest_on_pairs_and_on_sampled_requests() -> None:
    counts = Counts({"pairs": (97, 3), "sampled": (75, 25)})
    assert measured("shadow_flip_rate", counts) == Measurement(0.03, 100)
    assert measured("shadow_drop_rate", counts) == Measurement(0.25, 100)


@given(st.lists(st.integers(1, 59_000_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one_and_is_off_by_a_tenth_at_most(
    micros: list[int], q: float
) -> None:
    exact = sorted(micros)[max(1, math.ceil(q * len(micros))) - 1] / 1e6
    low, value, high = quantile(latencies(*micros), q)
    assert low <= exact <= high
    assert low <= value <= high
    assert abs(value - exact) <= max(0.11 * exact, 21e-6)


def test_what_took_longer_than_the_last_edge_is_as_long_as_that() -> None:
    low, value, high = quantile(latencies(70_000_000), 0.99)
    assert low == value == telemetry.LATENCY_EDGES_US[-1] / 1e6
    assert high == math.inf
