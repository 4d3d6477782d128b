"""Commands and what each makes of the state: pure, so that a person, a rollout and a test walk the same path."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch

from router.errors import Conflict, FailedPrecondition, NotFound
from router.readiness import Sight, require_model
from router.reports import InventoryModel
from router.routes import KeySource, Route, Rule, Variant, live, resolve, validate_route, variant_named
from router.state import Change, Event, State, Who, at_one_revision, same_decision, with_routes, without_route
from router.targets import default_name
from router.views import route_document
from router.wanted import reconcile


@dataclass(frozen=True, slots=True)
class Share:
    """A variant as a person writes it: `version` may be an alias; or a target; without a name its text is the name."""

    version: str
    weight_ppm: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The caller's condition on the route's revision: `revisions` None: any; `must_exist`: `*`; `must_be_absent`."""

    revisions: frozenset[int] | None = None
    must_exist: bool = False
    must_be_absent: bool = False


@dataclass(frozen=True, slots=True)
class SetRoute:
    """Who answers for a model, and how much. None keeps what is recorded."""

    model: str
    shares: tuple[Share, ...]
    key: KeySource | None = None
    salt: str | None = None
    rules: tuple[Rule, ...] | None = None
    aliases: dict[str, int] | None = None
    match: Match = Match()


@dataclass(frozen=True, slots=True)
class PatchRoute:
    """Names and rules only; no weight moves. An alias with None is taken away, the others are added or moved."""

    model: str
    aliases: dict[str, int | None] | None = None
    rules: tuple[Rule, ...] | None = None
    match: Match = Match()


@dataclass(frozen=True, slots=True)
class RestoreRoute:
    """Puts a route back as it was before a worker refused `refused`. None: there was none."""

    model: str
    route: Route | None
    refused: Route


@dataclass(frozen=True, slots=True)
class Load:
    """Into memory again, out of quarantine too; without a version: all of the model."""

    model: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Unload:
    """Out of memory, and remembered; without a version: all of the model, whatever its route says."""

    model: str
    version: int | None = None


RouteCommand = SetRoute | PatchRoute
Command = SetRoute | PatchRoute | RestoreRoute | Load | Unload


@singledispatch
def decide(command: Command, sight: Sight, who: Who) -> Change:
    """The change that a command makes; an empty one when all is as it says. Raises SerinError and changes nothing."""
    raise TypeError(f"not a command: {command!r}")


@decide.register
def _(command: SetRoute, sight: Sight, who: Who) -> Change:
    return _changed(sight.state, proposed(command, sight), who, "route.set")


@decide.register
def _(command: PatchRoute, sight: Sight, who: Who) -> Change:
    return _changed(sight.state, proposed(command, sight), who, "route.patched")


@decide.register
def _(command: RestoreRoute, sight: Sight, who: Who) -> Change:
    now = sight.state.table.routes.get(command.model)
    if now is None or now.revision != command.refused.revision:
        return Change(sight.state)  # someone decided anew meanwhile
    if command.route is not None:
        return _changed(sight.state, command.route, who, "route.restored")
    event = Event("route.restored", command.model, who, route_document(now), None)
    return Change(without_route(sight.state, command.model), (event,))


@decide.register
def _(command: Load, sight: Sight, who: Who) -> Change:
    model = require_model(sight, command.model)
    versions = _meant(sight, command, model)
    pairs = {(command.model, version) for version in versions}
    digests = {model.versions[version].digest for version in versions if version in model.versions}
    kept = {digest: q for digest, q in sight.state.quarantined.items() if digest not in digests}
    state = replace(sight.state, unloaded=sight.state.unloaded - pairs, quarantined=kept)
    return _commanded(state, sight, command, who)


@decide.register
def _(command: Unload, sight: Sight, who: Who) -> Change:
    versions = _meant(sight, command, require_model(sight, command.model))
    route = sight.state.table.routes.get(command.model)
    if command.version is not None and route is not None:
        _require_no_weight(route, command.version)
    pairs = {(command.model, version) for version in versions}
    return _commanded(replace(sight.state, unloaded=sight.state.unloaded | pairs), sight, command, who)


def proposed(command: RouteCommand, sight: Sight) -> Route:
    """The route that a command asks for, checked in itself. Raises NotFound, Conflict, InvalidArgument."""
    require_model(sight, command.model)
    old = sight.state.table.routes.get(command.model)
    _require_no_rollout(sight.state, command.model)
    _require_match(old, command)
    if isinstance(command, SetRoute):
        new = _set(old or Route(command.model, ()), command)
    elif old is None:
        raise NotFound(f"{command.model} has no route yet; set one first")
    else:
        new = _patched(old, command)
    validate_route(new)
    return new


