"""What runs together: joined, run, shared out, and cut apart when one of them is bad."""

import asyncio
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from router.errors import Cancelled, Internal, InvalidArgument
from service.protocol.tensors import Array
from service.runtime.seats import Apart, Feeds, Names, Seat, run_together, sharing

EVERY = ["y"]
BAD = -1.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def seat(loop: asyncio.AbstractEventLoop, values: Sequence[float], names: Names = EVERY) -> Seat:
    feeds = {"x": np.array(values, np.float32).reshape(-1, 1)}
    key, rows = sharing(feeds, names, EVERY)
    return Seat(feeds, names, key, rows, loop)


class Doubling:
    """Twice each number; refuses a run that holds a bad one."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, feeds: Feeds, names: Names) -> list[Array]:
        self.runs.append(len(feeds["x"]))
        if (feeds["x"] == BAD).any():
            raise InvalidArgument("bad")
        return [feeds["x"] * 2]


def test_a_thousand_mixes_of_good_and_bad_requests_each_get_their_own_answer(loop: asyncio.AbstractEventLoop) -> None:
    rng = random.Random(1)
    for _ in range(1000):
        run = Doubling()
        share_of_bad = rng.choice([0, 0, 0.02, 0.1, 0.5, 1])
        given = [
            [BAD if rng.random() < share_of_bad else rng.random() for _ in range(rng.choice([1, 1, 1, 2, 3]))]
            for _ in range(rng.randint(1, 40))
        ]
        seats = [seat(loop, values) for values in given]
        outcomes = run_together(seats, run)
        for values, outcome in zip(given, outcomes, strict=True):
            if BAD in values:
                assert isinstance(outcome, InvalidArgument)
            else:
                assert not isinstance(outcome, Exception)
                np.testing.assert_array_equal(outcome[0], np.array(values, np.float32).reshape(-1, 1) * 2)
        assert len(run.runs) <= len(seats) + 9


def test_good_requests_take_one_run_and_get_views_of_it(loop: asyncio.AbstractEventLoop) -> None:
    run = Doubling()
    outcomes = run_together([seat(loop, [1]), seat(loop, [2, 3])], run)
    assert run.runs == [3]
    assert all(not isinstance(outcome, Exception) and outcome[0].base is not None for outcome in outcomes)


def test_a_model_that_fails_always_costs_few_runs_more_than_one_each(loop: asyncio.AbstractEventLoop) -> None:
    runs = 0

    def fail(feeds: Feeds, names: Names) -> list[Array]:
        nonlocal runs
        runs += 1
        raise Internal("broken")

    outcomes = run_together([seat(loop, [1]) for _ in range(64)], fail)
    assert [str(outcome) for outcome in outcomes] == ["broken"] * 64
    assert runs <= 64 + 9


def test_a_run_that_was_stopped_ends_all_that_were_in_it_and_is_not_tried_again(
    loop: asyncio.AbstractEventLoop,
) -> None:
    runs = 0

    def stop(feeds: Feeds, names: Names) -> list[Array]:
        nonlocal runs
        runs += 1
        raise Cancelled("stopped")

    outcomes = run_together([seat(loop, [1]) for _ in range(8)], stop)
    assert runs == 1
    assert all(isinstance(outcome, Cancelled) for outcome in outcomes)


def test_outputs_without_a_row_for_each_row_are_noticed(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(Apart):
        run_together([seat(loop, [1]), seat(loop, [2])], lambda feeds, names: [feeds["x"].sum(keepdims=True)])


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"x": np.zeros((1, 2))}, {"x": np.zeros((5, 2))}, True),
        ({"x": np.zeros((1, 2))}, {"x": np.zeros((1, 3))}, False),
        ({"x": np.zeros((1, 2))}, {"x": np.zeros((1, 2, 1))}, False),
        ({"x": np.zeros(1), "m": np.zeros((1, 2))}, {"x": np.zeros(2), "m": np.zeros((2, 2))}, True),
    ],
)
def test_requests_share_a_run_when_their_rows_have_one_form(one: Feeds, other: Feeds, alike: bool) -> None:
    assert (sharing(one, EVERY, EVERY)[0] == sharing(other, EVERY, EVERY)[0]) is alike


def test_requests_for_other_outputs_do_not_share_a_run() -> None:
    feeds = {"x": np.zeros((1, 2))}
    assert sharing(feeds, ["a"], EVERY)[0] != sharing(feeds, EVERY, EVERY)[0]
    assert sharing(feeds, ["a"], EVERY)[0] == sharing(feeds, ["a"], EVERY)[0]


@pytest.mark.parametrize(
    "feeds", [{"x": np.zeros((0, 2))}, {"x": np.zeros(())}, {"x": np.zeros(2), "m": np.zeros(3)}, {}]
)
def test_what_has_no_rows_of_its_own_runs_alone(feeds: Feeds) -> None:
    assert sharing(feeds, EVERY, EVERY)[1] == 0
