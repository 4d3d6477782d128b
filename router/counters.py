"""Counts that outlive the worker that made them: one writer a slot, shared memory, cells that only grow.

A `Segment` is the writer's hold on the chunks of its slot; whoever comes after it in the slot inherits the counts. Only
the event loop's thread writes cells, so `cells[i] += 1` needs no lock; crash slots are written by the thread that owns
them. Standard library only: the supervisor imports this. Reading and adding up: `router/tally.py`.
"""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

from router.blocks import Block, CrashSlot
from router.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from router.layout import (
    ALONE,
    BODIES,
    CHUNK_BYTES,
    CRASH_SLOT_CELLS,
    CRASH_SLOTS,
    CRASH_SLOTS_CELL,
    HEADER_BYTES,
    INSTANCE_CELL,
    MOST_BODIES,
    RESTARTS,
    TOGETHER,
    USED_CELL,
    WORKER,
    BlockSpec,
    Damaged,
    Outcome,
    Record,
    chunk_path,
    list_chunks,
    make_chunk,
    map_chunk,
    read_record,
    read_records,
    record_bytes,
    write_record,
)

MAX_CHUNKS = 64
_TOKEN_KIND = "token"
_TOKEN_SHIFT = 32


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """A run that had begun and not ended."""

    model: str
    version: int
    digest: str
    body_hash: int
    entered_ns: int
    alone: bool = False


