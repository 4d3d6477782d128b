"""Looks at what was drawn of each model every few seconds, and tells of alarms. The only shell of the self-check."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from router.controller import Controller
from router.errors import SerinError
from router.history import Event, Who
from router.metrics import Sample
from router.routes import Route
from router.selfcheck import ALARMS, Checked, Outcome, checked, default_policy, read
from router.state import Change
from router.tally import BlockCopy, ByModel
from router.telemetry import ROUND_BITS

log = logging.getLogger("controller")

INTERVAL_SECONDS: Final = 5.0
MAX_MODELS: Final = 200
"""More are not looked at: each costs some milliseconds a look."""


_Seen = tuple[Sequence[BlockCopy], Route, int]
"""What a look at one model goes by: its blocks, its route, the number of the round."""


class SelfCheck:
    """`run` until the controller closes. `read_all`: one reading of all counters; it may block, and runs in a thread.
    `clock`: the monotonic clock in ns, which the workers draw by."""

    def __init__(
        self, controller: Controller, read_all: Callable[[], Sequence[BlockCopy]], clock: Callable[[], int]
    ) -> None:
        self.known: Mapping[str, Checked] = {}
        self._controller = controller
        self._read_all = read_all
        self._clock = clock
        self._policy = default_policy()
        self._models = ByModel()
        self._settled: dict[str, _Seen] = {}

    async def run(self) -> None:
        """Looks until the history closes."""
        controller = self._controller
        while not controller.closing:
            await controller.bell.until(lambda: controller.closing, INTERVAL_SECONDS)
            if not controller.closing:
                await self._try_tick()

    async def tick(self) -> None:
        """One look. Raises SerinError when an alarm cannot be recorded; it is not told a second time."""
        routes = dict(islice(self._controller.table.routes.items(), MAX_MODELS))
        before, self.known = self.known, await asyncio.to_thread(self._looked, routes)
        events = tuple(_events(before, self.known))
        if events:
            await self._controller.write(lambda sight: Change(sight.state, events))

    def samples(self) -> Iterator[Sample]:
        """For the metrics page."""
        for model, one in self.known.items():
            for outcome in Outcome:
                yield Sample("serin_selfcheck_rounds_total", (model, str(outcome)), one.ended.get(outcome, 0))
            yield Sample("serin_selfcheck_requests", (model,), one.round.requests)
            if one.false_alarm_ratio is not None:
                yield Sample("serin_selfcheck_false_alarm_ratio", (model,), one.false_alarm_ratio)

    async def _try_tick(self) -> None:
        try:
            await self.tick()
        except SerinError as error:
            log.warning("an alarm of the self-check could not be recorded", extra={"reason": error.message})
        except Exception:  # rollouts go on without it
            log.exception("the self-check could not look at the counts")

    def _looked(self, routes: Mapping[str, Route]) -> dict[str, Checked]:
        copies, number = self._models.of(self._read_all()), self._clock() >> ROUND_BITS
        found, settled = {}, {}
        for model, route in routes.items():
            known, seen = self.known.get(model), (copies.get(model, ()), route, number)
            if self._settled.get(model) == seen:
                now = known  # it would say the same as the last time
            else:
                reading = read(seen[0], route)
                now = checked(known, reading, number, self._policy) if reading is not None else known
            if now is not None:
                found[model] = now
            if now is None or (known is not None and now.round is known.round):
                settled[model] = seen
        self._settled = settled
        return found


def _events(before: Mapping[str, Checked], after: Mapping[str, Checked]) -> Iterator[Event]:
    for model, one in after.items():
        outcome, old = one.round.outcome, before.get(model)
        if outcome not in ALARMS or (old is not None and old.round.outcome is not None):
            continue
        verdict = one.round.verdict
        why = f"{verdict.check}: {verdict.reason}" if verdict is not None else ""
        reason = f"a version looks unlike itself ({one.round.variant}: {why}): a false alarm of the evidence"
        detail = {"variant": one.round.variant, "outcome": str(outcome), "requests": one.round.requests}
        yield Event("selfcheck.alarm", model, Who("serin", reason), None, detail)
