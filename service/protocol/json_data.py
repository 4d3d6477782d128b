"""The `data` of a JSON tensor: text to an array, by datatype. Flat or nested; exact for integers, checked for floats.

Short flat data goes straight through a typed decoder. The rest (nested, long, or with NaN and infinities) takes the
patient path: compare the brackets and commas with the shape, then parse in pieces straight into the array, so that
hostile data costs no more memory than the shape it honestly declares. A piece of plain numbers becomes an array without
any list (simdjson); what that parser does not take is parsed as before, which also says what is wrong with it.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain
from struct import Struct
from typing import Any

import msgspec
import numpy as np
import simdjson

from service.protocol.errors import BadRequest, quoted
from service.protocol.messages import InputTensor
from service.protocol.tensors import DATATYPES, FLOATS, Array, Datatype

SHORT_BYTES = 16 * 1024
PIECE_BYTES = 64 * 1024

_FLOATS = msgspec.json.Decoder(list[float])
_INTEGERS = msgspec.json.Decoder(list[int])
_BOOLEANS = msgspec.json.Decoder(list[bool])
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    name: _FLOATS if name in FLOATS else _BOOLEANS if name == "BOOL" else _INTEGERS
    for name in DATATYPES
    if name != "BYTES"
}
_EXPECTED = {_FLOATS: "numbers", _BOOLEANS: "true or false", _INTEGERS: "whole numbers"}

# The first number that no longer rounds to a finite one: the largest plus half of its last place.
_TOO_LARGE = {"FP16": 65520.0, "BF16": float(2**128 - 2**119), "FP32": float(2**128 - 2**103)}

_NON_FINITE = ((b'"NaN"', b"NaN"), (b'"Infinity"', b"Infinity"), (b'"-Infinity"', b"-Infinity"))
_NOT_STRUCTURE = bytes(code for code in range(256) if code not in b"[],")
_BRACKETS_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_WIDE = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}
_MINUS_ZERO = re.compile(rb"-0[ \t\r\n]*+(?:,|\Z)")
_NOTHING = re.compile(rb"[ \t\r\n,]*+")
_NESTED = re.compile(rb"\[\s*\[")


def parse(tensor: InputTensor, data: msgspec.Raw) -> Array:
    """The array of one tensor, in its shape. Raises BadRequest, naming the tensor, for anything else than its data."""
    datatype = DATATYPES[tensor.datatype]
    if datatype.size == 0:
        return _strings(tensor, data).reshape(tensor.shape)
    text = bytes(data)
    if len(text) > SHORT_BYTES or text.startswith(b"[["):
        return _patient(tensor, datatype, text)
    try:
        values = _DECODERS[tensor.datatype].decode(text)
        array = number_array(datatype, values)
    except (ValueError, OverflowError):
        return _patient(tensor, datatype, text)
    if len(values) != tensor.elements:
        raise _wrong_count(tensor, len(values))
    return array.reshape(tensor.shape)


def number_array(datatype: Datatype, values: list[Any]) -> Array:
    """The values, flat; not to be written to. Raises OverflowError for one that the datatype cannot hold: never an
    infinity out of a finite number."""
    if datatype.name == "FP32":
        return np.frombuffer(_packer("f", len(values))(*values), np.float32)
    bound = _TOO_LARGE.get(datatype.name)
    if bound is None:
        return np.array(values, datatype.dtype)
    if len(values) > 48:
        return _narrowed(datatype, np.fromiter(values, np.float64, len(values)))
    if values and not -bound < min(values) <= max(values) < bound:
        raise OverflowError
    return np.array(values, datatype.dtype)


def rows_array(datatype: Datatype, rows: Sequence[list[float]]) -> Array:
    """The numbers of rows of one length, [rows, length], of a datatype of floating point; not to be written to. Raises
    OverflowError as `number_array` does."""
    count = len(rows)
    if count == 1:
        return number_array(datatype, rows[0]).reshape(1, -1)
    values: list[float] = []
    for row in rows:
        values += row
    if datatype.name == "FP32":
        return number_array(datatype, values).reshape(count, -1)
    return _narrowed(datatype, np.frombuffer(_packer("d", len(values))(*values), np.float64)).reshape(count, -1)


@lru_cache(maxsize=256)
def _packer(letter: str, count: int) -> Callable[..., bytes]:
    """Puts so many numbers beside each other, rounded as a cast does. What it gives raises OverflowError where one
    would become an infinity: with standard sizes ("="), not with native ones."""
    return Struct(f"={count}{letter}").pack


def _narrowed(datatype: Datatype, wide: Array) -> Array:
    bound = _TOO_LARGE.get(datatype.name)
    if bound is not None and wide.size and not -bound < wide.min() <= wide.max() < bound:
        raise OverflowError
    return wide.astype(datatype.dtype)


def _patient(tensor: InputTensor, datatype: Datatype, text: bytes) -> Array:
    """Raises the reason, or returns the array; the text bounds `tensor.elements` before anything is allocated."""
    inner, first, last = _flattened(tensor, text)
    array = np.empty(tensor.elements, datatype.dtype)
    parser = simdjson.Parser()  # of this call alone: one of its documents at a time may live
    done = 0
    for piece in _pieces(inner, first, last):
        values = _quickly(parser, datatype, piece)
        if values is None:
            values = _parsed(tensor, datatype, piece)
        if done + len(values) > tensor.elements:
            raise _wrong_count(tensor, None)
        array[done : done + len(values)] = values
        done += len(values)
    if done != tensor.elements:
        raise _wrong_count(tensor, done)
    return array.reshape(tensor.shape)


def _quickly(parser: simdjson.Parser, datatype: Datatype, piece: bytes) -> Array | None:
    """The numbers of a piece without a list of objects; None for whatever is not plain, and for what does not fit."""
    kind = datatype.dtype.kind
    if kind == "b":
        return None
    width = "d" if datatype.name in FLOATS else kind
    # An integer has no sign of zero, and would lose the one that a fraction has.
    if width == "d" and b"-" in piece and _MINUS_ZERO.search(piece):
        return None
    try:
        document: Any = parser.parse(b"[" + piece + b"]")
        wide = np.frombuffer(document.as_buffer(of_type=width), _WIDE[width])
    except (ValueError, TypeError, RuntimeError):
        return None
    if wide.size:
        least, most = wide.min(), wide.max()
        bound = _TOO_LARGE.get(datatype.name)
        if bound is not None and not -bound < least <= most < bound:
            return None
        if width != "d" and not np.iinfo(datatype.dtype).min <= least <= most <= np.iinfo(datatype.dtype).max:
            return None
    return wide


def _flattened(tensor: InputTensor, text: bytes) -> tuple[bytes, int, int]:
    """A text, and from where to where it is numbers and commas alone. Its nesting has been compared with the shape."""
    if not text.startswith(b"["):
        if tensor.shape == () and text[:1] not in b"{n":
            return text, 0, len(text)
        raise BadRequest(f"input {quoted(tensor.name)}: data must be a list")
    if 2 * tensor.elements > len(text):
        raise _wrong_count(tensor, None)
    if text.find(b"[", 1) < 0:
        return text, 1, len(text) - 1
    structure = text.translate(None, _NOT_STRUCTURE)
    if len(structure) != _nesting_bytes(tensor.shape) or structure != _nesting(tensor.shape):
        raise BadRequest(f"input {quoted(tensor.name)}: nested data does not have the shape {list(tensor.shape)}")
    return text.translate(_BRACKETS_TO_SPACES), 0, len(text)


def _nesting(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas of nested lists of this shape. Lists end where a size of 0 leaves nothing to hold."""
    text = b""
    for size in reversed(shape[: shape.index(0) + 1] if 0 in shape else shape):
        text = b"[" + (text + b",") * (size - 1) + text + b"]" if size else b"[]"
    return text


