"""Requests of one turn, and those that come while others run."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np
import pytest

from router.errors import Cancelled, DeadlineExceeded, InvalidArgument, ResourceExhausted
from service.protocol.tensors import Array
from service.runtime.batcher import Batcher, BatchLimits
from service.runtime.executor import Executor, Limits, Names
from service.runtime.jobs import Recalled
from service.runtime.pool import NoMarks, Pool
from service.runtime.profile import Profile
from service.runtime.seats import Feeds, Ran
from service.runtime.watchdog import Switch

EVERY = ["y"]
FAR = 1 << 62
SECOND = 1_000_000_000


class Flag:
    def __init__(self) -> None:
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class Model:
    """Doubles; runs at once, or when it is let go or stopped. A negative number is bad."""

    go: threading.Event = field(default_factory=threading.Event)
    runs: list[int] = field(default_factory=list)
    shares: bool = True

    def switch(self) -> Flag:
        return Flag()

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list[Array]:
        self.runs.append(len(feeds["x"]))
        while not self.go.wait(0.001):
            assert isinstance(stop, Flag)
            if stop.stopped.is_set():
                raise Cancelled("stopped")
        if (feeds["x"] < 0).any():
            raise InvalidArgument("bad")
        return [feeds["x"] * 2] if self.shares or len(feeds["x"]) == 1 else [feeds["x"][:1]]


@pytest.fixture(autouse=True)
def no_run_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is: a run that takes long would move the model into threads."""
    monkeypatch.setattr("service.runtime.executor.SLOW_INLINE_NS", FAR)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(4, NoMarks())
    yield pool
    pool.close()


@pytest.fixture
def model() -> Model:
    return Model()


def made(model: Model, pool: Pool, *, inline: int = -1, queue: int = 8, rows: int = 4, wait: float = 0.0) -> Batcher:
    executor = Executor(model, pool, Limits(2, queue), Profile(inline, 1000, rows), 7)
    return Batcher(executor, BatchLimits(rows, 1, wait), EVERY)


def feeds(*values: float) -> Feeds:
    return {"x": np.array(values, np.float32).reshape(-1, 1)}


def ask(batcher: Batcher, *values: float, deadline: int = FAR) -> "asyncio.Task[Ran]":
    return asyncio.create_task(batcher.run(feeds(*values), EVERY, deadline))


def numbers(ran: Ran) -> list[float]:
    found: list[float] = ran[0][0].ravel().tolist()
    return found


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


async def test_requests_of_one_turn_run_as_one_on_the_loop(model: Model, pool: Pool) -> None:
    model.go.set()
    batcher = made(model, pool, inline=100)
    answers = await asyncio.gather(*(ask(batcher, value) for value in (1, 2, 3)))
    assert model.runs == [3]
    assert [numbers(ran) for ran in answers] == [[2], [4], [6]]


async def test_one_of_those_that_ran_together_stands_for_the_run(model: Model, pool: Pool) -> None:
    model.go.set()
    batcher = made(model, pool, inline=100)
    answers = await asyncio.gather(*(ask(batcher, value) for value in (-1, 2, 3)), return_exceptions=True)
    assert [ran[3] for ran in answers if not isinstance(ran, BaseException)] == [True, False]


async def test_those_that_have_not_begun_can_be_taken_back(model: Model, pool: Pool) -> None:
    batcher = made(model, pool)
    first = ask(batcher, 1)
    await until(lambda: model.runs == [1])
    others = [ask(batcher, value) for value in (2, 3)]
    await until(lambda: batcher._executor.room.queued == 2)
    batcher.recall()
    assert [type(error) for error in await asyncio.gather(*others, return_exceptions=True)] == [Recalled] * 2
    assert batcher._executor.room.queued == 0
    model.go.set()
    assert numbers(await first) == [2]
    assert numbers(await ask(batcher, 4)) == [8], "who comes later is served"
    assert model.runs == [1, 1]


async def test_rows_are_counted_and_not_requests(model: Model, pool: Pool) -> None:
    model.go.set()
    batcher = made(model, pool, inline=100)
    asked = [ask(batcher, 1, 2), ask(batcher, 3), ask(batcher, 4, 5), ask(batcher, 1, 2, 3, 4, 5)]
    answers = await asyncio.gather(*asked)
    assert sorted(model.runs) == [2, 3, 5]
    assert [numbers(ran) for ran in answers] == [[2, 4], [6], [8, 10], [2, 4, 6, 8, 10]]


