"""Bounds on the structure of a JSON text (depth, number of objects), found before a parser sees it.

The parser skips deep values by recursion and builds an object for each input, so both are bounded here, in constant
memory and about a nanosecond a byte; a text with few brackets, as almost all are, costs two looks.
"""

import re

import numpy as np

from service.protocol.errors import BadRequest

PIECE_BYTES = 256 * 1024
_KEPT = b'[]{}"'
_DROPPED = bytes(code for code in range(256) if code not in _KEPT)
_NOT_BACKSLASH = re.compile(rb"[^\\]")
_STRING = re.compile(rb'"[^"]*"')
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def check_structure(text: bytes, max_depth: int, max_objects: int) -> None:
    """Refuse with BadRequest a JSON text that nests deeper or holds more objects. Says nothing of its syntax."""
    if _has_more(text, min(max_depth, max_objects)):
        _check_exactly(text, max_depth, max_objects)


def _has_more(text: bytes, most: int) -> bool:
    """Whether there are more brackets that open something. One after the other, since to find one takes a tenth of the
    time that counting them does, and few texts have many."""
    for bracket in (b"{", b"["):
        at = text.find(bracket)
        while at >= 0:
            most -= 1
            if most < 0:
                return True
            at = text.find(bracket, at + 1)
    return False


def _check_exactly(text: bytes, max_depth: int, max_objects: int) -> None:
    depth = objects = start = 0
    in_string = False
    while start < len(text):
        end = _end_of_piece(text, start)
        brackets, in_string = _brackets(text[start:end], in_string)
        start = end
        if not brackets:
            continue
        objects += brackets.count(b"{")
        if objects > max_objects:
            raise BadRequest("the request holds too many objects: inputs and outputs are limited")
        depths = np.cumsum(np.frombuffer(brackets.translate(_STEPS), np.int8), dtype=np.int32)
        if depth + int(depths.max()) > max_depth:
            raise BadRequest(f"the JSON is nested more than {max_depth} levels deep")
        depth += int(depths[-1])


def _end_of_piece(text: bytes, start: int) -> int:
    """Never between a backslash and the character it escapes: whole runs of backslashes stay in one piece."""
    last = _NOT_BACKSLASH.search(text, start + PIECE_BYTES - 1)
    return len(text) if last is None else last.end()


def _brackets(piece: bytes, in_string: bool) -> tuple[bytes, bool]:
    """The brackets of a piece that are not in a string, and whether it ends inside one."""
    if b"\\" in piece:
        piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = (b'"' if in_string else b"") + piece.translate(None, _DROPPED)
    open_at_end = kept.count(b'"') % 2 == 1
    if open_at_end:
        kept = kept[: kept.rindex(b'"')]
    return _STRING.sub(b"", kept), open_at_end
