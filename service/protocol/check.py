"""A request against what the model says of itself: the arrays to feed it, or what was expected."""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from service.protocol import json_data
from service.protocol.binary import unpack
from service.protocol.errors import BadRequest, quoted
from service.protocol.messages import InferRequest, InputTensor
from service.protocol.tensors import DATATYPES, Array, Signature, TensorSpec, elements

SHOWN_NAMES = 20


def bind(request: InferRequest, signature: Signature) -> dict[str, Array]:
    """The arrays by input name; binary ones may be read-only views of the body.

    Raises BadRequest naming the tensor and what the model expects, before any data is parsed; then for data that is
    not what its datatype and shape say. Requested outputs are checked too.
    """
    if request.outputs is not None:
        _check_outputs(request, signature)
    if request.raw is not None:
        return _bind_raw(request.raw, signature)
    if request.form is not None:
        return request.form.feeds(signature)
    _check_inputs(request, signature)
    return {name: array_of(tensor) for name, tensor in request.inputs.items()}


def check_head(request: InferRequest, signature: Signature) -> None:
    """What `bind` checks before it parses any data. Raises BadRequest."""
    if request.outputs is not None:
        _check_outputs(request, signature)
    if request.raw is None and request.form is None:
        _check_inputs(request, signature)


def _check_inputs(request: InferRequest, signature: Signature) -> None:
    """Names, datatypes and shapes of the inputs are the model's, and none is missing. Raises BadRequest."""
    specs = signature.inputs_by_name
    for name, tensor in request.inputs.items():
        spec = specs.get(name)
        if spec is None:
            raise BadRequest(f"the model has no input {quoted(name)}; it has {_names(specs)}")
        if tensor.datatype != spec.datatype:
            raise BadRequest(f"input {quoted(name)}: datatype {tensor.datatype}, the model expects {spec.datatype}")
        if not spec.takes(tensor.shape):
            raise BadRequest(
                f"input {quoted(name)}: shape {list(tensor.shape)}, the model expects {list(spec.shape or ())}"
            )
    if len(request.inputs) != len(specs):
        missing = (name for name in specs if name not in request.inputs)
        raise BadRequest(f"missing: input {_names(missing)}")


def array_of(tensor: InputTensor) -> Array:
    """The array of a tensor whose datatype and shape were agreed to. Raises BadRequest."""
    data = tensor.data
    if isinstance(data, msgspec.Raw):
        return json_data.parse(tensor, data)
    if isinstance(data, memoryview):
        return unpack(tensor, data)
    return data


def _check_outputs(request: InferRequest, signature: Signature) -> None:
    for output in request.outputs or ():
        if output.name not in signature.output_names:
            names = _names(spec.name for spec in signature.outputs)
            raise BadRequest(f"the model has no output {quoted(output.name)}; it has {names}")
        if output.classification and (output.classification < 0 or _datatype(signature, output.name) == "BYTES"):
            raise BadRequest(f"output {quoted(output.name)}: classes are a positive number of the numbers in an output")


def _datatype(signature: Signature, output: str) -> str:
    return next(spec.datatype for spec in signature.outputs if spec.name == output)


def _bind_raw(body: memoryview, signature: Signature) -> dict[str, Array]:
    """A body without JSON (header length 0) is the one input; Triton's rules for its shape."""
    if len(signature.inputs) != 1:
        raise BadRequest(f"a raw binary request needs a model with one input; this one has {len(signature.inputs)}")
    spec = signature.inputs[0]
    if spec.datatype == "BYTES":
        return {spec.name: _raw_string(spec, body)}
    shape = _raw_shape(spec, len(body))
    return {spec.name: unpack(InputTensor(spec.name, spec.datatype, shape, elements(shape), body), body)}


def _raw_shape(spec: TensorSpec, size_bytes: int) -> tuple[int, ...]:
    """The free dimension is what the size leaves for it."""
    if spec.shape is None or spec.shape.count(-1) > 1:
        raise BadRequest(f"input {quoted(spec.name)}: a raw binary request allows one variable dimension at most")
    if -1 not in spec.shape:
        return spec.shape
    row = DATATYPES[spec.datatype].size * elements(tuple(size for size in spec.shape if size >= 0))
    if row == 0 or size_bytes % row:
        raise BadRequest(
            f"input {quoted(spec.name)}: {size_bytes} bytes are no whole number of rows of {row} bytes "
            f"({spec.datatype}, shape {list(spec.shape)})"
        )
    return tuple(size_bytes // row if size < 0 else size for size in spec.shape)


def _raw_string(spec: TensorSpec, body: memoryview) -> Array:
    """One element, without the length that stands before an element elsewhere."""
    shape = tuple(1 if size < 0 else size for size in ((1,) if spec.shape is None else spec.shape))
    if elements(shape) != 1:
        raise BadRequest(f"input {quoted(spec.name)}: a raw binary request carries a single BYTES element")
    array: Array = np.empty(shape, np.object_)
    array.fill(bytes(body))
    return array


def _names(names: Iterable[str] | Mapping[str, object]) -> str:
    """The model's own, for a message: all, or the first few."""
    known = list(names)
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    return (", ".join(map(ascii, known[:SHOWN_NAMES])) or "none") + more
