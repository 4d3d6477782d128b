"""How one version runs: on the event loop when that is quick, else in a thread behind a queue and a deadline."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Literal, Protocol

from router.errors import Cancelled, DeadlineExceeded, ResourceExhausted
from service.protocol.tensors import Array
from service.runtime.pool import Pool
from service.runtime.profile import INLINE_NS, Profile
from service.runtime.watchdog import Switch

SLOW_INLINE_NS = 5_000_000
"""A run on the loop that took longer than this moves the version to threads (rulings 22)."""

PROOF_RUNS = 64
"""So many runs in threads with a quick mean bring such a version back to the loop; twice as many each time."""

LEAST_RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0

Feeds = Mapping[str, Array]
Names = Sequence[str] | None
Ran = tuple[list[Array], int, int]
"""Outputs, nanoseconds waited for a turn, nanoseconds computed."""


class Interrupted(Cancelled):
    """A run on the loop was ended because it took too long there; in a thread it may take its time."""


class Runnable(Protocol):
    """A session, or what stands before it (service/faults.py). `run` blocks its thread."""

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list[Array]: ...
    def switch(self) -> Switch: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one version in one worker: runs at a time, and requests that may wait for their turn."""

    max_concurrency: int = 2
    max_queue: int = 256


@dataclass(frozen=True, slots=True)
class _Work:
    model: Runnable
    feeds: Feeds
    names: Names


class Executor:
    """Runs one version. All methods are for the event loop's thread.

    `inlines(feeds)` says which of the two ways a request goes: `run_inline` (at once, blocking) or `await run`.
    `token` names the version in crash slots; `runnable` is for threads beside the pool's. `in_flight` and `queued`
    count requests in threads; `on_queue` hears of every change of `queued`.
    """

    def __init__(self, model: Runnable, pool: Pool, limits: Limits, profile: Profile, token: int = 0) -> None:
        self.token = token
        self.limits = limits
        self.inline_elements = profile.inline_elements
        self._inline_at_best = profile.inline_elements
        self._proof_runs = PROOF_RUNS
        self._runs_in_threads = 0
        self.in_flight = 0
        self.queued = 0
        self.on_queue: Callable[[int], None] = _nobody_asks
        self.mean_ns = float(profile.run_ns)
        self.runnable = model
        self._run = model.run
        self._pool = pool
        self._slot = pool.loop_slot
        self._watchdog = pool.watchdog
        self._switch = model.switch()
        self._gate = asyncio.Semaphore(limits.max_concurrency)
        self._suspect = False

    @property
    def inline(self) -> bool:
        """Whether small requests run on the loop."""
        return self.inline_elements >= 0 and not self._suspect

    def suspect(self, alone: bool) -> None:
        """Run never beside another suspect, thus in threads (rulings 4); or as before."""
        self._suspect = alone

    def inlines(self, feeds: Feeds) -> bool:
        """Whether these inputs are quick enough for the loop."""
        limit = self.inline_elements
        if limit < 0 or self._suspect:
            return False
        size = 0
        for array in feeds.values():
            size += array.size
        return size <= limit

    def run_inline(self, feeds: Feeds, names: Names = None, body_hash: int = 0) -> Ran:
        """Run here and now. Raises Interrupted when it held up the loop for too long, and what the session raises."""
        slot, switch = self._slot, self._switch
        slot.enter(self.token, body_hash)
        begun = perf_counter_ns()
        self._watchdog.enter(switch, begun)
        try:
            outputs = self._run(feeds, names, switch)
        except Cancelled as error:
            self._switch = self.runnable.switch()
            raise Interrupted("the run held up the event loop") from error
        finally:
            self._watchdog.leave()
            slot.leave()
            cost = perf_counter_ns() - begun
            if cost > SLOW_INLINE_NS:
                self._leave_loop()
        return outputs, 0, cost

    async def run(self, feeds: Feeds, names: Names, deadline_ns: int, body_hash: int = 0) -> Ran:
        """Wait for a turn and run in a thread. `deadline_ns` is a time of `perf_counter_ns`.

        Raises ResourceExhausted when the queue is full, DeadlineExceeded when the time is over (the thread is told to
        stop, and its turn stays taken until it has), and what the session raises. May be cancelled at any time.
        """
        arrived = perf_counter_ns()
        if deadline_ns <= arrived:
            raise DeadlineExceeded("the deadline was over before the request could run")
        turn = await self._take_turn(deadline_ns)
        try:
            job = _Job(_Work(self.runnable, feeds, names), self._pool, (self.token, body_hash))
            future = self._pool.submit(job)
        except BaseException:
            turn.give_back()
            raise
        self.in_flight += 1
        future.add_done_callback(lambda done: self._ended(done, turn))
        outputs, begun, ended = await self._result(future, job, deadline_ns)
        return outputs, begun - arrived, ended - begun

    async def _take_turn(self, deadline_ns: int) -> "_Turn":
        gates = (self._gate, self._pool.alone, self._pool.gate) if self._suspect else (self._gate, self._pool.gate)
        turn = _Turn()
        if not any(gate.locked() for gate in gates):
            for gate in gates:  # none of these waits
                await turn.take(gate, deadline_ns)
            return turn
        if self.queued >= self.limits.max_queue:
            raise ResourceExhausted(
                f"{self.queued} requests already wait for this version", retry_after_seconds=self._retry_after()
            )
        self._queue(1)
        try:
            for gate in gates:
                await turn.take(gate, deadline_ns)
        except BaseException:
            turn.give_back()
            raise
        finally:
            self._queue(-1)
        return turn

    async def _result(self, future: "asyncio.Future[_Timed]", job: "_Job", deadline_ns: int) -> "_Timed":
        try:
            # Not wait_for: it would cancel the future and, worse, wait for it.
            await asyncio.wait((future,), timeout=_seconds_until(deadline_ns))
        finally:
            if not future.done():
                job.abandon()
        if not future.done():
            raise DeadlineExceeded("the model did not answer before the deadline")
        return future.result()

    def _ended(self, future: "asyncio.Future[_Timed]", turn: "_Turn") -> None:
        self.in_flight -= 1
        turn.give_back()
        if not future.cancelled() and future.exception() is None:
            _, begun, ended = future.result()
            self.mean_ns += 0.1 * (ended - begun - self.mean_ns)
            self._runs_in_threads += 1
            if self.inline_elements < self._inline_at_best and self._runs_in_threads >= self._proof_runs:
                self._return_to_loop()

    def _queue(self, change: int) -> None:
        self.queued += change
        self.on_queue(self.queued)

    def _leave_loop(self) -> None:
        self.inline_elements = -1
        self._runs_in_threads = 0

    def _return_to_loop(self) -> None:
        """A run that was slow because the machine was, and not the model, must not cost the version its quick way for
        good; each return needs twice as many quick runs, so that a version that is slow now and then stays away."""
        if self.mean_ns >= INLINE_NS:
            self._runs_in_threads = 0
            return
        self.inline_elements = self._inline_at_best
        self._proof_runs *= 2

    def _retry_after(self) -> float:
        seconds = (self.queued + 1) * self.mean_ns / 1e9 / self.limits.max_concurrency
        return min(MOST_RETRY_SECONDS, max(LEAST_RETRY_SECONDS, seconds))


