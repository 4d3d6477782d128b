"""The model directory of a running gateway: broken things beside good ones, publishing, replacing, unloading."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from tests.e2e.conftest import ROOT, Running, eventually, gateway
from tests.e2e.traffic import ONE_ROW, Answer, Ask, Traffic, by_version, failed, keyed, post, run
from tests.unit.service.runtime import tiny

Start = Callable[..., Any]
DIGITS = ROOT / "models" / "digits"

#: 1,000 models: measured 17 s and 240 MB a worker on two cores that a load of 6 shared; an idle machine needs half.
SCAN_SECONDS = 0.2
"""Between two looks at the folder, as `gateway` sets it."""

MANY = 1_000
MANY_SECONDS = 60.0
MANY_MEGABYTES = 600.0


def model(running: Running, name: str) -> dict[str, Any]:
    answer = httpx.get(f"{running.admin}/api/v1/models/{name}", timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def state(running: Running, name: str, version: int = 1) -> tuple[str, str]:
    """State and reason of a version; fails while it is not known."""
    return next((v["state"], v["reason"]) for v in model(running, name)["versions"] if v["version"] == version)


def is_ready(running: Running, path: str = "/v2/health/ready") -> bool:
    return httpx.get(running.http + path, timeout=10).status_code == 200


def times(factor: float) -> bytes:
    return tiny.times(factor)


def ask_times(number: int) -> Ask:
    """A request to the tiny model `line`: its answer shows which content gave it."""
    row = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}
    return post("/v2/models/line/infer", json.dumps({"inputs": [row]}).encode(), f"user-{number}")


def factor_of(answer: Answer) -> float:
    return float(json.loads(answer.body)["outputs"][0]["data"][0])


# ---- broken things beside good ones ----


def corrupt(models: Path) -> None:
    content = bytearray((DIGITS / "2" / "model.onnx").read_bytes())
    content[: len(content) // 2] = os.urandom(len(content) // 2)
    tiny.place(models, "broken-corrupt", 1, bytes(content))


def truncated(models: Path) -> None:
    tiny.place(models, "broken-truncated", 1, (DIGITS / "2" / "model.onnx").read_bytes()[:-100])


def empty(models: Path) -> None:
    tiny.place(models, "broken-empty", 1, b"")


def html(models: Path) -> None:
    tiny.place(models, "broken-html", 1, b"<!doctype html><title>404</title>")


def directory(models: Path) -> None:
    (models / "broken-directory" / "1" / "model.onnx").mkdir(parents=True)


def nothing(models: Path) -> None:
    (models / "broken-nothing" / "1").mkdir(parents=True)


def opset(models: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    content = tiny.model([node], [tiny.value("x")], [tiny.value("y")], opset=999)
    tiny.place(models, "broken-opset", 1, content)


def symlink(models: Path) -> None:
    (models / "broken-symlink" / "1").mkdir(parents=True)
    (models / "broken-symlink" / "1" / "model.onnx").symlink_to("/etc/passwd")


def linked_version(models: Path) -> None:
    (models / "broken-linked").mkdir()
    (models / "broken-linked" / "1").symlink_to("/proc")


def with_external(models: Path, name: str) -> Path:
    """A model whose weight is said to be in a file beside it; that file's path."""
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [2.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.external_data.add(key="length", value="4")
    nodes = [helper.make_node("Mul", ["x", "c"], ["y"])]
    content = tiny.model(nodes, [tiny.value("x")], [tiny.value("y")], initializer=[tensor])
    assert onnx.load_from_string(content).graph.initializer[0].external_data
    return tiny.place(models, name, 1, content).with_name("weights.bin")


def hardlink(models: Path) -> None:
    elsewhere = models.parent / "secret"
    elsewhere.write_bytes(b"\0\0\0@")
    os.link(elsewhere, with_external(models, "broken-hardlink"))


def missing_external(models: Path) -> None:
    with_external(models, "broken-missing")


def manifest(models: Path) -> None:
    tiny.place(models, "broken-manifest", 1, times(1.0))
    (models / "broken-manifest" / "model.toml").write_text('default_version = "one\n')


def golden(models: Path) -> None:
    shutil.copytree(DIGITS, models / "broken-golden", ignore=shutil.ignore_patterns("1", "3", "heldout.json"))
    cases = json.loads((DIGITS / "golden.json").read_text())
    text = json.dumps(cases).replace('"rtol"', '"rtol_"')
    (models / "broken-golden" / "golden.json").write_text(text[: len(text) // 2])


def pipe(models: Path) -> None:
    (models / "broken-pipe" / "1").mkdir(parents=True)
    os.mkfifo(models / "broken-pipe" / "1" / "model.onnx")


UNREADABLE = ("ONNX Runtime cannot load it",)
BROKEN: dict[Callable[[Path], None], tuple[str, ...]] = {
    corrupt: UNREADABLE,
    truncated: UNREADABLE,
    empty: ("model.onnx is empty",),
    html: UNREADABLE,
    directory: ("model.onnx is a directory",),
    nothing: ("the directory is empty",),
    opset: ("opset",),
    symlink: ("symbolic link out of the model repository",),
    linked_version: ("symbolic link out of the model repository",),
    hardlink: ("hard links",),
    missing_external: ("weights.bin", "external"),
    manifest: ("model.toml",),
    golden: ("golden",),
    pipe: ("not a regular file",),
}
IGNORED = ("digits/01", "digits/1.5", "digits/v2", "digits/latest", "digits/-1", "digits/.incoming-x", ".hidden/1")


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with good models and every broken one."""
    place = tmp_path_factory.mktemp("beside")
    for name in ("digits", "breast-cancer"):
        shutil.copytree(ROOT / "models" / name, place / "models" / name)
    for make in BROKEN:
        make(place / "models")
    for name in IGNORED:
        shutil.copytree(DIGITS / "1", place / "models" / name)
    with gateway(place) as running:
        yield running


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_model_has_a_clear_state_and_reason(beside: Running, make: Callable[[Path], None]) -> None:
    name = "broken-" + {"linked_version": "linked", "missing_external": "missing"}.get(make.__name__, make.__name__)
    found = model(beside, name)
    version = (
        found["versions"][0] if found["versions"] else {"state": "UNAVAILABLE", "reason": found["error"], "version": 1}
    )
    assert version["state"] == "UNAVAILABLE"
    assert any(word in version["reason"] for word in BROKEN[make]), version["reason"]
    assert str(beside.models) not in version["reason"]
    assert len(version["reason"]) < 500
    answer = httpx.post(f"{beside.http}/v2/models/{name}/infer", content=ONE_ROW, timeout=10)
    assert answer.status_code in (404, 503), answer.text
    assert httpx.get(f"{beside.http}/v2/models/{name}/ready", timeout=10).status_code in (404, 503)


def test_beside_broken_models_the_server_is_ready_and_the_others_are_served(beside: Running) -> None:
    assert is_ready(beside)
    assert is_ready(beside, "/v2/models/digits/ready")
    assert is_ready(beside, "/v2/models/breast-cancer/ready")
    assert [state(beside, "digits", version) for version in (1, 2, 3)] == [("READY", "")] * 3
    assert by_version(run(beside.http, keyed, count=200)) == {"1": 200}
    assert len(beside.children()) == 4
    assert not any("died" in line["event"] for line in beside.log_lines())


def test_names_that_are_no_versions_or_models_are_ignored(beside: Running) -> None:
    assert [version["version"] for version in model(beside, "digits")["versions"]] == [1, 2, 3]
    listed = {found["name"] for found in httpx.get(f"{beside.admin}/api/v1/models", timeout=10).json()["models"]}
    assert ".hidden" not in listed
    assert "secret" not in json.dumps(sorted(listed))


def test_a_slowly_growing_copy_is_never_judged_before_it_is_whole(beside: Running) -> None:
    # A copy that stands still for as long as a scan takes may be judged, and on a full machine any copy may do so.
    for attempt in range(20):
        said, still_seconds = copied_slowly(beside, f"growing-{attempt}")
        if still_seconds < SCAN_SECONDS:
            break
    assert still_seconds < SCAN_SECONDS
    eventually(lambda: state(beside, f"growing-{attempt}")[0] == "READY")
    assert [found for found in said if found[0] == "READY" or "ONNX Runtime" in found[1]] == []
    assert is_ready(beside)


def copied_slowly(beside: Running, name: str) -> tuple[list[tuple[str, str]], float]:
    """What was said of a version while it was copied, and the longest time for which the copy did not grow."""
    content = (DIGITS / "2" / "model.onnx").read_bytes()
    file = tiny.place(beside.models, name, 1, b"")
    said, longest, grown_at = [], 0.0, time.monotonic()
    step = len(content) // 20 + 1
    with file.open("ab") as growing, httpx.Client(base_url=beside.admin, timeout=10) as client:
        for start in range(0, len(content), step):
            growing.write(content[start : start + step])
            growing.flush()
            now = time.monotonic()
            longest, grown_at = max(longest, now - grown_at), now
            time.sleep(0.08)
            answer = client.get(f"/api/v1/models/{name}")
            said += [(v["state"], v["reason"]) for v in answer.json().get("versions", ())]
    return said, longest


def test_a_broken_model_that_is_mended_is_served_without_a_restart(beside: Running) -> None:
    tiny.place(beside.models, "broken-html", 1, times(2.0))
    eventually(lambda: state(beside, "broken-html") == ("READY", ""))
    eventually(lambda: is_ready(beside, "/v2/models/broken-html/ready"))


# ---- publishing, loading, unloading ----


def test_a_pushed_version_is_noticed_under_load_and_gets_no_traffic_until_somebody_says_so(start: Start) -> None:
    with start(models=("digits/1",)) as running, Traffic(running.http, keyed, connections=8, pause=0.002) as traffic:
        traffic.wait_for(50)
        source = str(DIGITS / "2" / "model.onnx")
        assert running.serin("models", "push", source, "--name", "digits") == "digits:2: READY\n"
        assert running.serin("models", "push", str(DIGITS / "3"), "--name", "digits") == "digits:3: READY\n"
        assert running.serin("models", "push", source, "--name", "other") == "other:1: READY\n"
        traffic.wait_for(300)
        assert set(by_version(traffic.answers)) == {"1"}
        running.serin("route", "set", "digits", "1=0", "2=100")
        acknowledged = time.monotonic()
        traffic.wait_for(100)
        answers = traffic.stop()
        assert failed(answers) == []
        assert set(by_version(a for a in answers if a.sent > acknowledged)) == {"2"}
        assert not list((running.models / "digits").glob(".incoming*"))


def test_an_unload_waits_for_requests_in_flight_and_a_load_brings_the_version_back(start: Start) -> None:
    def two(number: int) -> Ask:
        return post("/v2/models/digits/versions/2/infer", ONE_ROW)

    with start(models=("digits/1", "digits/2"), faults="digits:2 slow=2") as running:
        url = f"{running.admin}/api/v1/models/digits/versions/2"
        assert httpx.post(url.replace("/versions/2", "/versions/1") + "/unload", timeout=60).status_code == 409
        with Traffic(running.http, two, connections=4, limit=4) as slow:
            time.sleep(0.5)
            begun = time.monotonic()
            unloaded = httpx.post(f"{url}/unload", timeout=60)
            took = time.monotonic() - begun
            assert [answer.status for answer in slow.finished()] == [200] * 4
        assert unloaded.status_code == 200, unloaded.text
        assert 1.0 < took < 10.0
        assert unloaded.json()["versions"] == [{"version": 2, "state": "UNAVAILABLE", "reason": "unloaded"}]
        assert {answer.status for answer in run(running.http, two, count=8, connections=4)} == {404}
        assert by_version(run(running.http, keyed, count=50)) == {"1": 50}
        assert httpx.post(f"{url}/load", timeout=60).json()["versions"] == [
            {"version": 2, "state": "READY", "reason": ""}
        ]
        assert {answer.status for answer in run(running.http, two, count=2, connections=2)} == {200}
        assert httpx.post(url.replace("/2", "/9") + "/load", timeout=60).status_code == 404


def test_a_replacement_in_place_serves_the_old_content_until_the_new_is_ready(start: Start, tmp_path: Path) -> None:
    file = tiny.place(tmp_path / "models", "line", 1, times(1.0))
    with start() as running, Traffic(running.http, ask_times, connections=8) as traffic:
        for factor in (2.0, 3.0):  # by rename, as it should be done
            _until_only(traffic, factor - 1.0)
            new = file.with_name(".new")
            new.write_bytes(times(factor))
            os.replace(new, file)
        _until_only(traffic, 3.0)
        content = times(4.0)  # and by a slow copy over it, as people do
        with file.open("wb") as growing:
            for byte in range(0, len(content), 16):
                growing.write(content[byte : byte + 16])
                growing.flush()
                time.sleep(0.05)
        _until_only(traffic, 4.0)
        file.write_bytes(b"<html>")  # what cannot be loaded replaces nothing
        eventually(lambda: "unusable" in state(running, "line")[1])
        assert state(running, "line")[0] == "READY"
        traffic.wait_for(100)
        assert is_ready(running)
        shutil.rmtree(file.parent)
        eventually(lambda: "gone" in state(running, "line")[1])
        _until_only(traffic, 4.0)
        answers = traffic.stop()
    assert failed(answers) == []
    factors = [factor_of(answer) for answer in sorted(answers, key=lambda answer: answer.sent)]
    assert set(factors) == {1.0, 2.0, 3.0, 4.0}


def _until_only(traffic: Traffic, factor: float) -> None:
    """Wait until the last 100 answers were given by this content."""

    def settled() -> bool:
        last = traffic.answers[-100:]
        return len(last) == 100 and {factor_of(answer) for answer in last if answer.status == 200} == {factor}

    eventually(settled)


def test_a_thousand_models_start_and_list_in_time(
    start: Start, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for number in range(MANY):
        tiny.place(tmp_path / "models", f"m{number:04d}", 1, times(float(number)))
    begun = time.monotonic()
    with start("--workers", "1") as running:
        started = time.monotonic() - begun
        assert started < MANY_SECONDS
        listed = json.loads(running.serin("models", "list", "--json"))["models"]
        assert [version["state"] for found in listed for version in found["versions"]] == ["READY"] * MANY
        begun = time.monotonic()
        assert len(httpx.get(f"{running.http}/v2/models", timeout=10).json()["models"]) == MANY
        assert len(httpx.get(f"{running.admin}/api/v1/models", timeout=10).json()["models"]) == MANY
        assert time.monotonic() - begun < 2.0
        megabytes = _resident_megabytes(running.workers()[0])
        assert megabytes < MANY_MEGABYTES
        row = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}
        answer = httpx.post(f"{running.http}/v2/models/m0777/infer", json={"inputs": [row]}, timeout=10)
        assert answer.json()["outputs"][0]["data"] == [777.0, 777.0]
        record_property("start_seconds", round(started, 1))
        record_property("worker_megabytes", round(megabytes))


def _resident_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.slow
def test_many_pushes_at_once_each_get_a_version_of_their_own(start: Start, tmp_path: Path) -> None:
    tiny.place(tmp_path / "models", "line", 1, times(1.0))
    with start() as running:
        told: list[str] = []

        def push(number: int) -> None:
            source = tmp_path / f"{number}.onnx"
            source.write_bytes(times(float(number)))
            said = running.serin("models", "push", str(source), "--name", "line", "--no-wait")
            told.append(said.split(":")[1].strip())

        pushers = [threading.Thread(target=push, args=(number,)) for number in range(2, 8)]
        for pusher in pushers:
            pusher.start()
        for pusher in pushers:
            pusher.join()
        assert sorted(told) == ["2", "3", "4", "5", "6", "7"]

        def all_ready() -> bool:
            found = {v["version"]: (v["state"], v["reason"]) for v in model(running, "line")["versions"]}
            assert found == dict.fromkeys(range(1, 8), ("READY", "")), found
            return True

        eventually(all_ready)
        assert by_version(run(running.http, ask_times, count=100)) == {"1": 100}
