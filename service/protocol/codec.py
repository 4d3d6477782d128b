"""The two doors of the wire: the bytes of an HTTP body to a request, and an answer to bytes."""

from collections.abc import Mapping

import msgspec

from service.protocol.binary import check_size, pack
from service.protocol.errors import BadRequest, PayloadTooLarge, Unimplemented, quoted
from service.protocol.json_codec import (
    ABSENT,
    NonFinite,
    OutputParameters,
    TensorParameters,
    WireOutput,
    WireTensor,
    binary_entry,
    careful_entry,
    json_entry,
    needs_care,
    read_request,
    write_response,
)
from service.protocol.limits import Limits
from service.protocol.messages import NO_PARAMETERS, InferRequest, InferResponse, InputTensor, RequestedOutput
from service.protocol.parameters import read_parameters
from service.protocol.shapes import check_datatype, elements_within
from service.protocol.short import SHORT_BYTES, read_short, write_short
from service.protocol.tensors import DATATYPES, MAX_RANK

SHAPE_TEXT_BYTES = 2048
DEFAULT_LIMITS = Limits()
_SHAPE = msgspec.json.Decoder(tuple[int, ...])
_NO_COUNTS: Mapping[str, int] = {}


class Encoded(msgspec.Struct, frozen=True):
    """A whole HTTP body. `header_length`: of its JSON part, for Inference-Header-Content-Length; None: all is JSON.

    `non_finite`: how many values of each JSON output were NaN or infinite; empty for nearly all answers.
    """

    body: bytes
    header_length: int | None = None
    non_finite: Mapping[str, int] = _NO_COUNTS


class PassedOn(InferResponse, frozen=True, kw_only=True):
    """An answer that another server has written: its outputs are not looked into."""

    encoded: Encoded


