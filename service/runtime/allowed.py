"""Which content may be loaded: a file of digests that the server's administrator keeps, read again when it changes."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from router.errors import InvalidArgument

LINE: Final = re.compile(r"(sha256:[0-9a-f]{64})(?:\s.*)?")
MAX_FILE_BYTES: Final = 16 << 20

Refusal = Callable[[str], str | None]
"""Why a digest may not be loaded; None when it may."""

log = logging.getLogger("allowed")


class AllowedError(InvalidArgument):
    """A file of digests that cannot be used."""


def anything(digest: str) -> str | None:
    """Where there is no list."""
    return None


def read_digests(file: Path) -> frozenset[str]:
    """One `sha256:<64 hexadecimal digits>` a line; what follows it, lines that begin with `#`, and empty ones are for
    people. Raises AllowedError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AllowedError(f"{file}: cannot be read: {os.strerror(error.errno or 0)}") from error
    if len(content) > MAX_FILE_BYTES:
        raise AllowedError(f"{file}: is larger than {MAX_FILE_BYTES >> 20} MiB")
    found = set()
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if (match := LINE.fullmatch(text)) is None:
            raise AllowedError(f"{file}: line {number} does not begin with sha256: and 64 hexadecimal digits")
        found.add(match[1])
    return frozenset(found)


class Allowed:
    """The digests of one file; those read last stay while it cannot be used. Raises AllowedError when made."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp = _stamp(file)
        self._digests = read_digests(file)
        self.trouble = ""

    def __call__(self, digest: str) -> str | None:
        """See `Refusal`."""
        if digest in self._digests:
            return None
        return f"its digest {digest or '(none)'} is not in the list of those that may be loaded"

    def renew(self) -> bool:
        """Read the file again if it changed; whether other digests are allowed now."""
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return False
        try:
            found = read_digests(self._file)
        except AllowedError as error:
            if error.message != self.trouble:
                log.error("the list of digests cannot be used, the old one stays: %s", error.message)
            self.trouble = error.message
            return False
        self._stamp, self.trouble = stamp, ""
        changed, self._digests = found != self._digests, found
        if changed:
            log.warning("another list of digests: %d may be loaded", len(found))
        return changed


def allowed_by(file: Path | None) -> Allowed | None:
    """None where there is no list, so that anything may be loaded. Raises AllowedError."""
    return None if file is None else Allowed(file)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_mtime_ns, status.st_size, status.st_ino
