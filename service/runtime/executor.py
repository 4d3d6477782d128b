"""How one version runs: on the event loop when that is quick, else in a thread behind a queue and a deadline."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

from router.errors import Cancelled, DeadlineExceeded, NotBegun, SerinError
from service.protocol.tensors import Array
from service.runtime.accused import Accused
from service.runtime.adaptive import AdaptiveLimit
from service.runtime.gates import DEFAULT_PRIORITY, Gate
from service.runtime.inlining import Inlining
from service.runtime.jobs import Job, Result, Timed, Turn, done_within, seconds_until
from service.runtime.overlap import Overlap
from service.runtime.pool import Pool
from service.runtime.profile import Profile
from service.runtime.room import Room
from service.runtime.seats import Feeds, Ran
from service.runtime.watchdog import Switch

SLOW_INLINE_NS = 5_000_000
"""A run on the loop that took longer than this, without what it waited for a processor, moves the version to threads
(rulings 22)."""

LOOK_SECONDS = 1.0

LEAST_PATIENCE_SECONDS, PATIENCE_RUNS = 0.05, 4
"""Where runs go one by one, one that takes so long, and so many times the usual time, no longer holds up the others."""

Names = Sequence[str] | None


OnRun = Callable[[Feeds, int, int], None]
"""Takes what was run, how long it took in nanoseconds, and when it began (`perf_counter_ns`)."""


class Interrupted(Cancelled):
    """A run on the loop was ended because it took too long there; in a thread it may take its time."""


class Runnable(Protocol):
    """A session, or what stands before it (service/faults.py). `run` blocks its thread."""

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list[Array]: ...
    def switch(self) -> Switch: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one version in one worker: runs at a time, and requests that may wait for their turn. `batches`: runs of
    several requests at a time; more of them than cores would only make each smaller. `longest_wait_seconds`: in a queue
    that stands; 0: any. `adaptive`: fewer at a time where that is as good. `overlap`: one at a time where more of them
    get no more done; nobody has asked for so many. `lone_core`: all share one."""

    max_concurrency: int = 2
    max_queue: int = 256
    batches: int = 1
    longest_wait_seconds: float = 0.0
    adaptive: bool = False
    overlap: bool = False
    lone_core: bool = False


