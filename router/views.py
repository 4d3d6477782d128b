"""Values as JSON documents for people: routes, models with their versions, workers, events."""

from collections.abc import Mapping
from typing import Any

from router.fleet import Worker
from router.readiness import Sight
from router.reports import InventoryModel, InventoryVersion, VersionState
from router.routes import Route, ppm_to_percent, variant_named
from router.state import Event

Document = dict[str, Any]


def percent(weight_ppm: int) -> int | float:
    """A weight in percent as a JSON number; exact in its decimal text."""
    text = ppm_to_percent(weight_ppm)
    return float(text) if "." in text else int(text)


def route_document(route: Route) -> Document:
    """A route as the API shows it; `weight` is in percent, `salt` the one in use."""
    return {
        "model": route.model,
        "revision": route.revision,
        "epoch": route.epoch,
        "salt": route.salt or route.model,
        "key": {"header": route.key.header, "cookie": route.key.cookie, "parameter": route.key.parameter},
        "variants": [
            {"name": v.name, "version": v.version, "weight": percent(v.weight_ppm), "weight_ppm": v.weight_ppm}
            for v in route.variants
        ],
        "rules": [{"header": r.header, "value": r.value, "variant": r.variant} for r in route.rules],
        "aliases": dict(sorted(route.aliases.items())),
    }


def event_document(event: Event) -> Document:
    """An event as the API shows it."""
    return {
        "id": event.id,
        "at": event.at,
        "revision": event.revision,
        "actor": event.who.actor,
        "claimed": event.who.claimed or None,
        "kind": event.kind,
        "model": event.model,
        "reason": event.who.reason,
        "rollout": event.rollout,
        "before": event.before,
        "after": event.after,
        "hash": event.hash,
    }


def worker_document(worker: Worker, now: float) -> Document:
    """A worker as the status page shows it; `seen_seconds_ago` is null for one that has not followed."""
    return {
        "worker": worker.slot,
        "instance": worker.instance,
        "pid": worker.pid,
        "listening": worker.listening,
        "applied": worker.applied if worker.followed else None,
        "refused": None
        if worker.refused is None
        else {"revision": worker.refused.revision, "reason": worker.refused.reason},
        "seen_seconds_ago": None if worker.seen is None else round(now - worker.seen, 3),
    }


def model_document(sight: Sight, name: str) -> Document:
    """A model with all its versions, their state in every live worker, and its route (null: none was recorded yet)."""
    found = sight.inventory.models.get(name, InventoryModel())
    table = sight.state.table
    route = table.routes.get(name)
    numbers = sorted({*found.versions, *table.wanted.get(name, {})})
    versions = [version_document(sight, name, number) for number in numbers]
    return {
        "name": name,
        "description": found.description,
        "error": found.error,
        "default_version": found.default_version,
        "note": None if route else _why_no_route(found),
        "versions": versions,
        "route": route_document(route) if route else None,
    }


def index_document(sight: Sight) -> Document:
    """`{models: [{name, error, versions: [{version, state, reason}]}]}`: all models in short, for thousands of them."""
    wanted, found = sight.state.table.wanted, sight.inventory.models
    models = []
    for name in known_models(sight):
        model = found.get(name, InventoryModel())
        versions = []
        for number in sorted({*model.versions, *wanted.get(name, {})}):
            state, reason = overall(sight, name, number)
            versions.append({"version": number, "state": state, "reason": reason})
        models.append({"name": name, "error": model.error, "versions": versions})
    return {"models": models}


def known_models(sight: Sight) -> list[str]:
    """The names of all models that there are or that are recorded, sorted."""
    return sorted({*sight.inventory.models, *sight.state.table.routes, *sight.state.table.wanted})


