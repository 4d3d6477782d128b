"""NVIDIA's perf_analyzer, unmodified, against a gateway: it runs over both ports, and what it reads there is true."""

import csv
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests import peers
from tests.e2e.conftest import Running, gateway
from tests.e2e.test_shadow_fallback import metric

CALLERS, WINDOWS, WINDOW_MS, SECONDS = 4, 3, 400, 120
EDGES = 0.1
"""What is answered while it reads the server's counts, at both ends of each window, may be on one side alone."""

COUNT = re.compile(r"(Request|Inference|Execution|Successful request) count: (\d+)")
HOME = peers.CACHE / "tritonclient"
PROGRAM = HOME / "bin" / "perf_analyzer"


def environment() -> dict[str, str]:
    """With CUDA's runtime, which it is linked with and does not use here."""
    libraries = [str(found.parent) for found in HOME.glob("lib/python*/site-packages/nvidia/*/lib/libcudart.so.*")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).strip(":")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not peers.is_installed("tritonclient"):
        pytest.skip("tritonclient is not installed in its own environment; `make test-peers` says why")
    if not PROGRAM.exists():
        pytest.skip("there is no perf_analyzer for this machine; it comes for Linux on x86-64")
    tried = subprocess.run([PROGRAM, "--version"], env=environment(), capture_output=True, text=True, timeout=30)
    if tried.returncode:
        pytest.skip(f"perf_analyzer does not start here (Debian has libb64 as libb64-0d): {tried.stderr.strip()}")
    with gateway(tmp_path_factory.mktemp("load"), "--familiar-metrics", "triton") as found:
        yield found


def counts(running: Running) -> dict[str, float]:
    names = {"Inference": "count", "Execution": "exec_count", "Successful request": "request_success"}
    # The parser gives every counter a `_total`, which the page does not have.
    return {word: metric(running, f"nv_inference_{name}_total", model="digits") for word, name in names.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("port", "words", "rows"),
    [
        ("http", [], 1),
        ("http", ["-a", "-b", "4"], 4),
        ("http", ["-a", "--input-tensor-format", "json", "-x", "2"], 1),
        ("grpc", ["-b", "4"], 4),
        ("grpc", ["-a", "--streaming"], 1),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else str(value),
)
def test_it_counts_what_the_server_counts(
    running: Running, tmp_path: Path, port: str, words: list[str], rows: int
) -> None:
    before, report = counts(running), tmp_path / "report.csv"
    address = running.http.removeprefix("http://") if port == "http" else running.seen["grpc"]
    command = [PROGRAM, "-m", "digits", "-i", port, "-u", address, *words, "--concurrency-range", str(CALLERS)]
    command += ["-p", str(WINDOW_MS), "-r", str(WINDOWS), "-s", "9999", "-f", report, "--verbose-csv"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    told = {word: int(number) for word, number in COUNT.findall(done.stdout)}
    gained = {word: after - before[word] for word, after in counts(running).items()}
    assert told["Request"] > 100
    assert told["Successful request"] == pytest.approx(told["Request"], rel=EDGES)
    assert told["Inference"] == pytest.approx(rows * told["Request"], rel=EDGES)
    assert 0 < told["Execution"] <= told["Successful request"] * (1 + EDGES)
    assert all(gained[word] >= told[word] * (1 - EDGES) for word in gained)
    assert gained["Inference"] == rows * gained["Successful request"]
    assert gained["Execution"] <= gained["Successful request"]
    [line] = csv.DictReader(report.read_text().splitlines())
    assert float(line["Inferences/Second"]) > 0
    assert float(line["Server Compute Infer"]) > 0
    assert float(line["Avg latency"]) > float(line["Server Compute Infer"]) + float(line["Server Queue"])


@pytest.mark.slow
def test_what_is_not_offered_is_said_in_words(running: Running) -> None:
    command = [PROGRAM, "-m", "digits", "-u", running.http.removeprefix("http://"), "--shared-memory", "system"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode != 0
    assert "the shared memory extension is not offered" in done.stdout + done.stderr
