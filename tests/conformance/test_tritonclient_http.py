"""What tritonclient has over HTTP alone: tensors in JSON, compression, queries, bodies made beforehand."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conformance.doors import DTYPES, values
from tests.e2e.conftest import Running

ROW = np.zeros((1, 2), np.float32)
CODINGS = [None, "gzip", "deflate"]


@pytest.fixture
def client(serin: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(serin.http.removeprefix("http://"), concurrency=4) as client:
        yield client


def given(array: np.ndarray, datatype: str, name: str = "x", binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


# ---- data in both encodings ----


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


def test_outputs_may_differ_in_their_encoding(client: Any) -> None:
    a, b = np.array([[0, 1]], np.float32), np.ones((1, 2), np.int64)
    wanted = [triton.InferRequestedOutput("b_as_text"), triton.InferRequestedOutput("sum", binary_data=False)]
    answer = client.infer("two", [given(a, "FP32", "a", binary=False), given(b, "INT64", "b")], outputs=wanted)
    assert answer.as_numpy("sum").tolist() == [[1, 2]]
    assert answer.as_numpy("b_as_text").tolist() == [[b"1", b"1"]]
    assert ["data" in output for output in answer.get_response()["outputs"]] == [False, True]


@pytest.mark.parametrize("policy", ["null", "string", "token"])
def test_what_json_does_not_have_can_be_read_back(client: Any, policy: str) -> None:
    a, b = np.array([1, 0, 4], np.float32), np.array([2, 0, 2], np.float32)
    wanted = [triton.InferRequestedOutput("y", binary_data=False)]
    answer = client.infer(f"divide_{policy}", [given(a, "FP32", "a"), given(b, "FP32", "b")], outputs=wanted)
    np.testing.assert_array_equal(answer.as_numpy("y"), np.array([0.5, np.nan, 2], np.float32))
    assert answer.get_output("y")["parameters"] == {"non_finite": 1}


# ---- compression, queries, connections ----


def test_a_query_is_left_alone_and_no_id_is_made_up(client: Any) -> None:
    answer = client.infer("row", [given(ROW, "FP32")], query_params={"a": 1, "b": [1, 2]})
    assert answer.as_numpy("y").tolist() == [[0, 0]]
    assert "id" not in answer.get_response()


def test_a_mistake_in_json_is_refused_as_one_in_binary(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="the model expects FP32") as error:
        client.infer("row", [given(ROW.astype(np.int64), "INT64", binary=False)])
    assert error.value.status() == "400"


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


def test_after_errors_the_same_connection_serves_on(serin: Running) -> None:
    with triton.InferenceServerClient(serin.http.removeprefix("http://"), concurrency=1) as client:
        for model in ("nobody", "row", "nobody"):
            with pytest.raises(InferenceServerException):
                client.infer(model, [given(ROW, "FP32", "z")])
        assert client.infer("row", [given(ROW, "FP32")]).as_numpy("y").tolist() == [[0, 0]]
