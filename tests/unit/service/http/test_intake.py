"""Large bodies on their way in."""

import random
from typing import Any

import numpy as np
import pytest

from service.http.intake import ALIGNMENT, HEAD_BYTES, Intake, room_for
from service.protocol.binary import SMALL_BYTES, unpack
from service.protocol.messages import InputTensor

SIZE = 300_000


class Connection:
    """`wants`: of these bodies each begins with the data that it is told of."""

    def __init__(self, *wants: int) -> None:
        self.lingering: Any = None
        self.intake = Intake(self, memoryview(bytearray(HEAD_BYTES)))
        self.wants = list(wants)
        self.told: list[bytes] = []
        self.bodies: list[memoryview] = []
        self.ended = 0

    def data_received(self, data: bytes) -> None:
        self.told.append(data)
        if self.wants and self.lingering is None:
            body = room_for(self.wants.pop(0), 0)
            assert body is not None
            self.intake.expect(body, data)

    def body_received(self, body: memoryview) -> None:
        self.bodies.append(body)

    def intake_ended(self) -> None:
        self.ended += 1

    def eof_received(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


def receive(connection: Connection, data: bytes, pieces: random.Random) -> None:
    """As an event loop does, which reads less than there is room for when no more has come."""
    while data:
        room = connection.intake.get_buffer(-1)
        size = min(len(room), len(data), pieces.randint(1, SIZE))
        room[:size] = data[:size]
        connection.intake.buffer_updated(size)
        data = data[size:]


@pytest.mark.parametrize("seed", range(20))
def test_bodies_one_after_the_other_are_the_same_however_they_come(seed: int) -> None:
    rng = random.Random(seed)
    bodies = [rng.randbytes(rng.randint(SIZE // 2, SIZE)) for _ in range(4)]
    connection = Connection(*map(len, bodies))
    receive(connection, b"".join(bodies), rng)
    assert [bytes(body) for body in connection.bodies] == bodies
    assert connection.ended == 0


def test_a_body_cannot_be_written_to_when_it_is_whole() -> None:
    connection = Connection(SIZE)
    receive(connection, bytes(SIZE), random.Random(1))
    assert connection.bodies[0].readonly


def test_a_request_without_a_large_body_ends_it() -> None:
    connection = Connection()
    receive(connection, b"GET / HTTP/1.1\r\n\r\n", random.Random(1))
    assert (b"".join(connection.told), connection.bodies) == (b"GET / HTTP/1.1\r\n\r\n", [])
    assert connection.ended == len(connection.told)


def test_of_a_request_that_was_refused_meanwhile_nothing_more_is_kept() -> None:
    connection = Connection(SIZE)
    receive(connection, bytes(SIZE // 2), random.Random(1))
    before = sum(map(len, connection.told))
    connection.lingering = object()
    receive(connection, bytes(SIZE), random.Random(1))
    assert sum(map(len, connection.told)) == before + SIZE
    assert (connection.bodies, connection.ended > 0) == ([], True)


@pytest.mark.parametrize("json_bytes", [0, 1, 15, 63, 64, 127, 10**19 - 1])
def test_a_tensor_behind_any_json_is_read_where_it_was_written(json_bytes: int) -> None:
    before = json_bytes % 1000
    body = room_for(before + SMALL_BYTES, json_bytes)
    assert body is not None
    assert len(body) == before + SMALL_BYTES
    whole = np.frombuffer(body, np.uint8)
    assert (whole.ctypes.data + json_bytes) % ALIGNMENT == 0
    if before == json_bytes:
        tensor = InputTensor("x", "UINT8", (SMALL_BYTES,), SMALL_BYTES, body[before:])
        assert np.shares_memory(unpack(tensor, body[before:]), whole)


def test_a_body_for_which_there_is_no_memory_has_no_room() -> None:
    assert room_for(1 << 62, 0) is None
