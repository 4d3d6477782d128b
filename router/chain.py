"""The chain of the history: each event carries a hash over the hash before it and over itself.

hash = SHA-256 of the previous hash (64 hexadecimal digits; before the first event zeros), a newline, and the event's
JSON: keys sorted, no spaces, ASCII alone, without `hash`, without what is null, and without empty text but in `before`
and `after`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.errors import FailedPrecondition, InvalidArgument

GENESIS: Final = "0" * 64
LEAST_DIGITS: Final = 12
ANY_VALUE: Final = ("before", "after")


class ChainBroken(FailedPrecondition):
    """The history is not what was recorded; the message names the first event that does not fit."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A chain that was walked to its end. `kept_at`: the event whose hash was the one that was looked for."""

    events: int
    head: str
    kept_at: int | None = None


def canonical(event: Mapping[str, Any]) -> bytes:
    """The bytes of an event that its hash is over."""
    told = {
        name: value
        for name, value in event.items()
        if name != "hash" and value is not None and (value != "" or name in ANY_VALUE)
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def link(previous: str, event: Mapping[str, Any]) -> str:
    """The hash of an event that follows the one with the hash `previous`."""
    return hashlib.sha256(previous.encode("ascii") + b"\n" + canonical(event)).hexdigest()


def walk(events: Iterable[Mapping[str, Any]], kept: str = "") -> Whole:
    """Walk all events, oldest first. `kept`: a hash, or its first digits, that must be among theirs. Raises
    ChainBroken, InvalidArgument when `kept` is no hash."""
    kept = kept.lower()
    if kept and (len(kept) < LEAST_DIGITS or len(kept) > len(GENESIS) or set(kept) - set("0123456789abcdef")):
        raise InvalidArgument(f"a head is {LEAST_DIGITS} to {len(GENESIS)} hexadecimal digits")
    count, head, kept_at = 0, GENESIS, None
    for event in events:
        head, count = _step(event, count + 1, head), count + 1
        if kept and kept_at is None and head.startswith(kept):
            kept_at = count
    if kept and kept_at is None:
        raise ChainBroken(
            f"no event has the hash {kept}; the last of {count} has {head[:LEAST_DIGITS]}...: events were cut off at"
            " the end, or the history was written anew"
        )
    return Whole(count, head, kept_at)


def _step(event: Mapping[str, Any], number: int, head: str) -> str:
    identity = event.get("id")
    if identity != number or isinstance(identity, bool):
        raise ChainBroken(f"event {number} is missing: {identity!r} stands in its place")
    found = link(head, event)
    if found != event.get("hash"):
        raise ChainBroken(f"event {number} does not fit: it, or its hash, is not what was recorded")
    return found
