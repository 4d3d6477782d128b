"""What a route wants beside its split, at work: who steps in for a candidate, what is copied, how many it may have.

`Guards` belongs to one bound route of one worker and lives on its event loop. A route that wants none of it has none.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns

from msgspec.structs import replace

from router.errors import SerinError
from router.layout import Outcome
from router.routes import Exposure, Route, Variant, variant_named
from router.telemetry import Recorder, SeriesName, VariantSeries
from router.tokens import Given
from service.callers import Callers
from service.calls import Answered, Assignment, Call, Run
from service.diff import all_finite
from service.exposure import Meter, remove_old
from service.fallback import OUTCOME_OF_REASON, FallbackGuard, NonFiniteAnswer, half_time, reason_of
from service.feedback import Stamp
from service.keeping import PairKeeper
from service.mirroring import Mirrors
from service.protocol.messages import InferRequest, InferResponse
from service.runtime.loaded import Loaded
from service.shadow import Shadow
from service.watch import Watch

log = logging.getLogger("serin.request")

FAILURES = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.NONFINITE, Outcome.SHED})
NO_PHASES = (0, 0, 0, 0)
BETWEEN_LOGS_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Means:
    """What guards need of the worker. `peek` gives a loaded version or None; `tell` is called when there is news."""

    peek: Callable[[str, int], Loaded | None]
    recorder: Recorder
    shadow: Shadow
    keeper: PairKeeper
    tell: Callable[[], None]
    stamp: Callable[[Given, Watch | None], Stamp | None]


@dataclass(frozen=True, slots=True)
class Guarding:
    """Makes the guards of a worker's routes. `exposures`, `callers`: directories of what is counted; `slot`: of this
    worker."""

    means: Means
    exposures: Path
    callers: Path
    slot: int

    def __call__(self, route: Route, before: "Guards | None") -> "Guards | None":
        """The guards of a route, None for one that wants none. What the same rollout has counted so far goes on.

        Raises ResourceExhausted when the state directory has no room.
        """
        if before is not None:
            before.end()
        if route.fallback is None and route.exposure is None and route.units is None and not route.mirrors:
            return None
        same = before is not None and before.route.salt == route.salt
        fallback = FallbackGuard.of(route.fallback, before.fallback if same and before else None)
        guards = Guards(route, self.means, fallback, self._meter(route.exposure, before.meter if before else None))
        if route.units is not None:
            guards.callers = Callers.of(route, route.units, self.means, self.callers)
        if route.mirrors:
            guards.mirrors = Mirrors(route, self.means)
        guards.only_count = guards.meter is None and guards.mirrors is None
        guards.make_room()
        return guards

    def _meter(self, exposure: Exposure | None, before: Meter | None) -> Meter | None:
        if exposure is None or (before is not None and before.exposure == exposure):
            return before if exposure is not None else None
        remove_old(self.exposures)
        return Meter(exposure, self.exposures, self.slot)


@dataclass(slots=True)
class Guards:
    """The guards of one route. `trouble` ends a rollout, `notice` does not; "" is neither. `only_count`: they limit
    nothing and copy nothing."""

    route: Route
    means: Means
    fallback: FallbackGuard | None
    meter: Meter | None
    notice: str = ""
    callers: Callers | None = None
    mirrors: Mirrors | None = None
    only_count: bool = False
    _served: dict[tuple[str, str, str], tuple[Watch | None, VariantSeries]] = field(default_factory=dict)
    _logged_ns: int = 0

    @property
    def trouble(self) -> str:
        """Why this worker has stopped choosing a candidate."""
        return self.fallback.trouble if self.fallback else ""

    @property
    def falls_back(self) -> bool:
        """Whether another version may have to answer in place of the assigned one."""
        return self.fallback is not None

    def asks_key(self, variant: str) -> bool:
        """Whether a request of this variant is to be admitted with its key."""
        if self.callers is not None:
            return True
        return self.meter is not None and self.meter.exposure.keys is not None and self._exposes(variant)

    def admit(self, assignment: Assignment, key: bytes | None) -> None:
        """Guard a request from here on; one that its variant may not have goes to another at once (rulings 24)."""
        assignment.guards = self
        now, variant = assignment.started_ns, assignment.variant
        if self.callers is not None:
            self.callers.count(assignment, key)
        if self.fallback is not None:
            self.fallback.budget.request(now)
            if self.fallback.budget.is_spent(variant, now):
                self._divert(assignment, "budget", self.fallback.rule.to)
                return
        if self.meter is not None and self._exposes(variant) and not self.meter.admit(key):
            self._note_spent(self.meter)
            self._divert(assignment, "exposure", self.meter.exposure.to)

    def lets_by(self, variant: str, now_ns: int) -> bool:
        """Whether a request of the split to this variant needs nothing of its guards but `first` and to be `noted`."""
        if not self.only_count:
            return False
        fallback = self.fallback
        return fallback is None or not fallback.budget.spent or not fallback.budget.is_spent(variant, now_ns)

    def first(self, key: bytes, variant: Variant) -> "tuple[VariantSeries, Stamp | None] | None":
        """Where a request that was let by counts once more, if it is the first of its caller; see `Callers.first`."""
        return None if self.callers is None else self.callers.first(key, variant.name, variant.version)

    def noted(self, requests: int, now_ns: int) -> None:
        """So many were let by."""
        if self.fallback is not None:
            self.fallback.budget.request(now_ns, requests)

    def infer(self, run: Run, assignment: Assignment, call: Call, request: InferRequest) -> Awaitable[InferResponse]:
        """Run the assigned version; where it fails and another may answer, run that within the rest of the time."""
        fallback = self._covering(assignment)
        if fallback is None:
            return run(assignment, call, request)
        return self._infer(fallback, run, assignment, call, request)

    def answered(self, assignment: Assignment, found: Answered) -> None:
        """Look at a result before it is counted. Raises NonFiniteAnswer where another variant is to answer instead."""
        if self.fallback is not None and not all_finite([found.outputs[name] for name in found.names]):
            fallback = self._covering(assignment)
            if fallback is not None and "nonfinite" in fallback.rule.reasons:
                raise NonFiniteAnswer("the model answered numbers that are not finite")
            assignment.outcome = Outcome.NONFINITE
        if self.mirrors is not None:
            self.mirrors.answered(assignment, found)

    @property
    def looks_at_answers(self) -> bool:
        """Whether `answered` has anything to do now; if not, `passed_by` does in its place."""
        return self.fallback is not None or self.takes_copies

    @property
    def takes_copies(self) -> bool:
        """Whether a request might be copied now."""
        mirrors = self.mirrors
        return mirrors is not None and not mirrors.shadow.is_busy

    def passed_by(self, assignment: Assignment, loaded: Loaded) -> None:
        """A request was answered while no copies were taken."""
        if self.mirrors is not None:
            self.mirrors.passed_by(assignment, loaded)

    def closed(self, assignment: Assignment, outcome: Outcome) -> None:
        """A booking was closed."""
        if self.meter is None or outcome not in FAILURES or assignment.reason or not self._exposes(assignment.variant):
            return
        self.meter.failed()

    def make_room(self) -> None:
        """Make room for all that may be counted, so that no request finds none. Raises ResourceExhausted."""
        for reason, to in self._steps():
            for variant in self.route.variants:
                if variant.name != to.name and not variant.apart:
                    self._series(to, variant.name, reason)
        if self.mirrors is not None:
            self.mirrors.make_room()

    def end(self) -> None:
        """The route has changed."""
        if self.mirrors is not None:
            self.mirrors.end()

    async def _infer(
        self, fallback: FallbackGuard, run: Run, assignment: Assignment, call: Call, request: InferRequest
    ) -> InferResponse:
        try:
            half = half_time(perf_counter_ns(), call.deadline_ns)
            return await run(assignment, replace(call, deadline_ns=half), request)
        except Exception as error:
            reason = reason_of(error)
            if reason is None or reason not in fallback.rule.reasons:
                raise
            self._log(assignment, error)
            if isinstance(error, SerinError) and error.reason is not None:
                assignment.series.shed(error.reason)
        assignment.close(OUTCOME_OF_REASON[reason])
        if fallback.failed(assignment.variant, reason, perf_counter_ns()):
            self.means.tell()
        self._redirect(assignment, reason, fallback.rule.to)
        return await run(assignment, call, request)

    def _covering(self, assignment: Assignment) -> FallbackGuard | None:
        """The fallback, where another version may answer in place of the assigned one: it does so only once, and never
        for a request that is counted apart."""
        fallback = self.fallback
        if fallback is None or assignment.reason or assignment.apart or not fallback.covers(assignment.variant):
            return None
        return fallback

    def _exposes(self, variant: str) -> bool:
        return self.meter is not None and variant == self.meter.exposure.variant

    def _divert(self, assignment: Assignment, reason: str, to: str) -> None:
        assignment.series.observe(Outcome.DIVERTED, 0, NO_PHASES, ())
        if assignment.unit is not None:
            assignment.unit.observe(Outcome.DIVERTED, 0, NO_PHASES, ())
        self._redirect(assignment, reason, to)

    def _redirect(self, assignment: Assignment, reason: str, to: str) -> None:
        """Give a request whose booking is closed to another variant, counted apart from that one's own."""
        variant = variant_named(self.route, to) or Variant(to, assignment.version, 0)
        assignment.series = self._series(variant, assignment.variant, reason)
        assignment.series.assigned(assignment.how)
        assignment.variant, assignment.version, assignment.reason = variant.name, variant.version, reason
        assignment.started_ns = perf_counter_ns()
        assignment.queue_ns = assignment.compute_ns = assignment.result_ns = 0
        assignment.cells, assignment.outcome, assignment.unit = (), Outcome.OK, None
        assignment.leads, assignment.apart = True, variant.apart

    def _series(self, variant: Variant, instead_of: str, reason: str) -> VariantSeries:
        loaded = self.means.peek(self.route.model, variant.version)
        watch = loaded.watch if loaded is not None else None  # not the version: nothing here may keep it in memory
        known = self._served.get((variant.name, instead_of, reason))
        if known is not None and known[0] is watch:
            return known[1]
        name = SeriesName(self.route.model, variant.version, variant.name)
        series = self.means.recorder.served(name, instead_of, reason, watch.families if watch is not None else ())
        self._served[variant.name, instead_of, reason] = (watch, series)
        return series

    def _steps(self) -> Iterator[tuple[str, Variant]]:
        """Why another variant may get a request, and which one."""
        if self.fallback is not None and (variant := variant_named(self.route, self.fallback.rule.to)) is not None:
            yield from ((reason, variant) for reason in (*self.fallback.rule.reasons, "budget"))
        if self.meter is not None and (variant := variant_named(self.route, self.meter.exposure.to)) is not None:
            yield "exposure", variant

    def _note_spent(self, meter: Meter) -> None:
        if meter.spent and not self.notice:
            self.notice = f"exposure used up: {meter.exposure.variant} has had all the {meter.spent} it may have"
            self.means.tell()

    def _log(self, assignment: Assignment, error: Exception) -> None:
        if self._may_log():
            log.error(
                "a candidate failed and another version answers",
                extra={"model": assignment.model, "version": assignment.version, "error": str(error)[:500]},
                exc_info=None if isinstance(error, SerinError) else error,
            )

    def _may_log(self) -> bool:
        """A dead candidate must not fill the disk; the counts say how often it fails."""
        now = perf_counter_ns()
        if now - self._logged_ns < BETWEEN_LOGS_NS:
            return False
        self._logged_ns = now
        return True


def words(guards: Iterable[Guards]) -> tuple[dict[str, str], dict[str, str]]:
    """Troubles and notices by model, for the controller."""
    each = list(guards)
    return {g.route.model: g.trouble for g in each if g.trouble}, {g.route.model: g.notice for g in each if g.notice}
