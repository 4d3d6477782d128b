"""The processes of a run: started here, ended here by their own pid, whatever happens to the run."""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any
from urllib.parse import urlsplit

START_SECONDS = 60.0
STOP_SECONDS = 8.0
LOG_LINES = 12
LINE_LETTERS = 2000
PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).resolve().parent.parent


class NotStarted(Exception):
    """A server did not come up; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `admin` and `grpc` (host and port) may be empty; `log` is what it writes to standard error."""

    http: str
    admin: str
    pid: int
    log: Path = Path(os.devnull)
    grpc: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a socket."""
        parts = urlsplit(self.http)
        return parts.hostname or "127.0.0.1", parts.port or 80


def end_with_the_run() -> None:
    """Make SIGTERM unwind the stack like Ctrl-C does, so that what was started is ended."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


def serin(*words: str) -> list[str]:
    """The `serin` command of this Python, as a person would type it, ready for `subprocess`."""
    script = Path(sys.executable).with_name("serin")
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "service.cli", *words]


@contextmanager
def gateway(
    models: Path,
    state: Path,
    *,
    workers: int = 1,
    cores: Collection[int] | None = None,
    more: Mapping[str, object] | None = None,
) -> Iterator[Server]:
    """`serin serve` on free ports; ready when this is entered. `more`: further flags. Raises NotStarted."""
    ports = {"http-port": 0, "admin-port": 0, "grpc-port": 0}
    flags: dict[str, object] = {"models": models, "state": state, "workers": workers, **ports}
    flags |= {"log-level": "warning", "log-format": "json", "drain-delay-seconds": 0, "drain-limit-seconds": 5}
    words = [word for name, value in {**flags, **(more or {})}.items() for word in (f"--{name}", str(value))]
    log = state.with_name(state.name + ".log")
    with announced(serin("serve", "--json", *words), log, cores) as server:
        yield server


@contextmanager
def announced(command: Sequence[str], log: Path, cores: Collection[int] | None = None) -> Iterator[Server]:
    """A server that prints one line of JSON with its addresses (`http`, perhaps `admin`) when it is ready."""
    with log.open("wb") as errors, started(command, cores, errors) as process:
        told = _first_line(process, log)
        yield Server(told["http"], told.get("admin", ""), process.pid, log, told.get("grpc", ""))


@contextmanager
def started(
    command: Sequence[str], cores: Collection[int] | None, errors: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, so that Ctrl-C reaches us first; ended when the block is left."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment(os.environ),
        start_new_session=True,
        preexec_fn=child_setup(cores),  # this process has no other threads
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for who does not listen."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
    if process.stdout is not None:
        process.stdout.close()


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Without the settings of somebody's own gateway, and with this checkout importable wherever it is started."""
    kept = {name: value for name, value in given.items() if not name.startswith("SERIN_")}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def complaints(log: Path, most: int = 3) -> list[str]:
    """The last errors in a log of JSON lines, for who wonders why a run failed."""
    found = [line for line in log.read_text(errors="replace").splitlines() if '"level": "error"' in line]
    return [line[:LINE_LETTERS] for line in found[-most:]]


def child_setup(cores: Collection[int] | None) -> Any:
    """What a child does before it becomes its program, while this process has no other threads."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def setup() -> None:
        # Also when this run is killed with -9: its children get a SIGTERM from the kernel.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
        if cores:
            os.sched_setaffinity(0, cores)

    return setup


def _first_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(START_SECONDS) else b""
    try:
        told = json.loads(line)
    except ValueError:
        raise NotStarted(f"{_shown(process.args)} did not start:\n{_tail(log)}") from None
    return {name: str(value) for name, value in told.items()}


def _shown(command: object) -> str:
    return " ".join(map(str, command)) if isinstance(command, (list, tuple)) else str(command)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
