"""How a call ends: metadata in, trailing metadata out, and errors as gRPC's codes."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc

from router.errors import Internal, Kind, SerinError
from router.status import GRPC_CODE
from service.http.replies import SHEDDING
from service.http.status import error_headers
from service.http.v2 import request_id_of

log = logging.getLogger("serin.request")

Context = Any
Trailers = list[tuple[str, str]]
Unary = Callable[[Any, Context], Awaitable[Any]]


def headers_of(context: Context) -> dict[bytes, bytes]:
    """A call's metadata as the headers that HTTP would have brought; keys that came twice are joined."""
    return joined(context.invocation_metadata() or ())


def joined(metadata: Iterable[tuple[str, str | bytes]]) -> dict[bytes, bytes]:
    """The same of metadata."""
    found: dict[bytes, bytes] = {}
    for key, value in metadata:
        name, text = key.encode(), value if isinstance(value, bytes) else value.encode()
        separator = b"; " if name == b"cookie" else b", "
        found[name] = found[name] + separator + text if name in found else text
    return found


def trailers_of(headers: list[tuple[bytes, bytes]], request_id: str) -> Trailers:
    """What HTTP tells in headers."""
    return [("x-request-id", request_id), *((name.decode(), value.decode()) for name, value in headers)]


async def fail(context: Context, error: SerinError, trailers: Trailers) -> None:
    """End a call with an error. Raises always, as `abort` does."""
    more = [(name.decode(), value.decode()) for name, value in error_headers(error)]
    code = getattr(grpc.StatusCode, GRPC_CODE[error.kind])
    await context.abort(code, error.message, (*trailers, *more))


def note(error: SerinError, request_id: str) -> None:
    """One line in the log: ours as an error, a caller's mistake as info."""
    if error.reason is not None and not SHEDDING.may_say():
        return
    ours = error.kind is Kind.INTERNAL
    log.log(
        logging.ERROR if ours else logging.INFO, "call failed" if ours else "call refused",
        extra={"request_id": request_id, "kind": error.kind.value, "error": error.message},
    )  # fmt: skip


def answering(method: Unary) -> Unary:
    """`method` with its SerinError as the status of the call."""

    async def answered(request: Any, context: Context) -> Any:
        headers: Mapping[bytes, bytes] = headers_of(context)
        request_id = request_id_of(headers.get(b"x-request-id"))
        trailers: Trailers = [("x-request-id", request_id)]
        try:
            context.set_trailing_metadata(trailers)
            return await method(request, context)
        except SerinError as error:
            note(error, request_id)
            return await fail(context, error, trailers)
        except Exception:
            log.exception("call failed", extra={"request_id": request_id})
            return await fail(context, Internal("the gateway failed; its log has why"), trailers)

    return answered
