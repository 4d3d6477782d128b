"""When requests that run together do so: at the end of a turn of the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Line = TypeVar("Line")


class Turn(Generic[Line]):
    """When the lines of a loop depart: all at once, for a run costs as much as reading several requests, and a variant
    that gets few of them would run for each. `came`: requests that have joined. `depart` never raises."""

    def __init__(self, depart: Callable[[Sequence[Line]], None]) -> None:
        self.depart = depart
        self.came = self._seen = 0
        self._lines: list[Line] = []
        self._ends = False

    def add(self, line: Line) -> None:
        """Somebody waits there now."""
        self._lines.append(line)
        if not self._ends:
            self._ends = True
            asyncio.get_running_loop().call_soon(self._look)

    def end(self) -> None:
        """Let all depart, in the order in which they began to wait."""
        lines, self._lines = self._lines, []
        self.depart(lines)

    def _look(self) -> None:
        # The loop looks for more between two calls. Where clients share its core few come at a time; where all come at
        # once, this costs one look.
        if self.came > self._seen and self._lines:
            self._seen = self.came
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._ends = False
        self.end()
