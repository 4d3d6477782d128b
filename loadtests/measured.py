"""What one round of load came to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True, slots=True)
class Measured:
    """`requests` were answered with 200 within `seconds`; `errors` by what went wrong, the warm-up included.

    `core_micros`: what the server's processes computed for each request; 0 where nobody looked. Other programs on the
    machine change it much less than they change the rate.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int] = field(default_factory=dict)
    core_micros: float = 0.0

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


def summary(latencies_seconds: Iterable[float], seconds: float, errors: Mapping[str, int]) -> Measured:
    """Measured from the latency of each request."""
    ordered = sorted(latencies_seconds)
    p50, p99 = (percentile(ordered, share) * 1000 for share in (0.50, 0.99))
    return Measured(len(ordered), seconds, p50, p99, dict(errors))


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed (nearest rank); 0 when there are none."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0
