"""Readings of all counters, shared by everybody who asks at about the same moment: one a tick, however many models."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from router.errors import Unavailable
from router.tally import BlockCopy

GATHER_SECONDS: Final = 0.005
"""So long the first who asks waits for others. A reading is always newer than the question."""


class Readings:
    """For one event loop. `read` may block, and runs in a thread."""

    def __init__(self, read: Callable[[], Sequence[BlockCopy]]) -> None:
        self._read = read
        self._next: asyncio.Task[Mapping[str, Sequence[BlockCopy]]] | None = None

    async def now(self, model: str) -> Sequence[BlockCopy]:
        """What was counted of a model. Raises Unavailable when the counters cannot be read."""
        if self._next is None:
            self._next = asyncio.create_task(self._soon())
        return (await asyncio.shield(self._next)).get(model, ())

    async def _soon(self) -> Mapping[str, Sequence[BlockCopy]]:
        await asyncio.sleep(GATHER_SECONDS)
        self._next = None  # whoever asks from here on wants a later one
        try:
            return by_model(await asyncio.to_thread(self._read))
        except OSError as error:
            raise Unavailable(f"the counters of the workers cannot be read: {error.strerror or error}") from error


def by_model(copies: Sequence[BlockCopy]) -> dict[str, list[BlockCopy]]:
    """Those that count something of a model, so that nobody has to look through all of them."""
    found: dict[str, list[BlockCopy]] = {}
    for copy in copies:
        model = copy.spec.labels.get("model")
        if model is not None:
            found.setdefault(model, []).append(copy)
    return found
