"""The short way gives what the patient way gives, or nothing."""

import json
import random

import numpy as np
import pytest

from router.errors import SerinError
from service.protocol import codec
from service.protocol.check import bind
from service.protocol.codec import decode, encode
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse, OutputTensor
from service.protocol.short import is_plain, read_one, read_short, ready, write_short
from service.protocol.tensors import DATATYPES, FLOATS, Signature, TensorSpec

ROOM = Limits()
NUMBERS = [0, 1, -7, 0.1, 1e-45, 3.4e38, 3.5e38, 1e300, 65519.9, 65520, 2**53 + 1, 2**64, -0.0, 5.960464477539063e-08]


def plain(**more: object) -> dict[str, object]:
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}], **more}


def some_body(rng: random.Random) -> bytes:
    shape = rng.choice([[1, 2], [2, 1], [2], [0, 2], [], [1, 3], [-1, 2], [True, 2], [1.0, 2], ["1"]])
    data = rng.choices(NUMBERS, k=rng.choice([2, 2, 2, 2, 1, 0, 3]))
    tensor = {"name": rng.choice("xxxy"), "shape": shape, "datatype": rng.choice([*FLOATS, "FP32", "INT64", "FP3"])}
    tensor["data"] = rng.choice([data, data, data, [data], "no", None, [True, 1], [None, 1]])
    document: dict[str, object] = {"inputs": [tensor] * rng.choice([1, 1, 1, 2, 0])}
    document |= rng.choice([{}, {}, {"id": "é"}, {"id": 7}, {"id": None}, {"more": [[[1]]]}])
    document |= rng.choice([{}, {}, {"parameters": rng.choice([{"routing_key": "k"}, {}, None, 3, {"a": []}])}])
    document |= rng.choice([{}, {}, {"parameters": {"binary_data_output": rng.choice([True, False, 0, ""])}}])
    document |= rng.choice([{}, {}, {}, {"outputs": [{"name": "y"}]}, {"outputs": None}])
    text = json.dumps(document)
    if rng.random() < 0.1:
        text = text.replace("1", rng.choice(["NaN", "1.", "01", "1e", "1e999"]), 1)
    return text[: rng.randrange(len(text))].encode() if rng.random() < 0.05 else text.encode()


def outcome(body: bytes) -> object:
    """What a request means, in values that can be compared."""
    try:
        return told(decode(body))
    except SerinError as error:
        return type(error), error.message


def told(request: InferRequest | None) -> object:
    assert request is not None
    specs = tuple(TensorSpec(t.name, t.datatype, (-1,) * len(t.shape)) for t in request.inputs.values())
    feeds = bind(request, Signature(specs, (TensorSpec("y", "FP32", (1,)),)))
    arrays = {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in feeds.items()}
    return arrays, request.id, request.parameters, request.outputs, request.binary_output


def test_both_ways_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    bodies = [some_body(rng) for _ in range(3000)]
    short = [outcome(body) for body in bodies]
    assert sum(read_short_or_none(body) is not None for body in bodies) > 100
    monkeypatch.setattr(codec, "read_short", lambda text, limits: None)
    assert short == [outcome(body) for body in bodies]


def test_one_plain_tensor_is_what_the_short_way_reads_where_nothing_else_is_said() -> None:
    rng = random.Random(2)
    found = 0
    for body in (some_body(rng) for _ in range(6000)):
        one = read_one(body, ROOM)
        if one is None or not is_plain(one.inputs[0], ROOM):
            continue
        [tensor] = one.inputs
        short = read_short_or_none(body)
        if short is None:  # a number that the datatype cannot hold
            assert max(map(abs, tensor.data)) > 60_000
            assert ready(one) is None
            continue
        assert told(ready(one)) == told(short)
        read = short.inputs[tensor.name]
        assert (read.shape, read.datatype, short.id, short.parameters) == (tensor.shape, tensor.datatype, one.id, {})
        assert np.array_equal(read.data.ravel(), np.array(tensor.data, read.data.dtype))
        found += 1
    assert found > 20


@pytest.mark.parametrize(
    "more", [{"more": 1}, {"outputs": None}, {"parameters": None}, {"inputs": plain()["inputs"] * 2}, {"inputs": []}]
)
def test_what_says_more_is_not_one_plain_tensor(more: dict[str, object]) -> None:
    assert read_one(json.dumps(plain(**more)).encode(), ROOM) is None


@pytest.mark.parametrize("limits", [Limits(max_id_length=1), Limits(max_json_depth=3)])
def test_one_tensor_above_a_limit_is_left_to_the_patient_way(limits: Limits) -> None:
    assert read_one(json.dumps(plain(id="ab")).encode(), limits) is None


def read_short_or_none(body: bytes) -> InferRequest | None:
    try:
        return read_short(body, ROOM)
    except SerinError:
        return None


@pytest.mark.parametrize(
    "limits", [Limits(max_inputs=0), Limits(max_elements=1), Limits(max_id_length=1), Limits(max_json_depth=2)]
)
def test_what_is_above_a_limit_is_not_plain(limits: Limits) -> None:
    assert read_short(json.dumps(plain(id="ab")).encode(), limits) is None


def test_what_nests_deeply_is_not_plain() -> None:
    assert read_short(json.dumps(plain(more=json.loads("[" * 40 + "]" * 40))).encode(), ROOM) is None


def test_answers_are_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    answers = []
    for datatype, known in DATATYPES.items():
        for shape in [(1,), (2, 3), (0, 3), ()]:
            values = rng.uniform(0, 100, shape)
            array = values.astype(str).astype(object) if datatype == "BYTES" else np.asarray(values).astype(known.dtype)
            tensors = [OutputTensor('a"b', datatype, array), OutputTensor("b", "INT64", np.array([1]))]
            answers.append(InferResponse("m", "3", tensors, rng.choice([None, "", "é\n"])))
    answers.append(InferResponse("m", "3", []))
    answers.append(InferResponse("m", "3", [OutputTensor("y", "FP32", np.array([np.nan, 1], np.float32))]))
    short = [encode(answer, InferRequest({})) for answer in answers]
    monkeypatch.setattr(codec, "write_short", lambda response: None)
    assert short == [encode(answer, InferRequest({})) for answer in answers]


def test_numbers_go_the_short_way() -> None:
    tensors = [OutputTensor("y", "FP32", np.array([[0.1, 2]], np.float32))]
    assert write_short(InferResponse("m", "1", tensors)) == (
        b'{"model_name":"m","model_version":"1",'
        b'"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[0.1,2.0]}]}'
    )
