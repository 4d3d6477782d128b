"""Raw requests over a socket of their own, and what comes back: no HTTP library that would mend what we break."""

import re
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType

PIECE_BYTES = 256 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.I)


@dataclass(frozen=True, slots=True)
class Answer:
    """`said_close`: the answer announces that the connection ends with it."""

    status: int
    head: bytes
    body: bytes

    @property
    def said_close(self) -> bool:
        return b"\r\nconnection: close\r\n" in self.head.lower()


@dataclass(slots=True)
class Conversation:
    """One connection to a loopback port. Nothing in it takes longer than `limit_seconds`."""

    port: int
    limit_seconds: float
    _socket: socket.socket = field(init=False)
    _received: bytes = b""
    _ended: bool = False

    def __enter__(self) -> "Conversation":
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.limit_seconds)
        self._socket.setblocking(False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, pieces: Iterable[bytes], bodyless: bool = False) -> Answer:
        """Send, and read one answer meanwhile: who refuses early need not read it all. `bodyless`: it was HEAD."""
        deadline = monotonic() + self.limit_seconds
        rest = iter(pieces)
        piece = next(rest, b"")
        while (found := self._whole(bodyless)) is None:
            assert not self._ended, f"the connection ended without a whole answer: {self._received[:500]!r}"
            assert monotonic() < deadline, f"no answer within {self.limit_seconds} s; so far {self._received[:500]!r}"
            readable, writable, _ = select.select([self._socket], [self._socket] if piece else [], [], 0.2)
            if readable:
                self._read()
            elif writable:
                piece = self._write(piece) or next(rest, b"")
        return found

    def has_ended(self) -> bool:
        """Whether the other side closes the connection, and says nothing more before it does."""
        deadline = monotonic() + self.limit_seconds
        while not self._ended and monotonic() < deadline:
            if select.select([self._socket], [], [], 0.2)[0]:
                self._read()
        return self._ended and not self._received

    def _write(self, piece: bytes) -> bytes:
        try:
            return piece[self._socket.send(piece[:PIECE_BYTES]) :]
        except OSError:  # it was refused before it was whole; the answer may be here already
            return b""

    def _read(self) -> None:
        try:
            chunk = self._socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._ended = self._ended or not chunk
        self._received += chunk

    def _whole(self, bodyless: bool) -> Answer | None:
        head, line_ends, rest = self._received.partition(b"\r\n\r\n")
        if not line_ends:
            return None
        length = _LENGTH.search(head + b"\r\n")
        assert length is not None, f"an answer without its length: {head!r}"
        size = 0 if bodyless else int(length[1])
        if len(rest) < size:
            return None
        self._received = rest[size:]
        return Answer(int(head.split(b" ", 2)[1]), head + b"\r\n", rest[:size])


def post(path: str, body: bytes = b"", *fields: str) -> bytes:
    """A well-framed POST."""
    return head("POST", path, *fields, f"Content-Length: {len(body)}") + body


def head(method: str, path: str, *fields: str) -> bytes:
    """A request head with these fields and `Host`."""
    lines = (f"{method} {path} HTTP/1.1", "Host: x", *fields)
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
