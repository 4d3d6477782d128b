"""A second, virtual split of one variant's requests: an A/A whose two arms are the same version, beside live traffic.

Callers with a key are drawn by key, so that an arm gets whole callers, as a candidate does; each round draws anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

from router.telemetry import DRAWN_ONE_IN, ROUND_BITS, VariantSeries


@dataclass(frozen=True, slots=True)
class VirtualArm:
    """One of eight requests is counted once more. `draw`: a uniform number in [0, 1)."""

    series: VariantSeries
    draw: Callable[[], float]

    def takes(self, key: bytes | None, now_ns: int) -> bool:
        """Whether a request of this caller, at this time, belongs to the arm."""
        if key is None:
            return self.draw() * DRAWN_ONE_IN < 1.0
        return xxh3_64_intdigest(key, now_ns >> ROUND_BITS) % DRAWN_ONE_IN == 0
