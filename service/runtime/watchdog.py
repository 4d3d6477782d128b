"""Ends runs on the event loop that hold it up: a model may be quick on every row but one, and cannot be asked first."""

import threading
from time import perf_counter_ns
from typing import Protocol

from service.runtime.runqueue import RunQueue

LIMIT_NS = 100_000_000
PERIOD_SECONDS = 0.05


class Switch(Protocol):
    """Ends one run from another thread."""

    def stop(self) -> None: ...


class Watchdog:
    """One for each event loop, on which it is made, with a thread of its own. Runs announce themselves; `leave` is a
    store. `run_queue`: what the loop waited for a processor, looked at in each period.

    A switch may be stopped just after its run has ended; so whoever uses one again must take a stopped run for
    interrupted and not for failed.
    """

    def __init__(self) -> None:
        self.run_queue = RunQueue()
        self._begun_ns = 0
        self._switch: Switch | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self, switch: Switch, begun_ns: int) -> None:
        """A run begins that `switch` can end. `begun_ns` of `perf_counter_ns`."""
        self._switch = switch
        self._begun_ns = begun_ns
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """It has ended."""
        self._begun_ns = 0

    def close(self) -> None:
        """Watch no more."""
        self._end.set()

    def _watch(self) -> None:
        while not self._end.wait(PERIOD_SECONDS):
            begun, switch = self._begun_ns, self._switch
            if not begun:
                self.run_queue.look()
            elif switch is not None and perf_counter_ns() - begun > LIMIT_NS:
                switch.stop()
