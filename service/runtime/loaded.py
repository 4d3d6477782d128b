"""One version in memory, as the engine lends it."""

import asyncio
from collections.abc import Callable

from service.protocol.tensors import Signature
from service.runtime.batcher import Batcher
from service.runtime.executor import Executor
from service.runtime.loading import Parts, Signed
from service.runtime.manifest import Manifest
from service.watch import Watch

Key = tuple[str, int]
"""The name of a model, and the number of a version."""


class Loaded:
    """One version in memory, lent by `Engine.acquire` and held until each of its `users` has released it.

    `output_names` in the model's order, `datatypes` of the outputs by name, `watched_names` of those that are counted.
    `passes`: it is elsewhere, and a whole body may go there as it is; `passes_binary`: one with binary tensors too.
    `batcher` stands before `executor` where requests run together. `beside` makes the same with a queue of its own.
    """

    __slots__ = (
        *("model", "version", "digest", "session", "signature", "manifest", "watch", "executor", "batcher"),
        *("output_names", "datatypes", "watched_names", "users", "drained", "passes", "passes_binary"),
        *("beside", "_apart"),
    )

    def __init__(self, key: Key, digest: str, parts: Parts, executor: Executor) -> None:
        self.model, self.version = key
        self.digest = digest
        self.session: Signed = parts.session
        self.signature: Signature = parts.session.signature
        self.manifest: Manifest = parts.manifest
        self.watch: Watch = parts.watch
        self.output_names = [spec.name for spec in self.signature.outputs]
        self.datatypes = {spec.name: spec.datatype for spec in self.signature.outputs}
        self.watched_names = tuple(dict.fromkeys(family.output for family in parts.watch.families))
        self.executor = executor
        self.batcher: Batcher | None = None
        self.passes = parts.whole == key[0] and not parts.watch.families
        self.passes_binary = parts.whole_binary
        self.users = 0
        self.drained: asyncio.Event | None = None
        self.beside: Callable[[], Loaded] | None = None
        self._apart: Loaded | None = None

    @property
    def apart(self) -> "Loaded":
        """The same version with a queue of its own, made when it is first asked for: what runs there neither waits for
        what runs here nor joins it. This one counts its users, and closes it. A version elsewhere has one queue."""
        if self._apart is None and self.beside is not None:
            self._apart = self.beside()
        return self._apart or self

    @property
    def lanes(self) -> tuple["Loaded", ...]:
        """This one, and that with a queue of its own if there is one."""
        return (self,) if self._apart is None else (self, self._apart)

    def recall(self) -> None:
        """Take back requests that wait here and have not begun to run: each of them raises Recalled."""
        for lane in self.lanes:
            if lane.batcher is not None:
                lane.batcher.recall()
            lane.executor.recall()

    def close(self) -> None:
        """Form no more batches."""
        for lane in self.lanes:
            if lane.batcher is not None:
                lane.batcher.close()
