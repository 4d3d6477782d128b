"""HTTP bodies before they are V2: compressed ones, and the header that says where the JSON part ends."""

import zlib

from service.protocol.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

Body = bytes | memoryview
"""Of a request; a view where it was large."""

PIECE_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


def decompress(body: Body, encoding: str, max_bytes: int) -> Body:
    """The body without its Content-Encoding (`gzip`, `x-gzip`, `deflate`, `identity`, or empty; any case).

    `deflate` is the zlib container (RFC 9110, 8.4.1.2); the raw stream that some clients send is taken too. One member
    only. Raises PayloadTooLarge above `max_bytes` of output, before that output is built; BadRequest for a stream that
    is broken, cut short or followed by something else; UnsupportedMediaType for other encodings.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name in ("gzip", "x-gzip"):
        return _inflate(body, _GZIP, max_bytes)
    if name == "deflate":
        return _inflate(body, _ZLIB if _is_zlib(body) else _RAW, max_bytes)
    raise UnsupportedMediaType("the Content-Encoding is not supported; use gzip, deflate or none")


def header_length(value: str | bytes | None, body_bytes: int) -> int | None:
    """`Inference-Header-Content-Length`: bytes of the JSON part, None without it. `body_bytes`: decompressed."""
    if value is None:
        return None
    digits = value if isinstance(value, str) else value.decode("latin-1")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19 and int(digits) <= body_bytes):
        raise BadRequest(
            f"Inference-Header-Content-Length must be a whole number from 0 to {body_bytes}, the bytes of the body"
        )
    return int(digits)


def _is_zlib(body: Body) -> bool:
    """RFC 1950, 2.2: method 8 (deflate), and the first two bytes are a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _inflate(body: Body, window: int, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(window)
    pieces: list[bytes] = []
    room = max_bytes
    try:
        for start in range(0, len(body), PIECE_BYTES):
            source = body[start : start + PIECE_BYTES]
            while source and not stream.eof:
                piece = stream.decompress(source, room + 1)
                source = stream.unconsumed_tail
                room -= len(piece)
                if room < 0:
                    raise PayloadTooLarge(f"the decompressed body is larger than {max_bytes} bytes")
                pieces.append(piece)
            if stream.eof:
                if stream.unused_data or start + PIECE_BYTES < len(body):
                    raise BadRequest("the compressed body is followed by something else")
                return b"".join(pieces)
    except zlib.error as error:
        raise BadRequest("the compressed body is broken") from error
    raise BadRequest("the compressed body is cut short")
