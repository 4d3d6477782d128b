"""Takes back, in one worker, the room of versions that no reader shows any more."""

import asyncio
import logging
from pathlib import Path
from time import monotonic_ns

from router.counters import Segment
from router.leaving import MARGIN_NS
from router.tally import gone_by

log = logging.getLogger("worker")


class Retiring:
    """`run` until it is cancelled, on the worker's loop. `margin_ns`: how long a version must have been shown no
    more."""

    def __init__(self, segment: Segment, counters: Path, margin_ns: int = MARGIN_NS) -> None:
        self._segment = segment
        self._counters = counters
        self._margin_ns = margin_ns

    async def run(self) -> None:
        """Look again and again; what fails is tried again."""
        while True:
            await asyncio.sleep(self._margin_ns / 1e9)
            try:
                await self.round()
            except OSError as error:
                log.error("counters of versions that are gone cannot be removed", extra={"reason": error.strerror})

    async def round(self) -> None:
        """One look."""
        self._segment.retire(await asyncio.to_thread(gone_by, self._counters, monotonic_ns() - self._margin_ns))
