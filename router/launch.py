"""How a rollout begins: what its document names is looked up, what cannot be is refused with nothing changed. Pure."""

from dataclasses import dataclass, field, replace
from typing import Any

from router.clock import Clock, Now
from router.commands import Match
from router.demands import BASELINE
from router.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from router.history import Event, Who
from router.moves import Advance, make
from router.phases import TABLE, Move, Phase, after
from router.plan import Arm, RolloutSpec
from router.readiness import Answer, Sight, require_model
from router.rollout import Rollout, told
from router.routes import Route, Variant, live, resolve
from router.state import Change, State, same_decision, with_routes
from router.targets import default_name, is_target
from router.trouble import unready


@dataclass(frozen=True, slots=True)
class Launch:
    """`match`: on the number of the model's last rollout; one that is open is replaced only by naming it. `fresh`: a
    new rollout even when the last one has the same document; else that one is the answer."""

    spec: RolloutSpec
    who: Who
    match: Match = field(default_factory=Match)
    fresh: bool = False


def launched(launch: Launch, sight: Sight, now: Now) -> Change:
    """The state in which the rollout has begun; the same state when there is nothing to do. Raises SerinError."""
    spec, state = launch.spec, sight.state
    require_model(sight, spec.model)
    last = state.rollouts.get(spec.model)
    _require_match(last, launch.match)
    if last is not None and not launch.fresh and last.spec.document == spec.document:
        return Change(state)
    stable = _stable(sight, last, launch)
    begun = _begun(launch, sight, stable, now)
    return _started(state, last, begun, now)


def retried(model: str, who: Who, sight: Sight, now: Now) -> Change:
    """The state in which the model's last rollout begins anew, under an id of its own. Raises IllegalTransition."""
    last = sight.state.rollouts.get(model)
    if last is None:
        raise NotFound(f"{model} has had no rollout yet")
    after(last.phase, Move.RETRY)
    return launched(Launch(last.spec, who, fresh=True), sight, now)


def recorded(state: State, moved: Advance) -> Change:
    """The state after an advance; its route is numbered with it."""
    rollout, model = moved.rollout, moved.rollout.model
    before, routed = state.rollouts.get(model), state
    if rollout == before:
        return Change(state)
    if moved.route is not None:
        if not same_decision(state.table.routes.get(model), moved.route):
            routed = with_routes(state, {model: moved.route})
        rollout = replace(rollout, route_revision=routed.table.routes[model].revision)
    rollout = replace(rollout, revision=rollout.revision + 1)
    after_state = replace(routed, rollouts={**state.rollouts, model: rollout})
    return Change(after_state, moved.events, log=tuple((rollout.id, row) for row in moved.log))


def _require_match(last: Rollout | None, match: Match) -> None:
    if match.must_be_absent and last is not None and last.is_open:
        raise Conflict(f"{last.model} has rollout {last.id} already, which is {last.phase}")
    if match.must_exist and last is None:
        raise Conflict("the model has had no rollout yet")
    if match.revisions is not None and (last is None or last.number not in match.revisions):
        has = f"the last one is {last.id}" if last else "it has had none yet"
        raise Conflict(f"the rollout in If-Match is not the model's last one: {has}; read it again")


def _stable(sight: Sight, last: Rollout | None, launch: Launch) -> Route:
    if last is not None and last.is_open:
        named = launch.match.revisions is not None
        if not named or Move.SUPERSEDE not in TABLE[last.phase]:
            raise FailedPrecondition(
                f"rollout {last.id} of {last.model} is {last.phase}; `abort` ends it, and one that has not come so far "
                "is replaced by naming it in If-Match"
            )
        return last.stable
    route = sight.state.table.routes.get(launch.spec.model)
    if route is None:
        raise FailedPrecondition(f"{launch.spec.model} has no route yet: there is no stable version to start from")
    return route


