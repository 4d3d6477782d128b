"""How counts lie in shared memory: the header of a chunk, the records behind it, and what a block's cells are called.

A chunk is one file. Its header is 4096 bytes: cells 0-7 say what it is, bytes 2048-4095 hold the crash slots. Records
follow one after another, each with its own directory entry (JSON) before its cells; a record exists once the header's
USED cell covers it, so an entry always precedes its counts. Every cell is an aligned u64 in native byte order: one
store, never torn. Change LAYOUT_VERSION with any of this, and with the edges or families in `router/booking.py` and
`router/telemetry.py`.
"""

import json
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

MAGIC = int.from_bytes(b"SERINCNT", "little")
LAYOUT_VERSION = 6
CHUNK_BYTES = 4 * 1024 * 1024
HEADER_BYTES = 4096

# Cells of a chunk's header.
MAGIC_CELL, LAYOUT_CELL, INSTANCE_CELL, USED_CELL = 0, 1, 2, 3

CRASH_SLOTS = 64
CRASH_SLOT_CELLS = 4  # token, hash of the body, clock in ns, 0 or ALONE or how many bodies stand in the slot's list
CRASH_SLOTS_CELL = 2048 // 8
ALONE = 1 << 63
"""Of a run that is a trial: nothing else that is suspected runs beside it."""

# The block of a crash slot: the bodies of the requests that run together there.
TOGETHER, BODIES, MOST_BODIES = "together", "bodies", 256

# Cells of a record's header; the JSON entry and then the cells (and their base) follow, each on a 64-byte boundary.
RECORD_BYTES, ENTRY_BYTES, ENTRY_CRC, EPOCH, CLOSED_NS, CARRIED, CELL_COUNT, BASED = range(8)
RECORD_HEADER_BYTES = 64

# Families that `settle` must know: what came in, and how it ended.
ASSIGNED = "assigned"
OUTCOME = "outcome"

# Why requests of a variant were not run: a cell each of `router.errors.ShedReason`.
SHED = "shed"

# The block of a worker itself: requests that reached no variant, and how often it was replaced.
WORKER = "worker"
REJECTED = "rejected"
RESTARTS = "restarts"


class How(IntEnum):
    """How a request came to its variant: a cell of ASSIGNED each. The first two are the split."""

    SPLIT_KEYED = 0
    SPLIT_DRAWN = 1
    RULE = 2
    VERSION = 3
    MIRROR = 4
    WARMUP = 5


class Outcome(IntEnum):
    """How a request ended: a cell of OUTCOME each. Up to CANCELLED its time has a place in the latency histogram; the
    later ones never ran, or nobody knows how long."""

    OK = 0
    ERROR = 1
    TIMEOUT = 2
    NONFINITE = 3
    CANCELLED = 4
    CLIENT_ERROR = 5
    SHED = 6
    LOST = 7
    DIVERTED = 8


# Cells of these families, with room for words that later releases add.
HOW_CELLS, OUTCOME_CELLS, SHED_CELLS = 8, 16, 16

_CHUNK_NAME = re.compile(r"worker-(\d+)\.(\d+)\.seg")


class Damaged(ValueError):
    """A chunk that this layout cannot read: another version's, or broken by a power cut."""


