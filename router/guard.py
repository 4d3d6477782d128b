"""What every request to the admin port passes first: its name, its origin, its size, its key; how errors are told.

A browser must not be talked into reaching the port for somebody else: foreign `Host` names (DNS rebinding) and foreign
origins (forged forms) are refused.
"""

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.access import CHALLENGE
from router.addressed import require_own_page
from router.errors import Kind, PayloadTooLarge, SerinError, UnsupportedMediaType
from router.gate import Gate
from router.headers import is_packed
from router.metrics import Sample
from router.status import STATUS, rejection


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Bodies of people are small; the inventory's snapshot of thousands of models is not."""

    body_bytes: int = 1 << 20
    internal_body_bytes: int = 64 << 20


class Guard:
    """ASGI wrapper. `hosts`: names that `Host` may have, without port; None: any. `gate` None: no key is asked."""

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str] | None, limits: GuardLimits, gate: Gate | None = None
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        limit = self._limits.internal_body_bytes if scope["path"].startswith("/internal/") else self._limits.body_bytes
        try:
            self._check(headers, limit)
            if self._gate is not None:
                scope["state"]["principal"] = self._gate.admit(scope)
        except SerinError as error:
            self.refused[rejection(error)] += 1
            await error_response(error, request_id)(scope, receive, send)
            return
        passage = _Passage(receive, send, limit, request_id)
        await self._app(scope, passage.receive, passage.send)

    def samples(self) -> Iterator[Sample]:
        """Who was refused, by reason, since this process started."""
        for reason, count in self.refused.items():
            yield Sample("serin_admin_refused_requests_total", (reason,), count)

    def _check(self, headers: Headers, limit: int) -> None:
        named = {name.encode(): headers[name].encode("latin-1") for name in ("host", "origin") if name in headers}
        require_own_page(named, self._hosts)
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > limit:
            raise _too_large(limit)
        if is_packed(headers):
            raise UnsupportedMediaType("the admin API takes documents as they are, without Content-Encoding")


def error_response(error: SerinError, request_id: str) -> JSONResponse:
    """The one form of every refusal."""
    body = {"error": error.message, "code": str(error.kind), "request_id": request_id}
    headers = {"X-Request-Id": request_id}
    if error.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = CHALLENGE
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    return JSONResponse(body, STATUS[error.kind], headers)


class _Passage:
    """One request on its way in and out. Whatever the app makes of a body that is cut off, 413 is the answer."""

    def __init__(self, receive: Receive, send: Send, limit: int, request_id: str) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._request_id = request_id
        self._seen = 0

    async def receive(self) -> Message:
        """The next message, as long as the body is within the limit."""
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            raise _too_large(self._limit)
        return message

    async def send(self, message: Message) -> None:
        """Passes an answer on, with the request's id."""
        starts = message["type"] == "http.response.start"
        if self._seen > self._limit:
            if starts:
                refusal = error_response(_too_large(self._limit), self._request_id)
                await refusal({"type": "http"}, self._receive, self._send)
            return
        if starts:
            MutableHeaders(scope=message)["X-Request-Id"] = self._request_id
        await self._send(message)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {limit} bytes")


def _request_id(given: str | None) -> str:
    fits = given is not None and 0 < len(given) <= 128 and given.isascii() and given.isprintable()
    return given if given is not None and fits else secrets.token_hex(8)
