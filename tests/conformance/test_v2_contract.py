"""The Open Inference Protocol by raw HTTP, point by point: where the specification leaves room, what Serin chose."""

import gzip
import json
import math
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tests.conformance import v2client, zoo
from tests.conformance.conftest import LIMIT_BYTES, raw_client
from tests.conformance.v2client import LENGTH, framed, tensor
from tests.e2e.conftest import Running

ROW = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
ROW_BYTES = struct.pack("<2f", 1, 2)


@pytest.fixture(params=["lane", "application"])
def http(serin: Running, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Both ways in: with a query, even an empty one, a request does not take the fast lane."""
    with raw_client(serin, params={"q": ""} if request.param == "application" else None) as client:
        yield client


def infer(http: httpx.Client, model: str, *inputs: dict[str, Any], **more: Any) -> httpx.Response:
    return http.post(f"/v2/models/{model}/infer", json={"inputs": list(inputs), **more})


def post(http: httpx.Client, content: bytes, headers: dict[str, str] | None = None, model: str = "row") -> Any:
    return http.post(f"/v2/models/{model}/infer", content=content, headers=headers)


def assert_error(answer: httpx.Response, status: int, words: str = "") -> None:
    """An error as every route gives it: a status, JSON, `error` a string, and the id of the request."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "code", "request_id"}
    assert isinstance(body["error"], str)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert words in body["error"]


def data_of(answer: httpx.Response, output: int = 0) -> Any:
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()["outputs"][output]["data"]


# ---- server and model, AMB-1 to AMB-3 ----


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_has_both_spellings_without_a_redirect(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert set(answer.json()) == {"name", "version", "extensions"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/row/ready", {"name": "row", "ready": True}),
        ("/v2/models/row/versions/1/ready", {"name": "row", "ready": True}),
    ],
)
def test_health_answers_200_and_a_small_body(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.json()) == (200, body)


@pytest.mark.parametrize("path", ["ready", "versions/1/ready", "", "versions/1"])
def test_an_unknown_model_is_404(http: httpx.Client, path: str) -> None:
    assert_error(http.get(f"/v2/models/nobody/{path}".rstrip("/")), 404, "nobody")


@pytest.mark.parametrize("path", ["versions/7/ready", "versions/7", "versions/x/ready", "versions/0"])
def test_an_unknown_version_is_404(http: httpx.Client, path: str) -> None:
    assert_error(http.get(f"/v2/models/row/{path}"), 404)


@pytest.mark.parametrize("path", ["/v2/models/versions", "/v2/models/versions/versions/3"])
def test_metadata_is_as_the_specification_has_it(http: httpx.Client, path: str) -> None:
    found = http.get(path).json()
    assert found["name"] == "versions"
    assert found["versions"] == ["1", "2", "3"]
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert found["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]


@pytest.mark.parametrize(("model", "shape"), [("scalar", []), ("anyrank", [-1]), ("fixed", [2, 3])])
def test_metadata_tells_scalars_unknown_ranks_and_fixed_sizes(http: httpx.Client, model: str, shape: list[int]) -> None:
    assert http.get(f"/v2/models/{model}").json()["inputs"][0]["shape"] == shape


@pytest.mark.parametrize("datatype", zoo.KINDS)
def test_metadata_names_each_datatype(http: httpx.Client, datatype: str) -> None:
    assert http.get(f"/v2/models/same_{datatype}").json()["inputs"][0]["datatype"] == datatype


def test_the_models_can_be_listed(http: httpx.Client) -> None:
    found = http.get("/v2/models").json()["models"]
    assert {"row", "digits", "a.b-c_D.9"} <= set(found)


# ---- routes, methods, paths ----


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/v1",
        "/v2/nope",
        "/v2/models/row/nope",
        "/v2/models/row/versions",
        "/v2/models/row/versions/1/nope",
        "/v2/models//ready",
        "/v2/models/row/../../../etc/passwd",
        "/v2/models/%2e%2e/ready",
        "/v2/models/row%00/ready",
        "/v2/models/" + "m" * 3000,
        "/V2",
    ],
)
def test_what_is_not_there_is_a_404_in_json(http: httpx.Client, path: str) -> None:
    assert_error(http.get(path), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/infer",
        "/v2/models//infer",
        "/v2/models/row/versions/infer",
        "/v2/models/row/versions//infer",
        "/v2/models/row/versions/1/1/infer",
        "/v2/models/row/infer/infer",
        "/v2/models/row/",
        "/nope",
    ],
)
def test_inference_where_there_is_none_is_a_404_in_json(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={"inputs": [ROW]})
    assert answer.status_code in (404, 405)
    assert_error(answer, answer.status_code)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v2/models/row/infer", "/v2/models/row/versions/1/infer"])
