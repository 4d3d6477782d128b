"""Golden rows as traffic: run on both versions of a rollout that gets next to no requests, and counted apart.

Both versions run the same rows in turn, and only while nobody waits for either: golden rows are no reason to be slow.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns, perf_counter_ns
from typing import Final

from router.errors import SerinError
from router.goldens import GoldenSeries, golden_series
from router.layout import Outcome
from router.routes import Route, Variant, variant_named
from router.telemetry import Recorder, SeriesName
from service.calls import OUTCOME_OF_KIND
from service.runtime.engine import Engine
from service.runtime.golden import Case, GoldenError, differences, non_finite, parse_golden
from service.runtime.loaded import Loaded
from service.runtime.repository import Refused, read_beside

log = logging.getLogger("goldens")

LONGEST_NS: Final = 5_000_000_000
LEAST_PAUSE_SECONDS: Final = 0.01
IDLE_SECONDS: Final = 1.0
MOST_KNOWN: Final = 64


@dataclass(slots=True)
class _Turn:
    """Of one route: when the next row is due, and which."""

    due_ns: int
    row: int = 0
    series: dict[tuple[str, int], GoldenSeries] = field(default_factory=dict)


class Goldens:
    """`run` until it is cancelled, on the worker's loop. `routes`: those of the present table."""

    def __init__(
        self, engine: Engine, recorder: Recorder, models: Path, routes: Callable[[], Mapping[str, Route]]
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._models = models
        self._routes = routes
        self._turns: dict[tuple[str, int], _Turn] = {}
        self._cases: dict[tuple[str, int, str], tuple[Case, ...]] = {}

    async def run(self) -> None:
        """Rows when they are due, for ever. What goes wrong with one is counted, or logged, and others go on."""
        while True:
            pause = await self.round()
            await asyncio.sleep(pause)

    async def round(self) -> float:
        """Run what is due. Returns how many seconds from now something may be due again."""
        wanted = {(r.model, r.epoch): r for r in self._routes().values() if r.golden is not None}
        self._turns = {key: turn for key, turn in self._turns.items() if key in wanted}
        for key, route in wanted.items():
            turn = self._turns.setdefault(key, _Turn(perf_counter_ns()))
            if route.golden is None or perf_counter_ns() < turn.due_ns:
                continue
            turn.due_ns = perf_counter_ns() + int(1e9 / route.golden.per_second)
            try:
                await self._row(route, turn)
            except Exception:
                log.exception("golden rows cannot be run", extra={"model": route.model})
        now = perf_counter_ns()
        soonest = min((turn.due_ns - now for turn in self._turns.values()), default=int(IDLE_SECONDS * 1e9))
        return min(IDLE_SECONDS, max(LEAST_PAUSE_SECONDS, soonest / 1e9))

    async def _row(self, route: Route, turn: _Turn) -> None:
        """One row on both versions, or on none."""
        rule = route.golden
        variants = [] if rule is None else [variant_named(route, name) for name in (rule.variant, rule.against)]
        ready = [(v, loaded) for v in variants if v is not None and (loaded := self._idle(route, v)) is not None]
        if len(ready) < 2:
            return
        cases = [await self._known(loaded) for _, loaded in ready]
        rows = min(map(len, cases))
        if rows == 0:
            return
        turn.row = (turn.row + 1) % rows
        for (variant, loaded), of in zip(ready, cases, strict=True):
            await self._one(loaded, of[turn.row], self._series(route, variant, turn))

    def _idle(self, route: Route, variant: Variant) -> Loaded | None:
        loaded = self._engine.peek(route.model, variant.version)
        return None if loaded is None or loaded.executor.room.queued else loaded

    def _series(self, route: Route, variant: Variant, turn: _Turn) -> GoldenSeries:
        key = (variant.name, variant.version)
        if key not in turn.series:
            name = SeriesName(route.model, variant.version, variant.name, route.epoch)
            turn.series[key] = golden_series(self._recorder, name, monotonic_ns())
        return turn.series[key]

    async def _one(self, loaded: Loaded, case: Case, series: GoldenSeries) -> None:
        try:
            held = self._engine.acquire(loaded.model, loaded.version)
        except SerinError:
            return  # it has gone, or rests: nothing was tried
        series.given()
        outcome = Outcome.CANCELLED
        try:
            outcome = await _ended(held, case)
        finally:
            series.ended(outcome)
            self._engine.release(held)

    async def _known(self, loaded: Loaded) -> tuple[Case, ...]:
        """The rows of a version as it was loaded; none where its model has none."""
        key = (loaded.model, loaded.version, loaded.digest)
        if key not in self._cases:
            if len(self._cases) >= MOST_KNOWN:
                self._cases.clear()
            self._cases[key] = await asyncio.to_thread(self._read, loaded)
        return self._cases[key]

    def _read(self, loaded: Loaded) -> tuple[Case, ...]:
        if loaded.manifest.golden is None:
            return ()
        try:
            content = read_beside(self._models, loaded.model, loaded.manifest.golden.file)
            return () if content is None else parse_golden(content, loaded.version)
        except (GoldenError, Refused, OSError):
            return ()  # the inventory says so


async def _ended(loaded: Loaded, case: Case) -> Outcome:
    """How one run went: OK only with what the row expects of this version."""
    names = loaded.output_names
    try:
        outputs, *_ = await loaded.executor.run(case.feeds, names, perf_counter_ns() + LONGEST_NS)
    except SerinError as error:
        return OUTCOME_OF_KIND.get(error.kind, Outcome.ERROR)
    except Exception:
        return Outcome.ERROR
    if differences(case, names, outputs):
        return Outcome.ERROR
    return Outcome.NONFINITE if non_finite(names, outputs) else Outcome.OK
