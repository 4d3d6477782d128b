"""Frames of HTTP/2 that cost their sender little, on the gRPC port: streams that are opened and reset (CVE-2023-44487),
heads without end (CVE-2024-27316) and of much from little, frames that want an answer each. The connection may end; the
worker serves on, and holds nothing of it.

The frames are written by hand, as in `test_grpc_slow`.
"""

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.hostile.bodies import WINDOWS, bomb
from tests.hostile.conftest import LIMIT_BYTES, LIMIT_SECONDS, House
from tests.hostile.test_grpc import SERVICE, HostileCall, call, request
from tests.hostile.test_grpc_slow import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    frame,
    head,
    literal,
)

PRIORITY, PING, WINDOW_UPDATE, CONTINUATION = 0x2, 0x6, 0x8, 0x9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS)
COUNT = 20_000
INFER = head(SERVICE + "ModelInfer")
MESSAGE = request().SerializeToString()
WHOLE = b"\0" + struct.pack(">I", len(MESSAGE)) + MESSAGE


def streams(count: int = COUNT) -> Iterator[int]:
    yield from range(1, 2 * count, 2)


def opened_and_reset() -> Iterator[bytes]:
    for stream in streams():
        yield frame(HEADERS, INFER, stream, END_HEADERS) + frame(RST_STREAM, struct.pack(">I", 8), stream)


def asked_and_reset() -> Iterator[bytes]:
    for stream in streams(5000):
        yield frame(HEADERS, INFER, stream, END_HEADERS) + frame(DATA, WHOLE, stream, END_STREAM)
        yield frame(RST_STREAM, struct.pack(">I", 8), stream)


def heads_without_end() -> Iterator[bytes]:
    yield frame(HEADERS, INFER, 1)
    for _ in range(COUNT):
        yield frame(CONTINUATION, b"\0\x01x" + b"\x7f\x81\x07" + b"a" * 1024, 1)


def empty_heads_without_end() -> Iterator[bytes]:
    yield frame(HEADERS, INFER, 1)
    for _ in range(COUNT):
        yield frame(CONTINUATION, b"", 1)


def much_from_little() -> Iterator[bytes]:
    """A field of 4,000 bytes that is remembered, and asked for by one byte again and again (RFC 7541, section 6.1)."""
    remembered = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"a" * 4000
    for stream in streams(20):
        yield frame(HEADERS, INFER + remembered + b"\xbe" * 12_000, stream, END_HEADERS | END_STREAM)


def settings() -> Iterator[bytes]:
    for _ in range(COUNT):
        yield frame(SETTINGS, struct.pack(">HI", 0x4, 65535))


def pings() -> Iterator[bytes]:
    for _ in range(COUNT):
        yield frame(PING, bytes(8))


def priorities() -> Iterator[bytes]:
    for stream in streams():
        yield frame(PRIORITY, struct.pack(">IB", stream, 255), stream)


def empty_data() -> Iterator[bytes]:
    yield frame(HEADERS, INFER, 1, END_HEADERS)
    for _ in range(COUNT):
        yield frame(DATA, b"", 1)


def windows_beyond_any() -> Iterator[bytes]:
    for _ in range(COUNT):
        yield frame(WINDOW_UPDATE, struct.pack(">I", 2**31 - 1))


def unknown_kinds() -> Iterator[bytes]:
    for number in range(COUNT):
        yield frame(0x20 + number % 200, b"x" * 64)


def large_frame() -> Iterator[bytes]:
    yield frame(HEADERS, INFER, 1, END_HEADERS)
    yield frame(DATA, bytes(2**24 - 1), 1)


def nothing_but_lengths() -> Iterator[bytes]:
    """Calls that announce 8 MiB each, and send none of it."""
    for stream in streams(500):
        yield frame(HEADERS, INFER, stream, END_HEADERS) + frame(DATA, b"\0" + struct.pack(">I", 8 * 1024**2), stream)


