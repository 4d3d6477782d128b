"""How a request is counted in the block of its variant: closures over shared memory, the hot path of counting.

All times are whole nanoseconds. Which blocks there are, and what else is in them, stands in `router/telemetry.py`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Protocol

from router.blocks import Block
from router.errors import ShedReason
from router.layout import ASSIGNED, OUTCOME, SHED, Outcome

# Upper edges of the latency buckets in whole µs: 20 µs to 60 s, a tenth apart (rulings 11).
LATENCY_EDGES_US = tuple(round(20 * 1.1**step) for step in range(157))
PHASES = ("decode", "queue", "compute", "encode")
PHASE_EDGES_US = (2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000, 500_000, 2_000_000, 10_000_000)

# Families of a variant's block, beside ASSIGNED and OUTCOME. `first` gets one cell a watched family from each request
# (its first row: what evidence counts); `more` gets the other rows of requests that carry several.
LATENCY, TIME_NS, FIRST, MORE = "latency", "time_ns", "first", "more"
LED, FOLLOWED = "led", "followed"
"""LATENCY in two parts: of requests that ran together the first one leads, the others share its stalls and follow."""

FAILED_NS = "failed_ns"
"""The part of TIME_NS that was spent on requests which got no answer from the model."""

LONG_RUN = 8
"""Times of so many requests are put in order and counted bucket by bucket; of fewer, one by one."""

_SHED_AT = {reason: cell for cell, reason in enumerate(ShedReason)}

_LATENCY_EDGES_NS = tuple(edge * 1000 for edge in LATENCY_EDGES_US)
_PHASE_EDGES_NS = tuple(edge * 1000 for edge in PHASE_EDGES_US)

_FAST_US = 65_536
_LATENCY_AT = bytes(bisect_right(LATENCY_EDGES_US, micros) for micros in range(_FAST_US))
_PHASE_AT = bytes(bisect_right(PHASE_EDGES_US, micros) for micros in range(_FAST_US))


@dataclass(frozen=True, slots=True)
class VariantSeries:
    """Where one worker counts one variant in one epoch. Only the loop's thread may call these.

    assigned(how): a request was given to this variant; each is closed by exactly one observe.
    observe(outcome, total_ns, phases, cells, leads): it ended, `total_ns` after its assignment; phases are decode,
    queue, compute and encode in ns, none negative; cells are `Watch.cells`' first part, () without a result; leads: it
    stands for its run, as one of those that ran together does.
    observe_run(compute_ns, rows, leads): as `observe` of each with Outcome.OK, for requests that ran together; leads:
    the first of these stands for the run.
    more(pairs): (cell, count) for the rows behind the first.
    shed(reason): it was not run, for this reason; `observe` counts how it ended.
    """

    assigned: Callable[[int], None]
    observe: "Observe"
    observe_run: "ObserveRun"
    more: Callable[[Sequence[tuple[int, int]]], None]
    shed: Callable[[ShedReason], None]
    block: Block


RowTimes = tuple[int, int, int, int, Sequence[int]]
"""Of one request in a run: nanoseconds in all, of decode, queue and encode; and its cells."""


class Observe(Protocol):
    """See `VariantSeries`."""

    def __call__(
        self, outcome: int, total_ns: int, phases: tuple[int, int, int, int], cells: Sequence[int], leads: bool = True
    ) -> None: ...


class ObserveRun(Protocol):
    """See `VariantSeries`."""

    def __call__(self, compute: int, rows: Sequence[RowTimes], leads: bool = True) -> None: ...


def latency_of(family: Callable[[str], Sequence[int]]) -> list[int]:
    """The latency of all requests, a cell each bucket; `family` gives the cells of a variant's block."""
    return list(map(add, family(LED), family(FOLLOWED)))


