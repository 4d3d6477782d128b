"""Callers counted beside requests: each once in a rollout, with its first request.

All requests of a caller go to one variant and share its luck: counting them all takes a few busy callers for proof.
"""

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Protocol

from router.layout import How
from router.routes import Route, Units
from router.telemetry import Recorder, SeriesName, VariantSeries
from router.tokens import Given
from service.calls import Assignment
from service.feedback import Stamp
from service.runtime.loaded import Loaded
from service.seen import SeenCallers
from service.watch import Watch


class Means(Protocol):
    """What is needed of the worker."""

    @property
    def recorder(self) -> Recorder: ...
    def peek(self, model: str, version: int) -> Loaded | None: ...
    def stamp(self, given: Given, watch: Watch | None) -> Stamp | None: ...


@dataclass(slots=True)
class Callers:
    """The callers of one route's rollout, in one worker."""

    route: Route
    means: Means
    seen: SeenCallers
    _bound: dict[str, tuple[Watch | None, VariantSeries, Stamp | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, route: Route, units: Units, means: Means, directory: Path) -> "Callers":
        """With room for all that may be counted. Raises ResourceExhausted when the state directory has none."""
        seen = SeenCallers(directory, units.rollout, units.step, units.steps)
        callers = cls(route, means, seen)
        for variant in route.variants:
            if variant.weight_ppm > 0:
                callers._of(variant.name, variant.version)
        return callers

    def count(self, assignment: Assignment, key: bytes | None) -> None:
        """Count a request for its caller if it is the first. Who has no key, or went past the split, is nobody."""
        if key is None or assignment.how != How.SPLIT_KEYED:
            return
        first = self.first(key, assignment.variant, assignment.version)
        if first is not None:
            assignment.unit, stamp = first
            assignment.unit.assigned(assignment.how)
            assignment.stamp = stamp or assignment.stamp

    def first(self, key: bytes, variant: str, version: int) -> tuple[VariantSeries, Stamp | None] | None:
        """Where a request of the split counts for its caller, and what signs its answer then; None for one that does
        not count."""
        return self._of(variant, version)[1:] if self.seen.is_first(key) else None

    def _of(self, variant: str, version: int) -> tuple[Watch | None, VariantSeries, Stamp | None]:
        loaded = self.means.peek(self.route.model, version)
        watch = loaded.watch if loaded is not None else None
        known = self._bound.get(variant)
        if known is not None and known[0] is watch:
            return known
        model, epoch = self.route.model, self.route.epoch
        name = SeriesName(model, version, variant, epoch)
        series = self.means.recorder.units(name, watch.families if watch is not None else (), monotonic_ns())
        stamp = None if watch is None else self.means.stamp(Given(model, version, variant, epoch, "unit"), watch)
        found = self._bound[variant] = (watch, series, stamp)
        return found
