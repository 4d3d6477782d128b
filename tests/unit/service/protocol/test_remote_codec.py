"""What goes to another server is what our own decoder reads, and what it answers comes back value by value."""

import numpy as np
import pytest
from ml_dtypes import bfloat16

from router.errors import Internal
from service.protocol.check import bind
from service.protocol.codec import decode, encode
from service.protocol.messages import InferRequest, InferResponse, OutputTensor, RequestedOutput
from service.protocol.remote_codec import read_answer, write_request
from service.protocol.tensors import Array, Signature, TensorSpec

TEXT = np.array([[b"a", "é".encode()]], dtype=object)
ARRAYS: list[tuple[str, Array]] = [
    ("FP32", np.array([[1.5, -0.0, 3e-38]], np.float32)),
    ("FP64", np.array([0.1], np.float64)),
    ("FP16", np.array([0.5], np.float16)),
    ("BF16", np.array([0.5], bfloat16)),
    ("UINT64", np.array([2**64 - 1], np.uint64)),
    ("INT8", np.array([[-1]], np.int8)),
    ("BOOL", np.array([True, False])),
    ("BYTES", TEXT),
    ("FP32", np.zeros((0, 4), np.float32)),
    ("FP32", np.array(7, np.float32)),
]
CUT_OFF = b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}]}'


def signature(datatype: str) -> Signature:
    return Signature((TensorSpec("x", datatype, None),), (TensorSpec("y", datatype, None),))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("datatype", "array"), ARRAYS)
def test_a_tensor_arrives_as_it_was(datatype: str, array: Array, binary: bool) -> None:
    sent = write_request({"x": array}, signature(datatype), ["y"], 1_000_000, binary)
    request = decode(sent.body, sent.header_length)
    assert request.parameters == {"timeout": 1_000_000}
    assert request.output_names == ["y"]
    arrived = bind(request, signature(datatype))["x"]
    assert (arrived.shape, arrived.dtype) == (array.shape, array.dtype)

    answered = encode(InferResponse("m", "1", [OutputTensor("y", datatype, array)]), request)
    assert (answered.header_length is not None) is binary
    back = read_answer(answered.body, answered.header_length, signature(datatype))["y"]
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.tolist() == arrived.tolist() == array.tolist()


def test_values_that_are_not_finite_come_back_in_binary() -> None:
    array = np.array([np.nan, np.inf], np.float32)
    asked = InferRequest({}, outputs=(RequestedOutput("y", True),))
    answered = encode(InferResponse("m", "1", [OutputTensor("y", "FP32", array)]), asked)
    back = read_answer(answered.body, answered.header_length, signature("FP32"))["y"]
    assert np.array_equal(back, array, equal_nan=True)


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"<html>", None),
        (b'{"error": "x"}', None),
        (b'{"outputs": [{"name": "z", "datatype": "FP32", "shape": [1], "data": [1]}]}', None),
        (b'{"outputs": [{"name": "y", "datatype": "FP64", "shape": [1], "data": [1]}]}', None),
        (b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1], "data": [1]}]}', None),
        (b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1]}]}', None),
        (b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]}', None),
        (b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1000000000000], "data": [1]}]}', None),
        (CUT_OFF + b"1234", len(CUT_OFF)),
    ],
)
def test_an_answer_that_is_none_is_no_fault_of_the_caller(body: bytes, length: int | None) -> None:
    with pytest.raises(Internal):
        read_answer(body, length, signature("FP32"))
