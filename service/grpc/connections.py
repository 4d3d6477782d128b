"""The connections of the gRPC port: which have calls under way, and how each is closed as soon as it has none.

The goodbye (GOAWAY) of gRPC's server drops what a client sends before he hears of it, and tells him CANCELLED, as if he
had given up himself. Under a connection that is closed a call ends with UNAVAILABLE, which clients repeat elsewhere.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from stat import S_ISSOCK
from urllib.parse import unquote

from service.grpc.answers import Context
from service.sockets import count_waiting, let_nobody_in

Peer = tuple[str, int]
"""Address and port of the other end."""

LAST_ACCEPTS_SECONDS = 0.2
"""In a drain: how long connections that are there already may wait to be accepted."""

OPEN_FILES = "/proc/self/fd"
MAPPED = "::ffff:"
"""How a socket of IPv6 writes the addresses of IPv4."""

GOAWAY = b"\0\0\x08\x07\0" + bytes(4) + bytes(4) + bytes(4)
"""RFC 9113, section 6.8: no error, and none of the calls that are open was begun. Clients repeat such calls by
themselves, on another connection."""


class Connections:
    """`begin` with each call; `drain` at the end. `encrypted`: only gRPC can write to them."""

    def __init__(self, encrypted: bool = False) -> None:
        self._goodbye = b"" if encrypted else GOAWAY
        self._calls: dict[str, int] = {}
        self._quiet = asyncio.Event()

    def begin(self, context: Context) -> None:
        """A call is under way on its connection, until its last byte is on the way back."""
        peer: str = context.peer()
        self._calls[peer] = self._calls.get(peer, 0) + 1
        context.add_done_callback(partial(self._end, peer))

    async def drain(self, port: int, limit_seconds: float) -> None:
        """Let nobody in at `port` any more, and close each connection once it has no call; after the limit, all."""
        await _let_nobody_in(port)
        left = _connected(port)
        try:
            async with asyncio.timeout(limit_seconds):
                while left:
                    self._quiet.clear()
                    for peer in left.keys() - {peer_of(name) for name in self._calls}:
                        _hang_up(left.pop(peer), self._goodbye)
                    if left:
                        await self._quiet.wait()
        except TimeoutError:
            return
        finally:
            for connection in left.values():
                _hang_up(connection)

    def _end(self, peer: str, context: Context) -> None:
        left = self._calls[peer] - 1
        if left:
            self._calls[peer] = left
        else:
            del self._calls[peer]
            self._quiet.set()


def peer_of(name: str) -> Peer:
    """Of gRPC's name for it: `ipv4:127.0.0.1:1234`, `ipv6:%5B::1%5D:1234`."""
    host, _, port = unquote(name.partition(":")[2]).rpartition(":")
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
    return host.removeprefix(MAPPED).partition("%")[0]


async def _let_nobody_in(port: int) -> None:
    """Refuse connections to `port` from now on: gRPC's server does it only together with its goodbye.

    It accepts in threads of its own, so what waits for that is given a moment; `shutdown` would reset it.
    """
    with ExitStack() as stack:
        listening = [stack.enter_context(one) for one in _sockets(port)]
        listening = [one for one in listening if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
        for one in listening:
            let_nobody_in(one)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_ACCEPTS_SECONDS):
                while any(map(count_waiting, listening)):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(0.001)
        for one in listening:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _connected(port: int) -> dict[Peer, socket.socket]:
    """The connections to `port`, each a duplicate that is the caller's to close."""
    found = {}
    for one in _sockets(port):
        try:
            host, number = one.getpeername()[:2]
        except OSError:  # it listened
            one.close()
        else:
            found[_plain(host), number] = one
    return found


def _sockets(port: int) -> Iterator[socket.socket]:
    """Duplicates of this process's TCP sockets whose own port is `port`."""
    for name in os.listdir(OPEN_FILES):
        try:
            file = os.dup(int(name))
        except OSError:  # closed by now
            continue
        if not S_ISSOCK(os.fstat(file).st_mode):
            os.close(file)
            continue
        one = socket.socket(fileno=file)
        if one.family in (socket.AF_INET, socket.AF_INET6) and _own_port(one) == port:
            yield one
        else:
            one.close()


def _own_port(one: socket.socket) -> int:
    try:
        return int(one.getsockname()[1])
    except OSError:
        return 0


def _hang_up(connection: socket.socket, last_words: bytes = b"") -> None:
    """What was written still arrives. `last_words`: only where nobody else is writing."""
    with closing(connection), suppress(OSError):  # the client was faster
        if last_words:
            connection.send(last_words, socket.MSG_DONTWAIT)
        connection.shutdown(socket.SHUT_RDWR)
