"""BYTES that are not UTF-8, past ONNX Runtime's Python API, which carries text alone while its tensors carry any bytes.

In they go as the constant of a model that takes nothing (`holding`), which costs a tenth of a millisecond. Out they
are read where the tensor holds them (`read`): an array of C++ strings, whose place the API tells. How such a string is
laid out depends on the C++ library of ONNX Runtime, so `is_readable` looks at known ones first, and follows no pointer
before it has seen that it is one.
"""

import ctypes
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from service.protocol.tensors import Array

# libstdc++'s string: where it starts, how long it is, and 16 bytes which hold a short one.
_LAYOUT: Final = np.dtype([("start", np.uintp), ("length", np.uintp), ("short", np.uint8, 16)])
_SHORT_AT: Final = 2 * ctypes.sizeof(ctypes.c_size_t)
SAMPLE: Final = (b"\xff\0short\0", b"\xff\0, longer than sixteen bytes\0")

NAME: Final = "y"
_STRING: Final = 8  # onnx.TensorProto.STRING
_IR_VERSION, _OPSET = 8, 17


def text(array: Array) -> Array:
    """With `str` in place of `bytes`. Raises UnicodeDecodeError."""
    return _filled([item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()], array.shape)


def as_read(array: Array) -> Array:
    """With `str` in place of the `bytes` that are UTF-8, as a session answers."""
    return _filled([_decoded(item) for item in of(array)], array.shape)


def of(array: Array) -> list[bytes]:
    """Its elements, in their order."""
    return [item if isinstance(item, bytes) else item.encode() for item in array.ravel().tolist()]


def holding(items: Iterable[bytes], shape: Sequence[int]) -> bytes:
    """An ONNX model (the protobuf of onnx.proto3) without inputs, whose output NAME is these strings."""
    dims = b"".join(_number(1, size) for size in shape)
    strings = b"".join(_content(6, item) for item in items)
    constant = dims + _number(2, _STRING) + strings + _content(8, NAME.encode())
    output = _content(1, NAME.encode()) + _content(2, _content(1, _number(1, _STRING)))
    graph = _content(2, b"held") + _content(5, constant) + _content(12, output)
    return _number(1, _IR_VERSION) + _content(7, graph) + _content(8, _number(2, _OPSET))


def array(address: int, shape: Sequence[int]) -> Array:
    """The tensor whose strings are at `address`: `str`, and `bytes` where they are not UTF-8."""
    return _filled([_decoded(item) for item in read(address, math.prod(shape))], shape)


def is_readable(address: int) -> bool:
    """Whether `read` understands what is there: a tensor that holds SAMPLE."""
    short, _ = _heads(address, len(SAMPLE))
    # Only where a short string points into itself is the first word a pointer, and this the layout.
    return short == (address + _SHORT_AT, len(SAMPLE[0])) and read(address, len(SAMPLE)) == list(SAMPLE)


def read(address: int, count: int) -> list[bytes]:
    """The strings of the tensor whose content is at `address`."""
    return [ctypes.string_at(start, length) for start, length in _heads(address, count)]


def _heads(address: int, count: int) -> list[tuple[int, int]]:
    content = ctypes.string_at(address, count * _LAYOUT.itemsize) if count else b""
    heads = np.frombuffer(content, _LAYOUT)
    return list(zip(heads["start"].tolist(), heads["length"].tolist(), strict=True))


def _filled(items: list[Any], shape: Sequence[int]) -> Array:
    result: Array = np.empty(len(items), dtype=object)
    result[:] = items
    return result.reshape(shape)


def _decoded(item: bytes) -> str | bytes:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _content(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
