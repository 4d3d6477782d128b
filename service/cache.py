"""The last table of a worker on disk: what it serves when it starts and no controller answers."""

import os
from collections.abc import Iterable
from pathlib import Path

from router.errors import InvalidArgument
from router.routes import RouteTable, decode_table, encode_table


def write_table(path: Path, table: RouteTable) -> None:
    """Replace the file at once and for good: after a crash it holds the old table or the new one. Raises OSError."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(encode_table(table))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def newest_table(paths: Iterable[Path]) -> RouteTable | None:
    """The table with the highest revision among the files that can be read."""
    return max(filter(None, map(_read, paths)), key=lambda table: table.revision, default=None)


def _read(path: Path) -> RouteTable | None:
    try:
        return decode_table(path.read_bytes())
    except (OSError, InvalidArgument):
        return None
