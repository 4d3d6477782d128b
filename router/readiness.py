"""May this version be routed to? Asked of the inventory and of every live worker before any weight moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from router.errors import NotFound
from router.fleet import Worker
from router.names import shown
from router.reports import InventoryModel, InventoryReport, VersionState, WorkerVersion
from router.routes import DEFAULT_KEY, KeySource
from router.state import State

_NOT_TOLD = WorkerVersion(VersionState.UNKNOWN)


class Answer(Enum):
    """Yes, not yet, or no."""

    READY = "ready"
    PENDING = "pending"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer, with the sentence that explains it."""

    answer: Answer
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the controller sees at one moment. `key`: of routes that nobody has set yet."""

    state: State
    inventory: InventoryReport
    live: Sequence[Worker]
    key: KeySource = DEFAULT_KEY


def require_model(sight: Sight, model: str) -> InventoryModel:
    """The model as the inventory knows it (empty for one that is only recorded). Raises NotFound."""
    found = sight.inventory.models.get(model)
    table = sight.state.table
    if found is None and model not in table.routes and model not in table.wanted:
        raise NotFound(f"there is no model {shown(model)}")
    return found or InventoryModel()


def readiness(sight: Sight, model: str, version: int) -> Readiness:
    """Whether every live worker can answer with the version. Raises NotFound for what is not there."""
    found = require_model(sight, model).versions.get(version)
    label = f"{model}:{version}"
    if (model, version) in sight.state.unloaded:
        return Readiness(Answer.REFUSED, f"{label} is unloaded; `serin models load {label}` brings it back")
    if found is None:
        return _without_files(sight, model, version)
    if found.digest in sight.state.quarantined:
        reason = sight.state.quarantined[found.digest].reason
        return Readiness(Answer.REFUSED, f"{label} is in quarantine ({reason}); `serin models load {label}` lifts it")
    if not found.wanted:
        return Readiness(Answer.REFUSED, f"{label} is left out by `versions` in model.toml")
    if found.state is VersionState.UNAVAILABLE:
        return Readiness(Answer.REFUSED, f"{label} cannot be loaded: {found.reason or 'no reason given'}")
    if found.state is not VersionState.READY:
        return Readiness(Answer.PENDING, f"{label} is being examined ({found.state})")
    return _in_workers(sight, model, version)


def _without_files(sight: Sight, model: str, version: int) -> Readiness:
    if not sight.inventory.scanned:
        return Readiness(Answer.PENDING, f"{model}:{version} has not been examined yet")
    if version in sight.state.table.wanted.get(model, {}):
        return Readiness(Answer.REFUSED, f"the files of {model}:{version} are gone")
    there = sorted(sight.inventory.models.get(model, InventoryModel()).versions)
    text = ", ".join(map(str, there[:20])) or "none"
    raise NotFound(f"{model} has no version {version}; there are: {text}")


def _in_workers(sight: Sight, model: str, version: int) -> Readiness:
    wanted = sight.state.table.wanted.get(model, {}).get(version)
    if wanted is None:
        return Readiness(Answer.PENDING, f"{model}:{version} is about to be loaded")
    pending = ""
    for worker in sight.live:
        held = (worker.states or {}).get(model, {}).get(version) or _NOT_TOLD
        fresh = held.digest in ("", wanted.digest)
        if fresh and held.state is VersionState.READY:
            continue
        # Older content may serve on while this one loads; a reason says that this one could not be loaded.
        failed = fresh and held.state is VersionState.UNAVAILABLE
        if failed or (held.reason and held.state is VersionState.READY):
            text = f"{model}:{version} cannot be loaded by worker {worker.slot}: {held.reason or 'no reason given'}"
            return Readiness(Answer.REFUSED, text)
        pending = pending or f"{model}:{version} is loading in worker {worker.slot}"
    return Readiness(Answer.PENDING, pending) if pending else Readiness(Answer.READY)
