"""How long the shadow rests after a copy: the more that one held up requests, the longer. Pure.

What a copy costs requests is measured. Part of it is what the threads that answer them waited for a processor
meanwhile, beyond what they wait anyway; the rest is the time for which the copy held the interpreter, as far as the
event loop was likely to want it just then: its share of the time it computes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Final

MOST_HELD_UP: Final = 0.002
"""The share of the time for which a copy may hold up requests. With one that takes a tenth of a millisecond of theirs,
that is 20 copies a second: too few for the 99th percentile to see."""

SAVED_NS: Final = 2_000_000
"""So much may be saved up in quiet times, for the copies of a burst."""

LONGEST_REST_NS: Final = 50_000_000
LONGEST_RESTS: Final = 100
MOST_REST_NS: Final = 2_000_000_000
"""A rest is no longer than the first, or than so many times what the copy computed, and never than the last: on a
machine where others compute too, what was waited says little, and some copies must run even there. Where all rests are
that long, copies run for 1 % of the time."""

MEMORY_NS: Final = 1e9
"""How far back the usual waiting is averaged."""

RECENT: Final = 0.2
"""What the waiting of one copy counts in the average over copies: one says little where other programs run."""


@dataclass(frozen=True, slots=True)
class Toll:
    """What the event loop has computed so far, and what it and the threads of models have waited for a processor."""

    computed_ns: int = 0
    waited_ns: int = 0


Measure = Callable[[], Toll]


def free_of_charge() -> Toll:
    """For who cannot tell."""
    return Toll()


class Restraint:
    """`begin` before a copy, `end` a moment after it; `end` says how long to rest. All times are in nanoseconds."""

    def __init__(self, now_ns: int, toll: Toll) -> None:
        self._left_ns, self._left = now_ns, toll
        self._begun_ns, self._begun = now_ns, toll
        self._usual = self._waits = 0.0
        self._debt = 0.0

    def begin(self, now_ns: int, toll: Toll) -> None:
        """A copy is about to run. What was waited since the last one is what is waited anyway."""
        self._begun_ns, self._begun = now_ns, toll
        alone_ns = now_ns - self._left_ns
        if alone_ns > 0:
            waits = (toll.waited_ns - self._left.waited_ns) / alone_ns
            self._usual += (1 - exp(-alone_ns / MEMORY_NS)) * (waits - self._usual)

    def end(self, now_ns: int, toll: Toll, held_ns: int, computed_ns: int) -> int:
        """The copy has run: it computed for so long, and held the interpreter for a part of that."""
        took, passed = now_ns - self._begun_ns, now_ns - self._left_ns
        waited = toll.waited_ns - self._begun.waited_ns - self._usual * took
        busy = min(1.0, (toll.computed_ns - self._left.computed_ns) / passed) if passed > 0 else 1.0
        self._left_ns, self._left = now_ns, toll
        self._waits += RECENT * (min(took, max(-took, waited)) - self._waits)
        held_up = max(0.0, self._waits) + busy * held_ns
        most = MOST_HELD_UP * min(MOST_REST_NS, max(LONGEST_REST_NS, LONGEST_RESTS * computed_ns))
        self._debt = min(most, max(-SAVED_NS, self._debt - MOST_HELD_UP * passed) + held_up)
        return max(0, int(self._debt / MOST_HELD_UP))
