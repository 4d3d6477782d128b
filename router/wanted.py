"""What the inventory found becomes what workers hold, and, once for each model, the route that it starts with."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from router.reports import InventoryModel, InventoryReport, InventoryVersion, VersionState
from router.routes import DEFAULT_KEY, PPM, KeySource, Route, RouteTable, Variant, Wanted, routed_versions
from router.state import Change, Event, State, Who, at_one_revision, with_routes, with_unavailable, with_wanted
from router.targets import is_remote
from router.views import route_document

_UNSETTLED = (VersionState.UNKNOWN, VersionState.LOADING)


def reconcile(state: State, inventory: InventoryReport, who: Who, key: KeySource = DEFAULT_KEY) -> Change:
    """The state that follows from what the inventory found. A later version gets memory, never weight.
    `key`: where first routes look for routing keys.

    Content is taken when the inventory passed it; what was taken stays while its replacement is not ready, while only a
    part was scanned, and, if a route leads there, even when its files are gone.
    """
    wanted = {}
    for model in sorted({*state.table.wanted, *inventory.models}):
        versions = _wanted_versions(state, inventory, model)
        if versions:
            wanted[model] = versions
    after = with_wanted(state, wanted, state.table.scanned or inventory.scanned)
    after = at_one_revision(state, with_unavailable(after, _unavailable(inventory, wanted)))
    events = tuple(_wanted_events(state.table, wanted, who))
    change = Change(replace(after, unloaded=_remembered(state, inventory)), events)
    return _with_first_routes(change, state, inventory, key)


@dataclass(frozen=True, slots=True)
class _Found:
    """One version with all that bears on it."""

    kept: Wanted | None
    seen: InventoryVersion | None
    routed: bool
    unloaded: bool
    surely_gone: bool


def _wanted_versions(state: State, inventory: InventoryReport, model: str) -> dict[int, Wanted]:
    before = state.table.wanted.get(model, {})
    seen = inventory.models.get(model, InventoryModel())
    route = state.table.routes.get(model)
    routed = (routed_versions(route) if route else frozenset()) | _in_rollout(state, model)
    gone = inventory.scanned and not (seen.error and not seen.versions)
    result = {}
    for version in sorted({*before, *seen.versions}):
        unloaded = (model, version) in state.unloaded
        found = _Found(before.get(version), seen.versions.get(version), version in routed, unloaded, gone)
        decided = _decided(found)
        if decided is not None and decided.digest not in state.quarantined:
            result[version] = decided
    return result


def _in_rollout(state: State, model: str) -> frozenset[int]:
    """What a rollout may need at any moment: its candidates, and stable also while a rollback is possible."""
    rollout = state.rollouts.get(model)
    return rollout.versions if rollout is not None and rollout.is_active else frozenset()


def _decided(found: _Found) -> Wanted | None:
    kept, seen = found.kept, found.seen
    if found.unloaded:
        return None
    if seen is None:
        return None if found.surely_gone and not found.routed else kept
    if not found.routed and not seen.wanted:
        return None
    if seen.state is VersionState.READY:
        return Wanted(seen.digest, seen.stamp)
    same_content_failed = kept is not None and seen.state is VersionState.UNAVAILABLE and seen.digest == kept.digest
    return None if same_content_failed and not found.routed else kept


def _unavailable(inventory: InventoryReport, wanted: dict[str, dict[int, Wanted]]) -> dict[str, dict[int, str]]:
    """What a client that asks for it should be told of. Versions left out on purpose are not there for clients."""
    found = {
        name: {
            version: model.error or seen.reason
            for version, seen in model.versions.items()
            if seen.state is VersionState.UNAVAILABLE and version not in wanted.get(name, {}) and seen.wanted
        }
        for name, model in inventory.models.items()
    }
    return {name: versions for name, versions in found.items() if versions}


def _wanted_events(table: RouteTable, wanted: dict[str, dict[int, Wanted]], who: Who) -> Iterable[Event]:
    for model in sorted({*table.wanted, *wanted}):
        before, after = table.wanted.get(model, {}), wanted.get(model, {})
        if _digests(before) != _digests(after):
            yield Event("versions.wanted", model, who, _digests(before), _digests(after))


def _digests(versions: dict[int, Wanted]) -> dict[str, str]:
    return {str(version): wanted.digest for version, wanted in versions.items()}


def _remembered(state: State, inventory: InventoryReport) -> frozenset[tuple[str, int]]:
    if not inventory.scanned:
        return state.unloaded
    found = {(name, version) for name, model in inventory.models.items() for version in model.versions}
    broken = {name for name, model in inventory.models.items() if model.error}
    return frozenset(pair for pair in state.unloaded if pair in found or pair[0] in broken)


def _with_first_routes(change: Change, before: State, inventory: InventoryReport, key: KeySource) -> Change:
    routes, events = {}, []
    for name, model in sorted(inventory.models.items()):
        if name in before.table.routes:
            continue
        version = first_version(model, frozenset(change.state.table.wanted.get(name, ())), before.unloaded, name)
        if version is not None:
            routes[name] = Route(name, (Variant(str(version), version, PPM),), key=key)
            why = "default_version in model.toml" if model.default_version else "the newest version that is ready"
            events.append(Event("route.first", name, Who("serin", why), None, route_document(routes[name])))
    state = with_routes(change.state, routes) if routes else change.state
    return replace(change, state=at_one_revision(before, state), events=(*change.events, *events))


def first_version(
    model: InventoryModel, wanted: frozenset[int], unloaded: frozenset[tuple[str, int]], name: str
) -> int | None:
    """The version that a model without a recorded route starts on; None while that cannot be said.

    A named default that is not ready is waited for, not replaced: nobody asked for another one. What is elsewhere never
    starts by itself.
    """
    own = {version: found for version, found in model.versions.items() if not is_remote(version)}
    ready = {v for v, found in own.items() if found.state is VersionState.READY and v in wanted}
    if model.default_version is not None:
        return model.default_version if model.default_version in ready else None
    for version, found in own.items():
        if found.wanted and found.state in _UNSETTLED and (name, version) not in unloaded:
            return None
    return max(ready, default=None)
