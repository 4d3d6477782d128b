"""One worker put together: counters, engine, serving path, front end, and the controller that it follows."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from random import random
from time import monotonic_ns

import httpx

from router.client import CommandLink, Follower, Identity
from router.counters import Segment
from router.doorman import Doorman
from router.errors import ResourceExhausted
from router.exposition import Build, Exposition, Extra, RouteWeight, render
from router.exposures import DIRECTORY as EXPOSURES
from router.exposures import exposure_uses
from router.familiar import FamiliarReader
from router.follower import gather_seconds
from router.leaving import MARGIN_NS, Keep
from router.loopback import Http, Loopback, general_client
from router.pairs import pairs_path
from router.routes import RouteTable
from router.runs import run_counter
from router.telemetry import Recorder
from service import logs
from service.about import About
from service.access import COPY, KeyFile, Places, doorman_of
from service.cache import newest_table, write_table
from service.certificates import Renewal
from service.cores import available_cores
from service.dataplane import Dataplane
from service.elsewhere import upstreams_of
from service.faults import Faults
from service.feedback import Feedback, class_labels, unsigned
from service.feedback import Options as FeedbackOptions
from service.front import Front
from service.gauges import Gauges
from service.goldens import Goldens
from service.guards import Guarding, Means, words
from service.http.v2 import V2, Bounds
from service.keeping import PairKeeper
from service.protocol.limits import Limits
from service.renewals import CLIENTS, tls_samples
from service.rest import create_rest
from service.restraint import Toll
from service.retiring import Retiring
from service.runtime.allowed import Allowed, allowed_by, anything
from service.runtime.engine import Engine
from service.runtime.executor import Limits as RunLimits
from service.runtime.executor import Runnable
from service.runtime.faulty import FaultySession
from service.runtime.health import Health
from service.runtime.loading import Loader
from service.runtime.packed import Packed
from service.runtime.pool import MOST_THREADS, SHADOW_SLOT, Pool
from service.runtime.remote import RemoteLoader
from service.runtime.session import RUNTIME_VERSION, Session, SessionOptions
from service.sampling import Sampler
from service.settings import Settings
from service.shadow import Shadow
from service.shelf import Shelf
from service.sockets import is_loopback
from service.statistics import Statistics

ALONE_SECONDS = 2.0
"""How long a starting worker waits for the controller before it serves its cached table (rulings 7)."""

PUBLIC_ACTOR = "public port"
"""Who loads and unloads there, in the history."""

LAST_LOOK_SECONDS = 1.0
LIST_SECONDS = 2.0
CACHED_TABLES = "table-*.json"
CALLERS = "callers"


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker this is, and where its controller is."""

    slot: int
    instance: str
    token: str
    controller: str
    now: Callable[[], float]
    """Seconds since 1970, for what is told to others."""


