"""Child processes: started with a pipe each way, replaced when they die, stopped with them."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from service import logs
from service.crashes import LONGEST_WAIT_SECONDS, Death, streak_after, wait_seconds
from service.forks import Forkserver

Facts = dict[str, Any]

#: Child code runs from here, whatever the working directory holds (a `json.py` there must not become ours).
ROOT = Path(__file__).resolve().parent.parent
#: Libraries under numpy would each start a thread for every core, ONNX Runtime would collect events in the home
#: directory and send them to its maker, and gRPC would write lines of its own among those of the log.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "GRPC_VERBOSITY": "NONE",
}

REPORT_LIMIT_BYTES = 1 << 20
LATE_LIMIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start. `config` is the first line of its standard input; `fds` are inherited under the same numbers.
    `longest_wait_seconds`: before it is started again after it died many times."""

    role: str
    module: str
    slot: int = 0
    config: Mapping[str, object] = field(default_factory=dict)
    fds: tuple[int, ...] = ()
    longest_wait_seconds: float = LONGEST_WAIT_SECONDS

    @property
    def name(self) -> str:
        return f"{self.role}-{self.slot}" if self.role == "worker" else self.role


class Input(Protocol):
    """The standard input of a child."""

    def write(self, data: bytes, /) -> object: ...
    def is_closing(self) -> bool: ...
    def close(self) -> object: ...


