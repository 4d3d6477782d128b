"""Plain requests of one turn for one variant: run together, counted together, answered one by one.

See `service/http/express.py`, which says who may come here.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from time import perf_counter_ns
from typing import Protocol

import orjson
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from router.booking import RowTimes
from router.layout import Outcome
from router.telemetry import VariantSeries
from service.bound import Bound, routing_key
from service.calls import Assignment, Tap
from service.dataplane import Dataplane
from service.feedback import Stamp
from service.guards import Guards
from service.http.replies import Arrival, row_lines, served_lines
from service.http.turn import Turn
from service.protocol.json_codec import ABSENT, needs_care
from service.protocol.json_data import rows_array
from service.protocol.limits import Limits
from service.protocol.messages import NO_PARAMETERS, InferRequest
from service.protocol.short import NUMBERS, Plain, answer_head, outputs_form
from service.protocol.tensors import DATATYPES, FLOATS, MAX_RANK, Array
from service.runtime.loaded import Loaded
from service.watch import Cells

log = logging.getLogger("serin.request")

MOST_TROUBLE, REST = 8, 1000
"""So many turns in a row that came to nothing here, and so many requests go the ordinary way without a try."""


class Carriage(Protocol):
    """A request on its connection. `response_complete`: nobody waits for it any more; `hurry`: who may call it cannot
    wait for the end of the turn."""

    arrival: Arrival
    response_complete: bool
    hurry: Callable[[], None] | None

    def deliver(self, lines: bytes, body: bytes) -> None: ...
    def go_on(self, body: bytes, assignment: Assignment, request: InferRequest | None = None) -> None: ...
    def give_up(self) -> None: ...


class Passenger(Struct):
    """One request that waits for the end of the turn. `id`: what it calls itself; `revision`: of the table that gave it
    its variant, which may be another one by then; `unit`: where it counts once more; `stamp`: what signs its answer,
    None for what signs all of its variant; `assignment`: where guards did not let it by, as they have seen it.
    """

    carriage: Carriage
    body: bytes
    data: list[float]
    id: str | None
    how: int
    revision: int
    started_ns: int
    unit: VariantSeries | None = None
    stamp: Stamp | None = None
    assignment: Assignment | None = None


class Line:
    """One variant's requests of one turn. `fits` says whether a request may join."""

    def __init__(self, arm: Bound, guards: Guards | None, dataplane: Dataplane, loaded: Loaded, turn: Turn) -> None:
        [spec] = loaded.signature.inputs
        self.executor = loaded.executor
        self._turn = turn
        self._arm = arm
        self._guards = guards
        self._loaded = loaded
        self._dataplane = dataplane
        self._name, self._datatype, self._type = spec.name, spec.datatype, DATATYPES[spec.datatype]
        self._shape = (1, *(spec.shape or ())[1:])
        self._elements = prod(self._shape)
        rows = 1 if loaded.batcher is None else loaded.batcher.rows
        self._most = min(rows, self.executor.quick_elements // max(1, self._elements))
        self._cells_of = loaded.watch.cells_of_rows([output.name for output in loaded.signature.outputs])
        self._may_be_null = [output.datatype in FLOATS for output in loaded.signature.outputs]
        self._shapes: dict[int, list[tuple[int, ...]]] = {}
        self._head = self._outputs = self._form = b""
        self._waiting: list[Passenger] = []
        self._trouble = self._rested = 0

    @classmethod
    def of(cls, arm: Bound, guards: Guards | None, dataplane: Dataplane, limits: Limits, turn: Turn) -> "Line | bool":
        """False for a version whose requests are not for this way. `guards`: of the route."""
        loaded = arm.loaded
        if loaded is None or loaded.batcher is None or loaded.batcher.limits.wait_seconds:
            return False
        inputs, outputs = loaded.signature.inputs, loaded.signature.outputs
        if len(inputs) != 1 or inputs[0].datatype not in FLOATS or -1 in (inputs[0].shape or (-1, -1))[1:]:
            return False
        line = cls(arm, guards, dataplane, loaded, turn)
        is_plain = 0 < line._elements <= limits.max_elements and len(line._shape) <= MAX_RANK
        return line if is_plain and line._most > 1 and all(spec.datatype in NUMBERS for spec in outputs) else False

    def fits(self, plain: Plain) -> bool:
        """Whether this is plain, and a row as the version takes it, now that it runs on the loop."""
        return (
            plain.shape == self._shape
            and len(plain.data) == self._elements
            and plain.name == self._name
            and plain.datatype == self._datatype
            and plain.parameters is ABSENT
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
        waiting = self._waiting
        if not waiting and self.executor.is_lone():
            self._go([passenger])
            return
        waiting.append(passenger)
        passenger.carriage.hurry = self.depart
        if len(waiting) == 1:
            self._turn.add(self)
        self._turn.came += 1
        if len(waiting) >= self._most:
            self._turn.end()

    def depart(self) -> None:
        """Run those that wait, and answer them. Never raises: other lines depart after this one."""
        waiting, self._waiting = self._waiting, []
        for passenger in waiting:
            passenger.carriage.hurry = None
        self._go(waiting)

    def _go(self, waiting: list[Passenger]) -> None:
        try:
            carried = self._carry(waiting)
        except Exception:
            variant = self._arm.variant
            about = {"model": self._loaded.model, "variant": variant.name, "requests": len(waiting)}
            log.exception("requests could not be answered together", extra=about)
            carried = False
        if not carried:
            self._trouble += 1
            for passenger in waiting:
                self._leave(passenger)

    def _leave(self, passenger: Passenger) -> None:
        """Have a request answered the ordinary way, if it is not yet."""
        carriage = passenger.carriage
        if carriage.response_complete:
            return
        try:
            carriage.go_on(passenger.body, self._assignment(passenger))
        except Exception:
            log.exception("request failed", extra={"request_id": carriage.arrival.request_id})
            carriage.give_up()

    def _carry(self, waiting: list[Passenger]) -> bool:
        """False when somebody is still to be answered."""
        present = []
        for passenger in waiting:
            if passenger.carriage.response_complete:
                self._assignment(passenger).close(Outcome.CANCELLED)
            else:
                present.append(passenger)
        if not present:
            return True
        if self._guards is not None and present[0].assignment is None:
            self._guards.noted(len(present), present[0].started_ns)
        return self._ride(present)

    def _ride(self, present: list[Passenger]) -> bool:
        """False when nobody was answered."""
        executor, count, begun = self.executor, len(present), perf_counter_ns()
        if not executor.inline:
            return False
        try:
            rows = rows_array(self._type, [one.data for one in present]).reshape((count, *self._shape[1:]))
            feeds, names = {self._name: rows}, self._loaded.output_names
            bodies = [xxh3_64_intdigest(passenger.body) for passenger in present]
            outputs, _, computed, _ = executor.run_inline(feeds, names, bodies[0], bodies)
            numbers = self._numbers(outputs, count)
        except Exception:
            return False
        if numbers is None:
            return False
        if self._arm.tap is not None:
            self._tap(self._arm.tap, present, rows)
        self._answer(present, numbers, outputs, (begun, computed))
        self._trouble = 0
        return True

    def _numbers(self, outputs: list[Array], count: int) -> list[tuple[bytes, ...]] | None:
        """The numbers of each row's outputs as JSON has them; None where a row has none of its own, or some that need
        care."""
        shapes = [array.shape for array in outputs]
        if shapes != self._shapes.get(count) and not self._write_forms(shapes, count):
            return None
        columns = []
        for array, may_be_null in zip(outputs, self._may_be_null, strict=True):
            if array.ndim > 2:
                array = array.reshape(count, -1)
            text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
            if may_be_null and needs_care(text):
                return None
            columns.append(text[1:-1].split(b",") if array.ndim == 1 else text[2:-2].split(b"],["))
        return list(zip(*columns, strict=True))

    def _write_forms(self, shapes: list[tuple[int, ...]], count: int) -> bool:
        """Write all of an answer but its numbers, for outputs of these shapes. False where they are not by row."""
        if any(not shape or shape[0] != count or not prod(shape) for shape in shapes):
            return False
        loaded, known = self._loaded, next(iter(self._shapes.values()), None)
        if known is not None and [shape[1:] for shape in known] == [shape[1:] for shape in shapes]:
            self._shapes[count] = shapes
            return True
        self._shapes = {count: shapes}
        specs = zip(loaded.signature.outputs, shapes, strict=True)
        self._head = answer_head(loaded.model, str(loaded.version))
        self._outputs = outputs_form(tuple((spec.name, spec.datatype, (1, *shape[1:])) for spec, shape in specs))
        self._form = self._head.replace(b"%", b"%%") + self._outputs
        return True

    def _tap(self, tap: Tap, present: list[Passenger], rows: Array) -> None:
        bound = self._dataplane.plain_route(self._loaded.model)
        if bound is None:
            return
        for place, passenger in enumerate(present):
            key_of = partial(routing_key, bound, passenger.carriage.arrival.headers, NO_PARAMETERS)
            tap({self._name: rows[place : place + 1]}, len(passenger.body), key_of)

    def _answer(
        self,
        present: list[Passenger],
        numbers: list[tuple[bytes, ...]],
        outputs: list[Array],
        ran: tuple[int, int],
    ) -> None:
        begun, computed = ran
        result, arm, form = perf_counter_ns(), self._arm, self._form
        variant, revision, who, told = arm.variant, -1, b"", []
        more: dict[int, tuple[VariantSeries, list[RowTimes]]] = {}
        cells_of = self._cells_of(outputs, len(present))
        tokens = self._tokens(present, cells_of)
        try:
            for passenger, row, cells, token in zip(present, numbers, cells_of, tokens, strict=True):
                carriage, given, started = passenger.carriage, passenger.assignment, passenger.started_ns
                body = form % row if passenger.id is None else self._with_id(passenger.id, row)
                if passenger.revision != revision:
                    revision = passenger.revision
                    who = served_lines(variant.version, variant.name, revision)
                carriage.deliver(row_lines(len(body), carriage.arrival.request_id, who, token), body)
                decoded, encoded = started - carriage.arrival.at_ns, perf_counter_ns() - result
                times = (result - started, decoded, begun - started, encoded, cells)
                told.append(times)
                if given is not None and given.guards is not None:
                    given.guards.passed_by(given, self._loaded)
                if (unit := passenger.unit) is not None:
                    more.setdefault(id(unit), (unit, []))[1].append(times)
        finally:  # whoever was answered counts, whatever came between
            if told:
                arm.series.observe_run(computed, told)
            for unit, again in more.values():
                unit.observe_run(computed, again, again[0] is told[0])

    def _tokens(self, present: list[Passenger], cells_of: list[Cells]) -> Sequence[bytes | None]:
        stamp = self._arm.stamp
        if stamp is None:
            return [None] * len(present)
        if all(passenger.stamp is None for passenger in present):
            return stamp.run(cells_of)
        return [(one.stamp or stamp).one(cells) for one, cells in zip(present, cells_of, strict=True)]

    def _with_id(self, given: str, row: tuple[bytes, ...]) -> bytes:
        return b'%b,"id":%b%b' % (self._head, orjson.dumps(given), self._outputs % row)

    def _assignment(self, passenger: Passenger) -> Assignment:
        if passenger.assignment is not None:
            return passenger.assignment
        at_ns = passenger.carriage.arrival.at_ns
        made = self._dataplane.assignment(self._arm, passenger.how, at_ns, passenger.started_ns)
        made.unit, made.revision, made.guards = passenger.unit, passenger.revision, self._guards
        made.stamp = passenger.stamp or made.stamp
        return made
