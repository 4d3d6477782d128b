"""So many at a time; who waits comes in by priority, and among equals in their order."""

import asyncio
from heapq import heapify, heappop, heappush
from itertools import count
from types import TracebackType

DEFAULT_PRIORITY = 10
"""Of requests that name none, or 0. 1 is the highest, as Triton has it; above this come those that can wait."""


class Gate:
    """Like asyncio.Semaphore, but for the order of those that wait. For one event loop's thread."""

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def locked(self) -> bool:
        """Whether who comes now must wait."""
        return self._free <= 0

    def crowded(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def resize(self, places: int) -> None:
        """So many from now on. Who has a place keeps it, also where there are fewer now."""
        self._free += places - self._places
        self._places = places
        while self._free > 0 and self._waiting:
            self._free -= 1
            self.release()

    async def acquire(self, priority: int = DEFAULT_PRIORITY) -> bool:
        """Wait for a place and take it. May be cancelled at any time."""
        if self._free > 0:
            self._free -= 1
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (priority, next(self._numbers), place)
        heappush(self._waiting, entry)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()  # it had just been given to us
            elif entry in self._waiting:
                self._waiting.remove(entry)
                heapify(self._waiting)
            raise
        return True

    def release(self) -> None:
        """Give a place back: to the first that waits, or to whoever comes."""
        while self._waiting and self._free >= 0:
            place = heappop(self._waiting)[2]
            if not place.done():  # who has just given up has not left yet
                place.set_result(None)
                return
        self._free += 1

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
