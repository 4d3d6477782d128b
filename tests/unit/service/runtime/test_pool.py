"""The threads that run models, beside the loop that made them."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from router.errors import Unavailable
from service.priority import NICE
from service.runtime.pool import NoMarks, Pool


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="single threads have priorities on Linux only")
async def test_the_threads_of_models_stand_back_behind_the_loop() -> None:
    pool = Pool(1, NoMarks())
    try:
        assert await pool.submit(priority) == min(19, priority() + NICE)
    finally:
        pool.close()


async def test_what_threads_waited_is_told_for_all_of_them() -> None:
    pool = Pool(1, NoMarks())
    try:
        await pool.submit(priority)
        computed, waited = pool.computed_and_waited()
        assert (computed > 0) == (sys.platform == "linux")
        assert waited >= 0
    finally:
        pool.close()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(2, NoMarks())
    yield pool
    pool.close()


async def test_what_is_raised_in_a_thread_reaches_who_waits(pool: Pool) -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await pool.submit(fail)
    assert await pool.submit(lambda: 5) == 5


async def test_there_are_no_more_threads_than_have_something_to_do(pool: Pool) -> None:
    found = [await pool.submit(threading.get_ident) for _ in range(5)]
    assert len(set(found)) == 1

    together = threading.Barrier(2)
    waiting = [pool.submit(lambda: (together.wait(20), threading.get_ident())[1]) for _ in range(2)]
    assert len({await one for one in waiting}) == 2

    assert len({await pool.submit(threading.get_ident) for _ in range(5)} - {await one for one in waiting}) == 0


async def test_the_thread_that_was_busy_last_is_busy_next(pool: Pool) -> None:
    together, order = threading.Barrier(2), [threading.Event(), threading.Event()]

    def wait(turn: int) -> int:
        together.wait(20)
        order[turn].wait(20)
        return threading.get_ident()

    for last in (0, 1):
        running = [pool.submit(lambda turn=turn: wait(turn)) for turn in (0, 1)]  # type: ignore[misc]
        order[1 - last].set()
        await running[1 - last]
        order[last].set()
        found = await running[last]
        assert [await pool.submit(threading.get_ident) for _ in range(5)] == [found] * 5
        for event in order:
            event.clear()


async def test_what_has_not_begun_when_the_pool_is_closed_never_does(pool: Pool) -> None:
    going, begun = threading.Event(), threading.Semaphore(0)
    running = [pool.submit(lambda: (begun.release(), going.wait(20))) for _ in range(2)]
    for _ in running:
        await asyncio.to_thread(begun.acquire)
    never = pool.submit(pytest.fail)

    pool.close()
    going.set()

    await asyncio.gather(*running)
    assert never.cancelled()
    with pytest.raises(Unavailable):
        pool.submit(priority)


async def test_what_was_cancelled_before_it_began_is_not_run(pool: Pool) -> None:
    going, begun = threading.Event(), threading.Semaphore(0)
    running = [pool.submit(lambda: (begun.release(), going.wait(20))) for _ in range(2)]
    for _ in running:
        await asyncio.to_thread(begun.acquire)
    run: list[int] = []
    pool.submit(lambda: run.append(1)).cancel()
    last = pool.submit(lambda: run.append(2))

    going.set()
    await asyncio.gather(*running, last)

    assert run == [2]
