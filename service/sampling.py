"""Sampled inputs, counted in a thread of their own: a request costs a draw, and a sampled one a place in a queue.

The event loop puts references to the arrays of sampled requests in a bounded queue; what finds no place is dropped and
counted. How many are sampled follows the traffic of the model: at most so many a second, every variant alike.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from random import random
from time import monotonic_ns
from typing import Final, Protocol

from xxhash import xxh3_64_intdigest

from router.inputs import InputSeries, input_series
from router.telemetry import Recorder, SeriesName
from service.calls import Tap
from service.features import Lookout, compile_lookout
from service.priority import NICE, lower_priority
from service.protocol.tensors import Array, Signature
from service.runtime.manifest import Manifest

log = logging.getLogger("inputs")

MOST_WAITING: Final = 1024
MOST_BYTES: Final = 16 * 1024 * 1024
IDLE_SECONDS: Final = 2.0
GATHER_SECONDS: Final = 0.05
RATE_NS: Final = 1_000_000_000
UNITS: Final = 1 << 20
"""Units (routing keys) of a rollout that are told apart; others count as seen."""

Feeds = Mapping[str, Array]


class Described(Protocol):
    """What is needed of a loaded version."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def signature(self) -> Signature: ...


@dataclass(slots=True)
class Rate:
    """How much of a model's traffic is sampled. The loop counts `seen`; the thread sets `share`."""

    per_second: int
    share: float = 1.0
    seen: int = 0
    counted: int = 0
    since_ns: int = 0

    def adapt(self, now_ns: int) -> None:
        """Follow the traffic of the last second."""
        elapsed = now_ns - self.since_ns
        if elapsed < RATE_NS:
            return
        arrived = (self.seen - self.counted) * RATE_NS / elapsed
        self.share = min(1.0, self.per_second / arrived) if arrived else 1.0
        self.counted, self.since_ns = self.seen, now_ns


@dataclass(slots=True)
class Units:
    """Which routing keys of one rollout have been counted, so that each counts once: by the worker whose turn it is, in
    whichever epoch and version (statistics.md 4.1)."""

    salt: str
    slot: int
    workers: int
    seen: bytearray = field(default_factory=bytearray)

    def is_new(self, key: bytes | None) -> bool:
        """Whether a request is independent of those before it. Without a key each is."""
        if key is None:
            return True
        unit = xxh3_64_intdigest(key)
        if unit % self.workers != self.slot:
            return False
        if not self.seen:
            self.seen = bytearray(UNITS // 8)
        place, bit = (unit >> 24) % UNITS >> 3, 1 << (unit >> 24 & 7)
        if self.seen[place] & bit:
            return False
        self.seen[place] |= bit
        return True


@dataclass(frozen=True, slots=True)
class _Bound:
    lookout: Lookout
    series: InputSeries
    units: Units


@dataclass(frozen=True, slots=True)
class _Sample:
    bound: _Bound
    feeds: Feeds
    key: bytes | None
    size_bytes: int


class Sampler:
    """`tap` and what it gives are for the event loop. The thread begins with the first sample and ends with `close`."""

    def __init__(self, recorder: Recorder, slot: int, workers: int) -> None:
        self._recorder = recorder
        self._slot, self._workers = slot, max(1, workers)
        self._rates: dict[str, Rate] = {}
        self._units: dict[str, Units] = {}
        self._queue: SimpleQueue[_Sample | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        # Each of the four has one writer: the loop counts what went in, the thread what came out.
        self._in = self._bytes_in = self._out = self._bytes_out = 0

    def tap(self, name: SeriesName, salt: str, loaded: Described) -> Tap | None:
        """Where the requests of a variant go in one epoch; None where the model declares nothing to look at. Raises
        ResourceExhausted when the state directory has no room."""
        manifest = loaded.manifest
        lookout = compile_lookout(manifest.declared_features(), loaded.signature)
        references = manifest.output_references()
        if not lookout.features and not references:
            return None
        series = input_series(self._recorder, name, lookout.features, references, monotonic_ns())
        if not lookout.features or not manifest.drift.per_second:
            return None
        units = self._units.get(name.model)
        if units is None or units.salt != salt:
            units = self._units[name.model] = Units(salt, self._slot, self._workers)
        rate = self._rates.setdefault(name.model, Rate(manifest.drift.per_second, since_ns=monotonic_ns()))
        rate.per_second = manifest.drift.per_second
        return self._tap(_Bound(lookout, series, units), rate)

    def close(self, seconds: float = 1.0) -> None:
        """Let go of what waits and end the thread."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(seconds)

    def _tap(self, bound: _Bound, rate: Rate) -> Tap:
        def take(feeds: Feeds, size: int, key_of: Callable[[], bytes | None]) -> None:
            rate.seen += 1
            if rate.share < 1.0 and random() >= rate.share:
                return
            if self._in - self._out >= MOST_WAITING or self._bytes_in - self._bytes_out + size > MOST_BYTES:
                bound.series.dropped("too_large" if size > MOST_BYTES else "queue_full")
                return
            bound.series.taken()
            self._in += 1
            self._bytes_in += size
            self._queue.put(_Sample(bound, feeds, key_of(), size))
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._work, name="inputs", daemon=True)
                self._thread.start()

        return take

    def _work(self) -> None:
        lower_priority(NICE)
        while not self._closing.is_set():
            self._adapt()
            try:
                first = self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                continue
            self._closing.wait(GATHER_SECONDS)  # many at once cost less than each by itself
            samples = [first, *self._waiting()]
            try:
                self._count([sample for sample in samples if sample is not None])
            except Exception:
                log.exception("sampled inputs could not be counted")
            finally:
                self._out += len(samples)
                self._bytes_out += sum(sample.size_bytes for sample in samples if sample is not None)

    def _waiting(self) -> "list[_Sample | None]":
        return [self._queue.get() for _ in range(self._queue.qsize())]

    def _adapt(self) -> None:
        now = monotonic_ns()
        for rate in tuple(self._rates.values()):
            rate.adapt(now)

    def _count(self, samples: list[_Sample]) -> None:
        groups: dict[int, list[_Sample]] = defaultdict(list)
        for sample in samples:
            groups[id(sample.bound)].append(sample)
        for group in groups.values():
            bound = group[0].bound
            rows = [bound.lookout.row(sample.feeds, random()) for sample in group]
            independent = [bound.units.is_new(sample.key) for sample in group]
            for at, (bins, qualities) in enumerate(bound.lookout.look(rows)):
                bound.series.count(at, bins, qualities, independent)
