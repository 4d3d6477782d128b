"""What ONNX Runtime does not tell: whether a tensor without dimensions is a scalar or of unknown rank.

Reads only the names and types of the graph's inputs and outputs from the protobuf (onnx.proto3, ModelProto.graph = 7,
GraphProto.input = 11 and output = 12), stepping over everything else, so weights are never touched.
"""

import mmap
from collections.abc import Iterator
from typing import Final

GRAPH: Final = 7
VALUES: Final = (11, 12)
NAME, TYPE, TENSOR, SHAPE = 1, 2, 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Span = tuple[int, int]
Buffer = mmap.mmap | bytes


def shapeless(path: str) -> set[str]:
    """Names of the graph's inputs and outputs that state no shape at all; empty where the file cannot be read so."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return set(_shapeless(content))
    except (OSError, ValueError, IndexError):
        return set()  # ONNX Runtime has loaded it, so it knows better what it is


def _shapeless(content: Buffer) -> Iterator[str]:
    for graph in _fields(content, (0, len(content)), GRAPH):
        for number in VALUES:
            for value in _fields(content, graph, number):
                if not _path(content, value, TYPE, TENSOR, SHAPE):
                    for start, end in _fields(content, value, NAME):
                        yield bytes(content[start:end]).decode("utf-8", "replace")


def _path(content: Buffer, span: Span, *numbers: int) -> bool:
    """Whether the nested fields are there, one in the other."""
    spans = [span]
    for number in numbers:
        spans = [inner for outer in spans for inner in _fields(content, outer, number)]
    return bool(spans)


def _fields(content: Buffer, span: Span, wanted: int) -> Iterator[Span]:
    """Spans of the length-delimited fields with this number in the message at `span`. IndexError: it is cut."""
    at, end = span
    while at < end:
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _, at = _varint(content, at)
        elif kind == BYTES:
            length, at = _varint(content, at)
            if at + length > end:
                raise IndexError("a field reaches beyond its message")
            if number == wanted:
                yield at, at + length
            at += length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("not a protobuf message")


def _varint(content: Buffer, at: int) -> Span:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("not a protobuf message")
