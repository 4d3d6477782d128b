"""The load tests themselves, once through, with our own client: that they measure, not what."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.processes import ROOT

LIMIT_SECONDS = 180.0


@pytest.mark.parametrize(
    ("scenario", "servers"),
    [
        ("11-tiny-json-c1", ["reference", "serin"]),
        ("14-tiny-open", ["reference", "serin"]),
        ("70-beside-a-slow-model", ["alone", "beside image, c = 16"]),
    ],
)
def test_a_scenario_is_measured_and_saved(tmp_path: Path, scenario: str, servers: list[str]) -> None:
    results = tmp_path / "results.jsonl"
    words = [scenario, "--seconds", "1", "--rounds", "1", "--own-client", "--save-to", str(results)]
    command = [sys.executable, "-m", "loadtests.run", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert results.exists(), done.stdout + done.stderr
    measured, stages = (json.loads(line) for line in results.read_text().splitlines())
    assert list(measured["rounds"]) == servers
    assert all(rounds[0]["requests"] > 0 for rounds in measured["rounds"].values())
    assert stages["stages"]
    assert "core µs" in done.stdout
