"""What becomes of a call before its method: its message has to come, and a worker that leaves takes none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from service.grpc.connections import Connections
from service.grpc.handlers import CallBounds, Handlers
from service.pb.messages import MESSAGES


class Aborted(Exception):
    """What `abort` raises."""


class Context:
    """A call as grpc.aio gives it, whose message is what `sent` gives."""

    def __init__(self, sent: Callable[[], Awaitable[Any]]) -> None:
        self._sent = sent
        self._done: list[Callable[[Any], None]] = []
        self.ended = ""

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._done.append(callback)

    def invocation_metadata(self) -> Any:
        return ()

    async def read(self) -> Any:
        return await self._sent()

    async def abort(self, code: grpc.StatusCode, details: str, trailers: Any) -> None:
        self.ended = f"{code.name}: {details}"
        raise Aborted

    def finish(self) -> None:
        for callback in self._done:
            callback(self)


async def message() -> Any:
    return b"\x0a\x01m"


async def garbage() -> Any:
    return b"\xff"


async def nothing() -> Any:
    return grpc.aio.EOF


async def never() -> Any:
    await asyncio.Event().wait()


class Given:
    """Handlers with a method that notes what it gets."""

    def __init__(self, streams: int = 1) -> None:
        self.requests: list[Any] = []
        self.rejected: list[str] = []
        self.handlers = Handlers(Connections(), CallBounds(0.0, streams), self.rejected.append)
        self.waiting = asyncio.Event()

    async def call(self, context: Context) -> Any:
        read = MESSAGES["ModelReadyRequest"].FromString
        return await self.handlers.unary(self._answer, read).stream_unary(None, context)

    def stream(self, context: Context) -> AsyncIterator[Any]:
        return self.handlers.stream(self._wait).stream_stream(None, context)  # type: ignore[no-any-return]

    async def _answer(self, request: Any, context: Any) -> str:
        self.requests.append(request.name)
        return "answer"

    async def _wait(self, messages: Any, context: Any) -> AsyncIterator[str]:
        yield "begun"
        await self.waiting.wait()


async def test_a_call_gets_its_message_read() -> None:
    given = Given()
    assert await given.call(Context(message)) == "answer"
    assert given.requests == ["m"]


@pytest.mark.parametrize(
    ("sent", "ended", "reason"),
    [
        (never, "DEADLINE_EXCEEDED: the message did not arrive in time", "timeout"),
        (nothing, "INVALID_ARGUMENT: the call has no message", "bad_request"),
        (garbage, "INVALID_ARGUMENT: the message cannot be read", "bad_request"),
    ],
)
async def test_a_message_that_does_not_come_or_is_none_ends_the_call(
    sent: Callable[[], Awaitable[Any]], ended: str, reason: str
) -> None:
    given, context = Given(), Context(sent)
    with pytest.raises(Aborted):
        await given.call(context)
    assert (context.ended, given.rejected, given.requests) == (ended, [reason], [])


async def test_a_worker_that_leaves_takes_neither_calls_nor_streams() -> None:
    given, context = Given(), Context(message)
    given.handlers.leaving = True
    with pytest.raises(Aborted):
        await given.call(context)
    assert context.ended.startswith("UNAVAILABLE")
    with pytest.raises(Aborted):
        await anext(given.stream(context))
    assert given.requests == []


async def test_streams_have_a_bound_of_their_own_and_one_that_ends_makes_room() -> None:
    given, first, second = Given(streams=1), Context(never), Context(never)
    assert await anext(given.stream(first)) == "begun"
    with pytest.raises(Aborted):
        await anext(given.stream(second))
    assert second.ended.startswith("UNAVAILABLE: too many streams")
    first.finish()
    assert await anext(given.stream(Context(never))) == "begun"
