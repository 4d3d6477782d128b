"""What is rare rather than large: framing that two readers may take differently (B27), numbers, keys and names at the
edge of JSON (B12), and paths that some servers would mend (B17). Some of it is fine, and must be taken for what it is.
"""

import gzip
import json
from collections.abc import Iterator

from tests.hostile.bodies import HEADER
from tests.hostile.case import INDEX, INFER, Case, case, posted, sized, tensor, text
from tests.hostile.wire import head, post

GOOD = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
NEXT = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
FINE = frozenset({200})

CHUNKS = {
    "extension_over_two_lines": b"1;a\nb\r\n[\r\n0\r\n\r\n",
    "space_after_the_size": b"1 \r\n[\r\n0\r\n\r\n",
    "space_before_the_size": b" 1\r\n[\r\n0\r\n\r\n",
    "folded_trailer": b"1\r\n[\r\n0\r\nX: a\r\n b\r\n\r\n",
    "nul_in_a_trailer": b"1\r\n[\r\n0\r\nX: a\x00\r\n\r\n",
    "line_feed_after_a_trailer": b"1\r\n[\r\n0\r\nX: a\n\r\n",
    "length_in_a_trailer": b"1\r\n[\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
}
WHOLE = b"%x\r\n%b\r\n" % (len(GOOD), GOOD)
FINE_CHUNKS = {
    "extension_of_the_last": WHOLE + b"0;x=y\r\n\r\n",
    "several_zeros": WHOLE + b"0000\r\n\r\n",
    "trailer": WHOLE + b"0\r\nAuthorization: Bearer a\r\nX: b\r\n\r\n",
    "quoted_extension": b'%x;a="b;c"\r\n%b\r\n0\r\n\r\n' % (len(GOOD), GOOD),
}
CODINGS = {
    "chunked_twice": ("Transfer-Encoding: chunked, chunked",),
    "two_fields": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "parameter": ("Transfer-Encoding: chunked;q=1",),
    "comma_before": ("Transfer-Encoding: ,chunked",),
    "comma_after": ("Transfer-Encoding: chunked,",),
    "gzip_first": ("Transfer-Encoding: gzip, chunked",),
    "empty": ("Transfer-Encoding: ",),
    "no_break_space": ("Transfer-Encoding: \u00a0chunked",),
    "upgrade": ("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked"),
}
HEADS = {
    "folded_field": ("X: a\r\n b", "Content-Length: 2"),
    "folded_length": ("Content-Length:\r\n\t2",),
    "line_feed_in_a_value": ("X: a\nContent-Length: 2",),
    "delete_in_a_value": ("X: \x7f", "Content-Length: 2"),
    "control_in_a_value": ("X: a\x01b", "Content-Length: 2"),
    "parenthesis_in_a_name": ("X(a): b", "Content-Length: 2"),
    "accent_in_a_name": ("X\u00e9: b", "Content-Length: 2"),
    "second_host": ("Host: y", "Content-Length: 2"),
    "second_host_alike": ("Host: x", "Content-Length: 2"),
}
LINES = {
    "line_feeds_alone": b"POST %b HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
    "vertical_tab": b"POST\x0b%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "tab_beside_a_space": b"POST \t%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "form_feed_before_the_version": b"POST %b \x0cHTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "carriage_return_before_the_version": b"POST %b \rHTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "line_feed_before_the_path": b"POST \n%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "space_first": b" POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "spaces_last": b"POST %b HTTP/1.1  \r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "spaces_inside_the_version": b"POST %b HTTP/  1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "spaces_and_no_path": b"POST    HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "spaces_and_a_second_path": b"POST  %b  /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "tabs": b"POST\t%b\tHTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "leading_zero": b"POST %b HTTP/01.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "version_1.10": b"POST %b HTTP/1.10\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "version_1": b"POST %b HTTP/1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "another_protocol": b"POST %b ICE/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "nul_first": b"\x00POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "an_answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no_host": b"POST %b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "ssh": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "proxy_protocol": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "proxy_protocol_2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    "file": b"POST file:///etc/passwd HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "fragment": b"POST %b#x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "scheme_of_files": b"GET ftp://x/v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "scheme_without_a_host": b"GET http:///v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragment_before_the_end": b"POST /v2#/models/floats/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "authority": b"POST example.com:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
}
HOSTS = ("a/b", "a, b", "a b", "a@b", "a?", "a#b", "a\\b", '"a"', "a\u00e9", "a:b", "a:-1", "a:999999", "[::1", "::1")
NUMBERS = {
    "beyond_double": (b"[1e400,1]", 400),
    "beyond_double_negative": (b"[-1e400,1]", 400),
    "beyond_any_exponent": (b"[1e99999999999999999999,1]", 400),
    "beyond_float": (b"[" + b"9" * 39 + b",1]", 400),
    "next_to_nothing": (b"[1e-400,1]", 200),
    "below_any_exponent": (b"[1e-99999999999999999999,1]", 200),
    "long_fraction": (b"[0." + b"0" * 100_000 + b"1,1]", 200),
    "large_whole": (b"[1000000000000000000000000000000,1]", 200),
    "minus_nothing": (b"[-0,-0.0]", 200),
    "text": (b'["1","2"]', 400),
    "booleans": (b"[true,false]", 400),
    "object": (b"{}", 400),
    "ragged": (b"[[1],[2,3]]", 400),
    "another_nesting": (b"[[[1],[2]]]", 400),
}
SHAPES = {
    "beyond_double": b"[1e400]",
    "with_points": b"[1.0,2.0]",
    "with_exponents": b"[1e0,2]",
    "of_booleans": b"[true,2]",
    "of_text": b'["1",2]',
    "minus_nothing": b"[-0,2]",
    "nothing_times_much": b"[0,1000000000000000000]",
}
NAMES = ("x\0", "x\u2028", "\u202ex", "x\u200b", "x" + "\u0301" * 5000, "\uff58", "X", " x")
DATATYPES = ("fp32", "FP32 ", "FP32\0", "\uff26\uff3032", "float32", "FP320")
PARAMETERS = {
    "timeout_beyond_double": b'"timeout":1e400',
    "timeout_negative": b'"timeout":-1',
    "priority_beyond_double": b'"priority":1e400',
    "unknown_beyond_double": b'"zz":1e400',
    "nested": b'"zz":{"a":[1]}',
    "list": b'"zz":[1]',
}
AFTER = {"nul": b"\x00", "form_feed": b"\x0c", "no_break_space": b"\xc2\xa0", "another": b"[]"}
TIMES = ("-1", "0", "nan", "inf", "1e400", "1_0", "0x1", "abc", "1,1", "\u0661")
PATHS = {
    "two_slashes_first": "//v2/models/floats/infer",
    "two_slashes": "/v2//models/floats/infer",
    "slash_after": INFER + "/",
    "parameter_after": INFER + ";x",
    "nul_after": INFER + "%00",
    "space_after": INFER + "%20",
    "question_mark_after": INFER + "%3f",
    "here": "/v2/models/./floats/infer",
    "back": "/v2/models/x/../floats/infer",
    "half_an_escape": "/v2/models/%/infer",
    "no_escape": "/v2/models/%zz/infer",
    "escape_of_other_servers": "/v2/models/%u002e/infer",
    "capital": "/v2/models/floats/Infer",
    "version_in_other_digits": "/v2/models/floats/versions/%EF%BC%91/infer",
    "version_with_underscore": "/v2/models/floats/versions/1_0/infer",
    "version_with_plus": "/v2/models/floats/versions/+1/infer",
    "version_with_zero": "/v2/models/floats/versions/01/infer",
    "version_with_space": "/v2/models/floats/versions/%201/infer",
    "version_with_line": "/v2/models/floats/versions/1%0a/infer",
    "version_negative": "/v2/models/floats/versions/-1/infer",
    "version_of_5000_digits": "/v2/models/floats/versions/" + "9" * 5000 + "/infer",
    "no_version": "/v2/models/floats/versions//infer",
    "star": "*",
    "query_language": "/graphql",
}
LENGTHS = {
    "underscore": "1_0",
    "leading_zeros": "0" * 50 + "10",
    "minus_nothing": "-0",
    "binary": "0b1",
    "wide": "\uff11",
}


