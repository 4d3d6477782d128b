"""The threads of one worker that run models, the slots in which they note what they run, and who must run alone."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from router.errors import Unavailable
from service.priority import lower_priority
from service.runtime.gates import Gate
from service.runtime.runqueue import RunQueue
from service.runtime.watchdog import Watchdog

Result = TypeVar("Result")

LOOP_SLOT = 0
"""Crash slot of the event loop. Pool threads have the slots from 1, then the thread that runs mirrored requests, then
those that load models."""

LOAD_THREADS = 2
LOAD_SLOT = 62
SHADOW_SLOT = LOAD_SLOT - 1
MOST_THREADS = SHADOW_SLOT - 1

NICE = 5
"""Of the threads, below the event loop: a slow model must not keep the quick ones from a core that they share."""


class CrashSlot(Protocol):
    """Where one thread notes what it is about to run, for whoever finds the process dead."""

    def enter(self, token: int, body_hash: int) -> None: ...
    def leave(self) -> None: ...
    def enter_alone(self, token: int, body_hash: int) -> None: ...
    def enter_together(self, token: int, body_hashes: Sequence[int]) -> None: ...
    def leave_last(self) -> None: ...


class CrashMarks(Protocol):
    """All slots of a worker; `router.counters.Segment` is one."""

    def slot(self, number: int) -> CrashSlot: ...
    def version_token(self, model: str, version: int, digest: str) -> int: ...


class NoSlot:
    """For programs whose death nobody asks about (tests, notebooks)."""

    def enter(self, token: int, body_hash: int) -> None: ...
    def leave(self) -> None: ...
    def enter_alone(self, token: int, body_hash: int) -> None: ...
    def enter_together(self, token: int, body_hashes: Sequence[int]) -> None: ...
    def leave_last(self) -> None: ...


class NoMarks:
    """See NoSlot."""

    def slot(self, number: int) -> CrashSlot:
        return NoSlot()

    def version_token(self, model: str, version: int, digest: str) -> int:
        return 0


def nobody_knows() -> bool:
    """Whether there is one client only: not known."""
    return False


class Pool:
    """Made on the event loop that uses it; `close` when nothing runs any more.

    At most MOST_THREADS threads, since each needs a slot. `gate` lets through as many runs as there are threads, so
    that what waits does so where its deadline can end it. `alone` is passed by suspects besides: versions that may have
    killed a worker run one at a time (rulings 4). `is_lone` may be set to say that nobody else can send a request now,
    so that there is nothing to wait for.
    """

    def __init__(self, threads: int, marks: CrashMarks, *, first_slot: int = LOOP_SLOT + 1) -> None:
        self.threads = threads
        self.marks = marks
        self.loop_slot = marks.slot(LOOP_SLOT)
        self.watchdog = Watchdog()
        self.is_lone: Callable[[], bool] = nobody_knows
        self.gate = Gate(threads)
        self.alone = Gate(1)
        self._run_queues = [self.watchdog.run_queue]
        self._own = threading.local()
        self._slots = deque(marks.slot(first_slot + number) for number in range(threads))
        self._work: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._busy = self._begun = 0
        self._closed = False

    def submit(self, work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Run in a thread. Call it only after passing `gate`. Raises Unavailable when it is closed.

        Not by the pool of `concurrent.futures`, whose way there and back is long: after a run that had the caches for
        itself, each step of it waits for memory.
        """
        if self._closed:
            raise Unavailable("this worker runs nothing more")
        if self._busy >= self._begun < self.threads:
            threading.Thread(target=self._serve, name=f"model_{self._begun}", daemon=True).start()
            self._begun += 1
        self._busy += 1
        future = asyncio.get_running_loop().create_future()
        self._work.put((work, future))
        return future

    @property
    def thread_slot(self) -> CrashSlot:
        """The slot of the pool thread that asks."""
        slot: CrashSlot = self._own.slot
        return slot

    def computed_and_waited(self) -> tuple[int, int]:
        """Nanoseconds that the event loop has computed, and that it and the threads have waited for a processor."""
        totals = [run_queue.totals() for run_queue in self._run_queues]
        return totals[0][0], sum([waited for _, waited in totals])

    def close(self) -> None:
        """Take no more work. A thread that is still running ends by itself; nobody waits for it."""
        self.watchdog.close()
        self._closed = True
        with suppress(Empty):
            while (left := self._work.get_nowait()) is not None:
                left[1].cancel()
        for _ in range(self._begun):
            self._work.put(None)

    def _settle(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        """On the loop: a thread has done its work."""
        self._busy -= 1
        if future.done():
            return  # nobody waits any more
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    # ---- in the threads ----

    def _serve(self) -> None:
        self._own.slot = self._slots.popleft()
        self._run_queues.append(RunQueue())
        lower_priority(NICE)
        while (taken := self._work.get()) is not None:
            if not _do(*taken, self._settle):
                return
            del taken  # what has been run is not kept until there is something else to run


def _do(work: Callable[[], Any], future: "asyncio.Future[Any]", settle: Callable[..., None]) -> bool:
    """False when the loop has been closed, and nobody can be told any more."""
    result, error = None, None
    if not future.cancelled():
        try:
            result = work()
        except BaseException as raised:
            error = raised
    try:
        future.get_loop().call_soon_threadsafe(settle, future, result, error)
    except RuntimeError:
        return False
    return True