def decode(
    body: bytes | bytearray | memoryview, header_length: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> InferRequest:
    """A decompressed body as a request; `header_length` as `bodies.header_length` gives it (0: raw binary request).

    Names, datatypes, shapes and sizes are checked here; data is only parsed by `check.bind`, when the model has agreed
    to them. Binary data is a view of `body`. Raises BadRequest, PayloadTooLarge or Unimplemented.
    """
    if len(body) > limits.max_body_bytes:
        raise PayloadTooLarge(f"the body is larger than {limits.max_body_bytes} bytes")
    if header_length == 0:
        return InferRequest({}, binary_output=True, raw=memoryview(body))
    if header_length is None and len(body) <= SHORT_BYTES and (short := read_short(bytes(body), limits)) is not None:
        return short
    if header_length is None:
        text, blobs = bytes(body), memoryview(b"")
    elif header_length > len(body):
        raise BadRequest("Inference-Header-Content-Length is larger than the body")
    else:
        view = memoryview(body)
        text, blobs = bytes(view[:header_length]), view[header_length:]
    wire = read_request(text, limits)
    parameters = NO_PARAMETERS if wire.parameters is ABSENT else read_parameters(wire.parameters, limits)
    binary_output = parameters.get("binary_data_output", False)
    if not isinstance(binary_output, bool):
        raise BadRequest("parameters: binary_data_output must be true or false")
    if wire.id is not None and len(wire.id) > limits.max_id_length:
        raise BadRequest(f"id: longer than {limits.max_id_length} characters")
    inputs = _inputs(wire.inputs, blobs, limits)
    outputs = _outputs(wire.outputs, limits) if wire.outputs else None
    return InferRequest(inputs, wire.id, parameters, outputs, binary_output)


def encode(response: InferResponse, request: InferRequest, policy: NonFinite = "null") -> Encoded:
    """The answer as the request wants it: JSON, or the binary layout where any output goes out in binary.

    `policy` says how NaN and infinities are written in JSON. Raises NonFiniteOutput where it is `error`.
    """
    if isinstance(response, PassedOn):
        return response.encoded
    if request.outputs is None and not request.binary_output:
        short = write_short(response)
        if short is not None and not needs_care(short):
            return Encoded(short)
    binary = request.binary_outputs([output.name for output in response.outputs])
    blobs = {o.name: pack(o.array, DATATYPES[o.datatype]) for o in response.outputs if o.name in binary}
    entries = [
        binary_entry(output, len(blobs[output.name])) if output.name in blobs else json_entry(output)
        for output in response.outputs
    ]
    text = write_response(response, entries)
    counts = _NO_COUNTS
    if len(blobs) < len(entries) and needs_care(text):
        text, counts = _with_care(response, blobs, policy)
    return Encoded(b"".join((text, *blobs.values())), len(text), counts) if blobs else Encoded(text, None, counts)


def _with_care(
    response: InferResponse, blobs: Mapping[str, memoryview], policy: NonFinite
) -> tuple[bytes, dict[str, int]]:
    """The JSON part once more, value by value where that is needed; with the counts of what was not finite."""
    entries = []
    counts = {}
    for output in response.outputs:
        if output.name in blobs:
            entries.append(binary_entry(output, len(blobs[output.name])))
            continue
        entry, count = careful_entry(output, policy)
        entries.append(entry)
        if count:
            counts[output.name] = count
    return write_response(response, entries), counts


def _inputs(tensors: list[WireTensor], blobs: memoryview, limits: Limits) -> dict[str, InputTensor]:
    if len(tensors) > limits.max_inputs:
        raise BadRequest(f"more than {limits.max_inputs} inputs")
    inputs: dict[str, InputTensor] = {}
    taken = 0
    for tensor in tensors:
        name = tensor.name
        if name in inputs:
            raise BadRequest(f"input {quoted(name)} is given twice")
        parameters = tensor.parameters
        shape, elements = _shape(tensor, limits)
        if parameters is None or parameters.binary_data_size is None:
            if tensor.data is ABSENT:
                _refuse_shared_memory("input", name, parameters)
                raise BadRequest(f"input {quoted(name)}: neither data nor the parameter binary_data_size")
            base64 = parameters is not None and parameters.content_type == "base64"
            inputs[name] = InputTensor(name, tensor.datatype, shape, elements, tensor.data, base64)
            continue
        blob = _blob(tensor, blobs[taken:], parameters.binary_data_size)
        taken += len(blob)
        inputs[name] = InputTensor(name, tensor.datatype, shape, elements, blob)
        check_size(inputs[name], len(blob))
    if taken != len(blobs):
        raise BadRequest(f"{len(blobs)} bytes after the JSON part, but the binary_data_size parameters sum to {taken}")
    return inputs


def _shape(tensor: WireTensor, limits: Limits) -> tuple[tuple[int, ...], int]:
    """The shape and its product, both bounded; the datatype too, since strings have a bound of their own."""
    name = tensor.name
    check_datatype(name, tensor.datatype)
    text = bytes(tensor.shape)
    try:
        shape = _SHAPE.decode(text) if len(text) <= SHAPE_TEXT_BYTES else None
    except ValueError as error:
        raise BadRequest(f"input {quoted(name)}: shape must be a list of whole numbers") from error
    if shape is None or len(shape) > MAX_RANK:
        raise BadRequest(f"input {quoted(name)}: shape has more than {MAX_RANK} dimensions")
    return shape, elements_within(name, tensor.datatype, shape, limits)


def _blob(tensor: WireTensor, rest: memoryview, size_bytes: int) -> memoryview:
    if tensor.data is not ABSENT and bytes(tensor.data) != b"null":
        raise BadRequest(f"input {quoted(tensor.name)}: both data and the parameter binary_data_size")
    if not 0 <= size_bytes <= len(rest):
        raise BadRequest(
            f"input {quoted(tensor.name)}: binary_data_size must be from 0 to the {len(rest)} bytes that are left "
            "after the JSON part; its length goes into the header Inference-Header-Content-Length"
        )
    return rest[:size_bytes]


def _outputs(wanted: list[WireOutput], limits: Limits) -> tuple[RequestedOutput, ...]:
    if len(wanted) > limits.max_outputs:
        raise BadRequest(f"more than {limits.max_outputs} outputs requested")
    outputs: dict[str, RequestedOutput] = {}
    for output in wanted:
        if output.name in outputs:
            raise BadRequest(f"output {quoted(output.name)} is requested twice")
        flags = output.parameters
        _refuse_shared_memory("output", output.name, flags)
        outputs[output.name] = (
            RequestedOutput(output.name)
            if flags is None
            else RequestedOutput(output.name, flags.binary_data, flags.classification)
        )
    return tuple(outputs.values())


def _refuse_shared_memory(part: str, name: str, parameters: TensorParameters | OutputParameters | None) -> None:
    """Ignored, it would leave a client reading what the region held before."""
    if parameters is not None and parameters.shared_memory_region is not None:
        raise Unimplemented(f"{part} {quoted(name)}: the shared memory extension is not offered; send data")
