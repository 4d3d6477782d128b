"""What a version's runs cost, measured when it is warmed up; from that, which requests may run on the event loop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from router.errors import SerinError
from service.protocol.tensors import DATATYPES, Array, Signature

INLINE_NS = 200_000
"""Nothing above this runs on the loop (rulings 22)."""

ROWS = (1, 32)
RUNS = 5
BUDGET_NS = 100_000_000
MAX_ELEMENTS = 1 << 24
MAX_DIMENSIONS = 64
"""Of an array of numpy."""

MAX_KNOWN = 3
EXTRAPOLATION = 16

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Sample:
    """The least time of some runs with inputs of so many elements."""

    elements: int
    cost_ns: int


@dataclass(frozen=True, slots=True)
class Profile:
    """`inline_elements`: requests of up to so many input elements run on the loop; -1: none do. `run_ns`: one row.
    `batch_rows`: so many rows of several requests run together at most."""

    inline_elements: int = -1
    run_ns: int = 0
    batch_rows: int = 1


def element_count(feeds: Feeds) -> int:
    """All elements of all inputs."""
    return sum(array.size for array in feeds.values())


def blank_feeds(signature: Signature, rows: int) -> Feeds | None:
    """Zeros and empty texts that fit the signature: `rows` where the first dimension is free, 1 in the others.

    None when they would be very large, or have more dimensions than there can be.
    """
    shapes = {spec.name: _shape(spec.shape, rows) for spec in signature.inputs}
    if any(len(shape) > MAX_DIMENSIONS for shape in shapes.values()):
        return None
    if sum(prod(shape) for shape in shapes.values()) > MAX_ELEMENTS:
        return None
    return {spec.name: _zeros(spec.datatype, shapes[spec.name]) for spec in signature.inputs}


def measure(run: Callable[[Feeds], object], feeds: Feeds, clock_ns: Callable[[], int]) -> Sample | None:
    """Run once to warm up, then a few times more if that is quick; None when the model does not take these inputs."""
    best = None
    spent = 0
    for number in range(RUNS + 1):
        begun = clock_ns()
        try:
            run(feeds)
        except SerinError:
            return None
        cost = clock_ns() - begun
        spent += cost
        # The first run allocates; it counts only where there is no time for another.
        if number > 0 or spent > BUDGET_NS:
            best = cost if best is None else min(best, cost)
        if spent > BUDGET_NS:
            break
    return None if best is None else Sample(element_count(feeds), best)


def profile(samples: list[Sample]) -> Profile:
    """Cost taken as a fixed part plus a part for each element, from the smallest and the largest sample."""
    if not samples:
        return Profile()
    small, large = min(samples, key=_elements), max(samples, key=_elements)
    if small.cost_ns >= INLINE_NS:
        return Profile(-1, small.cost_ns)
    if small.elements == large.elements:
        return Profile(small.elements, small.cost_ns)
    slope = max(0.0, (large.cost_ns - small.cost_ns) / (large.elements - small.elements))
    farthest = large.elements * EXTRAPOLATION
    room = (INLINE_NS - small.cost_ns) / slope if slope else float(farthest)
    return Profile(int(min(farthest, small.elements + room)), small.cost_ns)


def warm_up(
    run: Callable[[Feeds], object], signature: Signature, known: Sequence[Feeds], clock_ns: Callable[[], int]
) -> Profile:
    """Run `known` inputs (golden rows) and blank ones until memory is allocated and the cost is known."""
    samples = []
    for feeds in (*known[:MAX_KNOWN], *_blanks(signature)):
        if (sample := measure(run, feeds, clock_ns)) is not None:
            samples.append(sample)
            if sample.cost_ns > BUDGET_NS:
                break  # it is warm, and slow enough to know enough
    return profile(samples)


def _blanks(signature: Signature) -> Iterator[Feeds]:
    seen = -1
    for rows in ROWS:
        feeds = blank_feeds(signature, rows)
        if feeds is not None and element_count(feeds) != seen:
            seen = element_count(feeds)
            yield feeds


def _elements(sample: Sample) -> int:
    return sample.elements


def _shape(shape: tuple[int, ...] | None, rows: int) -> tuple[int, ...]:
    if shape is None:
        return (rows,)
    return tuple((rows if axis == 0 else 1) if size < 0 else size for axis, size in enumerate(shape))


def _zeros(datatype: str, shape: tuple[int, ...]) -> Array:
    if datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=DATATYPES[datatype].dtype)
