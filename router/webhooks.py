"""Events sent to the hooks of the settings: signed, in order, at least once, again with growing pauses.

The backlog is the history itself: for each hook a file keeps the id of the last event that is settled. So a restart
loses nothing and repeats at most the one that was under way (`Serin-Delivery` tells). An event is given up, and counted
as dropped, after `attempts` failures in a row or when `backlog` events have come behind it. A hook that is new in the
settings begins with the next event; so does every hook when the file is lost.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import msgspec

from router.bell import Bell
from router.errors import SerinError
from router.history import Event
from router.hooks import Hook, Message, Sender
from router.views import event_document

PAGE: Final = 100
QUIET_SECONDS: Final = 60.0
DELIVERED, FAILED, DROPPED = "delivered", "failed", "dropped"
"""Events that were taken; attempts that were not; events that were given up."""


class History(Protocol):
    """What `Controller` offers of its history."""

    last_event: int
    bell: Bell

    @property
    def closing(self) -> bool:
        """Whether to end."""
        ...

    async def events(self, after: int | None, limit: int, model: str | None = None) -> tuple[Event, ...]:
        """The first `limit` events with an id above `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """12 attempts take about 20 minutes."""

    attempts: int = 12
    first_seconds: float = 1.0
    longest_seconds: float = 300.0
    backlog: int = 1000

    def pause(self, failures: int) -> float:
        """Seconds before the next attempt, after so many failures."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 60))


@dataclass(slots=True)
class HookCounts:
    """Since this process began; `backlog`: events behind the last settled one, wanted or not."""

    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys((DELIVERED, FAILED, DROPPED), 0))
    backlog: int = 0


class Cursors:
    """The last settled event of each hook, in one file that is replaced whole. From any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._lock = Lock()

    def get(self, name: str) -> int | None:
        """None for a hook that has settled none."""
        return self._known.get(name)

    def put(self, name: str, event: int) -> None:
        """Raises OSError when it cannot be written."""
        with self._lock:
            self._known[name] = event
            draft = self._path.with_name(f".{self._path.name}.new")
            draft.write_text(json.dumps(self._known))
            draft.replace(self._path)


class Webhooks:
    """`run` sends until the history closes. `on_trouble`: hook and text, once when it begins to fail, empty when it no
    longer does."""

    def __init__(
        self,
        history: History,
        hooks: Sequence[Hook],
        sender: Sender,
        cursors: Cursors,
        patience: Patience | None = None,
    ) -> None:
        self.counts = {hook.name: HookCounts() for hook in hooks}
        self.on_trouble: Callable[[str, str], None] = lambda name, text: None
        self._history = history
        self._hooks = tuple(hook for hook in hooks if hook.events)
        self._sender = sender
        self._cursors = cursors
        self._patience = patience or Patience()
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """One after the other for each hook, and no hook waits for another."""
        async with asyncio.TaskGroup() as group:
            for hook in self._hooks:
                group.create_task(self._serve(hook))

    async def _serve(self, hook: Hook) -> None:
        history, known = self._history, self._cursors.get(hook.name)
        after = history.last_event if known is None else min(known, history.last_event)
        await self._settle(hook, after)
        while not history.closing:
            try:
                page = await history.events(after, PAGE)
            except SerinError as error:
                self._tell(hook, error.message)
                await self._pause(self._patience.longest_seconds)
                continue
            for event in page:
                if not await self._deliver(hook, event):
                    return
                after = event.id
                await self._settle(hook, after)
            if not page:
                await self._news(after)

    async def _deliver(self, hook: Hook, event: Event) -> bool:
        """Whether the event is settled, one way or the other; False when the history closed before."""
        if not hook.wants(event.kind):
            return True
        counts, failures = self.counts[hook.name], 0
        message = Message(event.kind, str(event.id), msgspec.json.encode(event_document(event)))
        while not self._history.closing:
            self._measure(hook, event.id - 1)
            if self._is_given_up(event, failures):
                counts.results[DROPPED] += 1
                return True
            reply = await self._sender.send(hook, message)
            if reply.is_taken:
                counts.results[DELIVERED] += 1
                self._tell(hook, "")
                return True
            failures += 1
            counts.results[FAILED] += 1
            self._tell(hook, reply.reason or f"answered {reply.status}")
            if failures < self._patience.attempts:
                await self._pause(self._patience.pause(failures), event)
        return False

    def _is_given_up(self, event: Event, failures: int) -> bool:
        behind = self._history.last_event - event.id
        return failures >= self._patience.attempts or behind >= self._patience.backlog

    async def _pause(self, seconds: float, event: Event | None = None) -> None:
        """Until the time is over, the history closes, or the backlog is full."""
        history = self._history
        await history.bell.until(
            lambda: history.closing or (event is not None and self._is_given_up(event, 0)), seconds
        )

    async def _news(self, after: int) -> None:
        history = self._history
        await history.bell.until(lambda: history.closing or history.last_event > after, QUIET_SECONDS)

    async def _settle(self, hook: Hook, event: int) -> None:
        self._measure(hook, event)
        if self._cursors.get(hook.name) == event:
            return
        try:
            await asyncio.to_thread(self._cursors.put, hook.name, event)
        except OSError as error:
            self._tell(hook, f"what it has had cannot be recorded: {error.strerror}")

    def _measure(self, hook: Hook, settled: int) -> None:
        self.counts[hook.name].backlog = max(0, self._history.last_event - settled)

    def _tell(self, hook: Hook, text: str) -> None:
        if text != self._troubles.get(hook.name, ""):
            self.on_trouble(hook.name, text)
        self._troubles[hook.name] = text


def _read(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, Mapping):
        return {}
    return {str(name): event for name, event in content.items() if isinstance(event, int)}
