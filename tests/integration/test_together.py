"""The three walks in one process: predict, set a canary, see both versions; real models, real database, no port."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from router.routes import Route, Variant
from router.split import choose
from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"]


@pytest.fixture
async def serin(tmp_path: Path) -> AsyncIterator[Together]:
    async with gateway(Settings(models=ROOT / "models", state=tmp_path)) as running:
        yield running


def digits(rows: int = 1, **more: object) -> dict[str, object]:
    data = [number for row in ROWS[:rows] for number in row]
    return {"inputs": [{"name": "pixels", "shape": [rows, 64], "datatype": "FP32", "data": data}], **more}


async def test_a_row_is_predicted_and_the_answer_says_who_did_it(serin: Together) -> None:
    answer = await serin.http.post("/v2/models/digits/infer", json=digits(id="7"), headers={"X-Request-Id": "abc"})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("digits", "1", "7")
    assert [output["name"] for output in body["outputs"]] == ["label", "probabilities"]
    assert (answer.headers["serin-version"], answer.headers["serin-variant"]) == ("1", "1")
    assert answer.headers["x-request-id"] == "abc"


async def test_a_model_that_comes_later_and_still_loads_takes_no_readiness_from_the_others(serin: Together) -> None:
    assert (await serin.http.get("/v2/health/ready")).status_code == 200
    table = serin.worker.dataplane.table
    later = Route("later", (Variant("1", 1, 1_000_000),))

    assert await serin.worker.apply(replace(table, routes={**table.routes, "later": later})) is None

    assert (await serin.http.get("/v2/models/later/ready")).status_code == 503
    assert (await serin.http.get("/v2/health/ready")).status_code == 200
    assert (await serin.http.get("/v2/models/digits/ready")).status_code == 200


async def test_ten_percent_go_to_version_2_and_anyone_can_recompute_who(serin: Together) -> None:
    put = await serin.admin.put(
        "/api/v1/routes/digits", json={"variants": [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]}
    )
    assert put.status_code == 200, put.text
    assert (put.json()["applied"], put.json()["workers"]) == (1, 1)
    route = Route("digits", (Variant("1", 1, 900_000), Variant("2", 2, 100_000)))

    for user in range(200):
        key = f"user-{user}"
        answer = await serin.http.post("/v2/models/digits/infer", json=digits(), headers={"Serin-Routing-Key": key})
        assert answer.headers["serin-version"] == str(choose(route, key.encode(), 0.0).version)
        assert int(answer.headers["serin-revision"]) >= put.json()["revision"]

    text = (await serin.http.get("/metrics")).text
    assert 'serin_assigned_total{how="split_keyed",model="digits",variant="2",version="2"}' in text
    assert text.count("serin_route_weight_ratio{") >= 4


async def test_a_version_in_the_path_is_honoured_or_refused(serin: Together) -> None:
    third = await serin.http.post("/v2/models/digits/versions/3/infer", json=digits())
    unknown = await serin.http.post("/v2/models/digits/versions/9/infer", json=digits())

    assert third.headers["serin-version"] == "3"
    assert unknown.status_code == 404
    assert unknown.json()["code"] == "NOT_FOUND"
    assert "1, 2, 3" in unknown.json()["error"]


async def test_an_alias_stands_wherever_a_version_does(serin: Together) -> None:
    patch = await serin.admin.patch("/api/v1/routes/digits", json={"aliases": {"champion": 2}})
    assert patch.status_code == 200, patch.text

    answer = await serin.http.post("/v2/models/digits/versions/champion/infer", json=digits())

    assert answer.headers["serin-version"] == "2"


async def test_a_rule_sends_matching_requests_to_its_variant_and_counts_them_apart(serin: Together) -> None:
    body = {
        "variants": [{"version": 1, "weight": 100}, {"name": "beta", "version": 2, "weight": 0}],
        "rules": [{"header": "x-beta", "value": "1", "variant": "beta"}],
    }
    assert (await serin.admin.put("/api/v1/routes/digits", json=body)).status_code == 200

    beta = await serin.http.post("/v2/models/digits/infer", json=digits(), headers={"X-Beta": "1"})
    answers = [await serin.http.post("/v2/models/digits/infer", json=digits()) for _ in range(50)]
    others = Counter(answer.headers["serin-variant"] for answer in answers)

    assert beta.headers["serin-variant"] == "beta"
    assert others == {"1": 50}
    assert 'how="rule",model="digits",variant="beta"' in (await serin.http.get("/metrics")).text


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "JSON"),
        (b'{"inputs": []}', 400, "pixels"),
        (json.dumps(digits()).replace("FP32", "INT8").encode(), 400, "FP32"),
        (json.dumps(digits()).replace("[1, 64]", "[1, 63]").encode(), 400, "64"),
        (json.dumps(digits(outputs=[{"name": "nonsense"}])).encode(), 400, "probabilities"),
        (json.dumps(digits(parameters={"timeout": -1})).encode(), 400, "timeout"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(serin: Together, body: bytes, status: int, text: str) -> None:
    answer = await serin.http.post("/v2/models/digits/infer", content=body)

    assert answer.status_code == status
    assert text in answer.json()["error"]
    assert (await serin.http.post("/v2/models/digits/infer", json=digits())).status_code == 200


async def test_a_route_to_a_version_that_is_not_there_is_refused_and_changes_nothing(serin: Together) -> None:
    before = (await serin.admin.get("/api/v1/routes/digits")).json()

    put = await serin.admin.put("/api/v1/routes/digits", json={"variants": [{"version": 9, "weight": 100}]})

    assert put.status_code in (404, 409)
    assert (await serin.admin.get("/api/v1/routes/digits")).json() == before


async def test_the_timeout_parameter_ends_a_request_that_takes_longer(tmp_path: Path) -> None:
    settings = Settings(models=ROOT / "models", state=tmp_path, faults="digits:1 slow=0.3")
    async with gateway(settings) as serin:
        # The first slow run is still inline; it moves the version to threads, where a deadline can end the wait.
        await serin.http.post("/v2/models/digits/infer", json=digits())
        late = await serin.http.post("/v2/models/digits/infer", json=digits(parameters={"timeout": 50_000}))

        assert late.status_code == 504
        assert late.json()["code"] == "DEADLINE_EXCEEDED"
        assert late.headers["serin-version"] == "1"


async def test_everything_is_let_go_when_it_closes(tmp_path: Path) -> None:
    settings = Settings(models=ROOT / "models", state=tmp_path)
    async with gateway(settings) as first:
        revision = first.controller.table.revision
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    async with gateway(settings) as second:
        assert second.controller.table.revision >= revision

    assert left == []


async def test_a_broken_model_is_told_by_itself_and_harms_nobody(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models/digits", models / "digits")
    (models / "digits/4").mkdir()
    (models / "digits/4/model.onnx").write_bytes(b"<html>404</html>")
    (models / "broken/1").mkdir(parents=True)
    (models / "broken/1/model.onnx").write_bytes((models / "digits/1/model.onnx").read_bytes()[:100])
    async with gateway(Settings(models=models, state=tmp_path / "state")) as serin:
        assert (await serin.http.get("/v2/health/ready")).status_code == 200
        assert (await serin.http.post("/v2/models/digits/infer", json=digits())).status_code == 200
        for path in ("/v2/models/broken", "/v2/models/digits/versions/4"):
            ready = await serin.http.get(f"{path}/ready")
            infer = await serin.http.post(f"{path}/infer", json=digits())
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert "ONNX Runtime cannot load it" in ready.json()["reason"]
            assert infer.status_code == 503
            assert infer.json()["code"] == "UNAVAILABLE"


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/models/digits", "/v2/nothing", "/metrics"])
async def test_every_answer_has_the_request_id(serin: Together, path: str) -> None:
    mine = await serin.http.get(path, headers={"X-Request-Id": "mine"})
    made = await serin.http.get(path)

    assert mine.headers["x-request-id"] == "mine"
    assert len(made.headers["x-request-id"]) == 20
