"""What the inventory remembers from one life to the next: verdicts, and what it was doing when it died.

Three files in the state directory: `inventory.json` (verdicts, written whole and renamed into place),
`inventory.attempt` (the content whose first load has begun) and `inventory.crash` (the last words of the process, which
the interpreter's fault handler writes when a signal or the alarm ends it).
"""

import faulthandler
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec

from router.decoding import decoder
from service.runtime.verdict import Verdict

FORMAT = 1
PATIENCE = 3
"""Deaths of unknown cause (SIGKILL says nothing about a file) before the content is given up."""

MAX_REMEMBERED = 20_000
MAX_LAST_WORDS = 65_536
_FATAL = re.compile(r"^Fatal Python error: (.+?)$", re.M)


class Attempt(msgspec.Struct, frozen=True):
    """A first load that has begun. `key` stands for content and rules together."""

    key: str
    label: str


@dataclass(slots=True)
class Memory:
    """The content of `inventory.json`. `digests`: path within the repository -> (stamp, digest), so that big files are
    hashed once; `deaths`: how often the process died of unknown cause while it loaded a content first."""

    format: int = FORMAT
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    digests: dict[str, tuple[str, str]] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)


class Ledger:
    """One inventory's memory. Made when the process starts; `mourned` says what its predecessor died of, if it did.

    Making it and `save` raise OSError where the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / "inventory.json"
        self._attempt = directory / "inventory.attempt"
        self._crash = directory / "inventory.crash"
        self.memory = _read(self._file)
        self.mourned = self._mourn()
        self._dirty = False
        if self.mourned is not None:
            # At once: a second file that kills must not let the first be forgotten.
            self._dirty = True
            self.save()

    def verdict(self, key: str) -> Verdict | None:
        """What was found out earlier."""
        return self.memory.verdicts.get(key)

    def digest(self, place: str, stamp: str) -> str | None:
        """The digest of files that have not changed since they were hashed."""
        known = self.memory.digests.get(place)
        return known[1] if known and known[0] == stamp else None

    def remember_digest(self, place: str, stamp: str, digest: str) -> None:
        """See `digest`."""
        self.memory.digests.pop(place, None)
        self.memory.digests[place] = (stamp, digest)
        self._dirty = True

    @contextmanager
    def attempt(self, key: str, label: str) -> Iterator[None]:
        """Note that a first load begins, and that the process lived through it."""
        _replace(self._attempt, msgspec.json.encode(Attempt(key, label)))
        try:
            yield
        finally:
            self.give_up_attempt()
        self.memory.deaths.pop(key, None)

    def give_up_attempt(self) -> None:
        """An orderly end during a load blames nobody."""
        self._attempt.unlink(missing_ok=True)

    def remember(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict that was good. A bad one that cost nothing may be better next time (memory, a busy disk)."""
        if not verdict.passed:
            return
        self.memory.verdicts.pop(key, None)
        self.memory.verdicts[key] = verdict
        self._dirty = True

    def save(self) -> None:
        """Write what is new."""
        if not self._dirty:
            return
        _forget_oldest(self.memory.verdicts)
        _forget_oldest(self.memory.digests)
        _replace(self._file, msgspec.json.encode(self.memory))
        self._dirty = False

    def last_words(self) -> TextIO:
        """Open the file that the fault handler writes to; empties it. The caller keeps it open."""
        return self._crash.open("w")

    def _mourn(self) -> str | None:
        """Judge what a predecessor was loading when it died; a line for the log, or None."""
        attempt, words = _read_attempt(self._attempt), _read_words(self._crash)
        self.give_up_attempt()
        self._crash.unlink(missing_ok=True)
        if attempt is None:
            return None
        if (cause := cause_of_death(words)) is None:
            deaths = self.memory.deaths[attempt.key] = self.memory.deaths.get(attempt.key, 0) + 1
            if deaths < PATIENCE:
                return f"the inventory ended while it first loaded {attempt.label}; it is tried again"
            cause = f"ended {deaths} times for reasons unknown (out of memory?)"
        verdict = Verdict(False, f"the process that first loaded it {cause}")
        self.memory.deaths.pop(attempt.key, None)
        self.memory.verdicts[attempt.key] = verdict
        return f"{attempt.label}: {verdict.reason}"


def cause_of_death(words: str) -> str | None:
    """What the fault handler wrote last, as the end of a sentence; None where it says nothing of a fault."""
    if fatal := _FATAL.search(words):
        return f"died: {fatal[1]}"
    return "took too long and was ended" if words.lstrip().startswith("Timeout") else None


@contextmanager
def alarm(seconds: float, last_words: TextIO | None) -> Iterator[None]:
    """End the process when the block takes longer; native code cannot be ended otherwise. None: no alarm."""
    if last_words is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=last_words)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _read(file: Path) -> Memory:
    with suppress(OSError, msgspec.MsgspecError):
        memory = decoder(Memory).decode(file.read_bytes())
        if memory.format == FORMAT:
            return memory
    return Memory()  # only time is lost: everything is examined again


def _read_attempt(file: Path) -> Attempt | None:
    with suppress(OSError, msgspec.MsgspecError):
        return decoder(Attempt).decode(file.read_bytes())
    return None


def _read_words(file: Path) -> str:
    with suppress(OSError), file.open(errors="replace") as words:
        return words.read(MAX_LAST_WORDS)
    return ""


def _forget_oldest(remembered: dict[str, Any]) -> None:
    for key in list(remembered)[: max(0, len(remembered) - MAX_REMEMBERED)]:
        del remembered[key]


def _replace(file: Path, content: bytes) -> None:
    new = file.with_suffix(file.suffix + ".new")
    new.write_bytes(content)
    os.replace(new, file)
