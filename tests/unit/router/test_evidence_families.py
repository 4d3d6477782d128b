"""Golden numbers of statistics.md 12, brute force over all assignments, and scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, hypergeom, nchypergeom_fisher

from router import hypergeometric
from router.families import (
    ODDS_GRID,
    SCORE_GRID,
    Marks,
    bernoulli_llr,
    binomial_llr,
    conditional_llr,
    gaussian_llr,
    paired_llr,
    rates_above,
    rates_below,
    ridits,
    tilt_llr,
    two_sided,
)
from router.hypergeometric import log_mgf

GRID = np.asarray(ODDS_GRID)


def one(n_c: int, n_s: int, k_c: int, k_s: int) -> Marks:
    return Marks.of((n_c, k_c), (n_s, k_s))


@pytest.mark.parametrize(
    ("counts", "theta", "golden"),
    [
        ((5, 95, 3), [math.log(2), 2], [0.14507169, 0.79835427]),
        ((500, 1500, 130), [0.5, -2, 3], [19.29568111, -32.65775389, 218.73298559]),
    ],
)
def test_the_golden_moments_are_reached(counts: tuple[int, int, int], theta: list[float], golden: list[float]) -> None:
    assert log_mgf(*counts, theta)[0] == pytest.approx(golden, abs=5e-9)


@pytest.mark.parametrize(
    ("psi", "golden"),
    [(1.0, [0.18428144, 1.02015871, 4.32896063]), (1.2, [0.18140661, 1.00031634, 3.93074757])],
)
def test_the_golden_increments_are_reached(psi: float, golden: list[float]) -> None:
    assert conditional_llr(one(5, 95, 2, 1), GRID, math.log(psi))[0][[0, 5, 11]] == pytest.approx(golden, abs=5e-9)


def test_moments_agree_with_scipy_on_either_way_of_summing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        n_c, n_s = (int(n) for n in rng.integers(0, 80, 2))
        m, theta = int(rng.integers(0, n_c + n_s + 1)), rng.uniform(-4, 4, 3)
        k = np.arange(max(0, m - n_s), min(m, n_c) + 1)
        wanted = [math.log(np.sum(hypergeom(n_c + n_s, n_c, m).pmf(k) * np.exp(tilt * k))) for tilt in theta]
        assert log_mgf(n_c, n_s, m, theta)[0] == pytest.approx(wanted, abs=1e-10)
        with monkeypatch.context() as patch:
            patch.setattr(hypergeometric, "_WIDE", 0)
            assert log_mgf(n_c, n_s, m, theta)[0] == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("shared", [True, False])
def test_many_rows_of_every_size_are_summed_as_one_by_one(shared: bool) -> None:
    rng = np.random.default_rng(3)
    n_c, n_s = (10.0 ** rng.uniform(0, 4, 600) // 1 for _ in range(2))
    m = np.floor(rng.uniform(0, 1, 600) ** 3 * (n_c + n_s + 1))
    theta = np.concatenate([GRID, -GRID, [5.0, -5.0]])
    own = theta if shared else theta + rng.uniform(-0.1, 0.1, (600, len(theta)))
    together = log_mgf(n_c, n_s, m, own)
    alone = [log_mgf(n_c[row], n_s[row], m[row], own if shared else own[row])[0] for row in range(600)]
    assert together == pytest.approx(np.asarray(alone), rel=1e-10, abs=1e-10)


def test_large_blocks_are_summed_as_exactly_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    theta = np.array([-4.0, -0.1, 0.02, 1.0, 4.5])
    circle = log_mgf(9_000, 21_000, 12_000, theta)
    monkeypatch.setattr(hypergeometric, "_WIDE", 10**9)
    assert circle == pytest.approx(log_mgf(9_000, 21_000, 12_000, theta), rel=1e-13)


def test_rows_do_not_disturb_each_other() -> None:
    marks = Marks.of(([5, 500, 0, 7], [1, 300, 0, 0]), ([95, 900, 10, 3], [2, 500, 4, 0]))
    together = conditional_llr(marks, GRID, [0.0, 0.2, 0.1, 0.0])
    for row, log_margin in enumerate([0.0, 0.2, 0.1, 0.0]):
        counts = (marks.candidate_n, marks.control_n, marks.candidate_k, marks.control_k)
        alone = conditional_llr(one(*(int(number[row]) for number in counts)), GRID, log_margin)
        assert together[row] == pytest.approx(alone[0], abs=1e-11)


@pytest.mark.parametrize("counts", [(0, 9, 0, 3), (9, 0, 3, 0), (5, 6, 0, 0), (5, 6, 5, 6)])
def test_blocks_that_cannot_tell_say_nothing(counts: tuple[int, int, int, int]) -> None:
    assert conditional_llr(one(*counts), GRID, 0.3) == pytest.approx(np.zeros((1, 12)), abs=1e-11)


def test_over_all_assignments_the_mean_factor_is_one() -> None:
    marked = [1, 1, 0, 1, 0, 0, 0, 1]
    factors = []
    for chosen in itertools.combinations(range(8), 3):
        k_c = sum(marked[i] for i in chosen)
        factors.append(np.exp(conditional_llr(one(3, 5, k_c, 4 - k_c), two_sided(ODDS_GRID))[0]))
    assert np.mean(factors, axis=0) == pytest.approx(np.ones(24), abs=1e-12)


@pytest.mark.parametrize("psi", [0.5, 1.0, 2.0])
def test_at_the_margin_the_mean_factor_is_one_and_inside_it_is_less(psi: float) -> None:
    n_c, n_s, m = 12, 30, 9
    k = np.arange(m + 1)
    llr = np.array([conditional_llr(one(n_c, n_s, int(hits), m - int(hits)), GRID, math.log(psi))[0] for hits in k])
    at, inside = (nchypergeom_fisher(n_c + n_s, n_c, m, odds).pmf(k) @ np.exp(llr) for odds in (psi, psi * 0.8))
    assert at == pytest.approx(np.ones(12), rel=1e-9)
    assert np.all(inside < 1.0)


def test_the_tilt_agrees_with_a_polynomial_multiplied_out() -> None:
    rng, theta = np.random.default_rng(2), np.array([-0.32, 0.02, 0.2, 2.0])
    for _ in range(40):
        totals = rng.integers(0, 25, rng.integers(2, 11))
        if totals.sum() < 2:
            continue
        ours = rng.multivariate_hypergeometric(totals, int(rng.integers(1, totals.sum())))
        scores, n = ridits(len(totals)), int(ours.sum())
        for tilt, found in zip(theta, tilt_llr(ours, totals - ours, theta)[0], strict=True):
            product = np.array([1.0])
            for bucket, total in enumerate(totals):
                for _ in range(total):
                    product = np.convolve(product, [1.0, math.exp(tilt * scores[bucket])])
            wanted = tilt * (ours @ scores) - math.log(product[n]) + math.log(math.comb(int(totals.sum()), n))
            assert found == pytest.approx(wanted, abs=1e-10)


def test_over_all_assignments_the_mean_tilt_factor_is_one() -> None:
    buckets, factors = [0, 0, 1, 2, 2, 3, 3], []
    for chosen in itertools.combinations(range(7), 3):
        ours = np.bincount([buckets[i] for i in chosen], minlength=4)
        factors.append(np.exp(tilt_llr(ours, np.bincount(buckets) - ours, two_sided(SCORE_GRID))[0]))
    assert np.mean(factors, axis=0) == pytest.approx(np.ones(18), abs=1e-12)


def test_scores_without_one_arm_say_nothing() -> None:
    assert not tilt_llr([[0, 0, 0], [1, 2, 3]], [[1, 2, 3], [0, 0, 0]], SCORE_GRID).any()


def test_ridits_are_standardised() -> None:
    assert np.mean(ridits(10)) == pytest.approx(0.0)
    assert np.std(ridits(10)) == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_fair_assignment_has_mean_factor_one(share: float) -> None:
    k = np.arange(41)
    factors = np.exp(binomial_llr(k, np.full(41, 40), share, [-0.3, 0.01, 0.45]))
    assert binom(40, share).pmf(k) @ factors == pytest.approx(np.ones(3), rel=1e-12)


def test_a_rate_at_its_limit_has_mean_factor_one_and_below_it_less() -> None:
    k = np.arange(31)
    factors = np.exp(bernoulli_llr(k, np.full(31, 30), 0.1, rates_above(0.1)))
    assert binom(30, 0.1).pmf(k) @ factors == pytest.approx(np.ones(8), rel=1e-9)
    assert np.all(binom(30, 0.05).pmf(k) @ factors < 1.0)


@pytest.mark.parametrize("limit", [0.0001, 0.01, 0.5, 0.89])
def test_alternatives_lie_on_their_side_of_the_limit(limit: float) -> None:
    assert np.all((rates_above(limit) > limit) & (rates_above(limit) < 1.0))
    assert np.all((rates_below(limit) < limit) & (rates_below(limit) > 0.0))


def test_pairs_at_the_margin_have_mean_factor_one() -> None:
    k = np.arange(13)
    factors = np.exp(paired_llr(k, 12 - k, GRID, math.log(1.5)))
    assert binom(12, 0.6).pmf(k) @ factors == pytest.approx(np.ones(12), rel=1e-12)


def test_gaussian_differences_at_zero_have_mean_factor_one() -> None:
    rng = np.random.default_rng(3)
    factors = np.exp(gaussian_llr(rng.normal(0.0, 2.0, 200_000), np.full(200_000, 4.0), [0.1, -0.3]))
    assert np.mean(factors, axis=0) == pytest.approx(np.ones(2), abs=0.01)  # 4 standard errors
