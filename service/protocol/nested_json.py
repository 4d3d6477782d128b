"""Outputs as nested JSON, whole or row by row, for protocols that give no shapes."""

from base64 import b64encode
from typing import Any

import numpy as np
import orjson

from router.errors import InvalidArgument
from service.protocol.errors import NonFiniteOutput, quoted
from service.protocol.json_codec import NonFinite, with_words
from service.protocol.messages import OutputTensor
from service.protocol.tensors import FLOATS, Array

WHOLE = "iub"
"""Kinds of numpy whose single values the JSON writer does not know by all their names, and Python says exactly."""


def value(output: OutputTensor, policy: NonFinite) -> Any:
    """The whole output, for `write`. Bytes that are no text, and outputs whose name ends in `_bytes`, are
    `{"b64": ...}`. Raises NonFiniteOutput where the policy is `error`."""
    array = output.array
    if output.datatype == "BYTES":
        return _texts(array.tolist(), output.name.endswith("_bytes"))
    if output.datatype == "BF16":
        array = array.astype(np.float32)
    if output.datatype in FLOATS and not np.isfinite(array).all():
        return _careful(output.name, array, policy)
    return _plain(array)


def rows(output: OutputTensor, policy: NonFinite) -> list[Any]:
    """The output row by row."""
    whole = value(output, policy)
    array = output.array
    if array.ndim == 1 and array.dtype.kind in WHOLE:
        return list(array.tolist())
    if not isinstance(whole, orjson.Fragment):
        return list(whole)
    return [value(OutputTensor(output.name, output.datatype, np.asarray(row)), policy) for row in array]


def records(outputs: list[OutputTensor], policy: NonFinite) -> Any:
    """One entry for each row: the value itself where there is one output, else the values by name.

    Raises InvalidArgument where the outputs have no rows in common.
    """
    lengths = {output.array.shape[:1] for output in outputs}
    if len(lengths) != 1 or lengths == {()}:
        shapes = ", ".join(f"{quoted(output.name)} {list(output.array.shape)}" for output in outputs)
        raise InvalidArgument(f"the outputs do not have a row for each instance ({shapes}); send `inputs` instead")
    if len(outputs) == 1:
        return value(outputs[0], policy)
    names = [output.name for output in outputs]
    return [dict(zip(names, row, strict=True)) for row in zip(*(rows(o, policy) for o in outputs), strict=True)]


def columns(outputs: list[OutputTensor], policy: NonFinite) -> Any:
    """Whole outputs by name; the value itself where there is one."""
    if len(outputs) == 1:
        return value(outputs[0], policy)
    return {output.name: value(output, policy) for output in outputs}


def write(document: Any) -> bytes:
    """The text of a document that holds such values."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _careful(name: str, array: Array, policy: NonFinite) -> Any:
    strange = array[~np.isfinite(array)]
    if policy == "error":
        raise NonFiniteOutput(
            f"output {quoted(name)}: {strange.size} values are NaN or infinite, which JSON cannot hold"
        )
    text = write(_plain(array))
    return orjson.Fragment(text if policy == "null" else with_words(text, strange, policy))


def _plain(array: Array) -> Any:
    if array.ndim:
        return np.ascontiguousarray(array)
    return array.item() if array.dtype.kind in WHOLE else array[()]  # a number of Python's would be a longer one


def _texts(found: Any, as_octets: bool) -> Any:
    if isinstance(found, list):
        return [_texts(item, as_octets) for item in found]
    octets = found.encode() if isinstance(found, str) else found
    try:
        return {"b64": b64encode(octets).decode()} if as_octets else octets.decode()
    except UnicodeDecodeError:
        return {"b64": b64encode(octets).decode()}
