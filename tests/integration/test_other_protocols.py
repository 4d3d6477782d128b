"""V1, TensorFlow Serving's REST and MLflow's scoring: the same answers as V2, on the same path."""

import gzip
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"][:3]
BODY = {"inputs": [{"name": "pixels", "shape": [3, 64], "datatype": "FP32", "data": ROWS}]}


@pytest.fixture
async def serin(tmp_path: Path) -> AsyncIterator[Together]:
    shutil.copytree(ROOT / "models" / "digits", tmp_path / "models" / "digits")
    async with gateway(Settings(models=tmp_path / "models", state=tmp_path / "state", max_body_bytes=200_000)) as serin:
        yield serin


async def expected(serin: Together) -> tuple[list[int], list[list[float]]]:
    outputs = (await serin.http.post("/v2/models/digits/versions/1/infer", json=BODY)).json()["outputs"]
    label, shares = (output["data"] for output in outputs)
    return label, [shares[row * 10 : row * 10 + 10] for row in range(3)]


async def test_rows_and_columns_answer_as_v2_does(serin):
    label, shares = await expected(serin)
    by_rows = [{"label": a, "probabilities": b} for a, b in zip(label, shares, strict=True)]
    by_name = {"label": label, "probabilities": shares}
    asked = {
        "/v1/models/digits:predict": [
            ({"instances": ROWS}, {"predictions": by_rows}),
            ({"instances": [{"pixels": row} for row in ROWS]}, {"predictions": by_rows}),
            ({"inputs": ROWS, "signature_name": "serving_default"}, {"outputs": by_name}),
            ({"inputs": {"pixels": ROWS}}, {"outputs": by_name}),
        ],
        "/invocations": [
            ({"instances": ROWS}, {"predictions": by_rows}),
            ({"inputs": {"pixels": ROWS}}, {"predictions": by_name}),
            ({"dataframe_split": {"data": ROWS}}, {"predictions": by_rows}),
            (
                {"dataframe_records": [{f"p{n}": x for n, x in enumerate(row)} for row in ROWS]},
                {"predictions": by_rows},
            ),
        ],
    }
    for path, pairs in asked.items():
        for body, answer in pairs:
            got = await serin.http.post(path, json=body)
            assert (got.status_code, got.json()) == (200, answer), body
            assert got.headers["serin-version"] == "1"

    csv = "\n".join(",".join(map(str, row)) for row in ROWS)
    got = await serin.http.post("/invocations", content=csv, headers={"content-type": "text/csv; charset=utf-8"})
    assert got.json() == {"predictions": by_rows}


async def test_what_curl_sends_by_itself_is_taken_as_json(serin):
    form = {"content-type": "application/x-www-form-urlencoded"}
    for path in ("/v1/models/digits:predict", "/invocations"):
        body = json.dumps({"instances": ROWS}).encode()
        assert (await serin.http.post(path, content=body, headers=form)).status_code == 200
        packed = await serin.http.post(path, content=gzip.compress(body), headers={"content-encoding": "gzip"})
        assert packed.status_code == 200
    v2 = await serin.http.post("/v2/models/digits/infer", content=json.dumps(BODY).encode(), headers=form)
    assert v2.status_code == 200


async def test_versions_and_labels_choose_and_a_label_is_an_alias(serin):
    moved = await serin.admin.patch("/api/v1/routes/digits", json={"aliases": {"newest": 2}})
    assert moved.status_code == 200
    for path, version in (("versions/2", "2"), ("labels/newest", "2"), ("versions/1", "1")):
        got = await serin.http.post(f"/v1/models/digits/{path}:predict", json={"instances": ROWS})
        assert (got.status_code, got.headers["serin-version"]) == (200, version)
        status = (await serin.http.get(f"/v1/models/digits/{path}")).json()["model_version_status"]
        assert [(s["version"], s["state"]) for s in status] == [(version, "AVAILABLE")]
        spec = (await serin.http.get(f"/v1/models/digits/{path}/metadata")).json()["model_spec"]
        assert spec == {"name": "digits", "signature_name": "", "version": version}


async def test_a_label_moves_only_to_a_version_that_is_loaded(serin):
    unloaded = await serin.admin.post("/api/v1/models/digits/versions/2/unload")
    assert unloaded.status_code == 200
    for version in (2, 99):
        refused = await serin.admin.patch("/api/v1/routes/digits", json={"aliases": {"newest": version}})
        assert refused.status_code in (404, 409)
    got = await serin.http.get("/v1/models/digits/labels/newest")
    assert got.status_code == 404


async def test_unknown_servables_are_named_as_tensorflow_serving_names_them(serin):
    body = {"instances": ROWS}
    for path, request in (
        ("nothing", "Latest(nothing)"),
        ("digits/versions/9", "Specific(digits, 9)"),
        ("digits/labels/none", "Specific(digits, none)"),
    ):
        for got in (
            await serin.http.post(f"/v1/models/{path}:predict", json=body),
            await serin.http.get(f"/v1/models/{path}"),
            await serin.http.get(f"/v1/models/{path}/metadata"),
        ):
            assert got.status_code == 404
            assert got.json()["error"].startswith(f"Servable not found for request: {request}")


