"""The other side of the wire: a request to another V2 server as bytes, and its answer as arrays."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import msgspec
import orjson

from router.errors import Internal
from service.protocol.binary import pack
from service.protocol.check import array_of
from service.protocol.codec import Encoded
from service.protocol.errors import BadRequest
from service.protocol.json_codec import ABSENT, binary_entry, json_entry
from service.protocol.messages import InputTensor, OutputTensor
from service.protocol.non_finite import quote_non_finite
from service.protocol.tensors import DATATYPES, Array, Signature


class _Parameters(msgspec.Struct):
    binary_data_size: int | None = None
    content_type: str | None = None


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: _Parameters | None = None
    data: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct):
    outputs: list[_Output]


_ANSWER = msgspec.json.Decoder(_Answer)


def write_request(
    feeds: Mapping[str, Array], signature: Signature, names: Sequence[str], timeout_micros: int, binary: bool
) -> Encoded:
    """A request for these outputs, all of it in JSON, or with all tensors both ways in the binary extension."""
    tensors = [OutputTensor(name, signature.inputs_by_name[name].datatype, array) for name, array in feeds.items()]
    parameters: dict[str, Any] = {"timeout": timeout_micros}
    if not binary:
        document = {"parameters": parameters, "inputs": [json_entry(tensor) for tensor in tensors]}
        document["outputs"] = [{"name": name} for name in names]
        return Encoded(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))
    blobs = [pack(tensor.array, DATATYPES[tensor.datatype]) for tensor in tensors]
    inputs = [binary_entry(tensor, len(blob)) for tensor, blob in zip(tensors, blobs, strict=True)]
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in names]
    text = orjson.dumps({"parameters": parameters, "inputs": inputs, "outputs": outputs})
    return Encoded(b"".join((text, *blobs)), len(text))


def read_answer(body: bytes, header_length: int | None, signature: Signature) -> dict[str, Array]:
    """The arrays of an answer by name. Raises Internal for what is not the answer of a model with this signature."""
    view = memoryview(body)
    text, rest = (body, view[:0]) if header_length is None else (bytes(view[:header_length]), view[header_length:])
    datatypes = {spec.name: spec.datatype for spec in signature.outputs}
    found = {}
    try:
        for output in _decoded(text).outputs:
            if datatypes.get(output.name) != output.datatype or min(output.shape, default=0) < 0:
                raise Internal(f"the upstream answered with an output {output.name[:64]!r} that its metadata has not")
            tensor, used = _tensor(output, rest)
            rest = rest[used:]
            found[output.name] = array_of(tensor)
    except (BadRequest, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Internal(f"the upstream's answer is no V2 answer: {str(error)[:200]}") from error
    return found


def _decoded(text: bytes) -> _Answer:
    try:
        return _ANSWER.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        return _ANSWER.decode(quote_non_finite(text))


def _tensor(output: _Output, rest: memoryview) -> tuple[InputTensor, int]:
    shape, said = tuple(output.shape), output.parameters or _Parameters()
    count = prod(shape)
    if said.binary_data_size is None:
        if output.data is ABSENT:
            raise Internal(f"the upstream answered with an output {output.name[:64]!r} that has no data")
        data: msgspec.Raw | memoryview = output.data
        return InputTensor(output.name, output.datatype, shape, count, data, said.content_type == "base64"), 0
    if not 0 <= said.binary_data_size <= len(rest):
        raise Internal(f"the upstream's answer is cut off in output {output.name[:64]!r}")
    blob = rest[: said.binary_data_size]
    return InputTensor(output.name, output.datatype, shape, count, blob), len(blob)
