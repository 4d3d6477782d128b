"""The shortest way: plain requests of one turn for one variant, from bodies to answers as one piece of work.

Plain is one row of numbers for the one input of a version whose rows may run together, on a route without rules and at
a time at which no copies are made. What else a request may be, and whatever goes wrong with one here, is left to
`V2.answer`, with the variant that the request has been given by then. The answers are the same, to the byte.
"""

from collections.abc import Mapping
from time import perf_counter_ns

from router.telemetry import VariantSeries
from service.bound import Pick
from service.dataplane import Dataplane
from service.feedback import Stamp
from service.guards import Guards
from service.http.line import Line
from service.http.passengers import Carriage, Passenger
from service.http.replies import CODINGS, HEADER
from service.http.trip import depart
from service.http.turn import Turn
from service.protocol.limits import Limits
from service.protocol.short import SHORT_BYTES, is_plain, read_one, ready


class Express:
    """Who may take this way. `take` is called with whole requests that were admitted, and whose heads are plain."""

    def __init__(self, dataplane: Dataplane, limits: Limits) -> None:
        self._dataplane = dataplane
        self._limits = limits
        self._turn: Turn[Line] = Turn(depart)

    def take(self, carriage: Carriage, body: bytes) -> bool:
        """Whether the request was taken: answered, or on its way to be. If not, nothing has been counted."""
        arrival = carriage.arrival
        bound = self._dataplane.plain_route(arrival.model)
        if bound is None or arrival.version is not None or len(body) > SHORT_BYTES:
            return False
        request = read_one(body, self._limits)
        if request is None:
            return False
        [plain] = request.inputs
        now = perf_counter_ns()
        pick = self._dataplane.pick(bound, arrival.headers, now)
        arm, how, guards = pick.arm, pick.how, bound.guards
        line = arm.line
        if line is None:
            line = arm.line = Line.of(arm, guards, self._dataplane, self._limits, self._turn)
        taker = line if isinstance(line, Line) and line.fits(plain) else None
        if taker is None and not is_plain(plain, self._limits):
            return False
        arm.series.assigned(how)
        if taker is not None and (guards is None or guards.lets_by(arm.variant.name, now)):
            unit, stamp = (pick.twice, None) if guards is None or pick.was_met else _meet(guards, pick)
            if unit is not None:
                unit.assigned(how)
            revision = self._dataplane.table.revision
            taker.join(Passenger(carriage, body, plain.data, request.id, how, revision, now, unit, stamp))
            return True
        given = self._dataplane.guarded(guards, arm, how, (arrival.at_ns, pick.key))
        if taker is None or given.reason:
            carriage.go_on(body, given, ready(request) if taker is None else None)
        else:
            stamp = None if given.stamp is arm.stamp else given.stamp
            told = (how, given.revision, given.started_ns, given.unit, stamp, given)
            taker.join(Passenger(carriage, body, plain.data, request.id, *told))
        return True


def _meet(guards: Guards, pick: Pick) -> tuple[VariantSeries | None, Stamp | None]:
    """Where the first request of a key in this worker counts once more, and what signs its answer then."""
    pick.was_met = True
    first = None if pick.key is None else guards.first(pick.key, pick.arm.variant)
    return first or (pick.twice, None)


def is_plain_head(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request with these header fields may be plain JSON, and be answered with it."""
    return (
        b"content-encoding" not in headers and HEADER not in headers and headers.get(b"accept-encoding") not in CODINGS
    )
