"""One round of load on one server: by wrk where it is installed, else by our own client, on the client's core."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from loadtests.arrivals import Arrived
from loadtests.client import WARMUP_SECONDS
from loadtests.measured import Measured
from loadtests.processes import child_setup, end, environment

SPARE_SECONDS = 20.0
SETTLE_SECONDS = 1.0
LOOK_SECONDS = 1.0
WRK_TIMEOUT = "10s"

# Whole requests come from files, so that bodies may hold any byte; what is measured goes out as one line of JSON.
WRK_SCRIPT = """
local requests, turn = {}, 0
function init(args)
  for index = 1, #args do
    local file = assert(io.open(args[index], "rb"))
    requests[index] = file:read("*a")
    file:close()
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "micros": %d, "p50": %f, "p99": %f, "status": %d, "lost": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write, e.timeout))
end
"""


Look = Callable[[], None]
"""Called about once a second while a load runs."""


class LoadFailed(Exception):
    """The load generator itself did not do its work."""


@dataclass(frozen=True, slots=True)
class Round:
    """How to load a server: what is sent, by how many connections, for how long, from which cores."""

    requests: Sequence[bytes]
    connections: int
    seconds: float
    cores: Collection[int] | None = None


class Own:
    """Our own client, in a process of its own."""

    name = "own client (asyncio, uvloop)"

    def __call__(self, address: tuple[str, int], given: Round) -> Measured:
        """Raises LoadFailed."""
        told = {"host": address[0], "port": address[1], "connections": given.connections, "seconds": given.seconds}
        line = json.dumps({**told, "sizes": [len(request) for request in given.requests]}).encode() + b"\n"
        limit = given.seconds + WARMUP_SECONDS + SPARE_SECONDS
        command = [sys.executable, "-m", "loadtests.client"]
        answer = _run(command, given, limit, line + b"".join(given.requests))
        return Measured(**json.loads(answer))


class Open:
    """Our own open loop, in a process of its own."""

    name = "own open loop"

    def __call__(
        self,
        address: tuple[str, int],
        given: Round,
        rate: float,
        *,
        look: Look | None = None,
        shared: bool = False,
    ) -> Arrived:
        """`shared`: others send from the same core. Raises LoadFailed."""
        told = {"host": address[0], "port": address[1], "connections": given.connections, "seconds": given.seconds}
        told |= {"rate": rate, "spin": given.cores is not None and not shared}
        line = json.dumps({**told, "sizes": [len(request) for request in given.requests]}).encode() + b"\n"
        limit = given.seconds + WARMUP_SECONDS + SPARE_SECONDS
        command = [sys.executable, "-m", "loadtests.arrivals"]
        found = json.loads(_run(command, given, limit, line + b"".join(given.requests), look))
        windows = tuple(Measured(**window) for window in found.pop("windows"))
        return Arrived(**{**found, "whole": Measured(**found["whole"]), "windows": windows})


class Wrk:
    """wrk, which costs less of its core. One thread: there is one core for it."""

    name = "wrk"

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def __call__(self, address: tuple[str, int], given: Round) -> Measured:
        """Raises LoadFailed."""
        script = self._folder / "load.lua"
        script.write_text(WRK_SCRIPT)
        files = [self._folder / f"request-{number}" for number in range(len(given.requests))]
        for path, request in zip(files, given.requests, strict=True):
            path.write_bytes(request)
        seconds = max(1, round(given.seconds))
        flags = ["-t1", f"-c{given.connections}", f"-d{seconds}s", "--timeout", WRK_TIMEOUT, "-s", str(script)]
        url = f"http://{address[0]}:{address[1]}"
        command = [self._program, *flags, url, "--", *map(str, files)]
        return read_wrk(_run(command, given, seconds + SPARE_SECONDS))


def read_wrk(text: str) -> Measured:
    """What our script made wrk print. Raises LoadFailed."""
    lines = re.findall(r"^\{.*\}$", text, re.MULTILINE)
    if not lines:
        raise LoadFailed(f"wrk said: {text[-500:]}")
    told = json.loads(lines[-1])
    errors = {"status not 200": told["status"], "connection lost": told["lost"], "no answer": told["timeout"]}
    return Measured(
        requests=told["requests"] - told["status"],
        seconds=told["micros"] / 1e6,
        p50_ms=told["p50"] / 1000,
        p99_ms=told["p99"] / 1000,
        errors={name: times for name, times in errors.items() if times},
    )


@contextmanager
def background(address: tuple[str, int], given: Round) -> Iterator[None]:
    """Our own closed loop beside what is measured, begun before the block and ended with it."""
    told = {"host": address[0], "port": address[1], "connections": given.connections, "seconds": given.seconds}
    line = json.dumps({**told, "sizes": [len(request) for request in given.requests]}).encode() + b"\n"
    # It must not take the core from the client that measures.
    command = ["nice", "-n", "10", sys.executable, "-m", "loadtests.client"]
    with _beside(command, given.cores, subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(line + b"".join(given.requests))
        process.stdin.close()
        sleep(SETTLE_SECONDS)
        yield


@contextmanager
def spinner(cores: Collection[int], seconds: float) -> Iterator[None]:
    """Keep the client's cores awake at the lowest priority, for so long at most."""
    lowest = "import os, time\nos.setpriority(os.PRIO_PROCESS, 0, 19)"
    program = f"{lowest}\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
    with _beside([sys.executable, "-c", program], cores, subprocess.DEVNULL):
        yield


@contextmanager
def _beside(command: Sequence[str], cores: Collection[int] | None, stdin: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(os.environ),
        preexec_fn=child_setup(cores),
    )
    try:
        yield process
    finally:
        end(process)


def generator(folder: Path, *, own: bool = False) -> Own | Wrk:
    """wrk when it is on the PATH, unless our own is asked for. `folder`: for wrk's files."""
    program = None if own else shutil.which("wrk")
    return Wrk(program, folder) if program else Own()


def _run(command: Sequence[str], given: Round, seconds: float, stdin: bytes = b"", look: Look | None = None) -> str:
    """The child's standard output. It is ended by its pid when the time is over, or when we are interrupted."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(os.environ),
        preexec_fn=child_setup(given.cores),
    )
    until, rest = monotonic() + seconds, stdin or None
    try:
        while True:
            try:
                out, errors = process.communicate(rest, timeout=LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired as error:
                rest = None  # it is on its way
                if monotonic() > until:
                    raise LoadFailed(f"{command[0]} took more than {seconds:.0f} s") from error
                if look is not None:
                    look()
    finally:
        end(process)
    if process.returncode:
        raise LoadFailed(f"{command[0]}: {errors.decode(errors='replace')[-500:]}")
    return out.decode()
