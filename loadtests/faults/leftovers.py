"""What a gateway holds in the system: open files, threads, zombies, files in its state directory, processes."""

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from loadtests.observed import PROC, family


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Of a gateway with all its processes. `kept`: files in the state directory."""

    files: int
    threads: int
    zombies: int
    kept: int


def leftovers(pid: int, state: Path) -> Leftovers:
    """As it is now."""
    pids = family(pid)
    return Leftovers(
        files=sum(_entries(PROC / str(one) / "fd") for one in pids),
        threads=sum(_entries(PROC / str(one) / "task") for one in pids),
        zombies=sum(_is_zombie(one) for one in pids),
        kept=sum(len(names) for _, _, names in os.walk(state)),
    )


def settled(pid: int, state: Path, before: Leftovers, more: int, seconds: float = 10.0) -> Leftovers:
    """As it is once connections that callers have left are closed: no more than `more` files above what was before, or
    after so many seconds."""
    until = monotonic() + seconds
    while (found := leftovers(pid, state)).files > before.files + more and monotonic() < until:
        sleep(0.2)
    return found


def living(pid: int | None = None) -> set[int]:
    """A gateway's processes, or all processes that there are; without those that have ended."""
    pids = family(pid) if pid else [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return {one for one in pids if (PROC / str(one)).exists() and not _is_zombie(one)}


def _entries(folder: Path) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def _is_zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in (PROC / str(pid) / "status").read_text()
    except OSError:
        return False
