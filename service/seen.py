"""What all workers of a host have seen already: ids of feedback, and callers of a rollout. Maps in shared memory.

Both are files whose space is taken when they are made, so they never grow. Ids are exact but for their tags: an id is
taken for another one with a chance of about 1 in 10,000 when its map is full. Callers have a byte each and no tag: two
that fall on one byte count as one, whichever comes first, which favours no variant.
"""

import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from router.errors import ResourceExhausted

HEADER_BYTES: Final = 64
USED_CELL: Final = 0
FULL: Final = 0.75
KEPT_PERIODS: Final = 2
KEPT_ROLLOUTS: Final = 64
CALLER_BYTES: Final = 1 << 21


class Ids:
    """The ids of one period: open addressing with tags of 16 bits. Only whoever holds the lock may `add`."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._used = memoryview(memory)[:HEADER_BYTES].cast("Q")
        self._tags = memoryview(memory)[HEADER_BYTES:].cast("H")

    @property
    def is_full(self) -> bool:
        """Whether no more ids can be told apart."""
        return bool(self._used[USED_CELL] >= len(self._tags) * FULL)

    def __contains__(self, number: int) -> bool:
        place, tag = self._place(number)
        return bool(self._tags[place] == tag)

    def add(self, number: int) -> None:
        """From now on it is there."""
        place, tag = self._place(number)
        if self._tags[place] == 0:
            self._tags[place] = tag
            self._used[USED_CELL] += 1

    def _place(self, number: int) -> tuple[int, int]:
        """Where it is, or would be; and its tag, never 0."""
        digest, tags = xxh3_64_intdigest(number.to_bytes(8, "big")), self._tags
        tag, place, last = (digest & 0xFFFF) or 1, (digest >> 16) % len(tags), len(tags) - 1
        while tags[place] not in (0, tag):
            place = place + 1 if place < last else 0
        return place, tag


class SeenIds:
    """Ids by period (a span of time that their tokens name). Two periods are kept: the horizon is no longer than one.

    Nothing is made before the first id. `lock` first: then what one worker adds, another one finds.
    """

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self._directory = directory
        self._size_bytes = size_bytes
        self._periods: dict[int, Ids] = {}
        self._lock = -1

    def close(self) -> None:
        """Let go of the lock's file; maps stay while someone holds them."""
        self._periods.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def locked(self) -> bool:
        """Take the lock if it is free. Raises ResourceExhausted when the state directory has no room for it."""
        try:
            if self._lock < 0:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise _no_room(error) from error
        return True

    def unlock(self) -> None:
        """After `locked`."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def of(self, period: int) -> Ids:
        """The ids of a period, with the lock held. Raises ResourceExhausted when the state directory has no room."""
        found = self._periods.get(period)
        if found is None:
            path = self._directory / f"{period}.ids"
            found = Ids(_opened(path, HEADER_BYTES + self._size_bytes // 2 * 2))
            self._periods[period] = found
            for old in sorted(self._periods)[:-KEPT_PERIODS]:
                del self._periods[old]
            _remove(sorted(self._directory.glob("*.ids"), key=_period_of)[:-KEPT_PERIODS])
        return found


class SeenCallers:
    """The callers of one rollout that were counted, a byte each, for all workers of a host.

    A caller counts once, with its first request, and only in its own step: so later steps find callers who are new.
    Two workers that meet a caller in the same microsecond may both count it.
    """

    def __init__(self, directory: Path, rollout: str, step: int, steps: int) -> None:
        """Raises ResourceExhausted when the state directory has no room."""
        path = directory / f"{xxh3_64_hexdigest(rollout.encode())}.callers"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_room(error) from error
        self._seen = memoryview(_opened(path, CALLER_BYTES))
        self._salt = rollout.encode() + b"\0caller\0"
        self._step, self._steps = step, steps
        self.rollout = rollout
        _remove(sorted(directory.glob("*.callers"), key=lambda old: old.stat().st_mtime)[:-KEPT_ROLLOUTS])

    def is_first(self, key: bytes) -> bool:
        """Whether this request counts: the first of its caller, in the step that the caller belongs to."""
        digest = xxh3_64_intdigest(self._salt + key)
        if digest % self._steps != self._step:
            return False
        place = (digest >> 32) % CALLER_BYTES
        if self._seen[place]:
            return False
        self._seen[place] = 1
        return True


def _opened(path: Path, size: int) -> mmap.mmap:
    """The whole file, made when it is not there; one that is keeps its size, for what it knows lies by it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(handle).st_size or size
            os.posix_fallocate(handle, 0, size)
            os.utime(handle)
            return mmap.mmap(handle, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> ResourceExhausted:
    return ResourceExhausted(f"no room in the state directory to count by caller or by label: {error.strerror}")


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _period_of(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else -1