def _begun(launch: Launch, sight: Sight, stable: Route, now: Now) -> Rollout:
    spec = launch.spec
    source = _source(spec, stable)
    candidates = tuple(_candidate(index, arm, stable, source) for index, arm in enumerate(spec.to))
    _require_each_once(candidates)
    for index, step in enumerate(spec.steps):
        if step.wait.until is not None and step.wait.until <= now.wall:
            raise InvalidArgument(f"steps[{index}].until: is over already")
    for candidate in candidates:
        found = unready(sight, spec.model, frozenset({candidate.version}))
        if found is not None and found.answer is Answer.REFUSED:
            raise FailedPrecondition(f"to: {found.reason}")
    number = sight.state.table.revision + 1
    return Rollout(
        id=f"{spec.model}-{number}",
        number=number,
        spec=spec,
        stable=stable,
        source=source,
        candidates=candidates,
        digests={},
        started_by=launch.who,
        started_at=now.wall,
        clock=Clock(now.boot_id, now.seconds),
        why=launch.who,
        revision=1,
    )


def _source(spec: RolloutSpec, stable: Route) -> Variant:
    weighted = tuple(live(stable))
    if len(weighted) != 1:
        names = ", ".join(variant.name for variant in weighted)
        raise FailedPrecondition(
            f"from: {spec.model} splits its traffic among {names}; give one of them all of it first"
        )
    if spec.source is not None and resolve(stable, spec.source) != weighted[0].version:
        raise FailedPrecondition(f"from: version {weighted[0].version} of {spec.model} has all the traffic now")
    return weighted[0]


def _candidate(index: int, arm: Arm, stable: Route, source: Variant) -> Variant:
    try:
        version = resolve(stable, arm.version)
    except NotFound as error:
        raise NotFound(f"to: {error.message}") from error
    if version == source.version:
        raise FailedPrecondition(f"to: version {version} of {stable.model} has all the traffic already")
    known = next((variant for variant in stable.variants if variant.version == version), None)
    if known is not None:
        return replace(known, weight_ppm=arm.weight_ppm)
    name = arm.name or (default_name(arm.version) if is_target(arm.version) else str(version))
    taken = {variant.name for variant in stable.variants}
    return Variant(f"candidate-{version}" if name in {*taken, BASELINE} else name, version, arm.weight_ppm)


def _require_each_once(candidates: tuple[Variant, ...]) -> None:
    if len({candidate.version for candidate in candidates}) != len(candidates):
        raise InvalidArgument("to: names a version twice, once by an alias")


def _started(state: State, last: Rollout | None, begun: Rollout, now: Now) -> Change:
    bumped = replace(state, table=replace(state.table, revision=state.table.revision + 1))
    closed, events = _closed(last, begun, now)
    if last is not None and last.is_open and not same_decision(state.table.routes.get(begun.model), begun.stable):
        bumped = with_routes(state, {begun.model: begun.stable})
        begun = replace(begun, route_revision=bumped.table.revision)
    event = Event("rollout.started", begun.model, begun.started_by, None, _plan_told(begun), rollout=begun.id)
    after_state = replace(bumped, rollouts={**state.rollouts, begun.model: begun})
    return Change(after_state, (*events, event), closed=closed)


def _closed(last: Rollout | None, begun: Rollout, now: Now) -> tuple[tuple[Rollout, ...], tuple[Event, ...]]:
    if last is None or not (last.is_open or last.phase is Phase.WINDOW):
        return (), ()
    who = replace(begun.started_by, reason=f"rollout {begun.id} took its place")
    moved = make(last, Move.SUPERSEDE, who, now)
    return (replace(moved.rollout, revision=last.revision + 1),), moved.events


def _plan_told(begun: Rollout) -> dict[str, Any]:
    names = {candidate.name: candidate.version for candidate in begun.candidates}
    return {**told(begun), "from": begun.source.version, "to": names, "spec": begun.spec.document}
