"""Calls between Serin's own processes, against a server on a real port."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from router.loopback import Loopback

TIMEOUT = httpx.Timeout(5.0, read=10.0)


class Server:
    """Answers each request with its first line, or as `behave` says: "close" after it, "hang up" before it, "wait"."""

    def __init__(self) -> None:
        self.connections = 0
        self.behave = ""
        self.bodies: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                self.bodies.append(await reader.readexactly(length))
                if self.behave == "hang up":
                    return
                if self.behave == "wait":
                    await asyncio.Event().wait()
                line = head.partition(b"\r\n")[0]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(line))
                writer.write(line)
                if self.behave == "close":
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = listening.sockets[0].getsockname()[1]
    yield found
    listening.close()


@pytest.fixture
async def line(server: Server) -> AsyncIterator[Loopback]:
    async with Loopback(f"http://127.0.0.1:{server.port}") as found:
        yield found


async def ask(line: Loopback, **more: object) -> bytes:
    told = {"content": b"{}", "headers": {"Serin-Token": "x"}, "timeout": TIMEOUT, **more}
    return (await line.request("POST", "/internal/v1/follow", **told)).content  # type: ignore[arg-type]


async def test_one_connection_serves_one_call_after_another(server: Server, line: Loopback) -> None:
    for _ in range(3):
        assert await ask(line) == b"POST /internal/v1/follow HTTP/1.1"
    assert (server.connections, server.bodies) == (1, [b"{}"] * 3)


async def test_calls_that_overlap_have_connections_of_their_own(server: Server, line: Loopback) -> None:
    server.behave = "wait"
    polls = [asyncio.ensure_future(ask(line)) for _ in range(2)]
    async with asyncio.timeout(20):
        while len(server.bodies) < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    server.behave = ""
    assert await ask(line, params={"after": 1}) == b"POST /internal/v1/follow?after=1 HTTP/1.1"
    for poll in polls:
        poll.cancel()
    assert server.connections == 3


async def test_a_connection_that_was_closed_meanwhile_is_replaced(server: Server, line: Loopback) -> None:
    server.behave = "close"
    for _ in range(3):
        assert await ask(line)
        async with asyncio.timeout(20):
            while any(kept.is_open() for kept in line._idle):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
    assert server.connections == 3


async def test_a_call_that_was_heard_is_not_said_again(server: Server, line: Loopback) -> None:
    """What a worker told a controller that died is not what it has to tell the next one."""
    assert await ask(line)
    server.behave = "hang up"
    with pytest.raises(httpx.NetworkError):
        await ask(line)
    assert (server.connections, len(server.bodies)) == (1, 2)


async def test_an_answer_that_never_comes_is_an_error(server: Server, line: Loopback) -> None:
    server.behave = "hang up"
    with pytest.raises(httpx.NetworkError):
        await ask(line)
    server.behave = "wait"
    with pytest.raises(httpx.ReadTimeout):
        await ask(line, timeout=httpx.Timeout(5.0, read=0.05))


async def test_nobody_there_is_an_error() -> None:
    with pytest.raises(httpx.NetworkError):
        await ask(Loopback("http://127.0.0.1:1"))