def _nesting_bytes(shape: tuple[int, ...]) -> int:
    """The length of `_nesting`, known without building it."""
    length = 0
    for size in reversed(shape):
        length = 2 + size * length + max(size - 1, 0)
    return length


def _pieces(text: bytes, start: int, last: int) -> Iterator[bytes]:
    """A part of the text cut at commas. Numbers hold none, so a piece is a list without its brackets."""
    if _NOTHING.fullmatch(text, start, last):
        # Nothing but commas is not an empty list; a shape without elements may have any nesting of them.
        return
    while True:
        end = text.find(b",", start + PIECE_BYTES, last)
        if end < 0:
            break
        yield text[start:end]
        start = end + 1
    rest = text[start:last]
    yield rest if rest.strip(b" \t\r\n") else b","  # behind a comma comes a number


def _parsed(tensor: InputTensor, datatype: Datatype, piece: bytes) -> Array:
    decoder = _DECODERS[datatype.name]
    try:
        try:
            return number_array(datatype, decoder.decode(b"[" + piece + b"]"))
        except msgspec.MsgspecError:
            if decoder is not _FLOATS:
                raise
            return _with_non_finite(datatype, piece)
    except OverflowError as error:
        raise BadRequest(f"input {quoted(tensor.name)}: a value is out of the range of {tensor.datatype}") from error
    except ValueError as error:
        reason = str(error).partition(" - at")[0] if isinstance(error, msgspec.ValidationError) else "malformed JSON"
        raise BadRequest(
            f"input {quoted(tensor.name)}: {tensor.datatype} data must be {_EXPECTED[decoder]} ({reason})"
        ) from error


