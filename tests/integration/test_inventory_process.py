"""The inventory as a process of its own, with a controller that only listens."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from service.runtime.publish import publish
from tests.unit.service.runtime.tiny import counting, filled, place, times

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 20.0

#: Stands for a file that kills: version 66 of anything, when the process is started by this text.
KILLER = """
import os, signal
import service.inventory as inventory
real = inventory.examine
def examine(version_dir, version, rules, options, run_seconds):
    if version == 66:
        os.kill(os.getpid(), signal.{signal})
    return real(version_dir, version, rules, options, run_seconds)
inventory.examine = examine
inventory.main()
"""


class Controller:
    """Keeps the last report; `wish` asks for a rescan."""

    def __init__(self) -> None:
        self.report: dict[str, Any] = {"models": {}, "scanned": False}
        self.tokens: set[str | None] = set()
        self.sequence = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.tokens.add(self.headers.get("Serin-Token"))
                outer.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer({"controller": "c"})

            def do_GET(self) -> None:
                after = int(self.path.split("after=")[1].split("&")[0])
                until = monotonic() + 0.5
                while outer.sequence <= after and monotonic() < until:
                    sleep(0.01)
                self.answer({"sequence": outer.sequence, "rescan": outer.sequence > after})

            def answer(self, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # processes are killed in the middle of their calls here

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def version(self, name: str, version: int) -> dict[str, Any]:
        found: dict[str, Any] = self.report["models"].get(name, {}).get("versions", {}).get(str(version), {})
        return found


class World:
    """One repository, one controller, and inventories that come and go."""

    def __init__(self, tmp_path: Path) -> None:
        self.controller = Controller()
        self.models, self.state = tmp_path / "models", tmp_path / "state"
        self.models.mkdir()
        self.log = tmp_path / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, code: str = "", **settings: object) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *(["-c", code] if code else ["-m", "service.inventory"])],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stderr=log,
            )
        self.processes.append(process)
        given = {"models": str(self.models), "state": str(self.state), "scan_interval_seconds": 0.2, **settings}
        config = {"settings": given, "token": "t", "controller": self.controller.url, "instance": "i"}
        assert process.stdin is not None
        process.stdin.write(json.dumps(config).encode() + b"\n")
        process.stdin.flush()
        return process

    def until(self, condition: Callable[[], object]) -> None:
        limit = monotonic() + LIMIT_SECONDS
        while not condition():
            assert monotonic() < limit, self.controller.report
            sleep(0.01)

    def until_scanned(self) -> None:
        self.until(lambda: self.controller.report["scanned"])

    def state_of(self, name: str, version: int) -> str | None:
        state: str | None = self.controller.version(name, version).get("state")
        return state

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self.controller.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def ended(process: subprocess.Popen[bytes]) -> int:
    return process.wait(LIMIT_SECONDS)


def test_the_sample_models_pass_with_their_golden_rows(world: World) -> None:
    world.models = ROOT / "models"
    process = world.start()
    world.until_scanned()
    states = {
        f"{name}:{version}": found["state"]
        for name, model in world.controller.report["models"].items()
        for version, found in model["versions"].items()
    }
    assert states == dict.fromkeys(
        ["digits:1", "digits:2", "digits:3", "breast-cancer:1", "breast-cancer:2", "diabetes:1", "diabetes:2"], "READY"
    )
    digits = world.controller.report["models"]["digits"]
    assert digits["default_version"] == 1
    assert digits["versions"]["2"]["golden"]["compared"] > 0
    assert digits["versions"]["2"]["signature"]["inputs"][0] == {
        "name": "pixels",
        "datatype": "FP32",
        "shape": [-1, 64],
    }
    assert world.controller.tokens == {"t"}
    assert process.stdin is not None
    process.stdin.close()
    assert ended(process) == 0
    assert '"level":"error"' not in world.log.read_text().replace(" ", "")


def test_a_published_version_is_ready_after_one_wish(world: World, tmp_path: Path) -> None:
    place(world.models, "m", 1, times(3))
    world.start(scan_interval_seconds=3600)
    world.until_scanned()
    (tmp_path / "new.onnx").write_bytes(times(4))
    assert publish(tmp_path / "new.onnx", world.models, "m") == 2
    world.controller.sequence = 5
    world.until(lambda: world.controller.report["sequence"] == 5)
    assert world.state_of("m", 2) == "READY"


def test_broken_files_beside_good_ones_have_their_reasons(world: World) -> None:
    place(world.models, "good", 1, times(3))
    place(world.models, "bad", 1, b"")
    place(world.models, "bad", 2, b"<html></html>")
    place(world.models, "bad", 3, times(3)[:70])
    (world.models / "bad" / "4" / "model.onnx").mkdir(parents=True)
    os.mkfifo(world.models / "bad" / "4" / "pipe")
    world.start()
    world.until_scanned()
    assert world.state_of("good", 1) == "READY"
    versions = world.controller.report["models"]["bad"]["versions"]
    assert {found["state"] for found in versions.values()} == {"UNAVAILABLE"}
    assert all(found["reason"] for found in versions.values())
    assert str(world.models) not in json.dumps(world.controller.report)


def test_a_file_that_kills_marks_itself_and_the_next_process_goes_on(world: World) -> None:
    place(world.models, "m", 1, times(3))
    place(world.models, "m", 66, times(4))
    place(world.models, "n", 1, times(5))
    code = KILLER.format(signal="SIGSEGV")
    assert ended(world.start(code)) == -signal.SIGSEGV
    world.start(code)
    world.until_scanned()
    assert world.controller.version("m", 66)["reason"] == ("the process that first loaded it died: Segmentation fault")
    assert world.state_of("m", 66) == "UNAVAILABLE"
    assert (world.state_of("m", 1), world.state_of("n", 1)) == ("READY", "READY")


def test_a_model_that_never_ends_is_ended_by_the_alarm(world: World) -> None:
    place(world.models, "m", 1, times(3))
    place(world.models, "m", 2, counting(2_000_000_000))
    assert ended(world.start(load_timeout_seconds=0.5)) == 1
    world.start(load_timeout_seconds=0.5)
    world.until_scanned()
    assert world.state_of("m", 1) == "READY"
    assert world.controller.version("m", 2)["reason"] == "the process that first loaded it took too long and was ended"


def test_a_run_that_never_ends_is_stopped_and_the_process_lives_on(world: World) -> None:
    place(world.models, "m", 1, counting(2_000_000_000))
    place(world.models, "n", 1, times(3))
    process = world.start(request_timeout_seconds=0.5)
    world.until_scanned()
    assert world.controller.version("m", 1)["reason"] == "one of its first runs did not end within 0.5 s"
    assert world.state_of("n", 1) == "READY"
    assert process.poll() is None


def test_a_file_that_asks_for_too_much_memory_is_told_so(world: World) -> None:
    place(world.models, "m", 1, filled(1 << 34))
    place(world.models, "n", 1, times(3))
    process = world.start()
    world.until_scanned()
    assert "memory" in world.controller.version("m", 1)["reason"]
    assert world.state_of("n", 1) == "READY"
    assert process.poll() is None


def test_a_supervisor_that_goes_during_a_load_ends_the_process_and_blames_nobody(world: World) -> None:
    place(world.models, "m", 1, counting(2_000_000_000))
    process = world.start()
    world.until(lambda: (world.state / "inventory.attempt").exists())
    assert process.stdin is not None
    process.stdin.close()
    assert ended(process) == 0
    assert not (world.state / "inventory.attempt").exists()


def test_a_thousand_models_are_taken_stock_of(world: World) -> None:
    for number in range(1000):
        place(world.models, f"model-{number}", 1, times(number % 50))
    world.start()
    world.until_scanned()
    models = world.controller.report["models"]
    assert len(models) == 1000
    assert {found["state"] for model in models.values() for found in model["versions"].values()} == {"READY"}
