"""Who is turned away from the admin port is counted by why."""

from typing import Any

import pytest

from router.doorman import Doorman, Rules
from router.gate import Gate
from router.guard import Guard, GuardLimits
from router.metrics import Sample
from router.needs import ADMIN_PORT

REFUSED = "serin_admin_refused_requests_total"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def asked(guard: Guard, *fields: tuple[bytes, bytes]) -> int:
    """The status of a request for the routes with these header fields."""
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await guard({"type": "http", "method": "GET", "path": "/api/v1/routes", "headers": fields}, receive, send)
    return int(told[0]["status"])


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([(b"host", b"evil.example")], 403, "forbidden"),
        ([(b"host", b"localhost"), (b"origin", b"http://evil.example")], 403, "forbidden"),
        ([(b"host", b"localhost"), (b"content-length", b"99999999")], 413, "too_large"),
        ([(b"host", b"localhost")], 401, "unauthorized"),
    ],
)
async def test_a_refusal_counts_for_its_reason(fields: list[tuple[bytes, bytes]], status: int, reason: str) -> None:
    gate = Gate(ADMIN_PORT, Doorman(Rules(), lambda: 0.0, lambda: 0.0))
    guard = Guard(app, frozenset({"localhost"}), GuardLimits(), gate)
    assert [await asked(guard, *fields) for _ in range(2)] == [status] * 2
    assert list(guard.samples()) == [Sample(REFUSED, (reason,), 2)]


async def test_who_is_let_in_is_no_refusal() -> None:
    guard = Guard(app, frozenset({"localhost"}), GuardLimits())
    assert await asked(guard, (b"host", b"localhost")) == 200
    assert list(guard.samples()) == []
