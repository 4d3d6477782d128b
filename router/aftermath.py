"""What a worker that died left in its counters: what it was running, and what will never end.

Standard library only: the supervisor imports this.
"""

import os
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

from router.blocks import Block
from router.counters import TOKEN_SHIFT, crash_cells, take, together_spec
from router.layout import (
    ALONE,
    BODIES,
    CRASH_SLOTS,
    MOST_BODIES,
    RESTARTS,
    WORKER,
    Damaged,
    Outcome,
    list_chunks,
    map_chunk,
    read_record,
    read_records,
)


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """A run that had begun and not ended."""

    model: str
    version: int
    digest: str
    body_hash: int
    entered_ns: int
    alone: bool = False


def slots(directory: Path) -> list[int]:
    """The slots that have counts, of live workers and of dead ones."""
    return sorted({slot for slot, _, _ in list_chunks(directory)})


def settle(directory: Path, slot: int, blamed: tuple[str, int] | None = None) -> int:
    """After a death and before the replacement starts: book what was in flight, as `error` of the blamed (model,
    version) and as `lost` of the others; clear the gauges. Returns how many were booked. Raises FailedPrecondition
    while a process holds the slot."""
    if slot not in slots(directory):
        return 0
    lock, booked = take(directory, slot), 0
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
        token, body_hash, entered_ns, more = crash_cells(chunks[0], number)
        memory = chunks.get(token >> TOKEN_SHIFT)
        if token == 0 or memory is None:
            continue
        labels = read_record(memory, token & (1 << TOKEN_SHIFT) - 1).spec.labels
        version = labels["model"], int(labels["version"]), labels["digest"]
        bodies = [body_hash] if more in (0, ALONE) else _bodies(chunks, number, more)
        found += [OpenSlot(*version, body, entered_ns, more == ALONE) for body in bodies]
    return found


def _bodies(chunks: dict[int, mmap], number: int, count: int) -> list[int]:
    """What the list of a crash slot holds."""
    wanted = together_spec(number).text
    for memory in chunks.values():
        for record in read_records(memory):
            if record.spec.text == wanted:
                return list(Block(memory, record).family(BODIES)[: min(count, MOST_BODIES)])
    return []


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
