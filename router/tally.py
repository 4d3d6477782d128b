"""Reading the counters of all workers, and adding them up. Any process may, at any time, also while they count.

Cells only grow and each is read whole, so a reading is never wrong, only a little old: `n` of a family is the sum of
its own cells, and no total that was shown ever goes down.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from operator import add, sub
from pathlib import Path
from threading import Lock

from router.layout import (
    EPOCH,
    HEADER_BYTES,
    USED_CELL,
    BlockSpec,
    Damaged,
    Record,
    list_chunks,
    map_chunk,
    read_records,
    record_bytes,
)

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
    inode: tuple[int, int]
    memory: mmap
    records: list[Record]
    end: int = HEADER_BYTES

    def refresh(self) -> None:
        """Learn the records that were added. A broken one ends the chunk for us until its owner puts it aside."""
        if int(memoryview(self.memory).cast("Q")[USED_CELL]) <= self.end:
            return
        try:
            for record in read_records(self.memory, self.end):
                self.records.append(record)
                self.end += record_bytes(record.spec)
        except Damaged:
            return


class Reader:
    """Reads all segments of a directory. Directory entries are parsed once; keep one Reader for many readings, from any
    thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._chunks: dict[Path, _Chunk] = {}
        self._lock = Lock()

    def read(self) -> list[BlockCopy]:
        """All blocks of all slots. Chunks that this layout cannot read are left out."""
        found: dict[Path, _Chunk] = {}
        copies: list[BlockCopy] = []
        with self._lock:
            for slot, _, path in list_chunks(self.directory):
                chunk = self._open(path)
                if chunk is not None:
                    found[path] = chunk
                    copies += [_copy(chunk.memory, record, slot) for record in chunk.records]
            self._chunks = found
        return copies

    def _open(self, path: Path) -> _Chunk | None:
        try:
            status = os.stat(path)
            known = self._chunks.get(path)
            inode = (status.st_dev, status.st_ino)
            if known is None or known.inode != inode:
                known = _Chunk(inode, map_chunk(path), [])
        except (FileNotFoundError, Damaged):
            return None
        known.refresh()
        return known


def read_all(directory: Path) -> list[BlockCopy]:
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
        return BlockCopy(record.spec, words[record.cells : record.cells + count].tolist(), slot=slot)
    for _ in range(_TRIES):
        epoch = words[record.head + EPOCH]
        base = words[record.base : record.base + count].tolist()
        cells = words[record.cells : record.cells + count].tolist()
        if epoch and words[record.head + EPOCH] == epoch:
            return BlockCopy(record.spec, cells, epoch - 1, list(map(sub, cells, base)), slot)
    return BlockCopy(record.spec, cells, slot=slot)  # between two epochs: no epoch's counts, all the totals


def labels_of(copy: BlockCopy, *names: str) -> tuple[str, ...]:
    """The values of some labels, in this order."""
    labels: Mapping[str, str] = copy.spec.labels
    return tuple(labels[name] for name in names)
