"""Callers for an experiment: open-loop requests with numbers, and ten looks a second at the gateway's health.

They run on an event loop of a thread of their own while the experiment does harm. A request goes out when it is due,
and what became of each is noted: who answered, with which value, how long after it was due.
"""

import asyncio
import select
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, sleep

import numpy as np
import uvloop

from loadtests.client import LOST, Connection, Reply
from loadtests.faults.counting import answered, request

Make = Callable[[int], bytes]

ANSWER_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.1
LOOK_SECONDS = 5.0
END_SECONDS = 60.0
SEED = 5
PROBE = b"GET /v2/health/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. Moments are of `monotonic`; `status` 0: no whole answer, for the reason in `error`.

    `version` is what the header says, `by` what the value says. `first`: the first on its connection. `begun`: before a
    connection was chosen or opened for it; a connection that had ended by then was not.
    """

    number: int
    status: int
    due: float
    sent: float
    done: float
    version: int = 0
    by: int = 0
    echo: int = -1
    revision: int = -1
    closes: bool = False
    first: bool = False
    error: str = ""
    begun: float = 0.0

    @property
    def right(self) -> bool:
        """Answered with 200, with the value of the version that the header names and of this request."""
        return self.status == 200 and self.by == self.version and self.echo == self.number

    @property
    def late(self) -> float:
        return self.done - self.due


@dataclass(frozen=True, slots=True)
class Look:
    """One look at /v2/health/live or /ready; status 0: none came."""

    what: str
    at: float
    done: float
    status: int


@dataclass(slots=True)
class Callers:
    """`with Callers(address, rate=300) as callers:` sends until the block ends; `sent` and `looks` grow meanwhile."""

    address: tuple[str, int]
    rate: float = 300.0
    make: Make = request
    connections: int = 32
    fresh: float = 0.0
    """Share of the requests that come on a connection of their own."""
    most: int = 100_000_000
    keep: bool = True
    """Whether those that were answered with 200 are kept in `sent`, and not only counted."""
    health: bool = True
    sent: list[Sent] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    count: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _free: list[Connection] = field(default_factory=list)
    _failed: BaseException | None = None

    def __enter__(self) -> "Callers":
        self._thread = threading.Thread(target=self.work, name="callers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Sent]:
        """Send no more, wait for what is under way; all requests. Raises what went wrong in the callers themselves."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(END_SECONDS)
            if self._thread.is_alive():
                raise TimeoutError("the callers did not end")
        if self._failed is not None:
            raise self._failed
        return self.sent

    def end(self) -> None:
        """Send no more; do not wait."""
        self._stopped.set()

    def wait(self, seconds: float) -> None:
        """Let them go on for so long."""
        sleep(seconds)

    def work(self) -> None:
        """Send until somebody says `end` or `stop`; in the thread that calls."""
        try:
            uvloop.run(self._run())
        except BaseException as error:
            self._failed = error
            raise

    async def _run(self) -> None:
        looking = [asyncio.create_task(self._look(what)) for what in ("live", "ready") if self.health]
        under_way: set[asyncio.Task[None]] = set()
        draw, due, number = np.random.default_rng(SEED), monotonic(), 0
        slots = asyncio.Semaphore(self.connections)
        while not self._stopped.is_set() and number < self.most:
            due += float(draw.exponential(1 / self.rate))
            if (wait := due - monotonic()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._one(number, due, slots, bool(draw.random() < self.fresh)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        await asyncio.gather(*under_way, *looking)
        for connection in self._free:
            connection.close()

    async def _one(self, number: int, due: float, slots: asyncio.Semaphore, fresh: bool) -> None:
        async with slots:
            if self._stopped.is_set():
                return  # it waited for its turn until the end, and was never sent
            raw, first = self.make(number), False
            begun = sent = monotonic()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    connection = None if fresh else self._taken()
                    if connection is None:
                        connection, first = await _connected(self.address), True
                    sent = monotonic()
                    reply = await _ask(connection, raw)
            except (OSError, TimeoutError) as error:
                name = type(error).__name__
                self._keep(Sent(number, 0, due, sent, monotonic(), first=first, error=name, begun=begun))
                return
        self._keep(replace(noted(number, due, sent, reply, first), begun=begun))
        if reply.status and not fresh and reply.header("connection") != "close":
            self._free.append(connection)
        else:
            connection.close()

    def _keep(self, one: Sent) -> None:
        self.count += 1
        if self.keep or one.status != 200:
            self.sent.append(one)

    def _taken(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if is_open(connection):
                return connection
            connection.close()
        return None

    async def _look(self, what: str) -> None:
        while not self._stopped.is_set():
            at, status = monotonic(), 0
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    connection = await _connected(self.address)
                    status = (await _ask(connection, PROBE % what.encode())).status
                    connection.close()
            except (OSError, TimeoutError):
                status = 0
            if self.keep or status != 200:
                self.looks.append(Look(what, at, monotonic(), status))
            await asyncio.sleep(max(0.0, at + LOOK_EVERY_SECONDS - monotonic()))


def is_open(connection: Connection) -> bool:
    """Whether an idle connection can take a request."""
    return connection.transport is not None and not has_ended(connection.transport)


def has_ended(idle: asyncio.BaseTransport) -> bool:
    """Whether an idle connection is of no use any more. The kernel knows of its end before the event loop does, so ask
    it, like any pool of connections."""
    if idle.is_closing():
        return True
    look = select.poll()
    look.register(idle.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(look.poll(0))


def noted(number: int, due: float, sent: float, reply: Reply, first: bool) -> Sent:
    """What one reply says."""
    if not reply.status:
        return Sent(number, 0, due, sent, monotonic(), first=first, error="closed")
    by, echo = answered(reply.body) if reply.status == 200 else (0, -1)
    version, revision = (int(reply.header(name) or -1) for name in ("serin-version", "serin-revision"))
    closes = reply.header("connection") == "close"
    return Sent(number, reply.status, due, sent, monotonic(), version, by, echo, revision, closes, first)


async def _connected(address: tuple[str, int]) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, *address)
    return connection


def _ask(connection: Connection, raw: bytes) -> Awaitable[Reply]:
    answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    connection.send(raw, partial(_resolve, answer))
    return answer


def _resolve(answer: asyncio.Future[Reply], reply: Reply = LOST) -> None:
    if not answer.done():
        answer.set_result(reply)
