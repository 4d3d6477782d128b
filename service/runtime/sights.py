"""Scanning what was scanned before: a model that looks in every part as it did is not gone through again.

A directory's change time tells of names that came and went in it, a file's of its content. A clock that ticks coarsely
could hide a second change behind a first one, so a model is trusted only after it has looked alike for a while. Only
file systems that are known to keep these times are trusted (a bucket in the guise of a directory keeps none, those of a
network are late), and no model with links or with anything that could not be read: those are gone through each time.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from service.runtime import repository
from service.runtime.repository import VERSION_NAME, ModelFiles

SETTLE_SECONDS = 3.0
"""Longer than the coarsest tick of a clock that files are dated by."""

MOST_PARTS = 256
KEEPERS = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
MOUNTS = Path("/proc/self/mountinfo")

Look = tuple[int, ...]
Witness = dict[str, Look]
"""How each directory and file of a model looks."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """A model as it was gone through last. `witness`: from just before that; `since`: when it was first like this."""

    files: ModelFiles | None
    witness: Witness | None
    since: float
    trusted: bool


class Sights:
    """For one thread. `clock`: seconds that only grow. `keeps_times`: whether a device's file system does."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, keeps_times: Callable[[int], bool] | None = None
    ) -> None:
        self._clock = clock
        self._keeps_times = keeps_times or Mounts().keeps_times
        self._known: dict[str, _Sight] = {}

    def scan(self, models_dir: str | Path) -> dict[str, ModelFiles]:
        """As `repository.scan`; of a model that is as it was, the same value as the last time."""
        sights = dict[str, _Sight]()

        def model(root: str, entry: os.DirEntry[str]) -> ModelFiles | None:
            sight = sights[entry.path] = self._sight(root, entry)
            return sight.files

        found = repository.scan(models_dir, model)
        self._known = sights
        return found

    def _sight(self, root: str, entry: os.DirEntry[str]) -> _Sight:
        known = self._known.get(entry.path)
        if known is not None and known.trusted and known.witness is not None and _still(known.witness):
            return known
        # Before the model is gone through: what changes meanwhile will look unlike this.
        witness, now = self._witness(entry), self._clock()
        files = repository.scan_model(root, entry)
        if known is None or known.files != files or known.witness != witness:
            return _Sight(files, witness, now, False)
        trusted = witness is not None and _is_whole(files) and now - known.since >= SETTLE_SECONDS
        return _Sight(known.files, witness, known.since, trusted)

    def _witness(self, entry: os.DirEntry[str]) -> Witness | None:
        """None for what may not be trusted."""
        witness = Witness()
        try:
            for path, status in _parts(entry.path):
                is_directory = stat.S_ISDIR(status.st_mode)
                is_known = is_directory and self._keeps_times(status.st_dev)
                if len(witness) >= MOST_PARTS or not (is_known or stat.S_ISREG(status.st_mode)):
                    return None
                witness[path] = _look(status)
        except OSError:
            return None
        return witness


class Mounts:
    """The file systems of this machine, by device. The table is read again when a device is not in it."""

    def __init__(self, table: Path = MOUNTS) -> None:
        self._table = table
        self._keeps: dict[int, bool] = {}

    def keeps_times(self, device: int) -> bool:
        """Whether it is one of KEEPERS; what is not known keeps none."""
        if device not in self._keeps:
            kinds = self._kinds()
            self._keeps[device] = kinds.get(f"{os.major(device)}:{os.minor(device)}", "") in KEEPERS
        return self._keeps[device]

    def _kinds(self) -> dict[str, str]:
        """proc_pid_mountinfo(5): the third field is the device, the first one behind a lone hyphen the kind."""
        try:
            lines = self._table.read_text(errors="replace").splitlines()
        except OSError:
            return {}
        halves = ((line.split(), line.partition(" - ")[2].split()) for line in lines)
        return {ours[2]: theirs[0] for ours, theirs in halves if len(ours) > 2 and theirs}


def _parts(model: str) -> Iterator[tuple[str, os.stat_result]]:
    """All that a scan of the model goes by: its directory, the files beside its versions, and all within these."""
    yield model, os.lstat(model)
    with os.scandir(model) as entries:
        for entry in entries:
            if VERSION_NAME.fullmatch(entry.name):
                yield from _within(entry)
            elif not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
                yield entry.path, os.lstat(entry.path)


def _within(entry: os.DirEntry[str]) -> Iterator[tuple[str, os.stat_result]]:
    yield entry.path, os.lstat(entry.path)
    if entry.is_dir(follow_symlinks=False):
        with os.scandir(entry.path) as entries:
            for inner in entries:
                yield from _within(inner)


def _look(status: os.stat_result) -> Look:
    return status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _still(witness: Witness) -> bool:
    try:
        return all(_look(os.lstat(path)) == look for path, look in witness.items())
    except OSError:
        return False


def _is_whole(files: ModelFiles | None) -> bool:
    """Whether nothing was refused: what could not be read may be readable the next time."""
    if files is None or files.refusal is not None:
        return False
    return all(version.refusal is None for version in files.versions.values())
