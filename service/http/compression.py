"""Content codings of answers."""

import gzip
import zlib

LEVEL = 1
"""Tensors compress little; a higher level costs more time than it saves on any network that a model server sees."""


def compress(body: bytes, coding: str) -> bytes:
    """`gzip`, or `deflate` in its zlib container (RFC 9110, section 8.4.1)."""
    return gzip.compress(body, LEVEL, mtime=0) if coding == "gzip" else zlib.compress(body, LEVEL)
