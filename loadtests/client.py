"""A small HTTP/1.1 client for load: keep-alive, closed loop, request bytes built once, answers cut by Content-Length.

`exchange` sends given requests and hands back the answers; `hammer` repeats requests for a while and hands back the
latencies. `python -m loadtests.client` is `hammer` as a process of its own, so that it can have a core of its own.
"""

import asyncio
import gc
import json
import sys
from array import array
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle
from time import perf_counter
from typing import Any, TypeVar, cast

import uvloop

from loadtests.measured import Measured, summary

T = TypeVar("T")
OnReply = Callable[["Reply"], None]

CONNECT_SECONDS = 5.0
LAST_ANSWERS_SECONDS = 5.0
WARMUP_SECONDS = 0.5
MAX_RECONNECTS = 100


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `status` 0: the connection ended without a whole one. `head` is as it came, without the body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        wanted = name.lower().encode()
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == wanted:
                return value.strip().decode("latin-1")
        return None


LOST = Reply(0, b"", b"")


class Connection(asyncio.Protocol):
    """One connection with at most one request under way; `on_reply` is called once for each `send`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.on_reply: OnReply | None = None
        self._rest = b""
        self._needs = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of no common class

    def send(self, request: bytes, on_reply: OnReply) -> None:
        self.on_reply = on_reply
        if self.transport is None or self.transport.is_closing():
            self._finish(LOST)
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if len(data) < self._needs:
            self._rest = data
            return
        split = data.find(b"\r\n\r\n")
        if split < 0:
            self._rest = data
            return
        size = content_length(data, split)
        if size is None:
            self.close()  # chunked or broken: `connection_lost` reports it
            return
        if len(data) < split + 4 + size:
            self._rest, self._needs = data, split + 4 + size
            return
        self._rest, self._needs = b"", 0
        self._finish(Reply(int(data[9:12]), data[:split], data[split + 4 :]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(LOST)

    def _finish(self, reply: Reply) -> None:
        told, self.on_reply = self.on_reply, None
        if told is not None:
            told(reply)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


def content_length(data: bytes, head_end: int) -> int | None:
    """The Content-Length in the head of an answer, which ends at `head_end`; None without one."""
    start = data.find(b"content-length:", 0, head_end)
    if start < 0:  # servers write it in lower case, or as the RFC does
        start = data[:head_end].lower().find(b"content-length:")
        if start < 0:
            return None
    end = data.find(b"\r\n", start)
    value = data[start + 15 : end].strip()
    return int(value) if value.isdigit() else None


@dataclass(frozen=True, slots=True)
class Load:
    """What `hammer` does: each of `connections` sends the next of `requests` as soon as it has an answer."""

    host: str
    port: int
    connections: int
    seconds: float
    warmup_seconds: float = WARMUP_SECONDS
    max_requests: int = 5_000_000
    requests: tuple[bytes, ...] = field(default=(), repr=False)


class Hammer:
    """The loop of one `Load`, in callbacks: no task and no future on the way of a request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._next = cycle(load.requests).__next__
        self._left = load.max_requests
        self._reconnects = MAX_RECONNECTS
        self._tasks: set[asyncio.Task[None]] = set()
        self.latencies = array("d")
        self.errors: dict[str, int] = {}
        self.count_from = 0.0
        self.until = 0.0
        self.done = asyncio.Event()
        self._running = 0

    async def run(self) -> Measured:
        load = self._load
        opened = [await connect(load.host, load.port) for _ in range(load.connections)]
        now = perf_counter()
        self.count_from, self.until = now + load.warmup_seconds, now + load.warmup_seconds + load.seconds
        self._running = len(opened)
        for connection in opened:
            self._send(connection)
        try:
            await asyncio.wait_for(self.done.wait(), load.warmup_seconds + load.seconds + LAST_ANSWERS_SECONDS)
        except TimeoutError:
            self._count("no answer", self._running)
        for connection in opened:
            connection.close()
        return summary(self.latencies, min(perf_counter(), self.until) - self.count_from, self.errors)

    def _send(self, connection: Connection) -> None:
        self._left -= 1
        connection.send(self._next(), partial(self._answered, connection, perf_counter()))

    def _answered(self, connection: Connection, started: float, reply: Reply) -> None:
        now = perf_counter()
        if reply.status != 200:
            self._count(f"status {reply.status}" if reply.status else "connection lost", 1)
        elif self.count_from <= now <= self.until:
            self.latencies.append(now - started)
        if now >= self.until or self._left <= 0:
            self._running -= 1
            if self._running <= 0:
                self.done.set()
        elif reply.status == 0:
            self._replace()
        else:
            self._send(connection)

    def _count(self, error: str, times: int) -> None:
        self.errors[error] = self.errors.get(error, 0) + times

    def _replace(self) -> None:
        task = asyncio.ensure_future(self._reopen())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reopen(self) -> None:
        self._reconnects -= 1
        try:
            if self._reconnects < 0:
                raise ConnectionError("too many connections were lost")
            self._send(await connect(self._load.host, self._load.port))
        except OSError:
            self._running -= 1
            if self._running <= 0:
                self.done.set()


async def exchange(host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> list[Reply]:
    """Send every request once; the answers in the same order. Raises TimeoutError when `seconds` are over."""
    replies = [LOST] * len(requests)
    numbers = iter(range(len(requests)))

    async def work(connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        for number in numbers:
            answer: asyncio.Future[Reply] = loop.create_future()
            connection.send(requests[number], partial(_resolve, answer))
            replies[number] = await answer
            if not replies[number].status:
                connection = await connect(host, port)
        connection.close()

    async with asyncio.timeout(seconds):
        opened = [await connect(host, port) for _ in range(min(connections, len(requests)))]
        async with asyncio.TaskGroup() as group:
            for connection in opened:
                group.create_task(work(connection))
    return replies


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop."""
    return uvloop.run(work)


def _resolve(answer: asyncio.Future[Reply], reply: Reply) -> None:
    if not answer.done():
        answer.set_result(reply)


async def connect(host: str, port: int) -> Connection:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        _, connection = await loop.create_connection(Connection, host, port)
    return connection


async def _hammer(load: Load) -> Measured:
    return await Hammer(load).run()


def main() -> None:
    """Read a `Load` as one JSON line, then the requests (their sizes are in the line), from standard input."""
    told = json.loads(sys.stdin.buffer.readline())
    requests = tuple(sys.stdin.buffer.read(size) for size in told.pop("sizes"))
    gc.freeze()
    print(json.dumps(asdict(run(_hammer(Load(**told, requests=requests))))))


if __name__ == "__main__":
    main()
