"""Answers that are written past the transport, and what of them is not."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from service.http.lane import Lane


class Transport:
    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.written = b""

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def lane(pair: tuple[socket.socket, socket.socket]) -> Any:
    made: Any = Lane.__new__(Lane)
    made.transport, made._fd = Transport(), pair[0].fileno()
    return made


def received(theirs: socket.socket) -> bytes:
    found = b""
    while True:
        try:
            piece = theirs.recv(1 << 20)
        except BlockingIOError:
            return found
        found += piece


def test_an_answer_is_sent_at_once(lane: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    assert lane._write_now(b"answer")
    assert (received(pair[1]), lane.transport.written) == (b"answer", b"")


def test_what_the_system_does_not_take_at_once_is_left_to_the_transport(
    lane: Any, pair: tuple[socket.socket, socket.socket]
) -> None:
    answer = b"0123456789" * 1_000_000
    assert lane._write_now(answer)
    sent = received(pair[1])
    assert 0 < len(sent) < len(answer)
    assert sent + lane.transport.written == answer


def test_an_answer_waits_behind_those_that_the_transport_has(
    lane: Any, pair: tuple[socket.socket, socket.socket]
) -> None:
    lane.transport.waiting_bytes = 1
    assert not lane._write_now(b"answer")
    assert received(pair[1]) == b""


def test_an_answer_that_nobody_can_take_is_left_to_the_transport(
    lane: Any, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].close()
    assert not lane._write_now(b"answer")
