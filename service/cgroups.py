"""The control groups that this process is in: from its own up to the root, since the limits of each hold."""

from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def folders(controller: str, membership: Path = MEMBERSHIP, root: Path = ROOT) -> Iterator[Path]:
    """Those of v2, and those of v1 that `controller` is in."""
    for line in text_of(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        own = base / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder
            if folder == base:
                break


def text_of(path: Path) -> str:
    """The content of a file; "" where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