@dataclass(frozen=True)
class BlockSpec:
    """What a block counts. Blocks with the same text add up across chunks, workers and restarts."""

    kind: str
    labels: Mapping[str, str]
    families: tuple[tuple[str, int], ...] = ()
    gauges: tuple[str, ...] = ()
    """Families that say what is so now; they start again at 0 with each life of the worker."""
    epochs: bool = False
    """Keep a copy of the cells from the start of the epoch, so that an epoch's own counts can be told."""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The directory entry: canonical, so that equal specs have equal text."""
        content = [self.kind, dict(self.labels), self.families, self.gauges, self.epochs, dict(self.meta)]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def spans(self) -> dict[str, slice]:
        """Which cells belong to which family."""
        spans, start = {}, 0
        for name, count in self.families:
            spans[name] = slice(start, start + count)
            start += count
        return spans

    @cached_property
    def cell_count(self) -> int:
        return sum(count for _, count in self.families)


def parse_spec(text: str) -> BlockSpec:
    """Raises Damaged when `text` is not a directory entry."""
    try:
        kind, labels, families, gauges, epochs, meta = json.loads(text)
        return BlockSpec(kind, labels, tuple((n, c) for n, c in families), tuple(gauges), epochs, meta)
    except (ValueError, TypeError) as error:
        raise Damaged(f"directory entry is not readable: {error}") from error


@dataclass(frozen=True, slots=True)
class Record:
    """Where one block lies: cell numbers within its chunk."""

    spec: BlockSpec
    head: int
    cells: int
    base: int | None

    @property
    def cell_count(self) -> int:
        return self.spec.cell_count


def _padded(size: int) -> int:
    return (size + 63) & ~63


def record_bytes(spec: BlockSpec) -> int:
    runs = 2 if spec.epochs else 1
    return RECORD_HEADER_BYTES + _padded(len(spec.text.encode())) + runs * _padded(spec.cell_count * 8)


def write_record(memory: mmap.mmap, spec: BlockSpec) -> Record:
    """Append a record with all cells 0. The caller has made sure that it fits."""
    cells = memoryview(memory).cast("Q")
    start, entry = cells[USED_CELL], spec.text.encode()
    size = record_bytes(spec)
    memory[start : start + size] = bytes(size)
    memory[start + RECORD_HEADER_BYTES : start + RECORD_HEADER_BYTES + len(entry)] = entry
    head = start // 8
    cells[head + RECORD_BYTES] = size
    cells[head + ENTRY_BYTES] = len(entry)
    cells[head + ENTRY_CRC] = zlib.crc32(entry)
    cells[head + CELL_COUNT] = spec.cell_count
    cells[head + BASED] = int(spec.epochs)
    cells[USED_CELL] = start + size  # from here on the record exists
    return _record(spec, start, len(entry))


def _record(spec: BlockSpec, start: int, entry_bytes: int) -> Record:
    first = (start + RECORD_HEADER_BYTES + _padded(entry_bytes)) // 8
    base = first + _padded(spec.cell_count * 8) // 8 if spec.epochs else None
    return Record(spec, start // 8, first, base)


def read_records(memory: mmap.mmap, start: int = HEADER_BYTES) -> Iterator[Record]:
    """The records from byte `start` on. Raises Damaged at the first one that does not hold together."""
    cells = memoryview(memory).cast("Q")
    used = cells[USED_CELL]
    if used > len(memory) or used % 64:
        raise Damaged("the directory ends outside the chunk")
    while start < used:
        record = read_record(memory, start)
        yield record
        start += record_bytes(record.spec)


def read_record(memory: mmap.mmap, start: int) -> Record:
    """The record at byte `start`. Raises Damaged."""
    if start % 64 or not HEADER_BYTES <= start <= len(memory) - RECORD_HEADER_BYTES:
        raise Damaged(f"no record can start at {start}")
    head = memoryview(memory)[start : start + RECORD_HEADER_BYTES].cast("Q")
    size = head[ENTRY_BYTES]
    entry = bytes(memory[start + RECORD_HEADER_BYTES : start + RECORD_HEADER_BYTES + size])
    if len(entry) != size or zlib.crc32(entry) != head[ENTRY_CRC]:
        raise Damaged(f"the directory entry at {start} is broken")
    spec = parse_spec(entry.decode())
    if head[RECORD_BYTES] != record_bytes(spec) or start + head[RECORD_BYTES] > len(memory):
        raise Damaged(f"the record at {start} has the wrong size")
    return _record(spec, start, size)


def chunk_path(directory: Path, slot: int, number: int) -> Path:
    return directory / f"worker-{slot}.{number}.seg"


def list_chunks(directory: Path) -> list[tuple[int, int, Path]]:
    """(slot, number, path) of every chunk in `directory`, in order; none when there is no such directory."""
    if not directory.is_dir():
        return []
    found = ((_CHUNK_NAME.fullmatch(entry.name), Path(entry.path)) for entry in os.scandir(directory))
    return sorted((int(match[1]), int(match[2]), path) for match, path in found if match)


def map_chunk(path: Path, *, writable: bool = False) -> mmap.mmap:
    """Raises FileNotFoundError, and Damaged when the file is not a chunk of this layout."""
    with open(path, "r+b" if writable else "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < HEADER_BYTES or size % 8:
            raise Damaged(f"{path.name} is too short")
        memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    header = memoryview(memory)[:HEADER_BYTES].cast("Q")
    if header[MAGIC_CELL] != MAGIC:
        raise Damaged(f"{path.name} is not a counter file")
    if header[LAYOUT_CELL] != LAYOUT_VERSION:
        raise Damaged(f"{path.name} has layout {header[LAYOUT_CELL]}, this release writes {LAYOUT_VERSION}")
    return memory


def make_chunk(path: Path, size: int) -> None:
    """Create a whole chunk or none. Raises OSError when the disk has no room: the space is taken, not promised."""
    draft = path.with_name(f".{path.name}.new")
    try:
        with open(draft, "w+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            file.write(struct.pack("4Q", MAGIC, LAYOUT_VERSION, 0, HEADER_BYTES))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
