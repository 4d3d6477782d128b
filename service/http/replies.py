"""What the front end takes in and gives out: the head of a request, and whole answers."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from router.errors import SerinError
from router.safeguards import FALLBACK_REASONS
from router.status import STATUS
from service.dataplane import Assignment
from service.http.compression import compress
from service.http.status import error_body, error_headers
from service.protocol.codec import Encoded

log = logging.getLogger("serin.request")

CODINGS = (b"gzip", b"deflate")
JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")
HEADER = b"inference-header-content-length"

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """The head of a request: `headers` by lower-case name, repeated fields are joined; `at_ns` of `perf_counter_ns`."""

    path: str
    headers: Mapping[bytes, bytes]
    request_id: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


def served(assignment: Assignment) -> Headers:
    """The headers that say who answered."""
    headers = [
        (b"serin-version", b"%d" % assignment.version),
        (b"serin-variant", assignment.variant.encode()),
        (b"serin-revision", b"%d" % assignment.revision),
    ]
    if assignment.reason:  # another variant was chosen first: it failed, or was not to be tried
        tried = assignment.reason in FALLBACK_REASONS
        headers.append((b"serin-fallback" if tried else b"serin-diverted", assignment.reason.encode()))
    return headers


def failed(error: SerinError, request_id: str, headers: Headers) -> Reply:
    """The answer to a request that an error ended; logged once, here: ours as an error, a caller's mistake as info."""
    status = STATUS[error.kind]
    log.log(
        logging.ERROR if status == 500 else logging.INFO, "request refused" if status < 500 else "request failed",
        extra={"request_id": request_id, "kind": error.kind.value, "error": error.message},
    )  # fmt: skip
    body = error_body(error, request_id)
    return Reply(status, _headers(JSON, body, request_id, [*headers, *error_headers(error)]), body)


def succeeded(encoded: Encoded, assignment: Assignment, arrival: Arrival) -> Reply:
    extra = served(assignment)
    if encoded.header_length is None:
        return Reply(200, _headers(JSON, encoded.body, arrival.request_id, extra), encoded.body)
    extra.append((HEADER, b"%d" % encoded.header_length))
    return Reply(200, _headers(BINARY, encoded.body, arrival.request_id, extra), encoded.body)


async def compressed(reply: Reply, arrival: Arrival) -> Reply:
    """The answer for a caller who asks for one coding alone; browsers and HTTP libraries list all that they know."""
    coding = arrival.headers[b"accept-encoding"]
    body = await asyncio.to_thread(compress, reply.body, coding.decode())
    kept = [header for header in reply.headers if header[0] != b"content-length"]
    return Reply(200, [*kept, (b"content-length", b"%d" % len(body)), (b"content-encoding", coding)], body)


def _headers(content_type: tuple[bytes, bytes], body: bytes, request_id: str, extra: Headers) -> Headers:
    length = (b"content-length", b"%d" % len(body))
    return [content_type, length, (b"x-request-id", request_id.encode()), *extra]
