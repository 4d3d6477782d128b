"""More requests than a server can answer: an open loop in phases, over as many connections as it takes.

Independent callers do not share a pool: whoever finds no idle connection opens one, up to `connections`, and the one
that was idle longest is taken, so that all stay in use as theirs would; with `fresh` every request brings its own.
What was refused is measured beside what was answered. All times count from the moment at which a request was due.
`python -m loadtests.flood` is this as a process of its own.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle
from time import perf_counter

import numpy as np

from loadtests.client import Connection, Reply, run
from loadtests.load import LoadFailed
from loadtests.measured import percentile
from loadtests.processes import environment
from service.priority import come_first

SEED = 13
REST_SECONDS = 0.001
LAST_SECONDS = 8.0
OPENING_AT_A_TIME = 512
LOST, UNSENT = 0, -1
"""Statuses of what got no whole answer, and of what found no connection."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`phases`: (requests a second, seconds) one after the other."""

    host: str
    port: int
    phases: tuple[tuple[float, float], ...]
    connections: int = 4096
    fresh: bool = False
    requests: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Share:
    """The requests of a phase that ended alike. `bare`: refusals without Retry-After."""

    count: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    bare: int = 0


@dataclass(frozen=True, slots=True)
class Phase:
    """What became of the requests that were due in a phase. `by_status`: 0 is a lost connection, -1 was never sent.

    `done`: answers with 200 that came while it lasted, a second. `p99_by_second`: in ms, of answers with 200, by when
    they were due; `late_ms`: how late the generator itself was, at the 99th percentile.
    """

    rate: float
    seconds: float
    sent: int
    done: float
    by_status: dict[int, Share]
    p99_by_second: tuple[float, ...]
    late_ms: float

    @property
    def ok(self) -> Share:
        return self.by_status.get(200, Share(0, 0.0, 0.0, 0.0))

    @property
    def refused(self) -> list[Share]:
        return [self.by_status[status] for status in (429, 503) if status in self.by_status]


@dataclass(slots=True)
class Asked:
    """One request: when it was due, sent and done (seconds from the start), how it ended, whether it says when to come
    again."""

    due: float
    sent: float = 0.0
    done: float = 0.0
    status: int = UNSENT
    hinted: bool = False


