"""Whether the rows of a model may run together, and how many of them pay: learned when it is warmed up.

Rows may share a run when the first dimension of every input and output is free, and when a row's answer in company is
the one that it gets alone. Whether that pays is measured: some models do twice as many rows in a run in twice the time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf

import numpy as np

from router.errors import SerinError
from service.protocol.tensors import FLOATS, Array, Signature
from service.runtime.profile import blank_feeds
from service.runtime.seats import Feeds

MOST_ROWS = 128
MOST_ELEMENTS = 1 << 20
"""Of all inputs of a run that is tried."""

BUDGET_NS = 100_000_000
LONGEST_NS = 10 * BUDGET_NS
"""More than the budget is spent once a step has brought a gain: a version whose runs are slow gains most."""

BESIDE_NS = 20_000
"""What a run costs beside the model: its inputs are joined, its outputs looked at, and it is counted."""

RUNS = 3
GAIN = 1.1
"""A larger batch is worth a trial of the next when it does at least so many times the rows a second."""

ENOUGH = 1.05
"""What does as many rows a second as the best, but for this, is as good, and waits less."""

PATIENCE = 2
"""So many doublings without a gain end the trial: one alone may have met a moment in which the machine was slow."""

ROWS_COMPARED = 4
TOLERANCE = 1e-4
"""Relative, and of the largest number of an output: other numbers of rows take other paths through vector kernels."""

Run = Callable[[Feeds], Sequence[Array]]


def fit_rows(run: Run, signature: Signature, known: Sequence[Feeds]) -> list[Feeds]:
    """Rows that were seen to go together; none where they do not. `known`: inputs that the model takes."""
    if not has_free_rows(signature):
        return []
    rows = _rows(run, signature, known)
    return rows if len(rows) > 1 and agree(run, rows) else []


def has_free_rows(signature: Signature) -> bool:
    """Whether axis 0 of every input and output is the caller's to choose."""
    specs = (*signature.inputs, *signature.outputs)
    return bool(signature.inputs) and all(spec.shape is not None and spec.shape[:1] == (-1,) for spec in specs)


def agree(run: Run, rows: Sequence[Feeds]) -> bool:
    """Whether each of these rows gets in company what it gets alone."""
    try:
        alone = [run(row) for row in rows]
        together = run(_joined(rows))
    except SerinError:
        return False
    if any(not array.ndim or len(array) != len(rows) for array in together):
        return False
    return all(
        _close(mine[number], array[index : index + 1])
        for index, mine in enumerate(alone)
        for number, array in enumerate(together)
    )


def _close(alone: Array, shared: Array) -> bool:
    if alone.shape != shared.shape or alone.dtype != shared.dtype:
        return False
    if alone.dtype.kind not in "fV":
        return bool((alone == shared).all())
    one, other = alone.astype(np.float64), shared.astype(np.float64)
    finite = one[np.isfinite(one)]
    most = float(np.abs(finite).max()) if finite.size else 0.0
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * most + 1e-7, equal_nan=True))


def _rows(run: Run, signature: Signature, known: Sequence[Feeds]) -> list[Feeds]:
    """Some rows of one form that differ from one another and that the model takes, one by one."""
    found: list[Feeds] = []
    for row in (*_single(known), *_made(signature)):
        if found and _form(row) != _form(found[0]):
            continue
        try:
            run(row)
        except SerinError:
            continue
        found.append(row)
        if len(found) == ROWS_COMPARED:
            break
    return found


def _single(known: Sequence[Feeds]) -> Iterator[Feeds]:
    for feeds in known:
        count = min((len(array) if array.ndim else 0 for array in feeds.values()), default=0)
        for index in range(min(count, ROWS_COMPARED)):
            yield {name: array[index : index + 1] for name, array in feeds.items()}


def _made(signature: Signature) -> Iterator[Feeds]:
    """Blank, and with numbers of any kind where the model takes fractions."""
    blank = blank_feeds(signature, 1)
    if blank is None:
        return
    floats = {spec.name for spec in signature.inputs if spec.datatype in FLOATS}
    rng = np.random.default_rng(0)
    yield blank
    for _ in range(ROWS_COMPARED):
        yield {
            name: rng.standard_normal(array.shape).astype(array.dtype) if name in floats else array
            for name, array in blank.items()
        }


def best_count(run: Run, row: Feeds, clock_ns: Callable[[], int]) -> int:
    """How many rows a run should take at most: of 1, 2, 4, ... the least that does as many rows a second as any, but
    for ENOUGH; 1 where they do not rise. `clock_ns`: had better stand still while others have the processor."""
    elements = sum(array.size for array in row.values())
    each: dict[int, float] = {}
    spent, idle, rows, gains = 0, 0, 1, False
    while rows <= MOST_ROWS and rows * elements <= MOST_ELEMENTS and idle < PATIENCE:
        costs = _costs(run, _joined([row] * rows), clock_ns, LONGEST_NS - spent)
        if not costs:
            break
        spent += sum(costs)
        each[rows] = (min(costs) + BESIDE_NS) / rows
        gained = each[rows] * GAIN <= min((cost for count, cost in each.items() if count < rows), default=inf)
        idle = 0 if gained else idle + 1
        gains = gains or (gained and rows > 1)
        if spent > (LONGEST_NS if gains or rows == 1 else BUDGET_NS):
            break
        rows *= 2
    least = min(each.values(), default=inf)
    return min((count for count, cost in each.items() if cost <= least * ENOUGH), default=1)


def _costs(run: Run, feeds: Feeds, clock_ns: Callable[[], int], most_ns: int) -> list[int]:
    """Of some runs; none where the model fails."""
    costs: list[int] = []
    for _ in range(RUNS):
        begun = clock_ns()
        try:
            run(feeds)
        except SerinError:
            return []
        costs.append(clock_ns() - begun)
        if sum(costs) > most_ns:
            break
    return costs


def _joined(rows: Sequence[Feeds]) -> Mapping[str, Array]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _form(row: Feeds) -> object:
    return [(name, array.shape, array.dtype) for name, array in sorted(row.items())]
