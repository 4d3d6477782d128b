"""Real gateways for the tests: processes on free ports with a state directory and a copy of the models of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.client import AdminClient

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without any setting of Serin's, and with this checkout on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SERIN_")}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, **more}


@dataclass
class Running:
    """A gateway that runs. `http` and `admin` are base URLs; `log()` is all that it wrote to standard error so far."""

    process: subprocess.Popen[str]
    http: str
    admin: str
    models: Path
    state: Path
    log_file: Path
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def children(self) -> dict[int, str]:
        """Process id -> command line of the children that live now, without the fork server."""
        return {pid: command for pid, command in self.all_children().items() if "service.forkserver" not in command}

    def all_children(self) -> dict[int, str]:
        """With the fork server."""
        pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {int(pid): commands for pid in pids if (commands := _command(int(pid)))}

    def workers(self) -> list[int]:
        """Process ids of the workers, oldest first."""
        return sorted(pid for pid, command in self.children().items() if "service.app" in command)

    def child(self, module: str) -> int:
        """Process id of the only child that runs `module`, e.g. "service.control"."""
        (pid,) = [pid for pid, command in self.children().items() if module in command]
        return pid

    def serin(self, *words: str, expect: int = 0) -> str:
        """Run `serin <words>` against this gateway; its standard output. Fails the test on another exit code."""
        return self._said(words, expect).stdout

    def says(self, *words: str, expect: int) -> str:
        """The same, and what it says on standard error."""
        return self._said(words, expect).stderr

    def _said(self, words: tuple[str, ...], expect: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli", *words, "--admin-url", self.admin]
        done = subprocess.run(
            command, env=clean_environment(), cwd=self.state, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == expect, (
            f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log()[-3000:]}"
        )
        return done

    def stop(self, number: int = signal.SIGTERM, limit: float = STOP_SECONDS) -> int:
        """Signal it once and wait for its end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(limit)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def eventually(check: Callable[[], Any], *, seconds: float = 20.0, every: float = 0.05) -> Any:
    """The first truthy result of `check`; fails the test when there is none in time. Errors count as not yet."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if result := check():
                return result
        except (AssertionError, OSError, ValueError, LookupError, httpx.TransportError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s (last: {last!r})")


def _models_copy(target: Path, names: tuple[str, ...]) -> Path:
    """Copy the sample models that were named; the one in `names` that has a slash is a version: "digits/1"."""
    for name in names:
        source = ROOT / "models" / name
        if "/" in name:
            for file in (source.parent).iterdir():
                if file.is_file():
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, (target / name).parent)
        shutil.copytree(source, target / name, dirs_exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    return target


@contextmanager
def gateway(
    directory: Path,
    *flags: str,
    models: tuple[str, ...] = ("digits",),
    faults: str = "",
    command: tuple[str, ...] = ("-m", "service.cli", "serve"),
    **environment: str,
) -> Iterator[Running]:
    """A gateway in `directory` (its `models` and `state` are made there unless they are), ready; stopped by its pid.

    Call it again on the same directory to start on the same state. `models`: sample models or versions to copy.
    """
    models_dir, state = directory / "models", directory / "state"
    log, out = directory / "serin.log", directory / "serin.out"
    if not models_dir.exists():
        _models_copy(models_dir, models)
    state.mkdir(exist_ok=True)
    fixed = ("--models", str(models_dir), "--state", str(state), "--http-port", "0", "--admin-port", "0")
    fixed += ("--grpc-port", "0", "--json")
    defaults = (
        "--log-format",
        "json",
        "--drain-delay-seconds",
        "0.1",
        "--scan-interval-seconds",
        "0.2",
        "--workers",
        "2",
    )
    with log.open("a") as stderr, out.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, *command, *fixed, *defaults, *flags, *(("--faults", faults) if faults else ())],
            stdout=stdout,
            stderr=stderr,
            text=True,
            cwd=directory,
            env=clean_environment(**environment),
        )
    try:
        addresses = _first_line(process, out, log)
        yield Running(process, addresses["http"], addresses["admin"], models_dir, state, log, addresses)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # its children see their pipe close and end
                process.wait()


def _first_line(process: subprocess.Popen[str], out: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while not (text := out.read_text()).endswith("\n"):
        if process.poll() is not None or time.monotonic() > deadline:
            code = process.poll()
            raise AssertionError(f"the gateway did not become ready (exit code {code}):\n{log.read_text()[-5000:]}")
        time.sleep(0.02)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Any]:
    """`with start("--workers", "4", models=("digits",)) as running:` in the test's own directory."""

    def begin(*flags: str, **how: Any) -> Any:
        return gateway(tmp_path, *flags, **how)

    return begin


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One gateway with all sample models for the tests of a module that do not harm it."""
    with tempfile.TemporaryDirectory(prefix="serin-") as directory:
        names = ("digits", "breast-cancer", "diabetes")
        with gateway(Path(directory), models=names) as found:
            yield found


@pytest.fixture
def at_one(running: Running) -> Iterator[Running]:
    """The gateway with all traffic on version 1, and no open rollout, before and after."""
    yield running
    admin = AdminClient.at(running.admin, "test")
    for word in ("abort", "rollback"):
        if word in admin.rollout("digits")["possible"]:
            admin.move_rollout("digits", word)
    running.serin("route", "set", "digits", "1=100")
