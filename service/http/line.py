"""The plain requests of one turn for one variant: who may join them, and where they wait.

See `service/http/express.py`, which says who may come here, and `service/http/trip.py` for what becomes of them.
"""

import logging
from math import prod

from service.bound import Bound
from service.calls import Assignment
from service.dataplane import Dataplane
from service.guards import Guards
from service.http.forms import Forms
from service.http.passengers import Passenger
from service.http.turn import Turn
from service.protocol.json_codec import ABSENT
from service.protocol.limits import Limits
from service.protocol.short import NUMBERS, Plain
from service.protocol.tensors import DATATYPES, FLOATS, MAX_RANK
from service.runtime.loaded import Loaded

log = logging.getLogger("serin.request")

MOST_TROUBLE, REST = 8, 1000
"""So many turns in a row that came to nothing here, and so many requests go the ordinary way without a try."""


class Line:
    """One variant's requests of one turn. `fits` says whether a request may join; `trouble`: turns in a row that came
    to nothing."""

    def __init__(
        self, arm: Bound, guards: Guards | None, dataplane: Dataplane, loaded: Loaded, turn: "Turn[Line]"
    ) -> None:
        [spec] = loaded.signature.inputs
        self.arm = arm
        self.guards = guards
        self.loaded = loaded
        self.dataplane = dataplane
        self.executor = loaded.executor
        self.name, self.datatype = spec.name, DATATYPES[spec.datatype]
        self.shape = (1, *(spec.shape or ())[1:])
        self.cells_of = loaded.watch.cells_of_rows([output.name for output in loaded.signature.outputs])
        self.forms = Forms(loaded)
        self.waiting: list[Passenger] = []
        self.trouble = self._rested = 0
        self._turn = turn
        self._datatype = spec.datatype
        self._elements = prod(self.shape)
        rows = 1 if loaded.batcher is None else loaded.batcher.rows
        self._most = min(rows, self.executor.quick_elements // max(1, self._elements))

    @classmethod
    def of(
        cls, arm: Bound, guards: Guards | None, dataplane: Dataplane, limits: Limits, turn: "Turn[Line]"
    ) -> "Line | bool":
        """False for a version whose requests are not for this way. `guards`: of the route."""
        loaded = arm.loaded
        if loaded is None or loaded.batcher is None or loaded.batcher.limits.wait_seconds:
            return False
        inputs, outputs = loaded.signature.inputs, loaded.signature.outputs
        if len(inputs) != 1 or inputs[0].datatype not in FLOATS or -1 in (inputs[0].shape or (-1, -1))[1:]:
            return False
        line = cls(arm, guards, dataplane, loaded, turn)
        is_plain = 0 < line._elements <= limits.max_elements and len(line.shape) <= MAX_RANK
        return line if is_plain and line._most > 1 and all(spec.datatype in NUMBERS for spec in outputs) else False

    def fits(self, plain: Plain) -> bool:
        """Whether this is plain, and a row as the version takes it, now that it runs on the loop."""
        return (
            plain.shape == self.shape
            and len(plain.data) == self._elements
            and plain.name == self.name
            and plain.datatype == self._datatype
            and plain.parameters is ABSENT
            and self.executor.inline
            and self.executor.accused is None
            and (self.trouble < MOST_TROUBLE or self._has_rested())
        )

    def _has_rested(self) -> bool:
        self._rested += 1
        if self._rested >= REST:
            self.trouble = self._rested = 0
        return self.trouble == 0

    def join(self, passenger: Passenger) -> None:
        """Run it with those that come in this turn; at once if there can be none."""
        waiting = self.waiting
        if not waiting and self.executor.is_lone():
            waiting.append(passenger)
            self.depart()
            return
        waiting.append(passenger)
        passenger.carriage.hurry = self.depart
        if len(waiting) == 1:
            self._turn.add(self)
        self._turn.came += 1
        if len(waiting) >= self._most:
            self._turn.end()

    def depart(self) -> None:
        """Run those that wait, and answer them; the other lines stay. Never raises."""
        self._turn.depart([self])

    def board(self) -> list[Passenger]:
        """Those that wait, who do so no longer."""
        waiting, self.waiting = self.waiting, []
        for passenger in waiting:
            passenger.carriage.hurry = None
        return waiting

    def leave(self, passenger: Passenger) -> None:
        """Have a request answered the ordinary way, if it is not yet. Never raises."""
        carriage = passenger.carriage
        if carriage.response_complete:
            return
        try:
            carriage.go_on(passenger.body, self.assignment(passenger))
        except Exception:
            log.exception("request failed", extra={"request_id": carriage.arrival.request_id})
            carriage.give_up()

    def assignment(self, passenger: Passenger) -> Assignment:
        """The same request as the ordinary way knows it."""
        if passenger.assignment is not None:
            return passenger.assignment
        at_ns = passenger.carriage.arrival.at_ns
        made = self.dataplane.assignment(self.arm, passenger.how, at_ns, passenger.started_ns)
        made.unit, made.revision, made.guards = passenger.unit, passenger.revision, self.guards
        made.stamp = passenger.stamp or made.stamp
        return made
