"""A session that suffers what `SERIN_FAULTS` says, standing where the session would."""

from collections.abc import Callable
from time import sleep

import numpy as np

from service.faults import Effect, Fault, FaultInjected, crash
from service.protocol.tensors import Array
from service.runtime.executor import Names
from service.runtime.seats import Feeds
from service.runtime.session import Session
from service.runtime.watchdog import Switch


class FaultySession:
    """Runs `session`, worse. `draw` gives independent uniform numbers in [0, 1)."""

    def __init__(self, session: Session, fault: Fault, draw: Callable[[], float]) -> None:
        self._session = session
        self._fault = fault
        self._draw = draw

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list[Array]:
        """Like `Session.run`. Raises FaultInjected besides."""
        effect: Effect = self._fault.decide(self._draw)
        if effect.crashes or (self._fault.poison is not None and _holds(feeds, self._fault.poison)):
            crash()
        if effect.delay_seconds:
            sleep(effect.delay_seconds)
        if effect.fails:
            raise FaultInjected("a fault was injected")
        outputs = self._session.run(feeds, names, stop)
        return [_spoilt(array) for array in outputs] if effect.nonfinite else outputs

    def switch(self) -> Switch:
        """Like `Session.switch`."""
        return self._session.switch()


def _holds(feeds: Feeds, value: float) -> bool:
    """Whether a row of numbers begins with the value."""
    numbers = [array for array in feeds.values() if array.size and array.dtype.kind in "fiu"]
    return any((array.reshape(len(array) if array.ndim else 1, -1)[:, 0] == value).any() for array in numbers)


def _spoilt(array: Array) -> Array:
    return np.full_like(array, np.nan) if array.dtype.kind == "f" else array