def test_another_method_is_a_405_that_says_which(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert_error(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/v2/models", "/v2/models/row", "/v2/models/row/ready"])
def test_another_method_on_a_page_to_read_is_a_405(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert_error(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/nope", "/v2/models/row/infer"])
def test_an_answer_to_head_has_no_body(http: httpx.Client, path: str) -> None:
    answer = http.head(path)
    assert answer.content == b""
    assert answer.status_code in (200, 404, 405)
    assert http.get("/v2/health/live").status_code == 200


def test_a_query_is_no_part_of_the_path(http: httpx.Client) -> None:
    assert http.post("/v2/models/row/infer?a=1&b=/infer", json={"inputs": [ROW]}).status_code == 200


def test_names_may_be_percent_encoded(http: httpx.Client) -> None:
    answer = http.post("/v2/models/%61.b%2Dc_D.9/infer", json={"inputs": [ROW]})
    assert data_of(answer) == [5, 10]


# ---- versions: honoured or refused ----


@pytest.mark.parametrize(("path", "version"), [("", "2"), ("/versions/1", "1"), ("/versions/3", "3")])
def test_the_answer_says_which_version_it_is_from(http: httpx.Client, path: str, version: str) -> None:
    answer = http.post(f"/v2/models/versions{path}/infer", json={"inputs": [ROW]})
    assert data_of(answer) == [int(version), 2 * int(version)]
    assert answer.json()["model_name"] == "versions"
    assert answer.json()["model_version"] == version
    assert answer.headers["serin-version"] == version
    assert answer.headers["serin-variant"] == version
    assert int(answer.headers["serin-revision"]) >= 1


@pytest.mark.parametrize("version", ["4", "5", "02", "0", "-1", "1.0", "%31%30", "latest", "1 ", "١", "9" * 40])
def test_a_version_that_is_not_served_is_never_answered_by_another(http: httpx.Client, version: str) -> None:
    answer = http.post(f"/v2/models/versions/versions/{version}/infer", json={"inputs": [ROW]})
    assert answer.status_code in (404, 503)
    assert_error(answer, answer.status_code)


def test_a_broken_model_is_refused_and_harms_nobody(http: httpx.Client) -> None:
    answer = infer(http, "broken", ROW)
    assert answer.status_code in (404, 503)
    assert http.get("/v2/health/ready").status_code == 200


# ---- ids, AMB-4 ----


@pytest.mark.parametrize("given", ["", "7", "a/b c", "ünï"])
def test_an_id_is_echoed(http: httpx.Client, given: str) -> None:
    assert infer(http, "row", ROW, id=given).json()["id"] == given


@pytest.mark.parametrize("more", [{}, {"id": None}])
def test_no_id_is_answered_with_none(http: httpx.Client, more: dict[str, Any]) -> None:
    assert "id" not in infer(http, "row", ROW, **more).json()


@pytest.mark.parametrize("given", [7, True, ["a"], {"a": 1}])
def test_an_id_is_a_string(http: httpx.Client, given: Any) -> None:
    assert_error(infer(http, "row", ROW, id=given), 400, "id")


def test_the_request_id_of_http_is_echoed_or_made(http: httpx.Client) -> None:
    sent = http.post("/v2/models/row/infer", json={"inputs": [ROW]}, headers={"X-Request-Id": "mine-7"})
    assert sent.headers["x-request-id"] == "mine-7"
    refused = http.post("/v2/models/row/infer", content=b"{", headers={"X-Request-Id": "mine-8"})
    assert refused.headers["x-request-id"] == refused.json()["request_id"] == "mine-8"
    made = [infer(http, "row", ROW).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]


@pytest.mark.parametrize("given", ["x" * 200, "two words", ""])
def test_a_request_id_that_is_no_word_is_replaced(http: httpx.Client, given: str) -> None:
    answer = http.post("/v2/models/row/infer", json={"inputs": [ROW]}, headers={"X-Request-Id": given})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] != given


# ---- data: flat, nested, counts, AMB-10 ----


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_data_may_be_flat_or_nested_and_is_answered_flat(http: httpx.Client, data: Any) -> None:
    assert data_of(infer(http, "row", {**ROW, "shape": [2, 2], "data": data})) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "data",
    [
        [1],
        [1, 2, 3],
        [],
        [[1], [2]],
        [[1, 2], [3]],
        [[[1, 2]]],
        [1, [2]],
        "12",
        5,
        {"a": 1},
        [None, 1],
        [True, False],
        ["1", "2"],
        [1e39, 0],
        None,
    ],
)
def test_data_that_is_not_what_the_shape_says_is_refused(http: httpx.Client, data: Any) -> None:
    assert_error(infer(http, "row", {**ROW, "data": data}), 400, "'x'")


def test_a_shape_is_no_broadcast(http: httpx.Client) -> None:
    one = {"name": "x", "shape": [1, 3], "datatype": "BOOL", "data": [True]}
    assert_error(infer(http, "same_BOOL", one), 400, "1 elements")


@pytest.mark.parametrize("shape", [[-1, 2], [1.5, 2], ["1", 2], None, 2, [2**63, 2], [1] * 100, [True, 2], [[1], 2]])
def test_a_shape_is_a_list_of_sizes(http: httpx.Client, shape: Any) -> None:
    assert_error(infer(http, "row", {**ROW, "shape": shape}), 400)


@pytest.mark.parametrize("shape", [[0, 2**62], [2**62, 0], [10**9, 2], [2**31, 2**31]])
def test_a_boastful_shape_costs_nothing(http: httpx.Client, shape: list[int]) -> None:
    assert_error(infer(http, "anyrank", {**ROW, "shape": shape, "data": []}), 400)


@pytest.mark.parametrize("datatype", zoo.KINDS)
@pytest.mark.parametrize("data", [[], [[], []]])
def test_a_tensor_may_be_empty_in_each_datatype(http: httpx.Client, datatype: str, data: list[Any]) -> None:
    shape = [2, 0] if data else [0, 2]
    answer = infer(http, f"same_{datatype}", {"name": "x", "shape": shape, "datatype": datatype, "data": data})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"] == [{"name": "y", "datatype": datatype, "shape": shape, "data": []}]


@pytest.mark.parametrize("data", [2.5, [2.5]])
def test_a_scalar_is_a_list_of_one_or_bare(http: httpx.Client, data: Any) -> None:
    answer = infer(http, "scalar", {"name": "x", "shape": [], "datatype": "FP32", "data": data})
    assert answer.json()["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [], "data": [2.5]}


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT8", [128]),
        ("INT8", [-129]),
        ("UINT8", [-1]),
        ("UINT8", [256]),
        ("INT32", [2**31]),
        ("INT64", [2**63]),
        ("UINT64", [2**64]),
        ("UINT64", [-1]),
        ("INT64", [1.5]),
        ("INT64", ["1"]),
        ("INT64", [True]),
        ("BOOL", [2]),
        ("BOOL", ["true"]),
        ("FP16", [65520]),
        ("FP32", [3.5e38]),
        ("FP64", [10**400]),
        ("FP32", [False]),
        ("BYTES", [1]),
        ("BYTES", [None]),
    ],
)
def test_a_value_that_the_datatype_does_not_have_is_refused(http: httpx.Client, datatype: str, data: Any) -> None:
    sent = {"name": "x", "shape": [1, 1], "datatype": datatype, "data": data}
    assert_error(infer(http, f"same_{datatype}", sent), 400, "'x'")


# ---- numbers in JSON, AMB-6 to AMB-9 ----


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("INT64", [-(2**63), 2**63 - 1, 2**53 + 1]),
        ("UINT64", [2**64 - 1, 2**53 + 1, 0]),
        ("FP64", [0.1, 5e-324, 1.7976931348623157e308]),
        ("BOOL", [True, False, True]),
        ("BYTES", ["", "zürich \U0001f600", 'a "b" \\ \n']),
    ],
)
def test_json_is_exact(http: httpx.Client, datatype: str, values: list[Any]) -> None:
    answer = infer(http, f"same_{datatype}", {"name": "x", "shape": [1, 3], "datatype": datatype, "data": values})
    assert data_of(answer) == values


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32"])
def test_every_short_float_survives_json(http: httpx.Client, datatype: str) -> None:
    dtype = v2client.DTYPES[datatype]
    bits = np.arange(2**16, dtype=np.uint16)
    if datatype == "FP32":
        bits = np.random.default_rng(3).integers(0, 2**32, 2**16, np.uint32)
    sent = bits.view(dtype)[None]
    with np.errstate(invalid="ignore"):
        sent = sent[np.isfinite(sent.astype(np.float64))][None]
    body = json.dumps(v2client.json_request({"x": sent}, {"x": datatype}))
    found = v2client.outputs_of(http.post(f"/v2/models/same_{datatype}/infer", content=body))["y"]
    assert found.tobytes() == sent.tobytes()


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', '"-Infinity"'])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_what_json_does_not_have_is_read_bare_and_quoted(http: httpx.Client, word: str, datatype: str) -> None:
    text = (
        '{"inputs":[{"name":"x","shape":[1,2],"datatype":"%s","data":[%s,1]}],"parameters":{"binary_data_output":true}}'
    )
    found = v2client.outputs_of(post(http, (text % (datatype, word)).encode(), model=f"same_{datatype}"))["y"]
    np.testing.assert_array_equal(found.astype(float), [[float(word.strip('"')), 1]])