async def test_errors_have_the_shape_that_each_protocol_has(serin):
    for verb in ("explain", "classify", "regress"):
        got = await serin.http.post(f"/v1/models/digits:{verb}", json={"examples": []})
        assert got.status_code == 501
        assert f":{verb} is not offered" in got.json()["error"]
    malformed = await serin.http.post("/v1/models/digits/versions/two:predict", json={"instances": ROWS})
    assert malformed.status_code == 400
    assert malformed.json()["error"].startswith("Malformed request: ")
    both = await serin.http.post("/v1/models/digits:predict", json={"instances": ROWS, "inputs": ROWS})
    assert both.status_code == 400
    wrong = await serin.http.post("/invocations", json={"columns": ["a"], "data": [[1]]})
    assert wrong.status_code == 400
    assert wrong.json().keys() == {"error_code", "message", "error", "code", "request_id"}
    assert wrong.json()["error_code"] == "BAD_REQUEST"
    large = await serin.http.post("/invocations", content=b"1," * 150_000, headers={"content-type": "text/csv"})
    assert large.status_code == 413
    shape = await serin.http.post("/v1/models/digits:predict", json={"instances": [[1, 2]]})
    assert "shape [1, 2], the model expects [-1, 64]" in shape.json()["error"]
    assert shape.headers["serin-version"] == "1"


async def test_large_bodies_are_read_away_from_the_loop_with_the_same_answer(serin):
    rows = ROWS * 200
    assert len(json.dumps(rows)) > 64 * 1024
    got = await serin.http.post("/v1/models/digits:predict", json={"inputs": rows})
    assert got.json()["outputs"]["label"] == (await expected(serin))[0] * 200


async def test_a_routing_key_keeps_its_caller_whatever_the_protocol(serin):
    route = {"variants": [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]}
    assert (await serin.admin.put("/api/v1/routes/digits", json=route)).status_code == 200
    for key in map(str, range(12)):
        headers = {"serin-routing-key": key}
        v2 = await serin.http.post("/v2/models/digits/infer", json=BODY, headers=headers)
        v1 = await serin.http.post("/v1/models/digits:predict", json={"instances": ROWS}, headers=headers)
        params = {"inputs": ROWS, "params": {"routing_key": key}}
        mlflow = await serin.http.post("/invocations", json=params)
        assert {r.headers["serin-version"] for r in (v1, mlflow)} == {v2.headers["serin-version"]}
    text = (await serin.http.get("/metrics")).text
    counted = [line for line in text.splitlines() if line.startswith("serin_requests_total{")]
    assert sum(int(float(line.split()[-1])) for line in counted if 'assignment="split"' in line) == 36


async def test_who_asks_whether_it_lives_hears_it(serin):
    assert (await serin.http.get("/")).json() == {"status": "alive"}
    assert (await serin.http.get("/v1/models")).json() == {"models": ["digits"]}
    status = (await serin.http.get("/v1/models/digits")).json()
    assert status["ready"] is True
    assert [one["version"] for one in status["model_version_status"]] == ["3", "2", "1"]
    for path in ("/ping", "/health"):
        assert (await serin.http.get(path)).status_code == 200
    assert (await serin.http.get("/version")).text
    signature = (await serin.http.get("/v1/models/digits/metadata")).json()["metadata"]["signature_def"]
    pixels = signature["signature_def"]["serving_default"]["inputs"]["pixels"]
    assert pixels["dtype"] == "DT_FLOAT"
    assert [one["size"] for one in pixels["tensor_shape"]["dim"]] == ["-1", "64"]


async def test_several_models_need_a_word_which_of_them_is_invoked(tmp_path):
    settings = {"models": ROOT / "models", "state": tmp_path}
    async with gateway(Settings(**settings)) as serin:
        got = await serin.http.post("/invocations", json={"inputs": ROWS})
        assert got.status_code == 404
        assert "invocations_model" in got.json()["message"]
    async with gateway(Settings(**settings, invocations_model="digits")) as serin:
        assert (await serin.http.post("/invocations", json={"inputs": ROWS})).status_code == 200


async def test_each_model_has_a_page_whose_example_works(tmp_path):
    async with gateway(Settings(models=ROOT / "models", state=tmp_path)) as serin:
        document = (await serin.http.get("/openapi.json")).json()
        golden = json.loads((ROOT / "models/digits/golden.json").read_text())["cases"][0]["inputs"]["pixels"]["data"]
        for model in ("digits", "diabetes", "breast-cancer"):
            path = f"/v2/models/{model}/infer"
            page = document["paths"][path]["post"]
            example = page["requestBody"]["content"]["application/json"]["example"]
            assert (await serin.http.post(path, json=example)).status_code == 200
            assert example["inputs"][0]["name"] in page["description"]
            if model == "digits":
                assert example["inputs"][0]["data"] == golden[:64]
        assert (await serin.http.get("/openapi.json")).json() == document
        assert "/openapi.json" in (await serin.http.get("/docs")).text
        assert "/openapi.json" in (await serin.http.get("/redoc")).text


async def test_a_page_has_zeros_for_an_example_where_golden_inputs_cannot_be_read(serin, tmp_path):
    (tmp_path / "models/digits/golden.json").write_text("nonsense")
    document = (await serin.http.get("/openapi.json")).json()
    page = document["paths"]["/v2/models/digits/infer"]["post"]
    example = page["requestBody"]["content"]["application/json"]["example"]
    assert example["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]
