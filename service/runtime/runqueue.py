"""How long a thread was ready to run and had no processor: what a slow run owes to the machine and not to the model."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

_LETTERS = 100
_LOOKS = 8


def undisturbed_clock(run_queue: "RunQueue") -> Callable[[], int]:
    """A clock in nanoseconds for the thread of `run_queue`, which stands still while that waits for a processor."""

    def clock() -> int:
        waited = run_queue.totals()[1]
        for _ in range(_LOOKS):
            now, before = perf_counter_ns(), waited
            waited = run_queue.totals()[1]
            if waited == before:  # else it waited between the two looks, and nobody knows on which side of `now`
                break
        return now - waited

    return clock


class RunQueue:
    """Of the thread that makes it, as Linux counts it (`schedstat`); elsewhere it never waited."""

    def __init__(self, path: Path | None = None) -> None:
        try:
            self._file = os.open(path or f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        except OSError:
            self._file = -1
        self._seen_ns = self.totals()[1]

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def look(self) -> None:
        """Count from here on. To be called now and then, so that `waited` speaks of the last moments."""
        self._seen_ns = self.totals()[1]

    def waited(self) -> int:
        """Nanoseconds since the last look, at which this is one too."""
        before, self._seen_ns = self._seen_ns, self.totals()[1]
        return self._seen_ns - before

    def totals(self) -> tuple[int, int]:
        """Nanoseconds that the thread has computed and that it has waited, since it began; for any thread to ask. It
        has waited for what it has waited for in vain only when it gets its processor."""
        try:
            computed, waited, *_ = os.pread(self._file, _LETTERS, 0).split()
            return int(computed), int(waited)
        except (OSError, ValueError):
            return 0, 0
