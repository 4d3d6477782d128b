"""Answers against the schemas of the Open Inference Protocol's own OpenAPI document.

What that document (specification/protocol/open_inference_rest.yaml of 2025-05) says of each body is told here again, as
JSON Schema; only paths with a version are in it, so the others are asked besides.
"""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.conformance.zoo import KINDS

STRING, INTEGERS = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}


def objects(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


def several(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/$defs/{name}"}}


DEFINITIONS: dict[str, Any] = {
    "parameters": {"type": "object"},
    "data": {
        "type": "array",
        "items": {"anyOf": [{"$ref": "#/$defs/data"}, {"type": ["number", "string", "boolean"]}]},
    },
    "tensor": objects("name datatype shape", name=STRING, datatype=STRING, shape=INTEGERS),
    "output": objects(
        "name shape datatype data",
        name=STRING,
        shape=INTEGERS,
        datatype=STRING,
        parameters={"$ref": "#/$defs/parameters"},
        data={"$ref": "#/$defs/data"},
    ),
    "error": objects("error", error=STRING),
    "server": objects(
        "name version extensions", name=STRING, version=STRING, extensions={"type": "array", "items": STRING}
    ),
    "model": objects(
        "name platform",
        name=STRING,
        versions={"type": "array", "items": STRING},
        platform=STRING,
        inputs=several("tensor"),
        outputs=several("tensor"),
    ),
    "inference": objects(
        "model_name outputs",
        model_name=STRING,
        model_version=STRING,
        id=STRING,
        parameters={"$ref": "#/$defs/parameters"},
        outputs=several("output"),
    ),
}


def assert_is(name: str, answer: httpx.Response) -> Any:
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": DEFINITIONS}).validate(found)
    return found


def request(datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, len(data)], "datatype": datatype, "data": data}], **more}


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/row/ready", "/v2/models/row/versions/1/ready"]
)
def test_health_is_200(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata(http: httpx.Client, path: str) -> None:
    assert_is("server", http.get(path))


@pytest.mark.parametrize("model", ["row", "two", "scalar", "anyrank", "nothing_in", "versions", "digits"])
def test_model_metadata(http: httpx.Client, model: str) -> None:
    for path in (f"/v2/models/{model}", f"/v2/models/{model}/versions/1"):
        found = assert_is("model", http.get(path))
        assert {tensor["datatype"] for tensor in (*found["inputs"], *found["outputs"])} <= set(KINDS)


@pytest.mark.parametrize("datatype", KINDS)
def test_an_answer_in_every_datatype(http: httpx.Client, datatype: str) -> None:
    data: list[Any] = {"BOOL": [True, False], "BYTES": ["a", "é"]}.get(datatype, [0, 1])
    for path in (f"/v2/models/same_{datatype}/infer", f"/v2/models/same_{datatype}/versions/1/infer"):
        for more in ({}, {"id": "42", "parameters": {"mine": 1}, "outputs": [{"name": "y"}]}):
            answer = http.post(path, json=request(datatype, data, **more))
            assert answer.status_code == 200
            assert assert_is("inference", answer)["outputs"][0]["data"] == data


@pytest.mark.parametrize("policy", ["string", "null"])
def test_nan_as_a_string_is_in_the_schema_and_null_is_not(http: httpx.Client, policy: str) -> None:
    inputs = [{"name": name, "shape": [2], "datatype": "FP32", "data": [0, 1]} for name in "ab"]
    answer = http.post(f"/v2/models/divide_{policy}/infer", json={"inputs": inputs})
    assert answer.status_code == 200
    validator = Draft202012Validator({"$ref": "#/$defs/inference", "$defs": DEFINITIONS})
    assert validator.is_valid(answer.json()) is (policy == "string")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"inputs": []}, 400),
        (request("FP64", [1, 2]), 400),
        (request("FP32", [1, 2, 3]), 400),
        (request("FP32", ["a", "b"]), 400),
        (request("FP32", [1, 2], outputs=[{"name": "z"}]), 400),
        (request("FP32", [1, 2], parameters={"list": [1]}), 400),
        # The specification's own example of a BOOL tensor has shape [3] and one element.
        ({"inputs": [{"name": "x", "shape": [3], "datatype": "BOOL", "data": [True]}]}, 400),
    ],
)
def test_a_mistake_is_400_with_a_reason(http: httpx.Client, body: Any, status: int) -> None:
    answer = http.post("/v2/models/row/versions/1/infer", json=body)
    assert answer.status_code == status
    assert assert_is("error", answer)["error"]


@pytest.mark.parametrize("path", ["", "/ready", "/versions/1", "/versions/1/ready"])
def test_what_is_not_there_is_an_error_of_the_same_form(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/v2/models/nobody{path}")
    assert answer.status_code == 404
    assert assert_is("error", answer)["error"]
