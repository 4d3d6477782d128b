"""The threads of one worker that run models, the slots in which they note what they run, and who must run alone."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from router.errors import Unavailable
from service.priority import NICE, lower_priority
from service.runtime.gates import Gate
from service.runtime.runqueue import RunQueue
from service.runtime.watchdog import Watchdog

Result = TypeVar("Result")
Work = tuple[Callable[[], Any], "asyncio.Future[Any]"]
Inbox = SimpleQueue[Work | None]
"""Of one thread."""

LOOP_SLOT = 0
"""Crash slot of the event loop. Pool threads have the slots from 1, then the thread that runs mirrored requests, then
those that load models."""

LOAD_THREADS = 2
LOAD_NICE = 5
"""Of the threads that load: not as low as those that run, since a worker that starts on a full machine is missed."""

LOAD_SLOT = 62
SHADOW_SLOT = LOAD_SLOT - 1
MOST_THREADS = SHADOW_SLOT - 1


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

    def __init__(self, threads: int, marks: CrashMarks, *, first_slot: int = LOOP_SLOT + 1, nice: int = NICE) -> None:
        self.threads = threads
        self._nice = nice
        self.marks = marks
        self.loop_slot = marks.slot(LOOP_SLOT)
        self.watchdog = Watchdog()
        self.is_lone: Callable[[], bool] = nobody_knows
        self.gate = Gate(threads)
        self.alone = Gate(1)
        self._run_queues = [self.watchdog.run_queue]
        self._own = threading.local()
        self._slots = deque(marks.slot(first_slot + number) for number in range(threads))
        self._threads: list[Inbox] = []
        self._idle: list[Inbox] = []
        self._backlog = deque[Work]()
        self._closed = False

    def submit(self, work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Run in the thread that was busy last: it has the caches, and may still be on its way back, where another one
        would only run beside it. Call it only after passing `gate`; what comes all the same is run when a thread is
        free. Raises Unavailable when it is closed.

        Not by the pool of `concurrent.futures`, whose way there and back is long: after a run that had the caches for
        itself, each step of it waits for memory.
        """
        if self._closed:
            raise Unavailable("this worker runs nothing more")
        future = asyncio.get_running_loop().create_future()
        if self._idle:
            self._idle.pop().put((work, future))
        elif len(self._threads) < self.threads:
            inbox: Inbox = SimpleQueue()
            inbox.put((work, future))
            self._threads.append(inbox)
            name = f"model_{len(self._threads) - 1}"
            threading.Thread(target=self._serve, args=(inbox,), name=name, daemon=True).start()
        else:
            self._backlog.append((work, future))
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
        while self._backlog:
            self._backlog.popleft()[1].cancel()
        for inbox in self._threads:
            with suppress(Empty):
                while (left := inbox.get_nowait()) is not None:
                    left[1].cancel()
            inbox.put(None)

    def _settle(self, inbox: Inbox, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        """On the loop: a thread has done its work."""
        if self._backlog:
            inbox.put(self._backlog.popleft())
        else:
            self._idle.append(inbox)
        if future.done():
            return  # nobody waits any more
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    # ---- in the threads ----

    def _serve(self, inbox: Inbox) -> None:
        self._own.slot = self._slots.popleft()
        self._run_queues.append(RunQueue())
        lower_priority(self._nice)
        settle = partial(self._settle, inbox)
        while (taken := inbox.get()) is not None:
            if not _do(*taken, settle):
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
