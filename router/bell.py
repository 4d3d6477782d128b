"""Waking those who wait for something to have changed."""

import asyncio
from collections.abc import Callable


class Bell:
    """Rung after every change; whoever waits asks its own question again. For one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Waits until `holds()`, asked now and after every ring; False when the time is over first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not holds():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._event.wait()
            except TimeoutError:
                return holds()
        return True
