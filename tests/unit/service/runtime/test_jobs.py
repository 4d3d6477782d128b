"""Waiting for a run, and leaving it alone."""

import asyncio

import pytest

from service.runtime.jobs import done_within


@pytest.fixture
async def future() -> "asyncio.Future[int]":
    return asyncio.get_running_loop().create_future()


async def test_it_is_over_when_the_future_is_done(future: "asyncio.Future[int]") -> None:
    waiting = asyncio.create_task(done_within(future, 20.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    future.set_result(5)
    await waiting
    await done_within(future)


async def test_it_is_over_when_the_time_is_and_nothing_is_left_behind(future: "asyncio.Future[int]") -> None:
    await done_within(future, 0.0)
    assert not future.done()
    assert future._callbacks in (None, [])  # type: ignore[attr-defined]


async def test_who_gives_up_does_not_end_it(future: "asyncio.Future[int]") -> None:
    waiting = asyncio.create_task(done_within(future, 20.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.done()
    assert future._callbacks in (None, [])  # type: ignore[attr-defined]


async def test_who_steps_by_hand_goes_on_when_it_is_done(future: "asyncio.Future[int]") -> None:
    work = done_within(future, 20.0).__await__()
    ending = next(work)
    went_on = asyncio.Event()
    ending.resume = went_on.set
    future.set_result(5)
    await went_on.wait()
    with pytest.raises(StopIteration):
        work.send(None)
