"""What the kernel tells of a gateway's processes: who they are, their memory, the time they computed."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in memory. `resident` counts what is shared in full, `proportional` (PSS) divides it among its sharers,
    `private` is what nobody else has."""

    resident: int
    proportional: int
    private: int

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(
            self.resident + other.resident, self.proportional + other.proportional, self.private + other.private
        )


NOTHING = Memory(0, 0, 0)


def children(pid: int, part: str, proc: Path = PROC) -> list[int]:
    """Children that live now and have `part` in their command line, oldest first."""
    listed = _text(proc / f"{pid}/task/{pid}/children").split()
    return sorted(int(child) for child in listed if part in _text(proc / child / "cmdline").replace("\0", " "))


def workers(pid: int, proc: Path = PROC) -> list[int]:
    """The worker processes of a gateway."""
    return children(pid, "service.app", proc)


def family(pid: int, proc: Path = PROC) -> list[int]:
    """A gateway with all its children."""
    return [pid, *children(pid, "", proc)]


def memory(pids: Iterable[int], proc: Path = PROC) -> Memory:
    """Of all of them together; what has ended counts nothing."""
    return sum((_memory_of(_text(proc / str(pid) / "smaps_rollup")) for pid in pids), NOTHING)


def resident(pids: Iterable[int], proc: Path = PROC) -> int:
    """Bytes that all of them have in memory, what they share counted for each. It costs those processes and whoever
    shares a core with them nothing, where `memory` has the kernel go through all their pages."""
    fields = (_text(proc / str(pid) / "statm").split() for pid in pids)
    return sum(int(found[1]) for found in fields if found) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int], proc: Path = PROC) -> float:
    """Time that they computed so far, in user and system."""
    ticks = 0
    for pid in pids:
        # The name in parentheses may hold spaces; utime and stime are the 14th and 15th field of the line.
        fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def connections(pid: int, port: int, proc: Path = PROC) -> int:
    """Connections to a port of this machine (IPv4) that the process has accepted and that are open now."""
    lines = (line.split() for line in _text(proc / str(pid) / "net/tcp").splitlines()[1:])
    open_here = {f"socket:[{line[9]}]" for line in lines if line[3] == ESTABLISHED and int(line[1][-4:], 16) == port}
    return len(open_here & set(_links(proc / str(pid) / "fd")))


def _links(folder: Path) -> Iterator[str]:
    for entry in folder.iterdir():
        try:
            yield os.readlink(entry)
        except OSError:
            continue  # closed meanwhile


def _memory_of(rollup: str) -> Memory:
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    private = kibibytes.get("Private_Clean", 0) + kibibytes.get("Private_Dirty", 0)
    return Memory(kibibytes.get("Rss", 0) << 10, kibibytes.get("Pss", 0) << 10, private << 10)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
