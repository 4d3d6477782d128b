"""Well-framed inference requests whose body is no JSON, or is binary or compressed and hostile (B8, B12, B13, B32)."""

import gzip
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import product

from tests.hostile.case import BAD, INDEX, INFER, MARK, WORDS, Case, case, posted, sized, tensor, text
from tests.hostile.wire import post

HEADER = "Inference-Header-Content-Length"
GIBIBYTE = 1024 * 1024 * 1024


def cases() -> Iterator[Case]:
    yield from _not_text()
    yield from _binary()
    yield from _strings()
    yield from _compressed()
    yield from _kinds()


def _not_text() -> Iterator[Case]:
    pieces = {
        "lone_byte": b"\xff",
        "cut_short": b"\xc3",
        "overlong": b"\xc0\xaf",
        "surrogate": b"\xed\xa0\x80",
        "beyond_unicode": b"\xf4\x90\x80\x80",
        "nul": b"\x00",
        "line_feed": b"\n",
        "escape": b"\x1b[31m",
        "lone_surrogate_escape": b"\\ud800",
        "wrong_escape": b"\\x41",
        "short_escape": b"\\u00",
    }
    for (name, piece), (where, body) in product(
        pieces.items(), {"name": tensor(name=MARK), "data": tensor(data=[MARK] * 2)}.items()
    ):
        yield posted(f"text-{where}-{name}", "B12", body.replace(MARK.encode(), piece))
    for name, body in {
        "nothing": b"",
        "one_space": b" ",
        "byte_order_mark": b"\xef\xbb\xbf" + text(),
        "utf_16": text().decode().encode("utf-16"),
        "utf_32": text().decode().encode("utf-32"),
        "cut_short": text()[:-3],
        "trailing": text() + b"}",
        "two": text() * 2,
        "single_quotes": text().replace(b'"', b"'"),
        "comment": b"/* */" + text(),
        "trailing_comma": text()[:-1] + b",}",
        "pickle": b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        "old_pickle": b"cos\nsystem\n(S'true'\ntR.",
        "yaml": b"!!python/object/apply:os.system ['true']",
        "xml": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "zeros": bytes(100_000),
        "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        "zip": b"PK\x03\x04" + bytes(26),
        "gzip_unsaid": gzip.compress(text()),
        "onnx": b"\x08\x07\x12\x04test",
    }.items():
        yield posted(f"body-{name}", "B13", body)


def framed(name: str, row: str, document: bytes, blob: bytes, length: object = None, path: str = INFER) -> Case:
    """The binary layout; `length` in place of the true one of the JSON part."""
    told = len(document) if length is None else length
    return case(name, row, post(path, document + blob, f"{HEADER}: {told}"), {400})


def _binary() -> Iterator[Case]:
    good = sized(8)
    for name, length in {
        "negative": -1,
        "beyond_the_body": len(good) + 9,
        "2_31": 2**31,
        "2_63": 2**63,
        "2_64": 2**64,
        "words": "ten",
        "fraction": "1.5",
        "exponent": "1e1",
        "hexadecimal": "0x10",
        "plus": "+1",
        "two": f"{len(good)}, {len(good)}",
        "huge": "9" * 400,
        "one_short": len(good) - 1,
        "one_long": len(good) + 1,
        "empty": " ",
    }.items():
        yield framed(f"binary-header-{name}", "B12", good, bytes(8), length)
    for name, size in {
        "negative": -8,
        "one_short": 7,
        "one_long": 9,
        "2_31": 2**31,
        "2_62": 2**62,
        "2_64": 2**64,
        "zero": 0,
    }.items():
        yield framed(f"binary-size-{name}", "B8", sized(size), bytes(8))
    yield framed("binary-bytes_left_over", "B8", good, bytes(9))
    yield framed("binary-bytes_missing", "B8", good, bytes(7))
    yield framed("binary-data_too", "B8", tensor(parameters={"binary_data_size": 8}), bytes(8))
    yield framed("binary-raw_of_odd_size", "B8", b"", bytes(7), 0)
    for name in ("shared_memory_region", "shared_memory_offset"):
        body = sized(8).replace(b'"binary_data_size": 8', f'"{name}": "/etc/passwd"'.encode())
        yield posted(f"binary-{name}", "B4", body, {400, 501})


def _strings() -> Iterator[Case]:
    """BYTES: a length of four bytes before each element."""
    for name, blob in {
        "length_beyond": b"\xff\xff\xff\xff",
        "length_2_31": b"\x00\x00\x00\x80a",
        "cut_in_a_length": b"\x01\x00",
        "cut_in_an_element": b"\x05\x00\x00\x00ab",
        "one_short": b"\x01\x00\x00\x00a",
        "one_long": b"\x00\x00\x00\x00" * 3,
        "bytes_after": b"\x00\x00\x00\x00" * 2 + b"a",
    }.items():
        document = sized(len(blob), datatype="BYTES", shape=[1, 2])
        yield framed(f"strings-{name}", "B12", document, blob, path=WORDS)
    for name, data in {"numbers": [1, 2], "null": [None, None], "lists": [[["a"]], [["b"]]], "few": ["a"]}.items():
        yield posted(f"strings-json-{name}", "B12", tensor(datatype="BYTES", data=data), path=WORDS)
    body = tensor(datatype="BYTES", data=["%%%", "*"], parameters={"content_type": "base64"})
    yield posted("strings-json-no_base64", "B12", body, path=WORDS)

    def too_many() -> list[bytes]:
        blob = bytes(4 * 1_000_001)
        document = sized(len(blob), datatype="BYTES", shape=[1, 1_000_001])
        return [post(WORDS, document + blob, f"{HEADER}: {len(document)}")]

    yield Case("strings-too_many", "B12", too_many)


