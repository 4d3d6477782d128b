"""What the fast lane holds: a request under way, a head that was seen before."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from router.errors import Internal, SerinError
from service.calls import Assignment
from service.http.reading import Gathered
from service.http.replies import Arrival, Reply
from service.http.stepping import Work
from service.http.v2 import V2
from service.protocol.messages import InferRequest


class Stepping(Protocol):
    """The connection of a request."""

    v2: V2

    def step(self, ride: "Ride", work: Work) -> None: ...
    def send(self, ride: "Ride", status: int, lines: bytes, body: bytes) -> None: ...
    def refuse(self, ride: "Ride", error: SerinError) -> None: ...


class Ride(Struct, eq=False):
    """One request in the lane, seen by uvicorn's protocol as the cycle in progress."""

    lane: Stepping
    arrival: Arrival
    keep_alive: bool
    body: bytes | Gathered = b""
    more_body: bool = True
    disconnected: bool = False
    response_complete: bool = False
    task: "asyncio.Task[Reply] | None" = None
    work: Work | None = None
    hurry: Callable[[], None] | None = None

    def deliver(self, lines: bytes, body: bytes) -> None:
        """Answer it: with 200, these header fields and this body."""
        self.lane.send(self, 200, lines, body)

    def go_on(self, body: bytes, assignment: Assignment, request: InferRequest | None = None) -> None:
        """Answer it the ordinary way, with what it has been given to. `request`: what the body says, if it was read."""
        self.lane.step(self, self.lane.v2.answer(self.arrival, body, assignment, request))

    def give_up(self) -> None:
        """Answer that it failed, if it has no answer."""
        if not self.response_complete:
            self.lane.refuse(self, Internal("the gateway failed; its log has why"))

    @property
    def message_event(self) -> "Ride":
        """uvicorn wakes a waiting application through this; here nobody waits."""
        return self

    def set(self) -> None:
        """See `message_event`."""


class Known(Struct, frozen=True):
    """A request head that was taken apart before. A request whose head is the same bytes means the same, and the parser
    need not see it. `body_bytes`: of its body, no more than it may have. `plain`: see `express.is_plain_head`."""

    body_bytes: int
    headers: Mapping[bytes, bytes]
    model: str
    version: str | None
    plain: bool
