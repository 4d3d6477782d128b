"""The only writer: (state, what is seen, command) -> change -> `store.commit` -> followers wake, and are waited for."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from router.acknowledgement import Acknowledgement, Applied, Limits, acknowledged
from router.bell import Bell
from router.commands import Load, RestoreRoute, RouteCommand, SetRoute, Unload, decide
from router.errors import DeadlineExceeded, FailedPrecondition, SerinError, Unavailable
from router.fleet import Fleet
from router.obstacles import is_examined, is_held, of_load, of_route, of_version, versions_to_load
from router.quarantine import CrashPolicy, crash_of, record_death
from router.readiness import Answer, Readiness, Sight
from router.remotes import Remotes
from router.reports import (
    Death,
    FollowAnswer,
    FollowReport,
    InventoryCommand,
    InventoryReport,
    InventoryStill,
    SuperviseAnswer,
    SuperviseReport,
)
from router.routes import DEFAULT_KEY, KeySource, RouteTable
from router.state import Change, Event, State, Who, renumbered
from router.statedir import StoreThread
from router.wanted import reconcile

LONGEST_WAIT_SECONDS = 25.0
"""No long poll is held longer."""

TURNS = 5
"""How often a command waits again because a version stopped being ready before its turn."""


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """`instance`: new for every start. `key`: of routes that nobody has set yet. `supervised`: a supervisor will tell
    which workers live; until it has, no change of routes is acknowledged."""

    instance: str
    supervised: bool = False
    limits: Limits = field(default_factory=Limits)
    crashes: CrashPolicy = field(default_factory=CrashPolicy)
    key: KeySource = DEFAULT_KEY
    upstreams: frozenset[str] = frozenset()


class Controller:
    """Call `start` before anything else and `close` at the end; for one event loop. `clock`: aware UTC time."""

    def __init__(self, store: StoreThread, clock: Callable[[], datetime], settings: ControllerSettings) -> None:
        self.settings = settings
        self.bell = Bell()
        self.fleet = Fleet()
        self.inventory = InventoryReport()
        self.remotes = Remotes(settings.upstreams)
        self.last_event = 0
        self.head = ""
        self.started_at = 0.0
        self._store = store
        self._clock = clock
        self._state = State()
        self._settled: State | None = None
        self._writing = asyncio.Lock()
        self.commanding = asyncio.Lock()
        # Counted from the clock, so that numbers of an earlier controller are never taken for ours.
        self._rescans = int(clock().timestamp() * 1000)
        self._dead: deque[str] = deque(maxlen=1024)
        self._listed = 0
        self._closing = False

    async def start(self) -> None:
        """Takes up the recorded state."""
        self.started_at = self.started_at or _now()
        self._state = await self._store.run(lambda store: store.load())
        self.last_event = await self._store.run(lambda store: store.last_event())
        self.head = await self._store.run(lambda store: store.head())

    async def close(self) -> None:
        """Lets every long poll go and waits for the last write; the store is closed by whoever opened it."""
        self._closing = True
        self.bell.ring()
        async with self._writing:
            pass

    @property
    def state(self) -> State:
        """The state as last committed."""
        return self._state

    @property
    def table(self) -> RouteTable:
        """The table as last committed."""
        return self._state.table

    @property
    def closing(self) -> bool:
        """Whether long polls and streams are to end."""
        return self._closing

    def now(self) -> float:
        """Monotonic seconds, as in `started_at` and in the fleet."""
        return _now()

    def sight(self) -> Sight:
        """What is known at this moment."""
        return Sight(self._state, self.inventory, self.fleet.live(_now()), self.settings.key)

    async def events(self, after: int | None, limit: int, model: str | None = None) -> tuple[Event, ...]:
        """Events as `Store.events` gives them."""
        return await self._store.run(lambda store: store.events(after, limit, model))

    # Commands

    async def set_route(self, command: RouteCommand, who: Who) -> Applied:
        """Two phases: every version is ready in every live worker, then the route is recorded and confirmed by all.

        Raises SerinError with nothing changed; also when a worker refuses the table (the old route is then recorded
        again). DeadlineExceeded after the record: it stands, but a worker could not be shown to follow it.
        """
        await self.await_supervisor()
        if isinstance(command, SetRoute):
            await self.look_for(command.model, [share.version for share in command.shares])
        obstacle = partial(of_route, command)
        for _ in range(TURNS):
            await self._await_ready(obstacle, "nothing was changed")
            async with self.commanding:
                if obstacle(self.sight()) is None:  # else it changed while others had their turn
                    return await self._set_route(command, who)
        raise Unavailable(f"workers come and go too fast to change the route of {command.model}; nothing was changed")

    async def _set_route(self, command: RouteCommand, who: Who) -> Applied:
        old = self.table.routes.get(command.model)
        new = (await self.write(lambda sight: decide(command, sight, who))).table.routes[command.model]
        done = await self.confirmed(new.revision)
        if done.refused is not None:
            await self._restore(RestoreRoute(command.model, old, new), done.refused)
        return Applied(new.revision, done.applied, done.workers, new)

    async def load(self, command: Load, who: Who) -> Applied:
        """Brings a version (or all of a model) into memory and waits until every live worker has it.

        Looks first for what is not known yet. Raises FailedPrecondition with the reason; what is loaded stays so.
        """
        rescan = self.rescan()
        await self.bell.until(lambda: of_load(command, self.sight(), rescan) is None, self.settings.limits.look_seconds)
        await self.write(lambda sight: decide(command, sight, who))
        await self.bell.until(lambda: is_examined(command, self.sight(), rescan), self.settings.limits.load_seconds)
        versions = versions_to_load(command, self.sight())
        if not versions:
            raise FailedPrecondition(f"no version of {command.model} can be loaded; `serin models show` says why")
        for version in versions:
            await self._await_ready(partial(of_version, command.model, version), "it is not loaded")
        return await self._answer()

    async def unload(self, command: Unload, who: Who) -> Applied:
        """Takes a version (or all of a model) out of memory, after its requests in flight, and remembers that."""
        async with self.commanding:
            await self.write(lambda sight: decide(command, sight, who))
            answer = await self._answer()
        await self.bell.until(lambda: not is_held(command, self.sight()), self.settings.limits.load_seconds)
        return answer

    async def look_for(self, model: str, references: Iterable[str]) -> None:
        """Waits until it is known whether the targets among the references are there. Raises SerinError for others."""
        if self.remotes.ask(model, references, _now()):
            await self.report_inventory(self.remotes.local)
            await self.bell.until(lambda: not self.remotes.has_news, self.settings.limits.look_seconds)

    def rescan(self) -> int:
        """Asks the inventory to look at the disk now; the number of the request."""
        self._rescans += 1
        self.bell.ring()
        return self._rescans

    # Reports

    async def follow(self, report: FollowReport) -> FollowAnswer:
        """A worker's report; answers with a newer table as soon as there is one, or without after `wait`."""
        await self._overtake(report)
        complete = self.fleet.follow(report, _now())
        self.bell.ring()
        if complete:
            await self._hold(lambda: self.table.revision > report.revision_known, report.wait)
        table = self.table if self.table.revision > report.revision_known else None
        return FollowAnswer(self.settings.instance, table, resend=not complete)

    async def report_inventory(self, report: InventoryReport) -> None:
        """Takes over what the inventory found, and records what follows from it."""
        self.inventory = self.remotes.merged(report)
        who, looked = Who("inventory", "found in the model repository"), State()

        def follows(sight: Sight) -> Change:
            nonlocal looked
            looked = sight.state
            return reconcile(looked, sight.inventory, who, sight.key)

        state = await self.write(follows)
        self._settled = state if state is looked else None
        self.bell.ring()

    async def inventory_still(self, still: InventoryStill) -> bool:
        """Whether the snapshot of this number is the one that is held. Then what follows from it is recorded, where
        anything has changed since nothing was left to record."""
        local = self.remotes.local
        if (local.instance, local.serial) != (still.instance, still.serial):
            return False
        if self._settled is not self._state or self.remotes.merged(local) != self.inventory:
            await self.report_inventory(local)
        return True

    async def inventory_command(self, after: int, wait: float) -> InventoryCommand:
        """The next wish for a rescan; a number from another controller's life is answered at once."""
        await self._hold(lambda: self._rescans != after, wait)
        return InventoryCommand(self._rescans, self._rescans != after)

    async def supervise(self, report: SuperviseReport) -> SuperviseAnswer:
        """The supervisor's list and its dead; answers with those to be killed, or after `wait` when there are none."""
        for death in report.deaths:
            await self._died(death)
        if report.sequence >= self._listed:  # else a later list overtook this one
            self._listed = report.sequence
            self.fleet.take_list(report.workers)
        self.bell.ring()
        revision = self.table.revision
        await self._hold(lambda: bool(self.fleet.condemned) or self.table.revision != revision, report.wait)
        return SuperviseAnswer(self.table.revision, self.fleet.condemned, report.sequence)

    # The write path

    async def write(self, make: Callable[[Sight], Change]) -> State:
        """Decides on the newest state and records the change; followers wake. The only way in."""
        # Finished even when the caller is cancelled: memory must not fall behind the disk.
        return await asyncio.shield(asyncio.ensure_future(self._write(make)))

    async def _write(self, make: Callable[[Sight], Change]) -> State:
        async with self._writing:
            before = self._state
            change = make(self.sight())
            if change.state == before and not change.events and change.crash is None:
                return before
            try:
                written = await self._store.run(lambda store: store.commit(before, change, self._at()))
            except BaseException:
                with suppress(SerinError):
                    await self.start()  # whether it got through or not, what is on disk is what holds
                raise
            self._state = change.state
            if written:
                self.last_event, self.head = written[-1].id, written[-1].hash
        self.bell.ring()
        return change.state

    def _at(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # Waiting

    async def _hold(self, holds: Callable[[], bool], wait: float) -> None:
        await self.bell.until(lambda: self._closing or holds(), max(0.0, min(wait, LONGEST_WAIT_SECONDS)))

    async def await_supervisor(self) -> None:
        """Waits until it is known which workers live. Raises Unavailable."""
        known = await self.bell.until(
            lambda: self.fleet.supervised or not self.settings.supervised, self.settings.limits.load_seconds
        )
        if not known:
            raise Unavailable("the supervisor has not said yet which workers live; try again")

    async def _await_ready(self, obstacle: Callable[[Sight], Readiness | None], otherwise: str) -> None:
        last: Readiness | None = None

        def settled() -> bool:
            nonlocal last
            last = obstacle(self.sight())
            return last is None or last.answer is Answer.REFUSED

        in_time = await self.bell.until(settled, self.settings.limits.load_seconds)
        if last is None:
            return
        if not in_time:
            raise DeadlineExceeded(f"{last.reason}, after {self.settings.limits.load_seconds:g} s; {otherwise}")
        raise FailedPrecondition(f"{last.reason}; {otherwise}")

    async def confirmed(self, revision: int) -> Acknowledgement:
        """Waits until every live worker follows the revision, or is killed; raises as `acknowledged` does."""
        return await acknowledged(self.fleet, self.bell, revision, self.settings.limits)

    async def _answer(self) -> Applied:
        revision = self.table.revision
        done = await self.confirmed(revision)
        return Applied(revision, done.applied, done.workers)

    async def _restore(self, command: RestoreRoute, refused: str) -> None:
        await self.write(lambda sight: decide(command, sight, Who("serin", refused)))
        await self.confirmed(self.table.revision)
        raise FailedPrecondition(f"{refused}; the route is as it was")

    # Deaths and lost lives

    async def _overtake(self, report: FollowReport) -> None:
        """A worker that knows a later table than is recorded would never take ours: count on from its number."""
        known = max(report.applied, report.revision_known)
        if known <= self.table.revision or self.fleet.knows(report.instance):
            return
        await self.write(lambda sight: renumbered(sight.state, known))

    async def _died(self, death: Death) -> None:
        if death.instance in self._dead:
            return
        policy, why = self.settings.crashes, None
        crash = crash_of(death, self._clock().timestamp())
        if crash is not None:
            if await self._store.run(lambda store: store.has_crash(crash.instance)):
                return  # told again after a restart
            since = crash.at_seconds - policy.window_seconds
            count = 1 + await self._store.run(lambda store: store.crash_count(crash.digest, since))
            if count >= policy.limit:
                why = f"killed {count} workers in {policy.window_seconds:g} s, last by {crash.signal}"
        await self.write(lambda sight: record_death(sight, death, crash, why))
        self._dead.append(death.instance)
        self.fleet.died(death.instance)


def _now() -> float:
    return asyncio.get_running_loop().time()
