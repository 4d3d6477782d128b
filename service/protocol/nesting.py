"""Tensors of protocols that give no shapes: what the nesting of their JSON says, fitted to what the model expects."""

import binascii
import re
from base64 import b64decode
from functools import cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from service.protocol import json_data
from service.protocol.errors import BadRequest, quoted
from service.protocol.limits import Limits
from service.protocol.messages import InputTensor
from service.protocol.shapes import elements_within
from service.protocol.tensors import FLOATS, MAX_RANK, Array, TensorSpec, elements

_NOT_STRUCTURE = bytes(code for code in range(256) if code not in b"[],")
_OPENING = re.compile(rb"[\s\[]*+")
_FIRST_IS_EMPTY = re.compile(rb"[\s\[]*+\]")


def tensor(spec: TensorSpec, text: bytes, limits: Limits) -> Array:
    """The array of one input from its JSON, nested as the tensor is; null is NaN for an input of floating point.

    A list of single values also fits an input of one column. The text has passed `check_structure`. Raises BadRequest
    that names the input.
    """
    text = text.strip()
    if spec.datatype == "BYTES":
        return _strings(spec, text, limits)
    if spec.datatype in FLOATS and b"null" in text:
        text = text.replace(b"null", b"NaN")  # in a string it is no number, whatever it says
    shape, wanted = shape_of(text), spec
    given = InputTensor(spec.name, spec.datatype, shape, _elements(wanted, shape, limits), msgspec.Raw(text))
    return _fitted(spec, json_data.parse(given, msgspec.Raw(text)))


def shape_of(text: bytes) -> tuple[int, ...]:
    """The shape of nested lists of numbers, by the first list of each level; a reader compares the others with it."""
    structure = text.translate(None, _NOT_STRUCTURE)
    rank = len(structure) - len(structure.lstrip(b"["))
    if rank == 0:
        return ()
    if rank > MAX_RANK or b"]" not in structure:
        raise BadRequest(f"lists are nested more than {MAX_RANK} deep, or never end")
    length = structure.index(b"]") - rank + 2  # of the first innermost list, with its brackets
    sizes = [0 if _FIRST_IS_EMPTY.match(text) else length - 1]
    for start in range(rank - 2, -1, -1):
        size, at = 1, start + 1 + length
        while structure[at : at + 1] == b",":
            size, at = size + 1, at + length + 1
        sizes.append(size)
        length = size * (length + 1) + 1
    return tuple(reversed(sizes))


def _elements(spec: TensorSpec, shape: tuple[int, ...], limits: Limits) -> int:
    return elements_within(spec.name, spec.datatype, shape, limits)


def _fitted(spec: TensorSpec, array: Array) -> Array:
    """The array in a shape that the model takes: its own, with a last one of 1, or what an empty list stood for."""
    shape, wanted = array.shape, spec.shape
    if wanted is not None and len(shape) < len(wanted):
        if shape and shape[-1] == 0:
            shape = (*shape, *(max(size, 0) for size in wanted[len(shape) :]))
        elif len(shape) + 1 == len(wanted) and wanted[-1] in (1, -1):
            shape = (*shape, 1)
    if not spec.takes(shape):
        raise BadRequest(
            f"input {quoted(spec.name)}: shape {list(array.shape)}, the model expects {list(wanted or ())}"
        )
    return array.reshape(shape)


def _strings(spec: TensorSpec, text: bytes, limits: Limits) -> Array:
    if json_data.count_strings(text) > 2 * limits.max_strings:  # two of each {"b64": ...}
        raise BadRequest(f"input {quoted(spec.name)}: more than {limits.max_strings} strings")
    opening = _OPENING.match(text)
    rank = opening[0].count(b"[") if opening else 0
    if rank > MAX_RANK:
        raise BadRequest(f"input {quoted(spec.name)}: lists are nested more than {MAX_RANK} deep")
    try:
        values: list[Any] = [_decoder(rank).decode(text)]
    except (ValueError, RecursionError) as error:
        raise BadRequest(f'input {quoted(spec.name)}: must be strings or {{"b64": "..."}}, nested evenly') from error
    shape: list[int] = []
    for _ in range(rank):
        shape.append(len(values[0]) if values else 0)
        if any(len(value) != shape[-1] for value in values):
            raise BadRequest(f"input {quoted(spec.name)}: its lists are not of one length")
        values = list(chain.from_iterable(values))
    elements_within(spec.name, "BYTES", tuple(shape), limits)
    array: Array = np.empty(elements(tuple(shape)), np.object_)
    for index, value in enumerate(values):
        array[index] = _octets(spec, value)
    return _fitted(spec, array.reshape(shape))


def _octets(spec: TensorSpec, value: str | dict[str, str]) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if list(value) == ["b64"]:
            return b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"input {quoted(spec.name)}: an element is not base64, or not Unicode") from error
    raise BadRequest(f'input {quoted(spec.name)}: an element is neither a string nor {{"b64": "..."}}')


@cache
def _decoder(rank: int) -> msgspec.json.Decoder[Any]:
    nested: Any = str | dict[str, str]
    for _ in range(rank):
        nested = list[nested]
    return msgspec.json.Decoder(nested)
