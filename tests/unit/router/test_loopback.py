"""A response is what its length says, in however many pieces it comes."""

import ssl

import httpx
import pytest

from router.loopback import MOST_HEAD_BYTES, Answer, general_client, whole

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def test_a_response_is_whole_once_its_last_byte_is_there() -> None:
    assert [whole(RESPONSE[:size]) for size in range(len(RESPONSE))] == [None] * len(RESPONSE)
    assert whole(RESPONSE) == Answer(200, b"{}", keeps=True)


def test_a_connection_that_is_said_to_close_is_not_kept() -> None:
    closing = RESPONSE.replace(b"200 OK", b"503 No").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    assert whole(closing) == Answer(503, b"{}", keeps=False)


@pytest.mark.parametrize(
    "read",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 ok\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"x" * (MOST_HEAD_BYTES + 1),
    ],
)
def test_what_is_no_response_with_a_length_is_refused(read: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        whole(read)


def test_a_general_client_reads_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", None)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", None)
    assert str(general_client("http://127.0.0.1:9").base_url) == "http://127.0.0.1:9"
