"""Streams that end with the server, or when nothing comes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.errors import RequestTimeout
from service.grpc.streams import until


async def counted(messages: "asyncio.Queue[int | None]") -> AsyncIterator[int]:
    while (message := await messages.get()) is not None:
        yield message


async def test_a_stream_gives_its_messages_up_to_its_end() -> None:
    messages: asyncio.Queue[int | None] = asyncio.Queue()
    for message in (1, 2, None):
        messages.put_nowait(message)
    assert [message async for message in until(counted(messages), asyncio.Event())] == [1, 2]


async def test_an_idle_stream_ends_when_the_server_closes() -> None:
    messages: asyncio.Queue[int | None] = asyncio.Queue()
    closing = asyncio.Event()
    stream = until(counted(messages), closing)
    messages.put_nowait(1)
    assert await anext(stream) == 1
    closing.set()
    assert [message async for message in stream] == []


async def test_a_stream_in_which_nothing_comes_ends_with_an_error() -> None:
    messages: asyncio.Queue[int | None] = asyncio.Queue()
    stream = until(counted(messages), asyncio.Event(), 0.001)
    messages.put_nowait(1)
    assert await anext(stream) == 1
    with pytest.raises(RequestTimeout, match="no message arrived"):
        await anext(stream)


async def test_a_reader_that_stops_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    stream = until(counted(asyncio.Queue()), asyncio.Event())
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await stream.aclose()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
