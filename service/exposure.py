"""How many requests, keys and failures a rollout's candidate may have, counted by all workers of a host together.

Each worker adds to cells of its own and reads the sum of all, so that requests overshoot by one per worker at most.
Keys are a set of 64-bit hashes in a file; they are added under a lock, so never too many.
"""

import fcntl
import mmap
import os
from pathlib import Path
from random import getrandbits

from xxhash import xxh3_64_intdigest

from router.errors import InvalidArgument, ResourceExhausted
from router.exposures import FIRST_CELL, KEYS_CELL, LAST_CELL, SLOTS, Used, exposure_path, open_page, used_of
from router.routes import Exposure

KEPT_FILES = 256
"""Of rollouts that are over; older ones are removed."""

LOCK_ATTEMPTS = 100
LEAST_PLACES = 512
_CELL = 8


class KeySet:
    """A set of hashes in a file, open addressing. Only `add` writes; it is for whoever holds the rollout's lock."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells
        self._mask = len(cells) - 1

    @classmethod
    def open(cls, page: Path, keys: int) -> "KeySet":
        """The set beside `page`, with room for twice as many keys. A smaller one is copied. Call it with the lock."""
        places = max(LEAST_PLACES, 1 << (2 * keys - 1).bit_length())
        path = page.with_suffix(f".keys{places}")
        fresh = not path.exists()
        found = cls(_map(path, places * _CELL))
        if fresh:
            for smaller in sorted(page.parent.glob(f"{page.stem}.keys*")):
                if smaller != path:
                    found._copy(memoryview(smaller.read_bytes()).cast("Q"))
        return found

    def __contains__(self, key: int) -> bool:
        return self._cells[self._place(key)] == key

    def add(self, key: int) -> None:
        """There is always room: twice the limit."""
        self._cells[self._place(key)] = key

    def _place(self, key: int) -> int:
        cells, mask = self._cells, self._mask
        place = key & mask
        while cells[place] not in (0, key):
            place = (place + 1) & mask
        return place

    def _copy(self, cells: memoryview) -> None:
        for key in cells:
            if key:
                self.add(key)


class Meter:
    """One rollout's budget in one worker. `spent` names the limit that was reached, "" before."""

    def __init__(self, exposure: Exposure, directory: Path, slot: int) -> None:
        """Raises ResourceExhausted when the state directory has no room."""
        if not 0 <= slot < SLOTS:
            raise InvalidArgument(f"exposure limits are for at most {SLOTS} workers")
        self.exposure = exposure
        self.spent = ""
        path = exposure_path(directory, exposure.rollout)
        try:
            self._lock, self._page = open_page(path)
            self._keys = None if exposure.keys is None else self._open_keys(path, exposure.keys)
        except OSError as error:
            raise ResourceExhausted(f"no room to count a rollout's exposure: {error.strerror}") from error
        self._requests, self._failures = (self._page[first:LAST_CELL:2] for first in (FIRST_CELL, FIRST_CELL + 1))
        self._slot = slot

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            os.close(self._lock)

    @property
    def used(self) -> Used:
        """By all workers of the host."""
        return used_of(self._page)

    def admit(self, key: bytes | None) -> bool:
        """Whether one more request may go to the candidate; it is counted if so. Without a key it is a key of its own.

        What was reached stays reached, but for keys that are known already.
        """
        limits = self.exposure
        if limits.requests is not None and sum(self._requests.tolist()) >= limits.requests:
            self.spent = "requests"
            return False
        if limits.failures is not None and sum(self._failures.tolist()) >= limits.failures:
            self.spent = "failures"
            return False
        if self._keys is not None and not self._admit_key(self._keys, key):
            return False
        self._requests[self._slot] += 1
        return True

    def failed(self) -> None:
        """A request of the candidate failed."""
        self._failures[self._slot] += 1

    def _admit_key(self, known: KeySet, key: bytes | None) -> bool:
        number = (xxh3_64_intdigest(key) if key is not None else getrandbits(64)) or 1
        if number in known:
            return True
        if self._page[KEYS_CELL] >= (self.exposure.keys or 0):
            self.spent = "keys"
            return False
        if not self._locked():
            return False
        try:
            if number in known:
                return True
            if self._page[KEYS_CELL] >= (self.exposure.keys or 0):
                self.spent = "keys"
                return False
            known.add(number)
            self._page[KEYS_CELL] += 1
            return True
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _locked(self) -> bool:
        for _ in range(LOCK_ATTEMPTS):  # held for microseconds; whoever holds it longer is stopped, or worse
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return True
        return False

    def _open_keys(self, path: Path, keys: int) -> KeySet:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            return KeySet.open(path, keys)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def remove_old(directory: Path) -> None:
    """Remove the files of rollouts that are long over. Those in use are the newest, and stay readable anyway."""
    if not directory.is_dir():
        return
    files = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT_FILES:]:
        path.unlink(missing_ok=True)


def _map(path: Path, size: int) -> memoryview:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.posix_fallocate(handle, 0, size)
        return memoryview(mmap.mmap(handle, size)).cast("Q")
    finally:
        os.close(handle)