class Worker:
    """Everything between the sockets and the models. `start` before anything else; `close` undoes it in reverse."""

    def __init__(self, settings: Settings, place: Place, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.log = logs.get("worker")
        self.settings = settings
        self._place = place
        self._stack = AsyncExitStack()
        self._cache = settings.state / f"table-{place.slot}.json"
        self._look: asyncio.TimerHandle | None = None
        self._transport = transport
        self.tls: Renewal | None = None
        self._allowed = allowed_by(settings.allowed_digests_file)
        self.ready = asyncio.Event()
        self.listening = False

    async def start(self) -> None:
        """Take up counters, engine and front end, fetch the first table and apply it; nothing listens yet."""
        settings = self.settings
        keep, counters = self._keeping(), settings.state / "counters"
        segment = Segment.open(counters, self._place.slot, keep=keep)
        self._stack.callback(segment.close)
        for moved in segment.moved:
            self.log.error("counters of another layout were put aside", file=moved)
        self.recorder = Recorder(segment, settings.self_check)
        self._gauges = Gauges(self.recorder)
        await self._connect()
        self.pool = pool = Pool(min(MOST_THREADS, max(2, settings.concurrency * 2)), segment)
        self._stack.callback(pool.close)
        upstreams = upstreams_of(settings)
        self._stack.push_async_callback(upstreams.close)
        remote = RemoteLoader(upstreams, settings.models, run_limits(settings), settings.max_body_bytes)
        self.engine = Engine(
            self._loader(),
            pool,
            self._states_changed,
            unload_wait_seconds=settings.unload_wait_seconds,
            counters=partial(run_counter, segment),
        )
        self.engine.load_remote = remote.load
        self._stack.push_async_callback(self.engine.close)
        if self._allowed is not None:
            self.engine.refusal = self._allowed
            following = asyncio.create_task(self._follow_list(self._allowed), name="list of digests")
            self._stack.push_async_callback(_cancelled, following)
        if settings.upstreams:
            looking = asyncio.create_task(Health(self.engine, upstreams).run(), name="health")
            self._stack.push_async_callback(_cancelled, looking)
        sampler = Sampler(self.recorder, self._place.slot, settings.workers)
        self._stack.callback(sampler.close)
        feedback = self._feedback(segment)
        guarding = self._guarding(segment, feedback)
        self.dataplane = Dataplane(self.engine, self.recorder, guarding, sampler.tap, feedback)
        bounds, rejected = _bounds(settings), self.recorder.worker().rejected
        doorman = self._doorman()
        self.v2 = V2(self.dataplane, bounds, rejected, doorman)
        about = About("serin", package_version("serin"))
        statistics = Statistics(settings.state / "counters", self.dataplane, self._place.now)
        link = CommandLink(self._http, PUBLIC_ACTOR, self._place.token)
        shelf = Shelf(link, self.dataplane, settings.keys_file is not None or is_loopback(settings.host))
        more = feedback, settings.invocations_model, settings.models, doorman
        goldens = Goldens(self.engine, self.recorder, settings.models, lambda: self.dataplane.table.routes)
        self._stack.push_async_callback(_cancelled, asyncio.create_task(goldens.run(), name="golden rows"))
        if keep is not None:
            margin_ns = min(MARGIN_NS, keep.nanos)
            retiring = asyncio.create_task(Retiring(segment, counters, margin_ns).run(), name="retiring")
            self._stack.push_async_callback(_cancelled, retiring)
        self.front = Front(self.dataplane, self.v2, bounds, rejected, about, statistics, shelf, *more)
        self.app = create_rest(self.front, self._metrics())
        await self._begin_to_follow()

    async def close(self) -> None:
        """Close what `start` opened, the sessions after the last request."""
        await self._stack.aclose()

    async def apply(self, table: RouteTable) -> str | None:
        """Make `table` the one that answers, and its copy on disk; or say why this worker cannot follow it."""
        self.engine.follow(table.wanted)
        reason = self._unready(table)
        if reason is not None:
            return reason
        try:
            self.dataplane.swap(table, await self.dataplane.prepare(table))
        except ResourceExhausted as error:
            return error.message
        await self._keep(table)
        self._note_ready()
        return None

    def _keeping(self) -> Keep | None:
        """None where versions that are gone are shown for ever: as they must be under KServe's names, which add up
        all versions of a model and may not go down."""
        seconds, adds_up = self.settings.keep_gone_seconds, self.settings.familiar_metrics in ("kserve", "all")
        return None if seconds == 0 or adds_up else Keep(int(seconds * 1e9), monotonic_ns)

    async def _connect(self) -> None:
        http = general_client(self._place.controller, self._transport)
        self._http = await self._stack.enter_async_context(http)
        place = self._place
        line: Http = http
        if self._transport is None:
            line = await self._stack.enter_async_context(Loopback(place.controller))
        identity = Identity(place.slot, place.instance, os.getpid())
        self.follower = Follower(line, place.token, identity, lambda: self.engine.states(), self._on_trouble)
        self.follower.words = lambda: words(self.dataplane.guards().values())

    async def _begin_to_follow(self) -> None:
        table = await self.follower.initial_table(ALONE_SECONDS)
        if table is None:
            table = newest_table(self.settings.state.glob(CACHED_TABLES)) or RouteTable()
            self.log.warning("no controller answers: serving the cached table", revision=table.revision)
        await self._begin_with(table)
        following = asyncio.create_task(self.follower.run(self.apply), name="follow")
        self._stack.push_async_callback(_cancelled, following)

    async def _begin_with(self, table: RouteTable) -> None:
        self.engine.follow(table.wanted)
        self.dataplane.swap(table)
        await self._keep(table)
        self.follower.note_applied(table)
        self._note_ready()

    async def be_ready(self) -> None:
        """Wait until the routed versions are here, as long as that can be expected; then look once more for a table.

        A replacement that listened at once would refuse requests that its neighbours can answer. One that started from
        the disk hears the controller, if it is back by now, before it answers anybody.
        """
        await wait_at_most(self.ready, self.settings.load_wait_seconds)
        self.listening = True
        table = await self.follower.initial_table(LAST_LOOK_SECONDS)
        if table is not None and table.revision > self.dataplane.table.revision:
            await self._begin_with(table)

    def _unready(self, table: RouteTable) -> str | None:
        """Why a route that is new to this worker cannot be served; the versions of an old one may come and go."""
        if not self.listening:
            return None  # still loading: nobody is answered from this table before its versions are there
        for model, route in table.routes.items():
            if self.dataplane.table.routes.get(model) == route or model not in self.dataplane.table.routes:
                continue
            for variant in route.variants:
                if variant.weight_ppm > 0 and (why := self.engine.not_ready_reason(model, variant.version)):
                    return f"worker {self._place.slot}: {why}"
        return None

    async def _keep(self, table: RouteTable) -> None:
        try:
            await asyncio.to_thread(write_table, self._cache, table)
        except OSError as error:
            # A full disk must not stop a rollback; the controller's copy is the one that counts.
            self.log.error("the table cannot be cached", revision=table.revision, reason=error.strerror)

    def _states_changed(self) -> None:
        self.follower.states_changed()
        # Many change at once while models load, and each look goes through all of them.
        if self._look is None:
            pause = gather_seconds(len(self._gauges))
            self._look = asyncio.get_running_loop().call_later(pause, self._look_around)

    def _look_around(self) -> None:
        self._look = None
        self._gauges.show(self.engine)
        self.dataplane.let_go()
        self._note_ready()

    def _note_ready(self) -> None:
        if not self.ready.is_set() and self.dataplane.not_ready_reason() is None:
            self.ready.set()

    def _on_trouble(self, trouble: str) -> None:
        if trouble:
            self.log.warning("the controller does not answer; routing goes on", reason=trouble)
        else:
            self.log.info("the controller answers again")

    def _doorman(self) -> Doorman:
        """Who lets callers in; where keys are asked for, it hears of new ones. Raises InvalidArgument."""
        doorman = doorman_of(self.settings.public_rules(self.settings.workers), self._place.now)
        if self.settings.keys_file is not None:
            keys = KeyFile(Places(self.settings.keys_file, self.settings.state / COPY), doorman, self._tell_keys)
            keys.read()
            self._stack.push_async_callback(_cancelled, asyncio.create_task(keys.run(), name="keys"))
        return doorman

    def _tell_keys(self, text: str) -> None:
        if text:
            self.log.warning("the file of API keys cannot be used; the old keys stay", reason=text)

    def _guarding(self, segment: Segment, feedback: Feedback | None) -> Guarding:
        state, slot = self.settings.state, self._place.slot
        keeper = PairKeeper(pairs_path(state, slot), monotonic_ns)
        shadow = Shadow(segment.slot(SHADOW_SLOT), keeper, lambda: Toll(*self.pool.computed_and_waited()))
        self._stack.callback(shadow.close)
        tell = lambda: self.follower.states_changed()  # noqa: E731 - the follower may be another one by then
        means = Means(self.engine.peek, self.recorder, shadow, keeper, tell, feedback.stamp if feedback else unsigned)
        return Guarding(means, state / EXPOSURES, state / CALLERS, slot)

    def _feedback(self, segment: Segment) -> Feedback | None:
        settings = self.settings
        if settings.feedback_horizon_seconds == 0:
            return None
        options = FeedbackOptions(settings.feedback_horizon_seconds, settings.feedback_map_bytes)
        feedback = Feedback(segment, settings.state, options, self._place.now, self._class_labels)
        self._stack.callback(feedback.close)
        return feedback

    def _class_labels(self, model: str, version: int) -> tuple[str, ...]:
        loaded = self.engine.peek(model, version)
        return class_labels(loaded.watch if loaded is not None else None)

    def _loader(self) -> Loader:
        settings = self.settings
        faults = Faults.parse(settings.faults)
        if faults:
            self.log.warning("FAULTS ARE BEING INJECTED", faults=settings.faults)

        def wrap(model: str, number: int, session: Session) -> Runnable:
            fault = faults.for_version(model, number)
            return session if fault is None else FaultySession(session, fault, random)

        packed = Packed(settings.state, settings.share_weights_bytes, settings.workers)
        options = SessionOptions(settings.session_threads, libraries=settings.libraries)
        return Loader(settings.models, options, run_limits(settings), wrap, packed, refusal=self._allowed or anything)

    async def _follow_list(self, allowed: Allowed) -> None:
        """Take out of service what is taken off the list of digests, and load what is put on it."""
        while True:
            await asyncio.sleep(LIST_SECONDS)
            if await asyncio.to_thread(allowed.renew):
                self.engine.permit(allowed)

    def _metrics(self) -> "partial[tuple[bytes, str]]":
        build = Build("serin", package_version("serin"), RUNTIME_VERSION)
        counters = self.settings.state / "counters"
        familiar = FamiliarReader(counters, self.settings.familiar_metrics)
        return partial(render, Exposition(counters, lambda: self._extra(build)), familiar)

    def _extra(self, build: Build) -> Extra:
        table = self.dataplane.table
        weights = tuple(
            RouteWeight(route.model, variant.version, variant.name, variant.weight_ppm, route.epoch)
            for route in table.routes.values()
            for variant in route.variants
        )
        limits = {model: route.exposure for model, route in table.routes.items()}
        uses = exposure_uses(self.settings.state / EXPOSURES, limits)
        return Extra(build, weights, table.revision, uses, tls_samples(CLIENTS, self.tls))


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or so long."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def run_limits(settings: Settings) -> RunLimits:
    """Of a version for which `model.toml` says nothing else."""
    batches = max(1, settings.cores_per_worker // settings.session_threads)
    return RunLimits(
        settings.concurrency,
        settings.max_queue,
        settings.max_concurrency or batches,
        settings.max_queue_seconds,
        settings.adaptive_concurrency,
        overlap=not settings.max_concurrency,
        lone_core=available_cores() == 1,
    )


def _bounds(settings: Settings) -> Bounds:
    limits = Limits(max_body_bytes=settings.max_body_bytes, max_decompressed_bytes=settings.max_body_bytes)
    seconds = settings.request_timeout_seconds, settings.body_read_timeout_seconds
    idle = settings.keep_alive_seconds, settings.stream_idle_seconds
    return Bounds(limits, *seconds, settings.max_in_flight, settings.max_header_bytes, *idle)


def package_version(name: str) -> str:
    """The installed version, or "0" in a checkout that was not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "0"