_Timed = tuple[list[Array], int, int]


class _Turn:
    """What a request holds while it runs, given back exactly once."""

    def __init__(self) -> None:
        self._held: list[asyncio.Semaphore] = []
        self._over = False

    async def take(self, gate: asyncio.Semaphore, deadline_ns: int) -> None:
        """Pass `gate`. Raises DeadlineExceeded. Not by asyncio.timeout: the fast lane comes here outside any task."""
        if not gate.locked():
            await gate.acquire()
            self._held.append(gate)
            return
        passing = asyncio.ensure_future(gate.acquire())
        passing.add_done_callback(lambda done: self._passed(gate, done))
        try:
            await asyncio.wait((passing,), timeout=_seconds_until(deadline_ns))
        finally:
            passing.cancel()  # nothing happens when it is done
        if gate not in self._held:
            self._over = True
            raise DeadlineExceeded("the deadline was over while the request waited for its turn")

    def _passed(self, gate: asyncio.Semaphore, done: "asyncio.Task[Literal[True]]") -> None:
        if done.cancelled():
            return
        if self._over:
            gate.release()
        else:
            self._held.append(gate)

    def give_back(self) -> None:
        self._over = True
        while self._held:
            self._held.pop().release()


class _Job:
    """One run in a thread of the pool."""

    def __init__(self, work: _Work, pool: Pool, mark: tuple[int, int]) -> None:
        self._work = work
        self._pool = pool
        self._mark = mark
        self._switch = work.model.switch()
        self._abandoned = False

    def abandon(self) -> None:
        """Nobody waits any more: do not begin, or stop at the next operator."""
        self._abandoned = True
        self._switch.stop()

    def __call__(self) -> _Timed:
        if self._abandoned:
            raise Cancelled("nobody waited for the run any more")
        slot = self._pool.thread_slot
        slot.enter(*self._mark)
        begun = perf_counter_ns()
        try:
            outputs = self._work.model.run(self._work.feeds, self._work.names, self._switch)
        finally:
            slot.leave()
        return outputs, begun, perf_counter_ns()


def _nobody_asks(queued: int) -> None:
    return


def _seconds_until(deadline_ns: int) -> float:
    return max(0.0, (deadline_ns - perf_counter_ns()) / 1e9)