def versions_to_check(old: Route | None, new: Route) -> tuple[int, ...]:
    """The versions that must be ready before `new` may stand: all with weight, and what else it names anew.

    What the old route named already is left alone, so that weight can be taken from a version that has failed.
    """
    weighted = {variant.version for variant in live(new)}
    named = {v.version for v in new.variants} - {v.version for v in (old.variants if old else ())}
    was = old.aliases if old else {}
    moved = {version for name, version in new.aliases.items() if was.get(name) != version}
    fresh_rules = set(new.rules) - set(old.rules if old else ())
    ruled = {v.version for rule in fresh_rules if (v := variant_named(new, rule.variant)) is not None}
    return tuple(sorted(weighted | named | moved | ruled))


def _set(old: Route, command: SetRoute) -> Route:
    aliases = old.aliases if command.aliases is None else command.aliases
    naming = replace(old, aliases=aliases)
    variants = tuple(
        Variant(share.name or default_name(share.version), resolve(naming, share.version), share.weight_ppm)
        for share in command.shares
    )
    return replace(
        naming,
        variants=variants,
        key=old.key if command.key is None else command.key,
        salt=old.salt if command.salt is None else command.salt,
        rules=old.rules if command.rules is None else command.rules,
    )


def _patched(old: Route, command: PatchRoute) -> Route:
    aliases = dict(old.aliases)
    for name, version in (command.aliases or {}).items():
        if version is None:
            aliases.pop(name, None)
        else:
            aliases[name] = version
    return replace(old, aliases=aliases, rules=old.rules if command.rules is None else command.rules)


def _changed(state: State, new: Route, who: Who, kind: str) -> Change:
    old = state.table.routes.get(new.model)
    if same_decision(old, new):
        return Change(state)
    after = with_routes(state, {new.model: new})
    before = route_document(old) if old else None
    return Change(after, (Event(kind, new.model, who, before, route_document(after.table.routes[new.model])),))


def _commanded(state: State, sight: Sight, command: Load | Unload, who: Who) -> Change:
    change = reconcile(state, sight.inventory, who, sight.key)
    after = at_one_revision(sight.state, change.state)
    if after == sight.state:
        return Change(sight.state)
    scope = "model" if command.version is None else "version"
    verb = "load" if isinstance(command, Load) else "unload"
    before, now = _held(sight.state, command.model), _held(after, command.model)
    first = tuple(event for event in change.events if event.kind == "route.first")
    return Change(after, (Event(f"{scope}.{verb}", command.model, who, before, now), *first))


def _held(state: State, model: str) -> dict[str, list[int]]:
    return {
        "wanted": sorted(state.table.wanted.get(model, {})),
        "unloaded": sorted(version for name, version in state.unloaded if name == model),
    }


def _meant(sight: Sight, command: Load | Unload, model: InventoryModel) -> frozenset[int]:
    there = {*model.versions, *sight.state.table.wanted.get(command.model, {})}
    if command.version is None:
        return frozenset(there)
    if command.version not in there:
        text = ", ".join(map(str, sorted(there)[:20])) or "none"
        raise NotFound(f"{command.model} has no version {command.version}; there are: {text}")
    return frozenset({command.version})


def _require_no_weight(route: Route, version: int) -> None:
    if any(variant.version == version for variant in live(route)):
        raise FailedPrecondition(
            f"{route.model}:{version} has weight in the route; move it away first (`serin route set {route.model} ...`)"
        )


def _require_no_rollout(state: State, model: str) -> None:
    rollout = state.rollouts.get(model)
    if rollout is not None and rollout.is_open:
        raise FailedPrecondition(
            f"rollout {rollout.id} of {model} is {rollout.phase} and owns the route; "
            f"`serin rollout abort {model}` ends it, `serin rollout promote {model}` completes it"
        )


def _require_match(old: Route | None, command: RouteCommand) -> None:
    match, at = command.match, old.revision if old else None
    holds: dict[str, Callable[[], bool]] = {
        f"{command.model} has a route already": lambda: not (match.must_be_absent and old is not None),
        f"{command.model} has no route": lambda: not (match.must_exist and old is None),
        f"the route of {command.model} is at revision {at}, not at the one in If-Match; read it again": (
            lambda: match.revisions is None or at in match.revisions
        ),
    }
    for text, check in holds.items():
        if not check():
            raise Conflict(text)
