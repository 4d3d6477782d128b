"""One client connection: uvicorn's, with bounds on the request head and JSON in its own refusals."""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from router.errors import HeadTooLarge, InvalidArgument, SerinError
from router.status import STATUS
from service.http.lingering import Closing, Lingering
from service.http.parsing import Malformed, Parser, require_plain_head
from service.http.status import error_body, too_large


class Connection(HttpToolsProtocol):
    """Counts the bytes of each request head, and knows since when it waits for one.

    `waiting_since`: when the connection began to wait for the rest of a head, or for what is still to come of a request
    that has its answer (loop time); None while it does not.
    An idle keep-alive connection is uvicorn's to close; one that sends its head byte by byte is `expire`d by the port.
    """

    max_head_bytes = 64 * 1024
    max_body_bytes = 64 * 1024 * 1024

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = Parser(self)
        self.waiting_since: float | None = None
        self._head_bytes = 0
        self._refusal: SerinError | None = None
        self.lingering: Lingering | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waiting_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self.lingering is not None:
            self.lingering.take(data)
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self.waiting_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        if b"#" in url:  # no part of a target (RFC 9112, section 3.2): some readers would cut it off here, some not
            raise Malformed
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # As uvicorn's, written out with the count: this runs for every header of every request.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.max_head_bytes:
            self._count(0)

    def on_headers_complete(self) -> None:
        self.waiting_since = None
        require_plain_head(self.parser.get_http_version(), self.url, self.headers)
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = Closing(self, self.transport)  # type: ignore[assignment]
        # Fields behind a chunked body are parsed as these are, and must not join them (RFC 9110, section 6.5.1): what a
        # proxy has taken out of the head, such as a key, could come back that way.
        self.headers = []

    def on_large_head(self) -> None:
        self._refusal = HeadTooLarge(f"the request head is above the limit of {self.max_head_bytes} bytes")

    def on_large_body(self) -> None:
        self._refusal = too_large(self.max_body_bytes)

    def on_message_complete(self) -> None:
        self.waiting_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.lingering is not None:
            self.server_state.total_requests += 1
            return
        self.await_rest()
        super().on_response_complete()

    def end(self, unread: bool = False) -> None:
        """Close the connection after the answer that was written last, so that it can be read. `unread`: what else was
        sent, or still is, will not be looked at."""
        if self.transport.is_closing() or self.lingering is not None:
            return
        if unread or self.cycle is None or self.cycle.more_body:
            self.waiting_since = None
            self.flow.resume_reading()
            self.lingering = Lingering(self.transport, self.loop)
        else:
            self.transport.close()

    def await_rest(self) -> None:
        """A request that was answered before it was whole has as long for its rest as a head has."""
        if self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:
            self.waiting_since = self.loop.time()

    def expire(self, oldest: float) -> None:
        """Close a connection that has waited for a request since before `oldest` (loop time)."""
        if self.waiting_since is not None and self.waiting_since < oldest and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the shape of every other error, and close."""
        error = self._refusal or InvalidArgument("this is not a valid HTTP request")
        body = error_body(error, "")
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[STATUS[error.kind]] + head + body)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever waits for the rest of its body is told that none comes
            self.cycle.message_event.set()
        self.end(unread=True)

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > self.max_head_bytes:
            self.on_large_head()
            raise Malformed
