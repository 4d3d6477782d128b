"""Histograms as Prometheus shows them, and their sums, also of different edges. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts at or below each edge, then all of them."""

    edges: tuple[float, ...]
    below: tuple[float, ...]
    sum: float | None = None

    @classmethod
    def of(cls, edges: Sequence[float], cells: Sequence[int], sum_value: float | None = None) -> "Histogram":
        return cls(tuple(edges), tuple(accumulate(cells)), sum_value)

    def plus(self, other: "Histogram") -> "Histogram":
        """The sum over the edges of both. What one of them does not know between two of its own edges it counts at the
        next one that both share or it owns: never too early, so no bucket ever goes down."""
        edges = self.edges if self.edges == other.edges else tuple(sorted({*self.edges, *other.edges}))
        pairs = zip(self._at(edges), other._at(edges), strict=True)
        total_sum = None if self.sum is None or other.sum is None else self.sum + other.sum
        return Histogram(edges, tuple(mine + theirs for mine, theirs in pairs), total_sum)

    def thinned(self) -> "Histogram":
        """Every second edge, and the last."""
        keep = sorted({*range(0, len(self.edges), 2), len(self.edges) - 1})
        below = (*(self.below[i] for i in keep), self.below[-1])
        return Histogram(tuple(self.edges[i] for i in keep), below, self.sum)

    def buckets(self) -> list[tuple[str, float]]:
        return list(zip([*(repr(float(edge)) for edge in self.edges), "+Inf"], self.below, strict=True))

    def _at(self, edges: tuple[float, ...]) -> Iterator[float]:
        if edges == self.edges:
            yield from self.below
            return
        known = dict(zip(self.edges, self.below, strict=False))
        count = 0.0
        for edge in edges:
            count = known.get(edge, count)
            yield count
        yield self.below[-1]
