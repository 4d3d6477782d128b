"""NaN, Infinity and -Infinity in a request: what many clients write as bare words, made strings that a parser takes."""

import re

PIECE_BYTES = 64 * 1024

# All possessive: linear in time and constant in memory whatever the text is.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_WHOLE_STRINGS = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_STRING_OR_WORD = re.compile(_STRING.pattern + rb"|-?Infinity|NaN", re.DOTALL)


def quote_non_finite(text: bytes) -> bytes:
    """The JSON text with its bare words in quotes, its strings untouched; other errors of syntax stay what they are."""
    pieces: list[bytes] = []
    start = 0
    while start < len(text):
        end = _end_of_piece(text, start)
        pieces.append(_quoted(text[start:end]))
        start = end
    return b"".join(pieces)


def _end_of_piece(text: bytes, start: int) -> int:
    """Never inside a word or a string: at a comma outside of strings, before a string, or after a long one."""
    comma = text.find(b",", start + PIECE_BYTES)
    whole = _WHOLE_STRINGS.match(text, start, len(text) if comma < 0 else comma)
    if whole is not None and whole.end() > start:
        return whole.end()
    string = _STRING.match(text, start)
    return len(text) if string is None else string.end()


def _quoted(piece: bytes) -> bytes:
    if b'"' in piece:
        return _STRING_OR_WORD.sub(lambda match: match[0] if match[0][:1] == b'"' else b'"' + match[0] + b'"', piece)
    piece = piece.replace(b"NaN", b'"NaN"').replace(b"Infinity", b'"Infinity"')
    return piece.replace(b'-"Infinity"', b'"-Infinity"')
