"""Rollouts from the command line, for the tests that walk them in real gateways."""

import json
from collections.abc import Iterable
from typing import Any

from router.client import AdminClient
from tests.e2e.conftest import Running, eventually
from tests.e2e.traffic import ONE_ROW, Ask, post

Document = dict[str, Any]

INFER = "/v2/models/digits/infer"
CHECK = {"name": "errors", "metric": "error_rate", "max": 0.05, "min_requests": 20, "interval": "1s"}
END = ("window", "promoted", "aborted", "rolled_back", "superseded")


def user(number: int) -> Ask:
    """A request of one of 500 users."""
    return post(INFER, ONE_ROW, f"user-{number % 500}")


def apply(running: Running, word: str = "start", **document: Any) -> None:
    """Begin a rollout of version 2 by a file."""
    file = running.state.parent / "rollout.json"
    file.write_text(json.dumps({"model": "digits", "to": 2, **document}))
    running.serin("rollout", "start", "digits", "-f", str(file))


def status(running: Running, model: str = "digits") -> Document:
    return dict(json.loads(running.serin("rollout", "status", model, "--json")))


def at_step(running: Running, number: int, phase: str = "") -> Document:
    """The rollout, once it stands at a step and every worker follows."""

    def there() -> Document | None:
        found = client(running).rollout("digits")
        assert found["phase"] not in END, found["reason"]
        fits = found["step_number"] == number and found["followed"] and phase in ("", found["phase"])
        return found if fits else None

    return dict(eventually(there, seconds=40))


def client(running: Running) -> AdminClient:
    return AdminClient.at(running.admin, "test")


def ended(running: Running, code: int, timeout: str = "60s") -> Document:
    """The rollout, once `serin rollout wait` has left with this code."""
    return dict(json.loads(running.serin("rollout", "wait", "digits", "--timeout", timeout, "--json", expect=code)))


def history(running: Running, identity: str) -> list[Document]:
    """Every line of a rollout's history."""
    return list(json.loads(running.serin("rollout", "history", "digits", "--id", identity, "--json")))


def kinds(events: Iterable[Document]) -> list[str]:
    return [event["kind"].removeprefix("rollout.") for event in events]


def steps_of(events: Iterable[Document]) -> list[int]:
    return [event["after"]["step"] for event in events if event["kind"] == "rollout.step"]
