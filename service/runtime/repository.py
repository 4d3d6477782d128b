"""The model repository on disk: which models and versions there are, and whether their files may be read.

`<models>/<name>/<version>/model.onnx`, optionally `<models>/<name>/model.toml`. A name matches `MODEL_NAME`, a version
`VERSION_NAME`; all else is ignored, so `.incoming-x` is never a model, and `01`, `1.5`, `v2`, `latest` never versions.
Nothing is opened here but directories: a scan of thousands of versions takes a fraction of a second.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
RESERVED = {"stats": "the name is taken by the statistics of all models (/v2/models/stats); take another"}
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}")
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "model.toml"
MAX_FILES = 10_000
MAX_DEPTH = 8
CHUNK_BYTES = 1 << 20
MAX_BESIDE_BYTES = 64 << 20


ScanOne = Callable[[str, os.DirEntry[str]], "ModelFiles | None"]


class Refused(Exception):
    """The files of a version may not be used; the text says why, without a path outside the version."""


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """One version as a scan saw it. `stamp` changes when any of its files, or the model's `model.toml`, does."""

    path: str
    stamp: str
    size_bytes: int = 0
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model as a scan saw it. `stamp` covers the plain files beside the versions (`model.toml`, golden rows)."""

    path: str
    stamp: str
    versions: Mapping[int, VersionFiles] = field(default_factory=dict)
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of a version; `name` is relative to the version's directory."""

    name: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> "FileState":
        return cls(name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def text(self) -> str:
        return f"{self.name}\0{self.size_bytes}\0{self.mtime_ns}\0{self.ctime_ns}\0{self.inode}"


def scan(models_dir: str | Path, one: ScanOne | None = None) -> dict[str, ModelFiles]:
    """Every model in the directory, by name. `one`: in place of `scan_model`. Raises OSError when the directory itself
    cannot be read."""
    root, one = os.path.realpath(models_dir), one or scan_model
    found = {}
    for entry in _entries(root):
        if MODEL_NAME.fullmatch(entry.name) and entry.is_dir():
            model = one(root, entry)
            if model is not None:
                found[entry.name] = model
    return found


def look(models_dir: str | Path, model: str, version: int) -> VersionFiles | None:
    """One version, as `scan` would see it now; None when it is not there."""
    if not MODEL_NAME.fullmatch(model) or not VERSION_NAME.fullmatch(str(version)):
        return None
    root = os.path.realpath(models_dir)
    path = os.path.join(root, model)
    if not os.path.isdir(os.path.join(path, str(version))):
        return None
    if _leaves(path, root):
        return VersionFiles(path, "", refusal="its model's directory is a symbolic link out of the model repository")
    return _scan_version(root, os.path.join(path, str(version)), _manifest_stamp(path))


def settled(before: Mapping[str, ModelFiles], now: Mapping[str, ModelFiles]) -> set[tuple[str, int]]:
    """The (model, version) pairs whose files stood still between two scans: only those are taken (rulings 2)."""
    return {
        (name, version)
        for name, model in now.items()
        if (old := before.get(name)) is not None
        for version, files in model.versions.items()
        if (was := old.versions.get(version)) is not None and was.stamp == files.stamp
    }


def files_of(version_dir: str, root: str) -> list[FileState]:
    """All files of a version, by name. Raises Refused when one of them may not be used. `root` must be a real path.

    Links must stay in the repository; a file beside the model may have one name only, since a hard link is a way to
    read a file from anywhere as external data that ONNX Runtime does not notice.
    """
    files = list(_walk(version_dir, "", root, 0))
    names = {file.name for file in files}
    if MODEL_FILE not in names:
        raise Refused(_missing(version_dir, names))
    if any(file.name == MODEL_FILE and file.size_bytes == 0 for file in files):
        raise Refused(f"{MODEL_FILE} is empty")
    return sorted(files, key=lambda file: file.name)


def digest(version_dir: str, root: str) -> str:
    """`sha256:<hex>` over the relative names, sizes and contents of a version's files. Raises Refused, OSError."""
    whole = sha256()
    for file in files_of(version_dir, root):
        whole.update(f"{file.name}\0{file.size_bytes}\0".encode())
        _hash_content(os.path.join(version_dir, file.name), whole.update)
    return f"sha256:{whole.hexdigest()}"


def trail(path: str, models_dir: str | Path) -> str:
    """Stands for every directory and link that lead to a version's files, as they are now: one that is exchanged for
    another, and put back, is no longer what it was (its change time is new). Raises OSError."""
    root = os.path.realpath(models_dir)
    seen: dict[str, str] = {}
    _note(path, root, seen)
    _note_inside(path, root, seen, 0)
    return _fold([f"{place}\0{seen[place]}" for place in sorted(seen)])


def _note(path: str, root: str, seen: dict[str, str]) -> None:
    """Note each part of a path below the root, and of where its links lead."""
    place = root
    for part in os.path.relpath(path, root).split("/"):
        place = os.path.dirname(place) if part == ".." else os.path.join(place, part)
        if place in seen or len(seen) > MAX_FILES:
            place = os.path.realpath(place)
            continue
        status = os.lstat(place)
        seen[place] = f"{status.st_ino}\0{status.st_ctime_ns}"
        if stat.S_ISLNK(status.st_mode):
            _note(os.path.join(os.path.dirname(place), os.readlink(place)), root, seen)
            place = os.path.realpath(place)


def _note_inside(directory: str, root: str, seen: dict[str, str], depth: int) -> None:
    for entry in _entries(directory):
        inner = entry.is_dir()
        if inner or entry.is_symlink():
            _note(entry.path, root, seen)
        if inner and depth < MAX_DEPTH:
            _note_inside(entry.path, root, seen, depth + 1)


def read_beside(models_dir: str | Path, model: str, name: str) -> bytes | None:
    """A small file beside a model's versions (`model.toml`, golden rows); None when it is not there. Raises Refused."""
    root = os.path.realpath(models_dir)
    path = os.path.join(root, model, name)
    if "/" in name or name.startswith(".") or _leaves(path, root):
        raise Refused(f"{name!r} is not a file in the model's directory")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BESIDE_BYTES:
                raise Refused(f"{name} is not a regular file of at most {MAX_BESIDE_BYTES >> 20} MiB")
            return file.readall()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}") from error