def _latency_bucket(nanos: int) -> int:
    return bisect_right(LATENCY_EDGES_US, nanos // 1000)


def _phase_bucket(nanos: int) -> int:
    return bisect_right(PHASE_EDGES_US, nanos // 1000)


def bind(block: Block) -> VariantSeries:
    """Closures over views of the families: no attribute, no offset to add on the hot path. Tables find the bucket of
    all times below 65 ms; slower requests can afford a search."""
    first, assigned, outcomes = block.family(FIRST), block.family(ASSIGNED), block.family(OUTCOME)
    led, followed = block.family(LED), block.family(FOLLOWED)
    times, extra = block.family(TIME_NS), block.family(MORE)
    failed, nonfinite = block.family(FAILED_NS), int(Outcome.NONFINITE)
    decodes, queues, computes, encodes = (block.family(phase) for phase in PHASES)
    latency_at, phase_at, last_timed = _LATENCY_AT, _PHASE_AT, int(Outcome.CANCELLED)

    def assign(how: int) -> None:
        assigned[how] += 1

    def observe(
        outcome: int, total_ns: int, phases: tuple[int, int, int, int], cells: Sequence[int], leads: bool = True
    ) -> None:
        outcomes[outcome] += 1
        if outcome > last_timed:
            return
        decode, queue, compute, encode = phases
        try:
            bucket = latency_at[total_ns // 1000]
            d, q = phase_at[decode // 1000], phase_at[queue // 1000]
            c, e = phase_at[compute // 1000], phase_at[encode // 1000]
        except IndexError:
            bucket = _latency_bucket(total_ns)
            d, q, c, e = map(_phase_bucket, phases)
        if leads:
            led[bucket] += 1
        else:
            followed[bucket] += 1
        times[0] += total_ns
        decodes[d] += 1
        times[1] += decode
        queues[q] += 1
        if queue:  # the inline path has none
            times[2] += queue
        computes[c] += 1
        times[3] += compute
        encodes[e] += 1
        times[4] += encode
        if outcome and outcome != nonfinite:
            for place, nanos in enumerate((total_ns, *phases)):
                failed[place] += nanos
        for cell in cells:
            first[cell] += 1

    def more(pairs: Sequence[tuple[int, int]]) -> None:
        for cell, count in pairs:
            extra[cell] += count

    return VariantSeries(assign, observe, _run_observer(block, observe), more, _shed_counter(block), block)


def _shed_counter(block: Block) -> Callable[[ShedReason], None]:
    cells = block.family(SHED)

    def shed(reason: ShedReason) -> None:
        cells[_SHED_AT[reason]] += 1

    return shed


def _run_observer(block: Block, observe: Observe) -> ObserveRun:
    first, outcomes, times = block.family(FIRST), block.family(OUTCOME), block.family(TIME_NS)
    led, followed = block.family(LED), block.family(FOLLOWED)
    decodes, queues, computes, encodes = (block.family(phase) for phase in PHASES)
    latency_at, phase_at, within = _LATENCY_AT, _PHASE_AT, _FAST_US * 1000

    def observe_run(compute: int, rows: Sequence[RowTimes], leads: bool = True) -> None:
        count = len(rows)
        if count == 1:
            total, decode, queue, encode, cells = rows[0]
            observe(0, total, (decode, queue, compute, encode), cells, leads)
            return
        totals, decoded, queued, encoded, cells_of = zip(*rows, strict=True)
        timed = led if leads else followed
        if count < LONG_RUN:
            for total, decode, queue, encode, _ in rows:
                timed[latency_at[total // 1000] if total < within else _latency_bucket(total)] += 1
                timed = followed
                decodes[phase_at[decode // 1000] if decode < within else _phase_bucket(decode)] += 1
                queues[phase_at[queue // 1000] if queue < within else _phase_bucket(queue)] += 1
                encodes[phase_at[encode // 1000] if encode < within else _phase_bucket(encode)] += 1
        else:
            timed[bisect_right(_LATENCY_EDGES_NS, totals[0])] += 1
            _tally(followed, _LATENCY_EDGES_NS, totals[1:])
            _tally(decodes, _PHASE_EDGES_NS, decoded)
            _tally(queues, _PHASE_EDGES_NS, queued)
            _tally(encodes, _PHASE_EDGES_NS, encoded)
        for cells in cells_of:
            for cell in cells:
                first[cell] += 1
        outcomes[0] += count
        computes[phase_at[compute // 1000] if compute < within else _phase_bucket(compute)] += count
        times[0] += sum(totals)
        times[1] += sum(decoded)
        times[2] += sum(queued)
        times[3] += compute * count
        times[4] += sum(encoded)

    return observe_run


def _tally(cells: memoryview, edges: Sequence[int], values: Sequence[int]) -> None:
    """Add each value to the cell of its bucket. Those of a run lie close together, and nearly in order."""
    ordered = sorted(values)
    done, count = 0, len(ordered)
    while done < count:
        bucket = bisect_right(edges, ordered[done])
        end = bisect_left(ordered, edges[bucket], done) if bucket < len(edges) else count
        cells[bucket] += end - done
        done = end