DIVIDED = [
    {"name": "a", "shape": [4], "datatype": "FP32", "data": [1, -1, 0, 3]},
    {"name": "b", "shape": [4], "datatype": "FP32", "data": [0, 0, 0, 2]},
]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("null", b"[null,null,null,1.5]"),
        ("string", b'["Infinity","-Infinity","NaN",1.5]'),
        ("token", b"[Infinity,-Infinity,NaN,1.5]"),
    ],
)
def test_what_json_does_not_have_is_written_by_the_models_policy(http: httpx.Client, policy: str, text: bytes) -> None:
    answer = infer(http, f"divide_{policy}", *DIVIDED)
    assert answer.status_code == 200
    assert b'"data":' + text in answer.content
    assert json.loads(answer.content)["outputs"][0]["parameters"] == {"non_finite": 3}


def test_the_policy_error_refuses_the_answer_in_json_and_not_in_binary(http: httpx.Client) -> None:
    assert_error(infer(http, "divide_error", *DIVIDED), 500, "NaN or infinite")
    answer = infer(http, "divide_error", *DIVIDED, parameters={"binary_data_output": True})
    np.testing.assert_array_equal(v2client.outputs_of(answer)["y"], [math.inf, -math.inf, math.nan, 1.5])


def test_text_may_come_as_base64(http: httpx.Client) -> None:
    sent = {"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": ["csO8"]}
    answer = infer(http, "same_BYTES", {**sent, "parameters": {"content_type": "base64"}})
    assert data_of(answer) == ["rü"]


