"""What of a request is read before anybody looks at it: the body within its bounds, and fields that were repeated."""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from router.errors import Cancelled, PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from router.headers import is_packed
from service.http.replies import Headers
from service.http.status import too_large

LONG_BYTES = 4096
"""Pieces of a body that are kept as they came; shorter ones would cost more than they hold."""

SMALL_SECONDS = 20.0
"""Time for the body of a small request."""


class Gathered:
    """A body that comes in pieces, copied once when it is `whole`: of a large one each copy can be seen in its time.
    Short pieces are put together at once."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, first: bytes) -> None:
        self._pieces: list[bytes | bytearray] = []
        self._size = 0
        self.add(first)

    def __len__(self) -> int:
        return self._size

    def add(self, piece: bytes) -> None:
        """What came next."""
        self._size += len(piece)
        if len(piece) >= LONG_BYTES:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece))

    def whole(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge as soon as it is above `limit` bytes."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Left
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(first) <= limit:
        return first
    body = Gathered(first)
    while message.get("more_body", False) and len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        body.add(message.get("body", b""))
    if len(body) > limit:
        raise too_large(limit)
    return body.whole()


async def read_small(request: Request, limit: int) -> bytes:
    """The whole body of a request that FastAPI routes. Raises PayloadTooLarge above `limit` bytes, by its declared
    length where it has one; RequestTimeout when it does not come in time, Cancelled when the caller goes away,
    UnsupportedMediaType when it is packed: what is small need not be."""
    if is_packed(request.headers):
        raise UnsupportedMediaType("this path takes documents as they are, without Content-Encoding")
    if int(request.headers.get("content-length", "0")) > limit:
        raise _too_large_here(limit)
    whole = bytearray()
    try:
        async with asyncio.timeout(SMALL_SECONDS):
            async for part in request.stream():
                whole += part
                if len(whole) > limit:
                    raise _too_large_here(limit)
    except TimeoutError as error:
        raise RequestTimeout("the body did not arrive in time") from error
    except ClientDisconnect as error:
        raise Cancelled("the caller went away") from error
    return bytes(whole)


def joined(fields: Headers) -> dict[bytes, bytes]:
    """Fields that were sent more than once as one list (RFC 9110, section 5.3; a cookie's by RFC 9113, 8.2.3).

    Which of two lengths is meant is not for us to guess: their list is no number.
    """
    whole: dict[bytes, bytes] = {}
    for name, value in fields:
        separator = b"; " if name == b"cookie" else b", "
        whole[name] = whole[name] + separator + value if name in whole else value
    return whole


def _too_large_here(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"this path takes bodies of at most {limit} bytes")


class Left(Exception):
    """The caller closed the connection before the request was whole."""