class Executor:
    """Runs one version. All methods are for the event loop's thread.

    `inlines(feeds)` says which of the two ways a request goes: `run_inline` (at once, blocking) or `await run`.
    `token` names the version in crash slots; `runnable` is for threads beside the pool's. `in_flight` counts runs in
    threads, `room` who waits for one; `on_run` hears of every run that answered.
    """

    def __init__(self, model: Runnable, pool: Pool, limits: Limits, profile: Profile, token: int = 0) -> None:
        self.token = token
        self.limits = limits
        self._inlining = Inlining(profile.inline_elements)
        self._looking = set[asyncio.Task[None]]()
        self.in_flight = 0
        alone = profile.batch_rows == 1  # in batches runs differ by their rows, and the time of one says nothing
        self._judge = _judge_of(limits) if alone else None
        at_a_time = limits.max_concurrency if self._judge is None else self._judge.limit
        self._aside = set[Turn]()
        longest_ns = int(limits.longest_wait_seconds * 1e9)
        self.room = Room(limits.max_queue, longest_ns, at_a_time, float(profile.run_ns))
        self._waiting: set[Turn] = set()
        self.on_run: OnRun = _nobody_counts
        self.runnable = model
        self._run = model.run
        self._pool = pool
        self._slot = pool.loop_slot
        self._watchdog = pool.watchdog
        self._switch = model.switch()
        self._gate = Gate(at_a_time)
        self.accused: Accused | None = None
        self._suspect = False

    @property
    def inline(self) -> bool:
        """Whether small requests run on the loop."""
        return self._inlining.elements >= 0 and not self._suspect

    @property
    def is_suspect(self) -> bool:
        """Whether it must run alone."""
        return self._suspect

    @property
    def quick_elements(self) -> int:
        """Of how many elements a run may be that holds up the loop no longer than it may be held up."""
        return self._inlining.at_best

    def is_lone(self) -> bool:
        """Whether nobody else can send a request now."""
        return self._pool.is_lone()

    def suspect(self, alone: bool) -> None:
        """Run never beside another suspect, thus in threads (rulings 4); or as before."""
        self._suspect = alone

    def inlines(self, feeds: Feeds) -> bool:
        """Whether these inputs are quick enough for the loop."""
        limit = self._inlining.elements
        if limit < 0 or self._suspect:
            return False
        size = 0
        for array in feeds.values():
            size += array.size
        return size <= limit

    def run_inline(self, feeds: Feeds, names: Names = None, body_hash: int = 0, together: Sequence[int] = ()) -> Ran:
        """Run here and now. Raises Interrupted when it held up the loop for too long, and what the session raises.
        `together`: the bodies of all, where there are several."""
        slot, switch, ended = self._slot, self._switch, True
        if len(together) > 1:
            slot.enter_together(self.token, together)
        else:
            slot.enter(self.token, body_hash)
        begun = perf_counter_ns()
        self._watchdog.enter(switch, begun)
        try:
            outputs = self._run(feeds, names, switch)
        except Cancelled as error:
            self._switch, ended = self.runnable.switch(), False
            raise Interrupted("the run held up the event loop") from error
        finally:
            self._watchdog.leave()
            slot.leave() if len(together) <= 1 else slot.leave_last()
            self._inlining.runs += 1
            cost = perf_counter_ns() - begun
            if cost > SLOW_INLINE_NS and cost - self._watchdog.run_queue.waited() > SLOW_INLINE_NS:
                self._leave_loop(feeds if ended else None)
        self.on_run(feeds, cost, begun)
        return outputs, 0, cost, True

    async def run_anyhow(
        self, feeds: Feeds, names: Names, deadline_ns: int, body_hash: int = 0, priority: int = DEFAULT_PRIORITY
    ) -> Ran:
        """Run here and now if that is quick; else, or when it turns out not to be, in a thread. Raises as `run`."""
        if self.inlines(feeds):
            try:
                return self.run_inline(feeds, names, body_hash)
            except Interrupted:
                pass
        return await self.run(feeds, names, deadline_ns, body_hash, priority)

    async def run(
        self, feeds: Feeds, names: Names, deadline_ns: int, body_hash: int = 0, priority: int = DEFAULT_PRIORITY
    ) -> Ran:
        """Wait for a turn and run in a thread. `deadline_ns` is a time of `perf_counter_ns`.

        Raises ResourceExhausted when the queue is full, DeadlineExceeded when the time is over (the thread is told to
        stop, and its turn stays taken until it has), and what the session raises. May be cancelled at any time.
        """
        return await self._run_job(self._job(feeds, names, body_hash), deadline_ns, priority)

    async def run_alone(
        self, feeds: Feeds, names: Names, deadline_ns: int, body_hash: int, priority: int = DEFAULT_PRIORITY
    ) -> Ran:
        """As `run`, beside no other suspect; and for all to see, should this process not live through it."""
        job, turn = self._job(feeds, names, body_hash), Turn()
        job.alone = True
        try:
            if not self._suspect:  # else every run of it passes there
                await turn.take(self._pool.alone, deadline_ns, priority)
            return await self._run_job(job, deadline_ns, priority)
        finally:
            turn.give_back()

    def _job(self, feeds: Feeds, names: Names, body_hash: int) -> "Job[list[Array]]":
        model = self.runnable
        job: Job[list[Array]] = Job(lambda job, switch: run_noted(job, model, feeds, names, switch), model.switch())
        job.body_hash = body_hash
        return job

    async def _run_job(self, job: "Job[list[Array]]", deadline_ns: int, priority: int) -> Ran:
        arrived = perf_counter_ns()
        if deadline_ns <= arrived:
            raise NotBegun("the deadline was over before the request could run")
        turn = await self.take_turn(deadline_ns, priority)
        future = self.submit(job, turn)
        outputs, begun, ended = await self._result(future, job, deadline_ns)
        return outputs, begun - arrived, ended - begun, True

    def submit(self, job: "Job[Result]", turn: "Turn") -> "asyncio.Future[Timed[Result]]":
        """Run in a thread; the turn comes back when it has ended."""
        job.pool, job.token = self._pool, self.token
        try:
            future = self._pool.submit(job)
        except BaseException:
            turn.give_back()
            raise
        self.in_flight += 1
        if self._judge is not None and self._judge.one_by_one:
            patience = max(LEAST_PATIENCE_SECONDS, PATIENCE_RUNS * self.room.mean_ns / 1e9)
            timer = future.get_loop().call_later(patience, self._step_aside, turn)
            future.add_done_callback(lambda _: timer.cancel())
        future.add_done_callback(lambda done: self._ended(done, turn, job))
        return future

    def _step_aside(self, turn: Turn) -> None:
        """A run takes long: the next begins beside it."""
        if not self._aside and turn.leave(self._gate):
            self._aside.add(turn)

    async def take_turn(self, deadline_ns: int, priority: int = DEFAULT_PRIORITY) -> "Turn":
        """Wait for the right to run in a thread. Raises ResourceExhausted, DeadlineExceeded."""
        if not any(gate.locked() for gate in self._gates()):
            return await self.take_any_turn(deadline_ns, priority)  # which does not wait
        now = perf_counter_ns()
        self.room.require(deadline_ns, now)
        turn = Turn()
        self._waiting.add(turn)
        self.room.note(1, now)
        try:
            await self.take_any_turn(deadline_ns, priority, turn)
        finally:
            self._waiting.discard(turn)
            self.room.note(-1, perf_counter_ns())
        try:
            self.room.require_time(deadline_ns, perf_counter_ns())
        except DeadlineExceeded:
            turn.give_back()
            raise
        return turn

    def recall(self) -> None:
        """Take back what waits for its turn: each of them raises Recalled."""
        for turn in tuple(self._waiting):
            turn.recall()

    async def take_any_turn(
        self, deadline_ns: int, priority: int = DEFAULT_PRIORITY, turn: "Turn | None" = None
    ) -> "Turn":
        """The same for who is counted elsewhere, however many wait."""
        turn = turn or Turn()
        try:
            for gate in self._gates():
                await turn.take(gate, deadline_ns, priority)
        except BaseException:
            turn.give_back()
            raise
        return turn

    def _gates(self) -> tuple[Gate, ...]:
        return (self._gate, self._pool.alone, self._pool.gate) if self._suspect else (self._gate, self._pool.gate)

    async def _result(
        self, future: "asyncio.Future[Timed[Result]]", job: "Job[Result]", deadline_ns: int
    ) -> "Timed[Result]":
        try:
            await done_within(future, seconds_until(deadline_ns))
        finally:
            if not future.done():
                job.abandon()
        if not future.done():
            raise DeadlineExceeded("the model did not answer before the deadline")
        return future.result()

    def _ended(self, future: "asyncio.Future[Timed[Result]]", turn: Turn, job: Job[Result]) -> None:
        running, self.in_flight = self.in_flight, self.in_flight - 1
        turn.give_back()
        self._aside.discard(turn)
        for run in job.runs:
            self.on_run(*run)
        if not future.cancelled() and future.exception() is None:
            _, begun, ended = future.result()
            self.took(ended - begun, job.cpu_ns, running)
            self._inlining.ran_in_thread(job.cpu_ns)
        elif job.abandoned_after_ns:
            self.room.gave_up(job.abandoned_after_ns)

    def took(self, run_ns: int, cpu_ns: int = 0, running: int = 1) -> None:
        """A run has ended after so long, and answered; it computed so long of it, as one of so many."""
        self.room.ran(run_ns)
        judge = self._judge
        if judge is not None and judge.ran(run_ns, cpu_ns, running, self._gate.crowded()):
            self._run_at_a_time(judge.limit)

    def _run_at_a_time(self, limit: int) -> None:
        self._gate.resize(limit)
        self.room.at_a_time = limit

    def _leave_loop(self, feeds: Feeds | None) -> None:
        """`feeds`: with which it was slow; None when that is beyond doubt."""
        self._inlining.leave()
        if feeds is not None and self._inlining.has_second_look():
            look = asyncio.get_running_loop().create_task(self._look_again(feeds))
            self._looking.add(look)
            look.add_done_callback(self._looking.discard)

    async def _look_again(self, feeds: Feeds) -> None:
        """Run what was slow once more, in a thread: back to the loop if that takes little of the thread's own time."""
        model, deadline_ns = self.runnable, perf_counter_ns() + int(LOOK_SECONDS * 1e9)
        job: Job[list[Array]] = Job(lambda _, switch: model.run(feeds, None, switch), model.switch())
        try:
            await self._result(self.submit(job, await self.take_turn(deadline_ns)), job, deadline_ns)
        except SerinError:
            return
        self._inlining.looked_again(job.cpu_ns)


def _judge_of(limits: Limits) -> AdaptiveLimit | Overlap | None:
    """Of how many runs go at a time, where that is to be found out."""
    if limits.adaptive:
        return AdaptiveLimit(limits.max_concurrency)
    return Overlap(limits.max_concurrency, limits.lone_core) if limits.overlap and limits.max_concurrency > 1 else None


def run_noted(job: "Job[Any]", model: Runnable, feeds: Feeds, names: Names, switch: Switch) -> list[Array]:
    """Run in the thread of a job, which keeps in mind what was run."""
    begun = perf_counter_ns()
    outputs = model.run(feeds, names, switch)
    job.runs.append((feeds, perf_counter_ns() - begun, begun))
    return outputs


def _nobody_counts(feeds: Feeds, nanos: int, begun_ns: int) -> None:
    return
