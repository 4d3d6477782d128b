"""The two doors of the wire: round trips of every datatype in both encodings, and what hostile bodies get."""

import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.protocol.check import bind
from service.protocol.codec import decode, encode
from service.protocol.errors import BadRequest, NonFiniteOutput, PayloadTooLarge, Unimplemented
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse, OutputTensor, RequestedOutput
from service.protocol.tensors import DATATYPES, Array, Signature, TensorSpec

PLAIN = InferRequest({})
NAN, INF = float("nan"), float("inf")


def body(*inputs: Mapping[str, Any], **members: Any) -> bytes:
    return json.dumps({"inputs": inputs, **members}).encode()


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]} | changes


def signature(datatype: str, shape: tuple[int, ...] | None = None) -> Signature:
    return Signature((TensorSpec("x", datatype, shape),), (TensorSpec("y", datatype, shape),))


def arrays(datatype: str, non_finite: bool = True) -> st.SearchStrategy[Array]:
    """Arrays of a datatype: ranks 0 to 3, sizes 0 to 3, any bits (no NaN but the usual one)."""
    dtype = DATATYPES[datatype].dtype

    def fill(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
        count = int(np.prod(shape))
        if datatype == "BYTES":
            values = st.lists(
                st.binary(max_size=6) | st.text(max_size=4).map(str.encode), min_size=count, max_size=count
            )
            return values.map(lambda items: np.fromiter(items, np.object_, count).reshape(shape))
        octets = st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize)
        return octets.map(lambda bits: _tame(np.frombuffer(bits, dtype), non_finite).reshape(shape))

    return st.lists(st.integers(0, 3), max_size=3).map(tuple).flatmap(fill)


def _tame(array: Array, non_finite: bool) -> Array:
    if array.dtype == np.bool_:
        return np.asarray(array.view(np.uint8) & 1, np.bool_)
    if array.dtype.kind in "iu":
        return array
    usual = array.dtype.type(NAN if non_finite else 0)
    with np.errstate(invalid="ignore"):  # some of the NaNs are signalling ones
        strange = np.isnan(array) if non_finite else ~np.isfinite(array)
    return np.where(strange, usual, array).astype(array.dtype)


def assert_same(found: Array, wanted: Array) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    if wanted.dtype == np.object_:
        assert found.tolist() == wanted.tolist()
    else:
        assert found.tobytes() == wanted.tobytes()


def answer(array: Array, datatype: str, request: InferRequest = PLAIN, policy: Any = "token") -> Any:
    return encode(InferResponse("m", "1", (OutputTensor("y", datatype, array),)), request, policy)


def sent_back(output: Mapping[str, Any], tail: bytes = b"") -> Array:
    """An output of an answer, sent as an input: what goes out must come in."""
    sent = {"inputs": [{**output, "name": "x"}]}
    text = json.dumps(sent).encode()
    request = decode(text + tail, len(text) if tail or "data" not in output else None)
    return bind(request, signature(output["datatype"]))["x"]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_any_array_survives_json(datatype: str) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(arrays(datatype))
    def check(array: Array) -> None:
        encoded = answer(array, datatype)
        assert encoded.header_length is None
        assert_same(sent_back(json.loads(encoded.body)["outputs"][0]), array)

    check()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_any_array_survives_the_binary_extension(datatype: str) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(arrays(datatype), st.integers(0, 7))
    def check(array: Array, padding: int) -> None:
        encoded = answer(array, datatype, InferRequest({}, binary_output=True))
        output = json.loads(encoded.body[: encoded.header_length])["outputs"][0]
        output["padding"] = "-" * padding  # so that the blob lies at every alignment
        assert_same(sent_back(output, encoded.body[encoded.header_length :]), array)

    check()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_nested_data_is_the_same_as_flat(datatype: str) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(arrays(datatype, non_finite=False))
    def check(array: Array) -> None:
        output = json.loads(answer(array, datatype).body)["outputs"][0]
        flat = np.empty(array.size, np.object_)
        flat[:] = output["data"]
        assert_same(sent_back(output | {"data": flat.reshape(array.shape).tolist()}), array)

    check()


