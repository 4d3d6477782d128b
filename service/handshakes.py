"""TLS on a listening socket: connections are taken up one by one, and only so many may be at their handshake.

A connection that has not finished its handshake costs memory and belongs to nobody: there is a limit in time, and
where too many wait, the oldest of them goes. Whoever means it is done within milliseconds.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

HANDSHAKE_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 5.0
"""How long a client may take to answer the end of TLS (close_notify)."""

MOST_AT_ONCE: Final = 256
AT_A_TIME: Final = 32
"""Connections taken up in one turn of the event loop."""

PAUSE_SECONDS: Final = 0.5
BACKLOG: Final = 2048
OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("tls")


class Handshakes:
    """Of one port, on one event loop. `context` is asked for each connection; `protocol` makes what serves it."""

    def __init__(self, context: Callable[[], ssl.SSLContext], protocol: Callable[[], asyncio.Protocol]) -> None:
        self._context = context
        self._protocol = protocol
        self._open: dict[asyncio.Task[None], None] = {}
        self.seconds = HANDSHAKE_SECONDS
        self.most = MOST_AT_ONCE

    def listen(self, shared: socket.socket) -> "Listening":
        """Accept from a bound socket, which is closed with what this returns."""
        shared.setblocking(False)
        shared.listen(BACKLOG)
        listening = Listening(shared, self.take)
        listening.resume()
        return listening

    def take(self, connection: socket.socket) -> None:
        """Begin the handshake with a connection that was accepted."""
        if len(self._open) >= self.most:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._shake(connection))
        self._open[task] = None
        task.add_done_callback(lambda done: self._open.pop(done, None))

    async def settle(self, seconds: float) -> None:
        """Let those that have begun come to their end, at most so long; then end them."""
        if self._open:
            await asyncio.wait(tuple(self._open), timeout=seconds)
        for task in tuple(self._open):
            task.cancel()

    async def _shake(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=self.seconds,
                ssl_shutdown_timeout=GOODBYE_SECONDS,
            )
        except asyncio.CancelledError:
            connection.close()
            raise
        except OSError as error:  # not TLS, a certificate that is refused, too slow, gone
            connection.close()
            log.debug("a handshake failed: %s", getattr(error, "reason", None) or type(error).__name__)


class Listening:
    """One socket that connections come from."""

    def __init__(self, shared: socket.socket, take: Callable[[socket.socket], None]) -> None:
        self._shared = shared
        self._take = take
        self._loop = asyncio.get_running_loop()

    def resume(self) -> None:
        """Accept again, unless it was closed meanwhile."""
        if self._shared.fileno() >= 0:
            self._loop.add_reader(self._shared.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._shared.fileno() >= 0:
            self._loop.remove_reader(self._shared.fileno())
            self._shared.close()

    def _accept(self) -> None:
        try:
            for _ in range(AT_A_TIME):
                connection, _ = self._shared.accept()
                self._take(connection)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno in OUT_OF:
                self._pause(error)
            else:  # the socket was shut down, by this process or by another that holds it
                self.close()

    def _pause(self, error: OSError) -> None:
        log.error("connections cannot be accepted for now: %s", error.strerror)
        self._loop.remove_reader(self._shared.fileno())
        self._loop.call_later(PAUSE_SECONDS, self.resume)
