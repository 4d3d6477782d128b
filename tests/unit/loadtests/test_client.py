"""The load client: answers are cut where they end, however they arrive."""

from typing import Any, cast

import pytest

from loadtests.client import LOST, Connection, Reply, content_length

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserin-version: 2"
ANSWER = HEAD + b"\r\n\r\nhello"


class Wire:
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def connected() -> tuple[Connection, Wire, list[Reply]]:
    connection, wire, replies = Connection(), Wire(), list[Reply]()
    connection.connection_made(cast(Any, wire))
    connection.send(b"request", replies.append)
    return connection, wire, replies


def test_an_answer_is_handed_over_whole() -> None:
    connection, wire, replies = connected()
    connection.data_received(ANSWER)
    assert wire.written == [b"request"]
    assert replies == [Reply(200, HEAD, b"hello")]


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_answer_may_arrive_in_any_two_pieces(cut: int) -> None:
    connection, _, replies = connected()
    connection.data_received(ANSWER[:cut])
    assert replies == []
    connection.data_received(ANSWER[cut:])
    assert replies == [Reply(200, HEAD, b"hello")]


def test_the_next_answer_begins_anew() -> None:
    connection, _, replies = connected()
    connection.data_received(ANSWER[:-1])
    connection.data_received(ANSWER[-1:])
    connection.send(b"request", replies.append)
    connection.data_received(ANSWER)
    assert [reply.body for reply in replies] == [b"hello", b"hello"]


def test_a_lost_connection_answers_the_open_request_once() -> None:
    connection, _, replies = connected()
    connection.connection_lost(None)
    connection.connection_lost(None)
    assert replies == [LOST]


def test_an_answer_without_a_length_ends_the_connection() -> None:
    connection, wire, replies = connected()
    connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert wire.closed
    assert replies == []


def test_a_request_on_a_closed_connection_is_lost_at_once() -> None:
    connection, wire, replies = connected()
    connection.data_received(ANSWER)
    wire.close()
    connection.send(b"request", replies.append)
    assert replies[-1] == LOST


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: 1", 12),
        (b"HTTP/1.1 200 OK\r\ncontent-length:7", 7),
        (b"HTTP/1.1 200 OK\r\nx: 1", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: many", None),
    ],
)
def test_the_length_is_found_however_it_is_written(head: bytes, length: int | None) -> None:
    assert content_length(head + b"\r\n\r\ncontent-length: 99\r\n", len(head)) == length


def test_headers_are_found_by_name_in_any_case() -> None:
    reply = Reply(200, HEAD, b"")
    assert reply.header("Serin-Version") == "2"
    assert reply.header("Serin-Variant") is None
