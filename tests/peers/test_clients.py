"""Clients of other servers, unmodified, each in an environment of its own (`make test-peers` installs them)."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests import peers
from tests.conformance import zoo
from tests.e2e.conftest import ROOT, Running, gateway

CLIENTS = Path(__file__).resolve().parent / "clients"
SECONDS = 300


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The zoo, and `diabetes` for tables."""
    directory = tmp_path_factory.mktemp("peers")
    zoo.build(directory / "models")
    shutil.copytree(ROOT / "models" / "diabetes", directory / "models" / "diabetes")
    with gateway(directory, "--workers", "1", "--invocations-model", "diabetes") as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", peers.NAMES)
def test_a_client_gets_what_it_expects(running: Running, name: str) -> None:
    if not peers.is_installed(name):
        pytest.skip(f"{name} is not installed in its own environment; `make test-peers` says why")
    command = [str(peers.python(name)), str(CLIENTS / f"{name}_client.py"), running.http, running.seen["grpc"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    troubles = json.loads(done.stdout.splitlines()[-1])
    assert len(troubles) >= 5
    wrong = [f"{check}: {trouble}" for check, trouble in troubles.items() if trouble]
    assert not wrong, "\n".join(wrong)


ROW = [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87]
NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
CSV = ",".join(NAMES) + "\n" + ",".join(map(str, ROW)) + "\n"
V1 = "/v1/models/diabetes:predict"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "words", "key"),
    [
        (V1, ["-d", json.dumps({"instances": [ROW]})], "predictions"),
        (V1, ["-d", json.dumps({"signature_name": "serving_default", "inputs": [ROW]})], "outputs"),
        ("/v1/models/diabetes/versions/1:predict", ["-d", json.dumps({"instances": [ROW]})], "predictions"),
        ("/v1/models/diabetes", [], "model_version_status"),
        ("/v1/models/diabetes/metadata", [], "model_spec"),
        ("/invocations", ["-d", json.dumps({"dataframe_split": {"columns": NAMES, "data": [ROW]}})], "predictions"),
        (
            "/invocations",
            ["-d", json.dumps({"dataframe_records": [dict(zip(NAMES, ROW, strict=True))]})],
            "predictions",
        ),
        ("/invocations", ["-d", json.dumps({"instances": [ROW]})], "predictions"),
        ("/invocations", ["-d", json.dumps({"inputs": [ROW]})], "predictions"),
        ("/invocations", ["-H", "Content-Type: text/csv", "--data-binary", CSV], "predictions"),
    ],
)
def test_curl_asks_as_the_manuals_of_others_show(running: Running, path: str, words: list[str], key: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "30", *words, running.http + path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert key in json.loads(done.stdout)
