"""What the controller sees, as the next input of a rollout: trouble first, then what it waits for. Pure."""

from collections.abc import Callable
from dataclasses import replace

from router.advance import Command, Compared, Input, Ready, Superseded, Tick, Trouble
from router.assessor import Contract, ContractKind
from router.history import Who
from router.phases import AT_A_STEP, IllegalTransition, Move, Phase
from router.readiness import Answer, Readiness, Sight
from router.reports import InventoryModel, InventoryVersion
from router.rollout import Rollout
from router.routes import Route, routed_versions
from router.trouble import trouble, unready

Compare = Callable[[InventoryVersion, InventoryVersion], Contract]

_WORST_FIRST = (ContractKind.BREAKING, ContractKind.UNKNOWN, ContractKind.COMPATIBLE, ContractKind.IDENTICAL)


def noticed(sight: Sight, rollout: Rollout, compare: Compare) -> Input:
    """The input that is due by itself; `Tick` when nothing but time has passed."""
    why = trouble(sight, rollout)
    if why is not None:
        return Trouble(why)
    if rollout.phase is Phase.WINDOW and not _owns_route(sight, rollout):
        return Superseded(Who("serin", "the route was set"))
    if rollout.phase is Phase.PENDING:
        return _awaited(sight, rollout)
    if rollout.phase is Phase.CHECKING:
        return _compared(sight, rollout, compare)
    return Tick()


def lacking(sight: Sight, rollout: Rollout, route: Route | None) -> Readiness | None:
    """The version that the rollout's next route sends requests to, and that is not ready in every live worker.

    The way back to stable asks nobody.
    """
    if route is None or rollout.phase not in AT_A_STEP | {Phase.PROMOTING}:
        return None
    reached = routed_versions(replace(route, aliases={}))  # a name for a version sends nobody there
    return unready(sight, rollout.model, reached & rollout.versions)


def require_unchanged(sight: Sight, rollout: Rollout, command: Command) -> None:
    """Raises IllegalTransition for a rollback that would undo what somebody has set since."""
    if command.move is Move.ROLLBACK and rollout.phase is Phase.WINDOW and not _owns_route(sight, rollout):
        raise IllegalTransition(
            "the route was set after the promotion; a rollback would undo that. Set the route instead"
        )


def _owns_route(sight: Sight, rollout: Rollout) -> bool:
    route = sight.state.table.routes.get(rollout.model)
    return route is not None and route.revision == rollout.route_revision


def _awaited(sight: Sight, rollout: Rollout) -> Input:
    found = unready(sight, rollout.model, rollout.versions)
    if found is not None:
        return Trouble(found.reason) if found.answer is Answer.REFUSED else Tick()
    if not rollout.is_confirmed:
        return Tick()
    wanted = sight.state.table.wanted.get(rollout.model, {})
    return Ready({version: wanted[version].digest for version in rollout.versions if version in wanted})


def _compared(sight: Sight, rollout: Rollout, compare: Compare) -> Input:
    known = sight.inventory.models.get(rollout.model, InventoryModel()).versions
    stable = known.get(rollout.source.version)
    seen = [known.get(candidate.version) for candidate in rollout.candidates]
    if stable is None or any(version is None for version in seen):
        return Tick() if not sight.inventory.scanned else Compared(Contract(ContractKind.UNKNOWN, ("files are gone",)))
    found = [compare(stable, version) for version in seen if version is not None]
    worst = min(found, key=lambda contract: _WORST_FIRST.index(contract.kind))
    return Compared(Contract(worst.kind, tuple(text for contract in found for text in contract.differences)))
