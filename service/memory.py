"""How much memory this process may use: the machine's, and the limits of its cgroups."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.cgroups import folders, text_of

_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB$", re.M)


def memory(meminfo: str, limits: Iterable[str]) -> int:
    """Bytes; 0 where nothing is known. `limits`: of each cgroup from its own up to the root ("max" is no limit)."""
    total = _TOTAL.search(meminfo)
    known = [int(total[1]) * 1024] if total else []
    known += [int(text) for text in limits if text.strip().isdigit()]
    return min(known, default=0)


def available_memory() -> int:
    """`memory` of this process as the kernel tells it now."""
    return memory(text_of(Path("/proc/meminfo")), _limits())


def _limits() -> Iterator[str]:
    for folder in folders("memory"):
        yield text_of(folder / "memory.max")
        yield text_of(folder / "memory.limit_in_bytes")
