"""Inference in other protocols than V2: how their routes hand a request to `V2.speak` and its answer back."""

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.http.reading import joined
from service.http.replies import Arrival
from service.http.v2 import V2, request_id_of
from service.protocol.rows_codec import Spoken

Document = dict[str, Any]
Told = Callable[[Document], Document]
"""Makes an error's document of Serin's: `{"error", "code", "request_id"}`."""


class Way(msgspec.Struct, frozen=True):
    """Who is to answer, how its body is read, and how errors are told."""

    model: str
    version: str | None
    read: Callable[[bytes], Spoken]
    told: Told


async def answer(v2: V2, request: Request, way: Way) -> Response:
    """The answer to a request whose body has not been read yet."""
    headers = joined(request.scope["headers"])
    state = request.scope.setdefault("state", {})  # the id that other routes would show
    request_id = state.setdefault("request_id", request_id_of(headers.get(b"x-request-id")))
    arrival = Arrival(headers, request_id, perf_counter_ns(), way.model, way.version)
    reply = await v2.speak(arrival, request.receive, way.read)
    body = reply.body if reply.status == 200 else orjson.dumps(way.told(orjson.loads(reply.body)))
    answered = Response(body, reply.status)
    kept = [pair for pair in reply.headers if pair[0] not in (b"content-length", b"x-request-id")]
    answered.raw_headers.extend(kept)
    if v2.draining:
        answered.raw_headers.append((b"connection", b"close"))
    return answered


def reader(read: Callable[..., Spoken], v2: V2, *more: object) -> Callable[[bytes], Spoken]:
    """`read` with the limits of the port."""
    return partial(_read, read, v2, more)


def _read(read: Callable[..., Spoken], v2: V2, more: tuple[object, ...], body: bytes) -> Spoken:
    return read(body, v2.limits, *more)
