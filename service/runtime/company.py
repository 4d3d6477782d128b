"""Whether the rows of a model may run together, and how many of them pay: learned when it is warmed up.

Rows may share a run when the first dimension of every input and output is free, and when a row's answer in company is
the one that it gets alone. Whether that pays is measured: some models do twice as many rows in a run in twice the time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

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
"""More than the budget is spent while each step brings a gain: a version whose runs are slow gains most."""

RUNS = 3
GAIN = 1.1
"""A larger batch is worth its wait when it does at least so many times the rows a second."""

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
    """How many rows a run should take at most, by rows a second of 1, 2, 4, ...; 1 where they do not rise. `clock_ns`:
    had better stand still while others have the processor."""
    elements = sum(array.size for array in row.values())
    best, least, spent, rows = 1, None, 0, 1
    while rows <= MOST_ROWS and rows * elements <= MOST_ELEMENTS:
        feeds = _joined([row] * rows)
        costs = []
        for _ in range(RUNS):
            begun = clock_ns()
            try:
                run(feeds)
            except SerinError:
                return best
            costs.append(clock_ns() - begun)
            spent += costs[-1]
            if spent > LONGEST_NS:
                break
        each = min(costs) / rows
        gained = least is None or each * GAIN <= least
        if gained:
            best, least = rows, each
        if spent > (LONGEST_NS if gained else BUDGET_NS):
            break
        rows *= 2
    return best


def _joined(rows: Sequence[Feeds]) -> Mapping[str, Array]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _form(row: Feeds) -> object:
    return [(name, array.shape, array.dtype) for name, array in sorted(row.items())]
