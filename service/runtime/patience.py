"""Runs of a model that nobody has run before: the file may say that they take for ever, or all memory."""

import threading
from time import monotonic
from types import TracebackType
from typing import Any, Protocol

from router.errors import FailedPrecondition, SerinError
from service.protocol.tensors import Array
from service.runtime.seats import Feeds

PERIOD_SECONDS = 0.1


class Stoppable(Protocol):
    """`Session` is one."""

    def run(self, feeds: Feeds, names: Any = None, stop: Any = None) -> list[Array]: ...
    def switch(self) -> Any: ...


class Patience:
    """`with Patience(session, seconds) as patience:`, and `patience.run(feeds)` within as often as is needed.

    A run that takes longer is ended at the model's next operator and raises Cancelled, as all after it do. Then, and
    when one found too little memory, the block ends in FailedPrecondition.
    """

    def __init__(self, session: Stoppable, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self._switch = session.switch()
        self._begun = 0.0
        self._trouble = ""
        self._over = threading.Event()

    def run(self, feeds: Feeds) -> list[Array]:
        """As `Session.run`."""
        self._begun = monotonic()
        try:
            return self._session.run(feeds, None, self._switch)
        except SerinError as error:
            if lacks_memory(error.message):
                self._trouble = error.message
            raise
        finally:
            self._begun = 0.0

    def __enter__(self) -> "Patience":
        threading.Thread(target=self._watch, name="patience", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._trouble:
            raise FailedPrecondition(self._trouble) from error

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            begun = self._begun
            if begun and monotonic() - begun > self._seconds:
                self._trouble = f"one of its first runs did not end within {self._seconds:g} s"
                self._switch.stop()


def lacks_memory(reason: str) -> bool:
    """Whether ONNX Runtime says that there was not enough."""
    return "bad_alloc" in reason or "Failed to allocate memory" in reason
