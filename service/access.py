"""The file of API keys: read at the start, and again whenever it changes, without a restart."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from router.access import MAX_FILE_BYTES, Key, read_keys
from router.doorman import Doorman, Rules
from router.errors import InvalidArgument, SerinError
from router.metrics import Sample

LOOK_SECONDS = 1.0
"""How often a change is looked for: so long a key that was taken back may still work."""

OTHERS_MAY_WRITE = 0o002
Mark = tuple[int, ...]


def load_keys(path: Path) -> tuple[dict[str, Key], Mark]:
    """The keys of a file by id, and what tells this content from a later one. Raises InvalidArgument."""
    try:
        with path.open("rb") as file:
            mark = _mark(os.fstat(file.fileno()))
            content = file.read(MAX_FILE_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from None
    if mode & OTHERS_MAY_WRITE:
        raise InvalidArgument(f"{path}: everybody on this machine may write it; take that away (chmod o-w)")
    if len(content) > MAX_FILE_BYTES:
        raise InvalidArgument(f"{path}: is larger than {MAX_FILE_BYTES} bytes")
    try:
        return read_keys(content.decode()), mark
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path}: is not UTF-8") from None
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}") from None


class KeyFile:
    """Keeps a doorman's keys those of the file. A file that cannot be used changes nothing: the old keys stay.

    `tell`: hears why, once, and "" when it can be used again.
    """

    def __init__(self, path: Path, doorman: Doorman, tell: Callable[[str], None]) -> None:
        self._path = path
        self._doorman = doorman
        self._tell = tell
        self._mark: Mark = ()
        self.trouble = ""

    def read(self) -> None:
        """For the start. Raises InvalidArgument."""
        keys, self._mark = load_keys(self._path)
        self._doorman.replace(keys)

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take up the file if it is another than the last time."""
        try:
            found = await asyncio.to_thread(self._changed)
        except SerinError as error:
            self._note(error.message)
            return
        if found is not None:
            keys, self._mark = found
            self._doorman.replace(keys)
        self._note("")

    def samples(self) -> Iterator[Sample]:
        """For the metrics page of the admin port."""
        yield Sample("serin_api_keys", (), len(self._doorman.keys))
        yield Sample("serin_api_keys_file_unusable", (), float(bool(self.trouble)))

    def _changed(self) -> tuple[dict[str, Key], Mark] | None:
        try:
            mark = _mark(self._path.stat())
        except OSError as error:
            raise InvalidArgument(f"{self._path}: cannot be read: {os.strerror(error.errno or 0)}") from None
        return None if mark == self._mark else load_keys(self._path)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(trouble)


def doorman_of(rules: Rules, wall: Callable[[], float]) -> Doorman:
    """A doorman without keys yet. `wall`: seconds since 1970."""
    return Doorman(rules, wall, monotonic)


def _mark(told: os.stat_result) -> Mark:
    return told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino, told.st_dev
