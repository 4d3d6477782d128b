"""Open-loop load: requests go out when they are due, whatever has been answered, as independent callers send them.

A closed loop sends nothing while it waits, so a server that stops for a second is charged with one slow answer a
connection, and not with all that would have come in that second ("coordinated omission"). Here the latency of a request
for which no connection was free counts from the moment at which it was due. That of others counts from when they were
sent, since nobody but the generator is to blame if that was later.

`python -m loadtests.arrivals` is this as a process of its own, on a core of its own.
"""

import asyncio
import gc
import json
import sys
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle
from time import perf_counter

import numpy as np

from loadtests.client import LAST_ANSWERS_SECONDS, WARMUP_SECONDS, Connection, Reply, connect, run
from loadtests.measured import Measured, summary
from service.priority import come_first

SEED = 11
MAX_REQUESTS = 5_000_000
REST_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Plan:
    """So many requests a second on the average, at random moments (a Poisson process), over at most `connections`.

    `spin`: wait for the next moment by computing, which needs a core of its own; else the timer's millisecond is the
    precision. `window_seconds`: how the time is cut for those who look for a drift.
    """

    host: str
    port: int
    connections: int
    seconds: float
    rate: float
    spin: bool = True
    window_seconds: float = 60.0
    warmup_seconds: float = WARMUP_SECONDS
    requests: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Arrived:
    """`whole` and the same by windows. `late_ms`: how late, at the 99th percentile, a request was sent for which a
    connection was free; that is the generator's own fault. `sent` and `answered` count all of them, warm-up included.
    """

    whole: Measured
    windows: tuple[Measured, ...]
    late_ms: float
    sent: int
    answered: int


def moments(plan: Plan, seed: int = SEED) -> Sequence[float]:
    """When each request is due, in seconds from the start; the warm-up comes first."""
    until = plan.warmup_seconds + plan.seconds
    count = min(MAX_REQUESTS, int(until * plan.rate * 1.2) + 100)
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / plan.rate, count))
    return [float(moment) for moment in due[due < until]]


class Arrivals:
    """One `Plan` on one event loop, in callbacks."""

    def __init__(self, plan: Plan, due: Sequence[float]) -> None:
        self._plan = plan
        self._due = due
        self._next = 0
        self._begun = 0.0
        self._request = cycle(plan.requests).__next__
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._left = len(due)
        self._late = array("d")
        self.answered: list[tuple[float, float]] = []
        self.errors: dict[str, int] = {}
        self.done = asyncio.Event()

    async def run(self) -> Arrived:
        plan = self._plan
        opened = [await connect(plan.host, plan.port) for _ in range(plan.connections)]
        self._free.extend(opened)
        self._begun = perf_counter()
        self._turn()
        limit = plan.warmup_seconds + plan.seconds + LAST_ANSWERS_SECONDS
        try:
            await asyncio.wait_for(self.done.wait(), limit)
        except TimeoutError:
            self._count("no answer", self._left)
        for connection in opened:
            connection.close()
        return self.arrived()

    def arrived(self) -> Arrived:
        """What it came to so far."""
        plan = self._plan
        counted = [(due, late) for due, late in self.answered if due >= plan.warmup_seconds]
        windows = max(1, round(plan.seconds / plan.window_seconds))
        length = plan.seconds / windows
        parts: list[list[float]] = [[] for _ in range(windows)]
        for due, latency in counted:
            parts[min(windows - 1, int((due - plan.warmup_seconds) / length))].append(latency)
        whole = summary([latency for _, latency in counted], plan.seconds, self.errors)
        late = sorted(self._late)
        return Arrived(
            whole,
            tuple(summary(part, length, {}) for part in parts),
            late[int(0.99 * len(late))] * 1000 if late else 0.0,
            self._next - len(self._waiting),
            len(self.answered) + sum(n for error, n in self.errors.items() if error.startswith("status")),
        )

    def _turn(self) -> None:
        now = perf_counter() - self._begun
        due, number = self._due, self._next
        while number < len(due) and due[number] <= now:
            if self._free:
                self._late.append(now - due[number])
                self._send(self._free.popleft(), due[number], perf_counter() - self._begun)
            else:
                self._waiting.append(due[number])
            number += 1
        self._next = number
        if number < len(due):
            loop = asyncio.get_running_loop()
            if self._plan.spin:
                loop.call_soon(self._turn)
            else:
                loop.call_later(max(REST_SECONDS, due[number] - now), self._turn)
        elif not due:
            self.done.set()

    def _send(self, connection: Connection, due: float, since: float) -> None:
        connection.send(self._request(), partial(self._answered, connection, due, since))

    def _answered(self, connection: Connection, due: float, since: float, reply: Reply) -> None:
        if reply.status == 200:
            self.answered.append((due, perf_counter() - self._begun - since))
        else:
            self._count(f"status {reply.status}" if reply.status else "connection lost", 1)
        self._left -= 1
        if self._left <= 0:
            self.done.set()
        elif reply.status == 0:
            self._replace()
        else:
            self._take_up(connection)

    def _take_up(self, connection: Connection) -> None:
        if self._waiting:
            due = self._waiting.popleft()
            self._send(connection, due, due)
        else:
            self._free.append(connection)

    def _count(self, error: str, times: int) -> None:
        self.errors[error] = self.errors.get(error, 0) + times

    def _replace(self) -> None:
        task = asyncio.ensure_future(self._reopen())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reopen(self) -> None:
        try:
            self._take_up(await connect(self._plan.host, self._plan.port))
        except OSError:
            return  # one connection less; what waits too long is counted as not answered


async def _arrive(plan: Plan) -> Arrived:
    return await Arrivals(plan, moments(plan)).run()


def main() -> None:
    """Read a `Plan` as one JSON line, then the requests (their sizes are in the line), from standard input."""
    told = json.loads(sys.stdin.buffer.readline())
    requests = tuple(sys.stdin.buffer.read(size) for size in told.pop("sizes"))
    gc.freeze()
    gc.disable()  # a collection of millions of latencies would be counted as the server's
    come_first()  # so would the time that other load on this core has it
    print(json.dumps(asdict(run(_arrive(Plan(**told, requests=requests))))))


if __name__ == "__main__":
    main()
