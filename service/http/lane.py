"""The fast lane: inference answered from the connection itself, without an ASGI task. The same answers for less.

`POST /v2/models/.../infer` is recognised when its head is complete; everything else, and whatever is unusual about such
a request (pipelined behind an unfinished one, `Expect`, an escaped path, a field sent twice, a slow reader), goes on to
the ASGI application, whose `V2` is the twin: both hand a whole request to `V2.answer`. What this relies on inside
uvicorn is pinned by version; with any other uvicorn the lane is not used. See docs/decisions on the fast lane.
"""

import asyncio
from collections.abc import Coroutine, Generator
from time import perf_counter_ns
from types import coroutine
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.errors import PayloadTooLarge, RequestTimeout, SerinError
from service.http.connection import Connection
from service.http.replies import Arrival, Reply
from service.http.v2 import V2, request_id_of, too_large

KNOWN_UVICORN = "0.54.0"
CLOSE = (b"connection", b"close")


def usable() -> bool:
    """Whether this uvicorn is the one that the lane was written against."""
    return uvicorn.__version__ == KNOWN_UVICORN


def lane_of(v2: V2) -> type[Connection]:
    """Connections on which `v2` answers inference; plain ones where this uvicorn is not known."""
    return type("BoundLane", (Lane,), {"v2": v2}) if usable() else Connection


class Ride:
    """One request in the lane, seen by uvicorn's protocol as the cycle in progress."""

    __slots__ = ("arrival", "body", "disconnected", "keep_alive", "more_body", "refusal", "response_complete", "task")

    def __init__(self, arrival: Arrival, keep_alive: bool) -> None:
        self.arrival = arrival
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.refusal: SerinError | None = None
        self.task: asyncio.Task[Reply] | None = None

    @property
    def message_event(self) -> "Ride":
        """uvicorn wakes a waiting application through this; here nobody waits."""
        return self

    def set(self) -> None:
        """See `message_event`."""


class Lane(Connection):
    """A connection with the lane. `v2` is set on a subclass, one for each port.

    `body_since`: when it began to wait for the body of a ride (loop time); None while it does not.
    """

    v2: V2
    body_since: float | None = None

    def on_message_begin(self) -> None:
        # The scope of an ASGI application is made when it turns out that one is needed.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._head_bytes = 0
        self.waiting_since = self.loop.time()

    def on_headers_complete(self) -> None:
        headers = dict(self.headers)
        if len(headers) != len(self.headers) or not self._takes():
            self._make_scope()
            super().on_headers_complete()
            return
        self.waiting_since = None
        arrival = Arrival(
            self.url.decode("ascii"), headers, request_id_of(headers.get(b"x-request-id")), perf_counter_ns()
        )
        ride = Ride(arrival, self.parser.should_keep_alive())
        self.cycle = ride  # type: ignore[assignment]
        self.v2.in_flight += 1
        try:
            self.v2.admit(arrival)
        except SerinError as error:
            self._refuse(ride, error)
        else:
            self.body_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        ride = self.cycle
        if not isinstance(ride, Ride):
            super().on_body(body)
            return
        if ride.response_complete:
            return
        ride.body += body
        if len(ride.body) > self.v2.max_body_bytes:
            self._refuse(ride, too_large(self.v2.max_body_bytes))

    def on_message_complete(self) -> None:
        ride = self.cycle
        if not isinstance(ride, Ride):
            super().on_message_complete()
            return
        self.body_since = None
        if ride.response_complete:
            return
        ride.more_body = False
        work = self.v2.answer(ride.arrival, bytes(ride.body))
        try:
            # Most models run on the loop: then the answer is there without any task.
            first = work.send(None)
        except StopIteration as done:
            self._finish(ride, done.value)
            return
        ride.task = self.loop.create_task(_go_on(work, first))
        self.tasks.add(ride.task)
        ride.task.add_done_callback(lambda task: self._finish_task(ride, task))

    def connection_lost(self, exc: Exception | None) -> None:
        ride = self.cycle
        super().connection_lost(exc)
        if not isinstance(ride, Ride) or ride.response_complete:
            return
        if ride.task is not None:
            ride.task.cancel()
        else:
            self._leave(ride)

    def expire(self, oldest: float) -> None:
        """Besides: answer 408 to a request whose body did not come in time, and close."""
        super().expire(oldest)
        ride = self.cycle
        if isinstance(ride, Ride) and self.body_since is not None and self.body_since < oldest:
            self._refuse(ride, RequestTimeout("the body did not arrive in time"))

    def _make_scope(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers[:] = headers  # the scope holds this very list

    def _takes(self) -> bool:
        """Whether this request is inference in its usual form, with nothing before it on the connection."""
        url = self.url
        return (
            url.endswith(b"/infer")
            and url.startswith(b"/v2/models/")
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and b"%" not in url
            and b"?" not in url
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )

    def _refuse(self, ride: Ride, error: SerinError) -> None:
        final = isinstance(error, PayloadTooLarge | RequestTimeout)
        self._finish(ride, self.v2.refused(error, ride.arrival, [CLOSE] if final else []))

    def _finish_task(self, ride: Ride, task: "asyncio.Task[Reply]") -> None:
        self.tasks.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._leave(ride)
            if not self.transport.is_closing():
                self.transport.close()
        else:
            self._finish(ride, task.result())

    def _finish(self, ride: Ride, reply: Reply) -> None:
        self._leave(ride)
        if ride.disconnected or self.transport.is_closing():
            return
        headers = [*self.server_state.default_headers, *reply.headers]
        if self.v2.draining or not ride.keep_alive:
            headers.append(CLOSE)
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.body]))
        if CLOSE in headers:
            self.transport.close()
        self.on_response_complete()

    def _leave(self, ride: Ride) -> None:
        ride.response_complete = True
        self.body_since = None
        self.v2.in_flight -= 1


async def _go_on(work: Coroutine[Any, Any, Reply], waits_for: Any) -> Reply:
    return await _resumed(work, waits_for)


@coroutine
def _resumed(work: Coroutine[Any, Any, Reply], waits_for: Any) -> Generator[Any, Any, Reply]:
    """Go on with a coroutine that was stepped by hand and now waits; what it waits for is handed to the task first."""
    while True:
        error: BaseException | None = None
        try:
            value = yield waits_for
        except BaseException as thrown:
            error = thrown
        try:
            waits_for = work.send(value) if error is None else work.throw(error)
        except StopIteration as done:
            reply: Reply = done.value
            return reply
