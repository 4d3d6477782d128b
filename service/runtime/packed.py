"""Weights of big versions as kernels read them, written once and mapped by every worker: `<state>/packed/<key>/`.

When ONNX Runtime loads a model it rearranges the weights of matrix products for its kernels, so that each process holds
a private copy of nearly all of them, even where the file itself is mapped. What one process arranged and wrote down
others map: the copy is in memory once. It holds for one ONNX Runtime on one kind of processor only, so both are part of
the key. The original stays what counts: whatever is wrong with a packed version, the original is loaded instead.
"""

import logging
import os
import shutil
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from router.errors import SerinError
from service.runtime.repository import MODEL_FILE, VersionFiles
from service.runtime.session import RUNTIME_VERSION, SessionOptions, write_packed

DIRECTORY = "packed"
FORMAT = 1
UNFINISHED = ".unfinished-"
log = logging.getLogger("packed")


class Packed:
    """One inventory writes (`pack`, `keep_only`), any worker reads (`path`).

    `least_bytes`: smaller versions are not worth a second file; 0 packs none. So does a lone worker.
    """

    def __init__(self, state: Path, least_bytes: int, workers: int) -> None:
        self._directory = state / DIRECTORY
        self._least_bytes = least_bytes if workers > 1 else 0
        self._machine = f"{FORMAT} {RUNTIME_VERSION} {processor(Path('/proc/cpuinfo'))}"

    def path(self, digest: str) -> str | None:
        """The packed model of this content; None where there is none."""
        file = self._directory / self._key(digest) / MODEL_FILE
        return str(file) if digest and self._least_bytes and file.is_file() else None

    def wants(self, files: VersionFiles, digest: str) -> bool:
        """Whether it is worth packing, and not yet packed."""
        return 0 < self._least_bytes <= files.size_bytes and self.path(digest) is None

    def pack(self, files: VersionFiles, digest: str, options: SessionOptions) -> None:
        """Pack a version that can be served. Blocks; raises nothing that the file or a full disk can cause."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            unfinished = Path(mkdtemp(prefix=UNFINISHED, dir=self._directory))
        except OSError as error:
            log.warning("weights cannot be packed for the workers to share: %s", error.strerror)
            return
        try:
            write_packed(os.path.join(files.path, MODEL_FILE), str(unfinished / MODEL_FILE), options)
            _sync(unfinished)
            unfinished.rename(self._directory / self._key(digest))
        except (OSError, SerinError, MemoryError) as error:
            log.warning("%s: its weights cannot be packed, so each worker keeps a copy: %s", files.path, error)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def keep_only(self, digests: Collection[str]) -> None:
        """Remove what was packed of any other content, or for another machine, or not to its end. Sessions that have
        mapped it keep it."""
        kept = {self._key(digest) for digest in digests} if self._least_bytes else set()
        try:
            gone = [entry for entry in os.scandir(self._directory) if entry.name not in kept]
        except OSError:
            return
        for entry in gone:
            shutil.rmtree(entry.path, ignore_errors=True)

    def _key(self, digest: str) -> str:
        return sha256(f"{self._machine}\0{digest}".encode()).hexdigest()[:32]


def processor(cpuinfo: Path) -> str:
    """What kernels are chosen by: the processor's name and abilities. "" where the kernel does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ""
    first: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        first.setdefault(name.strip(), value.strip())
    return "\0".join(first.get(name, "") for name in ("model name", "flags", "Features"))


def _sync(directory: Path) -> None:
    """All of it on the disk before its name says that it is whole."""
    for path in (*directory.iterdir(), directory):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
