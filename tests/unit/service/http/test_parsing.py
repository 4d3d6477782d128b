"""Requests taken apart, whatever they ask for and however they were cut."""

from typing import Any

import httptools
import pytest

from service.http.parsing import Malformed, Parser, require_plain_head

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
BODY = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


class Told:
    """Keeps (url, body) of each request that was whole, and how many heads were refused."""

    max_head_bytes = 64 * 1024
    max_body_bytes = 0x20000

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.refused = self.given_bytes = self.large = 0
        self.parser = Parser(self)

    def on_message_begin(self) -> None:
        self.url, self.body, self.headers = b"", b"", []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None: ...

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.requests.append((self.url, self.body))

    def on_large_head(self) -> None:
        self.refused += 1

    def on_large_body(self) -> None:
        self.large += 1

    def feed_for_ever(self, piece: bytes) -> None:
        """Ten times as much as a head may have stands for ever."""
        while self.given_bytes < 10 * self.max_head_bytes:
            self.given_bytes += len(piece)
            self.parser.feed_data(piece)


def post(path: bytes, fields: bytes = b"", body: bytes = BODY) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (path, fields, len(body), body)


def told(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    found = Told()
    for piece in pieces:
        found.parser.feed_data(piece)
    return found.requests


@pytest.mark.parametrize(
    "fields", [UPGRADE, b"Connection: upgrade\r\nUpgrade: websocket\r\n", b""], ids=["h2c", "websocket", "none"]
)
def test_a_request_that_asks_for_another_protocol_is_read_whole_however_it_was_cut(fields: bytes) -> None:
    sent = post(b"/a", fields) + post(b"/b", b"", b"") + post(b"/c", fields, b"") + post(b"/d", b"", b"d")
    expected = [(b"/a", BODY), (b"/b", b""), (b"/c", b""), (b"/d", b"d")]
    assert told(sent) == expected
    assert told(*(sent[at : at + 1] for at in range(len(sent)))) == expected
    for at in range(len(sent)):
        assert told(sent[:at], sent[at:]) == expected


def test_spaces_in_a_request_line_move_no_end_of_a_request_however_it_was_cut() -> None:
    spaced = post(b"/a").replace(b" ", b"   ", 1).replace(b" HTTP", b"   HTTP", 1)
    sent = spaced + post(b"/b", b"", b"b") + spaced
    expected = [(b"/a", BODY), (b"/b", b"b"), (b"/a", BODY)]
    assert told(*(sent[at : at + 1] for at in range(len(sent)))) == expected
    for at in range(len(sent)):
        assert told(sent[:at], sent[at:]) == expected


def test_thousands_of_them_in_one_piece_are_read() -> None:
    assert told(post(b"/a", UPGRADE, b"x") * 5000) == [(b"/a", b"x")] * 5000


HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("piece_bytes", [1000, 50_000, 10_000_000])
@pytest.mark.parametrize(
    ("begins", "goes_on", "refused"),
    [
        (b"", b"\r\n", 1),
        (b"POST ", b" ", 1),
        (b"POST /a ", b" ", 1),
        (HEAD, b"a", 1),
        (HEAD + b"X: ", b"a", 1),
        (HEAD + b"X: ", b" ", 1),
        (CHUNKED + b"0", b"0", 0),
        (CHUNKED + b"1;", b"a", 0),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"a", 0),
        (CHUNKED + b"1\r\na\r\n0\r\nX: ", b"a", 0),
    ],
    ids=[
        "lines",
        "spaces_before_the_target",
        "spaces_behind_it",
        "name",
        "value",
        "space",
        "size",
        "extension",
        "name_behind",
        "value_behind",
    ],
)
def test_what_has_no_end_is_refused_before_it_is_much(
    begins: bytes, goes_on: bytes, refused: int, piece_bytes: int
) -> None:
    found = Told()
    found.parser.feed_data(begins)
    with pytest.raises(httptools.HttpParserError):
        found.feed_for_ever(goes_on * (piece_bytes // len(goes_on)))
    assert found.given_bytes <= max(piece_bytes, Told.max_head_bytes + 2 * piece_bytes)
    assert (found.refused, found.requests) == (refused, [])


@pytest.mark.parametrize("size", [b"20001", b"00020001;a=b", b"ffffffffffffffff"])
@pytest.mark.parametrize("begins", [b"", b"1\r\na\r\n", b"5\r\n\nff\r\n\r\n" * 100])
@pytest.mark.parametrize("goes_on", [b"", b"\n", b"abc", b"\r\nabc"])
def test_nobody_waits_for_a_chunk_that_no_body_may_hold(begins: bytes, size: bytes, goes_on: bytes) -> None:
    found = Told()
    with pytest.raises(httptools.HttpParserError):
        found.parser.feed_data(CHUNKED + begins + size + b"\r\n" + goes_on)
    assert found.large == 1


def test_chunks_that_a_body_may_hold_are_read_however_they_were_cut() -> None:
    parts = [b"\nfffff\r\n", b"\n", b"fffffff\n", b"a" * 31]
    body = b"".join(b"%x;fffff\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    sent = CHUNKED + body
    for at in range(len(sent)):
        assert told(sent[:at], sent[at:]) == [(b"/a", b"".join(parts))]
    assert told(*(sent[at : at + 1] for at in range(len(sent)))) == [(b"/a", b"".join(parts))]
    large = b"b" * Told.max_body_bytes
    sent = CHUNKED + b"20000\r\n" + large + b"\r\n0\r\n\r\n"
    assert told(*(sent[at : at + 5000] for at in range(0, len(sent), 5000))) == [(b"/a", large)]


def test_a_head_of_the_size_that_is_allowed_is_read() -> None:
    room = Told.max_head_bytes - len(post(b"/a", b"X: \r\n", b""))
    sent = post(b"/a", b"X: " + b"a" * room + b"\r\n", b"")
    assert told(sent) == [(b"/a", b"")]
    assert told(*(sent[at : at + 999] for at in range(0, len(sent), 999))) == [(b"/a", b"")]


def test_many_requests_and_large_bodies_in_one_piece_are_not_taken_for_a_head() -> None:
    large = post(b"/b", b"", b"b" * 200_000)
    assert told((post(b"/a") * 2000 + large) * 2) == [*[(b"/a", BODY)] * 2000, (b"/b", b"b" * 200_000)] * 2


def test_chunks_of_a_request_that_asks_for_another_protocol_are_refused() -> None:
    with pytest.raises(httptools.HttpParserError):
        told(b"POST / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def test_a_tunnel_is_a_request_like_any_other() -> None:
    sent = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + post(b"/b", b"", b"b")
    assert told(sent) == [(b"a:1", b""), (b"/b", b"b")]


HOST = (b"host", b"a.example:80")


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [HOST]),
        ("1.1", [(b"host", b"")]),
        ("1.1", [(b"host", b"[::1]:80")]),
        ("1.1", [(b"host", b"a:")]),
        ("1.1", [(b"host", b"my_service.a-b")]),
        ("1.1", [HOST, (b"transfer-encoding", b"Chunked ")]),
        ("1.0", []),
        ("1.0", [HOST]),
    ],
)
def test_a_plain_head_passes(version: str, headers: list[Any]) -> None:
    require_plain_head(version, b"/v2", headers)


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", []),
        ("1.1", [HOST, HOST]),
        ("1.0", [HOST, HOST]),
        ("1.1", [(b"host", b"a/b")]),
        ("1.1", [(b"host", b"a b")]),
        ("1.1", [(b"host", b"a@b")]),
        ("1.1", [(b"host", b"a?b")]),
        ("1.1", [(b"host", b"a:b")]),
        ("1.1", [(b"host", b"a:-1")]),
        ("1.1", [(b"host", b"a:999999")]),
        ("1.1", [(b"host", b"[::1")]),
        ("1.1", [(b"host", b"::1")]),
        ("1.1", [(b"host", b"a\xff")]),
        ("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")]),
        ("1.1", [HOST, (b"transfer-encoding", b",chunked")]),
        ("1.0", [HOST, (b"transfer-encoding", b"chunked")]),
        ("0.9", [HOST]),
        ("2.0", [HOST]),
    ],
)
def test_a_head_that_may_be_read_in_two_ways_is_refused(version: str, headers: list[Any]) -> None:
    with pytest.raises(Malformed):
        require_plain_head(version, b"/v2", headers)


@pytest.mark.parametrize("target", [b"/", b"//a/b", b"*", b"http://a.example", b"HTTPS://a.example:80/v2?x=1"])
def test_a_path_and_an_address_are_targets(target: bytes) -> None:
    require_plain_head("1.1", target, [HOST])


@pytest.mark.parametrize(
    "target", [b"", b"v2", b"*/v2", b"ftp://a/v2", b"file:///v2", b"http:///v2", b"http:v2", b"a:1"]
)
def test_what_is_neither_is_refused(target: bytes) -> None:
    with pytest.raises(Malformed):
        require_plain_head("1.1", target, [HOST])
