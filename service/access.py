"""The file of API keys: read at the start, and again whenever it changes, without a restart."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from router.access import MAX_FILE_BYTES, Key, read_keys
from router.doorman import Doorman, Rules
from router.errors import InvalidArgument, SerinError
from router.metrics import Sample

LOOK_SECONDS = 1.0
"""How often a change is looked for: so long a key that was taken back may still work."""

COPY = "keys.kept"
"""In the state directory; hashes, as the file itself."""

OTHERS_MAY_WRITE = 0o002
Mark = tuple[int, ...]


class Loaded(NamedTuple):
    """Keys by id, the file's content, and what tells it from a later one."""

    keys: dict[str, Key]
    content: bytes
    mark: Mark


@dataclass(frozen=True, slots=True)
class Places:
    """The file, and where its last good content is kept for processes that begin while the file cannot be used.

    `keeps`: whether this process writes that; one does.
    """

    file: Path
    copy: Path
    keeps: bool = False


def load_keys(path: Path) -> Loaded:
    """The keys of a file. Raises InvalidArgument."""
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
        return Loaded(read_keys(content.decode()), content, mark)
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path}: is not UTF-8") from None
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}") from None


class KeyFile:
    """Keeps a doorman's keys those of the file. A file that cannot be used changes nothing: the old keys stay.

    `tell`: hears why, once, and "" when it can be used again.
    """

    def __init__(self, places: Places, doorman: Doorman, tell: Callable[[str], None]) -> None:
        self._places = places
        self._doorman = doorman
        self._tell = tell
        self._mark: Mark = ()
        self.trouble = ""

    def read(self) -> None:
        """For the start of a process. Raises InvalidArgument when there is no last good content either."""
        try:
            self._take(load_keys(self._places.file))
        except InvalidArgument as error:
            if not self._places.copy.is_file():
                raise
            self._doorman.replace(load_keys(self._places.copy).keys)
            self._note(error.message)

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
            self._take(found)
        self._note("")

    def samples(self) -> Iterator[Sample]:
        """For the metrics page of the admin port."""
        yield Sample("serin_api_keys", (), len(self._doorman.keys))
        yield Sample("serin_api_keys_file_unusable", (), float(bool(self.trouble)))

    def _changed(self) -> Loaded | None:
        path = self._places.file
        try:
            mark = _mark(path.stat())
        except OSError as error:
            raise InvalidArgument(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from None
        if mark == self._mark:
            return None
        found = load_keys(path)
        if self._places.keeps:
            _keep(self._places.copy, found.content)
        return found

    def _take(self, found: Loaded) -> None:
        self._mark = found.mark
        self._doorman.replace(found.keys)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(trouble)


def keep_copy(places: Places) -> None:
    """Keep the content of the file, at the start of a gateway. Raises InvalidArgument when it is not good."""
    _keep(places.copy, load_keys(places.file).content)


def _keep(copy: Path, content: bytes) -> None:
    """A disk that is full costs only this: whoever begins while the file is bad is refused, or has older keys."""
    fresh = copy.with_suffix(".new")
    with suppress(OSError):
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        fresh.replace(copy)


def doorman_of(rules: Rules, wall: Callable[[], float]) -> Doorman:
    """A doorman without keys yet. `wall`: seconds since 1970."""
    return Doorman(rules, wall, monotonic)


def _mark(told: os.stat_result) -> Mark:
    return told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino, told.st_dev
