"""Golden rows: inputs kept beside a model with the outputs that each version gave when it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import numpy as np

from router.decoding import decoder
from router.errors import InvalidArgument
from service.protocol.tensors import DATATYPES, Array

EVERY_VERSION = "*"
MAX_SHOWN = 3


class GoldenError(InvalidArgument):
    """The file of golden rows cannot be used."""


class TensorDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor as the file holds it; `data` is flat, row by row. The tolerances are for outputs only."""

    data: list[bool | int | float | str | None]
    datatype: str | None = None
    shape: list[int] | None = None
    atol: float = 1e-4
    rtol: float = 1e-4


class CaseDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: dict[str, TensorDocument]
    outputs: dict[str, dict[str, TensorDocument]] = {}


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cases: list[CaseDocument]


@dataclass(frozen=True, slots=True)
class Expected:
    """What one output must be: |value - expected| <= atol + rtol * |expected|; text and labels exactly."""

    values: Array
    shape: tuple[int, ...] | None
    atol: float
    rtol: float


@dataclass(frozen=True, slots=True)
class Case:
    """One call and what it must answer; nothing expected where the file says nothing of this version."""

    feeds: Mapping[str, Array]
    expected: Mapping[str, Expected]


def parse_golden(content: bytes, version: int) -> tuple[Case, ...]:
    """The cases of one version. Raises GoldenError that names the case and what is wrong."""
    return tuple(_case(index, case, version) for index, case in enumerate(_document(content).cases))


def expectation(content: bytes | None, version: int) -> str:
    """Stands for what the file expects of this version; "" where it expects nothing, or cannot be read.

    Versions of one model for which it is equal must give the same answers to the same rows.
    """
    try:
        wanted = [_wanted(case, version) for case in _document(content or b'{"cases":[]}').cases]
    except GoldenError:
        return ""
    return sha256(msgspec.json.encode(wanted, order="deterministic")).hexdigest()[:16] if any(wanted) else ""


def differences(case: Case, names: Sequence[str], outputs: Sequence[Array]) -> list[str]:
    """What of an answer is not as expected, in words; `outputs` belong to `names`."""
    found = dict(zip(names, outputs, strict=True))
    problems = []
    for name, expected in case.expected.items():
        if name not in found:
            problems.append(f"there is no output {name!r}")
        elif problem := _difference(found[name], expected):
            problems.append(f"output {name!r} {problem}")
    return problems


def non_finite(names: Sequence[str], outputs: Sequence[Array]) -> list[str]:
    """Names of the outputs that hold NaN or an infinity."""
    return [name for name, array in zip(names, outputs, strict=True) if not _is_finite(array)]


def _document(content: bytes) -> Document:
    try:
        return decoder(Document).decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GoldenError(f"golden rows: {error}") from error
    except RecursionError:
        raise GoldenError("golden rows: nested too deeply") from None


def _wanted(case: CaseDocument, version: int) -> dict[str, TensorDocument]:
    return case.outputs.get(str(version), case.outputs.get(EVERY_VERSION, {}))


def _case(index: int, case: CaseDocument, version: int) -> Case:
    wanted = _wanted(case, version)
    try:
        return Case(
            {name: _input(tensor) for name, tensor in case.inputs.items()},
            {name: _expected(tensor) for name, tensor in wanted.items()},
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise GoldenError(f"golden rows: case {index}: {error}") from error


def _input(tensor: TensorDocument) -> Array:
    if tensor.datatype is None or tensor.datatype not in DATATYPES:
        raise ValueError(f"{tensor.datatype!r} is not a V2 datatype")
    if tensor.shape is None:
        raise ValueError("an input has no shape")
    dtype = DATATYPES[tensor.datatype].dtype
    data = [str(item).encode() for item in tensor.data] if tensor.datatype == "BYTES" else tensor.data
    return np.array(data, dtype=dtype).reshape(tensor.shape)


def _expected(tensor: TensorDocument) -> Expected:
    texts = any(isinstance(item, str) for item in tensor.data)
    values = np.array(tensor.data, dtype=object if texts else np.float64)  # None becomes NaN
    return Expected(values, None if tensor.shape is None else tuple(tensor.shape), tensor.atol, tensor.rtol)


def _difference(found: Array, expected: Expected) -> str | None:
    if expected.shape is not None and found.shape != expected.shape:
        return f"has shape {list(found.shape)} instead of {list(expected.shape)}"
    if found.size != expected.values.size:
        return f"has {found.size} elements instead of {expected.values.size}"
    flat = found.ravel()
    if flat.dtype.kind == "O" or expected.values.dtype.kind == "O":
        wrong = [str(a) != str(b) for a, b in zip(flat.tolist(), expected.values.tolist(), strict=True)]
    else:
        close = np.isclose(
            flat.astype(np.float64), expected.values, rtol=expected.rtol, atol=expected.atol, equal_nan=True
        )
        wrong = (~close).tolist()
    return f"differs in {sum(wrong)} of {len(wrong)} values, first at {wrong.index(True)}" if any(wrong) else None


def _is_finite(array: Array) -> bool:
    if array.dtype.kind in "OSUbiu":
        return True
    return bool(np.isfinite(array.astype(np.float32) if array.dtype.kind == "V" else array).all())
