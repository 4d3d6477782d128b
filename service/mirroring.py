"""The mirrors of one route at work: which of its requests are copied, for which version, and where that is counted."""

import logging
from collections.abc import Callable
from random import random
from time import monotonic_ns, perf_counter_ns
from typing import Protocol

from router.layout import How
from router.mirrors import MirrorName, mirror_series
from router.routes import PPM, Mirror, Route, Variant
from router.telemetry import Recorder
from service.calls import Answered, Assignment
from service.diff import judges
from service.keeping import PairKeeper
from service.runtime.loaded import Loaded
from service.shadow import BoundMirror, Shadow

log = logging.getLogger("shadow")

BETWEEN_LOGS_NS = 1_000_000_000
_RULE = int(How.RULE)


class Means(Protocol):
    """What mirrors need of the worker. `peek` gives a loaded version or None."""

    @property
    def peek(self) -> Callable[[str, int], Loaded | None]: ...
    @property
    def recorder(self) -> Recorder: ...
    @property
    def shadow(self) -> Shadow: ...
    @property
    def keeper(self) -> PairKeeper: ...


class Mirrors:
    """For the event loop. Whatever is wrong with a copy, the request itself is answered."""

    def __init__(self, route: Route, means: Means) -> None:
        self._route = route
        self._means = means
        self.shadow = means.shadow
        self._mirrors = {
            variant.name: tuple(
                (number, mirror.share_ppm) for number, mirror in enumerate(route.mirrors) if _applies(mirror, variant)
            )
            for variant in route.variants
        }
        self._bound: dict[int, BoundMirror] = {}
        self._logged_ns = 0

    def answered(self, assignment: Assignment, found: Answered) -> None:
        """A request has been answered: copy it, if it is to be."""
        for number in self._drawn(assignment):
            try:
                bound = self._find(number, self._route.mirrors[number], found.loaded)
                if bound is not None:
                    self.shadow.offer(bound, found)
            except Exception:
                self._log()

    def passed_by(self, assignment: Assignment, loaded: Loaded) -> None:
        """A request has been answered while the shadow was busy, so no copy of it is made."""
        for number in self._drawn(assignment):
            bound = self._bound.get(number)
            if bound is not None and bound.stable is loaded:  # else nothing was ever copied, and the shadow is not busy
                bound.series.dropped("busy")

    def make_room(self) -> None:
        """Make room for all that may be counted. Raises ResourceExhausted."""
        for number, mirror in enumerate(self._route.mirrors):
            stable = next((v for v in self._route.variants if v.weight_ppm and _applies(mirror, v)), None)
            if stable is not None and (loaded := self._means.peek(self._route.model, stable.version)) is not None:
                self._find(number, mirror, loaded)

    def end(self) -> None:
        """Copies that still wait are not run any more."""
        for bound in self._bound.values():
            bound.ended = True
        self._bound.clear()

    def _drawn(self, assignment: Assignment) -> list[int]:
        """The mirrors that are to have a copy of this request, by number."""
        if assignment.reason or assignment.how >= _RULE:
            return []
        wanted = self._mirrors.get(assignment.variant, ())
        return [number for number, share_ppm in wanted if share_ppm >= PPM or random() * PPM < share_ppm]

    def _log(self) -> None:
        now = perf_counter_ns()
        if now - self._logged_ns >= BETWEEN_LOGS_NS:
            self._logged_ns = now
            log.exception("a request cannot be mirrored", extra={"model": self._route.model})

    def _find(self, number: int, mirror: Mirror, stable: Loaded) -> BoundMirror | None:
        candidate = self._means.peek(self._route.model, mirror.version)
        known = self._bound.get(number)
        if candidate is None:
            if known is not None:
                known.series.dropped("not_ready")
            return None
        if known is None or known.stable is not stable or known.candidate is not candidate:
            known = self._bound[number] = self._bind(mirror, stable, candidate)
        return known

    def _bind(self, mirror: Mirror, stable: Loaded, candidate: Loaded) -> BoundMirror:
        route, variant = self._route, mirror.variant or str(mirror.version)
        meanings = {meaning.name: meaning.kind for meaning in stable.manifest.meanings()}
        chosen = judges(mirror.compare, (stable.signature.outputs, candidate.signature.outputs), meanings)
        name = MirrorName(route.model, mirror.version, variant, route.epoch)
        counted = [(judge.output, judge.kind) for judge in chosen]
        return BoundMirror(
            rule=mirror,
            stable=stable,
            candidate=candidate,
            judges=chosen,
            series=mirror_series(self._means.recorder, name, counted, monotonic_ns()),
            worst=self._means.keeper.worst((route.model, mirror.version, variant, route.salt), mirror.worst),
            same_inputs=stable.signature.inputs == candidate.signature.inputs,
        )


def _applies(mirror: Mirror, variant: Variant) -> bool:
    if mirror.share_ppm == 0:
        return False
    return variant.name == mirror.against if mirror.against else variant.version != mirror.version