def _with_non_finite(datatype: Datatype, piece: bytes) -> Array:
    """NaN, Infinity and -Infinity, bare or as strings; the rest as ever. The standard parser knows the bare words."""
    for quoted_word, word in _NON_FINITE:
        piece = piece.replace(quoted_word, word)
    values = json.loads(b"[" + piece + b"]")
    if not {type(value) for value in values} <= {int, float}:
        raise msgspec.ValidationError("Expected NaN, Infinity, -Infinity or a number")
    wide = np.array(values, np.float64)
    finite = np.isfinite(wide)
    bound = _TOO_LARGE.get(datatype.name, np.inf)
    # Numbers too large for a double have become infinities that nobody wrote.
    if np.isinf(wide).sum() != piece.count(b"Infinity") or np.any(np.abs(wide[finite]) >= bound):
        raise OverflowError
    return wide.astype(datatype.dtype)


def _strings(tensor: InputTensor, data: msgspec.Raw) -> Array:
    """BYTES: one JSON string an element, as UTF-8, or base64 where the tensor's `content_type` says so."""
    text = bytes(data)
    if len(text) > SHORT_BYTES and count_strings(text) != tensor.elements:
        raise BadRequest(f"input {quoted(tensor.name)}: BYTES data must be {tensor.elements} strings in a list")
    values = _flat_strings(tensor, text)
    if len(values) != tensor.elements:
        raise _wrong_count(tensor, len(values))
    try:
        content = [b64decode(value, validate=True) for value in values] if tensor.base64 else map(str.encode, values)
        return np.fromiter(content, np.object_, len(values))
    except (binascii.Error, ValueError) as error:
        expected = "base64" if tensor.base64 else "Unicode text"
        raise BadRequest(f"input {quoted(tensor.name)}: an element is not {expected}") from error


def count_strings(text: bytes) -> int:
    """How many strings a JSON text holds, before an object is made of each: half its quotes that are not escaped."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text.count(b'"') // 2


def _flat_strings(tensor: InputTensor, text: bytes) -> list[str]:
    try:
        if tensor.shape == () and text.startswith(b'"'):
            return [msgspec.json.decode(text, type=str)]
        if not _NESTED.match(text):
            values: list[Any] = _string_lists(1).decode(text)
            return values
        values = [_string_lists(len(tensor.shape)).decode(text)]
    except ValueError as error:
        raise BadRequest(f"input {quoted(tensor.name)}: BYTES data must be strings in a list") from error
    for size in tensor.shape:
        if any(len(value) != size for value in values):
            raise BadRequest(f"input {quoted(tensor.name)}: nested data does not have the shape {list(tensor.shape)}")
        values = list(chain.from_iterable(values))
    return values


@cache
def _string_lists(depth: int) -> msgspec.json.Decoder[Any]:
    """At most one decoder a rank: numpy's 64."""
    nested: Any = str
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def _wrong_count(tensor: InputTensor, found: int | None) -> BadRequest:
    has = "another number of" if found is None else str(found)
    return BadRequest(
        f"input {quoted(tensor.name)}: data has {has} elements, the shape {list(tensor.shape)} needs {tensor.elements}"
    )
