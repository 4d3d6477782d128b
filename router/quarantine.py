"""Content that keeps killing workers is taken out, its share goes to who is left; a model's last version stays."""

from dataclasses import dataclass, replace
from signal import Signals

from router.readiness import Sight
from router.reports import Blame, Death, InventoryReport, VersionState
from router.routes import Route, Variant
from router.state import Change, Crash, Event, Quarantine, State, Who, at_one_revision, with_routes, with_wanted
from router.views import route_document

BLAMING = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"})
"""Signals that native code brings on itself; any other death blames nobody."""


@dataclass(frozen=True, slots=True)
class CrashPolicy:
    """So many blamed deaths within the window, and the content is in quarantine."""

    limit: int = 3
    window_seconds: float = 60.0


def signal_name(death: Death) -> str:
    """The name of the signal, such as SIGSEGV; empty for an ordinary exit."""
    if isinstance(death.signal, int):
        number = abs(death.signal)
        return Signals(number).name if number in {int(known) for known in Signals} else f"signal {number}"
    return death.signal or ""


def blames(death: Death) -> bool:
    """Whether a death counts against the version that was running."""
    name = signal_name(death)
    return death.blamed is not None and (name in BLAMING or (name == "SIGKILL" and death.out_of_memory))


def crash_of(death: Death, at_seconds: float) -> Crash | None:
    """The record of a death that counts against content; None for one that blames nobody."""
    if death.blamed is None or not blames(death):
        return None
    blamed = death.blamed
    return Crash(death.instance, blamed.digest, blamed.model, blamed.version, signal_name(death), at_seconds)


def record_death(sight: Sight, death: Death, crash: Crash | None, why: str | None) -> Change:
    """The history of a death. `why`: it was one too many, so its content goes into quarantine for this reason."""
    what = signal_name(death) or "exit"
    who = Who("supervisor", f"worker {death.slot} died: {what}")
    told = {"worker": death.slot, "signal": what, "version": crash.version if crash else None}
    event = Event("worker.died", crash.model if crash else None, who, None, told)
    if crash is None or why is None or death.blamed is None:
        return Change(sight.state, (event,), crash)
    verdict = quarantine(sight.state, sight.inventory, death.blamed, why)
    return replace(verdict, events=(event, *verdict.events), crash=crash)


def quarantine(state: State, inventory: InventoryReport, blame: Blame, why: str) -> Change:
    """The state without the blamed content; its weight goes to alias `stable`, else to the largest other variant.

    With nobody to take its place nothing changes but the history: it goes on, and answers 503 while its worker is down.
    """
    who = Who("serin", why)
    others = _others(state, inventory, blame)
    route = state.table.routes.get(blame.model)
    moved = _moved(route, blame.version, others) if route else None
    if blame.digest in state.quarantined:
        return Change(state)
    if not others or (route is not None and moved is None):
        event = Event("version.crashing", blame.model, who, None, {"version": blame.version, "digest": blame.digest})
        return Change(state, (event,))
    after = _without(state, blame, why)
    before_document = after_document = None
    if route is not None and moved is not None and moved != route:
        after = at_one_revision(state, with_routes(after, {blame.model: moved}))
        before_document, after_document = route_document(route), route_document(after.table.routes[blame.model])
    told = {"version": blame.version, "digest": blame.digest, "route": after_document}
    return Change(after, (Event("version.quarantined", blame.model, who, {"route": before_document}, told),))


def _others(state: State, inventory: InventoryReport, blame: Blame) -> frozenset[int]:
    found = inventory.models.get(blame.model)
    wanted = state.table.wanted.get(blame.model, {})
    return frozenset(
        version
        for version, content in wanted.items()
        if version != blame.version
        and content.digest != blame.digest
        and found is not None
        and version in found.versions
        and found.versions[version].state is VersionState.READY
    )


def _moved(route: Route, version: int, others: frozenset[int]) -> Route | None:
    weight = sum(variant.weight_ppm for variant in route.variants if variant.version == version)
    if weight == 0:
        return route
    emptied = tuple(replace(v, weight_ppm=0) if v.version == version else v for v in route.variants)
    stable = route.aliases.get("stable")
    if stable in others and all(variant.version != stable for variant in emptied):
        name = "stable" if all(variant.name != "stable" for variant in emptied) else f"{stable}-stable"
        return replace(route, variants=(*emptied, Variant(name, stable, weight)))
    heirs = [v for v in emptied if v.version in others and (v.version == stable or stable not in others)]
    if not heirs:
        return None
    heir = max(heirs, key=lambda variant: variant.weight_ppm)
    return replace(
        route, variants=tuple(replace(v, weight_ppm=v.weight_ppm + weight) if v is heir else v for v in emptied)
    )


def _without(state: State, blame: Blame, why: str) -> State:
    entry = Quarantine(blame.digest, blame.model, blame.version, why)
    kept = replace(state, quarantined={**state.quarantined, blame.digest: entry})
    wanted = {
        model: {v: content for v, content in versions.items() if content.digest != blame.digest}
        for model, versions in state.table.wanted.items()
    }
    return with_wanted(kept, wanted, state.table.scanned)