class Flood:
    """One `Plan` on one event loop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._due = [Asked(moment) for moment in moments(plan.phases)]
        self._request = cycle(plan.requests).__next__
        self._next = self._open = self._left = 0
        self._idle: deque[Connection] = deque()
        self._waiting: deque[Asked] = deque()
        self._opening = asyncio.Semaphore(OPENING_AT_A_TIME)
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = 0.0
        self._done = asyncio.Event()

    async def run(self) -> list[Phase]:
        self._left, self._begun = len(self._due), perf_counter()
        self._turn()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), sum(seconds for _, seconds in self._plan.phases) + LAST_SECONDS)
        for task in tuple(self._tasks):
            task.cancel()
        for connection in self._idle:
            connection.close()
        return list(self._phases())

    def _turn(self) -> None:
        now = perf_counter() - self._begun
        while self._next < len(self._due) and self._due[self._next].due <= now:
            self._begin(self._due[self._next])
            self._next += 1
        if self._next < len(self._due):
            wait = max(REST_SECONDS, self._due[self._next].due - now)
            asyncio.get_running_loop().call_later(wait, self._turn)

    def _begin(self, asked: Asked) -> None:
        if self._idle and not self._plan.fresh:
            self._send(asked, self._idle.popleft())
        elif self._open < self._plan.connections:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._waiting.append(asked)

    async def _connect(self, asked: Asked) -> None:
        try:
            async with self._opening, asyncio.timeout(LAST_SECONDS):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(Connection, self._plan.host, self._plan.port)
        except OSError:
            self._open -= 1
            self._end(asked, LOST)
            return
        self._send(asked, connection)

    def _send(self, asked: Asked, connection: Connection) -> None:
        asked.sent = perf_counter() - self._begun
        connection.send(self._request(), partial(self._answered, asked, connection))

    def _answered(self, asked: Asked, connection: Connection, reply: Reply) -> None:
        asked.hinted = reply.status in (429, 503) and reply.header("retry-after") is not None
        gone = self._plan.fresh or not reply.status or reply.header("connection") == "close"
        self._end(asked, reply.status)
        if gone:
            connection.close()
            self._open -= 1
        if self._waiting:
            self._begin(self._waiting.popleft()) if gone else self._send(self._waiting.popleft(), connection)
        elif not gone:
            self._idle.append(connection)

    def _end(self, asked: Asked, status: int) -> None:
        asked.done, asked.status = perf_counter() - self._begun, status
        self._left -= 1
        if not self._left:
            self._done.set()

    def _phases(self) -> Iterator[Phase]:
        begin = 0.0
        for rate, seconds in self._plan.phases:
            end = begin + seconds
            yield phase_of(rate, (begin, end), [asked for asked in self._due if begin <= asked.due < end], self._due)
            begin = end


def moments(phases: Sequence[tuple[float, float]], seed: int = SEED) -> list[float]:
    """When each request is due: a Poisson process in each phase."""
    rng, begin, found = np.random.default_rng(seed), 0.0, list[float]()
    for rate, seconds in phases:
        due = begin + np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.2) + 100))
        begin += seconds
        found.extend(due[due < begin].tolist())
    return found


def phase_of(rate: float, span: tuple[float, float], mine: Sequence[Asked], everyone: Sequence[Asked]) -> Phase:
    """Of the requests due in a phase; `done` counts all that were answered in it."""
    begin, end = span
    done = sum(asked.status == 200 and begin <= asked.done < end for asked in everyone)
    statuses = sorted({asked.status for asked in mine})
    seconds: dict[int, list[float]] = {number: [] for number in range(round(end - begin))}
    for asked in mine:
        if asked.status == 200:
            seconds.setdefault(int(asked.due - begin), []).append(asked.done - asked.due)
    late = sorted(asked.sent - asked.due for asked in mine if asked.sent)
    return Phase(
        rate,
        end - begin,
        len(mine),
        done / (end - begin),
        {status: _share([asked for asked in mine if asked.status == status]) for status in statuses},
        tuple(round(percentile(sorted(part), 0.99) * 1000, 3) for part in seconds.values()),
        percentile(late, 0.99) * 1000,
    )


def _share(alike: Sequence[Asked]) -> Share:
    times = sorted(asked.done - asked.due for asked in alike)
    bare = sum(not asked.hinted for asked in alike)
    p50, p99, most = (percentile(times, share) * 1000 for share in (0.5, 0.99, 1.0))
    return Share(len(times), p50, p99, most, bare)


def flood(plan: Plan) -> list[Phase]:
    """What became of a plan, sent by a process of its own. Raises LoadFailed."""
    told = {name: value for name, value in asdict(plan).items() if name != "requests"}
    line = json.dumps({**told, "sizes": [len(request) for request in plan.requests]}).encode() + b"\n"
    limit = sum(seconds for _, seconds in plan.phases) + 4 * LAST_SECONDS
    command = [sys.executable, "-m", "loadtests.flood"]
    try:
        done = subprocess.run(
            command,
            input=line + b"".join(plan.requests),
            capture_output=True,
            timeout=limit,
            env=environment(os.environ),
            start_new_session=True,  # where the kernel shares a core by sessions, whatever else we do is not its load
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailed("the flood did not end") from error
    if done.returncode:
        raise LoadFailed(f"the flood: {done.stderr.decode(errors='replace')[-500:]}")
    return [
        Phase(**{**one, "by_status": {int(status): Share(**share) for status, share in one["by_status"].items()}})
        for one in json.loads(done.stdout)
    ]


async def _flood(plan: Plan) -> list[Phase]:
    return await Flood(plan).run()


def main() -> None:
    """Read a `Plan` as one JSON line, then the requests (their sizes are in the line), from standard input."""
    told = json.loads(sys.stdin.buffer.readline())
    requests = tuple(sys.stdin.buffer.read(size) for size in told.pop("sizes"))
    phases = tuple((rate, seconds) for rate, seconds in told.pop("phases"))
    gc.freeze()
    gc.disable()
    come_first()  # what it is late by itself is no answer's time; real callers have a machine of their own
    print(json.dumps([asdict(phase) for phase in run(_flood(Plan(**told, phases=phases, requests=requests)))]))


if __name__ == "__main__":
    main()
