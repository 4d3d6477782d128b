"""What the controller records, as one value, and what a change of it is: a new state and the events that explain it."""

from dataclasses import dataclass, field, replace
from typing import Any

from router.history import Event as Event
from router.history import Who as Who
from router.rollout import Rollout
from router.routes import Route, RouteTable, Wanted


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Content that killed workers too often; no worker loads it until a person says `load`."""

    digest: str
    model: str
    version: int
    reason: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """All that must survive. `unloaded`: (model, version) that a person took out of memory. `rollouts`: the latest of
    each model, also when it has ended."""

    table: RouteTable = field(default_factory=RouteTable)
    unloaded: frozenset[tuple[str, int]] = frozenset()
    quarantined: dict[str, Quarantine] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Crash:
    """A death that is blamed on content. `at_seconds`: wall clock, since it must survive a restart."""

    instance: str
    digest: str
    model: str
    version: int
    signal: str
    at_seconds: float


@dataclass(frozen=True, slots=True)
class Change:
    """The state after a decision, with its events; the same state and no events: nothing to do. `closed`: rollouts that
    a later one of their model takes the place of. `log`: (rollout, line) for the log of blocks."""

    state: State
    events: tuple[Event, ...] = ()
    crash: Crash | None = None
    closed: tuple[Rollout, ...] = ()
    log: tuple[tuple[str, dict[str, Any]], ...] = ()

    def with_event(self, event: Event) -> "Change":
        """The change with one more event."""
        return replace(self, events=(*self.events, event))


def with_unavailable(state: State, unavailable: dict[str, dict[int, str]]) -> State:
    """The state that tells of exactly these versions; the same state when that is nothing new."""
    if unavailable == state.table.unavailable:
        return state
    table = state.table
    return replace(state, table=replace(table, revision=table.revision + 1, unavailable=unavailable))


def with_routes(state: State, routes: dict[str, Route]) -> State:
    """The state with these routes, each stamped with the next revision; epochs grow where splits change."""
    revision = state.table.revision + 1
    stamped = {name: _stamped(state.table.routes.get(name), route, revision) for name, route in routes.items()}
    return replace(state, table=replace(state.table, revision=revision, routes={**state.table.routes, **stamped}))


def without_route(state: State, model: str) -> State:
    """The state in which a model has no route."""
    routes = {name: route for name, route in state.table.routes.items() if name != model}
    return replace(state, table=replace(state.table, revision=state.table.revision + 1, routes=routes))


def with_wanted(state: State, wanted: dict[str, dict[int, Wanted]], scanned: bool) -> State:
    """The state that wants exactly these versions; the same state when that is nothing new."""
    table = state.table
    if wanted == table.wanted and scanned == table.scanned:
        return state
    return replace(state, table=replace(table, revision=table.revision + 1, wanted=wanted, scanned=scanned))


def at_one_revision(before: State, after: State) -> State:
    """`after` numbered as the one commit that follows `before`, however many steps made it."""
    if after.table is before.table:
        return after
    revision = before.table.revision + 1
    routes = {
        name: replace(route, revision=revision) if route.revision > before.table.revision else route
        for name, route in after.table.routes.items()
    }
    return replace(after, table=replace(after.table, revision=revision, routes=routes))


def renumbered(state: State, known: int) -> Change:
    """The same table under a number above `known`, which some worker holds although it is not recorded."""
    table = state.table
    if table.revision > known:
        return Change(state)
    who = Who("serin", f"a worker holds revision {known}, which is not recorded: counting on from there")
    event = Event("state.renumbered", None, who, table.revision, known + 1)
    return Change(replace(state, table=replace(table, revision=known + 1)), (event,))


def same_decision(one: Route | None, other: Route | None) -> bool:
    """Whether two routes decide alike, whatever their revision and epoch."""
    if one is None or other is None:
        return one is other
    return replace(one, revision=0, epoch=0) == replace(other, revision=0, epoch=0)


def _stamped(old: Route | None, new: Route, revision: int) -> Route:
    if old is None:
        return replace(new, revision=revision, epoch=max(1, new.epoch))
    kept = (old.variants, old.salt, old.key) == (new.variants, new.salt, new.key)
    return replace(new, revision=revision, epoch=old.epoch if kept else old.epoch + 1)
