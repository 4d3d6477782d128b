"""A fake model whose runs end when the test says so."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pytest

from router.errors import Cancelled, DeadlineExceeded, Internal, ResourceExhausted
from service.protocol.tensors import Array
from service.runtime import executor as executors
from service.runtime import inlining
from service.runtime.adaptive import WINDOW_RUNS
from service.runtime.executor import Executor, Feeds, Limits, Names, Switch
from service.runtime.jobs import Recalled
from service.runtime.overlap import Overlap
from service.runtime.pool import NoMarks, Pool
from service.runtime.profile import Profile
from service.runtime.runqueue import RunQueue

X = {"x": np.zeros((1, 4), dtype=np.float32)}
FAR = 1 << 62
SECOND = 1_000_000_000


class Flag:
    def __init__(self) -> None:
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class Model:
    """Runs at once, or until `go` is set or its switch is thrown."""

    go: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    running: int = 0
    most: int = 0
    error: Exception | None = None

    def switch(self) -> Flag:
        return Flag()

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list[Array]:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            while stop is not None and not self.go.wait(0.001):
                assert isinstance(stop, Flag)
                if stop.stopped.is_set():
                    raise Cancelled("stopped")
            if self.error is not None:
                raise self.error
            return [feeds["x"]]
        finally:
            self.running -= 1


class Slot:
    def __init__(self) -> None:
        self.notes: list[tuple[int, int] | None] = []

    def enter(self, token: int, body_hash: int) -> None:
        self.notes.append((token, body_hash))

    def leave(self) -> None:
        self.notes.append(None)


class Slots:
    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}

    def slot(self, number: int) -> Slot:
        return self.slots.setdefault(number, Slot())

    def version_token(self, model: str, version: int, digest: str) -> int:
        return 7


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(4, NoMarks())
    pool.watchdog.run_queue = RunQueue(Path("/nowhere"))  # what a busy machine does is not of interest here
    yield pool
    pool.close()


@pytest.fixture
def model() -> Model:
    return Model()


def made(model: Model, pool: Pool, *, concurrency: int = 1, queue: int = 8, inline: int = -1) -> Executor:
    return Executor(model, pool, Limits(concurrency, queue), Profile(inline, 1000), 7)


async def until(condition: object) -> None:
    """Let others run until condition() is true."""
    assert callable(condition)
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


async def test_small_requests_go_inline_and_large_ones_do_not(model: Model, pool: Pool) -> None:
    executor = made(model, pool, inline=4)
    assert executor.inlines(X)
    assert not executor.inlines({"x": np.zeros((2, 4))})
    assert executor.inlines({"x": np.zeros((0, 4))})
    assert not made(model, pool).inlines({"x": np.zeros((0, 4))})


async def test_an_inline_run_gives_its_outputs_and_its_cost(model: Model, pool: Pool) -> None:
    model.go.set()
    outputs, queued, computed, _ = made(model, pool, inline=4).run_inline(X)
    assert outputs == [X["x"]]
    assert queued == 0
    assert computed > 0


async def test_one_slow_inline_run_moves_the_version_to_threads(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = made(model, pool, inline=4)
    monkeypatch.setattr(executors, "SLOW_INLINE_NS", 0)
    model.go.set()
    executor.run_inline(X)
    assert not executor.inlines(X)
    assert not executor.inline


async def test_a_run_that_only_waited_for_a_processor_moves_nothing(model: Model, pool: Pool, tmp_path: Path) -> None:
    executor, told = made(model, pool, inline=4), tmp_path / "schedstat"
    told.write_text("0 0 0")
    pool.watchdog.run_queue = RunQueue(told)
    told.write_text(f"0 {10**15} 0")
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(executors, "SLOW_INLINE_NS", 0)
        model.go.set()
        executor.run_inline(X)
        assert executor.inlines(X)
        executor.run_inline(X)  # this time nothing was waited
        assert not executor.inlines(X)


async def test_a_slow_run_that_is_quick_when_it_is_repeated_costs_the_version_nothing(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = made(model, pool, inline=4)
    monkeypatch.setattr(inlining, "INLINE_NS", 10**12)
    model.go.set()
    for look in range(inlining.SECOND_LOOKS + 1):
        with monkeypatch.context() as slow:
            slow.setattr(executors, "SLOW_INLINE_NS", 0)
            executor.run_inline(X)
        assert not executor.inlines(X)
        if look < inlining.SECOND_LOOKS:
            await until(lambda: executor.inlines(X))
    runs = model.begun
    await executor.run(X, None, FAR)
    assert (executor.inlines(X), model.begun) == (False, runs + 1), "there is an end to it"


async def test_a_run_that_is_slow_again_stays_away_from_the_loop(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = made(model, pool, inline=4)
    monkeypatch.setattr(executors, "SLOW_INLINE_NS", 0)
    monkeypatch.setattr(inlining, "INLINE_NS", 0)
    model.go.set()
    executor.run_inline(X)
    await until(lambda: model.begun == 2 and not model.running and not executor.in_flight)
    assert not executor.inlines(X)


async def test_quick_runs_in_threads_bring_a_version_back_to_the_loop(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inlining, "SECOND_LOOKS", 0)
    executor = made(model, pool, inline=4)
    model.go.set()
    with monkeypatch.context() as slow:
        slow.setattr(executors, "SLOW_INLINE_NS", 0)
        executor.run_inline(X)
    monkeypatch.setattr(inlining, "INLINE_NS", 10**12)
    runs = 0
    while not executor.inlines(X):
        await executor.run(X, None, FAR)
        runs += 1
    assert runs == inlining.PROOF_RUNS


async def test_a_run_that_holds_up_the_loop_is_interrupted_and_the_next_one_is_not(model: Model, pool: Pool) -> None:
    executor = made(model, pool, inline=4)
    with pytest.raises(executors.Interrupted):
        executor.run_inline(X)  # nobody lets it go, but the watchdog ends it
    assert not executor.inlines(X)
    model.go.set()
    outputs, *_ = await executor.run(X, None, FAR)
    assert outputs == [X["x"]]


async def test_a_run_in_a_thread_gives_outputs_wait_and_cost(model: Model, pool: Pool) -> None:
    model.go.set()
    outputs, queued, computed, _ = await made(model, pool).run(X, None, FAR)
    assert outputs == [X["x"]]
    assert queued > 0
    assert computed > 0


async def test_inputs_are_let_go_when_the_run_has_ended(model: Model, pool: Pool) -> None:
    """And not when the collector finds them: large ones would take new memory each time."""
    model.go.set()
    executor, array = made(model, pool), np.zeros((1, 4), dtype=np.float32)
    kept = weakref.ref(array)
    feeds = {"x": array}
    del array
    gc.disable()
    try:
        await executor.run(feeds, None, FAR)
        del feeds
        await pool.submit(str)  # the thread has let go of it before it does something else
        assert kept() is None
    finally:
        gc.enable()


async def test_what_the_model_raises_reaches_the_caller_and_frees_the_turn(model: Model, pool: Pool) -> None:
    model.go.set()
    model.error = Internal("broken")
    executor = made(model, pool)
    for _ in range(3):
        with pytest.raises(Internal):
            await executor.run(X, None, FAR)
    assert (executor.in_flight, executor.room.queued) == (0, 0)


async def test_no_more_run_at_a_time_than_the_limit_says(model: Model, pool: Pool) -> None:
    executor = made(model, pool, concurrency=2)
    tasks = [asyncio.create_task(executor.run(X, None, FAR)) for _ in range(6)]
    await until(lambda: model.running == 2 and executor.room.queued == 4)
    model.go.set()
    await asyncio.gather(*tasks)
    assert model.most == 2
    assert model.begun == 6


async def test_no_more_run_at_a_time_than_the_pool_has_threads(model: Model) -> None:
    pool = Pool(1, NoMarks())
    first, second = made(model, pool, concurrency=4), made(model, pool, concurrency=4)
    tasks = [asyncio.create_task(executor.run(X, None, FAR)) for executor in (first, second, first, second)]
    await until(lambda: model.running == 1 and first.room.queued + second.room.queued == 3)
    model.go.set()
    await asyncio.gather(*tasks)
    assert model.most == 1
    pool.close()


async def test_a_full_queue_says_so_at_once_and_when_to_come_again(model: Model, pool: Pool) -> None:
    executor = made(model, pool, queue=2)
    tasks = [asyncio.create_task(executor.run(X, None, FAR)) for _ in range(3)]
    await until(lambda: executor.room.queued == 2)
    with pytest.raises(ResourceExhausted) as caught:
        await executor.run(X, None, FAR)
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 30
    model.go.set()
    await asyncio.gather(*tasks)


async def test_what_waits_can_be_taken_back_and_what_runs_cannot(model: Model, pool: Pool) -> None:
    executor = made(model, pool)
    tasks = [asyncio.create_task(executor.run(X, None, FAR)) for _ in range(4)]
    await until(lambda: model.running == 1 and executor.room.queued == 3)
    executor.recall()
    taken = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert [type(error) for error in taken] == [Recalled] * 3
    assert executor.room.queued == 0
    later = asyncio.create_task(executor.run(X, None, FAR))
    model.go.set()
    assert (await tasks[0])[0] == (await later)[0] == [X["x"]]
    assert model.begun == 2


async def test_a_turn_that_came_in_the_same_moment_is_given_back(model: Model, pool: Pool) -> None:
    executor = made(model, pool)
    first = asyncio.create_task(executor.run(X, None, FAR))
    await until(lambda: model.running == 1)
    second = asyncio.create_task(executor.run(X, None, FAR))
    await until(lambda: executor.room.queued == 1)
    executor._gate.release()  # the turn is there, but nobody has taken it yet
    executor.recall()
    with pytest.raises(Recalled):
        await second
    await executor._gate.acquire()
    assert executor._gate.locked()
    model.go.set()
    await first


async def test_no_queue_at_all_still_lets_a_request_run(model: Model, pool: Pool) -> None:
    model.go.set()
    assert (await made(model, pool, queue=0).run(X, None, FAR))[0] == [X["x"]]


async def test_a_deadline_that_is_over_costs_no_run(model: Model, pool: Pool) -> None:
    with pytest.raises(DeadlineExceeded):
        await made(model, pool).run(X, None, perf_counter_ns() - 1)
    assert model.begun == 0


async def test_a_deadline_ends_the_wait_for_a_turn(model: Model, pool: Pool) -> None:
    executor = made(model, pool)
    first = asyncio.create_task(executor.run(X, None, FAR))
    await until(lambda: model.running == 1)
    with pytest.raises(DeadlineExceeded, match="waited for its turn"):
        await executor.run(X, None, perf_counter_ns() + SECOND // 100)
    assert executor.room.queued == 0
    model.go.set()
    await first
    assert model.begun == 1


async def test_a_deadline_stops_the_run_and_its_turn_comes_back_when_the_thread_ends(model: Model, pool: Pool) -> None:
    executor = made(model, pool)
    with pytest.raises(DeadlineExceeded, match="did not answer"):
        await executor.run(X, None, perf_counter_ns() + SECOND // 100)
    await until(lambda: executor.in_flight == 0)
    model.go.set()
    await executor.run(X, None, FAR)


async def test_a_caller_who_goes_away_stops_the_run(model: Model, pool: Pool) -> None:
    executor = made(model, pool)
    task = asyncio.create_task(executor.run(X, None, FAR))
    await until(lambda: model.running == 1)
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: executor.in_flight == 0)
    assert task.cancelled()


async def test_a_caller_who_goes_away_while_waiting_leaves_the_queue(model: Model, pool: Pool) -> None:
    executor = made(model, pool)
    first, second = (asyncio.create_task(executor.run(X, None, FAR)) for _ in range(2))
    await until(lambda: executor.room.queued == 1)
    second.cancel()
    await asyncio.wait([second])
    assert executor.room.queued == 0
    model.go.set()
    await first
    await executor.run(X, None, FAR)
    assert model.begun == 2


async def test_suspects_run_one_at_a_time_and_never_inline(pool: Pool) -> None:
    model = Model()
    first, second = made(model, pool, concurrency=4, inline=4), made(model, pool, concurrency=4, inline=4)
    for executor in (first, second):
        executor.suspect(True)
    assert not first.inlines(X)
    tasks = [asyncio.create_task(executor.run(X, None, FAR)) for executor in (first, second, first)]
    await until(lambda: model.running == 1 and first.room.queued + second.room.queued == 2)
    model.go.set()
    await asyncio.gather(*tasks)
    assert model.most == 1
    first.suspect(False)
    assert first.inlines(X)


async def test_what_runs_is_noted_in_the_slot_of_the_thread_and_of_the_loop(model: Model) -> None:
    slots = Slots()
    pool = Pool(1, slots)
    model.go.set()
    executor = Executor(model, pool, Limits(), Profile(4, 0), 7)
    executor.run_inline(X, None, 11)
    await executor.run(X, None, FAR, 12)
    assert {number: slot.notes for number, slot in slots.slots.items()} == {0: [(7, 11), None], 1: [(7, 12), None]}
    pool.close()


async def test_a_slot_is_left_when_the_run_fails(model: Model) -> None:
    slots = Slots()
    pool = Pool(1, slots)
    model.go.set()
    model.error = Internal("broken")
    executor = Executor(model, pool, Limits(), Profile(4, 0), 7)
    with pytest.raises(Internal):
        executor.run_inline(X)
    with pytest.raises(Internal):
        await executor.run(X, None, FAR)
    assert [slot.notes[-1] for slot in slots.slots.values()] == [None, None]
    pool.close()


async def test_every_run_that_answers_is_told_with_its_inputs_and_time(pool: Pool) -> None:
    model, heard = Model(), []
    model.go.set()
    executor = Executor(model, pool, Limits(), Profile(100, 1))
    executor.on_run = lambda feeds, nanos, begun_ns: heard.append((feeds is X, nanos > 0, begun_ns > 0))
    executor.run_inline(X)
    await executor.run(X, None, perf_counter_ns() + 10 * SECOND)
    model.error = Internal("no")
    with pytest.raises(Internal):
        executor.run_inline(X)
    with pytest.raises(Internal):
        await executor.run(X, None, perf_counter_ns() + 10 * SECOND)
    assert heard == [(True, True, True)] * 2


async def test_who_has_priority_runs_before_those_that_came_earlier(pool: Pool) -> None:
    model, order = Model(), []
    executor = made(model, pool, concurrency=1)

    async def ask(name: str, priority: int) -> None:
        await executor.run(X, None, FAR, 0, priority)
        order.append(name)

    tasks = [asyncio.create_task(ask(*who)) for who in (("running", 10), ("late", 20), ("usual", 10), ("soon", 1))]
    await until(lambda: executor.room.queued == 3)
    model.go.set()
    await asyncio.gather(*tasks)
    assert order == ["running", "soon", "usual", "late"]


async def test_an_adaptive_limit_lets_in_who_waits_when_runs_stay_as_quick(model: Model, pool: Pool) -> None:
    executor = Executor(model, pool, Limits(4, 8, adaptive=True), Profile(-1, 1000), 7)
    asked = [asyncio.create_task(executor.run(X, None, FAR)) for _ in range(2)]
    await until(lambda: model.running == 1 and executor.room.queued == 1)
    for _ in range(WINDOW_RUNS):
        executor.took(1000)
    await until(lambda: model.running == 2)
    assert executor.room.at_a_time == 2
    model.go.set()
    await asyncio.gather(*asked)


async def test_batches_have_no_adaptive_limit(model: Model, pool: Pool) -> None:
    executor = Executor(model, pool, Limits(4, 1000, adaptive=True), Profile(-1, 1000, 8), 7)
    assert executor.room.at_a_time == 4


async def test_a_long_run_does_not_hold_up_the_others_where_runs_go_one_by_one(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "LEAST_PATIENCE_SECONDS", 0.0)
    executor = Executor(model, pool, Limits(2, 8, overlap=True), Profile(-1, 1000), 7)
    executor._judge = NeverTogether(2)
    executor._run_at_a_time(1)
    asked = [asyncio.create_task(executor.run(X, None, FAR)) for _ in range(3)]
    await until(lambda: model.running == 2)  # the first takes longer than runs do
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(executors.PATIENCE_RUNS * executor.room.mean_ns / 1e9, passed.set)
    await passed.wait()  # and so does the second, but two are enough
    assert (model.running, executor.room.queued) == (2, 1)
    model.go.set()
    await asyncio.gather(*asked)
    assert executor.in_flight == 0
    assert not executor._gate.locked()


class NeverTogether(Overlap):
    """Has found that runs get no more done beside each other."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.limit = 1

    def ran(self, took_ns: int, cpu_ns: int, running: int, others_wait: bool) -> bool:
        return False


async def test_only_runs_of_which_nobody_chose_how_many_may_go_one_by_one(model: Model, pool: Pool) -> None:
    def judged(limits: Limits, rows: int = 1) -> bool:
        judge = Executor(model, pool, limits, Profile(-1, 1000, rows), 7)._judge
        return isinstance(judge, Overlap)

    assert judged(Limits(2, 8, overlap=True))
    assert not judged(Limits(2, 8))
    assert not judged(Limits(1, 8, overlap=True))
    assert not judged(Limits(2, 8, adaptive=True, overlap=True))
    assert not judged(Limits(2, 8, overlap=True), rows=8)