class Segment:
    """The writer's hold on a slot. `moved` names the files of an earlier layout (or broken ones) that were put aside:
    say so in the log. Make one with `Segment.open`."""

    def __init__(self, directory: Path, slot: int, lock: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.directory = directory
        self.slot_number = slot
        self.instance = os.urandom(8).hex()
        self.moved: list[str] = []
        self._lock = lock
        self._chunk_bytes = chunk_bytes
        self._chunks: list[mmap] = []
        self._blocks: dict[str, list[Block]] = {}
        self._tokens: dict[str, int] = {}

    @classmethod
    def open(cls, directory: Path, slot: int, *, chunk_bytes: int = CHUNK_BYTES) -> "Segment":
        """Take the slot over with all its counts: what its last life left in flight is booked as lost, gauges and crash
        slots are cleared. Raises FailedPrecondition when another process holds it, ResourceExhausted without room."""
        directory.mkdir(parents=True, exist_ok=True)
        segment = cls(directory, slot, _take(directory, slot), chunk_bytes)
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
        return self._enlist(number, write_record(self._chunks[number], spec))

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
            bodies = self.block(_together_spec(number)).family(BODIES)
        return CrashSlot(_crash_cells(self._chunks[0], number), bodies)

    def close(self) -> None:
        """Let go of the slot. Gauges return to 0; the counts stay, and so does the memory while someone holds it."""
        for blocks in self._blocks.values():
            for block in blocks:
                block.reset_gauges()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _inherit(self) -> None:
        for number in [number for slot, number, _ in list_chunks(self.directory) if slot == self.slot_number] or [0]:
            while len(self._chunks) < number:
                self._add_chunk()
            self._open_chunk(number)
        instance = int(self.instance, 16)
        for memory in self._chunks:
            memoryview(memory).cast("Q")[INSTANCE_CELL] = instance
        for number in range(CRASH_SLOTS):
            CrashSlot(_crash_cells(self._chunks[0], number)).leave_last()
        for blocks in self._blocks.values():
            for block in blocks:
                block.settle(Outcome.LOST)

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
        self._chunks.append(memory)
        for record in records:
            self._enlist(number, record)

    def _enlist(self, number: int, record: Record) -> Block:
        block = Block(self._chunks[number], record)
        if record.spec.kind == _TOKEN_KIND:
            self._tokens[record.spec.text] = number << _TOKEN_SHIFT | record.head * 8
        else:
            self._blocks.setdefault(record.spec.text, []).append(block)
        return block

    def _free(self, number: int) -> int:
        memory = self._chunks[number]
        return len(memory) - int(memoryview(memory).cast("Q")[USED_CELL])

    def _add_chunk(self) -> None:
        number = len(self._chunks)
        if number >= MAX_CHUNKS:
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
        self._chunks.append(map_chunk(path, writable=True))


def slots(directory: Path) -> list[int]:
    """The slots that have counts, of live workers and of dead ones."""
    return sorted({slot for slot, _, _ in list_chunks(directory)})


def settle(directory: Path, slot: int, blamed: tuple[str, int] | None = None) -> int:
    """After a death and before the replacement starts: book what was in flight, as `error` of the blamed (model,
    version) and as `lost` of the others; clear the gauges. Returns how many were booked. Raises FailedPrecondition
    while a process holds the slot."""
    if slot not in slots(directory):
        return 0
    lock, booked = _take(directory, slot), 0
    try:
        for memory in _readable(directory, slot, writable=True).values():
            for record in read_records(memory):
                labels = record.spec.labels
                guilty = blamed is not None and (labels.get("model"), labels.get("version")) == (
                    blamed[0],
                    str(blamed[1]),
                )
                booked += Block(memory, record).settle(Outcome.ERROR if guilty else Outcome.LOST)
    finally:
        os.close(lock)
    return booked


def restarted(directory: Path, slot: int) -> None:
    """After `settle`: note that the worker is replaced. Kept with the counts, so that any process can show it."""
    for memory in _readable(directory, slot, writable=True).values():
        for record in read_records(memory):
            if record.spec.kind == WORKER:
                Block(memory, record).family(RESTARTS)[0] += 1
                return


def open_slots(directory: Path, slot: int) -> list[OpenSlot]:
    """What a dead worker was running; to be read before the replacement opens the slot."""
    chunks, found = _readable(directory, slot), list[OpenSlot]()
    for number in range(CRASH_SLOTS) if 0 in chunks else ():
        token, body_hash, entered_ns, more = _crash_cells(chunks[0], number)
        memory = chunks.get(token >> _TOKEN_SHIFT)
        if token == 0 or memory is None:
            continue
        labels = read_record(memory, token & (1 << _TOKEN_SHIFT) - 1).spec.labels
        version = labels["model"], int(labels["version"]), labels["digest"]
        bodies = [body_hash] if more in (0, ALONE) else _bodies(chunks, number, more)
        found += [OpenSlot(*version, body, entered_ns, more == ALONE) for body in bodies]
    return found


def _together_spec(number: int) -> BlockSpec:
    return BlockSpec(TOGETHER, {"slot": str(number)}, ((BODIES, MOST_BODIES),), gauges=(BODIES,))


def _bodies(chunks: dict[int, mmap], number: int, count: int) -> list[int]:
    """The list of a crash slot."""
    wanted = _together_spec(number).text
    for memory in chunks.values():
        for record in read_records(memory):
            if record.spec.text == wanted:
                return list(Block(memory, record).family(BODIES)[: min(count, MOST_BODIES)])
    return []


def _take(directory: Path, slot: int) -> int:
    """A lock that ends with the process. Raises FailedPrecondition when someone has it."""
    lock = os.open(directory / f"worker-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise FailedPrecondition(f"the counters of worker {slot} are held by a process that is still alive") from error
    return lock


def _readable(directory: Path, slot: int, *, writable: bool = False) -> dict[int, mmap]:
    """The chunks of a slot by number, without those that this layout cannot read."""
    chunks = {}
    for number, path in [(number, path) for owner, number, path in list_chunks(directory) if owner == slot]:
        try:
            memory = map_chunk(path, writable=writable)
            list(read_records(memory))
        except (Damaged, FileNotFoundError):
            continue
        chunks[number] = memory
    return chunks


def _crash_cells(memory: mmap, number: int) -> memoryview:
    start = CRASH_SLOTS_CELL + number * CRASH_SLOT_CELLS
    return memoryview(memory).cast("Q")[start : start + CRASH_SLOT_CELLS]
