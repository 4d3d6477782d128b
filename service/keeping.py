"""Keeps the worst pairs of all mirrors of a worker, in memory and in one file that the controller reads."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec

from router.pairs import KeptPairs, encode_pairs, read_pairs
from service.worst import WorstPairs

log = logging.getLogger("shadow")

MOST_MIRRORS: Final = 16
"""Kept in the file, those of rollouts that are over among them."""

MOST_PAIR_BYTES: Final = 8192
BETWEEN_WRITES_NS: Final = 2_000_000_000

Name = tuple[str, int, str, str]
"""Model, version, variant, salt."""


class PairKeeper:
    """`worst` is for the event loop, the rest for the mirrors' thread. `clock` gives nanoseconds."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._kept: dict[Name, WorstPairs] = {}
        self._dirty = False
        self._written_ns = 0
        for kept in read_pairs(path):
            self._kept[kept.model, kept.version, kept.variant, kept.salt] = WorstPairs.of(kept.most, kept.pairs)

    def worst(self, name: Name, most: int) -> WorstPairs:
        """Where to keep the pairs of a mirror; the same as before for one that is known."""
        with self._lock:
            known = self._kept.pop(name, None)
            if known is None or known.most != most:
                known = WorstPairs.of(most, known.documents() if known else [])
            self._kept[name] = known
            while len(self._kept) > MOST_MIRRORS:
                del self._kept[next(iter(self._kept))]
        return known

    def changed(self) -> None:
        """A pair was taken: write it soon."""
        self._dirty = True
        if self._clock() - self._written_ns > BETWEEN_WRITES_NS:
            self.write()

    def write(self) -> None:
        """Write what has changed. A full disk costs the pairs, and nothing else."""
        if not self._dirty:
            return
        self._dirty, self._written_ns = False, self._clock()
        with self._lock:
            kept = [KeptPairs(*name, worst.most, _cut(worst.documents())) for name, worst in self._kept.items()]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(encode_pairs(kept))
            os.replace(fresh, self._path)
        except OSError as error:
            log.error("the worst pairs cannot be kept", extra={"reason": error.strerror})


def _cut(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs that are too large lose their numbers, and keep what is known of their distance."""
    return [pair if len(msgspec.json.encode(pair)) <= MOST_PAIR_BYTES else _bare(pair) for pair in pairs]


def _bare(pair: dict[str, Any]) -> dict[str, Any]:
    kept = ("differs", "distance", "body")
    return {**{name: pair[name] for name in kept if name in pair}, "cut": True}
