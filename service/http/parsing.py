"""The parser of a connection: httptools', but for requests that ask to go on with another protocol (`Upgrade`).

Nothing is upgraded here, so such a request is answered like any other (RFC 9110, section 7.8); Java's HttpClient asks
for h2c whenever it opens a connection. httptools takes its body for what follows in the other protocol: it would be
lost, or read as the next request, which whoever writes a body could then write too.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol

import httptools

VERSIONS: Final = ("1.0", "1.1")
CHUNKED: Final = b"chunked"
HOST: Final = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)
"""What a Host may hold (RFC 3986, section 3.2.2, and a port)."""

Fields = Iterable[tuple[bytes, bytes]]


class Malformed(Exception):
    """Raised amid a callback: what was sent is no request. httptools hands it on as an error of its own."""


class Events(Protocol):
    """Who is told of requests. `headers`: of the head that is being read."""

    headers: list[tuple[bytes, bytes]]
    parser: httptools.HttpRequestParser

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class Parser(httptools.HttpRequestParser):
    """Tells `events`, whose `parser` it is to be, of whole requests, whatever they ask for."""

    def __init__(self, events: Events) -> None:
        self._relay = _Relay(events)
        super().__init__(self._relay)
        # As uvicorn does: who says that he will close, and sends more, is answered first.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """What came on the connection. Raises HttpParserError."""
        while data:
            if self._relay.missing_bytes:
                data = self._relay.take(data)
                continue
            try:
                super().feed_data(data)
                return
            except httptools.HttpParserUpgrade as at:
                data = data[at.args[0] :]


class _Relay:
    """Between httptools and `events`. `missing_bytes`: what is still to come of a body that httptools knows nothing of.

    It holds no parser, and so makes no circle that the collector would have to find.
    """

    def __init__(self, events: Events) -> None:
        self.missing_bytes = 0
        self._events = events
        self.on_message_begin = events.on_message_begin
        self.on_url = events.on_url
        self.on_header = events.on_header
        self.on_body = events.on_body

    def on_headers_complete(self) -> None:
        events = self._events
        if events.parser.should_upgrade():
            self.missing_bytes = length_of(events.headers)
        events.on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.missing_bytes:
            self._events.on_message_complete()

    def take(self, data: bytes) -> bytes:
        """Hand on what belongs to the body; what is left belongs to the next request."""
        body, rest = data[: self.missing_bytes], data[self.missing_bytes :]
        self.missing_bytes -= len(body)
        self._events.on_body(body)
        if not self.missing_bytes:
            self._events.on_message_complete()
        return rest


def length_of(headers: Fields) -> int:
    """Bytes of the body of a request that asks for another protocol; the number was checked by the parser.

    Raises Malformed where it comes in chunks, which nobody but httptools could take apart.
    """
    length = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            raise Malformed
        if name == b"content-length":
            length = int(value)
    return length


def require_plain_head(version: str, headers: Fields) -> None:
    """Raises Malformed for a head that somebody may read otherwise: HTTP 0.9, which has no status, or a later version;
    codings beside `chunked`, or chunks in HTTP 1.0 (RFC 9112, sections 6.1 and 6.3); no Host in HTTP 1.1, several, or
    one that is none (section 3.2)."""
    hosts = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            if version != "1.1" or value.strip().lower() != CHUNKED:
                raise Malformed
        elif name == b"host":
            hosts += 1
            if not HOST.fullmatch(value.strip()):
                raise Malformed
    if version not in VERSIONS or hosts > 1 or (version == "1.1" and not hosts):
        raise Malformed
