"""Events to hooks: in order, again with growing pauses, given up in the end, and never forgotten by a restart."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from router.bell import Bell
from router.history import Event, Who
from router.hooks import Hook, Message, Reply, Sender, signature
from router.webhooks import Cursors, Patience, Webhooks

SECRET = b"sixteen bytes or more"
OPS = Hook("ops", "https://ops.example/serin", SECRET, ("rollout.*",))
TAKEN, BUSY = Reply(204), Reply(503)
QUICK = Patience(attempts=3, first_seconds=0.0, longest_seconds=0.0)


class Past:
    """A history that a test writes."""

    def __init__(self, *kinds: str) -> None:
        self.bell = Bell()
        self.closing = False
        self.known: list[Event] = []
        self.happen(*kinds)

    @property
    def last_event(self) -> int:
        return len(self.known)

    def happen(self, *kinds: str) -> None:
        for kind in kinds:
            self.known.append(Event(kind, "digits", Who("ann", "because"), None, {"step": 1}, len(self.known) + 1))
        self.bell.ring()

    def close(self) -> None:
        self.closing = True
        self.bell.ring()

    async def events(self, after: int | None, limit: int, model: str | None = None) -> tuple[Event, ...]:
        return tuple(self.known[after or 0 :][:limit])


class Told(Sender):
    """Takes what is sent, or does not; `then` runs after each attempt."""

    def __init__(self, answers: list[Reply] | None = None, then: Callable[["Told"], None] = lambda told: None) -> None:
        super().__init__(lambda: 0.0)
        self.answers = answers or []
        self.sent: list[Message] = []
        self.then = then

    async def send(self, hook: Hook, message: Message) -> Reply:
        self.sent.append(message)
        answer = self.answers.pop(0) if self.answers else TAKEN
        self.then(self)
        return answer

    @property
    def ids(self) -> list[int]:
        return [json.loads(message.body)["id"] for message in self.sent]


def closing_after(past: Past, attempts: int) -> Callable[[Told], None]:
    return lambda told: past.close() if len(told.sent) >= attempts else None


async def run(past: Past, told: Told, cursors: Cursors, patience: Patience = QUICK, hook: Hook = OPS) -> Webhooks:
    webhooks = Webhooks(past, [hook], told, cursors, patience)
    async with asyncio.timeout(5):
        await webhooks.run()
    return webhooks


def cursors(tmp_path: Path, settled: int | None = 0) -> Cursors:
    found = Cursors(tmp_path / "hooks.json")
    if settled is not None:
        found.put("ops", settled)
    return found


def test_the_signature_covers_time_and_body() -> None:
    expected = hmac.new(SECRET, b'1700000000.{"id":1}', hashlib.sha256).hexdigest()
    assert signature(SECRET, b'{"id":1}', 1_700_000_000) == f"t=1700000000,v1={expected}"


def test_a_hook_shows_no_secret() -> None:
    assert repr(OPS) == "Hook('ops')"


@pytest.mark.parametrize(("kind", "wanted"), [("rollout.started", True), ("route.set", False)])
def test_a_hook_wants_what_its_patterns_say(kind: str, wanted: bool) -> None:
    assert OPS.wants(kind) is wanted


async def test_events_are_sent_in_order_and_others_are_passed_over(tmp_path: Path) -> None:
    past = Past("rollout.started", "route.set", "rollout.step")
    told = Told(then=closing_after(past, 2))
    webhooks = await run(past, told, cursors(tmp_path))
    assert told.ids == [1, 3]
    assert [message.delivery for message in told.sent] == ["1", "3"]
    assert webhooks.counts["ops"].results == {"delivered": 2, "failed": 0, "dropped": 0}
    assert Cursors(tmp_path / "hooks.json").get("ops") == 3


async def test_a_new_hook_begins_with_the_next_event(tmp_path: Path) -> None:
    past = Past("rollout.started")
    told = Told(then=closing_after(past, 1))
    asyncio.get_running_loop().call_later(0.01, past.happen, "rollout.step")
    await run(past, told, cursors(tmp_path, None))
    assert told.ids == [2]


async def test_a_failed_attempt_is_repeated_before_the_next_event(tmp_path: Path) -> None:
    past = Past("rollout.started", "rollout.step")
    told = Told(answers=[BUSY, Reply(None, "cannot be reached")], then=closing_after(past, 4))
    webhooks = await run(past, told, cursors(tmp_path))
    assert told.ids == [1, 1, 1, 2]
    assert webhooks.counts["ops"].results == {"delivered": 2, "failed": 2, "dropped": 0}


async def test_an_event_is_given_up_after_its_attempts(tmp_path: Path) -> None:
    past = Past("rollout.started", "rollout.step")
    told = Told(answers=[BUSY] * 3, then=closing_after(past, 4))
    webhooks = await run(past, told, cursors(tmp_path))
    assert told.ids == [1, 1, 1, 2]
    assert webhooks.counts["ops"].results == {"delivered": 1, "failed": 3, "dropped": 1}


async def test_a_backlog_that_is_too_long_loses_its_oldest_events(tmp_path: Path) -> None:
    past = Past(*["rollout.step"] * 5)
    told = Told(then=closing_after(past, 2))
    webhooks = await run(past, told, cursors(tmp_path), Patience(backlog=2))
    assert told.ids == [4, 5]
    assert webhooks.counts["ops"].results["dropped"] == 3


async def test_what_was_under_way_when_serin_stopped_is_sent_again_under_the_same_delivery(tmp_path: Path) -> None:
    past = Past("rollout.started", "rollout.step")
    first = Told(answers=[TAKEN, BUSY], then=closing_after(past, 2))
    await run(past, first, cursors(tmp_path))
    past.closing = False
    second = Told(then=closing_after(past, 1))
    await run(past, second, Cursors(tmp_path / "hooks.json"))
    assert (first.ids, second.ids) == ([1, 2], [2])
    assert second.sent[0].delivery == first.sent[1].delivery


async def test_a_history_that_was_lost_is_begun_anew(tmp_path: Path) -> None:
    past = Past("rollout.started")
    told = Told(then=closing_after(past, 1))
    asyncio.get_running_loop().call_later(0.01, past.happen, "rollout.step")
    await run(past, told, cursors(tmp_path, 400))
    assert told.ids == [2]


async def test_trouble_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    past, lines = Past("rollout.started"), list[tuple[str, str]]()
    told = Told(answers=[BUSY, BUSY], then=closing_after(past, 3))
    webhooks = Webhooks(past, [OPS], told, cursors(tmp_path), QUICK)
    webhooks.on_trouble = lambda name, text: lines.append((name, text))
    await webhooks.run()
    assert lines == [("ops", "answered 503"), ("ops", "")]


def test_pauses_grow_up_to_a_limit() -> None:
    patience = Patience()
    assert [patience.pause(failures) for failures in (1, 2, 5, 9, 10, 1000)] == [1, 2, 16, 256, 300, 300]


@pytest.mark.parametrize("content", ["", "[]", '{"ops": "3"}', "nonsense"])
def test_a_file_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "hooks.json").write_text(content)
    assert Cursors(tmp_path / "hooks.json").get("ops") is None
