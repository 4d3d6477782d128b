"""The V2 datatypes beside numpy's, and what a model says of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_RANK = 64
"""numpy's own; a longer shape is refused."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """One V2 datatype. `size`: bytes of an element in the binary extension; 0 for BYTES, where each says its own."""

    name: str
    dtype: np.dtype[Any]
    size: int


def _datatype(name: str, scalar: type) -> tuple[str, Datatype]:
    dtype = np.dtype(scalar)
    return name, Datatype(name, dtype, 0 if dtype.kind == "O" else dtype.itemsize)


DATATYPES: Mapping[str, Datatype] = MappingProxyType(
    dict(
        (
            _datatype("BOOL", np.bool_),
            _datatype("UINT8", np.uint8),
            _datatype("UINT16", np.uint16),
            _datatype("UINT32", np.uint32),
            _datatype("UINT64", np.uint64),
            _datatype("INT8", np.int8),
            _datatype("INT16", np.int16),
            _datatype("INT32", np.int32),
            _datatype("INT64", np.int64),
            _datatype("FP16", np.float16),
            _datatype("BF16", bfloat16),
            _datatype("FP32", np.float32),
            _datatype("FP64", np.float64),
            _datatype("BYTES", np.object_),
        )
    )
)
"""BYTES is held as a numpy object array of Python `bytes`."""

FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model says of one tensor. `shape`: -1 is a free dimension; None: the model does not even say the rank."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits."""
        if self.shape is None or shape == self.shape:
            return True
        if len(shape) != len(self.shape):
            return False
        if shape[1:] == self.shape[1:]:  # rows of the usual form
            return self.shape[0] < 0
        # A generator here would cost as much as the rest of `bind`.
        for wanted, given in zip(self.shape, shape, strict=True):  # noqa: SIM110
            if wanted not in (-1, given):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in its own order. The two mappings are made once, for the hot path."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    inputs_by_name: Mapping[str, TensorSpec] = field(init=False, repr=False, compare=False)
    output_names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs_by_name", {spec.name: spec for spec in self.inputs})
        object.__setattr__(self, "output_names", frozenset(spec.name for spec in self.outputs))


def elements(shape: tuple[int, ...]) -> int:
    """How many elements a shape has; 1 for the scalar shape ()."""
    return prod(shape)
