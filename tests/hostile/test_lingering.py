"""A client that reads when it has sent all: it gets its answer, however early that was written."""

import socket
from time import monotonic

import pytest

from tests.hostile.case import INDEX, INFER
from tests.hostile.conftest import LIMIT_BYTES, LIMIT_SECONDS, House
from tests.hostile.wire import head

FEEDBACK = "/v2/models/floats/feedback"
MUCH = 3 * LIMIT_BYTES
"""More than any socket holds."""


def all_then_read(house: House, content: bytes) -> bytes:
    """What a client hears that sends without looking, and reads to the end."""
    with socket.create_connection(("127.0.0.1", house.port), LIMIT_SECONDS) as connection:
        connection.sendall(content)
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
    return heard


def send_on(connection: socket.socket, until: float) -> None:
    while monotonic() < until:
        connection.sendall(b" " * 65536)


@pytest.mark.parametrize("path", [INFER, INDEX, FEEDBACK, "/invocations", "/v1/models/floats:predict"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(house: House, path: str, chunked: bool) -> None:
    if chunked:
        content = head("POST", path, "Transfer-Encoding: chunked") + b"%x\r\n" % MUCH + b" " * MUCH + b"\r\n0\r\n\r\n"
    else:
        content = head("POST", path, f"Content-Length: {MUCH}") + b" " * MUCH
    heard = all_then_read(house, content)
    assert heard.startswith(b"HTTP/1.1 413 "), heard[:200]
    assert b"connection: close" in heard
    assert heard.endswith(b"}")


def test_a_head_that_is_too_large(house: House) -> None:
    heard = all_then_read(house, head("POST", INFER, "X: " + "a" * MUCH))
    assert heard.startswith(b"HTTP/1.1 431 "), heard[:200]


def test_what_is_no_http(house: House) -> None:
    heard = all_then_read(house, b"\x16\x03\x01" + b"\r\n" * MUCH)
    assert heard.startswith(b"HTTP/1.1 400 "), heard[:200]


def test_who_goes_on_sending_is_cut_off(house: House) -> None:
    begun = monotonic()
    with socket.create_connection(("127.0.0.1", house.port), LIMIT_SECONDS) as connection:
        connection.sendall(head("POST", INFER, f"Content-Length: {2**40}"))
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            send_on(connection, begun + LIMIT_SECONDS)
    house.assert_serves()
    house.assert_unharmed()
