"""What gRPC calls for each method: a call is counted, refused once this worker leaves, and its message has to come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from router.errors import InvalidArgument, RequestTimeout, SerinError, ShedReason, Unavailable
from router.status import rejection
from service.grpc.answers import Context, Unary, fail, headers_of, note
from service.grpc.connections import Connections
from service.http.v2 import request_id_of

Streaming = Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class CallBounds:
    """`message_seconds`: how long the message of a call may take to arrive. `streams`: how many may be open."""

    message_seconds: float
    streams: int


class Handlers:
    """Makes them.

    All are handlers of streams for gRPC, also where a call has one message: it would wait for that without limit, and
    tell nobody that it does.
    """

    def __init__(self, connections: Connections, bounds: CallBounds, rejected: Callable[[str], None]) -> None:
        self.leaving = False
        self._connections = connections
        self._bounds = bounds
        self._rejected = rejected
        self._streams = 0

    def unary(self, method: Unary, read: Callable[[bytes], Any] = bytes) -> Any:
        """One message, one answer. `method` gets what `read` makes of the message's bytes."""

        async def handle(messages: Any, context: Context) -> Any:
            self._connections.begin(context)
            try:
                self._require_staying()
                request = _read(await self._message(context), read)
            except SerinError as error:
                return await self._refuse(error, context)
            return await method(request, context)

        return grpc.stream_unary_rpc_method_handler(handle, None, written)

    def watch(self, method: Callable[[Any, Context], AsyncIterator[Any]], read: Callable[[bytes], Any]) -> Any:
        """One message, many answers."""

        async def watched(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            request = _read(await self._message(context), read)
            async for answer in method(request, context):
                yield answer

        return self.stream(watched)

    def stream(self, method: Streaming, read: Callable[[bytes], Any] | None = None) -> Any:
        """Many of both. `method` bounds the time between messages (`streams.until`)."""

        async def handle(messages: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            self._connections.begin(context)
            try:
                self._require_staying()
                self._take_stream(context)
                async for answer in method(messages, context):
                    yield answer
            except SerinError as error:
                await self._refuse(error, context)

        return grpc.stream_stream_rpc_method_handler(handle, read, written)

    def _take_stream(self, context: Context) -> None:
        """Streams may wait for long, so they must not take the places of calls."""
        if self._streams >= self._bounds.streams:
            raise Unavailable("too many streams are open in this worker; try again", retry_after_seconds=1)
        self._streams += 1
        context.add_done_callback(self._give_stream_back)

    def _give_stream_back(self, context: Context) -> None:
        self._streams -= 1

    def _require_staying(self) -> None:
        if self.leaving:
            text = "this server is going down; ask another"
            raise Unavailable(text, retry_after_seconds=1, reason=ShedReason.DRAINING)

    async def _message(self, context: Context) -> bytes:
        """Raises RequestTimeout, InvalidArgument."""
        try:
            async with asyncio.timeout(self._bounds.message_seconds):
                message = await context.read()
        except TimeoutError as error:
            raise RequestTimeout("the message did not arrive in time") from error
        if message is grpc.aio.EOF:
            raise InvalidArgument("the call has no message")
        body: bytes = message
        return body

    async def _refuse(self, error: SerinError, context: Context) -> None:
        request_id = request_id_of(headers_of(context).get(b"x-request-id"))
        self._rejected(rejection(error))
        note(error, request_id)
        await fail(context, error, [("x-request-id", request_id)])


def _read(body: bytes, read: Callable[[bytes], Any]) -> Any:
    try:
        return read(body)
    except DecodeError as error:
        raise InvalidArgument("the message cannot be read") from error


def written(message: Any) -> bytes:
    """A message as bytes."""
    found: bytes = message.SerializeToString()
    return found
