"""Listening sockets: proved free first, then one for each worker on the same port; who accepts for a dead worker."""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from router.errors import InvalidArgument

Address = tuple[str, int]

SO_ATTACH_FILTER = 26
DROP_ALL = struct.pack("@HBBI", 0x06, 0, 0, 0)
"""A socket filter (linux/filter.h) of one instruction: return 0, so no packet passes."""

UNACKED_AT = 24
"""Of `tcpi_unacked` in what TCP_INFO gives (linux/tcp.h): in a socket that listens, how many wait to be accepted."""


class PortTaken(InvalidArgument):
    """An address that cannot be listened on."""


def open_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one port, bound with SO_REUSEPORT and not yet listening; port 0 takes a free one.

    Two programs of one user may share a port by SO_REUSEPORT without noticing, so the port is first bound without it.
    The kernel spreads connections over the sockets that listen. Raises PortTaken.
    """
    family, address = _resolve(host, port)
    with closing(_bound(family, address, shared=False)) as probe:
        address = (address[0], probe.getsockname()[1])
        # The port must stay ours between the probe and the first real socket, but both cannot hold it at once;
        # whoever takes it in that moment without SO_REUSEPORT makes the next line raise PortTaken.
    return [_bound(family, address, shared=True) for _ in range(count)]


def open_single(host: str, port: int) -> socket.socket:
    """One socket on a port of its own, bound and not yet listening. Raises PortTaken."""
    family, address = _resolve(host, port)
    return _bound(family, address, shared=False)


def require_host(host: str) -> None:
    """Raises InvalidArgument when `host` is no address of any kind."""
    _resolve(host, 0)


def address_of(bound: socket.socket) -> Address:
    """Host and port of a bound socket, as clients of this host reach it (a wildcard becomes loopback)."""
    host, port = bound.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def url(address: Address, tls: bool = False) -> str:
    """`http://host:port` (`https` with TLS), with brackets around an IPv6 host."""
    return f"http{'s' if tls else ''}://{authority(address)}"


def authority(address: Sequence[Any]) -> str:
    """`host:port`, with brackets around an IPv6 host; also of what `getsockname` gives."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name is what it resolves to."""
    _, (resolved, _) = _resolve(host, 0)
    return resolved == "::1" or resolved.startswith("127.")


@dataclass(slots=True)
class Cover:
    """Which worker accepts the connections of which dead one. Its methods return what to tell whom: (slot, command).

    The supervisor keeps every socket open, so that of a dead worker still collects connections: a neighbour has to
    accept them until the replacement listens.
    """

    by_slot: dict[int, int | None] = field(default_factory=dict)

    def lost(self, slot: int, listening: Sequence[int]) -> list[tuple[int, dict[str, int]]]:
        """A worker died. Its socket, and those it had adopted, need another; `listening`: the workers that can."""
        self.by_slot[slot] = None
        for other, adopter in self.by_slot.items():
            if adopter == slot:
                self.by_slot[other] = None
        return self._adopt(listening)

    def listens(self, slot: int, listening: Sequence[int]) -> list[tuple[int, dict[str, int]]]:
        """A worker listens on its own socket again; it can also take what nobody could so far."""
        adopter = self.by_slot.pop(slot, None)
        told = [] if adopter is None else [(adopter, {"release": slot})]
        return told + self._adopt(listening)

    def _adopt(self, listening: Sequence[int]) -> list[tuple[int, dict[str, int]]]:
        told = []
        for slot, adopter in self.by_slot.items():
            if adopter is None and (found := neighbour(slot, listening)) is not None:
                self.by_slot[slot] = found
                told.append((found, {"adopt": slot}))
        return told


def neighbour(slot: int, listening: Sequence[int]) -> int | None:
    """The worker that accepts the connections of a dead one: the next that listens, counted round."""
    others = [other for other in listening if other != slot]
    return min(others, key=lambda other: (other <= slot, other)) if others else None


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidArgument(f"no address is known by the name {host!r}") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _bound(family: socket.AddressFamily, address: Address, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of an earlier run that wait in TIME_WAIT do not count as taken; a listener does.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise PortTaken(_complaint(address, error)) from error
    return bound


def _complaint(address: Address, error: OSError) -> str:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; choose another or stop it"
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this user does not have; choose one from 1024 up"
    return f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"


def let_nobody_in(listening: socket.socket) -> None:
    """Have the kernel drop what would open a connection, as if it had been lost on the way: the client asks again a
    second later and is refused. Where that cannot be had, a connection of the last microseconds is reset instead."""
    instructions = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
    program = struct.pack("@HP", 1, ctypes.addressof(instructions))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def waiting(listening: socket.socket) -> list[socket.socket]:
    """The connections that nobody has accepted yet."""
    listening.setblocking(False)
    found = []
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            found.append(connection)
    return found


def count_waiting(listening: socket.socket) -> int:
    """How many connections nobody has accepted yet; 0 where the system does not say."""
    with suppress(OSError):
        told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED_AT + 4)
        return int(struct.unpack_from("@I", told, UNACKED_AT)[0]) if len(told) >= UNACKED_AT + 4 else 0
    return 0
