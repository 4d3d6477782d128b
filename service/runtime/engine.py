"""The versions in memory: loads what is wanted, lends what is ready, lets go when nobody uses it any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from router.errors import FailedPrecondition, NotFound, SerinError, ShedReason, Unavailable
from router.reports import States, VersionState, WorkerVersion
from router.routes import Wanted
from router.runs import RunCounter
from router.targets import Target, target_of
from service.runtime.accused import Accused
from service.runtime.allowed import Refusal, anything
from service.runtime.batcher import Batcher, BatchLimits
from service.runtime.company import has_free_rows
from service.runtime.executor import OnRun
from service.runtime.loaded import Key, Loaded
from service.runtime.loading import Loader, Moving, Parts, reason_of
from service.runtime.pool import LOAD_NICE, LOAD_SLOT, LOAD_THREADS, Pool
from service.runtime.seats import Feeds

Counters = Callable[[str, int], RunCounter]
"""Where to count the runs of (model, version). May raise ResourceExhausted."""

LoadRemote = Callable[[str, Target, Wanted], Awaitable[Parts]]

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
"""Until a version is tried again whose files moved while they were read; twice as long each time."""

log = logging.getLogger("engine")


def uncounted(model: str, version: int) -> RunCounter:
    """For programs that do not count runs."""
    return lambda rows, nanos, begun_ns: None


def by_rows(count: RunCounter, batched: bool) -> OnRun:
    """Counts a run by its rows: the length of any input where there is a batch dimension, else 1."""
    if not batched:
        return lambda feeds, nanos, begun_ns: count(1, nanos, begun_ns)

    def ran(feeds: Feeds, nanos: int, begun_ns: int) -> None:
        for array in feeds.values():
            count(len(array), nanos, begun_ns)
            return

    return ran


class _Record:
    """What is known of one version: what is wanted, what is done, and what serves."""

    __slots__ = ("digest", "done", "loaded", "pause", "reason", "state", "task", "wanted")

    def __init__(self) -> None:
        self.wanted: Wanted | None = None
        self.done: Wanted | None = None
        self.state = VersionState.LOADING
        self.reason = ""
        self.digest = ""
        self.loaded: Loaded | None = None
        self.task: asyncio.Task[None] | None = None
        self.pause = FIRST_PAUSE_SECONDS


class Engine:
    """Made and used on one event loop; `close` it there. `on_change` is called there after any change of `states`.

    `load_remote`: how versions elsewhere are loaded; None: not at all. `refusal`: why content may not be lent. While
    `changes` is the same, so is what `peek` gives; while `departures` is, nothing that it gave has gone.
    """

    def __init__(
        self,
        loader: Loader,
        pool: Pool,
        on_change: Callable[[], None],
        *,
        unload_wait_seconds: float = 30.0,
        counters: Counters = uncounted,
    ) -> None:
        self._loader = loader
        self._pool = pool
        self._on_change = on_change
        self._unload_wait_seconds = unload_wait_seconds
        self._counters = counters
        self.load_remote: LoadRemote | None = None
        self.refusal: Refusal = anything
        self.changes = self.departures = 0
        self._closed = False
        self._load_pool = Pool(LOAD_THREADS, pool.marks, first_slot=LOAD_SLOT, nice=LOAD_NICE)
        self._records: dict[Key, _Record] = {}
        self._ready: dict[Key, Loaded] = {}
        self._suspects: frozenset[Key] = frozenset()
        self._rests: dict[Key, float] = {}
        self._now = asyncio.get_running_loop().time
        self._accused: dict[tuple[Key, str], Accused] = {}

    def acquire(self, model: str, version: int) -> Loaded:
        """The ready version, until `release`. Raises NotFound or, for one that is not ready, Unavailable."""
        loaded = self._ready.get((model, version))
        if loaded is None:
            raise self._why_not(model, version)
        if self._rests and (left := self._rests.get((model, version), 0.0) - self._now()) > 0:
            raise Unavailable(
                f"{model}:{version} has killed workers again and again and rests for a while",
                retry_after_seconds=left,
                reason=ShedReason.RESTING,
            )
        loaded.users += 1
        return loaded

    def rest(self, key: Key, seconds: float) -> None:
        """Lend a version to nobody for so long."""
        now = self._now()
        self._rests = {key: until for key, until in self._rests.items() if until > now}
        if seconds > 0:
            self._rests[key] = now + seconds

    def release(self, loaded: Loaded) -> None:
        """Give back what `acquire` lent, once."""
        loaded.users -= 1
        if loaded.users == 0 and loaded.drained is not None:
            loaded.drained.set()

    def peek(self, model: str, version: int) -> Loaded | None:
        """The ready version for a look at its signature, or None. Not to be run."""
        return self._ready.get((model, version))

    def follow(self, wanted: Mapping[str, Mapping[int, Wanted]]) -> None:
        """Begin to load what is new here and to unload what is not wanted any more. Returns at once.

        Content that replaces other content of the same version is loaded beside it; the old one serves until then, and
        for good if the new one cannot be loaded.
        """
        goals = {(model, version): goal for model, versions in wanted.items() for version, goal in versions.items()}
        unknown = [key for key in goals if key not in self._records]
        for key in unknown:
            self._records[key] = _Record()
        for key, record in self._records.items():
            record.wanted = goals.get(key)
            self._begin(key, record)
        if unknown:
            self._on_change()

    def states(self) -> States:
        """Every version with its state here; the digest is of what serves, else of what was tried."""
        found: States = {}
        for (model, version), record in self._records.items():
            found.setdefault(model, {})[version] = WorkerVersion(record.state, record.reason, record.digest)
        return found

    @property
    def parts(self) -> int:
        """How many versions are known here, and how many of them are loaded, together: what they take grows with it."""
        return len(self._records) + len(self._ready)

    def has_settled(self, model: str, version: int) -> bool:
        """Whether it is ready or was declared unavailable by itself, so that waiting for it would not help."""
        record = self._records.get((model, version))
        return record is None or record.loaded is not None or record.state is VersionState.UNAVAILABLE

    def not_ready_reason(self, model: str, version: int) -> str | None:
        """Why a version is not lent; None when it is."""
        return None if (model, version) in self._ready else self._why_not(model, version).message

    def suspect(self, keys: Iterable[Key]) -> None:
        """From now on these versions, and no others, never run beside one another (rulings 4)."""
        self._suspects = frozenset(keys)
        for key, loaded in self._ready.items():
            for lane in loaded.lanes:
                lane.executor.suspect(key in self._suspects)

    def accuse(self, accused: Mapping[tuple[Key, str], Accused]) -> None:
        """From now on these requests, by version and digest, are tried or refused, and no others."""
        self._accused = dict(accused)
        for key, loaded in self._ready.items():
            for lane in loaded.lanes:
                lane.executor.accused = self._accused.get((key, loaded.digest))

    def remotes(self) -> dict[Key, Target]:
        """The wanted versions that are elsewhere."""
        wanted = {key: record.wanted for key, record in self._records.items() if record.wanted is not None}
        return {key: target for key, goal in wanted.items() if (target := target_of(goal.digest)) is not None}

    def note_remote(self, key: Key, reason: str) -> None:
        """A version elsewhere does not answer, for that reason, or answers ("")."""
        record = self._records.get(key)
        if record is None or record.task is not None:
            return  # it is being loaded or unloaded: that will tell
        if record.loaded is None:
            if not reason:
                self._load_anew(key, record)
        elif reason and self._ready.pop(key, None) is not None:
            self._change(record, VersionState.UNAVAILABLE, reason, record.loaded.digest)
        elif not reason and key not in self._ready:
            self._ready[key] = record.loaded
            self._change(record, VersionState.READY, "", record.loaded.digest)

    def permit(self, refusal: Refusal) -> None:
        """From now on what `refusal` refuses is not lent, and what it refuses no longer is loaded again."""
        self.refusal = refusal
        for key, record in self._records.items():
            if record.task is not None:
                continue  # it is being loaded or unloaded, and looked at then
            if record.loaded is not None and (why := self._refused(record.loaded.digest)) is not None:
                record.task = asyncio.create_task(self._withdraw(key, record, why), name=f"withdraw {key[0]}:{key[1]}")
            elif record.loaded is None and record.wanted is not None and self._refused(record.wanted.digest) is None:
                self._load_anew(key, record)

    async def settled(self) -> None:
        """Wait until everything that is wanted was loaded or has failed, and all else is gone."""
        while tasks := [record.task for record in self._records.values() if record.task is not None]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop loading and lend nothing more."""
        self._closed = True
        for loaded in self._ready.values():
            loaded.close()
        self._ready.clear()
        self.changes += 1
        tasks = [record.task for record in self._records.values() if record.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._load_pool.close()

    def _begin(self, key: Key, record: _Record) -> None:
        if record.wanted != record.done and record.task is None:
            record.task = asyncio.create_task(self._steer(key, record), name=f"steer {key[0]}:{key[1]}")

    def _load_anew(self, key: Key, record: _Record) -> None:
        """What came of the last try no longer counts."""
        record.done = None
        self._begin(key, record)

    async def _steer(self, key: Key, record: _Record) -> None:
        try:
            while record.wanted != record.done:
                goal = record.wanted
                if goal is None:
                    await self._unload(key, record)
                else:
                    await self._load(key, record, goal)
                record.done = goal
        finally:
            record.task = None
        if record.wanted is None:
            del self._records[key]
            self._on_change()

    async def _withdraw(self, key: Key, record: _Record, why: str) -> None:
        digest = record.loaded.digest if record.loaded is not None else ""
        try:
            await self._unload(key, record)
        finally:
            record.task = None
        self._change(record, VersionState.UNAVAILABLE, why, digest)
        self._begin(key, record)  # what is wanted may have changed meanwhile

    def _refused(self, digest: str) -> str | None:
        return self.refusal(digest) if target_of(digest) is None else None

    async def _load(self, key: Key, record: _Record, goal: Wanted) -> None:
        if record.loaded is None:
            self._change(record, VersionState.LOADING, "", goal.digest)
        try:
            token = self._pool.marks.version_token(*key, goal.digest)
            count = self._counters(*key)
            parts = await self._parts(key, goal, token)
        except Exception as error:
            if not isinstance(error, SerinError):
                log.exception("cannot load %s:%d", *key)
            self._failed(record, goal, reason_of(error))
            if isinstance(error, Moving):
                asyncio.get_running_loop().call_later(record.pause, self._try_again, key, record, goal)
                record.pause = min(2 * record.pause, LONGEST_PAUSE_SECONDS)
            return
        record.pause = FIRST_PAUSE_SECONDS
        if (why := self._refused(goal.digest)) is not None:
            self._failed(record, goal, why)
            return
        if record.wanted != goal:
            return  # overtaken: the next turn of the loop does what is wanted now
        loaded = self._lane(key, goal.digest, parts, (token, count))
        if target_of(goal.digest) is None:
            loaded.beside = lambda: self._lane(key, goal.digest, parts, (token, count))
        self.departures += record.loaded is not None
        record.loaded = self._ready[key] = loaded
        self._change(record, VersionState.READY, "", goal.digest)

    def _try_again(self, key: Key, record: _Record, goal: Wanted) -> None:
        """Nobody else would: nothing changes any more once its files have come to rest."""
        if not self._closed and self._records.get(key) is record and record.task is None and record.done == goal:
            self._load_anew(key, record)

    def _lane(self, key: Key, digest: str, parts: Parts, told: tuple[int, RunCounter]) -> Loaded:
        """A queue before what was loaded. `told`: the token of the version, and where its runs are counted."""
        token, count = told
        limits = parts.limits or self._loader.limits_of(parts.manifest.execution)
        executor = parts.executor(parts.runnable, self._pool, limits, parts.profile, token)
        executor.suspect(key in self._suspects)
        executor.accused = self._accused.get((key, digest))
        executor.on_run = by_rows(count, has_free_rows(parts.session.signature))
        loaded = Loaded(key, digest, parts, executor)
        if parts.profile.batch_rows > 1:
            wait = parts.manifest.execution.max_wait_seconds
            loaded.batcher = Batcher(
                executor, BatchLimits(parts.profile.batch_rows, limits.batches, wait), loaded.output_names
            )
        return loaded

    async def _parts(self, key: Key, goal: Wanted, token: int) -> Parts:
        target = target_of(goal.digest)
        if target is not None:
            if self.load_remote is None:
                raise FailedPrecondition(f"{target} is elsewhere, which this program does not ask")
            return await self.load_remote(key[0], target, goal)
        async with self._load_pool.gate:
            return await self._load_pool.submit(lambda: self._load_in_thread(key, goal, token))

    def _load_in_thread(self, key: Key, goal: Wanted, token: int) -> Parts:
        slot = self._load_pool.thread_slot
        slot.enter(token, 0)
        try:
            return self._loader.load(*key, goal)
        finally:
            slot.leave()

    def _failed(self, record: _Record, goal: Wanted, reason: str) -> None:
        if record.loaded is None:
            self._change(record, VersionState.UNAVAILABLE, reason, goal.digest)
        else:
            self._change(record, VersionState.READY, f"newer files cannot be loaded: {reason}", record.loaded.digest)

    async def _unload(self, key: Key, record: _Record) -> None:
        loaded, record.loaded = self._ready.pop(key, None), None
        if loaded is None:
            return
        self.departures += 1
        self._change(record, VersionState.UNLOADING, "", loaded.digest)
        if loaded.users:
            loaded.drained = asyncio.Event()
            # Whoever still runs it after that holds it by itself; it is only not waited for any more.
            with suppress(TimeoutError):
                await asyncio.wait_for(loaded.drained.wait(), self._unload_wait_seconds)
        loaded.close()

    def _change(self, record: _Record, state: VersionState, reason: str, digest: str) -> None:
        record.state, record.reason, record.digest = state, reason, digest
        self.changes += 1
        self._on_change()

    def _why_not(self, model: str, version: int) -> SerinError:
        record = self._records.get((model, version))
        ready = ", ".join(str(number) for name, number in sorted(self._ready) if name == model) or "none"
        if record is None:
            return NotFound(f"{model}:{version} is not loaded; ready: {ready}")
        words = {VersionState.LOADING: "is loading", VersionState.UNLOADING: "is being unloaded"}
        state = words.get(record.state, f"is not available ({record.reason})")
        return Unavailable(f"{model}:{version} {state}; ready: {ready}", reason=ShedReason.NOT_READY)
