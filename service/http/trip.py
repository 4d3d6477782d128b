"""The end of a turn: the plain requests of each variant run together, are counted together, and answered one by one.

The variants go step by step: each step is taken for all of them before the next one. What a step costs beside its rows
is mostly that the processor has to fetch its code and tables again after all that came between, and so the second
variant has it for little.
"""

import logging
from collections.abc import Sequence
from functools import partial
from time import perf_counter_ns

from xxhash import xxh3_64_intdigest

from router.booking import RowTimes
from router.layout import Outcome
from router.telemetry import VariantSeries
from service.bound import routing_key
from service.calls import Tap
from service.http.forms import Form, Row
from service.http.line import Line
from service.http.passengers import Passenger
from service.http.replies import row_lines, served_lines
from service.protocol.json_data import rows_array
from service.protocol.messages import NO_PARAMETERS
from service.watch import Cells

log = logging.getLogger("serin.request")


class Unfit(Exception):
    """The ordinary way has to find out what is wrong."""


def depart(lines: Sequence[Line]) -> None:
    """Run what waits in these lines, and answer it. Never raises; whom one line cannot answer goes on the ordinary way
    when the others have been answered."""
    trips = [Trip(line) for line in lines]
    for step in (Trip.run, Trip.write, Trip.deliver, Trip.count):
        for trip in trips:
            if trip.goes_on:
                try:
                    step(trip)
                except Exception as error:
                    trip.fail(error)
    for trip in trips:
        if trip.failed:
            trip.leave()


class Trip:
    """Those of one line who go together. Every step may raise: Unfit, or what is an error of ours. `goes_on`: there are
    more steps to take; `failed`: somebody may have no answer."""

    __slots__ = (
        "_begun", "_cells", "_computed", "_form", "_line", "_numbers", "_outputs", "_present", "_result", "_rows",
        "_tokens", "_told", "_units", "_waiting", "_writing", "failed", "goes_on",
    )  # fmt: skip

    def __init__(self, line: Line) -> None:
        self._line = line
        self._waiting = line.board()
        self.goes_on, self.failed = True, False

    def fail(self, error: Exception) -> None:
        """Take no more steps."""
        self.goes_on, self.failed = False, True
        if not isinstance(error, Unfit):
            line = self._line
            about = {"model": line.loaded.model, "variant": line.arm.variant.name, "requests": len(self._waiting)}
            log.error("requests could not be answered together", extra=about, exc_info=error)

    def leave(self) -> None:
        """Leave whoever has no answer to the ordinary way."""
        self._line.trouble += 1
        for passenger in self._waiting:
            self._line.leave(passenger)

    def run(self) -> None:
        """The total of a request ends with the result of its own version, whatever runs beside it in the turn."""
        line, executor = self._line, self._line.executor
        present = self._present = self._there()
        if not present:
            self.goes_on = False
            return
        begun, names = perf_counter_ns(), line.loaded.output_names
        if not executor.inline:
            raise Unfit
        try:
            rows = rows_array(line.datatype, [passenger.data for passenger in present]).reshape((-1, *line.shape[1:]))
            bodies = [xxh3_64_intdigest(passenger.body) for passenger in present]
            self._outputs, _, self._computed, _ = executor.run_inline({line.name: rows}, names, bodies[0], bodies)
        except Exception as error:
            raise Unfit from error
        self._begun, self._result, self._rows = begun, perf_counter_ns(), rows

    def _there(self) -> list[Passenger]:
        line, present = self._line, []
        for passenger in self._waiting:
            if passenger.carriage.response_complete:
                line.assignment(passenger).close(Outcome.CANCELLED)
            else:
                present.append(passenger)
        if present and line.guards is not None and present[0].assignment is None:
            line.guards.noted(len(present), present[0].started_ns)
        return present

    def write(self) -> None:
        """Write the numbers of the answers, find what those are counted as, and sign them; show what was asked to who
        takes samples."""
        self._writing, line, count = perf_counter_ns(), self._line, len(self._present)
        try:
            numbers = line.forms.numbers(self._outputs, count)
        except Exception as error:
            raise Unfit from error
        if numbers is None:
            raise Unfit
        self._numbers: list[Row] = numbers
        self._form: Form = line.forms.form
        if line.arm.tap is not None:
            self._tap(line.arm.tap)
        self._cells: list[Cells] = line.cells_of(self._outputs, count)
        self._tokens = self._signed()

    def _tap(self, tap: Tap) -> None:
        line, rows = self._line, self._rows
        bound = line.dataplane.plain_route(line.loaded.model)
        if bound is None:
            return
        for place, passenger in enumerate(self._present):
            key_of = partial(routing_key, bound, passenger.carriage.arrival.headers, NO_PARAMETERS)
            tap({line.name: rows[place : place + 1]}, len(passenger.body), key_of)

    def _signed(self) -> Sequence[bytes | None]:
        stamp, present = self._line.arm.stamp, self._present
        if stamp is None:
            return [None] * len(present)
        own = [passenger.stamp for passenger in present]
        if not any(own):
            return stamp.run(self._cells)
        return [(one or stamp).one(cells) for one, cells in zip(own, self._cells, strict=True)]

    def deliver(self) -> None:
        """Answer each. Whoever was answered counts, whatever comes between."""
        line, form, begun, result, writing = self._line, self._form, self._begun, self._result, self._writing
        variant, plain, revision, who = line.arm.variant, form.plain, -1, b""
        told: list[RowTimes] = []
        units: dict[int, tuple[VariantSeries, list[RowTimes]]] = {}
        self._told, self._units = told, units
        rows = zip(self._present, self._numbers, self._cells, self._tokens, strict=True)
        try:
            for passenger, row, cells, token in rows:
                carriage, given, started = passenger.carriage, passenger.assignment, passenger.started_ns
                body = plain % row if passenger.id is None else form.with_id(passenger.id, row)
                if passenger.revision != revision:
                    revision = passenger.revision
                    who = served_lines(variant.version, variant.name, revision)
                carriage.deliver(row_lines(len(body), carriage.arrival.request_id, who, token), body)
                decoded, encoded = started - carriage.arrival.at_ns, perf_counter_ns() - writing
                times = (result - started, decoded, begun - started, encoded, cells)
                told.append(times)
                if given is not None and given.guards is not None:
                    given.guards.passed_by(given, line.loaded)
                if (unit := passenger.unit) is not None:
                    units.setdefault(id(unit), (unit, []))[1].append(times)
        except Exception as error:
            self.fail(error)
            self.goes_on = bool(told)
        else:
            line.trouble = 0

    def count(self) -> None:
        """Count all who were answered as one run."""
        told, computed = self._told, self._computed
        self._line.arm.series.observe_run(computed, told)
        for unit, again in self._units.values():
            unit.observe_run(computed, again, again[0] is told[0])
