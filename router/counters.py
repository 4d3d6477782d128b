"""Counts that outlive the worker that made them: one writer a slot, shared memory, cells that only grow.

A `Segment` is the writer's hold on the chunks of its slot; whoever comes after it in the slot inherits the counts. Only
the event loop's thread writes cells, so `cells[i] += 1` needs no lock; crash slots are written by the thread that owns
them. Standard library only: the supervisor imports this. Reading and adding up: `router/tally.py`; what a dead worker
left: `router/aftermath.py`.
"""

import fcntl
import os
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from mmap import MADV_DONTNEED, mmap
from pathlib import Path

from router.blocks import Block, CrashSlot
from router.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from router.layout import (
    BODIES,
    CHUNK_BYTES,
    CRASH_SLOT_CELLS,
    CRASH_SLOTS,
    CRASH_SLOTS_CELL,
    HEADER_BYTES,
    INSTANCE_CELL,
    MOST_BODIES,
    TOGETHER,
    USED_CELL,
    BlockSpec,
    Damaged,
    Outcome,
    Record,
    chunk_path,
    list_chunks,
    make_chunk,
    map_chunk,
    read_records,
    record_bytes,
    write_record,
)
from router.leaving import STATE, UNTIL, VERSION, Keep, Key, key_of, leaves, version_spec

MAX_CHUNKS = 64
LONG_AGO = 1
"""A time, ns after the machine started, that is over."""
_TOKEN_KIND = "token"
TOKEN_SHIFT = 32


@dataclass(slots=True)
class _Content:
    """What one chunk holds: whether anything that stays; of which versions; and the versions' own blocks."""

    stays: bool = False
    versions: set[Key] = field(default_factory=set)
    marks: set[Key] = field(default_factory=set)

    def add(self, spec: BlockSpec) -> None:
        if spec.kind == VERSION and (key := key_of(spec)) is not None:
            self.marks.add(key)
        elif (key := leaves(spec)) is not None:
            self.versions.add(key)
        else:
            self.stays = True


