"""Looks whether versions elsewhere still answer; one that does not is taken out, and comes back by itself."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from router.targets import Target
from router.upstreams import Upstreams

EVERY_SECONDS: Final = 2.0
FAILURES: Final = 2
"""So many looks in a row must fail: one lost packet is no reason to end a rollout."""

TOGETHER: Final = 8

log = logging.getLogger("health")

Key = tuple[str, int]


class Holder(Protocol):
    """What is needed of the engine."""

    def remotes(self) -> Mapping[Key, Target]: ...
    def note_remote(self, key: Key, reason: str) -> None: ...


class Health:
    """The looks of one worker. What is down for one target of an upstream is asked for each of them."""

    def __init__(self, holder: Holder, upstreams: Upstreams) -> None:
        self._holder = holder
        self._upstreams = upstreams
        self._failed: dict[Key, int] = {}
        self._places = asyncio.Semaphore(TOGETHER)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """One look at all of them."""
        targets = self._holder.remotes()
        reasons = await asyncio.gather(*(self._trouble(target) for target in targets.values()))
        for key, reason in zip(targets, reasons, strict=True):
            self._note(key, reason)
        self._forget(targets)

    def _note(self, key: Key, reason: str) -> None:
        failed = self._failed[key] = self._failed.get(key, 0) + 1 if reason else 0
        if not reason or failed >= FAILURES:
            self._holder.note_remote(key, reason)

    def _forget(self, known: Iterable[Key]) -> None:
        self._failed = {key: self._failed[key] for key in known}

    async def _trouble(self, target: Target) -> str:
        try:
            async with self._places:
                return await self._upstreams.trouble(target)
        except Exception:
            # One look that fails must not be the last one of all.
            log.exception("cannot look at %s", target)
            return f"{target} could not be looked at"
