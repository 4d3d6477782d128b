"""Where one request ends and the next begins (B3, B9, B27), and heads that are too much (B28)."""

from collections.abc import Iterator

from tests.hostile.case import ANY_4XX, INDEX, INFER, MARK, Case, case
from tests.hostile.wire import head

GOOD = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
TARGETS = {"infer": INFER, "index": INDEX}

LENGTHS = {
    "two_that_differ": ("Content-Length: 3", "Content-Length: 5"),
    "two_alike": ("Content-Length: 5", "Content-Length: 5"),
    "a_list": ("Content-Length: 5, 5",),
    "a_list_that_differs": ("Content-Length: 5, 6",),
    "negative": ("Content-Length: -1",),
    "with_plus": ("Content-Length: +5",),
    "hexadecimal": ("Content-Length: 0x5",),
    "a_fraction": ("Content-Length: 5.0",),
    "exponent": ("Content-Length: 1e1",),
    "empty": ("Content-Length: ",),
    "words": ("Content-Length: five",),
    "two_numbers": ("Content-Length: 5 5",),
    "beyond_64_bits": ("Content-Length: 18446744073709551616",),
    "beyond_any": ("Content-Length: " + "9" * 400,),
    "other_digits": ("Content-Length: \u0665",),
    "space_before_colon": ("Content-Length : 5",),
}
CODINGS = {
    "length_first": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunked_first": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "chunked_and_no_length": ("Transfer-Encoding: chunked", "Content-Length: 0"),
    "nonsense": ("Transfer-Encoding: nonsense",),
    "identity": ("Transfer-Encoding: identity",),
    "starts_like_chunked": ("Transfer-Encoding: chunkedx",),
    "ends_like_chunked": ("Transfer-Encoding: xchunked",),
    "gzip_last": ("Transfer-Encoding: chunked, gzip",),
    "identity_last": ("Transfer-Encoding: chunked, identity",),
    "vertical_tab": ("Transfer-Encoding: \x0bchunked",),
    "quoted": ('Transfer-Encoding: "chunked"',),
    "space_before_colon": ("Transfer-Encoding : chunked",),
    "folded": ("Transfer-Encoding:\r\n chunked",),
    "two_fields_that_differ": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "with_a_length_and_nonsense": ("Content-Length: 5", "Transfer-Encoding: nonsense"),
    "with_an_identity_and_length": ("Content-Length: 5", "Transfer-Encoding: identity"),
}
CHUNKS = {
    "size_is_no_number": b"zz\r\nab\r\n0\r\n\r\n",
    "size_is_negative": b"-1\r\na\r\n0\r\n\r\n",
    "size_has_a_plus": b"+1\r\na\r\n0\r\n\r\n",
    "size_has_0x": b"0x1\r\na\r\n0\r\n\r\n",
    "size_beyond_64_bits": b"ffffffffffffffffff\r\na\r\n0\r\n\r\n",
    "size_wraps_around": b"10000000000000001\r\na\r\n0\r\n\r\n",
    "size_missing": b"\r\na\r\n0\r\n\r\n",
    "size_and_a_space": b"1 1\r\na\r\n0\r\n\r\n",
    "more_than_its_size": b"1\r\nabc\r\n0\r\n\r\n",
    "end_is_two_letters": b"1\r\naXX0\r\n\r\n",
    "end_is_bare_line_feed": b"1\r\na\n0\r\n\r\n",
    "end_is_missing": b"1\r\na0\r\n\r\n",
    "size_line_ends_in_line_feed": b"1\na\r\n0\r\n\r\n",
    "size_line_ends_in_carriage_return": b"1\ra\r\n0\r\n\r\n",
    "extension_with_a_control": b"1;a=\x01\r\na\r\n0\r\n\r\n",
    "trailer_without_colon": b"1\r\na\r\n0\r\nnonsense\r\n\r\n",
}
LINES = {
    "nonsense": b"nonsense\r\n\r\n",
    "http_9": b"POST %b HTTP/9.9\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "no_version": b"POST %b\r\nHost: x\r\n\r\n",
    "version_in_lower_case": b"POST %b http/1.1\r\nHost: x\r\n\r\n",
    "a_fourth_word": b"POST %b HTTP/1.1 more\r\nHost: x\r\n\r\n",
    "method_in_lower_case": b"post %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "http_0_9": b"POST %b HTTP/0.9\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "http_2": b"POST %b HTTP/2.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "chunks_in_http_1_0": b"POST %b HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown_method": b"BREW %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "preface_of_http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "greeting_of_tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "header_without_colon": b"POST %b HTTP/1.1\r\nHost x\r\nContent-Length: 0\r\n\r\n",
    "header_without_name": b"POST %b HTTP/1.1\r\n: x\r\nContent-Length: 0\r\n\r\n",
    "nul_in_a_header": b"POST %b HTTP/1.1\r\nHost: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "nul_in_a_name": b"POST %b HTTP/1.1\r\nHo\x00st: a\r\nContent-Length: 0\r\n\r\n",
    "space_in_a_name": b"POST %b HTTP/1.1\r\nX y: a\r\nContent-Length: 0\r\n\r\n",
    "carriage_return_in_a_header": b"POST %b HTTP/1.1\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "space_before_the_first_header": b"POST %b HTTP/1.1\r\n Host: x\r\nContent-Length: 0\r\n\r\n",
    "nul_in_the_path": b"POST %b\x00 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "tab_in_the_path": b"POST %b\tx HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "bytes_above_127_in_the_path": b"POST %b\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
}
MEBIBYTE = 1024 * 1024
HEADS = {
    "one_large_field": lambda path: (f"POST {path} HTTP/1.1", "Host: x", "X: " + "a" * MEBIBYTE),
    "one_large_name": lambda path: (f"POST {path} HTTP/1.1", "Host: x", "a" * MEBIBYTE + ": x"),
    "twenty_thousand_fields": lambda path: (f"POST {path} HTTP/1.1", "Host: x", *(f"X-{i}: 1" for i in range(20_000))),
    "twenty_thousand_alike": lambda path: (f"POST {path} HTTP/1.1", "Host: x", *["X: 1"] * 20_000),
    "a_long_path": lambda path: (f"POST {path}/" + "a" * MEBIBYTE + " HTTP/1.1", "Host: x"),
    "a_long_query": lambda path: (f"POST {path}?" + "a" * MEBIBYTE + " HTTP/1.1", "Host: x"),
    "a_large_cookie": lambda path: (f"POST {path} HTTP/1.1", "Host: x", "Cookie: " + "a=b; " * 200_000),
    "many_lengths": lambda path: (f"POST {path} HTTP/1.1", "Host: x", *["Content-Type: x"] * 20_000),
}