@pytest.mark.parametrize("bits", [0x15AE43FD, 0x95AE43FD, 0x00000001, 0x7F7FFFFF, 0x80000000, 0x3DCCCCCD])
def test_fp32_is_exact_through_readers_that_use_doubles(bits: int) -> None:
    array = np.array([bits], np.uint32).view(np.float32)
    output = json.loads(answer(array, "FP32").body)["outputs"][0]
    assert_same(sent_back(output), array)


def test_integers_above_2_to_53_are_exact() -> None:
    wide = np.array([2**64 - 1, 2**53 + 1], np.uint64)
    assert b"[18446744073709551615,9007199254740993]" in answer(wide, "UINT64").body
    assert_same(sent_back(json.loads(answer(wide, "UINT64").body)["outputs"][0]), wide)


def test_an_answer_says_model_version_id_and_parameters() -> None:
    output = OutputTensor("y", "INT64", np.array([[3]]))
    full = InferResponse("m", "2", (output,), id="a", parameters={"n": 1})
    entry = {"name": "y", "datatype": "INT64", "shape": [1, 1], "data": [3]}
    assert json.loads(encode(full, PLAIN).body) == {
        "model_name": "m", "model_version": "2", "id": "a", "parameters": {"n": 1}, "outputs": [entry],
    }  # fmt: skip
    assert json.loads(encode(InferResponse("m", "2", (output,)), PLAIN).body) == {
        "model_name": "m", "model_version": "2", "outputs": [entry],
    }  # fmt: skip


def test_an_empty_id_is_echoed_as_one() -> None:
    request = decode(body(id=""))
    assert request.id == ""
    assert json.loads(encode(InferResponse("m", "1", (), id=request.id), request).body)["id"] == ""


def test_a_scalar_stays_a_scalar() -> None:
    encoded = answer(np.array(1.5, np.float32), "FP32")
    assert json.loads(encoded.body)["outputs"][0]["shape"] == []
    for data in ([1.5], 1.5):
        assert bind(decode(body(tensor(shape=[], data=data))), signature("FP32", ()))["x"].shape == ()


def test_rows_may_be_none() -> None:
    request = decode(body(tensor(shape=[0, 4], data=[])))
    assert bind(request, signature("FP32", (-1, 4)))["x"].shape == (0, 4)


@pytest.mark.parametrize(
    ("policy", "written"),
    [
        ("null", b"[1.0,null,null,null]"),
        ("token", b"[1.0,NaN,Infinity,-Infinity]"),
        ("string", b'[1.0,"NaN","Infinity","-Infinity"]'),
    ],
)
@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_non_finite_values_follow_the_policy_and_are_counted(policy: str, written: bytes, datatype: str) -> None:
    array = np.array([1, NAN, INF, -INF], DATATYPES[datatype].dtype)
    encoded = answer(array, datatype, policy=policy)
    assert b'"data":' + written in encoded.body
    assert b'"parameters":{"non_finite":3}' in encoded.body
    assert encoded.non_finite == {"y": 3}


def test_non_finite_values_may_be_an_error_in_json_but_not_in_binary() -> None:
    array = np.array([NAN, 1], np.float32)
    with pytest.raises(NonFiniteOutput, match="output 'y': 1 values"):
        answer(array, "FP32", policy="error")
    assert answer(array, "FP32", InferRequest({}, binary_output=True), "error").non_finite == {}


def test_a_name_that_reads_null_counts_nothing() -> None:
    output = OutputTensor("null", "FP32", np.array([0.1], np.float32))
    encoded = encode(InferResponse("null", "1", (output,)), PLAIN, "error")
    assert json.loads(encoded.body)["outputs"][0] == {"name": "null", "datatype": "FP32", "shape": [1], "data": [0.1]}
    assert encoded.non_finite == {}


