"""Short JSON requests and answers of plain numbers, in one step each: what nearly all traffic of small models is.

Both functions give None for whatever is not plain: the patient way then does the work, and says what is wrong. What
they do give is what the patient way would have given, to the byte.
"""

from functools import lru_cache

import msgspec
import orjson

from service.protocol.json_codec import ABSENT, read_parameters
from service.protocol.json_data import number_array
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse, InputTensor
from service.protocol.tensors import DATATYPES, FLOATS, MAX_RANK

SHORT_BYTES = 8 * 1024
MAX_BRACKETS = 32
"""More nesting than plain requests have; it bounds the depth that the parser may skip through."""

_NUMBERS = frozenset(name for name, datatype in DATATYPES.items() if datatype.size and name != "BF16")


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float]
    parameters: msgspec.Raw = ABSENT


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Tensor]
    outputs: msgspec.Raw = ABSENT
    id: str | None = None
    parameters: msgspec.Raw = ABSENT


_REQUEST = msgspec.json.Decoder(_Request)


def read_short(text: bytes, limits: Limits) -> InferRequest | None:
    """A request of floating-point tensors in flat lists, its data ready; or None."""
    if text.count(b"{") + text.count(b"[") > min(MAX_BRACKETS, limits.max_json_depth):
        return None
    try:
        wire = _REQUEST.decode(text)
        if wire.outputs is not ABSENT or len(wire.inputs) > limits.max_inputs:
            return None
        if wire.id is not None and len(wire.id) > limits.max_id_length:
            return None
        inputs = {tensor.name: _input(tensor, limits) for tensor in wire.inputs}
    except (ValueError, OverflowError, RecursionError):
        return None
    if len(inputs) != len(wire.inputs):
        return None
    if wire.parameters is ABSENT:
        return InferRequest(inputs, wire.id)
    parameters = read_parameters(wire.parameters, limits)
    if "binary_data_output" in parameters:
        return None
    return InferRequest(inputs, wire.id, parameters)


def _input(tensor: _Tensor, limits: Limits) -> InputTensor:
    """Raises ValueError or OverflowError for what is not plain."""
    shape, datatype, values = tensor.shape, tensor.datatype, tensor.data
    elements = 1
    for size in shape:
        elements *= size
    plain = len(values) == elements <= limits.max_elements and datatype in FLOATS and tensor.parameters is ABSENT
    # With a size of 0 the others are bounded by the patient way.
    if not plain or elements <= 0 or len(shape) > MAX_RANK or min(shape, default=1) < 0:
        raise ValueError
    array = number_array(DATATYPES[datatype], values).reshape(shape)
    return InputTensor(tensor.name, datatype, shape, elements, array)


def write_short(response: InferResponse) -> bytes | None:
    """The JSON of an answer whose outputs are all numbers, flat; or None. NaN and infinities come out as null."""
    head = _head(response.model_name, response.model_version)
    pieces = [head if response.id is None else b'%b,"id":%b' % (head, orjson.dumps(response.id)), b',"outputs":[']
    if response.parameters or not response.outputs:
        return None
    for output in response.outputs:
        array = output.array
        if output.datatype not in _NUMBERS:
            return None
        pieces.append(_entry(output.name, output.datatype, array.shape))
        pieces.append(orjson.dumps(array.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY))
        pieces.append(b"},")
    pieces[-1] = b"}]}"
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _head(model: str, version: str) -> bytes:
    return orjson.dumps({"model_name": model, "model_version": version})[:-1]


@lru_cache(maxsize=1024)
def _entry(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1] + b',"data":'
