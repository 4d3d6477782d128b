"""Versions that are served elsewhere: `other#digits/3` is model digits, version 3, at `[upstreams.other]`. Pure.

Routes, counters and tables know versions by number. A target has one that follows from its text alone, so that every
process and every start of the gateway finds the same one, and nobody has to remember which was given to whom.
"""

import re
from dataclasses import dataclass
from typing import Final

from xxhash import xxh3_64_intdigest

from router.errors import InvalidArgument
from router.names import is_name

FIRST: Final = 9_000_000_000_000_000
"""Numbers of targets begin here: above what people count to or write as a date, below 2^53 for readers of JSON."""

SPREAD: Final = 10**12
"""Two of 64 targets have the same number once in a billion such sets; the second of them is refused."""

DIGEST: Final = "remote:"

_TARGET = re.compile(r"(?P<upstream>[^#/]+)#(?P<model>[^#/]+)(?:/(?P<version>[^#/]+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """A model of an upstream; `version` is empty where the upstream is to choose."""

    upstream: str
    model: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.upstream}#{self.model}" + (f"/{self.version}" if self.version else "")

    @property
    def number(self) -> int:
        """The version number that stands for it here."""
        return FIRST + xxh3_64_intdigest(str(self).encode()) % SPREAD

    @property
    def path(self) -> str:
        """What follows the upstream's URL. Names hold nothing that means something in a URL."""
        return f"/v2/models/{self.model}" + (f"/versions/{self.version}" if self.version else "")

    def digest(self, of: str = "") -> str:
        """What a table calls its content; `of` tells one signature from another."""
        return f"{DIGEST}{self}@{of}"


def is_target(reference: str) -> bool:
    """Whether a reference to a version means one elsewhere."""
    return "#" in reference


def is_remote(version: int) -> bool:
    """Whether a version number stands for a target."""
    return FIRST <= version < FIRST + SPREAD


def parse_target(reference: str) -> Target:
    """`upstream#model` or `upstream#model/version`. Raises InvalidArgument."""
    match = _TARGET.fullmatch(reference)
    if match is None or not all(is_name(part) for part in match.groups() if part is not None):
        raise InvalidArgument(f"{reference[:128]!r} is not upstream#model or upstream#model/version")
    return Target(match["upstream"], match["model"], match["version"] or "")


def target_of(digest: str) -> Target | None:
    """The target whose content a table means; None for content on disk."""
    if not digest.startswith(DIGEST):
        return None
    return parse_target(digest.removeprefix(DIGEST).rpartition("@")[0])


def default_name(reference: str) -> str:
    """The name of a variant that was given none: the reference, with what a name may not hold as dots."""
    return reference.replace("#", ".").replace("/", ".")
