"""Distances between counts and the gate that keeps chance out."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from router.drift import (
    Level,
    bad_limit,
    chi_square_quantile,
    distances,
    has_drifted,
    js_distance,
    level_of,
    noise_limit,
    psi,
    wasserstein,
)

EDGES = (-1.0, 0.0, 1.0)
TEN = tuple(stats.norm.ppf(np.arange(0.1, 1.0, 0.1)).tolist())


def normal_counts(n: int, shift: float) -> tuple[int, ...]:
    """What n normal values would be without any chance."""
    below = [0.0, *stats.norm.cdf(np.asarray(TEN) - shift), 1.0]
    return tuple(round(n * share) for share in np.diff(below))


def test_equal_shares_are_no_distance_apart():
    assert psi((10, 20, 30), (100, 200, 300)) == pytest.approx(0.0, abs=1e-3)
    assert js_distance((10, 20, 30), (100, 200, 300)) == pytest.approx(0.0, abs=1e-9)
    assert wasserstein((10, 20, 30, 40), (1, 2, 3, 4), EDGES) == pytest.approx(0.0, abs=1e-9)


def test_psi_is_the_symmetric_divergence_of_smoothed_shares():
    reference, live = np.array([10.5, 20.5, 30.5]), np.array([30.5, 20.5, 10.5])
    p, q = reference / reference.sum(), live / live.sum()
    assert psi((10, 20, 30), (30, 20, 10)) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_empty_bins_have_a_finite_psi():
    assert 0 < psi((100, 0), (0, 100)) < 20


@pytest.mark.parametrize("live", [(30, 20, 10), (0, 0, 9), (1, 1, 1)])
def test_js_is_scipys_with_base_two(live):
    assert js_distance((10, 20, 30), live) == pytest.approx(jensenshannon((10, 20, 30), live, base=2))


def test_bins_that_share_nothing_are_one_apart():
    assert js_distance((5, 0), (0, 5)) == pytest.approx(1.0)


def test_wasserstein_is_scipys_at_the_middles_of_the_bins():
    at, reference, live = (-2.0, -0.5, 0.5, 2.0), (10, 20, 30, 40), (40, 30, 20, 10)
    mean = np.average(at, weights=reference)
    variance = np.average((np.asarray(at) - mean) ** 2 + np.array([2, 1, 1, 2]) ** 2 / 12, weights=reference)
    wanted = stats.wasserstein_distance(at, at, reference, live) / np.sqrt(variance)
    assert wasserstein(reference, live, EDGES) == pytest.approx(wanted)


@pytest.mark.parametrize(("shift", "size"), [(0.1, 0.1), (0.25, 0.25), (0.5, 0.5)])
def test_wasserstein_of_a_shift_is_the_shift_in_sd(shift, size):
    assert wasserstein(normal_counts(10**6, 0.0), normal_counts(10**6, shift), TEN) == pytest.approx(size, rel=0.07)


@pytest.mark.parametrize("degrees", [1, 9, 20])
@pytest.mark.parametrize("probability", [0.95, 0.99, 1 - 0.01 / 60])
def test_wilson_and_hilferty_come_near_the_quantile(degrees, probability):
    assert chi_square_quantile(degrees, probability) == pytest.approx(stats.chi2.ppf(probability, degrees), rel=0.07)


@pytest.mark.slow
def test_chance_passes_the_gate_as_seldom_as_was_asked():
    rng, features, hits, runs = np.random.default_rng(7), 5, 0, 2_000
    for _ in range(runs):
        counts = [rng.multinomial(1_000, np.full(10, 0.1)) for _ in range(features)]
        references = [rng.multinomial(10_000, np.full(10, 0.1)) for _ in range(features)]
        pairs = zip(references, counts, strict=True)
        hits += any(psi(tuple(r), tuple(x)) >= noise_limit(tuple(r), tuple(x), features) for r, x in pairs)
    assert 1 <= hits <= 40  # 20 are expected


def test_bins_that_nobody_fell_into_are_no_degrees_of_freedom():
    assert noise_limit((50, 50), (10, 10), 1) == noise_limit((50, 50, 0, 0), (10, 10, 0, 0), 1)


def test_little_data_is_noise_whatever_the_distance():
    found = distances("number", normal_counts(10_000, 0.0), normal_counts(40, 0.5), TEN, 30)
    assert found.psi > 0.2
    assert level_of("number", found) is Level.OK


@pytest.mark.parametrize(("shift", "level"), [(0.1, Level.OK), (0.35, Level.WARN), (0.6, Level.ALARM)])
def test_what_is_too_small_to_matter_is_ok_with_any_number_of_requests(shift, level):
    found = distances("number", normal_counts(10**6, 0.0), normal_counts(10**6, shift), TEN, 30)
    assert found.psi > found.noise
    assert level_of("number", found) is level


def test_categories_are_judged_by_js_and_tell_the_share_that_changed_most():
    found = distances("category", (500, 500, 0), (500, 400, 100), (), 1)
    assert found.share_change == pytest.approx(0.1)
    assert found.wasserstein is None
    assert level_of("category", found) is Level.ALARM


def test_missing_values_are_not_placed_on_the_line():
    full, half = (10, 10, 10, 10, 0), (5, 5, 5, 5, 20)
    found = distances("number", full, half, EDGES, 1)
    assert found.wasserstein == pytest.approx(0.0)
    assert found.psi > 1.0


@pytest.mark.parametrize(("reference", "live"), [((0, 0), (5, 5)), ((5, 5), (0, 0))])
def test_nothing_to_compare_is_no_data(reference, live):
    assert level_of("number", distances("number", reference, live, (0.0,), 1)) is Level.NO_DATA


def test_a_model_has_drifted_with_three_features_in_ten_or_one_that_is_critical():
    assert not has_drifted(2, 10, critical=False)
    assert has_drifted(3, 10, critical=False)
    assert has_drifted(1, 10, critical=True)
    assert not has_drifted(0, 0, critical=False)


def test_twice_the_baseline_of_bad_values_is_tolerated_and_never_less_than_one_percent():
    assert bad_limit(0, 1_000) == bad_limit(0, 0) == 0.01
    assert bad_limit(30, 1_000) == pytest.approx(0.06)