class Segment:
    """The writer's hold on a slot. `moved` names the files of an earlier layout (or broken ones) that were put aside:
    say so in the log. `keep`: for how long the counts of a version are shown when it is gone; None: for ever. Make one
    with `Segment.open`."""

    def __init__(
        self, directory: Path, slot: int, lock: int, chunk_bytes: int = CHUNK_BYTES, keep: Keep | None = None
    ) -> None:
        self.directory = directory
        self.slot_number = slot
        self.instance = os.urandom(8).hex()
        self.moved: list[str] = []
        self._lock = lock
        self._chunk_bytes = chunk_bytes
        self._keep = keep
        self._chunks: list[mmap | None] = []  # None: it has been removed
        self._contents: list[_Content] = []
        self._blocks: dict[str, list[Block]] = {}
        self._tokens: dict[str, int] = {}
        self._texts: dict[Key, list[str]] = {}

    @classmethod
    def open(cls, directory: Path, slot: int, *, chunk_bytes: int = CHUNK_BYTES, keep: Keep | None = None) -> "Segment":
        """Take the slot over with all its counts: what its last life left in flight is booked as lost, gauges and crash
        slots are cleared. Raises FailedPrecondition when another process holds it, ResourceExhausted without room."""
        directory.mkdir(parents=True, exist_ok=True)
        segment = cls(directory, slot, take(directory, slot), chunk_bytes, keep)
        try:
            segment._inherit()
        except BaseException:
            segment.close()
            raise
        return segment

    def block(self, spec: BlockSpec) -> Block:
        """The block of `spec`, made when there is none. Raises ResourceExhausted when there is no room."""
        found = self._blocks.get(spec.text)
        return found[0] if found else self.new_block(spec)

    def blocks(self, spec: BlockSpec) -> tuple[Block, ...]:
        """All blocks of `spec`: several when it keeps epochs."""
        return tuple(self._blocks.get(spec.text, ()))

    def new_block(self, spec: BlockSpec, *, urgent: bool = False) -> Block:
        """One more block. A quarter of a chunk is kept in reserve, or the next chunk made: without either this raises
        ResourceExhausted, so that a load is refused while there is still room for what is loaded. `urgent` (a new epoch
        of what is loaded) may use the reserve."""
        size = record_bytes(spec)
        if size > self._chunk_bytes // 4 - HEADER_BYTES:
            raise InvalidArgument(f"a block of {size} bytes is too large to count in")
        free = self._free(len(self._chunks) - 1)
        if free - size < self._chunk_bytes // 4:
            try:
                self._add_chunk()
            except ResourceExhausted:
                if not urgent or free < size:
                    raise
        last = len(self._chunks) - 1
        number = last - 1 if last and self._free(last - 1) >= size else last
        return self._enlist(number, write_record(self._memory(number), spec))

    def version_token(self, model: str, version: int, digest: str) -> int:
        """The number by which crash slots name a version. Raises ResourceExhausted when there is no room."""
        spec = BlockSpec(_TOKEN_KIND, {"model": model, "version": str(version), "digest": digest})
        if spec.text not in self._tokens:
            self.new_block(spec)
        return self._tokens[spec.text]

    def slot(self, number: int) -> CrashSlot:
        """Crash slot `number` of 64: one for the loop, one for each executing thread. For the loop's thread."""
        if not 0 <= number < CRASH_SLOTS:
            raise InvalidArgument(f"there are {CRASH_SLOTS} crash slots, numbered from 0; {number} is not one")
        bodies = None
        with suppress(ResourceExhausted):  # on a full disk, the first of those that run together stands for all
            bodies = self.block(together_spec(number)).family(BODIES)
        return CrashSlot(crash_cells(self._memory(0), number), bodies)

    def note_gone(self, model: str, version: int) -> None:
        """Something is counted of a version that this worker may hold no more. Raises ResourceExhausted."""
        if self._keep is not None:
            self._leave(self.block(version_spec(model, version)))

    def until(self) -> int:
        """Until when the counts of a version are shown that goes now; 0: for ever."""
        return self._keep.until() if self._keep is not None else 0

    def retire(self, gone: AbstractSet[Key]) -> None:
        """Forget versions that no reader shows any more, and remove the files that hold nothing else. What is counted
        of one of them from now on begins anew."""
        lost = {key for key in self._texts.keys() & gone if not self._is_held(key)}
        forgotten = [text for key in lost for text in self._texts.pop(key)]
        for text in forgotten:
            self._blocks.pop(text, None)
            self._tokens.pop(text, None)
        if forgotten:
            for memory in filter(None, self._chunks):
                memory.madvise(MADV_DONTNEED)  # the counts stay in the files, out of this process's memory
        for number in range(len(self._chunks) - 3, 0, -1):
            if self._chunks[number] is not None and self._holds_only(number, gone):
                with suppress(ResourceExhausted):  # on a full disk: the next time
                    self._remove(number)

    def close(self) -> None:
        """Let go of the slot. Gauges return to 0; the counts stay, and so does the memory while someone holds it."""
        for blocks in self._blocks.values():
            for block in blocks:
                block.reset_gauges()
                self._leave(block)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _inherit(self) -> None:
        for number in [number for slot, number, _ in list_chunks(self.directory) if slot == self.slot_number] or [0]:
            if not self._chunks and number:
                self._add_chunk()  # the first one has the crash slots
            while len(self._chunks) < number:
                self._take_up(None)
            self._open_chunk(number)
        instance = int(self.instance, 16)
        for memory in filter(None, self._chunks):
            memoryview(memory).cast("Q")[INSTANCE_CELL] = instance
        for number in range(CRASH_SLOTS):
            CrashSlot(crash_cells(self._memory(0), number)).leave_last()
        for blocks in self._blocks.values():
            for block in blocks:
                block.settle(Outcome.LOST)
                self._leave(block)

    def _open_chunk(self, number: int) -> None:
        path = chunk_path(self.directory, self.slot_number, number)
        try:
            memory = map_chunk(path, writable=True)
            records = list(read_records(memory))
        except FileNotFoundError:
            self._add_chunk()
            return
        except Damaged as error:
            path.replace(path.with_suffix(".old"))  # at most one a chunk: files stay bounded
            self.moved.append(f"{path.name}: {error}")
            self._add_chunk()
            return
        self._take_up(memory)
        for record in records:
            self._enlist(number, record)

    def _take_up(self, memory: mmap | None) -> None:
        self._chunks.append(memory)
        self._contents.append(_Content())

    def _memory(self, number: int) -> mmap:
        memory = self._chunks[number]
        assert memory is not None  # the first one and the last two are never removed
        return memory

    def _holds_only(self, number: int, gone: AbstractSet[Key]) -> bool:
        own = self._contents[number]
        return not own.stays and own.versions | own.marks <= gone and not any(map(self._is_held, own.versions))

    def _leave(self, block: Block) -> None:
        """Say until when a version is shown, if it is one and is not held. A later time is of another boot, when the
        clock was another."""
        if block.spec.kind == VERSION and not block.family(STATE)[0]:
            cell, until = block.family(UNTIL), self.until()
            if not 0 < cell[0] <= until:
                cell[0] = until

    def _is_held(self, key: Key) -> bool:
        """Whether a version has come back since somebody looked."""
        marks = self._blocks.get(version_spec(key[0], int(key[1])).text, ())
        return any(not mark.family(UNTIL)[0] for mark in marks)

    def _remove(self, number: int) -> None:
        """Remove a chunk. A version's own block stays as long as any count of it does, in another place if need be:
        without it what is left would be shown again. Raises ResourceExhausted."""
        left = set[Key]().union(*(content.versions for at, content in enumerate(self._contents) if at != number))
        for key in self._contents[number].marks:
            spec = version_spec(key[0], int(key[1]))
            self._blocks.pop(spec.text, None)
            if key in left:
                self.new_block(spec).family(UNTIL)[0] = LONG_AGO
        chunk_path(self.directory, self.slot_number, number).unlink(missing_ok=True)
        self._chunks[number], self._contents[number] = None, _Content()

    def _enlist(self, number: int, record: Record) -> Block:
        block = Block(self._memory(number), record)
        self._contents[number].add(record.spec)
        if (key := leaves(record.spec)) is not None:
            self._texts.setdefault(key, []).append(record.spec.text)
        if record.spec.kind == _TOKEN_KIND:
            self._tokens[record.spec.text] = number << TOKEN_SHIFT | record.head * 8
        else:
            self._blocks.setdefault(record.spec.text, []).append(block)
        return block

    def _free(self, number: int) -> int:
        memory = self._chunks[number]
        return 0 if memory is None else len(memory) - int(memoryview(memory).cast("Q")[USED_CELL])

    def _add_chunk(self) -> None:
        number = len(self._chunks)
        if sum(memory is not None for memory in self._chunks) >= MAX_CHUNKS:
            raise ResourceExhausted(
                f"the counters are full: {MAX_CHUNKS} files of worker {self.slot_number} are in use"
            )
        path = chunk_path(self.directory, self.slot_number, number)
        try:
            make_chunk(path, self._chunk_bytes)
        except OSError as error:
            need = f"{self._chunk_bytes // 1024} KiB for counters"
            raise ResourceExhausted(
                f"no room for {need} in the state directory: {os.strerror(error.errno or 0)}"
            ) from error
        self._take_up(map_chunk(path, writable=True))


def together_spec(number: int) -> BlockSpec:
    """The list of a crash slot."""
    return BlockSpec(TOGETHER, {"slot": str(number)}, ((BODIES, MOST_BODIES),), gauges=(BODIES,))


def take(directory: Path, slot: int) -> int:
    """A lock that ends with the process. Raises FailedPrecondition when someone has it."""
    lock = os.open(directory / f"worker-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise FailedPrecondition(f"the counters of worker {slot} are held by a process that is still alive") from error
    return lock


def crash_cells(memory: mmap, number: int) -> memoryview:
    """The cells of a crash slot, in the first chunk."""
    start = CRASH_SLOTS_CELL + number * CRASH_SLOT_CELLS
    return memoryview(memory).cast("Q")[start : start + CRASH_SLOT_CELLS]
