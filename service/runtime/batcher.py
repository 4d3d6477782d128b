"""Runs requests together. On the event loop: those of one turn. In threads: those that came while others ran.

There is no timer unless `wait_seconds` asks for one: a request alone runs at once. Rows are counted, not requests.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns

from router.errors import Cancelled, DeadlineExceeded, NotBegun
from service.runtime.executor import Executor, Interrupted, run_noted
from service.runtime.gates import DEFAULT_PRIORITY
from service.runtime.jobs import Job, Recalled, done_within
from service.runtime.profile import element_count
from service.runtime.seats import Apart, Feeds, Names, Outcome, Ran, Seat, run_together, sharing

FAR_NS = 1 << 62
log = logging.getLogger("engine")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`rows` of one run at most; so many runs of one version in threads at a time; how long the first of a batch may
    wait for others while nothing runs."""

    rows: int
    runs: int = 1
    wait_seconds: float = 0.0


class Batcher:
    """Stands before the executor of one version. All methods are for the event loop's thread.

    `every`: the outputs of a request that names none. `rows` falls to 1 when the model turns out to mix its rows.
    """

    def __init__(self, executor: Executor, limits: BatchLimits, every: Names) -> None:
        self.limits = limits
        self.rows = limits.rows
        self._executor = executor
        self._room = executor.room
        self._room.at_a_time, self._room.rows_in_run = limits.runs, limits.rows
        self._every = every
        self._loop = asyncio.get_running_loop()
        self._turn: list[Seat] = []
        self._turn_rows = 0
        self._turn_ends = False
        self._queue: deque[Seat] = deque()
        self._queued_rows = 0
        self._full = asyncio.Event()
        self._leading = 0
        self._leaders: set[asyncio.Task[None]] = set()

    async def run(
        self, feeds: Feeds, names: Names, deadline_ns: int, body_hash: int = 0, priority: int = DEFAULT_PRIORITY
    ) -> Ran:
        """Run with whoever else is there. Raises as `Executor.run` does."""
        executor = self._executor
        key, rows = sharing(feeds, names, self._every)
        inline = executor.inlines(feeds) and not self.limits.wait_seconds
        if rows == 0 or rows >= self.rows or executor.is_suspect or (inline and executor.is_lone()):
            return await executor.run_anyhow(feeds, names, deadline_ns, body_hash, priority)
        seat = Seat(feeds, names, key, rows, self._loop)
        seat.arrived_ns, seat.deadline_ns, seat.body_hash = perf_counter_ns(), deadline_ns, body_hash
        seat.priority = priority
        if not inline:
            return await self._in_thread(seat)
        self._take_place(seat)
        try:
            return await seat
        except Interrupted:
            return await executor.run(feeds, names, deadline_ns, body_hash, priority)

    def recall(self) -> None:
        """Take back those that have not begun to run: each of them raises Recalled."""
        for seat in (*self._turn, *self._queue):
            seat.refuse(Recalled("the version was taken out of the route"))

    def close(self) -> None:
        """Form no more batches."""
        for task in self._leaders:
            task.cancel()

    # ---- on the loop: one turn ----

    def _take_place(self, seat: Seat) -> None:
        if self._turn_rows + seat.rows > self.rows:
            self._run_turn()
        if not self._turn_ends:
            self._turn_ends = True
            self._loop.call_soon(self._end_turn)
        seat.hurry = self._run_turn
        self._turn.append(seat)
        self._turn_rows += seat.rows

    def _end_turn(self) -> None:
        self._turn_ends = False
        self._run_turn()

    def _run_turn(self) -> None:
        seats, self._turn, self._turn_rows = self._turn, [], 0
        now = perf_counter_ns()
        groups: dict[object, list[Seat]] = {}
        for seat in seats:
            if seat.done():
                continue  # its caller has left
            if seat.deadline_ns <= now:
                seat.refuse(NotBegun("the deadline was over before the request could run"))
                continue
            groups.setdefault(seat.key, []).append(seat)
        for group in groups.values():
            for part in _cut(group, self._most_rows(group[0])):
                self._run_inline(part)

    def _most_rows(self, seat: Seat) -> int:
        """Rows like this one's in a run. One for the loop must not hold it up for longer than it may be, and runs in
        threads must be as quick if they are to bring the version back to the loop."""
        if self._executor.quick_elements < 0:
            return self.rows
        return min(self.rows, self._executor.quick_elements * seat.rows // max(1, element_count(seat.feeds)))

    def _run_inline(self, seats: list[Seat]) -> None:
        executor, begun = self._executor, perf_counter_ns()
        if not executor.inline:  # a run in this turn was too slow
            for seat in seats:
                seat.refuse(Interrupted("the version has left the event loop"))
            return
        bodies = [seat.body_hash for seat in seats]
        try:
            outcomes = run_together(seats, lambda feeds, names: executor.run_inline(feeds, names, bodies[0], bodies)[0])
        except Apart:
            self._stay_apart()
            outcomes = [_single(seat, executor) for seat in seats]
        _hand_out(seats, outcomes, begun, perf_counter_ns())

    # ---- in threads: while others run ----

    async def _in_thread(self, seat: Seat) -> Ran:
        if seat.deadline_ns <= seat.arrived_ns:
            raise NotBegun("the deadline was over before the request could run")
        busy = self._leading >= self.limits.runs
        if busy:
            self._room.require(seat.deadline_ns, seat.arrived_ns)
        self._queue.insert(self._place_of(seat), seat)
        self._note(seat, 1)
        if not busy:
            self._leading += 1
            leader = self._loop.create_task(self._lead(), name="batches")
            self._leaders.add(leader)
            leader.add_done_callback(self._leaders.discard)
        seconds = max(0.0, (seat.deadline_ns - seat.arrived_ns) / 1e9)
        expiry = self._loop.call_later(
            seconds, seat.refuse, DeadlineExceeded("the model did not answer before the deadline")
        )
        try:
            return await seat
        finally:
            expiry.cancel()
            seat.cancel()  # nothing happens when it is done
            if seat.waits:
                self._queue.remove(seat)
                self._note(seat, -1)

    def _place_of(self, seat: Seat) -> int:
        """Behind all that come in no later by their priority: nearly always the end."""
        place = len(self._queue)
        while place and self._queue[place - 1].priority > seat.priority:
            place -= 1
        return place

    async def _lead(self) -> None:
        """Form batches and run them, one after the other, while there is anybody to run."""
        try:
            while self._queue:
                await self._run_next()
        finally:
            self._leading -= 1

    async def _run_next(self) -> None:
        if self.limits.wait_seconds:
            await self._wait_for_more()
        turn = await self._executor.take_any_turn(FAR_NS, self._queue[0].priority if self._queue else DEFAULT_PRIORITY)
        seats = self._next()
        if not seats:
            turn.give_back()
            return
        job = _Together(seats, self._executor)
        future = self._executor.submit(job, turn)
        for seat in seats:
            seat.add_done_callback(job.left)
        await done_within(future)
        if not future.cancelled():
            self._answer(seats, future)

    async def _wait_for_more(self) -> None:
        first = self._queue[0].arrived_ns + int(self.limits.wait_seconds * 1e9)
        while self._queue and self._queued_rows < self.rows and (rest := (first - perf_counter_ns()) / 1e9) > 0:
            self._full.clear()
            waiting = asyncio.ensure_future(self._full.wait())
            await asyncio.wait((waiting,), timeout=rest)
            waiting.cancel()

    def _next(self) -> list[Seat]:
        """The first in the queue and those that may run with it, in their order."""
        seats: list[Seat] = []
        others: deque[Seat] = deque()
        rows = most = 0
        self._leave_out_who_is_late()
        for seat in self._queue:
            most = most or self._most_rows(seat)
            if seats and (rows + seat.rows > most or seat.key != seats[0].key):
                others.append(seat)
                continue
            self._note(seat, -1)
            if not seat.done():
                seats.append(seat)
                rows += seat.rows
        self._queue = others
        return seats

    def _leave_out_who_is_late(self) -> None:
        """They would only take the places of those who can be answered in time."""
        now = perf_counter_ns()
        late = [seat for seat in self._queue if not seat.done() and self._room.too_late(seat.deadline_ns, now)]
        if late and len(late) < len(self._queue):
            self._room.doubt()
            for seat in late:
                seat.refuse(NotBegun("the deadline would be over before the model could answer"))

    def _answer(self, seats: Sequence[Seat], future: "asyncio.Future[tuple[list[Outcome], int, int]]") -> None:
        error = future.exception()
        if isinstance(error, Apart):
            self._stay_apart()
            for seat in reversed([seat for seat in seats if not seat.done()]):
                self._queue.appendleft(seat)
                self._note(seat, 1)
        elif error is not None:
            for seat in seats:
                seat.refuse(error if isinstance(error, Exception) else Cancelled("the run was stopped"))
        else:
            _hand_out(seats, *future.result())

    def _note(self, seat: Seat, change: int) -> None:
        """A seat has joined (1) or left (-1) the queue."""
        seat.waits = change > 0
        self._queued_rows += change * seat.rows
        self._room.note(change, perf_counter_ns())
        if self._queued_rows >= self.rows:
            self._full.set()

    def _stay_apart(self) -> None:
        self.rows = self._room.rows_in_run = 1
        log.warning("a version's outputs do not have a row for each row of its inputs; its requests run alone")


class _Together(Job[list[Outcome]]):
    """The run of some seats in a thread; abandoned when none of them waits any more."""

    def __init__(self, seats: Sequence[Seat], executor: Executor) -> None:
        model = executor.runnable
        super().__init__(
            lambda job, switch: run_together(seats, lambda feeds, names: run_noted(job, model, feeds, names, switch)),
            model.switch(),
        )
        self.body_hash = seats[0].body_hash
        self.bodies = [seat.body_hash for seat in seats]
        self._waiting = len(seats)

    def left(self, seat: "asyncio.Future[Ran]") -> None:
        """One of them has its answer, or has given up."""
        self._waiting -= 1
        if self._waiting == 0:
            self.abandon()


def _single(seat: Seat, executor: Executor) -> Outcome:
    return run_together([seat], lambda feeds, names: executor.run_inline(feeds, names, seat.body_hash)[0])[0]


def _hand_out(seats: Sequence[Seat], outcomes: Sequence[Outcome], begun_ns: int, ended_ns: int) -> None:
    leads = True
    for seat, outcome in zip(seats, outcomes, strict=True):
        if isinstance(outcome, Exception):
            seat.refuse(outcome)
        else:
            seat.give((outcome, max(0, begun_ns - seat.arrived_ns), ended_ns - begun_ns, leads))
            leads = False


def _cut(seats: list[Seat], rows: int) -> list[list[Seat]]:
    """In parts of at most so many rows, or of one seat."""
    parts: list[list[Seat]] = [[]]
    taken = 0
    for seat in seats:
        if parts[-1] and taken + seat.rows > rows:
            parts.append([])
            taken = 0
        parts[-1].append(seat)
        taken += seat.rows
    return parts