# ---- parameters and requested outputs ----


@pytest.mark.parametrize(
    "parameters", [{"a": 1, "b": "x", "c": True, "d": 1.5}, {"sequence_id": 4}, {"triton_x": 1}, {}, None]
)
def test_parameters_are_scalars_and_unknown_ones_are_let_be(http: httpx.Client, parameters: Any) -> None:
    assert infer(http, "row", ROW, parameters=parameters).status_code == 200


@pytest.mark.parametrize("parameters", [[], "a", {"a": []}, {"a": {}}, 5])
def test_parameters_of_another_form_are_refused(http: httpx.Client, parameters: Any) -> None:
    assert_error(infer(http, "row", ROW, parameters=parameters), 400, "parameters")


@pytest.mark.parametrize("parameters", [[], "a", {"a": []}, {"a": {}}, 5])
def test_so_are_those_of_an_input_and_of_a_requested_output(http: httpx.Client, parameters: Any) -> None:
    assert_error(infer(http, "row", ROW | {"parameters": parameters}), 400, "input 'x': parameters")
    assert_error(
        infer(http, "row", ROW, outputs=[{"name": "y", "parameters": parameters}]), 400, "output 'y': parameters"
    )


@pytest.mark.parametrize("outputs", [None, []])
def test_no_requested_output_means_all(http: httpx.Client, outputs: Any) -> None:
    assert len(infer(http, "row", ROW, outputs=outputs).json()["outputs"]) == 1


