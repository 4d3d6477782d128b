"""Requests that wait for the end of a turn of the event loop, and what they wait on."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from router.telemetry import VariantSeries
from service.calls import Assignment
from service.feedback import Stamp
from service.http.replies import Arrival
from service.protocol.messages import InferRequest


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