PIECE = 16 * 1024
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UNENDING = {
    "target": b"POST %b",
    "field": b"POST %b HTTP/1.1\r\nHost: x\r\nX: ",
    "name": b"POST %b HTTP/1.1\r\nHost: x\r\n",
    "extension": CHUNKED + b"1;",
    "trailer": CHUNKED + b"1\r\n[\r\n0\r\nX: ",
    "trailer_name": CHUNKED + b"1\r\n[\r\n0\r\n",
}
"""What goes on with the letter a, and would for ever: nobody keeps it until there is no time left."""


def cases() -> Iterator[Case]:
    for where, path in TARGETS.items():
        yield from _ambiguous(where, path)
        yield from _heads(where, path)
        yield from _bodies(where, path)


def _ambiguous(where: str, path: str) -> Iterator[Case]:
    """None of these may leave a second request behind: the connection ends, and what was smuggled is not answered."""
    for name, fields in LENGTHS.items():
        yield case(f"{where}-length-{name}", "B27", head("POST", path, *fields) + b"hello" + SMUGGLED, closes=True)
    for name, fields in CODINGS.items():
        content = head("POST", path, *fields) + b"0\r\n\r\n" + SMUGGLED
        yield case(f"{where}-coding-{name}", "B27", content, closes=True)
    for name, chunks in CHUNKS.items():
        content = head("POST", path, "Transfer-Encoding: chunked") + chunks + SMUGGLED
        yield case(f"{where}-chunk-{name}", "B27", content, closes=True)
    for name, line in LINES.items():
        yield case(f"{where}-line-{name}", "B27", line.replace(b"%b", path.encode()) + SMUGGLED, closes=True)


def _heads(where: str, path: str) -> Iterator[Case]:
    for name, lines in HEADS.items():

        def content(lines=lines) -> list[bytes]:
            return ["\r\n".join(lines(path)).encode() + b"\r\nContent-Length: 0\r\n\r\n"]

        yield Case(f"{where}-head-{name}", "B28", content, frozenset({431}), closes=True)

    for name, begins in UNENDING.items():

        def unending(begins: bytes = begins) -> Iterator[bytes]:
            yield begins.replace(b"%b", path.encode())
            yield from [b"a" * PIECE] * (MEBIBYTE // PIECE)

        behind = b"chunked" in begins
        yield Case(f"{where}-unending-{name}", "B28", unending, frozenset({400 if behind else 431}), closes=True)

    def trailers() -> Iterator[bytes]:
        yield head("POST", path, "Transfer-Encoding: chunked") + b"0\r\n"
        yield from (b"X-%d: 1\r\n" % number for number in range(20_000))
        yield b"\r\n"

    yield Case(f"{where}-head-twenty_thousand_trailers", "B28", trailers, ANY_4XX, closes=True)


def _bodies(where: str, path: str) -> Iterator[Case]:
    def tiny_chunks() -> Iterator[bytes]:
        yield head("POST", path, "Transfer-Encoding: chunked")
        for _ in range(100):
            yield b"1\r\n[\r\n" * 1000
        yield b"0\r\n\r\n"

    def endless() -> Iterator[bytes]:
        yield head("POST", path, "Transfer-Encoding: chunked")
        for _ in range(64):
            yield b"100000\r\n" + b" " * MEBIBYTE + b"\r\n"

    def extended() -> Iterator[bytes]:
        yield head("POST", path, "Transfer-Encoding: chunked")
        yield b"1;" + MARK[1:-1].encode() * 100_000 + b"\r\n[\r\n0\r\n\r\n"

    yield Case(f"{where}-body-one_byte_chunks", "B3", tiny_chunks)
    yield Case(f"{where}-body-without_end", "B9", endless, frozenset({413}), closes=True)
    yield Case(f"{where}-body-long_chunk_extension", "B3", extended)
    for size in ("7fffffff", "7fffffffffffffff", "ffffffffffffffff"):
        content = CHUNKED.replace(b"%b", path.encode()) + f"{size}\r\n[".encode()
        yield case(f"{where}-body-chunk_of_{size}", "B9", content, {413}, True)
    yield case(
        f"{where}-body-declared_too_large", "B9", head("POST", path, "Content-Length: 1099511627776"), {413}, True
    )
