"""How much memory this process may use: the machine's, and the limits of its cgroups."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB$", re.M)


def memory(meminfo: str, limits: Iterable[str]) -> int:
    """Bytes; 0 where nothing is known. `limits`: of each cgroup from its own up to the root ("max" is no limit)."""
    total = _TOTAL.search(meminfo)
    known = [int(total[1]) * 1024] if total else []
    known += [int(text) for text in limits if text.strip().isdigit()]
    return min(known, default=0)


def available_memory() -> int:
    """`memory` of this process as the kernel tells it now."""
    return memory(_text(Path("/proc/meminfo")), _limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))


def _limits(membership: Path, root: Path) -> Iterator[str]:
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        own = base / path.lstrip("/")
        for folder in (own, *own.parents):
            yield _text(folder / "memory.max")
            yield _text(folder / "memory.limit_in_bytes")
            if folder == base:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
