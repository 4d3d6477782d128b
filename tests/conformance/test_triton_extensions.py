"""What Triton adds to the protocol, by both of its clients on one gateway: they must tell the same."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.conformance import zoo
from tests.conformance.doors import DOORS, NAMES, Http, opened
from tests.e2e.conftest import ROOT, Running, eventually, gateway
from tests.unit.service.runtime.tiny import place, times

WORKERS = 2


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that these tests may load and unload."""
    directory = tmp_path_factory.mktemp("triton")
    zoo.build(directory / "models")
    shutil.copytree(ROOT / "models" / "digits", directory / "models" / "digits")
    with gateway(directory, "--workers", str(WORKERS)) as found:
        yield found


@pytest.fixture(params=DOORS, ids=NAMES)
def door(request: pytest.FixtureRequest, running: Running) -> Iterator[Http]:
    with opened(request.param, running) as found:
        yield found


# ---- configuration ----


def test_the_configuration_tells_the_dimensions_of_a_row(door: Http) -> None:
    found = door.config("digits", "2")
    assert (found["name"], found["platform"], found["backend"]) == ("digits", "onnxruntime_onnx", "onnxruntime")
    assert found["max_batch_size"] > 0
    assert [(t["name"], t["data_type"], t["dims"]) for t in found["input"]] == [("pixels", "TYPE_FP32", [64])]
    assert [(t["name"], t["dims"]) for t in found["output"]] == [("label", [1]), ("probabilities", [10])]


@pytest.mark.parametrize("model", ["scalar", "fixed", "anyrank", "nothing_in"])
def test_a_model_without_a_batch_dimension_says_so(door: Http, model: str) -> None:
    assert door.config(model).get("max_batch_size", 0) == 0


@pytest.mark.parametrize("asked", [("nobody",), ("digits", "9")])
def test_what_is_not_there_has_no_configuration_and_no_statistics(door: Http, asked: tuple[str, ...]) -> None:
    for ask in (door.config, door.statistics):
        assert door.refused(lambda ask=ask: ask(*asked))[0] == "404"


# ---- statistics ----


def test_statistics_count_rows_and_runs_of_all_workers(door: Http) -> None:
    def one() -> dict[str, Any]:
        (found,) = door.statistics("versions", "3")
        return found

    def number(entry: dict[str, Any], *path: str) -> int:
        for name in path:
            entry = entry.get(name, {})  # type: ignore[assignment]
        return int(entry or 0)  # type: ignore[call-overload]

    before = one()
    clients = [type(door)(door.running) for _ in range(6)]  # connections, so that both workers get some
    for rows in (1, 4, 4):
        for other in clients:
            other.client.infer("versions", [other.given(np.ones((rows, 2), np.float32))], model_version="3")
    with pytest.raises(InferenceServerException):
        door.client.infer("versions", [door.given(np.ones((1, 2), np.float32), name="z")], model_version="3")
    after = one()
    gained = {
        path: number(after, *path) - number(before, *path)
        for path in (
            ("inference_count",),
            ("execution_count",),
            ("inference_stats", "success", "count"),
            ("inference_stats", "fail", "count"),
            ("inference_stats", "compute_infer", "count"),
        )
    }
    assert list(gained.values()) == [6 * 9, 18, 18, 1, 18]
    times = {word: number(after, "inference_stats", word, "ns") for word in ("success", "compute_infer")}
    assert times["success"] >= times["compute_infer"] > 0
    sizes = {b["batch_size"]: b["compute_infer"]["count"] for b in after["batch_stats"]}
    assert sizes[4] >= 12
    assert abs(number(after, "last_inference") / 1000 - time.time()) < 60


def test_statistics_of_all_models_are_there_in_one_answer(door: Http) -> None:
    found = {(entry["name"], str(entry["version"])) for entry in door.statistics()}
    assert {("digits", "1"), ("digits", "3"), ("row", "1")} <= found
    assert ("broken", "1") not in found


def test_a_version_that_was_never_asked_has_zeros(door: Http) -> None:
    (found,) = door.statistics("same_UINT16", "1")
    assert found.get("inference_count", 0) == 0
    assert found.get("last_inference", 0) == 0


