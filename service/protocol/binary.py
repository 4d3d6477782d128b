"""The binary tensor data extension: little-endian, row-major, no copies where the bytes lie well in memory."""

from struct import Struct
from sys import byteorder

import numpy as np

from service.protocol.errors import BadRequest, quoted
from service.protocol.messages import InputTensor
from service.protocol.tensors import DATATYPES, Array, Datatype

ALIGNMENT = 16
"""Where memory of the system's own begins. Vector kernels add up in another order elsewhere, and the last bits of an
answer would depend on the length of the JSON part."""

SMALL_BYTES = 16 * 1024
"""Below this a copy costs less than to ask where the data lies."""

_LENGTH = Struct("<I")


def unpack(tensor: InputTensor, blob: memoryview) -> Array:
    """The array of one tensor, in its shape: a read-only view of the body where it is large and lies well, else a copy.

    Raises BadRequest when the blob is not exactly this tensor.
    """
    datatype = DATATYPES[tensor.datatype]
    if datatype.size == 0:
        return _unpack_strings(tensor, blob).reshape(tensor.shape)
    check_size(tensor, len(blob))
    if tensor.datatype == "BOOL":
        return _booleans(tensor, blob).reshape(tensor.shape)
    array = np.frombuffer(blob, datatype.dtype).reshape(tensor.shape)
    if byteorder == "big":
        return array.byteswap()
    return array.copy() if array.nbytes < SMALL_BYTES or array.ctypes.data % ALIGNMENT else array


def check_size(tensor: InputTensor, size_bytes: int) -> None:
    """A blob of elements of fixed size is as long as its shape needs; BYTES is looked at when it is unpacked."""
    size = DATATYPES[tensor.datatype].size
    if size and size_bytes != tensor.elements * size:
        raise BadRequest(
            f"input {quoted(tensor.name)}: {size_bytes} bytes of binary data, "
            f"{tensor.datatype} {list(tensor.shape)} needs {tensor.elements * size}"
        )


def pack(array: Array, datatype: Datatype) -> memoryview:
    """The bytes of an array on the wire; a view where nothing has to be changed."""
    if datatype.size == 0:
        return memoryview(_pack_strings(array))
    flat = np.ascontiguousarray(array, datatype.dtype).reshape(-1)
    if byteorder == "big":
        flat = flat.byteswap()
    return flat.view(np.uint8).data


def _booleans(tensor: InputTensor, blob: memoryview) -> Array:
    octets = np.frombuffer(blob, np.uint8)
    if octets.size and octets.max() > 1:
        raise BadRequest(f"input {quoted(tensor.name)}: a byte of a BOOL must be 0 or 1")
    return octets.view(np.bool_)


def _unpack_strings(tensor: InputTensor, blob: memoryview) -> Array:
    if tensor.elements * _LENGTH.size > len(blob):
        raise _broken_strings(tensor)
    content = bytes(blob)
    array = np.empty(tensor.elements, np.object_)
    start = 0
    for index in range(tensor.elements):
        data = start + _LENGTH.size
        if data > len(content):
            raise _broken_strings(tensor)
        start = data + _LENGTH.unpack_from(content, start)[0]
        # A length that points outside makes a short slice here, and is seen by the next turn or after the loop.
        array[index] = content[data:start]
    if start != len(content):
        raise _broken_strings(tensor)
    return array


def _broken_strings(tensor: InputTensor) -> BadRequest:
    return BadRequest(
        f"input {quoted(tensor.name)}: the binary data is not exactly {tensor.elements} BYTES elements, "
        "each after its length as 4 bytes, little-endian"
    )


def _pack_strings(array: Array) -> bytes:
    pieces: list[bytes] = []
    for element in array.reshape(-1).tolist():
        content = element.encode() if isinstance(element, str) else element
        pieces += (_LENGTH.pack(len(content)), content)
    return b"".join(pieces)