def scan_model(root: str, entry: os.DirEntry[str]) -> ModelFiles | None:
    """One directory of the repository, whose real path is `root`; None when it holds no model."""
    if entry.name in RESERVED:
        return ModelFiles(entry.path, "", refusal=RESERVED[entry.name])
    if entry.is_symlink() and _leaves(entry.path, root):
        return ModelFiles(entry.path, "", refusal="is a symbolic link out of the model repository")
    try:
        entries = list(_entries(entry.path))
        beside = _side_stamp(entries)
    except FileNotFoundError:
        return None  # it went while we looked; the next scan sees it whole
    except OSError as error:
        return ModelFiles(entry.path, "", refusal=f"cannot be read: {error.strerror}")
    manifest = _manifest_stamp(entry.path)
    versions = {
        int(inner.name): _scan_version(root, inner.path, manifest)
        for inner in entries
        if VERSION_NAME.fullmatch(inner.name) and inner.is_dir()
    }
    if not versions and not manifest:
        return None
    return ModelFiles(entry.path, beside, versions)


def _scan_version(root: str, path: str, manifest: str) -> VersionFiles:
    if os.path.islink(path) and _leaves(path, root):
        return VersionFiles(path, "", refusal="is a symbolic link out of the model repository")
    try:
        files = files_of(path, root)
    except Refused as refused:
        return VersionFiles(path, _fold([str(refused)]), refusal=str(refused))
    except OSError as error:
        return VersionFiles(path, "", refusal=f"cannot be read: {error.strerror}")
    stamp = _fold([manifest, *(file.text() for file in files)])
    return VersionFiles(path, stamp, sum(file.size_bytes for file in files))


def _walk(directory: str, prefix: str, root: str, depth: int) -> Iterator[FileState]:
    if depth > MAX_DEPTH:
        raise Refused(f"directories are nested deeper than {MAX_DEPTH}")
    for count, entry in enumerate(_entries(directory)):
        name = prefix + entry.name
        if count >= MAX_FILES:
            raise Refused(f"more than {MAX_FILES} files in one directory")
        if entry.is_symlink() and _leaves(entry.path, root):
            raise Refused(f"{name} is a symbolic link out of the model repository")
        if entry.is_dir():
            yield from _walk(entry.path, name + "/", root, depth + 1)
        else:
            yield _file_state(name, entry.stat())


def _file_state(name: str, status: os.stat_result) -> FileState:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{name} is not a regular file")
    if status.st_nlink > 1 and name != MODEL_FILE:
        raise Refused(f"{name} has several hard links, so it may be a file from elsewhere; copy it instead")
    return FileState.of(name, status)


def _missing(version_dir: str, names: set[str]) -> str:
    if os.path.isdir(os.path.join(version_dir, MODEL_FILE)):
        return f"{MODEL_FILE} is a directory"
    return f"there is no {MODEL_FILE}" if names else "the directory is empty"


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        yield from entries


def _leaves(path: str, root: str) -> bool:
    return not os.path.realpath(path).startswith(root.rstrip("/") + "/")


def _manifest_stamp(model_dir: str) -> str:
    try:
        return FileState.of(MANIFEST_FILE, os.stat(os.path.join(model_dir, MANIFEST_FILE))).text()
    except OSError:
        return ""


def _side_stamp(entries: list[os.DirEntry[str]]) -> str:
    plain = (entry for entry in entries if not entry.name.startswith(".") and entry.is_file())
    return _fold(sorted(FileState.of(entry.name, entry.stat()).text() for entry in plain))


def _fold(parts: list[str]) -> str:
    return blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _hash_content(path: str, update: Callable[[bytes], None]) -> None:
    # Not blocking: whoever swaps the file for a pipe must not hold up everyone else's models.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            update(chunk)