# ---- the repository ----


def states(door: Http) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (row["name"], row.get("version", "")): (row.get("state", ""), row.get("reason", "")) for row in door.index()
    }


def test_the_index_tells_what_is_ready_and_why_the_rest_is_not(door: Http) -> None:
    found = states(door)
    assert found["digits", "1"] == ("READY", "")
    assert found["versions", "4"][0] == "UNAVAILABLE"
    assert found["broken", "1"][0] == "UNAVAILABLE"
    assert found["broken", "1"][1]


def test_the_index_may_be_of_what_is_ready_alone(running: Running) -> None:
    rows = httpx.post(f"{running.http}/v2/repository/index", json={"ready": True}, timeout=30).json()
    assert rows
    assert {row["state"] for row in rows} == {"READY"}


def test_a_model_is_unloaded_and_loaded_again_while_the_server_stays_ready(door: Http, running: Running) -> None:
    door.client.unload_model("row")
    assert states(door)["row", "1"] == ("UNAVAILABLE", "unloaded")
    assert door.client.is_model_ready("row") is False
    assert door.refused(lambda: door.client.infer("row", [door.given(np.ones((1, 2), np.float32))]))[0] in (
        "404",
        "503",
    )
    assert door.client.is_server_ready()
    door.client.load_model("row")
    assert states(door)["row", "1"] == ("READY", "")
    assert door.client.infer("row", [door.given(np.ones((1, 2), np.float32))]).as_numpy("y").tolist() == [[1, 1]]
    events = httpx.get(f"{running.admin}/api/v1/events", params={"model": "row"}, timeout=30).json()["events"]
    assert [event["actor"] for event in events].count("public port") >= 2, "it is in the history"


def test_a_model_that_was_put_there_just_now_can_be_loaded(door: Http, running: Running) -> None:
    name = f"new_{type(door).__name__}"
    place(running.models, name, 1, times(4))
    door.client.load_model(name)
    assert door.client.is_model_ready(name)
    answer = eventually(lambda: door.client.infer(name, [door.given(np.ones((1, 2), np.float32))]))
    assert answer.as_numpy("y").tolist() == [[4, 4]]


def test_a_load_that_fails_is_an_error_and_leaves_the_server_ready(door: Http) -> None:
    code, text = door.refused(lambda: door.client.load_model("broken"))
    assert code == "409"
    assert "broken" in text
    assert door.client.is_server_ready()
    assert door.refused(lambda: door.client.load_model("nobody"))[0] == "404"
    assert door.refused(lambda: door.client.unload_model("nobody"))[0] == "404"


def test_files_and_configurations_are_not_taken_from_callers(door: Http) -> None:
    assert door.refused(lambda: door.client.load_model("row", config="{}"))[0] == "501"
    files = {"file:1/model.onnx": b"mine"}
    assert door.refused(lambda: door.client.load_model("row", config="{}", files=files))[0] == "501"


def test_one_version_can_be_loaded_and_unloaded_over_http(running: Running) -> None:
    base = f"{running.http}/v2/repository/models/versions/versions"

    def ready(version: int) -> int:
        return httpx.get(f"{running.http}/v2/models/versions/versions/{version}/ready", timeout=30).status_code

    assert httpx.post(f"{base}/1/unload", timeout=60).status_code == 200
    assert (ready(1), ready(2)) in ((404, 200), (503, 200))
    assert httpx.post(f"{base}/1/load", timeout=60).status_code == 200
    assert ready(1) == 200
    refusal = httpx.post(f"{base}/2/unload", timeout=60)
    assert refusal.status_code == 409
    assert "has weight" in refusal.json()["error"]
    assert httpx.post(f"{base}/x/load", timeout=60).status_code == 404


@pytest.mark.parametrize("body", ["[", "[]", "7", '{"parameters": 1}', "\xff"])
def test_a_body_that_is_no_object_is_refused(running: Running, body: str) -> None:
    answer = httpx.post(f"{running.http}/v2/repository/models/row/load", content=body.encode("latin-1"), timeout=30)
    assert answer.status_code == 400


