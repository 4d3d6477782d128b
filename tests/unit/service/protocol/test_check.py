"""Binding a request to a model: what fits, and what the refusal says."""

import json
from typing import Any

import numpy as np
import pytest

from service.protocol.check import bind
from service.protocol.codec import decode
from service.protocol.errors import BadRequest
from service.protocol.messages import InferRequest, InputTensor
from service.protocol.tensors import Signature, TensorSpec

MODEL = Signature(
    (TensorSpec("pixels", "FP32", (-1, 2)), TensorSpec("scale", "INT64", ())),
    (TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP32", (-1, 3))),
)
PIXELS = {"name": "pixels", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1]}
SCALE = {"name": "scale", "shape": [], "datatype": "INT64", "data": [3]}


def request(*inputs: dict[str, Any], **members: Any) -> InferRequest:
    return decode(json.dumps({"inputs": inputs, **members}).encode())


def raw(body: bytes, datatype: str, shape: tuple[int, ...] | None) -> Any:
    return bind(decode(body, 0), Signature((TensorSpec("x", datatype, shape),), ()))["x"]


def test_a_request_becomes_the_feeds_of_a_model() -> None:
    feeds = bind(request(SCALE, PIXELS), MODEL)
    assert feeds["pixels"].tolist() == [[0.5, 1]]
    assert feeds["pixels"].dtype == np.float32
    assert feeds["scale"].shape == ()
    assert feeds["scale"].dtype == np.int64


def test_an_array_that_is_ready_is_handed_on() -> None:
    array = np.zeros((1,), np.float32)
    ready = InferRequest({"x": InputTensor("x", "FP32", (1,), 1, array)})
    assert bind(ready, Signature((TensorSpec("x", "FP32", (-1,)),), ()))["x"] is array


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((PIXELS,), "missing: input 'scale'"),
        ((), "missing: input 'pixels', 'scale'"),
        ((PIXELS, SCALE | {"name": "s"}), "the model has no input 's'; it has 'pixels', 'scale'"),
        ((PIXELS, SCALE, SCALE | {"name": "s"}), "the model has no input 's'"),
        ((PIXELS | {"datatype": "FP64"}, SCALE), "input 'pixels': datatype FP64, the model expects FP32"),
        ((PIXELS | {"shape": [2]}, SCALE), r"input 'pixels': shape \[2\], the model expects \[-1, 2\]"),
        ((PIXELS | {"shape": [1, 3]}, SCALE), r"input 'pixels': shape \[1, 3\], the model expects \[-1, 2\]"),
        ((PIXELS, SCALE | {"shape": [1]}), r"input 'scale': shape \[1\], the model expects \[\]"),
        ((PIXELS | {"data": ["a", "b"]}, SCALE), "input 'pixels': FP32 data must be numbers"),
    ],
)
def test_a_request_that_does_not_fit_is_told_what_would(inputs: tuple[dict[str, Any], ...], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        bind(request(*inputs), MODEL)


def test_data_is_not_looked_at_before_all_shapes_fit() -> None:
    with pytest.raises(BadRequest, match="input 'scale': datatype"):
        bind(request(PIXELS | {"data": "x"}, SCALE | {"datatype": "INT8"}), MODEL)


def test_an_unknown_output_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match="no output 'score'; it has 'label', 'probabilities'"):
        bind(request(PIXELS, SCALE, outputs=[{"name": "label"}, {"name": "score"}]), MODEL)


def test_many_names_are_not_all_told() -> None:
    many = Signature(tuple(TensorSpec(f"i{n}", "FP32", ()) for n in range(1000)), ())
    with pytest.raises(BadRequest, match="'i19' and 980 more") as caught:
        bind(request(), many)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("classes", [0, 1, 1000])
def test_a_number_of_classes_may_be_asked_for(classes: int) -> None:
    bind(request(PIXELS, SCALE, outputs=[{"name": "label", "parameters": {"classification": classes}}]), MODEL)


def test_text_has_no_classes_and_their_number_is_positive() -> None:
    for name, classes in (("label", -1), ("text", 1)):
        model = Signature(MODEL.inputs, (*MODEL.outputs, TensorSpec("text", "BYTES", (-1,))))
        outputs = [{"name": name, "parameters": {"classification": classes}}]
        with pytest.raises(BadRequest, match=f"output '{name}': classes are a positive number"):
            bind(request(PIXELS, SCALE, outputs=outputs), model)


@pytest.mark.parametrize(
    ("shape", "found"), [((-1, 2), (3, 2)), ((2, -1), (2, 3)), ((6,), (6,)), ((-1,), (6,)), ((3, 2), (3, 2))]
)
def test_a_raw_body_takes_the_shape_its_size_leaves(shape: tuple[int, ...], found: tuple[int, ...]) -> None:
    array = raw(np.arange(6, dtype=np.float32).tobytes(), "FP32", shape)
    assert array.shape == found
    assert array.reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("body", "datatype", "shape", "message"),
    [
        (bytes(8), "FP32", (-1, -1), "one variable dimension"),
        (bytes(8), "FP32", None, "one variable dimension"),
        (bytes(10), "FP32", (-1,), "no whole number of rows"),
        (bytes(12), "FP32", (-1, 2), "no whole number of rows of 8 bytes"),
        (bytes(8), "FP32", (3,), r"8 bytes of binary data, FP32 \[3\] needs 12"),
        (bytes(8), "FP32", (-1, 0), "rows of 0 bytes"),
        (b"\2", "BOOL", (-1,), "0 or 1"),
        (b"abc", "BYTES", (2,), "single BYTES element"),
    ],
)
def test_a_raw_body_of_another_size_is_refused(
    body: bytes, datatype: str, shape: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        raw(body, datatype, shape)


@pytest.mark.parametrize("shape", [(1,), (-1,), (1, -1), (), None])
def test_a_raw_body_may_be_one_string_without_its_length(shape: tuple[int, ...] | None) -> None:
    assert raw(b"a b", "BYTES", shape).reshape(-1).tolist() == [b"a b"]


def test_a_raw_body_needs_a_model_of_one_input() -> None:
    with pytest.raises(BadRequest, match="one input; this one has 2"):
        bind(decode(bytes(8), 0), MODEL)


def test_the_answer_to_a_raw_body_is_binary() -> None:
    assert decode(bytes(8), 0).binary_outputs(["a", "b"]) == {"a", "b"}
