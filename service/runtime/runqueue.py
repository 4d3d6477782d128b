"""How long a thread was ready to run and had no processor: what a slow run owes to the machine and not to the model."""

import threading
from pathlib import Path

_WAITED = 1


class RunQueue:
    """Of the thread that makes it, as Linux counts it (`schedstat`); elsewhere it never waited."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._seen_ns = self._read()

    def look(self) -> None:
        """Count from here on. To be called now and then, so that `waited` speaks of the last moments."""
        self._seen_ns = self._read()

    def waited(self) -> int:
        """Nanoseconds since the last look, at which this is one too."""
        before, self._seen_ns = self._seen_ns, self._read()
        return self._seen_ns - before

    def _read(self) -> int:
        try:
            return int(self._path.read_bytes().split()[_WAITED])
        except (OSError, ValueError, IndexError):
            return 0
