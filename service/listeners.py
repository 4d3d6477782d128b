"""The sockets of a gateway, bound by its supervisor before anything is started and held until its end."""

import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from service import preflight, sockets
from service.settings import Settings, SettingsError

LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Listeners:
    """The bound sockets: one for each worker, one for the controller.

    `internal`: where Serin's own processes reach the controller while the admin port asks for TLS.
    `grpc` only keeps its port for us: gRPC binds sockets of its own, one in each worker. None: gRPC is off.
    """

    workers: list[socket.socket]
    admin: socket.socket
    internal: socket.socket | None = None
    grpc: socket.socket | None = None

    def refuse(self) -> None:
        """Let clients connect no more. Closing alone leaves them waiting: whoever holds a socket keeps it open."""
        for bound in self.workers:
            with suppress(OSError):  # its worker has done so, as it should
                bound.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for bound in (*self.workers, self.admin, self.internal, self.grpc):
            if bound is not None:
                bound.close()


def open_listeners(settings: Settings, *, patience_seconds: float = 0.0) -> Listeners:
    """Bind all sockets. `patience_seconds`: how long workers of a killed supervisor may take to leave their port."""
    for field, host in (("host", settings.host), ("admin_host", settings.admin_host)):
        preflight.named(settings, field, partial(sockets.require_host, host))
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return _opened(settings)
        except SettingsError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _opened(settings: Settings) -> Listeners:
    with ExitStack() as stack:
        workers = preflight.named(
            settings, "http_port", lambda: sockets.open_shared(settings.host, settings.http_port, settings.workers)
        )
        for bound in workers:
            stack.enter_context(bound)
        admin = preflight.named(
            settings, "admin_port", lambda: sockets.open_single(settings.admin_host, settings.admin_port)
        )
        stack.enter_context(admin)
        internal = sockets.open_single(LOOPBACK, 0) if settings.admin_tls_files is not None else None
        if internal is not None:
            stack.enter_context(internal)
        grpc = None
        if speaks_grpc(settings):
            opening = partial(sockets.open_shared, settings.host, settings.grpc_port, 1)
            (grpc,) = preflight.named(settings, "grpc_port", opening)
        stack.pop_all()
        return Listeners(workers, admin, internal, grpc)


def speaks_grpc(settings: Settings) -> bool:
    """Whether the workers serve gRPC. Raises SettingsError when they are to and cannot."""
    if settings.grpc == "off":
        return False
    there = find_spec("grpc") is not None
    if settings.grpc == "on" and not there:
        raise SettingsError("grpc: grpcio is not installed; install serin[grpc], or say grpc = off")
    return there
