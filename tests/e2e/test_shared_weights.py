"""Weights of a big version, in memory once for all workers of a real gateway."""

import re
from pathlib import Path

import httpx
import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.e2e.conftest import Running, eventually, gateway
from tests.unit.service.runtime.tiny import model, value

WIDTH = 1024
WEIGHT_BYTES = 4 * WIDTH * WIDTH


def place_wide(models: Path) -> None:
    """A version with external weights: y = relu(x w0) w1."""
    rng = np.random.default_rng(8)
    weights = [numpy_helper.from_array(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), f"w{i}") for i in (0, 1)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    ends = ("N", WIDTH)
    content = model(nodes, [value("x", shape=ends)], [value("y", shape=ends)], initializer=weights)
    folder = models / "wide" / "1"
    folder.mkdir(parents=True)
    made = onnx.load_from_string(content)
    onnx.save(made, folder / "model.onnx", save_as_external_data=True, location="weights.bin")


def mapped_bytes(pid: int, part: str) -> tuple[int, int]:
    """Bytes in memory, and those of them that are its own alone by writing, of a process's mappings of such files."""
    resident = dirty = 0
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            inside = part in line
        elif inside and line.startswith("Rss:"):
            resident += int(line.split()[1]) << 10
        elif inside and line.startswith("Private_Dirty:"):
            dirty += int(line.split()[1]) << 10
    return resident, dirty


def ask_every_worker(running: Running) -> None:
    """So many connections that no worker is left out."""
    body = {"inputs": [{"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [1.0] * WIDTH}]}
    for _ in range(40):
        answer = httpx.post(f"{running.http}/v2/models/wide/infer", json=body, timeout=10)
        assert answer.status_code == 200, answer.text


def test_workers_compute_with_weights_that_they_share(tmp_path: Path) -> None:
    place_wide(tmp_path / "models")
    with gateway(tmp_path, "--share-weights-bytes", "1048576") as running:

        def shared_by_all() -> bool:
            ask_every_worker(running)
            seen = [mapped_bytes(pid, "/packed/") for pid in running.workers()]
            return len(seen) == 2 and all(resident >= 2 * WEIGHT_BYTES and not dirty for resident, dirty in seen)

        assert eventually(shared_by_all)
        assert len(list((tmp_path / "state" / "packed").iterdir())) == 1


def test_without_sharing_nothing_is_written(tmp_path: Path) -> None:
    place_wide(tmp_path / "models")
    with gateway(tmp_path, "--share-weights-bytes", "0") as running:
        ask_every_worker(running)
        assert not (tmp_path / "state" / "packed").exists()
