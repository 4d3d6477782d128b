"""The open loop: when requests are due, and from when latencies count."""

from itertools import pairwise
from typing import Any, cast

import pytest

from loadtests.arrivals import Arrivals, Plan, moments
from loadtests.client import Connection, Reply

OK, BUSY = Reply(200, b"HTTP/1.1 200 OK", b""), Reply(503, b"HTTP/1.1 503 Busy", b"")
PLAN = Plan("127.0.0.1", 1, 1, 4.0, 100.0, window_seconds=2.0, warmup_seconds=1.0, requests=(b"a", b"b"))


class Held(Connection):
    """A connection that keeps what was sent, for the test to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def send(self, request: bytes, on_reply: Any) -> None:
        self.sent.append(request)
        self.on_reply = on_reply


class Clock:
    """Seconds that stand still until they are set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_one_connection(monkeypatch: pytest.MonkeyPatch, due: list[float]) -> tuple[Arrivals, Held, Clock]:
    clock, held = Clock(), Held()
    monkeypatch.setattr("loadtests.arrivals.perf_counter", clock)
    arrivals = Arrivals(PLAN, due)
    arrivals._free.append(cast(Connection, held))
    return arrivals, held, clock


def test_moments_are_the_same_for_every_server_and_as_many_as_the_rate_asks_for() -> None:
    found = moments(PLAN)
    assert found == moments(PLAN)
    assert all(earlier < later for earlier, later in pairwise(found))
    assert len(found) == pytest.approx(500, rel=0.15)
    assert found[-1] < 5.0


async def test_a_request_that_had_to_wait_for_a_connection_is_late_from_when_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrivals, held, clock = with_one_connection(monkeypatch, [1.0, 1.1])
    for clock.now in (1.0, 1.1):
        arrivals._turn()
    assert held.sent == [b"a"]
    clock.now = 3.0
    held._finish(OK)
    assert held.sent == [b"a", b"b"]
    clock.now = 3.2
    held._finish(OK)
    assert [round(latency, 6) for _, latency in arrivals.answered] == [2.0, 2.1]
    assert arrivals.done.is_set()


async def test_what_the_generator_itself_sent_late_is_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals, held, clock = with_one_connection(monkeypatch, [1.0])
    clock.now = 1.5
    arrivals._turn()
    clock.now = 1.7
    held._finish(OK)
    assert [round(latency, 6) for _, latency in arrivals.answered] == [0.2]
    assert arrivals.arrived().late_ms == pytest.approx(500)


async def test_windows_are_cut_by_when_a_request_was_due_and_the_warm_up_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrivals, held, clock = with_one_connection(monkeypatch, [0.5, 1.5, 4.5])
    for due in (0.5, 1.5, 4.5):
        clock.now = due
        arrivals._turn()
        clock.now = due + 0.1
        held._finish(OK)
    found = arrivals.arrived()
    assert [window.requests for window in found.windows] == [1, 1]
    assert (found.whole.requests, found.sent, found.answered) == (2, 3, 3)


async def test_a_refusal_is_an_error_and_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals, held, clock = with_one_connection(monkeypatch, [1.0])
    clock.now = 1.0
    arrivals._turn()
    held._finish(BUSY)
    found = arrivals.arrived()
    assert found.whole.errors == {"status 503": 1}
    assert (found.whole.requests, found.answered) == (0, 1)
