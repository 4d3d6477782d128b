"""Reading the counters of all workers, and adding them up. Any process may, at any time, also while they count.

Cells only grow and each is read whole, so a reading is never wrong, only a little old: `n` of a family is the sum of
its own cells, and no total that was shown ever goes down. What has not moved since the last reading is found by a
checksum of the whole file, then of each block, and not taken apart again.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from mmap import MADV_DONTNEED, mmap
from operator import add, sub
from pathlib import Path
from threading import Lock

from xxhash import xxh3_64_intdigest

from router.layout import (
    EPOCH,
    HEADER_BYTES,
    RECORD_BYTES,
    RECORD_HEADER_BYTES,
    USED_CELL,
    BlockSpec,
    Damaged,
    Record,
    list_chunks,
    map_chunk,
    read_record,
    read_records,
    record_bytes,
)
from router.leaving import INPUTS, UNTIL, VERSION, Key, gone, key_of

_TRIES = 3


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """One block of one worker, or the sum of several. `cells` counts for ever, `in_epoch` since the epoch began."""

    spec: BlockSpec
    cells: Sequence[int]
    epoch: int | None = None
    in_epoch: Sequence[int] = ()
    slot: int | None = None

    def family(self, name: str) -> Sequence[int]:
        return self.cells[self.spec.spans[name]]


@dataclass(slots=True)
class _Chunk:
    """One file. `records` by the byte where each begins; `marks`: of those, the versions' own; `hidden`: where those of
    versions begin that are shown no more. `seen`: the checksum of all when they were copied last; `kept`: each with its
    own checksum; `gauges`: where those begin that have some."""

    inode: tuple[int, int]
    memory: mmap
    slot: int
    records: dict[int, Record] = field(default_factory=dict)
    marks: list[tuple[Key, int]] = field(default_factory=list)
    hidden: dict[Key, list[int]] = field(default_factory=dict)
    end: int = HEADER_BYTES
    seen: int | None = None
    kept: dict[int, tuple[int, BlockCopy]] = field(default_factory=dict)
    gauges: tuple[int, ...] = ()
    without: tuple[int, frozenset[Key]] = (0, frozenset())

    def refresh(self) -> None:
        """Learn the records that were added. A broken one ends the chunk for us until its owner puts it aside."""
        if int(memoryview(self.memory).cast("Q")[USED_CELL]) <= self.end:
            return
        try:
            for record in read_records(self.memory, self.end):
                self.records[record.head * 8] = record
                self.end += record_bytes(record.spec)
                if record.spec.kind == VERSION and (key := key_of(record.spec)) is not None:
                    self.marks.append((key, record.cells + record.spec.spans[UNTIL].start))
        except Damaged:
            return

    def untils(self) -> Iterator[tuple[Key, int]]:
        """Until when each version is shown, as far as this worker says."""
        words = memoryview(self.memory).cast("Q")
        return ((key, words[cell]) for key, cell in self.marks)

    def lets_go(self) -> bool:
        """Whether this worker has let go of any version."""
        words = memoryview(self.memory).cast("Q")
        return any(words[cell] for _, cell in self.marks)

    def hide(self, gone: frozenset[Key]) -> None:
        """Let go of what is known of versions that are shown no more, and take up again those that are."""
        if self.without == (self.end, gone):
            return
        self.without, self.seen = (self.end, gone), None
        for key in self.hidden.keys() - gone:
            self.records |= {start: read_record(self.memory, start) for start in self.hidden.pop(key)}
        for start, record in list(self.records.items()):
            whose = key_of(record.spec)
            if whose is not None and whose in gone and record.spec.kind != INPUTS:
                self.hidden.setdefault(whose, []).append(start)
                del self.records[start]

    def copies(self) -> list[BlockCopy]:
        """All blocks as they are now."""
        return [_copy(self.memory, record, self.slot) for record in self.records.values()]

    def moved(self) -> bool:
        """Copy what is not as it was when it was copied last; whether there was any. Checksums are taken before the
        cells are read: cells only grow, so what counts meanwhile shows as another checksum the next time. Gauges also
        fall, and might be back by then: they are read each time."""
        seen = self._checksum(HEADER_BYTES, self.end)
        if seen == self.seen:
            return self._moved_gauges()
        self.seen, kept = seen, {}
        for start, record in self.records.items():
            own, known = self._checksum(start, start + record_bytes(record.spec)), self.kept.get(start)
            is_known = known is not None and known[0] == own and not record.spec.gauges
            kept[start] = known if known is not None and is_known else (own, _copy(self.memory, record, self.slot))
        self.kept = kept
        self.gauges = tuple(start for start, record in self.records.items() if record.spec.gauges)
        return True

    def _moved_gauges(self) -> bool:
        moved, words = False, memoryview(self.memory).cast("Q")
        for start in self.gauges:
            record, (own, known) = self.records[start], self.kept[start]
            if record.base is None and words[record.cells : record.cells + record.cell_count].tolist() == known.cells:
                continue
            if (now := _copy(self.memory, record, self.slot)) != known:
                self.kept[start], moved = (own, now), True
        return moved

    def _checksum(self, first: int, end: int) -> int:
        return xxh3_64_intdigest(memoryview(self.memory)[first:end])


def _never() -> int:
    return 0


class Reader:
    """Reads all segments of a directory. Directory entries are parsed once; keep one Reader for many readings, from any
    thread. `keeps`: it keeps each reading for the next one, for who reads every few seconds whether anything moved;
    while nothing did, each reading is the same value. `clock`: ns since the machine started; without one, versions that
    are gone are read too."""

    def __init__(self, directory: Path, *, keeps: bool = False, clock: Callable[[], int] = _never) -> None:
        self.directory = directory
        self._keeps = keeps
        self._clock = clock
        self._chunks: dict[Path, _Chunk] = {}
        self._last: Sequence[BlockCopy] = ()
        self._lock = Lock()

    def read(self) -> Sequence[BlockCopy]:
        """All blocks of all slots. Chunks that this layout cannot read are left out, and versions that are gone."""
        with self._lock:
            is_same = self._open_all()
            found = self._read(self._chunks.values(), is_same)
            self._put_down()
            return found

    def _put_down(self) -> None:
        """What is in the files need not be in this process's memory as well."""
        for chunk in self._chunks.values():
            chunk.memory.madvise(MADV_DONTNEED)

    def _read(self, chunks: Collection[_Chunk], is_same: bool) -> Sequence[BlockCopy]:
        if not self._keeps:
            return [copy for chunk in chunks for copy in chunk.copies()]
        moved = [chunk.moved() for chunk in chunks]
        if any(moved) or not is_same:
            self._last = [copy for chunk in chunks for _, copy in chunk.kept.values()]
        return self._last

    def _gone(self, now_ns: int) -> frozenset[Key]:
        chunks = self._chunks.values()
        if not any(chunk.lets_go() for chunk in chunks):  # as it mostly is, with thousands of them
            return frozenset()
        return gone((mark for chunk in chunks for mark in chunk.untils()), now_ns)

    def _open_all(self) -> bool:
        """Look at what there is, without what is shown no more. Whether the files are those of the last time."""
        found: dict[Path, _Chunk] = {}
        for slot, _, path in list_chunks(self.directory):
            if (chunk := self._open(path, slot)) is not None:
                found[path] = chunk
        is_same = list(map(id, found.values())) == list(map(id, self._chunks.values()))
        self._chunks = found
        hidden = self._gone(self._clock())
        for chunk in found.values():
            chunk.hide(hidden)
        return is_same

    def _open(self, path: Path, slot: int) -> _Chunk | None:
        try:
            status = os.stat(path)
            known = self._chunks.get(path)
            inode = (status.st_dev, status.st_ino)
            if known is None or known.inode != inode:
                known = _Chunk(inode, map_chunk(path), slot)
        except (FileNotFoundError, Damaged):
            return None
        known.refresh()
        return known