def test_bytes_that_are_not_utf8_go_out_as_base64_and_say_so() -> None:
    mixed: Array = np.array([b"a", b"\xff"], np.object_)
    output = json.loads(answer(mixed, "BYTES").body)["outputs"][0]
    assert output["parameters"] == {"content_type": "base64"}
    assert output["data"] == ["YQ==", "/w=="]
    assert json.loads(answer(np.array(["é"], np.object_), "BYTES").body)["outputs"][0]["data"] == ["é"]


WANTS = [
    (None, False, set()),
    (None, True, {"a", "b"}),
    ([("a", None), ("b", None)], True, {"a", "b"}),
    ([("a", False), ("b", None)], True, {"b"}),
    ([("a", True), ("b", None)], False, {"a"}),
    ([("a", True), ("b", False)], False, {"a"}),
]


@pytest.mark.parametrize(("outputs", "default", "binary"), WANTS)
def test_the_flag_of_an_output_wins_over_that_of_the_request(
    outputs: list[tuple[str, bool | None]] | None, default: bool, binary: set[str]
) -> None:
    members: dict[str, Any] = {"parameters": {"binary_data_output": default}}
    if outputs is not None:
        members["outputs"] = [{"name": n, "parameters": {} if f is None else {"binary_data": f}} for n, f in outputs]
    request = decode(body(**members))
    one, two = np.array([NAN], np.float32), np.array([7], np.int16)
    response = InferResponse("m", "1", (OutputTensor("a", "FP32", one), OutputTensor("b", "INT16", two)))
    encoded = encode(response, request)
    header = json.loads(encoded.body[: encoded.header_length])
    assert {entry["name"] for entry in header["outputs"] if "binary_data_size" in entry.get("parameters", {})} == binary
    assert {entry["name"] for entry in header["outputs"] if "data" in entry} == {"a", "b"} - binary
    tail = b"".join(array.tobytes() for name, array in (("a", one), ("b", two)) if name in binary)
    assert encoded.header_length == (len(encoded.body) - len(tail) if binary else None)
    assert encoded.body.endswith(tail)


def test_a_request_is_read_whole() -> None:
    request = decode(
        body(
            tensor(),
            id="7",
            parameters={"routing_key": "k", "timeout": 5, "share": 0.5, "fast": True, "gone": None},
            outputs=[{"name": "y"}, {"name": "z", "parameters": {"classification": 3, "else": "1"}}],
            model_name="skipped",
        )
    )
    assert (request.id, request.output_names, request.binary_output) == ("7", ["y", "z"], False)
    assert request.parameters == {"routing_key": "k", "timeout": 5, "share": 0.5, "fast": True}
    assert request.outputs is not None
    assert request.outputs[1].classification == 3


def test_null_is_the_same_as_absent() -> None:
    members = {"id": None, "parameters": None, "outputs": None}
    request = decode(body(tensor(parameters=None), **members))
    assert (request.id, request.parameters, request.outputs) == (None, {}, None)


def test_parameters_that_mean_nothing_are_let_be_beside_those_that_do() -> None:
    known, size = {"mine": 1.5, "gone": None, "b": True}, {"binary_data_size": 8}
    text = body(
        tensor(parameters=known),
        tensor(name="y", parameters=known | size, data=None),
        tensor(name="z", parameters=None),
        outputs=[{"name": "p", "parameters": known | {"binary_data": True}}, {"name": "q"}],
        id="7",
        parameters={"routing_key": "k"},
    )
    request = decode(text + bytes(8), len(text))
    assert (request.id, request.parameters) == ("7", {"routing_key": "k"})
    assert [bytes(tensor.data) for tensor in request.inputs.values()] == [b"[1, 2]", bytes(8), b"[1, 2]"]
    assert request.outputs == (RequestedOutput("p", True), RequestedOutput("q"))


def test_a_long_list_among_parameters_is_no_data() -> None:
    with pytest.raises(BadRequest, match="input 'x': parameters"):
        decode(body(tensor(parameters={"a": [1] * 20_000})))


def test_a_long_list_of_data_may_stand_beside_any_parameters() -> None:
    request = decode(body(tensor(shape=[20_000], data=[1] * 20_000, parameters={"mine": 1})))
    assert_same(bind(request, signature("FP32"))["x"], np.ones(20_000, np.float32))


