"""What the fast lane holds: a request under way, a head that was seen before."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.calls import Assignment
from service.http.replies import Arrival, Reply
from service.http.stepping import Work
from service.http.v2 import V2


class Stepping(Protocol):
    """The connection of a request."""

    v2: V2

    def step(self, ride: "Ride", work: Work) -> None: ...
    def finish(self, ride: "Ride", reply: Reply) -> None: ...


class Ride:
    """One request in the lane, seen by uvicorn's protocol as the cycle in progress."""

    __slots__ = (
        *("arrival", "body", "disconnected", "keep_alive", "lane", "more_body", "response_complete"),
        *("hurry", "task", "work"),
    )

    def __init__(self, lane: Stepping, arrival: Arrival, keep_alive: bool) -> None:
        self.lane = lane
        self.arrival = arrival
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.task: asyncio.Task[Reply] | None = None
        self.work: Work | None = None
        self.hurry: Callable[[], None] | None = None

    def deliver(self, reply: Reply) -> None:
        """Answer it."""
        self.lane.finish(self, reply)

    def go_on(self, body: bytes, assignment: Assignment) -> None:
        """Answer it the ordinary way, with what it has been given to."""
        self.lane.step(self, self.lane.v2.answer(self.arrival, body, assignment))

    @property
    def message_event(self) -> "Ride":
        """uvicorn wakes a waiting application through this; here nobody waits."""
        return self

    def set(self) -> None:
        """See `message_event`."""


@dataclass(frozen=True, slots=True)
class Known:
    """A request head that was taken apart before. A request whose head is the same bytes means the same, and the parser
    need not see it. `body_bytes`: of its body."""

    body_bytes: int
    headers: Mapping[bytes, bytes]
    model: str
    version: str | None
