"""Copies of live requests, run on a mirrored version in a thread of its own: nobody waits for them, and they go first.

The event loop only samples and puts a copy in a bounded queue; what finds no place there is dropped and counted. The
thread runs the copy, compares its answer with the one that was given, and counts. Its priority is below the loop's, and
it rests after each copy, the longer the more that one held up requests (service/restraint.py).
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter_ns, sleep, thread_time_ns
from typing import Final

from router.errors import Kind, SerinError
from router.layout import Outcome
from router.mirrors import LATE, MirrorSeries, OutputDifference
from router.routes import Mirror
from service.calls import OUTCOME_OF_KIND, Answered
from service.diff import Judge, all_finite, compare_all
from service.keeping import PairKeeper
from service.priority import NICE, lower_priority
from service.protocol.check import bind
from service.protocol.tensors import Array
from service.restraint import Measure, Restraint, free_of_charge
from service.runtime.loaded import Loaded
from service.runtime.pool import CrashSlot
from service.runtime.watchdog import Switch
from service.worst import WorstPairs, shown_pair

log = logging.getLogger("shadow")

MOST_WAITING: Final = 256
MOST_BYTES: Final = 32 * 1024 * 1024
LONGEST_RUN_NS: Final = 30_000_000_000
LONGEST_WAIT_NS: Final = 1_000_000_000
"""Where the rests between copies are so long that one would wait for more than this, it is not taken; one that
has, since they became longer, is not run."""

IDLE_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 0.0002
"""After a copy, until those whom it held up have got their processor, and their waiting is counted."""

RECENT: Final = 0.2


@dataclass(slots=True)
class BoundMirror:
    """A mirror of one route, ready for one pair of loaded versions. `ended`: its route has changed; run no more."""

    rule: Mirror
    stable: Loaded
    candidate: Loaded
    judges: tuple[Judge, ...]
    series: MirrorSeries
    worst: WorstPairs
    same_inputs: bool
    ended: bool = False


@dataclass(slots=True)
class Copy:
    """One request for a mirror, with the answer that its caller got."""

    mirror: BoundMirror
    found: Answered
    size_bytes: int
    offered_ns: int


class Shadow:
    """`offer` is for the event loop. The thread begins with the first copy and ends with `close`.

    `is_busy`: a copy would wait for too long, since few may run lest they hold up requests. Each request asks, and it
    changes only where a copy goes in or out.
    """

    def __init__(self, slot: CrashSlot, keeper: PairKeeper, measure: Measure = free_of_charge) -> None:
        self._slot = slot
        self._keeper = keeper
        self._measure = measure
        self._restraint = Restraint(perf_counter_ns(), measure())
        self._mean_rest_ns = 0.0
        self._ending = threading.Event()
        self._queue: SimpleQueue[Copy | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each of the four has one writer: the loop counts what went in, the thread what came out.
        self._in = self._bytes_in = self._out = self._bytes_out = 0
        self.is_busy = False
        self._run: tuple[int, Switch] | None = None
        self._run_cpu_ns = 0

    @property
    def waiting(self) -> int:
        """Copies in the queue or running."""
        return self._in - self._out

    def offer(self, mirror: BoundMirror, found: Answered) -> str:
        """Take a copy, or say why not (of `router.mirrors.DROPS`)."""
        if mirror.stable.executor.room.queued:
            return self._dropped(mirror, "overloaded")  # real requests are waiting: this is no time for others
        if self.is_busy:
            return self._dropped(mirror, "busy")
        if self._in - self._out >= MOST_WAITING:
            self._stop_overdue()
            return self._dropped(mirror, "queue_full")
        size = found.call.body_bytes + sum([array.nbytes for array in found.outputs.values()])
        if self._bytes_in - self._bytes_out + size > MOST_BYTES:
            self._stop_overdue()
            return self._dropped(mirror, "too_large" if size > MOST_BYTES else "queue_full")
        mirror.series.given()
        self._in += 1
        self._bytes_in += size
        self._look()
        self._queue.put(Copy(mirror, found, size, perf_counter_ns()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        return ""

    def close(self, seconds: float = 1.0) -> None:
        """Let go of what waits and end the thread; one that is deep in a model is left to end by itself."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ending.set()
        while not self._queue.empty():
            self._queue.get()
        self._queue.put(None)
        if self._run is not None:
            self._run[1].stop()
        thread.join(seconds)

    def _dropped(self, mirror: BoundMirror, reason: str) -> str:
        mirror.series.dropped(reason)
        return reason

    def _stop_overdue(self) -> None:
        run = self._run
        if run is not None and perf_counter_ns() - run[0] > LONGEST_RUN_NS:
            run[1].stop()

    def _work(self) -> None:
        lower_priority(NICE)
        while True:
            try:
                copy = self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                self._look()  # the loop may have looked at the same moment as this thread, and have written later
                self._keeper.write()
                continue
            if copy is None:
                break
            if self._mean_rest_ns and perf_counter_ns() - copy.offered_ns > LONGEST_WAIT_NS:
                self._dropped(copy.mirror, LATE)
                self._done(copy)
            else:
                self._restrained(copy)
        self._keeper.write()

    def _restrained(self, copy: Copy) -> None:
        """Run a copy and rest."""
        cpu_ns, self._run_cpu_ns = thread_time_ns(), 0
        self._restraint.begin(perf_counter_ns(), self._measure())
        try:
            self._mirror(copy)
        except Exception:
            log.exception("a mirrored request could not be compared")
        finally:
            self._done(copy)
        computed_ns = thread_time_ns() - cpu_ns
        held_ns = computed_ns - self._run_cpu_ns
        sleep(SETTLE_SECONDS)
        rest_ns = self._restraint.end(perf_counter_ns(), self._measure(), held_ns, computed_ns)
        self._mean_rest_ns += RECENT * (rest_ns - self._mean_rest_ns)
        self._look()
        if rest_ns:
            self._ending.wait(rest_ns / 1e9)

    def _done(self, copy: Copy) -> None:
        self._out += 1
        self._bytes_out += copy.size_bytes
        self._look()

    def _look(self) -> None:
        self.is_busy = (self._in - self._out) * self._mean_rest_ns > LONGEST_WAIT_NS

    def _mirror(self, copy: Copy) -> None:
        mirror, found = copy.mirror, copy.found
        accused = mirror.candidate.executor.accused
        if mirror.ended or (accused is not None and found.call.body_hash in accused):
            # A request that killed workers, or may have, is not to kill another one as a copy.
            mirror.series.ended(Outcome.SHED, 0)
            return
        begun = perf_counter_ns()
        try:
            feeds = found.feeds if mirror.same_inputs else bind(found.request, mirror.candidate.signature)
            outputs = self._outputs(mirror.candidate, feeds, found)
        except Exception as error:
            kind = error.kind if isinstance(error, SerinError) else Kind.INTERNAL
            outcome = OUTCOME_OF_KIND.get(kind, Outcome.ERROR)
            # Nobody cancels a copy but `_stop_overdue`.
            mirror.series.ended(Outcome.TIMEOUT if outcome is Outcome.CANCELLED else outcome, perf_counter_ns() - begun)
            return
        run_ns = perf_counter_ns() - begun
        mirror.series.ended(Outcome.OK if all_finite(outputs.values()) else Outcome.NONFINITE, run_ns)
        compared = compare_all(mirror.judges, found.outputs, outputs)
        mirror.series.compared(compared)
        named = {judge.output: one for judge, one in zip(mirror.judges, compared, strict=True) if one is not None}
        self._keep(mirror, found, named, outputs)

    def _outputs(self, candidate: Loaded, feeds: Mapping[str, Array], found: Answered) -> dict[str, Array]:
        runnable, token = candidate.executor.runnable, candidate.executor.token
        names = [name for name in found.outputs if name in candidate.datatypes]
        switch = runnable.switch()
        self._run = (perf_counter_ns(), switch)
        self._slot.enter(token, found.call.body_hash)
        cpu_ns = thread_time_ns()
        try:
            arrays = runnable.run(feeds, names, switch)
        finally:
            self._run_cpu_ns = thread_time_ns() - cpu_ns  # of which it holds the interpreter for next to nothing
            self._slot.leave()
            self._run = None
        return dict(zip(names, arrays, strict=True))

    def _keep(
        self,
        mirror: BoundMirror,
        found: Answered,
        differences: Mapping[str, OutputDifference],
        outputs: Mapping[str, Array],
    ) -> None:
        if not differences:
            return
        inputs, values = found.feeds if mirror.rule.keep_inputs else None, mirror.rule.keep_values
        taken = mirror.worst.offer(
            any(one.flipped for one in differences.values()),
            max(one.distance for one in differences.values()),
            lambda: {
                "body": f"{found.call.body_hash:016x}",
                **shown_pair(found.outputs, outputs, differences, inputs, values),
            },
        )
        if taken:
            self._keeper.changed()
