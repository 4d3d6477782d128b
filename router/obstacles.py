"""What stands in the way of a command: nothing (None), something to wait for, or a reason to refuse."""

from router.commands import Load, RouteCommand, Unload, decide, proposed, versions_to_check
from router.errors import NotFound
from router.readiness import Answer, Readiness, Sight, readiness
from router.reports import InventoryModel, VersionState
from router.state import Who

_MOVING = (VersionState.UNKNOWN, VersionState.LOADING)
_HELD = (VersionState.READY, VersionState.UNLOADING)


def of_route(command: RouteCommand, sight: Sight) -> Readiness | None:
    """Versions of the new route that are not ready; a refusal goes before a wait. Raises what `proposed` raises."""
    try:
        new = proposed(command, sight)
        asked = versions_to_check(sight.state.table.routes.get(command.model), new)
        answers = [readiness(sight, command.model, version) for version in asked]
    except NotFound as error:
        if sight.inventory.scanned:
            raise
        return Readiness(Answer.PENDING, error.message)
    for answer in (Answer.REFUSED, Answer.PENDING):
        found = next((one for one in answers if one.answer is answer), None)
        if found is not None:
            return found
    return None


def of_load(command: Load, sight: Sight, rescan: int) -> Readiness | None:
    """Something to wait for while what is to be loaded is unknown and rescan number `rescan` is not done.

    Raises NotFound when it is done and there is no such thing.
    """
    try:
        decide(command, sight, Who())
    except NotFound as error:
        if sight.inventory.scanned and sight.inventory.sequence >= rescan:
            raise
        return Readiness(Answer.PENDING, error.message)
    return None


def of_version(model: str, version: int, sight: Sight) -> Readiness | None:
    """Why the version is not ready everywhere."""
    found = readiness(sight, model, version)
    return None if found.answer is Answer.READY else found


def versions_to_load(command: Load, sight: Sight) -> tuple[int, ...]:
    """The versions that a load waits for: the named one, else all of the model that passed the inventory."""
    if command.version is not None:
        return (command.version,)
    found = sight.inventory.models.get(command.model)
    wanted = sight.state.table.wanted.get(command.model, {})
    return tuple(version for version in wanted if found is None or version in found.versions)


def is_examined(command: Load, sight: Sight, rescan: int) -> bool:
    """Whether the inventory has settled what can be loaded: files that lie there since a moment ago are not known to
    the last scan as they are now, so where nothing can be loaded yet, rescan number `rescan` has a say too."""
    found = sight.inventory.models.get(command.model, InventoryModel())
    meant = found.versions if command.version is None else {command.version} & found.versions.keys()
    moving = any(found.versions[version].wanted and found.versions[version].state in _MOVING for version in meant)
    return not moving and (bool(versions_to_load(command, sight)) or sight.inventory.sequence >= rescan)


def is_held(command: Unload, sight: Sight) -> bool:
    """Whether a live worker still has in memory what is to be unloaded."""
    for worker in sight.live:
        held = (worker.states or {}).get(command.model, {})
        if any(one.state in _HELD for version, one in held.items() if command.version in (None, version)):
            return True
    return False
