"""Inference over HTTP, Open Inference Protocol V2: the raw request in, one assembled answer out. A plain ASGI callable.

Nothing here goes through FastAPI or pydantic: routing, validation and encoding of a small request cost more there than
the model itself. What the answers mean is in contracts of the protocol; what an answer looks like is in `replies`.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from secrets import token_hex
from time import perf_counter_ns

from starlette.types import Receive, Scope, Send
from xxhash import xxh3_64_intdigest

from router.access import Need
from router.doorman import Doorman
from router.errors import (
    Cancelled,
    Internal,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    SerinError,
    Unavailable,
)
from router.status import rejection
from router.telemetry import Outcome
from service.calls import Assignment, Refused, priority_of, time_allowed_ns
from service.dataplane import OFF_LOOP_BYTES, Call, Dataplane
from service.http.express import Express
from service.http.reading import Left, joined, read_body
from service.http.replies import (
    CODINGS,
    HEADER,
    Arrival,
    Headers,
    Reply,
    compressed,
    failed,
    served,
    succeeded,
    written,
)
from service.http.status import too_large
from service.http.stepping import while_there
from service.protocol.bodies import Body, decompress, header_length
from service.protocol.codec import decode, encode
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest
from service.protocol.rows_codec import Spoken
from service.runtime.gates import DEFAULT_PRIORITY

log = logging.getLogger("serin.request")

NO_PATH = "there is nothing at this path; inference is POST /v2/models/{model}[/versions/{version}]/infer"

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_LAST_DIGITS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a request may cost before it reaches a model."""

    limits: Limits
    request_seconds: float
    body_read_seconds: float
    max_in_flight: int
    max_header_bytes: int = 64 * 1024
    keep_alive_seconds: float = 75.0
    stream_idle_seconds: float = 600.0


def request_id_of(given: bytes | None) -> str:
    """The caller's id when it is 1 to 128 printable characters, else a new one."""
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return _new_id()


def _new_ids() -> Iterator[str]:
    """The first letters are this process's, then comes a number; to write all of it anew each time costs more. They are
    drawn with the first id: what is done at the import is the same in all workers."""
    prefix = token_hex(6)
    for high in count():
        first = f"{prefix}{high:06x}"
        for last in _LAST_DIGITS:
            yield first + last


_new_id = _new_ids().__next__


def declared(headers: Mapping[bytes, bytes]) -> int:
    """The size of the body in bytes as the head has it; 0 where it does not say."""
    return int(headers.get(b"content-length", b"0"))


def target(path: str) -> tuple[str, str | None]:
    """Model and version (a number or an alias) of `/v2/models/{m}[/versions/{v}]/infer`; no model for other paths."""
    match path.split("/"):
        case ["", "v2", "models", model, "infer"] if model:
            return model, None
        case ["", "v2", "models", model, "versions", version, "infer"] if model and version:
            return model, version
    return "", None


