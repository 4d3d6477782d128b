"""The history as it happens: server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator, Callable

import msgspec

from router.controller import Controller
from router.errors import ResourceExhausted
from router.views import event_document

PAGE = 100
MOST_STREAMS = 64
"""Open streams at once; each holds a connection."""


class Streams:
    """Counts the open streams of one app."""

    def __init__(self, controller: Controller, keep_alive_seconds: float = 15.0) -> None:
        self._controller = controller
        self._keep_alive_seconds = keep_alive_seconds
        self._open = 0

    def require_room(self) -> None:
        """Raises ResourceExhausted when there are too many."""
        if self._open >= MOST_STREAMS:
            raise ResourceExhausted(f"{MOST_STREAMS} event streams are open already", retry_after_seconds=5)

    async def events(self, after: int, model: str | None, allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Every event above `after`, then each as it comes; a comment when all is quiet. Ends with the controller, and
        at the next line after the reader is not `allowed` any more."""
        self._open += 1
        try:
            yield b"retry: 1000\n\n"
            while not self._controller.closing and allowed():
                page = await self._controller.events(after, PAGE, model)
                for event in page:
                    data = msgspec.json.encode(event_document(event))
                    yield b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.kind.encode(), data)
                if len(page) == PAGE:
                    after = page[-1].id
                    continue
                # Events of other models are passed over, so that each ring does not read them again.
                after = page[-1].id if page else after
                if not await self._news(after if model is None else self._controller.last_event):
                    yield b": quiet\n\n"
        finally:
            self._open -= 1

    async def _news(self, seen: int) -> bool:
        controller = self._controller
        return await controller.bell.until(
            lambda: controller.closing or controller.last_event > seen, self._keep_alive_seconds
        )
