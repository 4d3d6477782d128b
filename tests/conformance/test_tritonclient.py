"""Unmodified tritonclient.http against the gateway: its default binary mode, JSON, compression, errors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.conftest import Running

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
CODINGS = [None, "gzip", "deflate"]


@pytest.fixture
def client(serin: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(serin.http.removeprefix("http://"), concurrency=4) as client:
        yield client


def values(datatype: str) -> np.ndarray:
    """[2, 3] of a datatype, its extremes among them."""
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        return np.array([[b"", "zürich 東京".encode(), b'"\\\n\t'], [b"x" * 300, b"0", b"a b"]], object)
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if datatype.startswith(("INT", "UINT")):
        about = np.iinfo(dtype)
        return np.array([[about.min, about.max, 0], [1, about.max - 1, 7]], dtype)
    about = np.finfo(dtype)
    return np.array([[about.max, about.min, about.tiny], [0.1, -0.0, 1 / 3]], dtype)


def given(array: np.ndarray, datatype: str, name: str = "x", binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def refused(error: pytest.ExceptionInfo[InferenceServerException]) -> tuple[str, str]:
    return error.value.status(), error.value.message()


# ---- health and metadata ----


def test_the_server_is_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [
        ("digits", "", True),
        ("digits", "1", True),
        ("digits", "3", True),
        ("digits", "9", False),
        ("nobody", "", False),
        ("versions", "4", False),
        ("broken", "", False),
        ("a.b-c_D.9", "1", True),
    ],
)
def test_a_model_says_whether_it_is_ready(client: Any, model: str, version: str, ready: bool) -> None:
    assert client.is_model_ready(model, version) is ready


def test_the_server_tells_its_name_and_extensions(client: Any) -> None:
    found = client.get_server_metadata()
    assert found["name"] == "serin"
    assert "binary_tensor_data" in found["extensions"]


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_a_model_tells_its_tensors(client: Any, version: str) -> None:
    found = client.get_model_metadata("digits", version)
    assert found["name"] == "digits"
    assert found["versions"] == ["1", "2", "3"]
    assert found["platform"] == "onnx_onnxv1"
    assert found["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}]
    assert {output["name"]: output["datatype"] for output in found["outputs"]} == {
        "label": "INT64",
        "probabilities": "FP32",
    }


@pytest.mark.parametrize(("model", "version"), [("nobody", ""), ("digits", "9"), ("digits", "never-an-alias")])
def test_metadata_of_what_is_not_there_is_404(client: Any, model: str, version: str) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.get_model_metadata(model, version)
    assert refused(error)[0] == "404"


def test_shared_memory_is_refused_in_words(client: Any) -> None:
    for call in (
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.unregister_system_shared_memory,
        lambda: client.register_system_shared_memory("mine", "/mine", 8),
    ):
        with pytest.raises(InferenceServerException, match="shared memory extension is not offered") as error:
            call()
        assert refused(error)[0] == "501"


# ---- data in both encodings ----


@pytest.mark.parametrize("datatype", DTYPES)
def test_binary_data_comes_back_bit_for_bit(client: Any, datatype: str) -> None:
    sent = values(datatype)
    answer = client.infer(f"same_{datatype}", [given(sent, datatype)])
    found = answer.as_numpy("y")
    assert found.dtype == sent.dtype
    assert found.shape == sent.shape
    assert found.tobytes() == sent.tobytes() if datatype != "BYTES" else found.tolist() == sent.tolist()


@pytest.mark.parametrize("datatype", DTYPES)
def test_json_data_comes_back_exactly(client: Any, datatype: str) -> None:
    sent = values(datatype)
    wanted = [triton.InferRequestedOutput("y", binary_data=False)]
    answer = client.infer(f"same_{datatype}", [given(sent, datatype, binary=False)], outputs=wanted)
    found = answer.as_numpy("y")
    assert "data" in answer.get_output("y")
    assert answer.get_output("y")["datatype"] == datatype
    if datatype == "BYTES":  # in JSON the client itself leaves text as it is
        assert found.tolist() == [[item.decode() for item in row] for row in sent.tolist()]
    else:
        assert found.tobytes() == sent.tobytes()


@pytest.mark.parametrize(("binary_in", "binary_out"), [(True, False), (False, True)])
def test_encodings_of_input_and_output_do_not_depend_on_each_other(
    client: Any, binary_in: bool, binary_out: bool
) -> None:
    sent = values("FP32")
    wanted = [triton.InferRequestedOutput("y", binary_data=binary_out)]
    answer = client.infer("same_FP32", [given(sent, "FP32", binary=binary_in)], outputs=wanted)
    assert answer.as_numpy("y").tobytes() == sent.tobytes()
    assert ("data" in answer.get_output("y")) is not binary_out


def test_bfloat16_goes_in_and_out(client: Any) -> None:
    sent = np.array([[1.0, -2.5, 0.0], [3e38, 1e-38, 0.15625]], np.float32)
    cut = (sent.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert client.infer("same_BF16", [given(sent, "BF16")]).as_numpy("y").tolist() == cut.tolist()


def test_nan_and_infinities_stay_what_they_are_in_binary(client: Any) -> None:
    sent = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert client.infer("same_FP32", [given(sent, "FP32")]).as_numpy("y").tobytes() == sent.tobytes()


def test_bytes_that_are_not_text_come_back_bit_for_bit(client: Any) -> None:
    sent = np.array([[b"\xff\xfe", b"\xff\0"], [b"", b"\0" * 40 + b"\x80"]], object)
    assert client.infer("same_BYTES", [given(sent, "BYTES")]).as_numpy("y").tolist() == sent.tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
def test_a_batch_may_have_no_rows(client: Any, datatype: str, binary: bool) -> None:
    sent = np.empty((0, 3), DTYPES[datatype])
    wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
    answer = client.infer(f"same_{datatype}", [given(sent, datatype, binary=binary)], outputs=wanted)
    assert answer.as_numpy("y").shape == (0, 3)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("model", ["scalar", "anyrank"])
def test_a_tensor_may_have_no_dimensions(client: Any, model: str, binary: bool) -> None:
    wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
    answer = client.infer(model, [given(np.array(2.5, np.float32), "FP32", binary=binary)], outputs=wanted)
    assert answer.get_output("y")["shape"] == []
    assert answer.as_numpy("y").shape == ()
    assert answer.as_numpy("y") == 2.5


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3), (2, 1, 1, 1, 2), (0,)])
def test_a_model_of_no_stated_rank_takes_any(client: Any, shape: tuple[int, ...]) -> None:
    sent = np.random.default_rng(1).random(shape).astype(np.float32)
    assert client.infer("anyrank", [given(np.asarray(sent), "FP32")]).as_numpy("y").tobytes() == sent.tobytes()


def test_a_model_without_inputs_answers(client: Any) -> None:
    assert client.infer("nothing_in", []).as_numpy("y").tolist() == [1, 2, 3]


def two(rows: int = 2, **how: Any) -> list[triton.InferInput]:
    a = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    return [given(a, "FP32", "a", **how), given(np.ones((rows, 2), np.int64), "INT64", "b")]


@pytest.mark.parametrize("binary", [True, False])
def test_several_inputs_and_outputs_keep_their_names(client: Any, binary: bool) -> None:
    answer = client.infer("two", list(reversed(two(binary=binary))))
    assert answer.as_numpy("sum").tolist() == [[1, 2], [3, 4]]
    assert answer.as_numpy("b_as_text").tolist() == [[b"1", b"1"], [b"1", b"1"]]
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["sum", "b_as_text"]


def test_only_requested_outputs_are_answered_in_the_order_asked(client: Any) -> None:
    text, total = triton.InferRequestedOutput("b_as_text"), triton.InferRequestedOutput("sum", binary_data=False)
    answer = client.infer("two", two(), outputs=[text, total])
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["b_as_text", "sum"]
    assert answer.as_numpy("sum").tolist() == [[1, 2], [3, 4]]
    assert client.infer("two", two(), outputs=[total]).as_numpy("b_as_text") is None


def test_a_large_batch_comes_back_whole(client: Any) -> None:
    sent = np.random.default_rng(2).random((1000, 300)).astype(np.float32)
    assert client.infer("same_FP32", [given(sent, "FP32")]).as_numpy("y").tobytes() == sent.tobytes()


@pytest.mark.parametrize("policy", ["null", "string", "token"])
def test_what_json_does_not_have_can_be_read_back(client: Any, policy: str) -> None:
    a, b = np.array([1, 0, 4], np.float32), np.array([2, 0, 2], np.float32)
    wanted = [triton.InferRequestedOutput("y", binary_data=False)]
    answer = client.infer(f"divide_{policy}", [given(a, "FP32", "a"), given(b, "FP32", "b")], outputs=wanted)
    np.testing.assert_array_equal(answer.as_numpy("y"), np.array([0.5, np.nan, 2], np.float32))
    assert answer.get_output("y")["parameters"] == {"non_finite": 1}


# ---- ids, versions, parameters, compression ----


@pytest.mark.parametrize("request_id", ["", "7", 'ünï-漢 "quoted"'])
def test_the_id_comes_back_when_there_is_one(client: Any, request_id: str) -> None:
    response = client.infer("same_FP32", [given(values("FP32"), "FP32")], request_id=request_id).get_response()
    assert response.get("id", "") == request_id
    assert ("id" in response) is bool(request_id)


@pytest.mark.parametrize(("version", "factor"), [("", 2), ("1", 1), ("2", 2), ("3", 3)])
def test_the_version_asked_for_answers(client: Any, version: str, factor: int) -> None:
    sent = np.array([[1, 2]], np.float32)
    answer = client.infer("versions", [given(sent, "FP32")], model_version=version)
    assert answer.as_numpy("y").tolist() == (factor * sent).tolist()
    response = answer.get_response()
    assert (response["model_name"], response["model_version"]) == ("versions", str(factor))


def test_names_may_hold_dots_and_dashes(client: Any) -> None:
    assert client.infer("a.b-c_D.9", [given(np.array([[1, 2]], np.float32), "FP32")]).as_numpy("y").tolist() == [
        [5, 10]
    ]


@pytest.mark.parametrize(
    "how",
    [
        {"sequence_id": 5, "sequence_start": True, "sequence_end": True},
        {"sequence_id": "five", "sequence_start": True},
        {"priority": 3},
        {"timeout": 5_000_000},
        {"parameters": {"routing_key": "ann", "mine": 1.5, "yes": True, "no": "no"}},
        {"query_params": {"a": 1, "b": [1, 2]}},
        {"headers": {"X-Mine": "1", "Serin-Routing-Key": "ann"}},
    ],
    ids=lambda how: next(iter(how)),
)
def test_what_a_client_may_say_besides_is_taken(client: Any, how: dict[str, Any]) -> None:
    sent = values("FP32")
    assert client.infer("same_FP32", [given(sent, "FP32")], **how).as_numpy("y").tobytes() == sent.tobytes()


@pytest.mark.parametrize("answered", CODINGS)
@pytest.mark.parametrize("asked", CODINGS)
@pytest.mark.parametrize("binary", [True, False])
def test_bodies_may_be_compressed_both_ways(client: Any, asked: Any, answered: Any, binary: bool) -> None:
    sent = np.tile(np.array([[0.25, 3]], np.float32), (500, 1))
    answer = client.infer(
        "row",
        [given(sent, "FP32", binary=binary)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
        request_compression_algorithm=asked,
        response_compression_algorithm=answered,
    )
    assert answer.as_numpy("y").tobytes() == sent.tobytes()


def test_requests_may_be_sent_side_by_side(client: Any) -> None:
    arrays = [np.full((1, 2), number, np.float32) for number in range(40)]
    waiting = [
        client.async_infer("row", [given(array, "FP32")], request_id=str(number)) for number, array in enumerate(arrays)
    ]
    answers = [request.get_result() for request in waiting]
    assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(40)]
    assert all(answer.as_numpy("y").tolist() == array.tolist() for answer, array in zip(answers, arrays, strict=True))


def test_an_error_of_a_request_sent_aside_comes_with_its_result(client: Any) -> None:
    waiting = client.async_infer("nobody", [given(values("FP32"), "FP32")])
    with pytest.raises(InferenceServerException, match="nobody"):
        waiting.get_result()


def test_a_body_that_was_built_beforehand_is_an_ordinary_request(client: Any) -> None:
    body, length = triton.InferenceServerClient.generate_request_body([given(values("INT8"), "INT8")])
    answer = client._post("v2/models/same_INT8/infer", body, {"Inference-Header-Content-Length": length}, None)
    header = int(answer.get("Inference-Header-Content-Length"))
    found = triton.InferenceServerClient.parse_response_body(answer.read(), header_length=header)
    assert found.as_numpy("y").tolist() == values("INT8").tolist()


# ---- errors ----

ROW = np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(
    ("model", "version", "inputs", "status", "words"),
    [
        ("nobody", "", [given(ROW, "FP32")], "404", "nobody"),
        ("row", "9", [given(ROW, "FP32")], "404", "no version 9"),
        ("row", "01", [given(ROW, "FP32")], "404", "01"),
        ("row", "0", [given(ROW, "FP32")], "404", "0"),
        ("row", "99999999999999999999", [given(ROW, "FP32")], "404", "99999"),
        ("row", "stable", [given(ROW, "FP32")], "404", "stable"),
        ("versions", "4", [given(ROW, "FP32")], "404|503", "4"),
        ("row", "", [given(ROW, "FP32", "z")], "400", "no input 'z'; it has 'x'"),
        ("row", "", [], "400", "missing: input 'x'"),
        ("row", "", [given(ROW, "FP32"), given(ROW, "FP32")], "400", "given twice"),
        ("row", "", [given(ROW, "FP32"), given(ROW, "FP32", "z")], "400", "no input 'z'"),
        ("row", "", [given(ROW.astype(np.float64), "FP64")], "400", "datatype FP64, the model expects FP32"),
        ("row", "", [given(ROW.astype(np.int64), "INT64", binary=False)], "400", "the model expects FP32"),
        ("row", "", [given(np.zeros((1, 3), np.float32), "FP32")], "400", r"shape [1, 3], the model expects [-1, 2]"),
        ("row", "", [given(np.zeros(2, np.float32), "FP32")], "400", "shape [2], the model expects [-1, 2]"),
        ("fixed", "", [given(np.zeros((3, 2), np.float32), "FP32")], "400", "the model expects [2, 3]"),
        ("scalar", "", [given(np.zeros(1, np.float32), "FP32")], "400", "shape [1], the model expects []"),
        ("picky", "", [given(np.zeros(3, np.float32), "FP32")], "400", "Reshape"),
        ("row", "", [triton.InferInput("x", [1, 2], "FP32").set_shared_memory("mine", 8)], "501", "shared memory"),
        ("row", "", [triton.InferInput("x", [1, 2], "FP32")], "400", "'x'"),
        ("row", "", [triton.InferInput("x", [1, 2], "FP99")], "400", "datatype must be one of"),
    ],
)
def test_a_mistake_is_refused_with_its_reason(
    client: Any, model: str, version: str, inputs: list[Any], status: str, words: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, inputs, model_version=version)
    found, message = refused(error)
    assert found in status.split("|")
    assert words in message


def test_an_output_that_the_model_does_not_have_is_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="no output 'z'; it has 'y'") as error:
        client.infer("row", [given(ROW, "FP32")], outputs=[triton.InferRequestedOutput("z")])
    assert refused(error)[0] == "400"


def test_a_requested_output_in_shared_memory_is_refused(client: Any) -> None:
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("mine", 8)
    with pytest.raises(InferenceServerException, match="shared memory") as error:
        client.infer("row", [given(ROW, "FP32")], outputs=[output])
    assert refused(error)[0] == "501"


def test_the_callers_time_limit_ends_a_request(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="deadline") as error:
        client.infer("patient", [given(np.array(2**40), "INT64", "n")], timeout=200_000)
    assert refused(error)[0] == "504"


def test_after_errors_the_same_connection_serves_on(serin: Running) -> None:
    with triton.InferenceServerClient(serin.http.removeprefix("http://"), concurrency=1) as client:
        for model in ("nobody", "row", "nobody"):
            with pytest.raises(InferenceServerException):
                client.infer(model, [given(ROW, "FP32", "z")])
        assert client.infer("row", [given(ROW, "FP32")]).as_numpy("y").tolist() == [[0, 0]]
