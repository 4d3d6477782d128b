"""HTTP/1.1 to another process of the same gateway, as little of it as that takes.

A worker talks with the controller on the loop that answers requests, and each call of a general client holds that up
for a millisecond at a time; the supervisor's and the inventory's calls take as long of a core that they may share.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self, cast
from urllib.parse import urlencode

import httpx

MOST_HEAD_BYTES = 64 * 1024


class Response(Protocol):
    """What came back."""

    @property
    def status_code(self) -> int: ...
    @property
    def content(self) -> bytes: ...


class Http(Protocol):
    """The part of `httpx.AsyncClient` that Serin's processes use among themselves. Raises httpx.HTTPError."""

    async def request(  # noqa: PLR0913 -- httpx's
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, float] | None = None,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
    ) -> Response: ...


def general_client(base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """httpx's own client for the same, where time matters less. It trusts no certificate: none is shown on this way.

    To read all that others trust would be a sixth of what a worker computes until it listens.
    """
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(base_url=base_url, transport=transport, trust_env=False, verify=nobody)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status_code: int
    content: bytes
    keeps: bool


class Loopback:
    """An `Http` for `http://host:port` that takes one response with a length for each request. Belongs to one loop."""

    def __init__(self, base_url: str) -> None:
        url = httpx.URL(base_url)
        self._address = url.host, url.port or 80
        self._host = url.netloc.decode()
        self._idle: list[_Connection] = []

    async def request(  # noqa: PLR0913 -- httpx's
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, float] | None = None,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
    ) -> Answer:
        """Raises httpx.NetworkError, TimeoutException or RemoteProtocolError; the connection is closed then."""
        target = f"{url}?{urlencode(params)}" if params else url
        fields = {"Host": self._host, **headers, "Content-Length": str(len(content or b""))}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        raw = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (content or b"")
        try:
            async with asyncio.timeout(timeout.read):
                return await self._ask(raw)
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no answer within {timeout.read} s") from error
        except OSError as error:
            raise httpx.NetworkError(str(error)) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what is open."""
        while self._idle:
            self._idle.pop().close()

    async def _ask(self, raw: bytes) -> Answer:
        """Sends it once. What was true when it was written may not be when another process hears it, so that whoever
        asked must say it anew."""
        connection = self._kept()
        if connection is None:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._address)
        return await self._on(connection, raw)

    def _kept(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open():
                return connection
        return None

    async def _on(self, connection: "_Connection", raw: bytes) -> Answer:
        try:
            answer = await connection.ask(raw)
        except BaseException:
            connection.close()
            raise
        if answer.keeps:
            self._idle.append(connection)
        else:
            connection.close()
        return answer


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self._answer: asyncio.Future[Answer] | None = None

    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, raw: bytes) -> "asyncio.Future[Answer]":
        assert self._transport is not None
        self._read.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        try:
            found = whole(self._read)
        except httpx.RemoteProtocolError as error:
            self._settle(error)
            self.close()
            return
        if found is not None:
            self._settle(found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(ConnectionResetError("the connection was closed before the answer was whole"))

    def _settle(self, found: Answer | Exception) -> None:
        waiting, self._answer = self._answer, None
        if waiting is None or waiting.done():
            return
        if isinstance(found, Answer):
            waiting.set_result(found)
        else:
            waiting.set_exception(found)


def whole(read: bytes | bytearray) -> Answer | None:
    """The response that was read, once all of it is there. Raises httpx.RemoteProtocolError for what is none."""
    head, end, rest = read.partition(b"\r\n\r\n")
    if not end:
        if len(read) > MOST_HEAD_BYTES:
            raise httpx.RemoteProtocolError("the head of the response is too long")
        return None
    first, *lines = bytes(head).split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    status, length = first[9:12], fields.get(b"content-length", b"")
    if not first.startswith(b"HTTP/1.1 ") or not status.isdigit() or not length.isdigit():
        raise httpx.RemoteProtocolError("a response with a status and a length was expected")
    if len(rest) < int(length):
        return None
    return Answer(int(status), bytes(rest[: int(length)]), fields.get(b"connection") != b"close")
