"""The shortest way: plain requests of one turn for one variant, from bodies to answers as one piece of work.

Plain is one row of numbers for the one input of a version whose rows may run together, on a route without rules and at
a time at which no copies are made. What else a request may be, and whatever goes wrong with one here, is left to
`V2.answer`, with the variant that the request has been given by then. The answers are the same, to the byte.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from math import prod
from time import perf_counter_ns
from typing import Protocol

import orjson
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from router.layout import Outcome
from router.telemetry import VariantSeries
from service.bound import Bound, routing_key
from service.calls import Assignment
from service.dataplane import Dataplane
from service.http.replies import CODINGS, HEADER, Arrival, Reply, json_lines, served_lines, token_line
from service.protocol.json_codec import needs_care
from service.protocol.json_data import number_array
from service.protocol.limits import Limits
from service.protocol.messages import NO_PARAMETERS
from service.protocol.short import NUMBERS, SHORT_BYTES, Plain, answer_head, entry_head, read_plain
from service.protocol.tensors import DATATYPES, FLOATS, Array
from service.runtime.engine import Loaded

MOST_TROUBLE, REST = 8, 1000
"""So many turns in a row that came to nothing here, and so many requests go the ordinary way without a try."""


class Carriage(Protocol):
    """A request on its connection. `response_complete`: nobody waits for it any more; `hurry`: who may call it cannot
    wait for the end of the turn."""

    arrival: Arrival
    response_complete: bool
    hurry: Callable[[], None] | None

    def deliver(self, reply: Reply) -> None: ...
    def go_on(self, body: bytes, assignment: Assignment) -> None: ...


class Passenger(Struct):
    """One request that waits for the end of the turn. `revision`: of the table that gave it its variant, which may be
    another one by then; `unit`: where it counts once more; `assignment`: on a route with guards, as they have seen it.
    """

    carriage: Carriage
    body: bytes
    plain: Plain
    how: int
    revision: int
    started_ns: int
    unit: VariantSeries | None = None
    assignment: Assignment | None = None


class Express:
    """Who may take this way. `take` is called with whole requests that were admitted."""

    def __init__(self, dataplane: Dataplane, limits: Limits) -> None:
        self._dataplane = dataplane
        self._limits = limits

    def take(self, carriage: Carriage, body: bytes) -> bool:
        """Whether the request was taken: answered, or on its way to be. If not, nothing has been counted."""
        arrival = carriage.arrival
        bound = self._dataplane.plain_route(arrival.model)
        headers = arrival.headers
        if bound is None or arrival.version is not None or len(body) > SHORT_BYTES or not _is_plain(headers):
            return False
        plain = read_plain(body, self._limits)
        if plain is None:
            return False
        arm, how, key = self._dataplane.pick(bound, headers)
        line = arm.line
        if line is None:
            line = arm.line = Line.of(arm, self._dataplane)
        fits = isinstance(line, Line) and line.fits(plain)
        if isinstance(line, Line) and fits and bound.guards is None:
            now = perf_counter_ns()
            revision = self._dataplane.table.revision
            line.join(Passenger(carriage, body, plain, how, revision, now, arm.draw(how, key, now)))
            return True
        given = self._dataplane.guarded(bound.guards, arm, how, (arrival.at_ns, key))
        if isinstance(line, Line) and fits and not given.reason:
            line.join(Passenger(carriage, body, plain, how, given.revision, given.started_ns, given.unit, given))
        else:
            carriage.go_on(body, given)
        return True


class Line:
    """One variant's requests of one turn. `fits` says whether a request may join."""

    def __init__(self, arm: Bound, loaded: Loaded, dataplane: Dataplane) -> None:
        [spec] = loaded.signature.inputs
        self.executor = loaded.executor
        self._arm = arm
        self._loaded = loaded
        self._dataplane = dataplane
        self._name, self._datatype = spec.name, spec.datatype
        self._shape = (1, *(spec.shape or ())[1:])
        elements = max(1, prod(self._shape))
        rows = 1 if loaded.batcher is None else loaded.batcher.rows
        self._most = min(rows, self.executor.quick_elements // elements)
        self._head = answer_head(loaded.model, str(loaded.version))
        self._waiting: list[Passenger] = []
        self._ends = False
        self._trouble = self._rested = 0

    @classmethod
    def of(cls, arm: Bound, dataplane: Dataplane) -> "Line | bool":
        """False for a version whose requests are not for this way."""
        loaded = arm.loaded
        if loaded is None or loaded.batcher is None or loaded.batcher.limits.wait_seconds:
            return False
        inputs, outputs = loaded.signature.inputs, loaded.signature.outputs
        if len(inputs) != 1 or inputs[0].datatype not in FLOATS or -1 in (inputs[0].shape or (-1, -1))[1:]:
            return False
        line = cls(arm, loaded, dataplane)
        return line if line._most > 1 and all(spec.datatype in NUMBERS for spec in outputs) else False

    def fits(self, plain: Plain) -> bool:
        """Whether this is a row as the version takes it, now that it runs on the loop."""
        return (
            plain.shape == self._shape
            and plain.name == self._name
            and plain.datatype == self._datatype
            and self.executor.inline
            and self.executor.accused is None
            and (self._trouble < MOST_TROUBLE or self._has_rested())
        )

    def _has_rested(self) -> bool:
        self._rested += 1
        if self._rested >= REST:
            self._trouble = self._rested = 0
        return self._trouble == 0

    def join(self, passenger: Passenger) -> None:
        """Run it with those that come in this turn; at once if there can be none."""
        self._waiting.append(passenger)
        passenger.carriage.hurry = self.depart
        if len(self._waiting) >= self._most or self.executor.is_lone():
            self.depart()
        elif not self._ends:
            self._ends = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def depart(self) -> None:
        """Run those that wait, and answer them."""
        waiting, self._waiting = self._waiting, []
        present = []
        for passenger in waiting:
            passenger.carriage.hurry = None
            if passenger.carriage.response_complete:
                self._assignment(passenger).close(Outcome.CANCELLED)
            else:
                present.append(passenger)
        if present and not self._ride(present):
            self._trouble += 1
            for passenger in present:
                passenger.carriage.go_on(passenger.body, self._assignment(passenger))

    def _end_turn(self) -> None:
        self._ends = False
        if self._waiting:
            self.depart()

    def _ride(self, present: list[Passenger]) -> bool:
        """False when nobody was answered."""
        executor, count, begun = self.executor, len(present), perf_counter_ns()
        if not executor.inline:
            return False
        try:
            values = list(chain.from_iterable([passenger.plain.data for passenger in present]))
            rows = number_array(DATATYPES[self._datatype], values).reshape((count, *self._shape[1:]))
            feeds, names = {self._name: rows}, self._loaded.output_names
            bodies = [xxh3_64_intdigest(passenger.body) for passenger in present]
            outputs, _, computed, _ = executor.run_inline(feeds, names, bodies[0], bodies)
            texts = self._texts(outputs, count)
        except Exception:
            return False
        if texts is None:
            return False
        self._tap(present, rows)
        self._answer(present, texts, outputs, (begun, computed))
        self._trouble = 0
        return True

    def _texts(self, outputs: list[Array], count: int) -> list[bytes] | None:
        """The JSON of each row's outputs; None where a row has none of its own, or numbers that need care."""
        columns = []
        for spec, array in zip(self._loaded.signature.outputs, outputs, strict=True):
            if not array.ndim or len(array) != count or not array.size:
                return None
            head = entry_head(spec.name, spec.datatype, (1, *array.shape[1:]))
            text = orjson.dumps(array.reshape(count, -1), option=orjson.OPT_SERIALIZE_NUMPY)
            if needs_care(text):
                return None
            if count == 1:
                columns.append([head + text[1:-1]])
                continue
            columns.append([b"%b[%b]" % (head, numbers) for numbers in text[2:-2].split(b"],[")])
        if len(columns) == 1:
            return columns[0]
        return [b"},".join(row) for row in zip(*columns, strict=True)]

    def _tap(self, present: list[Passenger], rows: Array) -> None:
        tap, bound = self._arm.tap, self._dataplane.plain_route(self._loaded.model)
        if tap is None or bound is None:
            return
        for place, passenger in enumerate(present):
            key_of = partial(routing_key, bound, passenger.carriage.arrival.headers, NO_PARAMETERS)
            tap({self._name: rows[place : place + 1]}, len(passenger.body), key_of)

    def _answer(
        self, present: list[Passenger], texts: list[bytes], outputs: list[Array], times: tuple[int, int]
    ) -> None:
        begun, computed = times
        result, observe, stamp = perf_counter_ns(), self._arm.series.observe, self._arm.stamp
        named = dict(zip(self._loaded.output_names, outputs, strict=True))
        cells_of = self._loaded.watch.cells_of_rows(named, len(present))
        variant = self._arm.variant
        for passenger, text, cells in zip(present, texts, cells_of, strict=True):
            plain, head = passenger.plain, self._head
            if plain.id is not None:
                head = b'%b,"id":%b' % (head, orjson.dumps(plain.id))
            body = b'%b,"outputs":[%b}]}' % (head, text)
            signs = stamp if passenger.assignment is None else passenger.assignment.stamp
            token = b"" if signs is None else token_line(signs(cells))
            request_id = passenger.carriage.arrival.request_id
            who = served_lines(variant.version, variant.name, passenger.revision)
            passenger.carriage.deliver(Reply(200, json_lines(body, request_id) + who + token, body))
            started = passenger.started_ns
            phases = (started - passenger.carriage.arrival.at_ns, begun - started, computed, perf_counter_ns() - result)
            leads = passenger is present[0]
            observe(Outcome.OK, result - started, phases, cells, leads)
            if (given := passenger.assignment) is not None and given.guards is not None:
                given.guards.passed_by(given, self._loaded)
            if passenger.unit is not None:
                passenger.unit.observe(Outcome.OK, result - started, phases, cells, leads)

    def _assignment(self, passenger: Passenger) -> Assignment:
        if passenger.assignment is not None:
            return passenger.assignment
        at_ns = passenger.carriage.arrival.at_ns
        made = self._dataplane.assignment(self._arm, passenger.how, at_ns, passenger.started_ns)
        made.unit, made.revision = passenger.unit, passenger.revision
        return made


def _is_plain(headers: Mapping[bytes, bytes]) -> bool:
    return (
        b"content-encoding" not in headers and HEADER not in headers and headers.get(b"accept-encoding") not in CODINGS
    )
