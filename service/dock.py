"""Requests that stand accused of having killed a worker: suspected once, convicted the second time, or cleared.

A death says which requests were running. Each of them is a suspect until it is run once more, on its own, and nothing
happens; if the worker dies of that too, the request is poison to that content: no worker runs it again. So a request
that kills always takes two workers with it, and blames a version that answers everybody else twice and no more. Pure
but for `load` and `save`.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.crashes import OpenSlot, Suspect

MOST_SUSPECTS = 1024
MOST_POISON = 4096
FILE = "poison.json"


@dataclass(slots=True)
class Dock:
    """What is known; newest last. Both are bounded: the oldest are forgotten."""

    suspects: dict[Suspect, None] = field(default_factory=dict)
    poison: dict[Suspect, None] = field(default_factory=dict)

    def died(self, slots: Iterable[OpenSlot]) -> Suspect | None:
        """A worker died of what was running. The request that is poison from now on, if that is known; the others are
        suspects."""
        seen = list(slots)
        again = [found for slot in seen if slot.alone and (found := suspect_of(slot)) in self.suspects]
        if len(again) == 1:
            del self.suspects[again[0]]
            self.poison[again[0]] = None
            _forget(self.poison, MOST_POISON)
            return again[0]
        for slot in seen:
            if slot.body_hash:  # what is loaded or warmed up is no request
                self.suspects[suspect_of(slot)] = None
        _forget(self.suspects, MOST_SUSPECTS)
        return None

    def cleared(self, suspect: Suspect) -> bool:
        """It was run on its own, and nothing happened. Whether that is news."""
        known = suspect in self.suspects
        self.suspects.pop(suspect, None)
        return known

    def told(self) -> dict[str, list[dict[str, Any]]]:
        """For workers."""
        return {"suspects": [plain(one) for one in self.suspects], "poison": [plain(one) for one in self.poison]}

    def load(self, state: Path) -> None:
        """Take up what an earlier life convicted; a file that cannot be read is none."""
        with suppress(OSError, ValueError, TypeError, LookupError):
            for one in json.loads((state / FILE).read_text())[-MOST_POISON:]:
                self.poison[suspect_from(one)] = None

    def save(self, state: Path) -> None:
        """Remember the convicted. Raises OSError."""
        draft = state / f"{FILE}.new"
        draft.write_text(json.dumps([plain(one) for one in self.poison]))
        os.replace(draft, state / FILE)


def suspect_of(slot: OpenSlot) -> Suspect:
    """The request of an open run."""
    return Suspect(slot.model, slot.version, slot.digest, slot.body_hash)


def plain(one: Suspect) -> dict[str, Any]:
    """As a value of JSON."""
    return {"model": one.model, "version": one.version, "digest": one.digest, "body": f"{one.body_hash:016x}"}


def suspect_from(told: Mapping[str, Any]) -> Suspect:
    """The reverse of `plain`. Raises LookupError, TypeError or ValueError."""
    return Suspect(str(told["model"]), int(told["version"]), str(told["digest"]), int(told["body"], 16))


def _forget(known: dict[Suspect, None], most: int) -> None:
    for one in list(known)[: max(0, len(known) - most)]:
        del known[one]