def test_a_model_called_stats_is_refused_and_said_so(running: Running) -> None:
    place(running.models, "stats", 1, times(4))
    found = eventually(lambda: next((r for r in Http(running).index() if r["name"] == "stats"), None))
    assert found["state"] == "UNAVAILABLE"
    assert "/v2/models/stats" in found["reason"]


# ---- classification ----


@pytest.mark.parametrize("rows", [1, 3])
def test_classes_come_with_their_labels_the_largest_first(door: Http, rows: int) -> None:
    pixels = door.given(np.random.default_rng(7).random((rows, 64)).astype(np.float32) * 16, name="pixels")
    plain_answer = door.client.infer("digits", [pixels]).as_numpy("probabilities")
    wanted = [
        door.module.InferRequestedOutput("probabilities", class_count=3),
        door.module.InferRequestedOutput("label"),
    ]
    answer = door.client.infer("digits", [pixels], outputs=wanted)
    found = answer.as_numpy("probabilities")
    assert found.shape == (rows, 3)
    for row, numbers in zip(found.tolist(), plain_answer, strict=True):
        places = [int(text.split(b":")[1]) for text in row]
        assert places == np.argsort(-numbers, kind="stable")[:3].tolist()
        assert row[0] == b"%.6f:%d:%d" % (numbers[places[0]], places[0], places[0])
    assert answer.as_numpy("label").shape == (rows,)


def test_text_has_no_classes(door: Http) -> None:
    text = door.given(np.array([[b"a"]], object), "BYTES")
    wanted = [door.module.InferRequestedOutput("y", class_count=1)]
    code, message = door.refused(lambda: door.client.infer("same_BYTES", [text], outputs=wanted))
    assert code == "400"
    assert "classes" in message


# ---- priority ----


@pytest.mark.parametrize("priority", [-1, 1.5, True, "high"])
def test_a_priority_that_is_no_whole_number_is_refused(running: Running, priority: Any) -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    body = {"inputs": [tensor], "parameters": {"priority": priority}}
    answer = httpx.post(f"{running.http}/v2/models/row/infer", json=body, timeout=30)
    assert answer.status_code == 400
    assert "1 is the highest" in answer.json()["error"]


def test_every_priority_that_triton_knows_is_taken(door: Http) -> None:
    for priority in (0, 1, 10, 2**32):
        answer = door.client.infer("row", [door.given(np.ones((1, 2), np.float32))], priority=priority)
        assert answer.as_numpy("y").tolist() == [[1, 1]]


# ---- settings ----


def test_trace_and_log_settings_can_be_read_and_not_changed(door: Http) -> None:
    assert "trace_level" in str(door.client.get_trace_settings())
    assert "log_verbose_level" in str(door.client.get_log_settings())
    assert "OFF" in str(door.client.get_trace_settings(model_name="row"))
    changes = (
        lambda: door.client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
        lambda: door.client.update_log_settings({"log_verbose_level": 3}),
    )
    for change in changes:
        code, text = door.refused(change)
        assert (code, "read only" in text) == ("501", True)
    door.client.update_trace_settings(settings={"trace_level": None})


# ---- as other servers have it ----


def test_the_list_of_models_and_health_bodies_are_those_of_kserve(running: Running) -> None:
    models = httpx.get(f"{running.http}/v2/models", timeout=30).json()
    assert {"digits", "row"} <= set(models["models"])
    assert httpx.get(f"{running.http}/v2/health/live", timeout=30).json() == {"live": True}
    assert httpx.get(f"{running.http}/v2/health/ready", timeout=30).json() == {"ready": True}
    assert httpx.get(f"{running.http}/v2/models/row/ready", timeout=30).json() == {"name": "row", "ready": True}


def test_a_port_that_others_reach_loads_nothing(tmp_path: Path) -> None:
    place(tmp_path / "models", "row", 1, times(1))
    with gateway(tmp_path, "--host", "0.0.0.0", "--insecure-open-models", "--workers", "1") as found:
        answer = httpx.post(f"{found.http}/v2/repository/models/row/unload", timeout=30)
        assert answer.status_code == 403
        assert "serin models load" in answer.json()["error"]
        assert httpx.post(f"{found.http}/v2/repository/index", timeout=30).status_code == 200
