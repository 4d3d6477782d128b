"""The gates of the soak."""

import pytest

from loadtests.arrivals import Arrived
from loadtests.measured import Measured
from loadtests.soak import MIB, judge_counts, judge_errors, judge_load, judge_memory, judge_p99


def arrived(*p99: float, sent: int = 100, answered: int = 100, **errors: int) -> Arrived:
    windows = tuple(Measured(50, 60.0, 1.0, each) for each in p99)
    return Arrived(Measured(100, 120.0, 1.0, 2.0, dict(errors)), windows, 0.1, sent, answered)


@pytest.mark.parametrize(
    ("minutes", "held"), [((4.0, 5.0, 3.0), True), ((4.0, 5.1), False), ((4.0,), True), ((0.0, 0.0), False)]
)
def test_each_minute_is_compared_with_the_first(minutes: tuple[float, ...], held: bool) -> None:
    assert judge_p99(arrived(*minutes)).held is held


def test_memory_may_move_a_little_but_not_grow() -> None:
    assert judge_memory([400 * MIB + second % 3 * MIB for second in range(240)]).held
    assert not judge_memory([400 * MIB + second * MIB // 10 for second in range(240)]).held
    assert not judge_memory([]).held


@pytest.mark.parametrize(
    ("sent", "answered", "counted", "held"), [(100, 100, 100, True), (100, 100, 99, False), (100, 99, 100, False)]
)
def test_counts_agree_to_the_last_request(sent: int, answered: int, counted: float, held: bool) -> None:
    assert judge_counts(arrived(1.0, sent=sent, answered=answered), counted).held is held


def test_a_generator_that_cannot_send_enough_is_no_proof() -> None:
    assert judge_load(0.8, 0.8).held
    assert not judge_load(0.36, 0.8).held


def test_one_error_is_too_many() -> None:
    assert judge_errors(arrived(1.0)).held
    assert not judge_errors(arrived(1.0, lost=1)).held
