"""Arrays of numbers in documents: the bytes of their doubles as text, which costs a tenth of decimal digits. Pure."""

from binascii import a2b_base64, b2a_base64
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FORM: Final = np.dtype("<f8")


def packed(numbers: Floats) -> str:
    """The shape, and base64 of the little-endian doubles, row by row: "2,3:...". Every number comes back exactly."""
    text = b2a_base64(numbers.astype(_FORM, copy=False).tobytes(), newline=False).decode()
    return f"{','.join(map(str, numbers.shape))}:{text}"


def unpacked(told: Any) -> Floats:
    """The numbers again; also those of a list of lists. Raises ValueError for what is neither."""
    if not isinstance(told, str):
        return np.asarray(told, dtype=np.float64)
    shape, _, text = told.partition(":")
    numbers = np.frombuffer(a2b_base64(text, strict_mode=True), dtype=_FORM)
    return numbers.astype(np.float64).reshape([int(size) for size in shape.split(",")])
