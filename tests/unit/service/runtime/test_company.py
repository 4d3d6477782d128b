"""Which models run rows together, and how many."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from router.errors import InvalidArgument
from service.protocol.tensors import Array, Signature, TensorSpec
from service.runtime.company import MOST_ROWS, best_count, fit_rows, has_free_rows
from service.runtime.seats import Feeds

FREE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))
Shape = tuple[int, ...] | None


def signature(given: Shape, made: Shape) -> Signature:
    return Signature((TensorSpec("x", "FP32", given),), (TensorSpec("y", "FP32", made),))


@pytest.mark.parametrize(
    ("given", "made", "expected"),
    [
        ((-1, 2), (-1, 2), True),
        ((1, 2), (-1, 2), False),
        ((-1, 2), (1, 2), False),
        ((-1, 2), (), False),
        ((), (-1,), False),
        (None, (-1,), False),
        ((-1,), None, False),
    ],
)
def test_rows_go_together_where_the_first_size_is_free_everywhere(given: Shape, made: Shape, expected: bool) -> None:
    assert has_free_rows(signature(given, made)) is expected


def doubled(feeds: Feeds) -> Sequence[Array]:
    return [feeds["x"] * 2]


def test_rows_that_do_not_meet_fit() -> None:
    assert len(fit_rows(doubled, FREE, [])) > 1


@pytest.mark.parametrize(
    "mixing",
    [
        lambda x: x - x.mean(axis=0),
        lambda x: x + len(x) * 0.001,
        lambda x: x[:1],
        lambda x: x.sum(),
        lambda x: np.sort(x, axis=0),
        lambda x: x.astype(np.float64) if len(x) > 1 else x,
    ],
)
def test_rows_whose_answer_depends_on_their_company_do_not(mixing: Callable[[Array], Array]) -> None:
    assert fit_rows(lambda feeds: [mixing(feeds["x"])], FREE, []) == []


def test_the_last_bits_may_differ() -> None:
    def nearly(feeds: Feeds) -> Sequence[Array]:
        return [feeds["x"] * (2 if len(feeds["x"]) == 1 else 2.000001)]

    assert fit_rows(nearly, FREE, [])


def test_a_model_that_takes_one_row_only_does_not_fit() -> None:
    def picky(feeds: Feeds) -> Sequence[Array]:
        if len(feeds["x"]) > 1:
            raise InvalidArgument("one at a time")
        return doubled(feeds)

    assert fit_rows(picky, FREE, []) == []


def test_rows_that_the_model_is_known_to_take_come_first() -> None:
    known = {"x": np.array([[1, 2], [3, 4], [5, 6]], np.float32)}

    def strict(feeds: Feeds) -> Sequence[Array]:
        if (feeds["x"] < 1).any():
            raise InvalidArgument("out of range")
        return doubled(feeds)

    assert [row["x"].tolist() for row in fit_rows(strict, FREE, [known])] == [[[1, 2]], [[3, 4]], [[5, 6]]]


def learned(cost: Callable[[int], int]) -> int:
    """What is learned of a model whose runs cost so many nanoseconds for so many rows."""
    now = 0

    def run(feeds: Feeds) -> Sequence[Array]:
        nonlocal now
        now += cost(len(feeds["x"]))
        return doubled(feeds)

    return best_count(run, {"x": np.zeros((1, 2), np.float32)}, lambda: now)


def test_rows_that_cost_next_to_nothing_more_run_together() -> None:
    assert learned(lambda rows: 6_000 + rows) == MOST_ROWS


def test_a_slow_model_whose_rows_cost_next_to_nothing_is_tried_further() -> None:
    assert learned(lambda rows: 12_000_000 + 10_000 * rows) == MOST_ROWS


def test_rows_that_cost_as_much_together_run_alone() -> None:
    assert learned(lambda rows: 6_000_000 * rows) == 1


def test_the_count_stops_rising_where_the_gain_does() -> None:
    assert learned(lambda rows: 100_000 + 20_000 * rows) == 64


def test_a_size_that_was_tried_while_the_machine_was_slow_does_not_end_the_trial() -> None:
    assert learned(lambda rows: (100_000 + 20_000 * rows) * (2 if rows == 16 else 1)) == 64


def test_what_rises_by_little_with_each_doubling_is_not_worth_the_wait() -> None:
    assert learned(lambda rows: round(1_000_000 * rows**0.98)) == 1


def test_what_a_run_costs_beside_the_model_is_a_reason_to_share_it() -> None:
    assert learned(lambda rows: 1_000 * rows) > 1


def test_a_slow_model_is_not_tried_for_long() -> None:
    calls = 0

    def cost(rows: int) -> int:
        nonlocal calls
        calls += 1
        return 200_000_000

    learned(cost)
    assert calls == 6  # a second, and what was begun in it
