"""Messages of gRPC to requests and back: views, arrays, and what contradicts itself."""

from typing import Any

import numpy as np
import pytest

from service.pb.messages import ModelInferRequest
from service.protocol.check import bind
from service.protocol.errors import BadRequest, PayloadTooLarge, Unimplemented
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse, OutputTensor
from service.protocol.proto_codec import CONTENTS, decode, encode, parse
from service.protocol.tensors import DATATYPES, Signature, TensorSpec

LIMITS = Limits()


def message(datatype: str = "FP32", shape: tuple[int, ...] = (2,), raw: bytes | None = None, **contents: Any) -> Any:
    made = ModelInferRequest(model_name="m", model_version="1")
    tensor = made.inputs.add(name="x", datatype=datatype, shape=shape)
    if raw is not None:
        made.raw_input_contents.append(raw)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return made


def bound(request: InferRequest, datatype: str) -> np.ndarray:
    spec = TensorSpec("x", datatype, None)
    return bind(request, Signature((spec,), (spec,)))["x"]


def test_raw_data_is_a_view_and_the_answer_goes_back_raw() -> None:
    request = decode(message(raw=np.array([1, 2], np.float32).tobytes()), LIMITS)
    assert isinstance(request.inputs["x"].data, memoryview)
    assert bound(request, "FP32").tolist() == [1, 2]
    answer = encode(InferResponse("m", "1", [OutputTensor("y", "FP32", np.float32([[3]]))], "7"), request)
    assert list(answer.raw_output_contents) == [np.float32(3).tobytes()]
    assert (answer.id, answer.outputs[0].name, list(answer.outputs[0].shape)) == ("7", "y", [1, 1])
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_data_goes_both_ways_in_every_datatype_that_has_a_field(datatype: str) -> None:
    values = {"BOOL": [True, False], "BYTES": [b"\xff", b""]}.get(datatype, [1, 2])
    request = decode(message(datatype, **{CONTENTS[datatype]: values}), LIMITS)
    array = bound(request, datatype)
    assert array.dtype == DATATYPES[datatype].dtype
    answer = encode(InferResponse("m", "1", [OutputTensor("y", datatype, array)]), request)
    assert list(getattr(answer.outputs[0].contents, CONTENTS[datatype])) == values
    assert not answer.raw_output_contents


def test_an_output_without_a_typed_form_makes_the_whole_answer_raw() -> None:
    request = decode(message(fp32_contents=[1, 2]), LIMITS)
    outputs = [OutputTensor("y", "FP16", np.float16([1])), OutputTensor("z", "FP32", np.float32([1]))]
    answer = encode(InferResponse("m", "1", outputs), request)
    assert [len(blob) for blob in answer.raw_output_contents] == [2, 4]


def test_the_largest_unsigned_number_survives_both_ways() -> None:
    request = decode(message("UINT64", (1,), uint64_contents=[2**64 - 1]), LIMITS)
    assert bound(request, "UINT64")[0] == 2**64 - 1


def test_parameters_keep_their_types_and_empty_ones_are_absent() -> None:
    made = message(fp32_contents=[1, 2])
    made.parameters["a"].bool_param = True
    made.parameters["b"].int64_param = -3
    made.parameters["c"].string_param = "x"
    made.parameters["d"].double_param = 0.5
    made.parameters["e"].uint64_param = 2**63
    made.parameters["f"].SetInParent()
    assert decode(made, LIMITS).parameters == {"a": True, "b": -3, "c": "x", "d": 0.5, "e": 2**63}
    parameters = {"a": True, "b": -3, "c": "x", "d": 0.5}
    answer = encode(InferResponse("m", "1", [], None, parameters), decode(made, LIMITS))
    assert {
        name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in answer.parameters.items()
    } == {**parameters}


def test_requested_outputs_keep_their_order_and_classes() -> None:
    made = message(fp32_contents=[1, 2])
    made.outputs.add(name="b")
    made.outputs.add(name="a").parameters["classification"].int64_param = 3
    outputs = decode(made, LIMITS).outputs
    assert outputs is not None
    assert [(output.name, output.classification) for output in outputs] == [("b", None), ("a", 3)]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (message(raw=b"1234"), "needs 8"),
        (message(raw=b"12345678", fp32_contents=[1, 2]), "one way"),
        (message(fp32_contents=[1]), "1 elements in fp32_contents"),
        (message(fp64_contents=[1, 2]), "belongs in fp32_contents"),
        (message("FP16", fp32_contents=[1, 2]), "no typed form"),
        (message("UINT8", uint_contents=[1, 256]), "outside of UINT8"),
        (message("FP32", (-1,)), "negative"),
        (message("FP32", (1,) * 65), "more than 64 dimensions"),
        (message("FP32", (2**40,)), "elements"),
        (message("FP33"), "datatype must be one of"),
    ],
)
def test_what_contradicts_itself_is_refused(made: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        decode(made, LIMITS)


def test_shared_memory_is_refused_wherever_it_is_named() -> None:
    made = message(fp32_contents=[1, 2])
    made.outputs.add(name="y").parameters["shared_memory_region"].string_param = "mine"
    with pytest.raises(Unimplemented, match="output 'y'"):
        decode(made, LIMITS)
    made.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    with pytest.raises(Unimplemented, match="input 'x'"):
        decode(made, LIMITS)


def test_bytes_that_are_too_many_or_no_message_are_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        parse(b"\0" * 11, Limits(max_body_bytes=10))
    with pytest.raises(BadRequest, match="cannot be parsed"):
        parse(b"\xff\xff\xff", LIMITS)