class V2:
    """Answers inference requests. `draining` makes each answer the last one of its connection.

    `doorman` None: whoever asks is answered.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        bounds: Bounds,
        rejected: Callable[[str], None],
        doorman: Doorman | None = None,
    ) -> None:
        self._doorman = doorman if doorman is not None and doorman.minds(Need.PREDICT) else None
        self._dataplane = dataplane
        self._bounds = bounds
        self._rejected = rejected
        self.limits = bounds.limits
        self.max_body_bytes = bounds.limits.max_body_bytes
        self._max_in_flight = bounds.max_in_flight
        self.express = Express(dataplane, bounds.limits)
        self.in_flight = 0
        self.draining = False
        self._told: Headers = []
        self._told_lines = b""

    def answers(self, scope: Scope) -> bool:
        """Whether this request is inference."""
        path: str = scope["path"]
        return bool(scope["method"] == "POST" and path.endswith("/infer") and path.startswith("/v2/models/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: read the body, answer, send. A caller who left gets nothing, and nothing is run for him any more."""
        arrived_ns = perf_counter_ns()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) != len(scope["headers"]):
            headers = joined(scope["headers"])
        request_id = request_id_of(headers.get(b"x-request-id"))
        self.in_flight += 1
        try:
            reply = await self._reply(Arrival(headers, request_id, arrived_ns, *target(scope["path"])), receive)
        except Left:
            return
        finally:
            self.in_flight -= 1
        told = reply.headers
        if self.draining:
            told.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": told})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, arrival: Arrival, receive: Receive) -> Reply:
        try:
            self.admit(arrival, declared(arrival.headers))
            body = await self._read(receive)
        except SerinError as error:
            final = isinstance(error, PayloadTooLarge | RequestTimeout)  # there is more of the body to come
            return self.refused(error, arrival, b"connection: close\r\n" if final else b"")
        return await while_there(self.answer(arrival.complete(), body), receive)

    def admit(self, arrival: Arrival, declared_bytes: int) -> None:
        """Refuse by the head alone what can be: who may not ask, overload, unknown paths and models, a body that is
        declared to be above the limit."""
        if self._doorman is not None:
            self._doorman.admit(arrival.headers, Need.PREDICT, arrival.model)
        if self.in_flight > self._max_in_flight:
            raise Unavailable("too many requests are in flight in this worker; try again", retry_after_seconds=1)
        if not arrival.model:
            raise NotFound(NO_PATH)
        self._dataplane.require_room(arrival.model, arrival.version, arrival.headers)
        if declared_bytes > self.max_body_bytes:
            raise too_large(self.max_body_bytes)

    async def answer(
        self, arrival: Arrival, body: Body, assignment: Assignment | None = None, request: InferRequest | None = None
    ) -> Reply:
        """The answer to a whole request that was admitted. Never raises but when it is cancelled. `assignment`: what it
        has been given to, if it has; `request`: what its body says, if it was read."""
        try:
            if b"content-encoding" in arrival.headers:
                body = await self._plain(arrival, body)
            if request is None:
                request = await self._read_request(arrival, body)
            return await self._run(arrival, body, Spoken(request, encode), assignment)
        except SerinError as error:
            return self.refused(error, arrival)
        except Exception:
            log.exception("request failed", extra={"request_id": arrival.request_id})
            return self.refused(Internal("the gateway failed; its log has why"), arrival)

    async def speak(self, arrival: Arrival, receive: Receive, read: Callable[[bytes], Spoken]) -> Reply:
        """The answer to a request in another protocol, whose bodies `read` understands: the same way and limits.

        Raises nothing but when it is cancelled.
        """
        self.in_flight += 1
        try:
            self.admit(arrival, declared(arrival.headers))
            body = await self._read(receive)
            arrival = arrival.complete()
            if b"content-encoding" in arrival.headers:
                body = bytes(await self._plain(arrival, body))
            spoken = read(body) if len(body) <= OFF_LOOP_BYTES else await asyncio.to_thread(read, body)
            return await while_there(self._run(arrival, body, spoken, None), receive)
        except SerinError as error:
            final = isinstance(error, PayloadTooLarge | RequestTimeout)
            return self.refused(error, arrival, b"connection: close\r\n" if final else b"")
        except Left:
            return self.refused(Cancelled("the caller went away"), arrival)
        except Exception:
            log.exception("request failed", extra={"request_id": arrival.request_id})
            return self.refused(Internal("the gateway failed; its log has why"), arrival)
        finally:
            self.in_flight -= 1

    def lines_of(self, headers: Headers) -> bytes:
        """Header fields that are the same list until they change, like the date's, as they are sent."""
        if headers is not self._told:
            self._told, self._told_lines = headers, written(headers)
        return self._told_lines

    def refused(self, error: SerinError, arrival: Arrival, lines: bytes = b"") -> Reply:
        """The answer to a request that was given to no version, counted by its reason; or to one that its version
        refused by the head alone, which is counted there."""
        if isinstance(error, Refused):
            return failed(error, arrival.request_id, served(error.assignment) + lines)
        self._rejected(rejection(error))
        return failed(error, arrival.request_id, lines)

    async def _read(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.body_read_seconds):
                return await read_body(receive, self._bounds.limits.max_body_bytes)
        except TimeoutError as error:
            raise RequestTimeout("the body did not arrive in time") from error

    async def _plain(self, arrival: Arrival, body: Body) -> Body:
        encoding = arrival.headers[b"content-encoding"].decode("latin-1")
        bound = self._bounds.limits.max_decompressed_bytes
        if len(body) <= OFF_LOOP_BYTES // 16:  # it may grow a thousandfold
            return decompress(body, encoding, bound)
        return await asyncio.to_thread(decompress, body, encoding, bound)

    async def _read_request(self, arrival: Arrival, body: Body) -> InferRequest:
        length = header_length(arrival.headers.get(HEADER), len(body))
        limits = self._bounds.limits
        if (len(body) if length is None else length) <= OFF_LOOP_BYTES:
            return decode(body, length, limits)
        return await asyncio.to_thread(decode, body, length, limits)

    async def _run(self, arrival: Arrival, body: Body, spoken: Spoken, assignment: Assignment | None) -> Reply:
        request, write = spoken.request, spoken.write
        call = Call(
            model=arrival.model,
            version=arrival.version,
            headers=arrival.headers,
            arrived_ns=arrival.at_ns,
            deadline_ns=arrival.at_ns
            + time_allowed_ns(self._bounds.request_seconds, request.parameters, arrival.headers),
            body_hash=xxh3_64_intdigest(body),
            body_bytes=len(body),
            priority=priority_of(request.parameters) if request.parameters else DEFAULT_PRIORITY,
            body=body if write is encode else None,  # nobody elsewhere is asked in another dialect
        )
        if assignment is None:
            assignment = self._dataplane.assign(call, request)
        try:
            response = await self._dataplane.infer(assignment, call, request)
            size = sum([output.array.size for output in response.outputs]) * 8
            if size <= OFF_LOOP_BYTES:
                encoded = write(response, request, assignment.non_finite)
            else:
                encoded = await asyncio.to_thread(write, response, request, assignment.non_finite)
            reply = succeeded(encoded, assignment, arrival)
            if arrival.headers.get(b"accept-encoding") in CODINGS:
                reply = await compressed(reply, arrival)
        except SerinError as error:
            assignment.fail(error)
            return failed(error, arrival.request_id, served(assignment))
        except asyncio.CancelledError:
            assignment.close(Outcome.CANCELLED)
            raise
        except Exception:
            assignment.close(Outcome.ERROR)
            log.exception("request failed", extra={"request_id": arrival.request_id, "model": arrival.model})
            return failed(Internal("the gateway failed; its log has why"), arrival.request_id, served(assignment))
        assignment.close(assignment.outcome)
        return reply
