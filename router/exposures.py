"""How much of a rollout's exposure budget is used: one file for each rollout on a host, shared by its workers.

One page: cells 0-2 say what it is and how many keys have been let through; then two cells for each worker slot,
requests and failures, each written by the one worker that holds the slot. The keys lie in a file beside it.
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from router.layout import Damaged
from router.safeguards import Exposure

MAGIC = int.from_bytes(b"SERINEXP", "little")
LAYOUT = 1
DIRECTORY = "exposure"
PAGE_BYTES = 4096
MAGIC_CELL, LAYOUT_CELL, KEYS_CELL, FIRST_CELL = 0, 1, 2, 8
SLOTS = 128
LAST_CELL = FIRST_CELL + 2 * SLOTS


@dataclass(frozen=True, slots=True)
class Used:
    """What a rollout's candidate has had so far, on this host."""

    requests: int
    keys: int
    failures: int


@dataclass(frozen=True, slots=True)
class ExposureUse:
    """One limit of one model's present rollout. `limit` is requests, keys or failures."""

    model: str
    limit: str
    used: int
    allowed: int


def exposure_uses(directory: Path, exposures: Mapping[str, Exposure | None]) -> tuple[ExposureUse, ...]:
    """What is used and what is allowed, by model; where nothing was counted yet, nothing is used."""
    return tuple(use for model, one in exposures.items() if one is not None for use in _uses(directory, model, one))


def exposure_path(directory: Path, rollout: str) -> Path:
    """The file of a rollout, whatever its id looks like."""
    return directory / f"{xxh3_64_hexdigest(rollout.encode())}.used"


def exposure_used(directory: Path, rollout: str) -> Used | None:
    """What is used up, or None where nothing was ever counted (or the file is damaged)."""
    try:
        with open(exposure_path(directory, rollout), "rb") as file:
            return used_of(memoryview(file.read(PAGE_BYTES)).cast("Q"))
    except (OSError, Damaged, TypeError):
        return None


def used_of(cells: memoryview) -> Used:
    """The sums over all slots. Raises Damaged when the page is none."""
    if len(cells) != PAGE_BYTES // 8 or (cells[MAGIC_CELL], cells[LAYOUT_CELL]) != (MAGIC, LAYOUT):
        raise Damaged("not an exposure file")
    return Used(
        requests=sum(cells[FIRST_CELL:LAST_CELL:2].tolist()),
        keys=cells[KEYS_CELL],
        failures=sum(cells[FIRST_CELL + 1 : LAST_CELL : 2].tolist()),
    )


def open_page(path: Path) -> tuple[int, memoryview]:
    """The page for writing, made when it is not there; a damaged one begins anew. Raises OSError without room.

    The file descriptor is for locking; it belongs to the caller.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.posix_fallocate(handle, 0, PAGE_BYTES)
        cells = memoryview(mmap.mmap(handle, PAGE_BYTES)).cast("Q")
    except BaseException:
        os.close(handle)
        raise
    if cells[LAYOUT_CELL] != LAYOUT:
        cells[FIRST_CELL:] = memoryview(bytes(PAGE_BYTES - FIRST_CELL * 8)).cast("Q")
        cells[KEYS_CELL] = 0
    cells[MAGIC_CELL], cells[LAYOUT_CELL] = MAGIC, LAYOUT
    return handle, cells


def _uses(directory: Path, model: str, exposure: Exposure) -> Iterator[ExposureUse]:
    used = exposure_used(directory, exposure.rollout) or Used(0, 0, 0)
    for limit in ("requests", "keys", "failures"):
        allowed: int | None = getattr(exposure, limit)
        if allowed is not None:
            yield ExposureUse(model, limit, getattr(used, limit), allowed)