async def test_no_run_on_the_loop_is_larger_than_the_loop_may_be_held_up_by(model: Model, pool: Pool) -> None:
    model.go.set()
    batcher = made(model, pool, inline=2, rows=100)
    await asyncio.gather(*(ask(batcher, value) for value in range(5)))
    assert model.runs == [2, 2, 1]


async def test_a_bad_request_is_answered_alone(model: Model, pool: Pool) -> None:
    model.go.set()
    for batcher in (made(model, pool, inline=100), made(model, pool)):
        asked = [ask(batcher, value) for value in (1, -2, 3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[1], InvalidArgument)
        assert [numbers(ran) for ran in answers if isinstance(ran, tuple)] == [[2], [6]]


async def test_what_comes_while_a_batch_runs_forms_the_next(model: Model, pool: Pool) -> None:
    batcher = made(model, pool)
    first = ask(batcher, 1)
    await until(lambda: model.runs == [1])
    others = [ask(batcher, value) for value in (2, 3, 4)]
    await asyncio.sleep(0.01)
    model.go.set()
    answers = await asyncio.gather(first, *others)
    assert model.runs == [1, 3]
    assert [numbers(ran) for ran in answers] == [[2], [4], [6], [8]]


async def test_a_full_queue_says_so_at_once(model: Model, pool: Pool) -> None:
    batcher = made(model, pool, queue=2)
    asked = [ask(batcher, 1)]
    await until(lambda: model.runs == [1])
    asked += [ask(batcher, value) for value in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as caught:
        await batcher.run(feeds(4), EVERY, FAR)
    assert caught.value.retry_after_seconds
    model.go.set()
    await asyncio.gather(*asked)
    assert model.runs == [1, 2]


async def test_who_goes_away_takes_no_part(model: Model, pool: Pool) -> None:
    batcher = made(model, pool)
    asked = [ask(batcher, 1)]
    await until(lambda: model.runs == [1])
    asked += [ask(batcher, value) for value in (2, 3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    await asyncio.wait([asked[1]])
    model.go.set()
    await asyncio.gather(asked[0], asked[2])
    assert model.runs == [1, 1]


async def test_a_run_is_stopped_when_all_of_its_callers_have_gone(model: Model, pool: Pool) -> None:
    batcher = made(model, pool)
    task = ask(batcher, 1)
    await until(lambda: model.runs == [1])
    task.cancel()
    await asyncio.wait([task])
    model_is_free = ask(batcher, 2)
    await until(lambda: model.runs == [1, 1])
    model.go.set()
    assert numbers(await model_is_free) == [4]


async def test_a_deadline_ends_the_wait_and_costs_no_run(model: Model, pool: Pool) -> None:
    batcher = made(model, pool)
    first = ask(batcher, 1)
    await until(lambda: model.runs == [1])
    with pytest.raises(DeadlineExceeded):
        await batcher.run(feeds(2), EVERY, perf_counter_ns() + SECOND // 100)
    model.go.set()
    await first
    assert model.runs == [1]


@pytest.mark.parametrize("inline", [-1, 100])
async def test_a_deadline_that_is_over_costs_no_run(model: Model, pool: Pool, inline: int) -> None:
    model.go.set()
    with pytest.raises(DeadlineExceeded):
        await made(model, pool, inline=inline).run(feeds(2), EVERY, perf_counter_ns() - 1)
    assert model.runs == []


async def test_requests_of_another_form_wait_for_a_run_of_their_own(model: Model, pool: Pool) -> None:
    batcher = made(model, pool)
    wide = {"x": np.ones((1, 2), np.float32)}
    asked = [ask(batcher, 1)]
    await until(lambda: model.runs == [1])
    asked += [asyncio.create_task(batcher.run(wide, EVERY, FAR)), ask(batcher, 2), ask(batcher, 3)]
    await asyncio.sleep(0)
    model.go.set()
    answers = await asyncio.gather(*asked)
    assert model.runs == [1, 1, 2]
    assert [numbers(ran) for ran in answers] == [[2], [2, 2], [4], [6]]


@pytest.mark.parametrize("inline", [-1, 100])
async def test_a_model_that_mixes_its_rows_is_run_alone_from_then_on(model: Model, pool: Pool, inline: int) -> None:
    model.shares = False
    model.go.set()
    batcher = made(model, pool, inline=inline)
    answers = await asyncio.gather(*(ask(batcher, value) for value in (1, 2, 3)))
    assert [numbers(ran) for ran in answers] == [[2], [4], [6]]
    assert batcher.rows == 1
    del model.runs[:]
    await asyncio.gather(*(ask(batcher, value) for value in (1, 2)))
    assert model.runs == [1, 1]


async def test_a_lone_client_does_not_wait_for_the_end_of_the_turn(model: Model, pool: Pool) -> None:
    model.go.set()
    pool.is_lone = lambda: True
    work = made(model, pool, inline=100).run(feeds(1), EVERY, FAR)
    with pytest.raises(StopIteration) as done:
        work.send(None)
    assert numbers(done.value.value) == [2]


async def test_a_model_that_is_wanted_to_wait_waits_for_a_full_batch(model: Model, pool: Pool) -> None:
    model.go.set()
    batcher = made(model, pool, inline=100, wait=30.0)
    asked = [ask(batcher, value) for value in (1, 2, 3)]
    await asyncio.sleep(0.01)
    assert model.runs == []
    asked.append(ask(batcher, 4))
    await asyncio.gather(*asked)
    assert model.runs == [4]


async def test_a_model_that_is_wanted_to_wait_waits_no_longer_than_that(model: Model, pool: Pool) -> None:
    model.go.set()
    assert numbers(await made(model, pool, wait=0.01).run(feeds(1), EVERY, FAR)) == [2]


async def test_a_batch_that_holds_up_the_loop_goes_on_in_threads(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = made(model, pool, inline=100)
    asked = [ask(batcher, value) for value in (1, 2)]
    await until(lambda: len(model.runs) > 1)  # the watchdog has ended the first run
    model.go.set()
    assert [numbers(ran) for ran in await asyncio.gather(*asked)] == [[2], [4]]
    assert model.runs == [2, 1, 1]


async def test_suspects_run_alone(model: Model, pool: Pool) -> None:
    model.go.set()
    executor = Executor(model, pool, Limits(2, 8), Profile(100, 1000, 4), 7)
    executor.suspect(True)
    batcher = Batcher(executor, BatchLimits(4), EVERY)
    await asyncio.gather(*(ask(batcher, value) for value in (1, 2)))
    assert model.runs == [1, 1]


async def test_who_steps_by_hand_is_called_when_there_is_a_result(model: Model, pool: Pool) -> None:
    model.go.set()
    batcher = made(model, pool, inline=100)
    work = batcher.run(feeds(1), EVERY, FAR)
    seat = work.send(None)
    called = []
    seat.resume = lambda: called.append(seat.result())
    seat.hurry()
    assert numbers(called[0]) == [2]
    with pytest.raises(StopIteration):
        work.send(None)


@pytest.mark.parametrize("inline", [-1, 100])
async def test_each_run_is_told_once_with_all_of_its_rows(model: Model, pool: Pool, inline: int) -> None:
    model.go.set()
    batcher, heard = made(model, pool, inline=inline), []
    batcher._executor.on_run = lambda feeds, nanos, begun_ns: heard.append((len(feeds["x"]), nanos >= 0, begun_ns > 0))
    await asyncio.gather(*(ask(batcher, 1.0) for _ in range(4)))
    assert sum(rows for rows, *_ in heard) == 4
    assert len(heard) == len(model.runs)
    assert all(timed and begun for _, timed, begun in heard)
    heard.clear()
    answers = await asyncio.gather(ask(batcher, 1.0), ask(batcher, -1.0), return_exceptions=True)
    assert isinstance(answers[1], InvalidArgument)
    assert sum(rows for rows, *_ in heard) == 1, "a run that fails is not one"


async def test_who_has_priority_is_in_the_next_batch(model: Model, pool: Pool) -> None:
    batcher = made(model, pool, rows=2)
    first = ask(batcher, 1.0)
    await until(lambda: model.runs == [1])
    late = [asyncio.create_task(batcher.run(feeds(number), EVERY, FAR, 0, 20)) for number in (2.0, 3.0)]
    await asyncio.sleep(0)
    soon = asyncio.create_task(batcher.run(feeds(4.0), EVERY, FAR, 0, 1))
    await asyncio.sleep(0)
    assert [seat.feeds["x"].item() for seat in batcher._queue] == [4.0, 2.0, 3.0]
    model.go.set()
    answers = await asyncio.gather(first, *late, soon)
    assert [numbers(answer) for answer in answers] == [[2], [4], [6], [8]]
    assert model.runs == [1, 2, 1]
