"""The OpenAPI document of the public port: well formed, whole, and true of what the gateway answers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.conformance import v2client
from tests.e2e.conftest import Running

ROUTES = {
    ("get", "/v2"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("get", "/v2/models"),
    ("get", "/v2/models/{model}"),
    ("get", "/v2/models/{model}/versions/{version}"),
    ("get", "/v2/models/{model}/ready"),
    ("get", "/v2/models/{model}/versions/{version}/ready"),
    ("post", "/v2/models/{model}/infer"),
    ("post", "/v2/models/{model}/versions/{version}/infer"),
}
INFER = "/v2/models/{model}/infer"
ROW = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


@pytest.fixture(scope="module")
def document(serin: Running) -> Any:
    return httpx.get(f"{serin.http}/openapi.json").raise_for_status().json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def inside(value: Any, key: str) -> Iterator[Any]:
    """Every value under `key`, at any depth."""
    if isinstance(value, dict):
        if key in value and isinstance(value[key], str):
            yield value[key]
        for inner in value.values():
            yield from inside(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from inside(inner, key)


def assert_valid(document: Any, schema: Any, value: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def schema_of(document: Any, method: str, path: str, status: int) -> Any:
    answers = document["paths"][path][method]["responses"]
    return answers[str(status)]["content"]["application/json"]["schema"]


def test_it_says_what_it_is(document: Any) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert set(document["info"]) >= {"title", "version"}
    assert {"paths", "components"} <= set(document)


def test_every_route_of_the_protocol_is_in_it(document: Any) -> None:
    assert {(method, path) for method, path, _ in operations(document)} >= ROUTES


def test_every_reference_leads_somewhere(document: Any) -> None:
    for reference in set(inside(document, "$ref")):
        assert reference.startswith("#/"), reference
        place = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in place, reference
            place = place[part]


def test_every_schema_is_one(document: Any) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        Draft202012Validator.check_schema(schema)
    for _, _, operation in operations(document):
        body = operation.get("requestBody", {"content": {}})
        for content in body["content"].values():
            Draft202012Validator.check_schema(content["schema"])


def test_every_operation_is_whole(document: Any) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(document):
        assert operation["summary"]
        assert operation["description"], (method, path)
        assert "200" in operation["responses"]
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status)
            assert answer["description"]


def test_every_parameter_is_declared_once_and_those_of_the_path_are_required(document: Any) -> None:
    for method, path, operation in operations(document):
        parameters = operation.get("parameters", [])
        places = [(parameter["in"], parameter["name"]) for parameter in parameters]
        assert len(places) == len(set(places)), (method, path)
        declared = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")
        assert all("schema" in parameter for parameter in parameters), (method, path)


def test_inference_takes_json_and_binary_and_names_its_headers(document: Any) -> None:
    operation = document["paths"][INFER]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
    assert set(operation["responses"]["200"]["content"]) >= {"application/json", "application/octet-stream"}
    names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
    assert {v2client.LENGTH, "Content-Encoding", "X-Request-Id"} <= names
    told = {name.lower() for name in operation["responses"]["200"].get("headers", {})}
    assert {"serin-version", "serin-variant", "serin-revision", "x-request-id", v2client.LENGTH.lower()} <= told


@pytest.mark.parametrize(
    "sent",
    [
        {"inputs": [ROW]},
        {"id": "7", "inputs": [ROW], "outputs": [{"name": "y"}], "parameters": {"routing_key": "ann", "n": 1}},
        {"inputs": [{**ROW, "data": [[1, 2]]}]},
        {"inputs": [ROW], "outputs": [{"name": "y", "parameters": {"binary_data": False}}]},
    ],
)
def test_a_request_that_is_answered_is_one_by_the_document_and_so_is_its_answer(
    document: Any, http: httpx.Client, sent: Any
) -> None:
    body = document["paths"][INFER]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert_valid(document, body, sent)
    answer = http.post("/v2/models/row/infer", json=sent)
    assert answer.status_code == 200
    assert_valid(document, schema_of(document, "post", INFER, 200), answer.json())


@pytest.mark.parametrize("model", ["scalar", "divide_null", "same_BYTES"])
def test_rare_answers_are_in_the_document_too(document: Any, http: httpx.Client, model: str) -> None:
    inputs: Any = {
        "scalar": [{"name": "x", "shape": [], "datatype": "FP32", "data": [1]}],
        "divide_null": [{"name": n, "shape": [1], "datatype": "FP32", "data": [0]} for n in "ab"],
        "same_BYTES": [{"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}],
    }[model]
    answer = http.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert answer.status_code == 200
    assert_valid(document, schema_of(document, "post", INFER, 200), answer.json())


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_what_is_read_is_what_the_document_says(document: Any, http: httpx.Client, method: str, path: str) -> None:
    place = path.replace("{model}", "row").replace("{version}", "1")
    content = json.dumps({"inputs": [ROW]}) if method == "post" else None
    answer = http.request(method, place, content=content)
    assert answer.status_code == 200
    assert_valid(document, schema_of(document, method, path, 200), answer.json())


@pytest.mark.parametrize(("method", "path"), sorted(route for route in ROUTES if "{model}" in route[1]))
def test_an_error_is_what_the_document_says(document: Any, http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path.replace("{model}", "nobody").replace("{version}", "1"), content=b"")
    assert answer.status_code == 404
    assert_valid(document, schema_of(document, method, path, 404), answer.json())


def test_feedback_and_its_answers_are_what_the_document_says(document: Any, http: httpx.Client) -> None:
    path = "/v2/models/{model}/feedback"
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    token = http.post("/v2/models/row/infer", json={"inputs": [ROW]}).headers["serin-assignment"]
    one, many = {"assignment": token, "reward": 1}, {"feedback": [{"assignment": "forged", "label": "7"}]}
    for sent in (one, many):
        assert_valid(document, body, sent)
        answer = http.post("/v2/models/row/feedback", json=sent)
        assert answer.status_code == 200
        assert_valid(document, schema_of(document, "post", path, 200), answer.json())
    wrong = http.post("/v2/models/nobody/feedback", json=one)
    assert wrong.status_code == 400
    assert_valid(document, schema_of(document, "post", path, 400), wrong.json())


def test_the_page_for_people_is_there(http: httpx.Client) -> None:
    answer = http.get("/docs")
    assert answer.status_code == 200
    assert "openapi.json" in answer.text
