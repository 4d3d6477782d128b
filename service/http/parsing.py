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
HOST: Final = re.compile(rb"(?:\[[\w.~!$&'()*+,;=:%-]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d{0,5})?", re.ASCII)
"""What a Host may be: a name or an address, and a port (RFC 3986, sections 3.2.2 and 3.2.3)."""

TARGET: Final = re.compile(rb"/|https?://[^/?]|\*\Z", re.IGNORECASE)
"""How what is asked for begins: a path, an address of ours, or none, as OPTIONS may have it (RFC 9112, section 3.2)."""

HEX: Final = re.compile(rb"[0-9A-Fa-f]+")

PIECE_BYTES: Final = 16 * 1024
"""Of what is no body, taken apart at a time: so exact are the bounds below."""

LINE_BYTES: Final = 64
"""Of a head beside its target and fields: method, version, ends of lines."""

Fields = Iterable[tuple[bytes, bytes]]


class Malformed(Exception):
    """Raised amid a callback: what was sent is no request. httptools hands it on as an error of its own."""


class Events(Protocol):
    """Who is told of requests. `headers`: of the head that is being read; `max_head_bytes`, `max_body_bytes`: bounds;
    `on_large_head`, `on_large_body`: what comes is above that, and httptools will be given no more."""

    headers: list[tuple[bytes, bytes]]
    parser: httptools.HttpRequestParser
    max_head_bytes: int
    max_body_bytes: int

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...
    def on_large_head(self) -> None: ...
    def on_large_body(self) -> None: ...


class Parser(httptools.HttpRequestParser):
    """Tells `events`, whose `parser` it is to be, of whole requests, whatever they ask for.

    httptools tells of a field when it has all of it, and until then copies what it has with each piece that comes: a
    field without end would take memory, and time that grows with the square of its length. So what comes without a
    whole head, a piece of a body or the end of a request is bounded here, and with it trailers and what stands beside
    the sizes of chunks.
    """

    def __init__(self, events: Events) -> None:
        self._relay = _Relay(events)
        super().__init__(self._relay)
        # As uvicorn does: who says that he will close, and sends more, is answered first.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """What came on the connection. Raises HttpParserError."""
        relay, at, end = self._relay, 0, len(data)
        while at < end:
            if relay.missing_bytes:
                at += relay.take(data[at : at + relay.missing_bytes])
                continue
            stop = end if relay.in_body else min(end, at + PIECE_BYTES)
            relay.quiet_bytes += stop - at
            try:
                super().feed_data(data[at:stop])
                if relay.chunk_bytes >= 0:
                    relay.require_size(chunk_size(data, at, stop - relay.chunk_bytes))
                at = stop
            except httptools.HttpParserUpgrade as told:
                at += told.args[0]
            relay.require_sound()


class _Relay:
    """Between httptools and `events`. `missing_bytes`: what is still to come of a body that httptools knows nothing of;
    `quiet_bytes`: what it was given since it last told of anything but a target or a field; `in_body`: the head was
    whole, the request is not; `chunk_bytes`: what came of the chunk that is on its way, below 0 when there is none.

    It holds no parser, and so makes no circle that the collector would have to find.
    """

    def __init__(self, events: Events) -> None:
        self.missing_bytes = self.quiet_bytes = 0
        self.in_body = False
        self.chunk_bytes = -1
        self._events = events
        self._most_quiet_bytes = events.max_head_bytes + LINE_BYTES
        self.on_message_begin = events.on_message_begin
        self.on_url = events.on_url
        self.on_header = events.on_header

    def on_headers_complete(self) -> None:
        events = self._events
        self.quiet_bytes = 0
        self.in_body = True
        if events.parser.should_upgrade():
            self.missing_bytes = length_of(events.headers)
        events.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.quiet_bytes = 0
        if self.chunk_bytes >= 0:
            self.chunk_bytes += len(body)
        self._events.on_body(body)

    def on_chunk_header(self) -> None:
        self.chunk_bytes = 0

    def on_chunk_complete(self) -> None:
        self.chunk_bytes = -1

    def on_message_complete(self) -> None:
        self.quiet_bytes = 0
        if not self.missing_bytes:
            self.in_body = False
            self._events.on_message_complete()

    def take(self, body: bytes) -> int:
        """Hand on what is, in all or in part, the missing body; how much that was."""
        self.missing_bytes -= len(body)
        self._events.on_body(body)
        if not self.missing_bytes:
            self.in_body = False
            self._events.on_message_complete()
        return len(body)

    def require_size(self, size_bytes: int) -> None:
        """Raises HttpParserError for a chunk that no body may hold, which nobody has to wait for."""
        if size_bytes > self._events.max_body_bytes:
            self._events.on_large_body()
            raise httptools.HttpParserError("a chunk above the bound of a body")

    def require_sound(self) -> None:
        """Raises HttpParserError when too much came that httptools makes nothing of."""
        if self.quiet_bytes > self._most_quiet_bytes:
            if not self.in_body:
                self._events.on_large_head()
            raise httptools.HttpParserError("too much without a whole head, a piece of a body or an end")


def chunk_size(data: bytes, begin: int, end: int) -> int:
    """Bytes that a chunk says it has; the line that says it ends at `data[end - 1]`, and httptools has taken it, which
    keeps the number to itself. 0 where the line did not come as a whole behind `data[begin]`: then its chunk is bounded
    while it comes."""
    line_at = data.rfind(b"\n", begin, max(begin, end - 1)) + 1
    size = HEX.match(data, line_at, max(line_at, end)) if line_at else None
    return int(size[0], 16) if size is not None and data[end - 1 : end] == b"\n" else 0


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


def require_plain_head(version: str, target: bytes, headers: Fields) -> None:
    """Raises Malformed for a head that somebody may read otherwise: HTTP 0.9, which has no status, or a later version;
    a target of another scheme or of none; codings beside `chunked`, or chunks in HTTP 1.0 (RFC 9112, sections 6.1 and
    6.3); no Host in HTTP 1.1, several, or one that is none (section 3.2)."""
    if not TARGET.match(target):
        raise Malformed
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
