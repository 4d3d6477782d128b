"""Clusters of alike requests are seen from block to block, and a lasting difference is none."""

import numpy as np
import pytest

from router.dispersion import CELLS, factors, nothing, tempered
from router.families import Marks


def marks(candidate: np.ndarray, control: np.ndarray, n: float = 50.0) -> Marks:
    """[T] marks of each of n requests in both arms."""
    sizes = np.full(len(candidate), n)
    return Marks(sizes, candidate.astype(float), sizes, control.astype(float))


def drawn(size: int, cluster: int, shift: float = 0.0) -> np.ndarray:
    """Marks of an arm in 1,000 blocks, about five each, `cluster` at a time."""
    rng = np.random.default_rng(size)
    return np.minimum(50, cluster * rng.poisson((5.0 + shift) / cluster, 1000))


def test_independent_marks_are_bet_on_in_full() -> None:
    found, after = factors(nothing(1), marks(drawn(1, 1), drawn(2, 1)), 1)
    assert found.mean() < 1.05
    assert after[0, 1] / after[0, 2] == pytest.approx(1.0, abs=0.25)


def test_clusters_of_five_divide_the_bets_by_about_five() -> None:
    found, _ = factors(nothing(1), marks(drawn(3, 5), drawn(4, 5)), 1)
    assert found[0, 0] == 1.0
    assert 3.5 < found[-1, 0] < 6.5


def test_a_lasting_difference_is_no_cluster() -> None:
    found, _ = factors(nothing(1), marks(drawn(5, 1, shift=10.0), drawn(6, 1)), 1)
    assert found.mean() < 1.2


@pytest.mark.parametrize(("share", "control_rate", "candidate_rate"), [(0.05, 0.01, 0.05), (0.01, 0.01, 0.1)])
def test_a_small_candidate_that_is_marked_much_more_often_is_no_cluster(
    share: float, control_rate: float, candidate_rate: float
) -> None:
    """Of all marks it has many times its share, and the luck of so many: more than chance deals at equal odds."""
    rng = np.random.default_rng(11)
    n_c = rng.binomial(100, share, 1000)
    ours, theirs = rng.binomial(n_c, candidate_rate), rng.binomial(100 - n_c, control_rate)
    arms = (n_c, ours, 100 - n_c, theirs)
    found, _ = factors(nothing(1), Marks(*(each.astype(float) for each in arms)), 1)
    assert found.mean() < 1.15


def test_what_an_earlier_release_kept_is_read_as_far_as_it_goes() -> None:
    ours, theirs = drawn(3, 5), drawn(4, 5)
    _, known = factors(nothing(1), marks(ours[:500], theirs[:500]), 1)
    found, after = factors(known[:, :5], marks(ours[500:], theirs[500:]), 1)
    assert 3.5 < found[0, 0] < 6.5
    assert after.shape == (1, CELLS)


def test_a_block_does_not_know_itself_and_block_by_block_is_the_same() -> None:
    ours, theirs = drawn(7, 5)[:40], drawn(8, 5)[:40]
    whole, after = factors(nothing(1), marks(ours, theirs), 1)
    known, parts = nothing(1), []
    for at in range(40):
        found, known = factors(known, marks(ours[at : at + 1], theirs[at : at + 1]), 1)
        parts.append(found[0])
    assert np.array_equal(np.stack(parts), whole)
    assert np.array_equal(known, after)
    other = factors(nothing(1), marks(np.append(ours[:-1], 50), theirs), 1)[0]
    assert np.array_equal(other, whole)


def test_rows_are_told_apart_and_blocks_without_marks_tell_nothing() -> None:
    ours, theirs = drawn(9, 5), drawn(10, 5)
    zeros = np.zeros_like(ours)
    both = [np.stack([a, b], axis=1).ravel() for a, b in ((ours, zeros), (theirs, zeros))]
    found, after = factors(nothing(2), marks(*both), 2)
    assert found[-1, 0] > 3.0
    assert found[:, 1].max() == 1.0
    assert after[1].tolist() == [0.0] * CELLS


def test_a_bet_that_is_divided_pays_and_costs_less() -> None:
    llr = np.full((1, 2, 3), 6.0)
    assert tempered(llr, np.array([[1.0, 2.0]]))[0].tolist() == [[6.0] * 3, [3.0] * 3]
    assert tempered(llr, np.ones((1, 2))) is llr
