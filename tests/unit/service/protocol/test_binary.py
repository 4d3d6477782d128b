"""Blobs of the binary extension: BYTES with their lengths, BOOL, sizes."""

import struct

import numpy as np
import pytest

from service.protocol.binary import pack, unpack
from service.protocol.errors import BadRequest
from service.protocol.messages import InputTensor
from service.protocol.tensors import DATATYPES, Array


def array(datatype: str, blob: bytes, shape: tuple[int, ...]) -> Array:
    view = memoryview(blob)
    return unpack(InputTensor("x", datatype, shape, int(np.prod(shape)), view), view)


def element(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<I", len(content) if length is None else length) + content


def test_bytes_elements_come_after_their_lengths() -> None:
    blob = element(b"a") + element(b"") + element(b"\xff" * 300) + element(b"d")
    assert array("BYTES", blob, (2, 2)).tolist() == [[b"a", b""], [b"\xff" * 300, b"d"]]
    assert array("BYTES", b"", (0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("blob", "count"),
    [
        (b"", 1),
        (b"\0\0\0", 1),
        (element(b"abc", 4), 1),
        (element(b"abc", 2), 1),
        (element(b"abc", 2**32 - 1), 1),
        (element(b"abc", 2**31), 1),
        (element(b"a") + b"\0", 1),
        (element(b"a") * 2, 1),
        (element(b"a"), 2),
        (element(b"a") + b"\1\0\0", 2),
        (element(b"abcdef", 100) + element(b"b"), 2),
        (element(b"a"), 0),
        (element(b"a"), 1_000_000),
    ],
)
def test_lengths_that_do_not_fit_the_blob_are_refused(blob: bytes, count: int) -> None:
    with pytest.raises(BadRequest, match=f"input 'x': the binary data is not exactly {count} BYTES elements"):
        array("BYTES", blob, (count,))


def test_a_boolean_is_a_byte_of_0_or_1() -> None:
    assert array("BOOL", b"\0\1\1", (3,)).tolist() == [False, True, True]
    assert array("BOOL", b"", (0,)).tolist() == []
    with pytest.raises(BadRequest, match="must be 0 or 1"):
        array("BOOL", b"\0\2", (2,))


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_a_blob_has_the_size_its_shape_needs(size: int) -> None:
    with pytest.raises(BadRequest, match=r"FP32 \[2\] needs 8"):
        array("FP32", bytes(size), (2,))


def test_numbers_are_little_endian_and_row_major() -> None:
    assert array("UINT16", b"\1\0\2\0\3\0\4\0", (2, 2)).tolist() == [[1, 2], [3, 4]]
    transposed = np.array([[1, 2], [3, 4]], np.uint16).T
    assert bytes(pack(transposed, DATATYPES["UINT16"])) == b"\1\0\3\0\2\0\4\0"


def test_data_between_the_places_of_its_elements_is_moved() -> None:
    view = memoryview(b"-" + struct.pack("<2d", 1, 2))[1:]
    found = unpack(InputTensor("x", "FP64", (2,), 2, view), view)
    assert found.tolist() == [1, 2]
    assert found.flags.aligned


@pytest.mark.parametrize("elements", [2, 8192])
def test_data_begins_at_a_multiple_of_16_wherever_the_json_part_ends(elements: int) -> None:
    # Else a kernel adds up in another order, and the last bits of an answer depend on the length of the JSON part.
    whole = bytes(16) + bytes(4 * elements)
    spec = InputTensor("x", "FP32", (elements,), elements, memoryview(b""))
    views = (memoryview(whole)[start : start + 4 * elements] for start in range(16))
    assert {unpack(spec, view).ctypes.data % 16 for view in views} == {0}


def test_strings_are_packed_as_utf8() -> None:
    assert bytes(pack(np.array([["é", b"\xff"]], np.object_), DATATYPES["BYTES"])) == element(b"\xc3\xa9") + element(
        b"\xff"
    )
