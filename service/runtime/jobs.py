"""A run in a thread of the pool, and the turn that it needs: what is held while it runs, given back exactly once."""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter_ns, thread_time_ns
from typing import Any, Generic, TypeVar

from router.errors import Cancelled, NotBegun
from service.runtime.gates import DEFAULT_PRIORITY, Gate
from service.runtime.pool import Pool
from service.runtime.seats import Feeds, Resumable
from service.runtime.watchdog import Switch

Result = TypeVar("Result")
Timed = tuple[Result, int, int]
"""What came out, and when the run began and ended."""


class Recalled(Cancelled):
    """A request that had not begun to run was taken back: another version is to answer it."""


class Turn:
    """What a request holds while it runs, given back exactly once."""

    def __init__(self) -> None:
        self._held: list[Gate] = []
        self._over = self._recalled = False
        self._passing: asyncio.Task[bool] | None = None

    async def take(self, gate: Gate, deadline_ns: int, priority: int = DEFAULT_PRIORITY) -> None:
        """Pass `gate`. Raises DeadlineExceeded, and after `recall` Recalled. Not by asyncio.timeout: the fast lane is
        here outside any task."""
        if not gate.locked():
            await gate.acquire()
            self._held.append(gate)
            return
        passing = self._passing = asyncio.ensure_future(gate.acquire(priority))
        passing.add_done_callback(lambda done: self._passed(gate, done))
        try:
            await asyncio.wait((passing,), timeout=seconds_until(deadline_ns))
        finally:
            passing.cancel()  # nothing happens when it is done
        if self._recalled:
            self._over = True
            raise Recalled("the version was taken out of the route")
        if gate not in self._held:
            self._over = True
            raise NotBegun("the deadline was over while the request waited for its turn")

    def recall(self) -> None:
        """Wait no more."""
        self._recalled = True
        if self._passing is not None:
            self._passing.cancel()

    def _passed(self, gate: Gate, done: "asyncio.Task[bool]") -> None:
        if done.cancelled():
            return
        if self._over:
            gate.release()
        else:
            self._held.append(gate)

    def leave(self, gate: Gate) -> bool:
        """Give back one place of those that are held. False when it is not held."""
        if gate not in self._held:
            return False
        self._held.remove(gate)
        gate.release()
        return True

    def give_back(self) -> None:
        self._over = True
        while self._held:
            self._held.pop().release()


class Job(Generic[Result]):
    """One run in a thread of the pool; `work` is called there with the job, so that it need not hold it and its inputs
    in a circle, and with the switch that `abandon` throws. `cpu_ns`: what it took of the thread's own time, which knows
    nothing of what else the machine did. `runs`: what was run in it, how long each took and when it began; the loop
    counts them when the job has ended. `bodies`: of those that run together; `alone`: it is the trial of a suspect.
    `abandoned_after_ns`: how long it had run when it was given up; 0: it was not, or had not begun."""

    def __init__(self, work: "Callable[[Job[Result], Switch], Result]", switch: Switch) -> None:
        self._work = work
        self._switch = switch
        self._abandoned = False
        self.pool: Pool
        self.token = 0
        self.body_hash = 0
        self.bodies: Sequence[int] = ()
        self.alone = False
        self.cpu_ns = 0
        self.abandoned_after_ns = 0
        self._begun_ns = 0
        self.runs: list[tuple[Feeds, int, int]] = []

    def abandon(self) -> None:
        """Nobody waits any more: do not begin, or stop at the next operator."""
        self._abandoned = True
        if self._begun_ns:
            self.abandoned_after_ns = perf_counter_ns() - self._begun_ns
        self._switch.stop()

    def __call__(self) -> Timed[Result]:
        if self._abandoned:
            raise Cancelled("nobody waited for the run any more")
        slot = self.pool.thread_slot
        plain = not self.alone and len(self.bodies) <= 1
        if plain:
            slot.enter(self.token, self.body_hash)
        elif self.alone:
            slot.enter_alone(self.token, self.body_hash)
        else:
            slot.enter_together(self.token, self.bodies)
        begun, cpu = perf_counter_ns(), thread_time_ns()
        self._begun_ns = begun
        try:
            result = self._work(self, self._switch)
        finally:
            slot.leave() if plain else slot.leave_last()
        self.cpu_ns = thread_time_ns() - cpu
        return result, begun, perf_counter_ns()


async def done_within(future: "asyncio.Future[Any]", seconds: float | None = None) -> None:
    """Wait until it is done, or for so long, and leave it alone in any case. As asyncio.wait, in a fraction of the
    steps and without a task: see Resumable."""
    if future.done():
        return
    loop = future.get_loop()
    ending: Resumable[None] = Resumable(loop=loop)

    def end(_: object = None) -> None:
        if not ending.done():
            ending.set_result(None)
            ending.wake()

    future.add_done_callback(end)
    expiry = None if seconds is None else loop.call_later(seconds, end)
    try:
        await ending
    finally:
        if expiry is not None:
            expiry.cancel()
        if not future.done():
            future.remove_done_callback(end)


def seconds_until(deadline_ns: int) -> float:
    """From now to a time of `perf_counter_ns`; 0 when that is past."""
    return max(0.0, (deadline_ns - perf_counter_ns()) / 1e9)