def version_document(sight: Sight, name: str, version: int) -> Document:
    """One version: its state over all, what the inventory measured, and its part in the route."""
    seen = sight.inventory.models.get(name, InventoryModel()).versions.get(version)
    route = sight.state.table.routes.get(name)
    state, reason = overall(sight, name, version)
    wanted = sight.state.table.wanted.get(name, {}).get(version)
    return {
        "version": version,
        "state": str(state),
        "reason": reason,
        "digest": wanted.digest if wanted else (seen.digest if seen else ""),
        **_measured(seen),
        **_routed(route, version),
        "workers": [_held(worker, name, version) for worker in sight.live],
    }


def overall(sight: Sight, name: str, version: int) -> tuple[VersionState, str]:
    """One word for all workers, and the reason when it is not simply READY."""
    seen = sight.inventory.models.get(name, InventoryModel()).versions.get(version)
    held = _states(sight, name, version)
    wanted = sight.state.table.wanted.get(name, {}).get(version)
    if wanted is None:
        return _unwanted(sight, (name, version), seen, held)
    if VersionState.UNAVAILABLE in held:
        return VersionState.UNAVAILABLE, held[VersionState.UNAVAILABLE]
    if not held or set(held) != {VersionState.READY}:
        return VersionState.LOADING, next((reason for reason in held.values() if reason), "")
    if seen is None:
        return VersionState.READY, "its files are gone; what is loaded serves on" if sight.inventory.scanned else ""
    if seen.state is VersionState.UNAVAILABLE:
        return VersionState.READY, f"its files are now unusable ({seen.reason}); what is loaded serves on"
    return VersionState.READY, ""


def _unwanted(
    sight: Sight, pair: tuple[str, int], seen: InventoryVersion | None, held: Mapping[VersionState, str]
) -> tuple[VersionState, str]:
    if held.keys() & {VersionState.READY, VersionState.UNLOADING}:
        return VersionState.UNLOADING, "waits for requests in flight"
    if pair in sight.state.unloaded:
        return VersionState.UNAVAILABLE, "unloaded"
    if seen is not None and seen.digest in sight.state.quarantined:
        return VersionState.UNAVAILABLE, f"quarantined: {sight.state.quarantined[seen.digest].reason}"
    if seen is None:
        return VersionState.UNKNOWN, ""
    if not seen.wanted:
        return VersionState.UNAVAILABLE, seen.reason or "left out by `versions` in model.toml"
    return (VersionState.LOADING if seen.state is VersionState.READY else seen.state), seen.reason


def _states(sight: Sight, name: str, version: int) -> dict[VersionState, str]:
    found: dict[VersionState, str] = {}
    for worker in sight.live:
        held = (worker.states or {}).get(name, {}).get(version)
        state = held.state if held else VersionState.UNKNOWN
        found.setdefault(state, held.reason if held else "")
    return found


def _held(worker: Worker, name: str, version: int) -> Document:
    held = (worker.states or {}).get(name, {}).get(version)
    state = str(held.state) if held else str(VersionState.UNKNOWN)
    return {"worker": worker.slot, "state": state, "reason": held.reason if held else ""}


def _measured(seen: InventoryVersion | None) -> Document:
    return {
        "inventory": str(seen.state) if seen else None,
        "signature": seen.signature if seen else None,
        "golden": seen.golden if seen else None,
        "load_seconds": seen.load_seconds if seen else None,
        "run_seconds": seen.run_seconds if seen else None,
    }


def _routed(route: Route | None, version: int) -> Document:
    if route is None:
        return {"weight": 0, "variants": [], "aliases": [], "ruled": False}
    mine = [variant for variant in route.variants if variant.version == version]
    ruled = any((v := variant_named(route, rule.variant)) and v.version == version for rule in route.rules)
    return {
        "weight": percent(sum(variant.weight_ppm for variant in mine)),
        "variants": [variant.name for variant in mine],
        "aliases": sorted(name for name, target in route.aliases.items() if target == version),
        "ruled": ruled,
    }


def _why_no_route(found: InventoryModel) -> str:
    if found.error:
        return found.error
    if found.default_version is None:
        return "no route yet: no version is ready"
    named = found.versions.get(found.default_version)
    state = f"{named.state} {named.reason}".strip() if named else "not there"
    return f"no route yet: default_version {found.default_version} is {state}"