def cases() -> Iterator[Case]:
    yield from _framing()
    yield from _documents()
    yield from _binary()
    yield from _fields()
    for name, path in PATHS.items():
        yield case(f"odd-path-{name}", "B17", post(path, GOOD), {404})


def _framing() -> Iterator[Case]:
    for name, chunks in CHUNKS.items():
        content = head("POST", INFER, "Transfer-Encoding: chunked") + chunks + NEXT
        yield case(f"odd-chunk-{name}", "B27", content, closes=True)
    for name, chunks in FINE_CHUNKS.items():
        yield case(f"odd-chunk-{name}", "B27", head("POST", INFER, "Transfer-Encoding: chunked") + chunks, FINE)
    for name, fields in CODINGS.items():
        yield case(f"odd-coding-{name}", "B27", head("POST", INFER, *fields) + WHOLE + b"0\r\n\r\n" + NEXT, closes=True)
    for name, fields in HEADS.items():
        yield case(f"odd-head-{name}", "B27", head("POST", INFER, *fields) + b"{}" + NEXT, closes=True)
    for name, line in LINES.items():
        yield case(f"odd-line-{name}", "B27", line.replace(b"%b", INFER.encode()) + NEXT, closes=True)
    for before, after in ((2, 1), (1, 2), (1000, 1000)):
        spaced = post(INFER, GOOD).replace(b" ", b" " * before, 1).replace(b" HTTP", b" " * after + b"HTTP")
        yield case(f"odd-line-spaces_{before}_{after}", "B27", spaced, FINE)
    for number, host in enumerate(HOSTS):
        content = f"POST {INFER} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        yield case(f"odd-host-{number}", "B24", content + NEXT, closes=True)
    for name, upgrade in {"h2c": "h2c", "websocket": "websocket", "several": "TLS/1.0, h2c"}.items():
        fields = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABk")
        yield case(f"odd-upgrade-{name}", "B27", post(INFER, GOOD, *fields), FINE)
        yield case(f"odd-upgrade-{name}-bad", "B27", post(INFER, NEXT, *fields))
        yield case(f"odd-upgrade-{name}-beside", "B27", post(INDEX, b'{"ready":true}', *fields), FINE)
    yield case(
        "odd-expect-much", "B9", head("POST", INFER, "Expect: 100-continue", "Content-Length: 9999999999"), {413}
    )
    yield case("odd-line-many_empty", "B27", b"\r\n" * 100_000 + post(INFER, b"{}"), {431}, True)