@pytest.mark.parametrize("outputs", [[{"name": "z"}], [{"name": "y"}, {"name": "y"}], [{}], ["y"], {"name": "y"}, "y"])
def test_a_wrong_requested_output_is_refused(http: httpx.Client, outputs: Any) -> None:
    assert_error(infer(http, "row", ROW, outputs=outputs), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"x"',
        b"{",
        b'{"inputs":null}',
        b'{"inputs":{}}',
        b'{"inputs":[5]}',
        b'{"inputs":[]}',
        b'{"inputs":[{}]}',
        b'{"inputs":[{"name":5,"shape":[1],"datatype":"FP32","data":[1]}]}',
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b'{"inputs":[]} trailing',
        b"--boundary\r\nContent-Disposition: form-data\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(http: httpx.Client, body: bytes) -> None:
    assert_error(post(http, body), 400)


def test_members_that_the_protocol_does_not_know_are_let_be(http: httpx.Client) -> None:
    sent = {**ROW, "extra": {"a": [1]}, "parameters": {"content_type": "np", "mine": 1}}
    assert infer(http, "row", sent, extra=[1, 2], model_name="other").status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", "text/plain", "a/b", ""])
def test_the_content_type_is_not_looked_at(http: httpx.Client, content_type: str) -> None:
    sent = json.dumps({"inputs": [ROW]}).encode()
    assert post(http, sent, {"Content-Type": content_type}).status_code == 200


# ---- the binary extension, 2.3 ----


def binary_row(**more: Any) -> tuple[bytes, dict[str, str]]:
    size = {"binary_data_size": 8}
    return framed(
        {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": size}], **more}, ROW_BYTES
    )


def test_a_binary_input_follows_the_json(http: httpx.Client) -> None:
    answer = post(http, *binary_row())
    assert data_of(answer) == [1, 2]
    assert LENGTH not in answer.headers
    assert answer.headers["content-type"] == "application/json"


def test_binary_and_json_inputs_may_be_mixed_in_their_order(http: httpx.Client) -> None:
    first = tensor("b", np.zeros((1, 2)), "INT64", parameters={"binary_data_size": 16})
    second = tensor("a", np.zeros((1, 2)), "FP32", data=[[0.5, 0.5]])
    body, headers = framed({"inputs": [first, second]}, struct.pack("<2q", 1, 2))
    found = v2client.outputs_of(post(http, body, headers, "two"))
    assert found["sum"].tolist() == [[1.5, 2.5]]
    assert found["b_as_text"].tolist() == [[b"1", b"2"]]


@pytest.mark.parametrize(
    ("whole", "single", "binary"),
    [
        (None, None, False),
        (None, True, True),
        (None, False, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
        (False, None, False),
    ],
)
def test_the_flag_of_an_output_wins_over_that_of_the_request(
    http: httpx.Client, whole: Any, single: Any, binary: bool
) -> None:
    output = {"name": "y"} if single is None else {"name": "y", "parameters": {"binary_data": single}}
    parameters = {} if whole is None else {"binary_data_output": whole}
    answer = infer(http, "row", ROW, outputs=[output], parameters=parameters)
    assert (LENGTH in answer.headers) is binary
    assert v2client.outputs_of(answer)["y"].tolist() == [[1, 2]]


def test_a_binary_answer_has_the_layout_of_a_request(http: httpx.Client) -> None:
    answer = infer(http, "row", ROW, parameters={"binary_data_output": True})
    length = int(answer.headers[LENGTH])
    document = json.loads(answer.content[:length])
    assert document["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    ]
    assert answer.content[length:] == ROW_BYTES
    assert answer.headers["content-type"] == "application/octet-stream"
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("datatype", zoo.KINDS)
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_every_datatype_goes_through_wherever_the_json_ends(http: httpx.Client, datatype: str, padding: int) -> None:
    blob = {"BYTES": struct.pack("<I", 2) + b"ab" + bytes(4), "BOOL": b"\x01\x00"}.get(
        datatype, bytes(range(2 * v2client.DTYPES[datatype].itemsize))
    )
    head = {"name": "x", "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": len(blob)}}
    more = {"parameters": {"binary_data_output": True, "pad": "p" * padding}}
    answer = post(http, *framed({"inputs": [head], **more}, blob), model=f"same_{datatype}")
    assert answer.status_code == 200, answer.text
    assert answer.content[int(answer.headers[LENGTH]) :] == blob


@pytest.mark.parametrize(
    "value", ["-1", "1e3", "abc", "", "1.0", "0x10", "+5", "99999999999999999999", "1000000", "1 1"]
)
def test_the_length_of_the_json_part_is_a_whole_number_within_the_body(http: httpx.Client, value: str) -> None:
    body, _ = binary_row()
    assert_error(post(http, body, {LENGTH: value}), 400)


def test_the_length_is_read_in_any_case(http: httpx.Client) -> None:
    body, headers = binary_row()
    assert post(http, body, {name.lower(): value for name, value in headers.items()}).status_code == 200


@pytest.mark.parametrize(
    ("size", "blob"),
    [
        (8, ROW_BYTES + b"\0"),
        (8, ROW_BYTES[:-1]),
        (9, ROW_BYTES + b"\0"),
        (7, ROW_BYTES[:-1]),
        (0, b""),
        (-8, ROW_BYTES),
        (2**63, ROW_BYTES),
        (True, ROW_BYTES),
        ("8", ROW_BYTES),
        (8.5, ROW_BYTES),
        (8, b""),
    ],
)
def test_sizes_that_do_not_fit_are_refused(http: httpx.Client, size: Any, blob: bytes) -> None:
    head = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    assert_error(post(http, *framed({"inputs": [head]}, blob)), 400)


def test_data_beside_a_binary_size_is_refused(http: httpx.Client) -> None:
    head = {**ROW, "parameters": {"binary_data_size": 8}}
    assert_error(post(http, *framed({"inputs": [head]}, ROW_BYTES)), 400, "both")


def test_a_binary_size_without_the_header_is_refused_with_the_way_out(http: httpx.Client) -> None:
    head = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    text = json.dumps({"inputs": [head]}).encode()
    assert_error(post(http, text), 400, LENGTH)
    assert_error(post(http, text + ROW_BYTES), 400)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\1\0\0",
        struct.pack("<I", 5) + b"abc",
        struct.pack("<I", 2**32 - 1) + b"abc",
        struct.pack("<I", 2) + b"abc",
    ],
)
def test_text_elements_lie_within_their_blob(http: httpx.Client, blob: bytes) -> None:
    head = {"name": "x", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}
    assert_error(post(http, *framed({"inputs": [head]}, blob), model="same_BYTES"), 400, "'x'")


# ---- raw requests: one tensor and nothing else, 2.3.6 ----


def raw(http: httpx.Client, model: str, body: bytes) -> httpx.Response:
    return post(http, body, {LENGTH: "0"}, model)


def test_a_raw_request_finds_its_shape_from_its_size(http: httpx.Client) -> None:
    answer = raw(http, "row", ROW_BYTES * 3)
    assert answer.status_code == 200, answer.text
    assert answer.headers[LENGTH]
    assert v2client.outputs_of(answer)["y"].tolist() == [[1, 2]] * 3


def test_a_raw_request_fits_a_fixed_shape_and_a_scalar(http: httpx.Client) -> None:
    assert v2client.outputs_of(raw(http, "fixed", struct.pack("<6f", *range(6))))["y"].shape == (2, 3)
    assert v2client.outputs_of(raw(http, "scalar", struct.pack("<f", 7)))["y"] == 7


def test_a_raw_request_may_have_no_rows(http: httpx.Client) -> None:
    assert v2client.outputs_of(raw(http, "row", b""))["y"].shape == (0, 2)


def test_a_raw_text_is_one_element(http: httpx.Client) -> None:
    assert v2client.outputs_of(raw(http, "one_text", "grün".encode()))["y"].tolist() == ["grün".encode()]


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("two", bytes(8), "one input"),
        ("nothing_in", b"", "one input"),
        ("same_FP32", bytes(8), "one variable dimension"),
        ("anyrank", bytes(8), "one variable dimension"),
        ("row", bytes(9), "no whole number of rows"),
        ("row", bytes(4), "no whole number of rows"),
        ("fixed", bytes(20), "needs 24"),
        ("scalar", bytes(8), "needs 4"),
    ],
)
def test_a_raw_request_that_does_not_fit_is_refused(http: httpx.Client, model: str, body: bytes, words: str) -> None:
    assert_error(raw(http, model, body), 400, words)