def packed_bomb() -> Iterator[bytes]:
    """A message of 512 MiB in half a MiB of gzip."""
    packed = bomb(512 * 1024**2, WINDOWS["gzip"], b"\0")
    message = b"\1" + struct.pack(">I", len(packed)) + packed
    yield frame(HEADERS, INFER + b"\0" + literal("grpc-encoding") + literal("gzip"), 1, END_HEADERS)
    for start in range(0, len(message), 16_384):
        yield frame(DATA, message[start : start + 16_384], 1)
    yield frame(DATA, b"", 1, END_STREAM)


FLOODS: list[Callable[[], Iterator[bytes]]] = [
    opened_and_reset,
    asked_and_reset,
    heads_without_end,
    empty_heads_without_end,
    much_from_little,
    settings,
    pings,
    priorities,
    empty_data,
    windows_beyond_any,
    unknown_kinds,
    large_frame,
    nothing_but_lengths,
    packed_bomb,
]


@pytest.fixture(scope="module")
def channel(house: House) -> Iterator[Any]:
    with grpc.insecure_channel(str(house.running.seen["grpc"])) as opened:
        yield opened


LAST = b"the last"
ANSWERED = frame(PING, LAST, flags=0x1)


def pour(house: House, pieces: Iterator[bytes]) -> None:
    """Send them on a connection of their own, and read meanwhile, until the server has seen all of it or has enough."""
    host, _, port = str(house.running.seen["grpc"]).rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_SECONDS) as connection, suppress(ConnectionError):
        for piece in (PREFACE, *batched(pieces)):
            connection.sendall(piece)
            while select.select([connection], [], [], 0)[0] and connection.recv(65536):
                pass
        connection.sendall(frame(PING, LAST))
        heard = b""
        while ANSWERED not in heard and (received := connection.recv(65536)):
            heard = heard[-len(ANSWERED) :] + received


def peak_bytes(pid: int) -> int:
    """The most that a process has held in memory."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def batched(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same in larger pieces."""
    whole = b""
    for piece in pieces:
        whole += piece
        if len(whole) >= 65536:
            yield whole
            whole = b""
    yield whole


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_of_frames_harms_nobody(flood: Callable[[], Iterator[bytes]], house: House, channel: Any) -> None:
    for _ in range(2):  # what stays behind adds up
        pour(house, flood())
        call(channel, HostileCall("good", request().SerializeToString))
    house.assert_serves()
    house.assert_unharmed()


def test_who_lets_nobody_answer_and_leaves_fills_no_log(house: House, channel: Any) -> None:
    """With a window of 0 bytes an answer waits for room until its connection has gone."""
    asked = frame(HEADERS, head(SERVICE + "ServerLive"), 1, END_HEADERS) + frame(DATA, b"\0" * 5, 1, END_STREAM)
    host, _, port = str(house.running.seen["grpc"]).rpartition(":")
    lines = len(house.running.log().splitlines())
    with ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(socket.create_connection((host, int(port)), LIMIT_SECONDS))
            connection.sendall(PREFACE + frame(SETTINGS, struct.pack(">HI", 4, 0)) + asked + frame(PING, LAST))
            heard = b""
            while ANSWERED not in heard:
                heard += connection.recv(65536)
        for _ in range(10):
            call(channel, HostileCall("good", request().SerializeToString))
    for _ in range(10):
        call(channel, HostileCall("good", request().SerializeToString))
    house.assert_unharmed()
    assert len(house.running.log().splitlines()) - lines < 10


def test_a_bomb_fills_no_memory_on_the_way(house: House, channel: Any) -> None:
    before = peak_bytes(house.workers[0])
    pour(house, packed_bomb())
    call(channel, HostileCall("good", request().SerializeToString))
    assert peak_bytes(house.workers[0]) - before < 4 * LIMIT_BYTES


def test_after_all_of_them_the_memory_is_back(house: House, channel: Any) -> None:
    call(channel, HostileCall("good", request().SerializeToString))
    house.assert_unharmed()
    house.assert_memory_is_back()
