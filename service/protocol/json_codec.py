"""The JSON objects of V2, typed: what a request must look like, and how an answer is written."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any, Literal

import msgspec
import numpy as np
import orjson

from service.protocol.errors import BadRequest, NonFiniteOutput, quoted
from service.protocol.limits import Limits
from service.protocol.long_lists import LONG_BYTES, set_aside
from service.protocol.messages import InferResponse, OutputTensor
from service.protocol.non_finite import quote_non_finite
from service.protocol.parameters import Known, read_known
from service.protocol.structure import check_structure
from service.protocol.tensors import FLOATS, Array

NonFinite = Literal["null", "string", "token", "error"]
"""How NaN and infinities, which JSON does not have, are written; per model."""

ABSENT = msgspec.Raw()


class TensorParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Those parameters of an input that mean something here."""

    binary_data_size: int | None = None
    content_type: str | None = None
    shared_memory_region: str | None = None


class OutputParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Those parameters of a requested output that mean something here."""

    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class Tensor(msgspec.Struct):
    """One input but for its parameters. The shape is text too: its length is checked before numbers are made of it."""

    name: str
    shape: msgspec.Raw
    datatype: str
    data: msgspec.Raw = ABSENT


class WireTensor(Tensor):
    """One input as it came."""

    parameters: TensorParameters | None = None


class WireOutput(msgspec.Struct):
    """One requested output as it came."""

    name: str
    parameters: OutputParameters | None = None


class WireRequest(msgspec.Struct):
    """A request as it came. Members that V2 does not know are skipped; of equal members the last one counts."""

    inputs: list[WireTensor]
    outputs: list[WireOutput] | None = None
    id: str | None = None
    parameters: msgspec.Raw = ABSENT


class _OpenTensor(Tensor):
    parameters: msgspec.Raw = ABSENT


class _OpenOutput(msgspec.Struct):
    name: str
    parameters: msgspec.Raw = ABSENT


class _OpenRequest(msgspec.Struct):
    """A request whose tensors may have any parameters."""

    inputs: list[_OpenTensor]
    outputs: list[_OpenOutput] | None = None
    id: str | None = None
    parameters: msgspec.Raw = ABSENT


_REQUEST = msgspec.json.Decoder(WireRequest)
_OPEN_REQUEST = msgspec.json.Decoder(_OpenRequest)


def read_request(text: bytes, limits: Limits) -> WireRequest:
    """Raises BadRequest for what is not the JSON of a V2 request within the limits. Tensor data stays text, which may
    not be JSON where it is a long list."""
    if len(text) > LONG_BYTES and (cut := set_aside(text)) is not None:
        wire = _read_around(*cut, limits)
        if wire is not None:
            return wire
    check_structure(text, limits.max_json_depth, _most_objects(limits))
    try:
        try:
            return _decoded(text, limits)
        except msgspec.ValidationError:
            raise
        except ValueError:
            if b"NaN" not in text and b"Infinity" not in text:
                raise
            return _decoded(quote_non_finite(text), limits)
    except msgspec.ValidationError as error:
        raise BadRequest(f"not a V2 inference request: {error}") from error
    except UnicodeDecodeError as error:
        raise BadRequest("the JSON is not UTF-8") from error
    except RecursionError as error:
        raise BadRequest(f"the JSON is nested more than {limits.max_json_depth} levels deep") from error
    except ValueError as error:
        raise BadRequest(f"not valid JSON: {error}") from error


def _read_around(text: bytes, lists: dict[bytes, memoryview], limits: Limits) -> WireRequest | None:
    """A request whose long lists were set aside; None where something is wrong, or where one is not a tensor's data."""
    try:
        check_structure(text, limits.max_json_depth, _most_objects(limits))
        wire = _decoded(text, limits)
    except (BadRequest, ValueError, RecursionError):
        return None
    for tensor in wire.inputs:
        whole = lists.pop(bytes(tensor.data), None)
        if whole is not None:
            tensor.data = msgspec.Raw(whole)
    return None if lists else wire


def _decoded(text: bytes, limits: Limits) -> WireRequest:
    try:
        return _REQUEST.decode(text)
    except msgspec.ValidationError:  # nothing is wrong, perhaps, but there are parameters that mean nothing here
        wire = _OPEN_REQUEST.decode(text)
    inputs = [
        WireTensor(t.name, t.shape, t.datatype, t.data, _known(t, TensorParameters, "input", limits))
        for t in wire.inputs
    ]
    outputs = [WireOutput(o.name, _known(o, OutputParameters, "output", limits)) for o in wire.outputs or ()]
    return WireRequest(inputs, outputs, wire.id, wire.parameters)


