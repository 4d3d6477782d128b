"""The fast lane: inference answered from the connection itself, without an ASGI task. The same answers for less.

`POST /v2/models/.../infer` is recognised when its head is complete; everything else, and whatever is unusual about such
a request (pipelined behind an unfinished one, `Expect`, an escaped path, a field sent twice, a slow reader), goes on to
the ASGI application, whose `V2` is the twin: both hand a whole request to `V2.answer`. What this relies on inside
uvicorn is pinned by version; with any other uvicorn the lane is not used. See docs/decisions on the fast lane.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from time import perf_counter_ns

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.errors import PayloadTooLarge, RequestTimeout, SerinError
from service.http.connection import Connection
from service.http.express import is_plain_head
from service.http.intake import HEAD_BYTES, LARGE_BYTES, Intake, room_for
from service.http.parsing import CHUNKED, HOST, Parser
from service.http.reading import Gathered
from service.http.replies import HEADER, Arrival, Reply
from service.http.rides import Known, Ride
from service.http.status import too_large
from service.http.stepping import Work, go_on
from service.http.v2 import V2, declared, request_id_of, target
from service.runtime.seats import Resumable

KNOWN_UVICORN = "0.54.0"
CLOSE = b"connection: close\r\n"

MOST_KNOWN, MOST_KNOWN_BYTES = 1024, 2048
"""Heads that are kept, of so many bytes at most."""

MOST_DIGITS = 19

MOST_UNLIKE = 32
"""A connection that sends so many new heads in a row (an id in each) is not worth the try any more."""


def usable() -> bool:
    """Whether this uvicorn is the one that the lane was written against."""
    return uvicorn.__version__ == KNOWN_UVICORN


def lane_of(v2: V2) -> type[Connection]:
    """Connections on which `v2` answers inference; plain ones where this uvicorn is not known."""
    shared = {"v2": v2, "heads": {}, "scrap": memoryview(bytearray(HEAD_BYTES))}
    return type("BoundLane", (Lane,), shared) if usable() else Connection


class Lane(Connection):
    """A connection with the lane. `v2`, `heads` (those that are known) and `scrap` (see Intake) are set on a subclass,
    one for each port.

    `body_since`: when it began to wait for the body of a ride (loop time); None while it does not.
    """

    v2: V2
    heads: dict[bytes, Known]
    scrap: memoryview
    body_since: float | None = None
    idle_since: float | None = None
    _unlike = 0
    _nonsense: str | None = None
    _between = True
    _chunk: bytes | None = None
    _fd = -1
    _intake: Intake | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        plain = transport.get_extra_info("sslcontext") is None
        bound = transport.get_extra_info("socket") if plain else None
        self._fd = -1 if bound is None else bound.fileno()

    def data_received(self, data: bytes) -> None:
        self.idle_since = None
        if self.lingering is not None:
            self.lingering.take(data)
            return
        if self._between and self._unlike < MOST_UNLIKE and self._knows(data):
            return
        self._chunk = data if self._between else None
        super().data_received(data)
        self._chunk = None
        if self.body_since is not None and self._fd >= 0:
            self._await_large_body()

    def on_message_begin(self) -> None:
        # The scope of an ASGI application is made when it turns out that one is needed.
        self._between = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._head_bytes = 0
        self.waiting_since = self.loop.time()

    def on_headers_complete(self) -> None:
        headers = dict(self.headers)
        if len(headers) != len(self.headers) or not self._takes(headers):
            self._make_scope()
            super().on_headers_complete()
            return
        model, version = target(self.url.decode("ascii"))
        size, keep_alive = declared(headers), self.parser.should_keep_alive()
        ride = self._begin(headers, model, version, declared_bytes=size, keep_alive=keep_alive)
        if not ride.response_complete:
            self.waiting_since = None
            self.body_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        ride = self.cycle
        if not isinstance(ride, Ride):
            super().on_body(body)
            return
        if ride.response_complete:
            return
        if not ride.body:
            ride.body = body
        else:
            if isinstance(ride.body, bytes):
                ride.body = Gathered(ride.body)
            ride.body.add(body)
        if len(ride.body) > self.v2.max_body_bytes:
            self.refuse(ride, too_large(self.v2.max_body_bytes))

    def on_message_complete(self) -> None:
        self._between = True
        self.waiting_since = None
        ride = self.cycle
        if not isinstance(ride, Ride):
            super().on_message_complete()
            return
        self.body_since = None
        if ride.response_complete:
            return
        body = ride.body if isinstance(ride.body, bytes) else ride.body.whole()
        if self._chunk is None:
            ride.arrival = ride.arrival.complete()
        elif self._unlike < MOST_UNLIKE:
            self._remember(ride, body, self._chunk)
        self._chunk = None
        self._answer(ride, body, is_plain_head(ride.arrival.headers))

    def _await_large_body(self) -> None:
        """Have what is still to come of the body written where it is to lie, if that is much."""
        ride = self.cycle
        if not isinstance(ride, Ride) or ride.response_complete or self.lingering is not None:
            return
        headers = ride.arrival.headers
        size_bytes = declared(headers)
        if size_bytes - len(ride.body) < LARGE_BYTES:
            return
        json_bytes = headers.get(HEADER, b"0")[:MOST_DIGITS]
        body = room_for(size_bytes, int(json_bytes) if json_bytes.isdigit() else 0)
        if body is None:
            return
        intake = self._intake
        if intake is None:
            intake = self._intake = Intake(self, self.scrap)
            self.transport.set_protocol(intake)
        intake.expect(body, ride.body if isinstance(ride.body, bytes) else ride.body.whole())
        ride.body = b""

    def body_received(self, body: memoryview) -> None:
        """A large body is here. The parser has not seen it all and would wait for ever."""
        ride = self.cycle
        assert isinstance(ride, Ride)
        self.parser = Parser(self)
        self._between = True
        self.body_since = None
        ride.arrival = ride.arrival.complete()
        ride.more_body = False
        self.step(ride, self.v2.answer(ride.arrival, body))

    def intake_ended(self) -> None:
        """No large body came."""
        self._intake = None
        self.transport.set_protocol(self)

    def on_response_complete(self) -> None:
        # As uvicorn's, without a timer for each answer: `expire` closes what is idle.
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self.lingering is not None:
            return
        if not isinstance(self.cycle, Ride):
            self.await_rest()
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.idle_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        ride, self._intake = self.cycle, None
        super().connection_lost(exc)
        if not isinstance(ride, Ride) or ride.response_complete:
            return
        if ride.task is not None:
            ride.task.cancel()
            return
        if ride.work is not None:
            with suppress(asyncio.CancelledError):
                ride.work.throw(asyncio.CancelledError())
        self._leave(ride)

    def expire(self, oldest: float) -> None:
        """Besides: close what is idle for too long, and answer 408 to a request whose body did not come in time."""
        super().expire(oldest)
        ride = self.cycle
        if isinstance(ride, Ride) and self.body_since is not None and self.body_since < oldest:
            self.refuse(ride, RequestTimeout("the body did not arrive in time"))
        if self.idle_since is not None and self.loop.time() - self.idle_since > self.timeout_keep_alive:
            self.timeout_keep_alive_handler()

    def _knows(self, data: bytes) -> bool:
        """Take a whole request whose head was seen before."""
        size = data.find(b"\r\n\r\n") + 4
        known = self.heads.get(data[:size])
        if known is None or len(data) != size + known.body_bytes:
            return False
        self._unlike = 0
        before = self.cycle
        if before is not None and not before.response_complete and not self._is_free():
            return False
        if self.flow.write_paused or self.transport.is_closing():
            return False
        self.waiting_since = None  # for a head: this one is here
        ride = self._begin(known.headers, known.model, known.version)
        if not ride.response_complete:
            self._answer(ride, data[size:], known.plain)
        return True

    def _begin(
        self,
        headers: Mapping[bytes, bytes],
        model: str,
        version: str | None,
        *,
        declared_bytes: int = 0,
        keep_alive: bool = True,
    ) -> Ride:
        """A ride whose head is here, already refused if that can be known from it. `declared_bytes`: of a body whose
        size was not looked at before."""
        arrival = Arrival(headers, request_id_of(headers.get(b"x-request-id")), perf_counter_ns(), model, version)
        ride = Ride(self, arrival, keep_alive)
        self.cycle = ride  # type: ignore[assignment]
        self.v2.in_flight += 1
        try:
            self.v2.admit(arrival, declared_bytes)
        except SerinError as error:
            self.refuse(ride, error)
        return ride

    def _answer(self, ride: Ride, body: bytes, plain: bool) -> None:
        ride.more_body = False
        if not plain or not self.v2.express.take(ride, body):
            self.step(ride, self.v2.answer(ride.arrival, body))

    def step(self, ride: Ride, work: Work) -> None:
        """Go on with a request by hand: most models run on the loop, alone or with all that came in the same turn, and
        then the answer is there without any task."""
        ride.work = ride.hurry = None
        try:
            first = work.send(None)
        except StopIteration as done:
            self.finish(ride, done.value)
            return
        if isinstance(first, Resumable):
            ride.work, ride.hurry = work, first.hurry
            first.resume = partial(self.step, ride, work)
            return
        ride.task = self.loop.create_task(go_on(work, first))
        self.tasks.add(ride.task)  # type: ignore[arg-type]
        ride.task.add_done_callback(lambda task: self._finish_task(ride, task))

    def _remember(self, ride: Ride, body: bytes, chunk: bytes) -> None:
        """Know the head again, if this request was all of a chunk: then its end is certain, whatever the body holds."""
        end = chunk.find(b"\r\n\r\n") + 4
        arrival = ride.arrival
        whole = end + len(body) == len(chunk) and end <= MOST_KNOWN_BYTES and chunk.startswith(b"POST ")
        if whole and ride.keep_alive and arrival.headers.get(b"content-length") == b"%d" % len(body):
            self._unlike += 1
            if len(self.heads) >= MOST_KNOWN:
                self.heads.clear()
            plain = is_plain_head(arrival.headers)
            self.heads[chunk[:end]] = Known(len(body), arrival.headers, arrival.model, arrival.version, plain)

    def _make_scope(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers[:] = headers  # the scope holds this very list

    def _takes(self, headers: Mapping[bytes, bytes]) -> bool:
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
            and headers.get(b"transfer-encoding", CHUNKED) == CHUNKED
            and HOST.fullmatch(headers.get(b"host", b"?")) is not None
            and self._is_free()
            and not self.flow.write_paused
        )

    def _is_free(self) -> bool:
        """Whether nothing is under way here; what waits for others in this turn is hurried."""
        ride = self.cycle
        if isinstance(ride, Ride) and ride.hurry is not None:
            ride.hurry()
        return ride is None or ride.response_complete

    def send_400_response(self, msg: str) -> None:
        ride = self.cycle
        if not self._is_free() and isinstance(ride, Ride) and not ride.more_body:
            self._nonsense = msg  # what was asked before is answered before; a body that is nonsense itself is not
        else:
            super().send_400_response(msg)

    def refuse(self, ride: Ride, error: SerinError) -> None:
        """Answer with an error what was given to no version."""
        final = isinstance(error, PayloadTooLarge | RequestTimeout)
        self.finish(ride, self.v2.refused(error, ride.arrival), final)

    def _finish_task(self, ride: Ride, task: "asyncio.Task[Reply]") -> None:
        self.tasks.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._leave(ride)
            if not self.transport.is_closing():
                self.transport.close()
        else:
            self.finish(ride, task.result())

    def finish(self, ride: Ride, reply: Reply, final: bool = False) -> None:
        """Send an answer, if anybody waits for it. `final`: the connection's last."""
        self.send(ride, reply.status, reply.lines, reply.body, final)

    def send(self, ride: Ride, status: int, lines: bytes, body: bytes, final: bool = False) -> None:
        """The same for an answer in parts."""
        transport, v2 = self.transport, self.v2
        self._leave(ride)
        if ride.disconnected or transport.is_closing():
            return
        last = final or v2.draining or not ride.keep_alive
        told = v2.lines_of(self.server_state.default_headers)
        answer = b"".join((STATUS_LINE[status], told, lines, CLOSE if last else b"", b"\r\n", body))
        if v2.in_flight or self._fd < 0 or not self._write_now(answer):
            transport.write(answer)
        if last:
            self.end()
        elif self._nonsense is not None:
            super().send_400_response(self._nonsense)
        elif not self.pipeline and not self.flow.read_paused:  # on_response_complete would do no more than this
            self.server_state.total_requests += 1
            self.idle_since = self.loop.time()
            return
        self.on_response_complete()

    def _write_now(self, answer: bytes) -> bool:
        """Whether the answer was written, past the transport, which would do so at the end of the turn: who is answered
        alone can read it while it is counted. What the system does not take at once is the transport's."""
        if self.transport.get_write_buffer_size():
            return False
        try:
            written = os.write(self._fd, answer)
        except OSError:  # the transport will meet it too, and knows what follows
            return False
        if written < len(answer):
            self.transport.write(answer[written:])
        return True

    def _leave(self, ride: Ride) -> None:
        ride.response_complete = True
        self.body_since = None
        self.v2.in_flight -= 1