def _documents() -> Iterator[Case]:
    for name, (data, status) in NUMBERS.items():
        yield posted(f"odd-number-{name}", "B12", GOOD.replace(b"[1,2]}", data + b"}"), {status})
    for name, shape in SHAPES.items():
        yield posted(f"odd-shape-{name}", "B8", GOOD.replace(b"[1,2]", shape, 1))
    for number, word in enumerate(NAMES):
        yield posted(f"odd-name-{number}", "B12", tensor(name=word))
    for number, word in enumerate(DATATYPES):
        yield posted(f"odd-datatype-{number}", "B12", tensor(datatype=word))
    for name, member in PARAMETERS.items():
        yield posted(f"odd-parameter-{name}", "B12", b'{"parameters":{' + member + b"}," + GOOD[1:])
        of_input = GOOD.replace(b'"shape"', b'"parameters":{' + member + b'},"shape"')
        if b"zz" in member:
            yield posted(f"odd-parameter-{name}_of_input", "B12", of_input)
            wanted = b'{"outputs":[{"name":"y","parameters":{' + member + b"}}]," + GOOD[1:]
            yield posted(f"odd-parameter-{name}_of_output", "B12", wanted)
    for name, more in AFTER.items():
        yield posted(f"odd-after-{name}", "B12", GOOD + more)
    for name, size in {"true": True, "fraction": 8.0, "unsaid": 8, "unsaid_negative": -8}.items():
        yield posted(f"odd-size-{name}", "B12", sized(size))
    escaped = GOOD.replace(b'"inputs"', b'"\\u0069nputs"')
    yield posted("odd-key-escaped", "B12", escaped, FINE)
    yield posted("odd-key-escaped_and_plain", "B12", escaped[:-1] + b',"inputs":[]}')
    yield posted("odd-datatype-twice", "B12", GOOD.replace(b'"FP32"', b'"FP32","datatype":"FP64"'))
    yield posted("odd-another_protocol", "B12", b'{"jsonrpc":"2.0","method":"x","id":1}')
    yield posted("odd-ready-beyond_double", "B12", b'{"ready":1e400}', path=INDEX)


def _binary() -> Iterator[Case]:
    document = sized(8)
    for name, length in LENGTHS.items():
        yield case(f"odd-length-{name}", "B12", post(INFER, document + bytes(8), f"{HEADER}: {length}"))
    twice = post(INFER, document + bytes(8), *[f"{HEADER}: {len(document)}"] * 2)
    yield case("odd-length-twice_alike", "B12", twice)
    described = {"shape": [1, 2], "datatype": "FP32"}
    sizes = [2**63, 2**63 + 8]
    tensors = [{"name": f"x{n}", "parameters": {"binary_data_size": n}, **described} for n in sizes]
    wraps = json.dumps({"inputs": tensors}).encode()
    yield case("odd-sizes-wrap_around", "B8", post(INFER, wraps + bytes(8), f"{HEADER}: {len(wraps)}"))
    cut = gzip.compress(document + bytes(7))
    fields = f"{HEADER}: {len(document)}", "Content-Encoding: gzip"
    yield case("odd-packed-cut", "B32", post(INFER, cut, *fields))


def _fields() -> Iterator[Case]:
    for number, value in enumerate(TIMES):
        yield case(f"odd-time-{number}", "B12", post(INFER, GOOD, f"Serin-Timeout: {value}"))
    packed = gzip.compress(text())
    for name, fields in {
        "twice": ("Content-Encoding: gzip", "Content-Encoding: gzip"),
        "weighed": ("Content-Encoding: gzip;q=1",),
    }.items():
        yield case(f"odd-coding_of_body-{name}", "B32", post(INFER, packed, *fields), {415})
    for number, coding in enumerate(("gzip", "br", "identity\r\nContent-Encoding: gzip", "x" * 1000)):
        yield case(f"odd-coding_of_index-{number}", "B32", post(INDEX, b"{}", f"Content-Encoding: {coding}"), {415})
    yield case("odd-coding_of_index-none", "B32", post(INDEX, b"{}", "Content-Encoding: Identity"), FINE)
    yield case("odd-accept-weights", "B26", post(INFER, GOOD, "Accept-Encoding: gzip;q=1e400, deflate;q=nan"), FINE)