class Process(Protocol):
    """A process that was started here, or for us. `returncode` is None until it has ended."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    @property
    def stdin(self) -> Input | None: ...
    async def wait(self) -> int: ...


class Child:
    """One running process. `facts` holds the last report of each name, e.g. {"listening": True}."""

    def __init__(self, process: Process, reports: FileIO, report_fd: int) -> None:
        self.process = process
        self.instance = secrets.token_hex(8)
        self.pid = process.pid
        self.facts: Facts = {}
        self._reports, self._report_fd = reports, report_fd

    @classmethod
    async def spawn(cls, spec: ChildSpec) -> "Child":
        """Start `python -m module` in a session of its own; it waits for `begin`. Raises OSError when it cannot be."""
        reader, writer = os.pipe()
        reports = FileIO(reader)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", spec.module),
                stdin=asyncio.subprocess.PIPE,
                stdout=2,  # standard output is the supervisor's alone
                pass_fds=(*spec.fds, writer),
                start_new_session=True,
                env=environment(),
            )
        except BaseException:
            reports.close()
            raise
        finally:
            os.close(writer)
        return cls(process, reports, writer)

    @classmethod
    async def copy(cls, spec: ChildSpec, server: Forkserver) -> "Child":
        """The same as a copy of the fork server. Raises OSError when it cannot be."""
        return cls(*await server.fork(spec.module, spec.fds))

    async def begin(self, spec: ChildSpec, on_report: Callable[[Facts], None], **extra: object) -> None:
        """Tell it what it is, and hear its reports from now on."""
        about = {"role": spec.role, "slot": spec.slot, "instance": self.instance, "report_fd": self._report_fd}
        self.send({**spec.config, **about, **extra})

        def take(facts: Facts) -> None:
            self.facts.update(facts)
            on_report(facts)

        await asyncio.get_running_loop().connect_read_pipe(lambda: _Reports(take), self._reports)

    def send(self, command: Mapping[str, object]) -> None:
        """Send one command; nothing happens when the child is gone."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(json.dumps(command).encode() + b"\n")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the child and all that it started, unless it has been reaped."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def stop(self, limit_seconds: float) -> int:
        """Close its standard input, which tells it to end; SIGKILL after the limit. Returns its exit code."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(TimeoutError):
            return await asyncio.wait_for(self.process.wait(), limit_seconds)
        self.kill()
        return await self.process.wait()


class _Reports(asyncio.Protocol):
    """JSON lines of a report pipe. What is not JSON is logged and left out."""

    def __init__(self, take: Callable[[Facts], None]) -> None:
        self.take = take
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[:REPORT_LIMIT_BYTES]
        for line in lines:
            try:
                facts = json.loads(line)
            except ValueError:
                facts = None
            if isinstance(facts, dict):
                self.take(facts)
            else:
                logs.get("supervisor").warning(
                    "a report is not a JSON object", line=line[:200].decode(errors="replace")
                )


class Watcher(Protocol):
    """Who hears of a kept child."""

    def started(self, keeper: "Keeper") -> None: ...
    def reported(self, keeper: "Keeper", facts: Facts) -> None: ...
    def died(self, keeper: "Keeper", death: Death) -> Facts:
        """Returns what the replacement has in its configuration besides. `at_once`: it need not wait for anything."""
        ...


class Starter:
    """Starts children: as copies where that can be, else by themselves. `server`: None where no copies are wanted."""

    def __init__(self, server: Forkserver | None) -> None:
        self._server = server

    async def start(self, spec: ChildSpec, wanted: Callable[[], bool]) -> Child:
        """Raises OSError when it cannot be, and when no copy was made that is not wanted any more."""
        if self._server is not None:
            try:
                return await Child.copy(spec, self._server)
            except OSError as error:
                if not wanted():
                    raise
                reason = os.strerror(error.errno or 0)
                logs.get("supervisor").warning(f"{spec.name} is started without the fork server", reason=reason)
        return await Child.spawn(spec)


class Keeper:
    """Keeps one child alive: starts it, waits for its end, waits as `crashes` says, starts it again."""

    def __init__(
        self,
        spec: ChildSpec,
        watcher: Watcher,
        starter: Starter,
        *,
        clock: Callable[[], float],
        oom: Callable[[], int],
    ) -> None:
        self.spec = spec
        self._starter = starter
        self.child: Child | None = None
        self.restarts = 0
        self._watcher = watcher
        self._clock = clock
        self._oom = oom
        self._stopped = asyncio.Event()

    @property
    def alive(self) -> Child | None:
        """The child, unless it has ended."""
        return self.child if self.child is not None and self.child.process.returncode is None else None

    def has(self, fact: str) -> bool:
        """Whether the running child reported this fact as true."""
        return self.alive is not None and bool(self.alive.facts.get(fact))

    async def run(self) -> None:
        """Start and replace the child until `finish`."""
        streak, extra = 0, Facts()
        while not self._stopped.is_set():
            death = await self._live(extra)
            if self._stopped.is_set():
                return
            streak = streak_after(streak, death)
            self.restarts += 1
            extra = self._watcher.died(self, death)
            at_once = extra.pop("at_once", False)
            wait = 0.0 if at_once else wait_seconds(streak, self.spec.longest_wait_seconds)
            logs.get("supervisor").error(
                f"{self.spec.name} died", **_death_words(death), restart_in_seconds=wait, restarts=self.restarts
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), max(wait, 0.01))

    def finish(self) -> None:
        """Let the child's next end be its last."""
        self._stopped.set()

    async def stop(self, limit_seconds: float) -> None:
        """End the child for good."""
        self.finish()
        if self.child is not None:
            await self.child.stop(limit_seconds)

    async def _live(self, extra: Facts) -> Death:
        began, oom = self._clock(), self._oom()
        try:
            self.child = child = await self._starter.start(self.spec, lambda: not self._stopped.is_set())
            await child.begin(self.spec, lambda facts: self._watcher.reported(self, facts), **extra)
        except OSError as error:  # out of processes, memory or files: as a death at once
            if not self._stopped.is_set():
                reason = os.strerror(error.errno or 0)
                logs.get("supervisor").error(f"{self.spec.name} cannot be started", reason=reason)
            return Death(code=127, lived_seconds=0.0, served=False)
        self._watcher.started(self)
        if self._stopped.is_set():  # told to finish while it was being started
            await child.stop(LATE_LIMIT_SECONDS)
        code = await child.process.wait()
        served = bool(child.facts.get("listening"))
        return Death(code, self._clock() - began, served, out_of_memory=self._oom() > oom)


def environment() -> dict[str, str]:
    """Of all children: as here, with our own code found first, and with `QUIET`."""
    inherited = dict(os.environ)  # noqa: TID251 -- handed on to a child, not read
    if ROOT.name not in ("site-packages", "dist-packages"):
        path = inherited.get("PYTHONPATH")
        inherited["PYTHONPATH"] = f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)
    return {**inherited, **QUIET}


def _death_words(death: Death) -> dict[str, object]:
    if death.signal is None:
        return {"exit_code": death.code, "lived_seconds": round(death.lived_seconds, 3)}
    return {
        "signal": death.signal_name,
        "out_of_memory": death.out_of_memory,
        "lived_seconds": round(death.lived_seconds, 3),
    }
