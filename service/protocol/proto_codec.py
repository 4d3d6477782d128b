"""The same two doors for gRPC: the message of a call to a request, and an answer to a message.

A message carries its tensors raw (bytes as in the binary extension, one for each input in order) or typed (numbers in
fields by datatype), one way for all of them; the answer goes back the way the request came.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from service.pb.messages import ModelInferRequest, ModelInferResponse
from service.protocol.binary import check_size, pack
from service.protocol.errors import BadRequest, PayloadTooLarge, Unimplemented, quoted
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse, InputTensor, OutputTensor, Parameter, RequestedOutput
from service.protocol.shapes import check_datatype, elements_within
from service.protocol.tensors import DATATYPES, MAX_RANK, Array

CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of typed contents; FP16 and BF16 have none."""

_WIDE = {"int_contents": np.int64, "uint_contents": np.int64}
_SHARED_MEMORY = "shared_memory_region"


def parse(body: bytes, limits: Limits) -> Any:
    """The message in the bytes of a call. Raises BadRequest, PayloadTooLarge."""
    if len(body) > limits.max_body_bytes:
        raise PayloadTooLarge(f"the message is larger than {limits.max_body_bytes} bytes")
    try:
        return ModelInferRequest.FromString(body)
    except (DecodeError, UnicodeDecodeError) as error:  # the second from protobuf's Python implementation
        raise BadRequest("not a ModelInferRequest: the message cannot be parsed") from error


def decode(message: Any, limits: Limits) -> InferRequest:
    """A message as a request. Raw data is a view of the message; typed data is an array already.

    Raises BadRequest or Unimplemented.
    """
    if len(message.id) > limits.max_id_length:
        raise BadRequest(f"id: longer than {limits.max_id_length} characters")
    if len(message.inputs) > limits.max_inputs:
        raise BadRequest(f"more than {limits.max_inputs} inputs")
    inputs: dict[str, InputTensor] = {}
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadRequest(
            f"{len(message.inputs)} inputs and {len(raw)} raw_input_contents: raw contents are given for all inputs or "
            "for none"
        )
    for number, tensor in enumerate(message.inputs):
        if tensor.name in inputs:
            raise BadRequest(f"input {quoted(tensor.name)} is given twice")
        inputs[tensor.name] = _raw(tensor, raw[number], limits) if raw else _typed(tensor, limits)
    outputs = _outputs(message.outputs, limits) if message.outputs else None
    parameters = _parameters(message.parameters, limits)
    # A request without inputs says nothing of the way back; clients that send raw tensors read only raw ones.
    return InferRequest(inputs, message.id or None, parameters, outputs, bool(raw) or not inputs)


def encode(response: InferResponse, request: InferRequest) -> Any:
    """The answer as a message: raw where the request was, or where an output has no typed form."""
    message = ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id or ""
    )
    for name, value in response.parameters.items():
        _set_parameter(message.parameters[name], value)
    raw = request.binary_output or any(output.datatype not in CONTENTS for output in response.outputs)
    for output in response.outputs:
        entry = message.outputs.add(name=output.name, datatype=output.datatype, shape=output.array.shape)
        if raw:
            message.raw_output_contents.append(bytes(pack(output.array, DATATYPES[output.datatype])))
        else:
            getattr(entry.contents, CONTENTS[output.datatype]).extend(_values(output))
    return message


def _raw(tensor: Any, data: bytes, limits: Limits) -> InputTensor:
    if tensor.HasField("contents"):
        raise BadRequest(
            f"input {quoted(tensor.name)}: contents beside raw_input_contents; a message carries its tensors one way"
        )
    shape, elements = _shape(tensor, limits)
    found = InputTensor(tensor.name, tensor.datatype, shape, elements, memoryview(data))
    check_size(found, len(data))
    return found


