"""Memory that a worker does not need any more, given back to the system while it has nothing else to do.

What a large request took is let go piece by piece: cycles (an exception and its frames) wait for a full collection,
which the collector puts off for long where most of what it knows is frozen; and glibc keeps what lies below a piece
that is still in use. Both together are a hundred megabytes after a few refusals of large documents.
"""

import asyncio
import ctypes
import gc
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PERIOD_SECONDS = 1.0
GROWTH_BYTES = 16 * 1024 * 1024
MOST_TRIES = 5
"""What is still held at one try, by a thread or an answer on its way, may be free at the next; what stays is in use."""

MANY_VERSIONS = 250
"""From so many on, what they consist of is kept out of full collections."""

LEAVING_PERIODS = 120
"""Longer than a version that has gone is held by the requests that run it."""

_STATM = Path("/proc/self/statm")


class Tidying:
    """Looks once in a period, and tidies when memory has grown and `is_idle` says that nobody waits.

    `changes`: a number that is another one when what this process holds has changed. While thousands of models load,
    memory grows for good, and each full collection would go through all that has come so far. `freeze` is called once
    in a period. `resident` and `tidy` stand for the system's part.
    """

    def __init__(
        self,
        is_idle: Callable[[], bool],
        resident: Callable[[], int] | None = None,
        tidy: Callable[[], None] | None = None,
        changes: Callable[[], int] = int,
        freeze: Callable[[], None] = lambda: None,
    ) -> None:
        self._is_idle = is_idle
        self._resident = resident or resident_bytes
        self._tidy = tidy or give_back
        self._changes = changes
        self._seen = changes()
        self._freeze = freeze
        self._least = self._resident()
        self._idle_before = False
        self._tries = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            self._freeze()
            if self.is_due():
                gc.collect()
                await asyncio.to_thread(self._tidy)
                self.tidied()

    def is_due(self) -> bool:
        """Whether to tidy now: it was idle at this look and at the one before, nothing has changed between them, and it
        has grown since it was tidy."""
        changes = self._changes()
        idle, before = self._is_idle() and changes == self._seen, self._idle_before
        self._seen = changes
        self._idle_before = idle
        if not (idle and before):
            return False
        now = self._resident()
        self._least = min(self._least, now)
        return now - self._least > GROWTH_BYTES

    def tidied(self) -> None:
        """What has not come back is tried again at a later look, and taken for needed after some of these."""
        self._tries += 1
        now = self._resident()
        if now - self._least <= GROWTH_BYTES or self._tries >= MOST_TRIES:
            self._least, self._tries = now, 0


class Freezing:
    """Keeps thousands of versions out of full collections, which stop all requests for 0.2 ms of each.

    What is frozen goes with its last reference as ever, but cycles in it are not found. So it is done once for so many
    versions, not again and again; and once a version has gone, everything is thawed, and frozen again only after a full
    collection has gone through it when nobody holds it more. With fewer versions nothing is done.
    """

    def __init__(self) -> None:
        self._frozen = self._departures = 0
        self._leaving = self._waits_for = 0

    def look(self, parts: int, departures: int) -> None:
        """Freeze or thaw, once in a period. `parts`: how many versions are known and how many are loaded, together;
        `departures`: how many have gone."""
        collections = gc.get_stats()[2]["collections"]
        if departures != self._departures:
            self._departures = departures
            if self._frozen or self._leaving:
                self._frozen, self._leaving = 0, LEAVING_PERIODS
                gc.unfreeze()
        elif self._leaving:
            self._leaving, self._waits_for = self._leaving - 1, collections + 1
        elif parts >= self._frozen + MANY_VERSIONS and collections >= self._waits_for:
            self._frozen = parts
            gc.freeze()


def resident_bytes() -> int:
    """What this process holds in memory; 0 where nobody tells."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def give_back() -> None:
    """Let the allocator give its free pages to the system, where it is one that can (glibc)."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
