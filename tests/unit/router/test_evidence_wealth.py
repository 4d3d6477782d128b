import json
import math

import numpy as np
import pytest

from router.families import ODDS_GRID, Marks, bernoulli_llr, conditional_llr, rates_above
from router.wealth import EDetector, EProcess, design_prior, even_prior, log_mean_exp, merge

GRID = np.asarray(ODDS_GRID)
BLOCKS = [(5, 95, 0, 1), (4, 96, 1, 0), (6, 94, 1, 1), (5, 95, 2, 0), (5, 95, 1, 0)]
GOLDEN = [-0.09065912, 0.56760269, 1.42776972, 5.75214074, 8.26467831]


def wealth_after(blocks: list[tuple[int, int, int, int]]) -> list[float]:
    process, path = EProcess.start(1, even_prior(12)), []
    for n_c, n_s, k_c, k_s in blocks:
        process = process.update(conditional_llr(Marks.of((n_c, k_c), (n_s, k_s)), GRID), even_prior(12))
        path.append(float(process.log_e[0]))
    return path


def test_the_golden_wealth_is_reached() -> None:
    assert wealth_after(BLOCKS) == pytest.approx(GOLDEN, abs=5e-9)


def test_the_golden_safety_is_reached() -> None:
    process = EProcess.start(1, design_prior(13))
    grid = np.concatenate([[-math.log(2.0)], -GRID])
    for _ in range(40):
        process = process.update(conditional_llr(Marks.of((50, 1), (50, 1)), grid, math.log(2.0)), design_prior(13))
    assert process.log_e[0] == pytest.approx(3.48213227, abs=5e-9)


def test_weights_are_shares_and_rows_are_independent() -> None:
    one = EProcess.start(2, even_prior(12))
    llr = conditional_llr(Marks.of(([5, 50], [2, 9]), ([95, 50], [1, 2])), GRID)
    both = one.update(llr, even_prior(12))
    assert both.weights.sum(axis=1) == pytest.approx([1.0, 1.0])
    alone = EProcess.start(1, even_prior(12)).update(llr[1:], even_prior(12))
    assert both.log_e[1] == alone.log_e[0]


def test_huge_ratios_neither_overflow_nor_ruin() -> None:
    process = EProcess.start(1, even_prior(2))
    for llr in ([5000.0, -5000.0], [-5000.0, -9000.0], [0.0, 0.0]):
        process = process.update(np.array([llr]), even_prior(2))
    assert np.isfinite(process.log_e).all()
    assert np.isfinite(process.weights).all()
    assert process.peak[0] == pytest.approx(5000.0 + math.log(0.25))


def test_wealth_comes_back_from_json_to_the_last_bit() -> None:
    process = EProcess.start(1, even_prior(12)).update(np.linspace(-1, 1, 12)[None] / 3, even_prior(12))
    again = EProcess.from_json(json.loads(json.dumps(process.to_json())))
    assert again.log_e[0] == process.log_e[0]
    assert np.array_equal(again.weights, process.weights)
    detector = EDetector.start(1, 8).update(np.linspace(-1, 1, 8)[None] / 7)
    assert np.array_equal(EDetector.from_json(json.loads(json.dumps(detector.to_json()))).log_m1, detector.log_m1)


def test_e_values_are_merged_by_their_weighted_mean() -> None:
    assert merge([math.log(3.0), math.log(5.0)], [3.0, 1.0]) == pytest.approx(math.log(3.5))
    assert merge([], []) == 0.0
    assert log_mean_exp(np.log([[1.0, 3.0]])) == pytest.approx([math.log(2.0)])
    assert merge([1000.0, -1000.0], [1.0, 1.0]) == pytest.approx(1000.0 - math.log(2.0))


def test_the_detector_is_the_sum_over_all_starts() -> None:
    counts = [1, 0, 4, 2]
    rates, limit, detector = rates_above(0.02), 0.02, EDetector.start(1, 8)
    for k in counts:
        detector = detector.update(bernoulli_llr(k, 50, limit, rates))
    llrs = np.array([bernoulli_llr(k, 50, limit, rates)[0] for k in counts])
    wanted = np.mean([np.exp(llrs[start:].sum(axis=0)) for start in range(4)], axis=1).sum()
    assert math.exp(detector.log_m[0]) == pytest.approx(wanted)


def test_wealth_of_a_fair_game_seldom_reaches_its_bound() -> None:
    """600 A/A runs of 250 looks; 5 % allowed, and three standard errors (2.7 points)."""
    rng, process = np.random.default_rng(4), EProcess.start(600, even_prior(12))
    for _ in range(250):
        n_c = rng.binomial(100, 0.2, 600)
        marks = Marks.of((n_c, rng.binomial(n_c, 0.02)), (100 - n_c, rng.binomial(100 - n_c, 0.02)))
        process = process.update(conditional_llr(marks, GRID), even_prior(12))
    assert np.mean(process.peak >= math.log(20.0)) <= 0.05 + 0.027
