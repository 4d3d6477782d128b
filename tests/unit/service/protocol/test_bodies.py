"""Compressed bodies and the header that says where the JSON part ends."""

import gzip
import zlib

import pytest

from service.protocol.bodies import decompress, header_length
from service.protocol.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

TEXT = bytes(range(256)) * 1000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
STREAMS = pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(TEXT)), ("deflate", zlib.compress(TEXT)), ("deflate", raw_deflate(TEXT))],
    ids=["gzip", "zlib", "raw"],
)


@STREAMS
def test_a_body_comes_out_as_it_went_in(encoding: str, packed: bytes) -> None:
    assert decompress(packed, encoding, len(TEXT)) == TEXT
    assert decompress(packed, f" {encoding.upper()} ", len(TEXT)) == TEXT


@pytest.mark.parametrize("encoding", PACKERS)
def test_an_empty_body_may_be_compressed(encoding: str) -> None:
    assert decompress(PACKERS[encoding](b""), encoding, 0) == b""


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_no_encoding_is_no_work(encoding: str) -> None:
    assert decompress(TEXT, encoding, 0) is TEXT


@STREAMS
def test_one_byte_above_the_bound_is_too_large(encoding: str, packed: bytes) -> None:
    with pytest.raises(PayloadTooLarge, match=str(len(TEXT) - 1)):
        decompress(packed, encoding, len(TEXT) - 1)


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_bomb_stops_at_the_bound(encoding: str) -> None:
    bomb = PACKERS[encoding](bytes(8_000_000))
    with pytest.raises(PayloadTooLarge):
        decompress(bomb, encoding, 100_000)


@STREAMS
def test_a_stream_that_is_cut_short_is_refused(encoding: str, packed: bytes) -> None:
    for end in (0, 1, 5, len(packed) // 2, len(packed) - 1):
        with pytest.raises(BadRequest):
            decompress(packed[:end], encoding, len(TEXT))


@STREAMS
def test_what_follows_a_stream_is_refused(encoding: str, packed: bytes) -> None:
    for rest in (b"x", bytes(100_000), packed):
        with pytest.raises(BadRequest, match="followed by something else"):
            decompress(packed + rest, encoding, 10 * len(TEXT))


@pytest.mark.parametrize("encoding", PACKERS)
def test_garbage_is_refused(encoding: str) -> None:
    with pytest.raises(BadRequest):
        decompress(b"\xff" * 100, encoding, 1000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate,gzip", "\x00"])
def test_another_encoding_is_not_supported(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        decompress(TEXT, encoding, 1000)


def test_the_header_is_a_number_within_the_body() -> None:
    assert header_length(None, 10) is None
    assert header_length("0", 10) == 0
    assert header_length(b"10", 10) == 10
    assert header_length("007", 10) == 7


@pytest.mark.parametrize(
    "value", ["11", "-1", "+1", "1.0", "", " 1", "1 ", "0x1", "1e1", "٣", "²", "9" * 5000, b"\xff"]
)
def test_any_other_header_is_refused(value: str | bytes) -> None:
    with pytest.raises(BadRequest, match="Inference-Header-Content-Length must be a whole number from 0 to 10"):
        header_length(value, 10)
