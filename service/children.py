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
from pathlib import Path
from typing import Any, Protocol

from service import logs
from service.crashes import LONGEST_WAIT_SECONDS, Death, streak_after, wait_seconds

Facts = dict[str, Any]

#: Child code runs from here, whatever the working directory holds (a `json.py` there must not become ours).
ROOT = Path(__file__).resolve().parent.parent
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
    environment: Mapping[str, str] = field(default_factory=dict)
    longest_wait_seconds: float = LONGEST_WAIT_SECONDS

    @property
    def name(self) -> str:
        return f"{self.role}-{self.slot}" if self.role == "worker" else self.role


class Child:
    """One running process. `facts` holds the last report of each name, e.g. {"listening": True}."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: tuple[int, int]) -> None:
        self.process = process
        self.instance = secrets.token_hex(8)
        self.pid = process.pid
        self.facts: Facts = {}
        self._reports, self._report_fd = pipe

    @classmethod
    async def spawn(cls, spec: ChildSpec) -> "Child":
        """Start `python -m module` in a session of its own; it waits for `begin`. Raises OSError when it cannot be."""
        reader, writer = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", spec.module),
                stdin=asyncio.subprocess.PIPE,
                stdout=2,  # standard output is the supervisor's alone
                pass_fds=(*spec.fds, writer),
                start_new_session=True,
                env=_environment(spec.environment),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return cls(process, (reader, writer))

    async def begin(self, spec: ChildSpec, on_report: Callable[[Facts], None], **extra: object) -> None:
        """Tell it what it is, and hear its reports from now on."""
        about = {"role": spec.role, "slot": spec.slot, "instance": self.instance, "report_fd": self._report_fd}
        self.send({**spec.config, **about, **extra})

        def take(facts: Facts) -> None:
            self.facts.update(facts)
            on_report(facts)

        pipe = os.fdopen(self._reports, "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: _Reports(take), pipe)

    async def dismiss(self) -> None:
        """End one that was never told to begin."""
        os.close(self._reports)
        self.kill()
        await self.process.wait()

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


class Spare:
    """One child in waiting, for whichever of its kind dies first. A death in waiting costs only the head start."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self._child: Child | None = None
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Have one made, unless there is one."""
        self._wanted.set()

    def take(self) -> Child | None:
        """The one that waits, who is nobody's else from now on."""
        child, self._child = self._child, None
        return child if child is not None and child.process.returncode is None else None

    async def run(self) -> None:
        """Make them until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                if self._child is None or self._child.process.returncode is not None:
                    await self._make()
        finally:
            if (child := self.take()) is not None:
                await child.dismiss()

    async def _make(self) -> None:
        try:
            self._child = await Child.spawn(self._spec)
        except OSError as error:
            logs.get("supervisor").warning("no spare worker can be started", reason=os.strerror(error.errno or 0))


class Keeper:
    """Keeps one child alive: starts it, waits for its end, waits as `crashes` says, starts it again."""

    spare: Spare | None = None

    def __init__(
        self, spec: ChildSpec, watcher: Watcher, *, clock: Callable[[], float], oom: Callable[[], int]
    ) -> None:
        self.spec = spec
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
            child = self.spare.take() if self.spare is not None else None
            self.child = child or await Child.spawn(self.spec)
            await self.child.begin(self.spec, lambda facts: self._watcher.reported(self, facts), **extra)
        except OSError as error:  # out of processes, memory or files: as a death at once
            logs.get("supervisor").error(f"{self.spec.name} cannot be started", reason=os.strerror(error.errno or 0))
            return Death(code=127, lived_seconds=0.0, served=False)
        self._watcher.started(self)
        if self._stopped.is_set():  # told to finish while it was being started
            await self.child.stop(LATE_LIMIT_SECONDS)
        code = await self.child.process.wait()
        served = bool(self.child.facts.get("listening"))
        return Death(code, self._clock() - began, served, out_of_memory=self._oom() > oom)


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    inherited = dict(os.environ)  # noqa: TID251 -- handed on to a child, not read
    if ROOT.name not in ("site-packages", "dist-packages"):
        path = inherited.get("PYTHONPATH")
        inherited["PYTHONPATH"] = f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)
    return {**inherited, **changes}


def _death_words(death: Death) -> dict[str, object]:
    if death.signal is None:
        return {"exit_code": death.code, "lived_seconds": round(death.lived_seconds, 3)}
    return {
        "signal": death.signal_name,
        "out_of_memory": death.out_of_memory,
        "lived_seconds": round(death.lived_seconds, 3),
    }
