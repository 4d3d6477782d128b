"""Decoders of JSON into types, made one at a time.

What msgspec knows of a class it finds out when that is first used, and two threads that do so at once end the process
(seen with 0.22: a segmentation fault while two versions were loaded). So whoever decodes into a type asks here.
"""

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_KNOWN: dict[Any, "msgspec.json.Decoder[Any]"] = {}
_LOCK = Lock()


def decoder(kind: type[T]) -> "msgspec.json.Decoder[T]":
    """The one decoder of `kind`: a class, or what `typing` makes of some. For all threads."""
    found = _KNOWN.get(kind)
    if found is None:
        with _LOCK:
            found = _KNOWN.get(kind)
            if found is None:
                found = _KNOWN[kind] = msgspec.json.Decoder(kind)
    return found