def _known(of: _OpenTensor | _OpenOutput, kind: type[Known], part: str, limits: Limits) -> Known | None:
    if of.parameters is ABSENT:
        return None
    return read_known(of.parameters, kind, limits, f"{part} {quoted(of.name)}: ")


def _most_objects(limits: Limits) -> int:
    return 2 * (limits.max_inputs + limits.max_outputs) + 2


def write_response(response: InferResponse, outputs: list[dict[str, Any]]) -> bytes:
    """The JSON of an answer; `outputs` are its entries, of `json_entry` or `binary_entry`."""
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id is not None:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    document["outputs"] = outputs
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def binary_entry(output: OutputTensor, size_bytes: int) -> dict[str, Any]:
    """An output whose data follows the JSON part."""
    parameters = {"binary_data_size": size_bytes}
    return {
        "name": output.name,
        "datatype": output.datatype,
        "shape": output.array.shape,
        "parameters": parameters,
    }


def json_entry(output: OutputTensor) -> dict[str, Any]:
    """An output with its data, flat. What JSON does not have becomes null; see `with_non_finite`."""
    array = output.array
    entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": array.shape}
    if output.datatype == "BYTES":
        return entry | _strings(array)
    entry["data"] = _plain(output)
    return entry


def needs_care(text: bytes) -> bool:
    """Whether a written answer may hold what a plain one cannot say. A screen: names may hold these words too."""
    return b"null" in text or _DOUBLE_ROUNDED in text


def careful_entry(output: OutputTensor, policy: NonFinite) -> tuple[dict[str, Any], int]:
    """The entry of a floating-point output under its policy, and how many of its values are not finite.

    Their number is a parameter of the output too, so that no reader takes null for what the model said.
    Raises NonFiniteOutput where the policy is `error`.
    """
    entry = json_entry(output)
    if output.datatype not in FLOATS:
        return entry, 0
    flat: Array = entry["data"]
    strange = flat[~np.isfinite(flat)]
    if strange.size and policy == "error":
        raise NonFiniteOutput(
            f"output {quoted(output.name)}: {strange.size} values are NaN or infinite, which JSON cannot hold; "
            "ask for binary output"
        )
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    if output.datatype == "FP32":
        text = text.replace(_DOUBLE_ROUNDED, _SAME_VALUE)
    if strange.size:
        entry["parameters"] = {"non_finite": strange.size}
        if policy != "null":
            text = with_words(text, strange, policy)
    entry["data"] = orjson.Fragment(text)
    return entry, strange.size


def with_words(text: bytes, strange: Array, policy: NonFinite) -> bytes:
    """Numbers as they were written, with a word for each null: those of `strange`, in its order."""
    return _interleaved(text.split(b"null"), map(_WORDS[policy].__getitem__, map(str, strange.tolist())))


_TOKENS = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}
_WORDS: Mapping[str, Mapping[str, bytes]] = {
    "token": _TOKENS,
    "string": {name: b'"' + word + b'"' for name, word in _TOKENS.items()},
}

# The one FP32 value whose shortest decimal lands on a neighbour when a reader goes through a double, as nearly all do;
# one more digit says the same value to both kinds of reader.
_DOUBLE_ROUNDED = b"7.038531e-26"
_SAME_VALUE = b"7.0385307e-26"


def _interleaved(pieces: list[bytes], words: Iterable[bytes]) -> bytes:
    return b"".join(part for pair in zip_longest(pieces, words, fillvalue=b"") for part in pair)


def _plain(output: OutputTensor) -> Array:
    """Flat, and of a dtype that the JSON writer knows."""
    flat = output.array.reshape(-1)
    return flat.astype(np.float32) if output.datatype == "BF16" else flat


def _strings(array: Array) -> dict[str, Any]:
    """Text where all of a tensor is UTF-8; else base64 for all of it, and it says so."""
    values = array.reshape(-1).tolist()
    try:
        return {"data": [value if isinstance(value, str) else value.decode() for value in values]}
    except UnicodeDecodeError:
        octets = (value.encode() if isinstance(value, str) else value for value in values)
        return {"parameters": {"content_type": "base64"}, "data": [b64encode(value).decode() for value in octets]}
