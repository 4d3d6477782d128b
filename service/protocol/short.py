"""Short JSON requests and answers of plain numbers, in one step each: what nearly all traffic of small models is.

Both functions give None for whatever is not plain: the patient way then does the work, and says what is wrong. What
they do give is what the patient way would have given, to the byte.
"""

from functools import lru_cache
from math import prod

import msgspec
import orjson

from service.protocol.json_codec import ABSENT
from service.protocol.json_data import number_array
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse, InputTensor
from service.protocol.parameters import read_parameters
from service.protocol.tensors import DATATYPES, FLOATS, MAX_RANK

SHORT_BYTES = 8 * 1024
MAX_BRACKETS = 32
"""More nesting than plain requests have; it bounds the depth that the parser may skip through."""

NUMBERS = frozenset(name for name, datatype in DATATYPES.items() if datatype.size and name != "BF16")

"""Datatypes whose JSON is what the writer makes of the array."""

PLAIN_DEPTH = 4
"""So deep are the numbers of a plain request: in `data`, of a tensor, of `inputs`, of the request."""


class Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One tensor as it was sent; see `is_plain`."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float]
    parameters: msgspec.Raw = ABSENT


class Short(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A request as it was sent. What it does not name is not there, so that nothing can hide in it."""

    inputs: list[Plain]
    outputs: msgspec.Raw = ABSENT
    id: str | None = None
    parameters: msgspec.Raw = ABSENT


_REQUEST = msgspec.json.Decoder(Short)


def read_one(text: bytes, limits: Limits) -> Short | None:
    """A request of one tensor in a flat list and nothing else, the tensor not yet looked at (`is_plain`); or None."""
    wire = _decoded(text, limits)
    if wire is None or len(wire.inputs) != 1 or wire.parameters is not ABSENT:
        return None
    return wire if limits.max_json_depth >= PLAIN_DEPTH else None


def ready(wire: Short) -> InferRequest | None:
    """The request that `read_one` read, of a plain tensor (`is_plain`), as `read_short` gives it; or None."""
    given = _given(wire.inputs[0])
    return None if given is None else InferRequest({given.name: given}, wire.id)


def read_short(text: bytes, limits: Limits) -> InferRequest | None:
    """A request of floating-point tensors in flat lists, its data ready; or None."""
    # Parameters may be nested, and the parser skips through them.
    if text.count(b"{") + text.count(b"[") > min(MAX_BRACKETS, limits.max_json_depth):
        return None
    wire = _decoded(text, limits)
    if wire is None or len(wire.inputs) > limits.max_inputs:
        return None
    inputs = {}
    for tensor in wire.inputs:
        given = _given(tensor) if is_plain(tensor, limits) else None
        if given is None:
            return None
        inputs[given.name] = given
    if len(inputs) != len(wire.inputs):
        return None
    if wire.parameters is ABSENT:
        return InferRequest(inputs, wire.id)
    parameters = read_parameters(wire.parameters, limits)
    if "binary_data_output" in parameters:
        return None
    return InferRequest(inputs, wire.id, parameters)


def _given(tensor: Plain) -> InputTensor | None:
    """A plain tensor with its data ready; None for a number that the datatype cannot hold."""
    try:
        array = number_array(DATATYPES[tensor.datatype], tensor.data).reshape(tensor.shape)
    except OverflowError:
        return None
    return InputTensor(tensor.name, tensor.datatype, tensor.shape, len(tensor.data), array)


def _decoded(text: bytes, limits: Limits) -> Short | None:
    """A request that names no outputs, and whose id is not too long; or None."""
    try:
        wire = _REQUEST.decode(text)
    except (ValueError, RecursionError):
        return None
    if wire.outputs is not ABSENT or (wire.id is not None and len(wire.id) > limits.max_id_length):
        return None
    return wire


def is_plain(tensor: Plain, limits: Limits) -> bool:
    """Whether it is of floating point, and has as many numbers as its shape says. They are not yet compared with what
    the datatype can hold."""
    shape = tensor.shape
    elements = prod(shape)
    # With a size of 0 the others are bounded by the patient way.
    return (
        len(tensor.data) == elements <= limits.max_elements
        and elements > 0
        and tensor.datatype in FLOATS
        and tensor.parameters is ABSENT
        and len(shape) <= MAX_RANK
        and min(shape, default=1) > 0
    )


def write_short(response: InferResponse) -> bytes | None:
    """The JSON of an answer whose outputs are all numbers, flat; or None. NaN and infinities come out as null."""
    head = answer_head(response.model_name, response.model_version)
    pieces = [head if response.id is None else b'%b,"id":%b' % (head, orjson.dumps(response.id)), b',"outputs":[']
    if response.parameters or not response.outputs:
        return None
    for output in response.outputs:
        array = output.array
        if output.datatype not in NUMBERS:
            return None
        pieces.append(entry_head(output.name, output.datatype, array.shape))
        pieces.append(orjson.dumps(array.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY))
        pieces.append(b"},")
    pieces[-1] = b"}]}"
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def answer_head(model: str, version: str) -> bytes:
    """An answer up to what is its own."""
    return orjson.dumps({"model_name": model, "model_version": version})[:-1]


@lru_cache(maxsize=1024)
def entry_head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """An output up to its numbers."""
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1] + b',"data":'


@lru_cache(maxsize=1024)
def outputs_form(entries: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    """The outputs of an answer, by name, datatype and shape, up to its end: a form with a place (`%b`) for the numbers
    of each."""
    heads = [entry_head(*entry).replace(b"%", b"%%") for entry in entries]
    return b',"outputs":[%b]}' % b",".join([head + b"[%b]}" for head in heads])
