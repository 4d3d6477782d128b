"""The classification extension: the classes with the largest numbers, as text, in place of the numbers.

Triton's `docs/protocol/extension_classification.md`: `<value>:<index>[:<label>]`, the largest first.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from ml_dtypes import bfloat16

from service.protocol.tensors import Array


def classified(array: Array, classes: int, batched: bool, labels: Sequence[str]) -> Array:
    """The `classes` largest of each row (of the whole tensor where there are no rows), BYTES of shape [rows, classes].

    Of equal numbers the first comes first. `labels` are named where there is one for the index.
    """
    numbers = array.astype(np.float32) if array.dtype == bfloat16 else array
    rows = numbers.reshape(len(array), prod(array.shape[1:])) if batched and array.ndim else numbers.reshape(1, -1)
    best = _largest_first(rows)[:, : min(classes, rows.shape[1])]
    found = np.empty(best.shape, np.object_)
    for row, places in enumerate(best.tolist()):
        for rank, (place, value) in enumerate(zip(places, rows[row, places].tolist(), strict=True)):
            found[row, rank] = _text(value, place, labels)
    return found if batched and array.ndim else found[0]


def _largest_first(rows: Array) -> Array:
    # Backwards twice: ascending and stable, then turned round, equal numbers would come last one first.
    last = rows.shape[1] - 1
    places: Array = last - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1]
    return places


def _text(value: int | float, place: int, labels: Sequence[str]) -> bytes:
    number = f"{value:.6f}" if isinstance(value, float) else str(int(value))
    return ":".join((number, str(place), *labels[place : place + 1])).encode()