@cache
def bomb(size: int, window: int, filler: bytes = b"[") -> bytes:
    """So many bytes, packed."""
    packer = zlib.compressobj(9, wbits=window)
    piece = filler * (1024 * 1024)
    packed = [packer.compress(piece) for _ in range(size // len(piece))]
    return b"".join((*packed, packer.flush()))


WINDOWS = {"gzip": 31, "zlib": 15, "raw": -15}


def _compressed() -> Iterator[Case]:
    large = frozenset({400, 413})
    for (name, window), (amount, size) in product(
        WINDOWS.items(), {"64_mib": GIBIBYTE // 16, "1_gib": GIBIBYTE}.items()
    ):
        coding = "gzip" if name == "gzip" else "deflate"

        def content(size=size, window=window, coding=coding) -> list[bytes]:
            return [post(INFER, bomb(size, window), f"Content-Encoding: {coding}")]

        yield Case(f"bomb-{name}-{amount}", "B32", content, large, slow=size == GIBIBYTE)

    def twice() -> list[bytes]:
        return [post(INFER, gzip.compress(bomb(GIBIBYTE // 16, 31)), "Content-Encoding: gzip, gzip")]

    yield Case("bomb-in_a_bomb", "B32", twice, frozenset({415}))
    packed = gzip.compress(text())
    for name, (coding, body) in {
        "broken": ("gzip", packed[:20] + b"\xff" * 20),
        "cut_short": ("gzip", packed[:-4]),
        "followed": ("gzip", packed + b"a"),
        "two_members": ("gzip", packed * 2),
        "not_packed": ("gzip", text()),
        "wrong_sum": ("gzip", packed[:-8] + bytes(8)),
        "deflate_cut_short": ("deflate", zlib.compress(text())[:-5]),
        "deflate_not_packed": ("deflate", text()),
        "gzip_as_deflate": ("deflate", packed),
        "nothing": ("gzip", b""),
        "with_dictionary": ("deflate", b"\x78\xbb" + bytes(20)),
    }.items():
        yield case(f"packed-{name}", "B32", post(INFER, body, f"Content-Encoding: {coding}"))
    for name, coding in {
        "br": "br",
        "zstd": "zstd",
        "compress": "compress",
        "list": "identity, gzip",
        "mark": MARK,
        "many": "gzip," * 1000,
    }.items():
        yield case(f"coding-{name}", "B32", post(INFER, packed, f"Content-Encoding: {coding}"), {415})


BOUNDARY = "multipart/form-data; boundary="
KINDS = {
    "multipart": (BOUNDARY + "x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'),
    "multipart_parts": (BOUNDARY + "x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 20_000),
    "multipart_preamble": (BOUNDARY + "x", b"\r\n" * 500_000),
    "multipart_boundary": (BOUNDARY + "x" * 50_000, b"--" + b"x" * 50_000),
    "multipart_without": ("multipart/form-data", b"--x\r\n\r\n"),
    "urlencoded": ("application/x-www-form-urlencoded", b"a=1&" * 100_000),
    "regular_expression": ('application/x-www-form-urlencoded; !="' + "\\" * 50_000, b"a=1"),
    "pickle": ("application/octet-stream", b"cos\nsystem\n(S'true'\ntR."),
    "pickle_by_name": ("application/vnd.bentoml+pickle", b"\x80\x04\x95\x00."),
    "joblib": ("application/x-joblib", b"\x80\x03cjoblib"),
    "yaml": ("application/yaml", b"!!python/object/apply:os.system ['true']"),
    "arrow": ("application/vnd.apache.arrow.file", b"ARROW1\0\0"),
    "csv": ("text/csv", b"1,2\n"),
    "xml": ("text/xml", b"<a/>"),
    "nothing": ("", b""),
    "mark": (MARK, MARK.encode()),
    "charset": ("application/json; charset=utf-7", b"+AHs-+AH0-"),
}


def _kinds() -> Iterator[Case]:
    for (name, (kind, body)), (where, path) in product(KINDS.items(), {"infer": INFER, "index": INDEX}.items()):
        row = "B13" if "pickle" in name or name in ("joblib", "yaml") else "B26"
        statuses = {200} if name in ("nothing", "multipart_preamble") and where == "index" else BAD
        yield case(f"kind-{where}-{name}", row, post(path, body, f"Content-Type: {kind}"), statuses)
