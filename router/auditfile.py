"""The history in a state directory, for readers beside a gateway that writes on: nothing is changed or locked."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from router.chain import ChainBroken
from router.errors import FailedPrecondition, InvalidArgument

FILE = "serin.db"


def events_of(directory: Path) -> Iterator[dict[str, Any]]:
    """All events as documents, oldest first. Raises InvalidArgument when there is no history, FailedPrecondition when
    it cannot be read, ChainBroken when what stands there is no event."""
    path = directory / FILE
    if not path.is_file():
        raise InvalidArgument(f"{directory} holds no {FILE}; name the state directory of a gateway")
    # Beside a closed database there is no log to read; on a read-only file system none can be made either.
    more = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro{more}", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
            for row in connection.execute("SELECT * FROM events ORDER BY id"):
                yield _document(dict(row))
    except sqlite3.Error as error:
        raise FailedPrecondition(f"the history in {directory} cannot be read: {error}") from error


def _document(row: dict[str, Any]) -> dict[str, Any]:
    if "hash" not in row:
        raise FailedPrecondition("an older Serin wrote this history, without a chain; start this one on it once")
    try:
        return {**row, "before": msgspec.json.decode(row["before"]), "after": msgspec.json.decode(row["after"])}
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise ChainBroken(f"event {row.get('id')} does not fit: its content is not JSON") from error
