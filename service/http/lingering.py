"""The end of a connection whose client is still sending: what it sends is thrown away until it has read the answer.

To close it at once would reset it, and take the answer from a client that reads when it has sent all (RFC 9112,
section 9.6).
"""

import asyncio
from typing import Protocol

LINGER_SECONDS = 5.0
LINGER_BYTES = 256 * 1024 * 1024
"""Of one client; whoever sends more is cut off, answer or not."""


class Ending(Protocol):
    """A connection."""

    def end(self) -> None: ...


class Lingering:
    """Says to the client that nothing more comes, takes what it still sends, and closes when it ends or is too much."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._bytes = 0
        if transport.can_write_eof():
            transport.write_eof()
        loop.call_later(LINGER_SECONDS, transport.close)

    def take(self, data: bytes) -> None:
        """Throw it away."""
        self._bytes += len(data)
        if self._bytes > LINGER_BYTES:
            self._transport.close()


class Closing:
    """A connection's transport as the cycles of uvicorn have it: `close` may linger."""

    def __init__(self, connection: "Ending", transport: asyncio.Transport) -> None:
        self._connection = connection
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info

    def close(self) -> None:
        self._connection.end()
