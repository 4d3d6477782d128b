"""Changes of the file of API keys: a new one at its end, one taken out; the file is exchanged at once or not at all."""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from router.access import PREFIX, digest_of, read_keys
from router.errors import InvalidArgument, Unavailable
from service.access import load_keys

HEAD: Final = """\
# Who may use this gateway; `serin key` writes it, and docs/how-to/who-may-do-what.md says what each line means.
# It holds hashes of keys and no key.
"""
SECRET_BYTES: Final = 32
ID_SIGNS: Final = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH: Final = 12
_TABLE = re.compile(r"^\s*\[\[\s*key\s*\]\]", re.M)


@dataclass(frozen=True, slots=True)
class Made:
    """A new key, and the id in it."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new key shall be."""

    name: str
    roles: tuple[str, ...]
    models: tuple[str, ...] = ()
    expires: datetime | None = None
    requests_per_second: float | None = None
    burst: float | None = None
    note: str = ""


def make() -> Made:
    """A key that nobody has."""
    identity = "".join(secrets.choice(ID_SIGNS) for _ in range(ID_LENGTH))
    return Made(identity, f"{PREFIX}_{identity}_{secrets.token_urlsafe(SECRET_BYTES)}")


def add(path: Path, made: Made, wish: Wish) -> None:
    """Add the hash of a key to a file, which is made when missing. Raises InvalidArgument, Unavailable."""
    with _alone(path):
        text = _text(path) if path.exists() else HEAD
        whole = f"{text.rstrip()}\n\n{_block(made, wish)}"
        read_keys(whole)
        _exchange(path, whole)


def revoke(path: Path, identity: str) -> bool:
    """Take the key with this id out of a file, with all that stands between it and the next. False without one."""
    with _alone(path):
        text = _text(path)
        before = read_keys(text)
        if identity not in before:
            return False
        starts = [found.start() for found in _TABLE.finditer(text)]
        pieces = [text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True)]
        whole = "".join(piece for piece in pieces if not re.search(rf'^\s*id\s*=\s*["\']{identity}["\']', piece, re.M))
        if read_keys(whole) != {other: key for other, key in before.items() if other != identity}:
            raise InvalidArgument(
                f"{path}: is written in a way that cannot be changed by machine; take the key out by hand"
            )
        _exchange(path, whole)
    return True


def _text(path: Path) -> str:
    load_keys(path)
    return path.read_text()


def _block(made: Made, wish: Wish) -> str:
    lines = [
        "[[key]]",
        f"id = {_quoted(made.id)}",
        f"name = {_quoted(wish.name)}",
        f"sha256 = {_quoted(digest_of(made.key.encode()).hex())}",
        f"roles = [{', '.join(map(_quoted, dict.fromkeys(wish.roles)))}]",
    ]
    if wish.models:
        lines.append(f"models = [{', '.join(map(_quoted, dict.fromkeys(wish.models)))}]")
    if wish.expires is not None:
        lines.append(f"expires = {wish.expires.isoformat(timespec='seconds')}")
    if wish.requests_per_second is not None:
        lines.append(f"requests_per_second = {wish.requests_per_second}")
    if wish.burst is not None:
        lines.append(f"burst = {wish.burst}")
    if wish.note:
        lines.append(f"note = {_quoted(wish.note)}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """A TOML string, which JSON's are but for one sign."""
    return json.dumps(text).replace("\x7f", "\\u007f")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile; raises Unavailable when it cannot be changed."""
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InvalidArgument(f"{path}: its directory cannot be opened: {os.strerror(error.errno or 0)}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(folder)


def _exchange(path: Path, text: str) -> None:
    """For its owner alone, or with the rights and the owner that the old file has."""
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        if path.exists():
            told = path.stat()
            os.fchmod(descriptor, told.st_mode & 0o777)
            with suppress(PermissionError):  # only root may give a file away
                os.fchown(descriptor, told.st_uid, told.st_gid)
        os.fsync(descriptor)
    fresh.replace(path)