# ---- codings, 2.3.9 ----

DEFLATED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
    "GZIP": gzip.compress,
}


@pytest.mark.parametrize("coding", DEFLATED)
@pytest.mark.parametrize("binary", [True, False])
def test_a_body_may_be_compressed_and_lengths_mean_what_is_in_it(http: httpx.Client, coding: str, binary: bool) -> None:
    body, headers = binary_row() if binary else (json.dumps({"inputs": [ROW]}).encode(), {})
    answer = post(http, DEFLATED[coding](body), {**headers, "Content-Encoding": coding})
    assert data_of(answer) == [1, 2]


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "nonsense"])
def test_another_coding_is_415(http: httpx.Client, coding: str) -> None:
    assert_error(post(http, b"{}", {"Content-Encoding": coding}), 415, "gzip")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("harm", [lambda body: body[:-5], lambda body: b"no" + body, lambda body: body + body, bytes])
def test_a_broken_stream_is_refused(http: httpx.Client, coding: str, harm: Any) -> None:
    body = DEFLATED[coding](json.dumps({"inputs": [ROW]}).encode())
    sent = b"" if harm is bytes else harm(body)
    assert_error(post(http, sent, {"Content-Encoding": coding}), 400, "compressed body")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_413_and_costs_little(http: httpx.Client, serin: Running, coding: str) -> None:
    bomb = DEFLATED[coding](bytes(32 * LIMIT_BYTES))
    before = resident_bytes(serin)
    assert_error(post(http, bomb, {"Content-Encoding": coding}), 413, str(LIMIT_BYTES))
    assert resident_bytes(serin) - before < 16 * LIMIT_BYTES


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_is_compressed_for_who_asks_for_one_coding(http: httpx.Client, coding: str) -> None:
    answer = http.post("/v2/models/row/infer", json={"inputs": [ROW]}, headers={"Accept-Encoding": coding})
    assert answer.headers["content-encoding"] == coding
    assert data_of(answer) == [1, 2]