def gone_by(directory: Path, now_ns: int) -> frozenset[Key]:
    """The versions that readers show no more at this time. It keeps nothing, and parses only what it needs."""
    found = list[tuple[Key, int]]()
    for _, _, path in list_chunks(directory):
        with suppress(FileNotFoundError, Damaged):
            found += _marks(map_chunk(path))
    return gone(found, now_ns)


def _marks(memory: mmap) -> Iterator[tuple[Key, int]]:
    words, start = memoryview(memory).cast("Q"), HEADER_BYTES
    used, head = int(words[USED_CELL]), f'["{VERSION}",'.encode()
    while start < used and (size := words[start // 8 + RECORD_BYTES]):
        entry = start + RECORD_HEADER_BYTES
        if memory[entry : entry + len(head)] == head:
            record = read_record(memory, start)
            if (key := key_of(record.spec)) is not None:
                yield key, words[record.cells + record.spec.spans[UNTIL].start]
        start += size


def read_all(directory: Path) -> Sequence[BlockCopy]:
    """One reading of all segments in `directory`."""
    return Reader(directory).read()


def total(copies: Iterable[BlockCopy]) -> list[BlockCopy]:
    """One sum a spec: over workers, chunks and epochs."""
    return _added((copy.spec.text, copy) for copy in copies)


def by_epoch(copies: Iterable[BlockCopy]) -> dict[int, list[BlockCopy]]:
    """One sum a spec and epoch: over workers and chunks, of what was counted since the epoch began."""
    epochs: dict[int, list[tuple[str, BlockCopy]]] = {}
    for copy in copies:
        if copy.epoch is not None:
            own = BlockCopy(copy.spec, copy.in_epoch, copy.epoch, copy.in_epoch)
            epochs.setdefault(copy.epoch, []).append((copy.spec.text, own))
    return {epoch: _added(found) for epoch, found in epochs.items()}


def by_model(copies: Iterable[BlockCopy]) -> dict[str, list[BlockCopy]]:
    """Those of each model: who looks at every model must not look through all blocks for each."""
    models: dict[str, list[BlockCopy]] = {}
    for copy in copies:
        if (model := copy.spec.labels.get("model")) is not None:
            models.setdefault(model, []).append(copy)
    return models


class ByModel:
    """`by_model` of readings, one after the other: not anew while they are the same value."""

    def __init__(self) -> None:
        self._of: Sequence[BlockCopy] | None = None
        self._models: dict[str, list[BlockCopy]] = {}

    def of(self, copies: Sequence[BlockCopy]) -> Mapping[str, Sequence[BlockCopy]]:
        """Those of each model."""
        if copies is not self._of:
            self._of, self._models = copies, by_model(copies)
        return self._models


def _added(found: Iterable[tuple[str, BlockCopy]]) -> list[BlockCopy]:
    sums: dict[str, BlockCopy] = {}
    for key, copy in found:
        before = sums.get(key)
        cells = copy.cells if before is None else list(map(add, before.cells, copy.cells))
        sums[key] = BlockCopy(copy.spec, cells, copy.epoch)
    return list(sums.values())


def _copy(memory: mmap, record: Record, slot: int) -> BlockCopy:
    words, count = memoryview(memory).cast("Q"), record.cell_count
    if record.base is None:
        return BlockCopy(record.spec, _slim(words[record.cells : record.cells + count].tolist()), slot=slot)
    for _ in range(_TRIES):
        epoch = words[record.head + EPOCH]
        base = words[record.base : record.base + count].tolist()
        cells = words[record.cells : record.cells + count].tolist()
        if epoch and words[record.head + EPOCH] == epoch:
            return BlockCopy(record.spec, _slim(cells), epoch - 1, _slim(list(map(sub, cells, base))), slot)
    return BlockCopy(record.spec, cells, slot=slot)  # between two epochs: no epoch's counts, all the totals


def _slim(cells: list[int]) -> Sequence[int]:
    """The same cells; where nothing was counted yet, those that are kept once for all."""
    return cells if any(cells) else _nothing(len(cells))


@lru_cache(maxsize=1024)
def _nothing(count: int) -> Sequence[int]:
    return [0] * count


def labels_of(copy: BlockCopy, *names: str) -> tuple[str, ...]:
    """The values of some labels, in this order."""
    labels: Mapping[str, str] = copy.spec.labels
    return tuple(labels[name] for name in names)
