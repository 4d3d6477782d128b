"""What the numbers were measured on, and which core does what."""

import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BUSY_SHARE = 0.4
LIBRARIES = ("onnxruntime", "numpy", "uvicorn", "uvloop", "httptools", "fastapi", "pydantic", "msgspec", "orjson")


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores by number; None: all that there are."""

    server: frozenset[int] | None
    client: frozenset[int] | None


def share_cores(usable: Collection[int], workers: int) -> Cores:
    """One core for a server of one process and one for the client. Where they cannot be kept apart nothing is pinned:
    one core only, or as many workers as cores."""
    ordered = sorted(usable)
    if len(ordered) < 2 or workers >= len(ordered):
        return Cores(None, None)
    return Cores(frozenset(ordered[:workers]), frozenset(ordered[-1:]))


def usable_cores() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


def facts() -> dict[str, str]:
    """Machine, Python and library versions, for the foot of a table. To be asked before a run loads the machine."""
    return {
        "processor": f"{_processor()}, {len(usable_cores())} cores usable",
        "system": f"{platform.system()} {platform.release()}",
        "load": load_words(os.getloadavg()[0], len(usable_cores())),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) for name in LIBRARIES},
    }


def load_words(average: float, cores: int) -> str:
    """How busy the machine is without us; a busy one makes ratios doubtful and absolute numbers worthless."""
    doubt = " (other programs are running: measure again)" if average > BUSY_SHARE * cores else ""
    return f"load average {average:.2f} at the start{doubt}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
