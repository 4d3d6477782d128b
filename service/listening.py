"""The public port of one worker: uvicorn on inherited sockets that are taken up and let go while it runs."""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from service.certificates import Renewal
from service.handshakes import BACKLOG, Handshakes, Listening
from service.http.connection import Connection
from service.sockets import let_nobody_in, waiting

LAST_REQUEST_SECONDS = 0.1
"""In a drain: how long a connection that was just accepted has to send its request, before idle ones are closed."""

LAST_HANDSHAKE_SECONDS = 1.0
SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PortOptions:
    """What connections may do. `head_seconds`: how long a request head may take to arrive."""

    keep_alive_seconds: float
    max_header_bytes: int
    access_log: bool
    head_seconds: float = 20.0
    max_body_bytes: int = 64 * 1024 * 1024


class Port:
    """Serves `app` on any number of sockets; `connection` may answer some requests itself (the fast lane).

    The sockets stay the supervisor's: what is closed here is a duplicate. `tls`: what it shows; None: it is plain.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: PortOptions,
        connection: type[Connection] = Connection,
        tls: Renewal | None = None,
    ) -> None:
        # uvicorn makes the protocol of a connection by itself, so what all of them share stands on a class.
        bounds = {"max_head_bytes": options.max_header_bytes, "max_body_bytes": options.max_body_bytes}
        self.connection = type("Bound", (connection,), bounds)
        self._config = uvicorn.Config(
            app,
            http=self.connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=options.access_log,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(options.keep_alive_seconds)),
        )
        self._server = uvicorn.Server(self._config)
        self._listening: dict[int, asyncio.Server | Listening] = {}
        self._head_seconds = options.head_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._handshakes = Handshakes(lambda: tls.current.context, self.protocol) if tls is not None else None

    async def start(self) -> None:
        """Make ready to serve; nothing is accepted before `listen`."""
        self._config.load()
        self._tasks = [
            asyncio.create_task(self._server.main_loop(), name="uvicorn"),
            asyncio.create_task(self._sweep(), name="sweep"),
        ]

    async def listen(self, fd: int) -> None:
        """Accept from the listening socket `fd`, beside whoever else does."""
        if fd in self._listening:
            return
        shared = socket.socket(fileno=os.dup(fd))
        if self._handshakes is not None:
            self._listening[fd] = self._handshakes.listen(shared)
            return
        loop = asyncio.get_running_loop()
        self._listening[fd] = await loop.create_server(self.protocol, sock=shared, backlog=BACKLOG)

    def is_lone(self) -> bool:
        """Whether there is one connection at most."""
        return len(self._server.server_state.connections) <= 1

    def leave(self, fd: int) -> None:
        """Accept no more from `fd`; connections that it gave live on."""
        server = self._listening.pop(fd, None)
        if server is not None:
            server.close()

    async def close(self, limit_seconds: float) -> None:
        """Stop accepting, close idle connections, finish what is in flight, at most `limit_seconds` long."""
        await self._close_sockets()
        state = self._server.server_state
        for connection in tuple(state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody when one ends
                    await asyncio.sleep(0.02)
        for task in tuple(state.tasks):
            task.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close_sockets(self) -> None:
        """Refuse connections from now on, also on behalf of the supervisor and the others that hold these sockets.

        Who was let in already is still served: `shutdown` would reset what waits to be accepted, so nothing new may
        come to wait meanwhile.
        """
        loop = asyncio.get_running_loop()
        last: list[socket.socket] = []
        for fd in tuple(self._listening):
            self.leave(fd)
            with socket.socket(fileno=os.dup(fd)) as shared:
                let_nobody_in(shared)
                last += waiting(shared)
                with suppress(OSError):  # a neighbour that had adopted it was faster
                    shared.shutdown(socket.SHUT_RDWR)
        for connection in last:
            if self._handshakes is None:
                await loop.connect_accepted_socket(self.protocol, connection)
            else:
                self._handshakes.take(connection)
        if self._handshakes is not None:
            await self._handshakes.settle(LAST_HANDSHAKE_SECONDS)
        await asyncio.sleep(LAST_REQUEST_SECONDS)

    async def _sweep(self) -> None:
        """Close connections that send their request head too slowly; a timer for each would cost every request."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            oldest = asyncio.get_running_loop().time() - self._head_seconds
            for connection in tuple(self._server.server_state.connections):
                if isinstance(connection, Connection):
                    connection.expire(oldest)

    def protocol(self) -> asyncio.Protocol:
        """For a new connection."""
        protocol: asyncio.Protocol = self._config.http_protocol_class(  # type: ignore[call-arg]
            config=self._config, server_state=self._server.server_state, app_state={}
        )
        return protocol
