"""Messages that come byte by byte or not at all, over gRPC: cut off as over HTTP; good calls are served meanwhile.

The frames are written by hand (RFC 9113, and RFC 7541 without any compression), since clients of gRPC send as fast as
they can.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc
import pytest

from tests.e2e.conftest import eventually
from tests.hostile.conftest import LIMIT_SECONDS, House
from tests.hostile.test_grpc import SERVICE, HostileCall, call, request

DATA, HEADERS, RST_STREAM, SETTINGS = 0x0, 0x1, 0x3, 0x4
END_STREAM, END_HEADERS = 0x1, 0x4
CALLS, SECONDS = 20, 5.0
"""Calls on each connection; `--body-read-timeout-seconds` and `--stream-idle-seconds` of the gateway."""

METHODS = {
    "unary": SERVICE + "ModelInfer",
    "stream": SERVICE + "ModelStreamInfer",
    "reflection": "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "serin",
    "te": "trailers",
    "content-type": "application/grpc",
}


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def head(path: str) -> bytes:
    return b"".join(b"\0" + literal(name) + literal(value) for name, value in (FIELDS | {":path": path}).items())


class Slow:
    """A connection with CALLS calls that each send a byte of their message now and then, and never all of it."""

    def __init__(self, address: str, path: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), LIMIT_SECONDS)
        self._read = b""
        self.open = set(range(1, 2 * CALLS, 2))
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        announced = b"\0" + struct.pack(">I", 1_000_000)
        for stream in self.open:
            self._socket.sendall(frame(HEADERS, head(path), stream, END_HEADERS) + frame(DATA, announced, stream))
        self._socket.setblocking(False)

    def drip(self) -> None:
        """One byte more of each, and note whose call has ended."""
        for stream in self.open:
            self._socket.send(frame(DATA, b"x", stream))
        try:
            while received := self._socket.recv(65536):
                self._read += received
        except BlockingIOError:
            pass
        while len(self._read) >= 9 and len(self._read) >= (size := 9 + int.from_bytes(self._read[:3], "big")):
            kind, flags, stream = self._read[3], self._read[4], int.from_bytes(self._read[5:9], "big")
            self._read = self._read[size:]
            if kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self.open.discard(stream)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def channel(house: House) -> Iterator[Any]:
    with grpc.insecure_channel(str(house.running.seen["grpc"])) as opened:
        yield opened


def test_a_call_whose_message_never_comes_is_out_of_time(house: House, channel: Any) -> None:
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(LIMIT_SECONDS)
        yield from ()

    begun = monotonic()
    with pytest.raises(grpc.RpcError) as ended:
        channel.stream_unary(SERVICE + "ModelInfer")(nothing(), timeout=LIMIT_SECONDS)
    over.set()
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended.value.details() == "the message did not arrive in time"
    assert monotonic() - begun >= SECONDS - 0.5


def test_a_call_without_a_message_is_told_so(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as ended:
        channel.stream_unary(SERVICE + "ServerReady")(iter(()), timeout=LIMIT_SECONDS)
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_without_a_next_message_ends(house: House, channel: Any) -> None:
    over = threading.Event()

    def one() -> Iterator[bytes]:
        yield request().SerializeToString()
        over.wait(LIMIT_SECONDS)

    answers = channel.stream_stream(SERVICE + "ModelStreamInfer")(one(), timeout=LIMIT_SECONDS)
    assert next(answers)
    begun = monotonic()
    with pytest.raises(grpc.RpcError) as ended:
        next(answers)
    over.set()
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended.value.details() == "no message arrived in the stream for too long"
    assert monotonic() - begun >= SECONDS - 0.5


@pytest.mark.parametrize("path", METHODS.values(), ids=METHODS)
def test_messages_that_come_byte_by_byte_are_cut_off_and_good_calls_are_served(
    house: House, channel: Any, path: str
) -> None:
    slow = [Slow(str(house.running.seen["grpc"]), path) for _ in range(10)]
    good = HostileCall("good", request().SerializeToString)

    def over() -> bool:
        call(channel, good)
        for connection in slow:
            connection.drip()
        return not any(connection.open for connection in slow)

    eventually(over, seconds=4 * SECONDS, every=0.2)
    for connection in slow:
        connection.close()
    house.assert_unharmed()