def _typed(tensor: Any, limits: Limits) -> InputTensor:
    name, datatype = tensor.name, tensor.datatype
    shape, elements = _shape(tensor, limits)
    field = CONTENTS.get(datatype)
    if field is None:
        raise BadRequest(f"input {quoted(name)}: {datatype} has no typed form; send raw_input_contents")
    given = [found.name for found, _ in tensor.contents.ListFields()]
    if given not in ([], [field]):
        raise BadRequest(f"input {quoted(name)}: {datatype} belongs in {field}, but there is {', '.join(given)}")
    values = getattr(tensor.contents, field)
    if len(values) != elements:
        raise BadRequest(
            f"input {quoted(name)}: {len(values)} elements in {field}, the shape {list(shape)} needs {elements}"
        )
    return InputTensor(name, datatype, shape, elements, _array(tensor, values, field).reshape(shape))


def _array(tensor: Any, values: Any, field: str) -> Array:
    dtype = DATATYPES[tensor.datatype].dtype
    if dtype.kind == "O":
        array: Array = np.empty(len(values), np.object_)
        array[:] = list(values)
        return array
    wide = np.fromiter(values, _WIDE.get(field, dtype), len(values))
    if wide.dtype == dtype:
        return wide
    about = np.iinfo(dtype)
    if wide.size and (wide.min() < about.min or wide.max() > about.max):
        raise BadRequest(f"input {quoted(tensor.name)}: a value is outside of {tensor.datatype}")
    return wide.astype(dtype)


def _values(output: OutputTensor) -> Iterable[Any]:
    values = output.array.reshape(-1).tolist()
    if output.datatype != "BYTES":
        return values
    return [value.encode() if isinstance(value, str) else value for value in values]


def _shape(tensor: Any, limits: Limits) -> tuple[tuple[int, ...], int]:
    check_datatype(tensor.name, tensor.datatype)
    if tensor.parameters and _SHARED_MEMORY in tensor.parameters:
        raise Unimplemented(f"input {quoted(tensor.name)}: the shared memory extension is not offered; send data")
    if len(tensor.shape) > MAX_RANK:
        raise BadRequest(f"input {quoted(tensor.name)}: shape has more than {MAX_RANK} dimensions")
    shape = tuple(tensor.shape)
    return shape, elements_within(tensor.name, tensor.datatype, shape, limits)


def _outputs(wanted: Any, limits: Limits) -> tuple[RequestedOutput, ...]:
    if len(wanted) > limits.max_outputs:
        raise BadRequest(f"more than {limits.max_outputs} outputs requested")
    outputs: dict[str, RequestedOutput] = {}
    for output in wanted:
        if output.name in outputs:
            raise BadRequest(f"output {quoted(output.name)} is requested twice")
        if output.parameters and _SHARED_MEMORY in output.parameters:
            raise Unimplemented(f"output {quoted(output.name)}: the shared memory extension is not offered")
        classes = parameter_value(output.parameters["classification"]) if "classification" in output.parameters else 0
        if isinstance(classes, bool) or not isinstance(classes, int):
            raise BadRequest(f"output {quoted(output.name)}: classification must be a whole number")
        outputs[output.name] = RequestedOutput(output.name, None, classes or None)
    return tuple(outputs.values())


def _parameters(given: Any, limits: Limits) -> dict[str, Parameter]:
    if not given:
        return {}
    if sum(len(name) + value.ByteSize() for name, value in given.items()) > limits.max_parameters_bytes:
        raise BadRequest(f"parameters: more than {limits.max_parameters_bytes} bytes")
    values = {name: parameter_value(value) for name, value in given.items()}
    return {name: value for name, value in values.items() if value is not None}


def parameter_value(parameter: Any) -> Parameter | None:
    """What an InferParameter holds; None when it holds nothing."""
    field = parameter.WhichOneof("parameter_choice")
    value: Parameter | None = getattr(parameter, field) if field else None
    return value


def _set_parameter(parameter: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value
