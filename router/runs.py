"""What each version ran, by the rows of a run: counted where runs happen, beside what is counted of requests."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from router.counters import Segment
from router.layout import BlockSpec
from router.tally import BlockCopy

RUNS = "runs"
_SIZES, _REST, _LAST = "sizes", "rest", "last"

MOST_ROWS = 128
"""Runs of more rows are counted together, so that a client cannot make cells."""

RunCounter = Callable[[int, int, int], None]
"""Takes the rows of a run, its nanoseconds, and when it began (`perf_counter_ns`). Only the loop's thread calls it."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one version. `sizes`: (rows, runs, nanoseconds) of those of at most MOST_ROWS rows. `last_ns`: when the
    last one began, on the clock of this boot; 0: none has."""

    executions: int = 0
    rows: int = 0
    sizes: tuple[tuple[int, int, int], ...] = ()
    last_ns: int = 0


def run_counter(segment: Segment, model: str, version: int) -> RunCounter:
    """Where one worker counts the runs of a version. Raises ResourceExhausted."""
    block = segment.block(runs_spec(model, version))
    sizes, rest, last = (block.family(name) for name in (_SIZES, _REST, _LAST))

    def count(rows: int, nanos: int, begun_ns: int) -> None:
        if rows <= MOST_ROWS:
            sizes[rows + rows] += 1
            sizes[rows + rows + 1] += nanos
        else:
            rest[0] += 1
            rest[1] += rows
            rest[2] += nanos
        last[0] = begun_ns

    return count


def runs_spec(model: str, version: int) -> BlockSpec:
    """The block of a version: a pair of cells (runs, nanoseconds) for each number of rows, then what is above."""
    families = ((_SIZES, 2 * (MOST_ROWS + 1)), (_REST, 3), (_LAST, 1))
    return BlockSpec(RUNS, {"model": model, "version": str(version)}, families)


def runs_of(copies: Iterable[BlockCopy]) -> dict[tuple[str, int], Runs]:
    """The runs of every version, over all workers. `copies`: of single blocks, not their sums."""
    found: dict[tuple[str, int], Runs] = {}
    for copy in copies:
        if copy.spec.kind == RUNS:
            key = copy.spec.labels["model"], int(copy.spec.labels["version"])
            found[key] = _added(found.get(key, Runs()), copy)
    return found


def _added(before: Runs, copy: BlockCopy) -> Runs:
    cells, rest = copy.family(_SIZES), copy.family(_REST)
    by_rows = {rows: (runs, nanos) for rows, runs, nanos in before.sizes}
    for rows in range(MOST_ROWS + 1):
        if cells[2 * rows]:
            runs, nanos = by_rows.get(rows, (0, 0))
            by_rows[rows] = runs + cells[2 * rows], nanos + cells[2 * rows + 1]
    small = [(rows, cells[2 * rows]) for rows in range(MOST_ROWS + 1)]
    return Runs(
        before.executions + sum(runs for _, runs in small) + rest[0],
        before.rows + sum(rows * runs for rows, runs in small) + rest[1],
        tuple((rows, *by_rows[rows]) for rows in sorted(by_rows)),
        max(before.last_ns, copy.family(_LAST)[0]),
    )