@pytest.mark.parametrize("accepted", ["identity", "*", "gzip, deflate, br", "gzip;q=0", "br", ""])
def test_other_wishes_get_a_plain_answer(http: httpx.Client, accepted: str) -> None:
    answer = http.post("/v2/models/row/infer", json={"inputs": [ROW]}, headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert data_of(answer) == [1, 2]


# ---- the wire ----


def resident_bytes(serin: Running) -> int:
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in serin.workers()]
    return sum(pages) * 4096


def test_a_body_above_the_limit_is_413_and_ends_the_connection(http: httpx.Client) -> None:
    answer = post(http, bytes(LIMIT_BYTES + 1))
    assert_error(answer, 413, str(LIMIT_BYTES))
    assert answer.headers["connection"] == "close"


def test_a_body_of_unknown_length_above_the_limit_is_413(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(LIMIT_BYTES // 65536 + 2):
            yield bytes(65536)

    try:
        assert_error(http.post("/v2/models/row/infer", content=pieces()), 413)
    except (httpx.WriteError, httpx.ReadError):
        pytest.skip("the connection was closed before the answer was read")


def test_a_body_may_come_in_pieces(http: httpx.Client) -> None:
    body, headers = binary_row()
    answer = http.post("/v2/models/row/infer", content=(bytes([byte]) for byte in body), headers=headers)
    assert data_of(answer) == [1, 2]


def test_a_declared_length_above_the_limit_is_refused_before_the_body_comes(serin: Running) -> None:
    head = b"POST /v2/models/row/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert said(serin, head).startswith(b"HTTP/1.1 413 ")


def test_who_expects_100_continue_is_told(serin: Running) -> None:
    body = json.dumps({"inputs": [ROW]}).encode()
    head = b"POST /v2/models/row/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with connection(serin) as wire:
        wire.sendall(head % len(body))
        assert wire.recv(65536).startswith(b"HTTP/1.1 100 ")
        wire.sendall(body)
        assert b"HTTP/1.1 200 " in wire.recv(65536)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: five\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: nonsense\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b" Content-Length: 5\r\n",
        b"Content-Length : 5\r\n",
        b"X: \0\r\n",
    ],
)
def test_lengths_that_contradict_are_refused_and_end_the_connection(serin: Running, lines: bytes) -> None:
    # Were one of two lengths believed, the rest of the body would be read as the next request.
    smuggled = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = said(serin, b"POST /v2/models/row/infer HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n{    }" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"binary_tensor_data" not in answer


@pytest.mark.parametrize("first", [True, False])
def test_a_json_length_given_twice_is_not_guessed_at(serin: Running, first: bool) -> None:
    body, headers = binary_row()
    lengths = [headers[LENGTH], "0"] if first else ["0", headers[LENGTH]]
    lines = "".join(f"{LENGTH}: {length}\r\n" for length in lengths) + "Connection: close\r\n"
    head = f"POST /v2/models/row/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    assert said(serin, head.encode() + body).startswith(b"HTTP/1.1 400 ")


def test_requests_in_a_row_on_one_connection_are_answered_in_order(serin: Running) -> None:
    body = b'{"id":"%d","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
    head = b"POST /v2/models/row/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n"
    last = b"Connection: close\r\n"
    wire = b"".join(head % (len(body % n), last if n == 9 else b"") + body % n for n in range(10))
    answer = said(serin, wire)
    assert [answer.count(b'"id":"%d"' % n) for n in range(10)] == [1] * 10
    assert sorted(range(10), key=lambda n: answer.index(b'"id":"%d"' % n)) == list(range(10))


def test_nothing_harmed_the_gateway(serin: Running, http: httpx.Client) -> None:
    assert len(serin.workers()) == 1
    assert data_of(infer(http, "row", ROW)) == [1, 2]
    lines = [line for line in serin.log_lines() if line["level"] in ("error", "critical")]
    assert [line for line in lines if "NaN or infinite" not in str(line)] == []


def connection(serin: Running) -> socket.socket:
    place = urlsplit(serin.http)
    return socket.create_connection((place.hostname, place.port), timeout=10)


def said(serin: Running, sent: bytes) -> bytes:
    """What comes back until the gateway closes the connection, or says no more for a while."""
    with connection(serin) as wire:
        wire.sendall(sent)
        wire.settimeout(2)
        answer = b""
        try:
            while piece := wire.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer
