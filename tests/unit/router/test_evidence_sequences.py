import math

import numpy as np
import pytest

from router.families import Marks
from router.sequences import (
    events_to_detect,
    events_to_safety,
    mean_interval,
    paired_likelihood,
    quantile_band,
    rate_interval,
    ratio_grid,
    ratio_interval,
    ratio_likelihood,
    requests_to_limit,
)


def test_without_data_nothing_is_excluded() -> None:
    assert ratio_interval(np.zeros(81), 0.05)[::2] == (0.0, math.inf)
    assert rate_interval(0, 0, 0.05) == (0.0, 0.0, 1.0)
    assert mean_interval((0.0, 0.0, 0.0), 0.05) == (-math.inf, 0.0, math.inf)


def test_the_grid_is_symmetric_and_reaches_from_e_minus_5_to_e_5() -> None:
    assert ratio_grid() == pytest.approx(-ratio_grid()[::-1])
    assert ratio_grid()[[0, 40, 80]] == pytest.approx([-5.0, 0.0, 5.0])


def test_an_interval_narrows_around_the_truth_and_holds_it_at_every_look() -> None:
    """100 runs of 50 looks at odds ratio 2; 5 % may miss it at some look, and three standard errors (6.5 points)."""
    rng, likelihood, missed = np.random.default_rng(5), np.zeros((100, 81)), np.zeros(100, bool)
    for _ in range(50):
        k_c, k_s = rng.binomial(100, 0.1818182, 100), rng.binomial(100, 0.1, 100)
        likelihood += ratio_likelihood(Marks.of((np.full(100, 100), k_c), (np.full(100, 100), k_s)))
        intervals = [ratio_interval(row, 0.05) for row in likelihood]
        missed |= np.array([not low <= 2.0 <= high for low, _, high in intervals])
    low, best, high = intervals[0]
    assert np.mean(missed) <= 0.05 + 0.065
    assert 1.3 < low < best < high < 2.8


def test_pairs_have_an_interval_too() -> None:
    low, best, high = ratio_interval(paired_likelihood(80, 20)[0], 0.05)
    assert 1.8 < low < 4.0 < high < 10.5
    assert best == pytest.approx(4.0, rel=0.15)


def test_a_rate_is_held_at_every_look() -> None:
    """100 runs of 25 looks at 3 %; 5 % may miss it, and three standard errors (6.5 points)."""
    hits = np.cumsum(np.random.default_rng(6).binomial(60, 0.03, (100, 25)), axis=1)
    missed = 0
    for run in hits:
        intervals = [rate_interval(int(k), 60 * (look + 1), 0.05) for look, k in enumerate(run)]
        missed += any(not low <= 0.03 <= high for low, _, high in intervals)
    assert missed / 100 <= 0.05 + 0.065
    assert rate_interval(0, 100, 0.05)[0] == 0.0
    assert rate_interval(100, 100, 0.05)[2] == 1.0


def test_the_interval_of_a_mean_is_tightest_near_where_it_was_tuned() -> None:
    low, middle, high = mean_interval((5.0, 100.0, 100.0), 0.05)
    assert middle == pytest.approx(0.05)
    assert high - middle == pytest.approx(middle - low)
    assert 1.96 / 10 < high - middle < 0.36


@pytest.mark.parametrize(("alpha", "constant"), [(0.05, 8.12), (0.025, 8.62), (0.01, 9.28)])
def test_the_quantile_band_has_its_constants(alpha: float, constant: float) -> None:
    assert quantile_band(32, alpha) == pytest.approx(0.85 * math.sqrt(constant / 32))
    assert quantile_band(10, alpha) == 1.0


def test_planning_gives_the_numbers_of_the_design() -> None:
    assert events_to_safety(0.5, 2.0, 0.05) == pytest.approx(75, rel=0.03)
    assert events_to_safety(0.05, 2.0, 0.05) == pytest.approx(310, rel=0.05)
    assert events_to_detect(0.05, 10.0, 0.05) == pytest.approx(13, rel=0.05)


def test_what_was_gained_need_not_be_gained_again() -> None:
    assert events_to_safety(0.5, 2.0, 0.05, math.log(21.0)) == 0.0
    assert 0.0 < events_to_safety(0.5, 2.0, 0.05, 1.0) < events_to_safety(0.5, 2.0, 0.05, -1.0)
    assert requests_to_limit(0.001, 0.005, 0.05, math.log(21.0)) == 0.0
    assert requests_to_limit(0.001, 0.005, 0.05) < requests_to_limit(0.002, 0.005, 0.05)
    assert requests_to_limit(0.005, 0.005, 0.05) == math.inf
    assert requests_to_limit(0.001, 0.005, 0.05, 5_000.0) == events_to_safety(0.5, 2.0, 0.05, 5_000.0) == 0.0
