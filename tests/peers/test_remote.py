"""Other servers as variants: MLServer and KServe, each in an environment of its own, behind a gateway that has the same
model."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from loadtests import peers
from loadtests.made import rows_of, save
from loadtests.processes import announced
from router.client import AdminClient
from tests.e2e.conftest import Running, clean_environment, eventually, gateway
from tests.e2e.test_shadow_fallback import metric
from tests.e2e.traffic import failed, post, run

ROWS = rows_of("tiny").rows
INFER = "/v2/models/tiny/infer"


def body(row: int) -> dict[str, object]:
    data = [float(value) for value in ROWS[row]]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, len(data)], "data": data}]}


# KServe's model servers name no tensors in their metadata, so the settings do.
TENSORS = """
[upstreams.peer.models.tiny]
inputs = [{ name = "x", datatype = "FP32", shape = [-1, 4] }]
outputs = [{ name = "label", datatype = "INT64", shape = [-1] },
           { name = "probabilities", datatype = "FP32", shape = [-1, 3] }]
"""


@pytest.fixture(scope="module", params=peers.SERVERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not peers.is_installed(request.param):
        pytest.skip(f"{request.param} is not installed in its own environment; `python -m loadtests.peers` says why")
    directory = tmp_path_factory.mktemp("remote")
    file = directory / "models/tiny/1/model.onnx"
    save("tiny", file)
    command = peers.command(request.param, file, "tiny")
    assert command is not None
    with announced(command, directory / "peer.log") as there:
        (directory / "serin.toml").write_text(f'[upstreams.peer]\nurl = "{there.http}"\n{TENSORS}')
        with gateway(directory) as here:
            here.seen["peer"] = there.http
            yield here


@pytest.mark.slow
def test_it_takes_its_share_and_answers_as_the_model_here(running: Running) -> None:
    here = [httpx.post(running.http + INFER, json=body(row), timeout=30).json() for row in range(8)]
    running.serin("route", "set", "tiny", "peer#tiny=100")
    there = [httpx.post(running.http + INFER, json=body(row), timeout=30).json() for row in range(8)]

    for ours, theirs in zip(here, there, strict=True):
        [scores] = [one["data"] for one in ours["outputs"] if one["name"] == "probabilities"]
        [other] = [one["data"] for one in theirs["outputs"] if one["name"] == "probabilities"]
        assert other == pytest.approx(scores, rel=1e-5)

    running.serin("route", "set", "tiny", "1=80", "peer#tiny=20")
    raw = httpx.Request("POST", running.http, json=body(0)).content
    answers = run(running.http, lambda number: post(INFER, raw, f"user-{number}"), count=300)
    assert failed(answers) == []
    share = sum(answer.variant == "peer.tiny" for answer in answers)
    assert 30 < share < 95
    assert metric(running, "serin_assigned_total", variant="peer.tiny", how="split_keyed") == share


@pytest.mark.slow
def test_a_client_that_speaks_binary_is_served_by_a_server_that_does_not(running: Running) -> None:
    running.serin("route", "set", "tiny", "peer#tiny=100")
    given = triton.InferInput("x", list(ROWS[:2].shape), "FP32")
    given.set_data_from_numpy(ROWS[:2].astype(np.float32))
    with triton.InferenceServerClient(running.http.removeprefix("http://"), network_timeout=60) as client:
        answer = client.infer("tiny", [given])
    assert answer.as_numpy("probabilities").shape == (2, 3)
    assert answer.as_numpy("probabilities").sum(axis=1) == pytest.approx([1, 1], rel=1e-5)


def outputs_of(running: Running, output: str, result: str) -> float:
    return metric(running, "serin_mirror_outputs_total", variant="peer.tiny", output=output, result=result)


@pytest.mark.slow
def test_a_shadow_there_is_compared_output_by_output(running: Running, request: pytest.FixtureRequest) -> None:
    running.serin("route", "set", "tiny", "1=100")
    running.serin("rollout", "start", "tiny", "--to", "peer#tiny", "--steps", "shadow 100% 100000 requests")
    admin = AdminClient.at(running.admin, "test")
    eventually(lambda: admin.rollout("tiny")["step_number"] == 1 and admin.rollout("tiny")["followed"])
    for row in range(24):
        httpx.post(running.http + INFER, json=body(row % 8), timeout=30).raise_for_status()

    assert eventually(lambda: outputs_of(running, "probabilities", "same") >= 20)
    assert outputs_of(running, "probabilities", "different") == 0
    # MLServer's own codec gives a list of labels a second dimension, and the shadow finds that out.
    other = "different" if request.node.callspec.params["running"] == "mlserver" else "same"
    assert outputs_of(running, "label", other) == outputs_of(running, "probabilities", "same")
    running.serin("rollout", "abort", "tiny")


@pytest.mark.slow
def test_serin_infer_asks_it_with_every_kind_of_file(
    running: Running, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    rows = ROWS[:2].astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",")
    (tmp_path / "rows.json").write_text(json.dumps(rows.tolist()))
    whole = {"inputs": [{"name": "x", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}]}
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    tells = request.node.callspec.params["running"] == "mlserver"  # what the model takes

    told = []
    for kind, name in (("json", "whole.json"), ("json", "rows.json"), ("csv", "rows.csv"), ("npy", "rows.npy")):
        command = [sys.executable, "-m", "service.cli", "infer", "tiny", f"--{kind}", str(tmp_path / name)]
        command += ["--url", running.seen["peer"], "--output", "json"]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
        if tells or name == "whole.json":
            assert done.returncode == 0, done.stderr
            told += [one["data"] for one in json.loads(done.stdout)["outputs"] if one["name"] == "probabilities"]
        else:
            assert "give a whole V2 request" in done.stderr
    assert all(scores == pytest.approx(told[0], rel=1e-5) for scores in told)
    assert len(told) == (4 if tells else 1)
