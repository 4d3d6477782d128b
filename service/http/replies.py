"""What the front end takes in and gives out: the head of a request, and whole answers."""

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter_ns

from msgspec import Struct
from msgspec.structs import replace

from router.errors import SerinError
from router.safeguards import FALLBACK_REASONS
from router.status import STATUS
from service.dataplane import Assignment
from service.http.compression import compress
from service.http.status import error_body, error_headers
from service.protocol.codec import Encoded

log = logging.getLogger("serin.request")

CODINGS = (b"gzip", b"deflate")
JSON = b"application/json"
BINARY = b"application/octet-stream"
HEADER = b"inference-header-content-length"

_LINES = b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
_TOKEN = b"serin-assignment: %b\r\n"
_ROW = _LINES + b"%b"
_SIGNED_ROW = _ROW + _TOKEN

Headers = list[tuple[bytes, bytes]]

BETWEEN_SHED_NS = 1_000_000_000


class Seldom:
    """Says yes once in a while: a line of the log for each refusal would cost more than the refusal."""

    def __init__(self) -> None:
        self._last_ns = -BETWEEN_SHED_NS

    def may_say(self) -> bool:
        """Whether to log this one."""
        now = perf_counter_ns()
        if now - self._last_ns < BETWEEN_SHED_NS:
            return False
        self._last_ns = now
        return True


SHEDDING = Seldom()


class Arrival(Struct, frozen=True):
    """The head of a request, taken apart once: `headers` by lower-case name, repeated fields are joined; `at_ns` of
    `perf_counter_ns`, of the head until the body is there; `model` is empty where the path names none."""

    headers: Mapping[bytes, bytes]
    request_id: str
    at_ns: int
    model: str
    version: str | None

    def complete(self) -> "Arrival":
        """The same when the body has come: deadlines and the phases of a request do not count a slow sender."""
        return replace(self, at_ns=perf_counter_ns())


class Reply(Struct, frozen=True):
    """A whole answer. `lines`: its header fields as they are sent, each with its line end, without the connection's."""

    status: int
    lines: bytes
    body: bytes

    @property
    def headers(self) -> Headers:
        """The fields one by one, for ASGI."""
        return fields(self.lines)


def written(headers: Headers) -> bytes:
    """Header fields as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def fields(lines: bytes) -> Headers:
    """The reverse of `written`."""
    pairs = (line.partition(b": ") for line in lines.split(b"\r\n")[:-1])
    return [(name, value) for name, _, value in pairs]


def served(assignment: Assignment) -> bytes:
    """The header fields that say who answered."""
    lines = served_lines(assignment.version, assignment.variant, assignment.revision)
    if assignment.reason:  # another variant was chosen first: it failed, or was not to be tried
        tried = assignment.reason in FALLBACK_REASONS
        lines += written([(b"serin-fallback" if tried else b"serin-diverted", assignment.reason.encode())])
    return lines


@lru_cache(maxsize=1024)
def served_lines(version: int, variant: str, revision: int) -> bytes:
    """The same for an answer of the variant that was chosen."""
    return b"serin-version: %d\r\nserin-variant: %b\r\nserin-revision: %d\r\n" % (version, variant.encode(), revision)


def failed(error: SerinError, request_id: str, lines: bytes = b"") -> Reply:
    """The answer to a request that an error ended; logged once, here: ours as an error, a caller's mistake as info, of
    load that is shed one in a while.

    `lines`: further header fields.
    """
    status = STATUS[error.kind]
    if error.reason is None or SHEDDING.may_say():
        log.log(
            logging.ERROR if status == 500 else logging.INFO, "request refused" if status < 500 else "request failed",
            extra={"request_id": request_id, "kind": error.kind.value, "error": error.message},
        )  # fmt: skip
    body = error_body(error, request_id)
    return Reply(status, _lines(JSON, body, request_id) + lines + written(error_headers(error)), body)


def told(assignment: Assignment) -> bytes:
    """The header fields of an answer that was given: who, and the token with which feedback comes back."""
    lines = served(assignment)
    if assignment.stamp is not None and not assignment.reason:  # who stepped in says nothing of who was chosen
        lines += token_line(assignment.stamp.one(assignment.cells))
    return lines


def token_line(token: bytes) -> bytes:
    """The header field of a token."""
    return _TOKEN % token


def succeeded(encoded: Encoded, assignment: Assignment, arrival: Arrival) -> Reply:
    extra = told(assignment)
    if encoded.header_length is None:
        return Reply(200, json_lines(encoded.body, arrival.request_id) + extra, encoded.body)
    extra += b"%b: %d\r\n" % (HEADER, encoded.header_length)
    return Reply(200, _lines(BINARY, encoded.body, arrival.request_id) + extra, encoded.body)


async def compressed(reply: Reply, arrival: Arrival) -> Reply:
    """The answer for a caller who asks for one coding alone; browsers and HTTP libraries list all that they know."""
    coding = arrival.headers[b"accept-encoding"]
    body = await asyncio.to_thread(compress, reply.body, coding.decode())
    kept = [header for header in reply.headers if header[0] != b"content-length"]
    return Reply(200, written([*kept, (b"content-length", b"%d" % len(body)), (b"content-encoding", coding)]), body)


def row_lines(size_bytes: int, request_id: str, who: bytes, token: bytes | None) -> bytes:
    """All header fields of an answer in JSON of this size: those of `json_lines`, `served_lines` and `token_line`."""
    if token is None:
        return _ROW % (JSON, size_bytes, request_id.encode(), who)
    return _SIGNED_ROW % (JSON, size_bytes, request_id.encode(), who, token)


def json_lines(body: bytes, request_id: str) -> bytes:
    """The first header fields of an answer in JSON."""
    return _lines(JSON, body, request_id)


def _lines(content_type: bytes, body: bytes, request_id: str) -> bytes:
    return _LINES % (content_type, len(body), request_id.encode())