def test_no_outputs_wanted_means_all() -> None:
    assert decode(body(outputs=[])).outputs is None


def test_a_model_without_inputs_can_be_asked() -> None:
    assert bind(decode(b'{"inputs":[]}'), Signature((), ())) == {}


def test_json_and_binary_inputs_may_be_mixed() -> None:
    first, last = np.array([1, 2], np.float32), np.array([[True], [False]])
    text = body(
        {"name": "a", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
        {"name": "b", "shape": [1], "datatype": "INT8", "data": [-5]},
        {"name": "c", "shape": [2, 1], "datatype": "BOOL", "parameters": {"binary_data_size": 2}, "data": None},
    )
    specs = (TensorSpec("a", "FP32", None), TensorSpec("b", "INT8", None), TensorSpec("c", "BOOL", None))
    feeds = bind(decode(text + first.tobytes() + last.tobytes(), len(text)), Signature(specs, ()))
    assert_same(feeds["a"], first)
    assert_same(feeds["b"], np.array([-5], np.int8))
    assert_same(feeds["c"], last)


def test_large_aligned_binary_data_is_a_view_of_the_body() -> None:
    text = body(tensor(shape=[8192], parameters={"binary_data_size": 4 * 8192}, data=None))
    text += b" " * (-len(text) % 16)
    whole = text + bytes(4 * 8192)
    array = bind(decode(memoryview(whole), len(text)), signature("FP32"))["x"]
    assert np.shares_memory(array, np.frombuffer(whole, np.uint8))
    assert array.flags.aligned
    assert not array.flags.writeable


SIZE = {"binary_data_size": 8}
REFUSED_BODIES = {
    "nothing": (b"", "not valid JSON"),
    "not JSON": (b"hello", "not valid JSON"),
    "cut short": (body(tensor())[:-3], "not valid JSON"),
    "a pickle": (b"\x80\x04\x95\x10\x00\x00\x00", "not valid JSON"),
    "two documents": (body(tensor()) * 2, "not valid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + body(tensor()), "not valid JSON"),
    "UTF-16": (body(tensor()).decode().encode("utf-16"), "not valid JSON"),
    "not UTF-8": (body(tensor(name="n")).replace(b'"n"', b'"\xff"'), "not UTF-8"),
    "a list": (b"[]", "not a V2 inference request"),
    "null": (b"null", "not a V2 inference request"),
    "no inputs": (b"{}", "missing required field `inputs`"),
    "inputs null": (b'{"inputs":null}', "not a V2 inference request"),
    "inputs an object": (b'{"inputs":{}}', "not a V2 inference request"),
    "an input that is a number": (b'{"inputs":[1]}', "not a V2 inference request"),
    "an id that is a number": (body(id=1), "id"),
    "an id that is long": (body(id="i" * 1025), "id: longer"),
    "no name": (body({"shape": [1], "datatype": "FP32", "data": [1]}), "missing required field `name`"),
    "no shape": (body({"name": "x", "datatype": "FP32", "data": [1]}), "missing required field `shape`"),
    "no datatype": (body({"name": "x", "shape": [1], "data": [1]}), "missing required field `datatype`"),
    "no data": (body({"name": "x", "shape": [1], "datatype": "FP32"}), "'x': neither data nor"),
    "unknown datatype": (body(tensor(datatype="FLOAT")), "'x': datatype must be one of BOOL"),
    "datatype in lower case": (body(tensor(datatype="fp32")), "'x': datatype must be one of BOOL"),
    "shape a number": (body(tensor(shape=2)), "'x': shape must be"),
    "shape of fractions": (body(tensor(shape=[2.0])), "'x': shape must be"),
    "shape of booleans": (body(tensor(shape=[True])), "'x': shape must be"),
    "shape of strings": (body(tensor(shape=["2"])), "'x': shape must be"),
    "negative size": (body(tensor(shape=[-1])), "'x': shape has a negative"),
    "negative twice": (body(tensor(shape=[-1, -2])), "'x': shape has a negative"),
    "65 dimensions": (body(tensor(shape=[1] * 65)), "'x': shape has more than 64 dim"),
    "a million dimensions": (body(tensor(shape=[1] * 1_000_000)), "'x': shape has more than 64 dim"),
    "product above 2^64": (body(tensor(shape=[4, 2**62 + 1])), "'x': shape has more than"),
    "product 2^64 + 2^5": (body(tensor(shape=[2**4, 2**60 + 2])), "'x': shape has more than"),
    "2^31": (body(tensor(shape=[2**31])), "'x': shape has more than"),
    "2^62": (body(tensor(shape=[2**62])), "'x': shape has more than"),
    "0 times 2^62": (body(tensor(shape=[0, 2**62], data=[])), "'x': shape has more than"),
    "10^1000": (body(tensor(shape=[10**1000])), "'x': shape has more than"),
    "10^2040": (body(tensor(shape=[10**2040])), "'x': shape has more than"),
    "too many strings": (body(tensor(datatype="BYTES", shape=[1_000_001])), "'x': shape has more than 1000000"),
    "the same input twice": (body(tensor(), tensor()), "'x' is given twice"),
    "the same output twice": (body(outputs=[{"name": "y"}] * 2), "'y' is requested twice"),
    "1025 inputs": (body(*(tensor(name=str(i)) for i in range(1025))), "more than 1024 inputs"),
    "1025 outputs": (body(outputs=[{"name": str(i)} for i in range(1025)]), "more than 1024 outputs"),
    "100,000 outputs": (body(outputs=[{"name": str(i)} for i in range(100_000)]), "too many objects"),
    "a million empty inputs": (b'{"inputs":[' + b"{}," * 999_999 + b"{}]}", "too many objects"),
    "a million inputs": (b'{"inputs":[' + b'{"name":"","shape":[],"datatype":""},' * 1_000_000 + b"1]}", "too many"),
    "parameters a list": (body(parameters=[]), "parameters: must be an object"),
    "parameters with lists": (body(parameters={"a": []}), "parameters: 'a' must be a string, a number"),
    "parameters with objects": (body(parameters={"b": 1, "a": {}}), "parameters: 'a' must be a string, a number"),
    "a parameter beyond any number": (body(parameters={"a": 7}).replace(b"7", b"1e999"), "parameters: 'a' must be"),
    "parameters of an input a list": (body(tensor(parameters=[])), "input 'x': parameters: must be an object"),
    "parameters of an input with lists": (body(tensor(parameters={"a": []})), "input 'x': parameters: 'a' must be"),
    "many parameters of an input": (
        body(tensor(parameters={str(i): i for i in range(10_000)})),
        "'x': parameters: more",
    ),
    "parameters of an output with objects": (
        body(outputs=[{"name": "y", "parameters": {"binary_data": True, "a": {}}}]),
        "output 'y': parameters: 'a' must be",
    ),
    "too many parameters": (body(parameters={str(i): i for i in range(10_000)}), "parameters: more than"),
    "binary_data_output a number": (body(parameters={"binary_data_output": 1}), "must be true or false"),
    "binary_data a string": (
        body(outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
        "output 'y': parameters: Expected `bool | null`, got `str` - at `$.binary_data`",
    ),
    "binary size without header": (body(tensor(parameters=SIZE, data=None)), "Inference-Header-Content-Length"),
    "binary size a boolean": (body(tensor(parameters={"binary_data_size": True})), "binary_data_size"),
    "binary size a string": (body(tensor(parameters={"binary_data_size": "8"})), "binary_data_size"),
    "binary size negative": (body(tensor(parameters={"binary_data_size": -8}, data=None)), "'x': binary_data_size"),
    "binary size 2^70": (body(tensor(parameters={"binary_data_size": 2**70}, data=None)), "'x': binary_data_size"),
    "data and binary size": (body(tensor(parameters=SIZE)), "'x': both data and"),
    "deep lists": (b"[" * 200_000, "100 levels deep"),
    "deep objects": (b'{"a":' * 1_000, "100 levels deep"),
    "deep in a member that is skipped": (b'{"inputs":[],"a":' + b"[" * 101 + b"]" * 101 + b"}", "100 levels deep"),
    "deep data": (b'{"inputs":[{"data":' + b"[" * 101 + b"]" * 101 + b"}]}", "100 levels deep"),
}


REGION = {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 4}}


@pytest.mark.parametrize(
    "sent",
    [body({"name": "x", "shape": [1], "datatype": "FP32", **REGION}), body(outputs=[{"name": "y", **REGION}])],
    ids=["input", "output"],
)
def test_shared_memory_is_refused_and_never_ignored(sent: bytes) -> None:
    with pytest.raises(Unimplemented, match="shared memory"):
        decode(sent)


@pytest.mark.parametrize("case", REFUSED_BODIES)
def test_a_body_is_refused_with_what_was_expected(case: str) -> None:
    sent, message = REFUSED_BODIES[case]
    with pytest.raises(BadRequest) as caught:
        decode(sent)
    assert message in caught.value.message
    assert len(caught.value.message) < 400


def test_a_long_name_is_not_echoed_whole() -> None:
    with pytest.raises(BadRequest) as caught:
        decode(body(tensor(name="é\n" * 100_000, shape=[-1])))
    assert len(caught.value.message) < 600
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


def test_a_million_empty_inputs_cost_little_memory() -> None:
    sent = REFUSED_BODIES["a million inputs"][0]
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest):
            decode(sent)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_last_of_equal_members_counts() -> None:
    sent = b'{"inputs":[{"name":"a","name":"x","shape":[9],"shape":[1],"datatype":"FP32","data":"no","data":[4]}]}'
    assert bind(decode(sent), signature("FP32", (1,)))["x"].tolist() == [4]


@pytest.mark.parametrize("extra", [b"x", bytes(8)])
def test_bytes_after_the_last_blob_are_refused(extra: bytes) -> None:
    text = body(tensor(parameters=SIZE, data=None))
    with pytest.raises(BadRequest, match="sum to 8"):
        decode(text + bytes(8) + extra, len(text))


def test_a_blob_shorter_than_it_says_is_refused() -> None:
    text = body(tensor(parameters=SIZE, data=None))
    with pytest.raises(BadRequest, match="input 'x': binary_data_size must be from 0 to the 7 bytes"):
        decode(text + bytes(7), len(text))


def test_a_blob_of_another_size_than_its_shape_is_refused() -> None:
    text = body(tensor(datatype="FP16", shape=[2, 2], parameters={"binary_data_size": 16}, data=None))
    with pytest.raises(BadRequest, match=r"input 'x': 16 bytes of binary data, FP16 \[2, 2\] needs 8"):
        decode(text + bytes(16), len(text))


def test_a_header_length_beyond_the_body_is_refused() -> None:
    with pytest.raises(BadRequest, match="larger than the body"):
        decode(b"{}", 3)


def test_a_body_above_the_limit_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge):
        decode(bytes(11), None, Limits(max_body_bytes=10))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_any_bytes_are_read_or_refused(sent: bytes, header_length: int | None) -> None:
    try:
        request = decode(sent, header_length)
        bind(request, signature("FP32"))
    except BadRequest:
        pass


MEMBERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x", "FP32", "NaN"]),
    lambda deeper: (
        st.lists(deeper, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "a"]), deeper, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({"name": st.just("x"), "datatype": st.sampled_from(sorted(DATATYPES)), "data": MEMBERS}),
    MEMBERS,
)
def test_any_json_is_read_or_refused(sent: dict[str, Any], shape: object) -> None:
    try:
        request = decode(body(sent | {"shape": shape}))
        bind(request, signature(sent["datatype"]))
    except BadRequest:
        pass


def test_bfloat16_is_what_the_table_says() -> None:
    assert DATATYPES["BF16"].dtype == np.dtype(ml_dtypes.bfloat16)
