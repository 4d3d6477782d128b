"""Large bodies on their way in: read into the memory that the model will read, past the event loop's and the parser's.

In pieces a body is copied by the event loop, by the parser, when the pieces are joined, and once more where a tensor
does not lie well: for one of 600 kB that is a tenth of what a model of some milliseconds takes, and each copy drives
what the model needs out of the caches. Here the system writes it where it stays.
"""

import asyncio
from typing import Final, Protocol

import numpy as np

from service.http.lingering import Lingering

LARGE_BYTES: Final = 64 * 1024
"""Of a body that are still to come: below this the change costs what it saves."""

HEAD_BYTES: Final = 16 * 1024
"""Read at a time between large bodies: a head, and little of a body that would have to be moved."""

ALIGNMENT: Final = 64
"""Of the first tensor: a cache line, and what the widest vectors like; `service.protocol.binary` asks for less."""


class Receiving(Protocol):
    """A connection. `intake_ended`: it is to be told of what comes by `data_received` again."""

    lingering: Lingering | None

    def data_received(self, data: bytes) -> None: ...
    def body_received(self, body: memoryview) -> None: ...
    def intake_ended(self) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Intake(asyncio.BufferedProtocol):
    """Stands between the transport and a connection from its first large body until a request comes that has none.

    `scrap`: HEAD_BYTES of memory, shared by all that live on one event loop, since nothing stays there.
    """

    def __init__(self, connection: Receiving, scrap: memoryview) -> None:
        self._connection = connection
        self._scrap = scrap
        self._body: memoryview | None = None
        self._at = 0

    def expect(self, body: memoryview, begun: bytes) -> None:
        """Fill `body`, of which `begun` has come already; `body_received` is called when that is done."""
        self._at = len(begun)
        body[: self._at] = begun
        self._body = body

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._connection.lingering is not None:
            self._body = None  # the request was refused meanwhile
        return self._scrap if self._body is None else self._body[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many came there."""
        body = self._body
        if body is None:
            self._connection.data_received(bytes(self._scrap[:nbytes]))
            if self._body is None:
                self._connection.intake_ended()
            return
        self._at += nbytes
        if self._at == len(body):
            self._body = None
            self._connection.body_received(body.toreadonly())

    def eof_received(self) -> None:
        """See `Receiving`, as with those below."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


def room_for(size_bytes: int, json_bytes: int) -> memoryview | None:
    """Memory for a body, so that what follows its JSON part begins at a multiple of ALIGNMENT; None where there is not
    enough. What nobody has written into takes no memory of the machine yet."""
    try:
        block = np.empty(size_bytes + ALIGNMENT, np.uint8)
    except MemoryError:
        return None
    start = -(block.ctypes.data + json_bytes) % ALIGNMENT
    return block[start : start + size_bytes].data
