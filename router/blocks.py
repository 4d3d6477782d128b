"""A block of cells in shared memory, and a crash slot. Standard library only; `router/counters.py` hands them out."""

from array import array
from collections.abc import Sequence
from mmap import mmap

from router.errors import InvalidArgument
from router.layout import ALONE, ASSIGNED, CARRIED, CLOSED_NS, EPOCH, MOST_BODIES, OUTCOME, Outcome, Record


class Block:
    """The cells of one spec. `cells[i] += 1` is all that the hot path does."""

    __slots__ = ("_base", "_head", "cells", "spec")

    def __init__(self, memory: mmap, record: Record) -> None:
        words, count = memoryview(memory).cast("Q"), record.cell_count
        self.spec = record.spec
        self.cells = words[record.cells : record.cells + count]
        self._base = None if record.base is None else words[record.base : record.base + count]
        self._head = words[record.head : record.head + 8]

    def family(self, name: str) -> memoryview:
        """The cells of one family, as a view of their own."""
        return self.cells[self.spec.spans[name]]

    @property
    def in_flight(self) -> int:
        """Assigned and not yet done."""
        return sum(self.family(ASSIGNED)) - sum(self.family(OUTCOME)) if ASSIGNED in self.spec.spans else 0

    @property
    def epoch(self) -> int | None:
        """The epoch that it counts now; None for a block that no epoch has been opened on."""
        return self._head[EPOCH] - 1 if self._head[EPOCH] else None

    @property
    def closed_ns(self) -> int | None:
        """When the epoch was closed; None while it is open."""
        return self._head[CLOSED_NS] or None

    def open_epoch(self, epoch: int) -> None:
        """Count `epoch` from here on. A death on the way leaves a block without epoch, and every cell as it was."""
        if self._base is None:
            raise InvalidArgument(f"blocks of kind {self.spec.kind} have no epochs")
        self._head[EPOCH] = 0
        self._base[:] = self.cells
        self._head[CARRIED] = max(0, self.in_flight)
        self._head[CLOSED_NS] = 0
        self._head[EPOCH] = epoch + 1

    def close_epoch(self, now_ns: int) -> None:
        """No request will be assigned in this epoch any more; those in flight still end in it."""
        self._head[CLOSED_NS] = max(1, now_ns)

    def reset_gauges(self) -> None:
        for name in self.spec.gauges:
            cells = self.family(name)
            cells[:] = memoryview(bytes(cells.nbytes)).cast("Q")

    def settle(self, outcome: Outcome) -> int:
        """Book what will never end as `outcome`. Returns how many."""
        missing = max(0, self.in_flight)
        if missing:
            self.family(OUTCOME)[outcome] += missing
        self.reset_gauges()
        return missing


class CrashSlot:
    """Where one thread notes what it is about to run, for whoever finds the process dead."""

    __slots__ = ("_bodies", "_cells")

    def __init__(self, cells: memoryview, bodies: memoryview | None = None) -> None:
        self._cells = cells
        self._bodies = bodies

    def enter(self, token: int, body_hash: int, now_ns: int = 0) -> None:
        """`token` from `Segment.version_token`; `body_hash` is the xxh3 of the body. The token is written last."""
        cells = self._cells
        cells[1] = body_hash
        cells[2] = now_ns
        cells[0] = token

    def enter_alone(self, token: int, body_hash: int) -> None:
        """The same for a suspect, beside which no other runs."""
        self._cells[3] = ALONE
        self.enter(token, body_hash)

    def enter_together(self, token: int, body_hashes: Sequence[int]) -> None:
        """The same for requests that run together; of very many, the first MOST_BODIES."""
        listed = len(body_hashes)
        if self._bodies is not None and listed > 1:
            listed = min(listed, MOST_BODIES)
            self._bodies[:listed] = array("Q", body_hashes[:listed])
            self._cells[3] = listed
        self.enter(token, body_hashes[0])

    def leave(self) -> None:
        """After `enter`."""
        self._cells[0] = 0

    def leave_last(self) -> None:
        """After `enter_alone` and `enter_together`."""
        self._cells[0] = 0
        self._cells[3] = 0
