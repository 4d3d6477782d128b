"""Requests that run together: who may share a run, how their inputs are joined, and what each of them gets of it.

No clock and no queue: `run_together` is the same on the event loop and in a thread.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from router.errors import Cancelled
from service.protocol.tensors import Array
from service.runtime.gates import DEFAULT_PRIORITY

T = TypeVar("T")
Feeds = Mapping[str, Array]
Names = Sequence[str]
RunOnce = Callable[[Feeds, Names], list[Array]]
Outcome = list[Array] | Exception
"""What became of one request: its outputs in the order of its names, or why it has none."""

Ran = tuple[list[Array], int, int, bool]
"""Outputs, nanoseconds waited for a turn, nanoseconds computed, and whether this request stands for the run: exactly
one of those that ran together does, so that a stall of one run is not counted as many."""


class Resumable(asyncio.Future[T]):
    """A task may await it like any future. Who steps its coroutine by hand sets `resume` instead, and is called as soon
    as there is a result, without the detour over the event loop. `hurry`: where it is set, it makes that be soon."""

    resume: Callable[[], None] | None = None
    hurry: Callable[[], None] | None = None

    def wake(self) -> None:
        """There is a result."""
        resume, self.resume = self.resume, None
        if resume is not None:
            resume()


class Seat(Resumable[Ran]):
    """One request that waits to run with others. `key`: equal for those that may share a run; `rows`: how many it has;
    `waits`: it is in a queue.

    `hurry`, where there is one, runs it at once with those that have come so far.
    """

    def __init__(self, feeds: Feeds, names: Names, key: object, rows: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.feeds = feeds
        self.names = names
        self.key = key
        self.rows = rows
        self.arrived_ns = 0
        self.deadline_ns = 0
        self.body_hash = 0
        self.priority = DEFAULT_PRIORITY
        self.waits = False

    def give(self, ran: Ran) -> None:
        """Hand over what came out, if anybody still waits."""
        if not self.done():
            self.set_result(ran)
            self.wake()

    def refuse(self, error: Exception) -> None:
        """Say why nothing came out, if anybody still waits."""
        if not self.done():
            self.set_exception(error)
            self.wake()


MOST_FAILED = 8
"""Shared runs that may fail before the rest of them are not tried."""


class Apart(Exception):
    """The outputs of a shared run have no row for each row of the inputs."""


def sharing(feeds: Feeds, names: Names, every: Names) -> tuple[object, int]:
    """The key of a request and its rows; 0 rows for one that must run alone. `every`: all outputs, by identity.

    Inputs of one model differ in nothing but their shapes: that a request has them all, and of which datatype, was
    checked when they were bound.
    """
    rows = -1
    forms = []
    for name, array in feeds.items():
        shape = array.shape
        if not shape or (rows >= 0 and shape[0] != rows):
            return None, 0
        rows = shape[0]
        forms.append((name, shape[1:]))
    return (None if names is every else tuple(names), *forms), max(rows, 0)


def run_together(seats: Sequence[Seat], run: RunOnce) -> list[Outcome]:
    """What becomes of each of these seats of one key. A shared run that fails is cut in half until the bad ones are
    found; where that fails too often, the rest run alone, so that n requests cost no more than n + 9 runs.

    Raises Apart before anything is answered; a run that was stopped ends all that were in it.
    """
    return list(_parts(seats, run, [0]))


def _alone(seat: Seat, run: RunOnce) -> Outcome:
    try:
        return run(seat.feeds, seat.names)
    except Exception as error:
        return error


def _parts(seats: Sequence[Seat], run: RunOnce, failed: list[int]) -> Iterator[Outcome]:
    if len(seats) == 1 or failed[0] > MOST_FAILED:
        for seat in seats:
            yield _alone(seat, run)
        return
    try:
        yield from _shared_out(run(_joined(seats), seats[0].names), seats)
        return
    except Cancelled as error:
        yield from [error] * len(seats)
        return
    except Apart:
        raise
    except Exception:
        failed[0] += 1
    middle = len(seats) // 2
    yield from _parts(seats[:middle], run, failed)
    yield from _parts(seats[middle:], run, failed)


def _joined(seats: Sequence[Seat]) -> Feeds:
    return {name: np.concatenate([seat.feeds[name] for seat in seats]) for name in seats[0].feeds}


def _shared_out(outputs: Sequence[Array], seats: Sequence[Seat]) -> list[Outcome]:
    """Views of the outputs, one for each seat."""
    ends = np.cumsum([seat.rows for seat in seats]).tolist()
    total = ends[-1]
    for array in outputs:
        if not array.ndim or len(array) != total:
            raise Apart
    if total == len(seats):
        return [[array[row : row + 1] for array in outputs] for row in range(total)]
    starts = [0, *ends[:-1]]
    return [[array[start:end] for array in outputs] for start, end in zip(starts, ends, strict=True)]
