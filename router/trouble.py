"""Why a rollout's candidate cannot go on, or why its stable version cannot: asked of what the controller sees. Pure."""

from router.errors import NotFound
from router.phases import AT_A_STEP, Phase
from router.readiness import Answer, Readiness, Sight, readiness
from router.reports import VersionState
from router.rollout import Rollout

_SERVING = (*AT_A_STEP, Phase.PROMOTING, Phase.WINDOW)


def trouble(sight: Sight, rollout: Rollout) -> str | None:
    """The reason to take the candidate back, or None. A worker that is absent or still loading is none."""
    if not rollout.is_active or rollout.phase in (Phase.PENDING, Phase.ABORTING, Phase.ROLLING_BACK):
        return None  # while it is pending, `unready` tells
    for candidate in rollout.candidates:
        if rollout.phase in (Phase.WINDOW, Phase.PROMOTING) and candidate.name != rollout.winner:
            continue
        found = _of_version(sight, rollout, candidate.version)
        if found is not None:
            return found
    return _of_budget(sight, rollout)


def unready(sight: Sight, model: str, versions: frozenset[int]) -> Readiness | None:
    """The version that is not ready in every live worker; a refusal goes before a wait."""
    answers = [_asked(sight, model, version) for version in sorted(versions)]
    for answer in (Answer.REFUSED, Answer.PENDING):
        for one in answers:
            if one.answer is answer:
                return one
    return None


def _asked(sight: Sight, model: str, version: int) -> Readiness:
    try:
        return readiness(sight, model, version)
    except NotFound as error:
        return Readiness(Answer.REFUSED if sight.inventory.scanned else Answer.PENDING, error.message)


def _of_version(sight: Sight, rollout: Rollout, version: int) -> str | None:
    label, state = f"{rollout.model}:{version}", sight.state
    if (rollout.model, version) in state.unloaded:
        return f"{label} was unloaded"
    meant = rollout.digests.get(version)
    if meant in state.quarantined:
        return f"{label} is in quarantine: {state.quarantined[meant].reason}"
    wanted = state.table.wanted.get(rollout.model, {}).get(version)
    if wanted is None:
        return f"{label} is no longer there"
    if meant is not None and wanted.digest != meant:
        return f"the content of {label} was replaced"
    for worker in sight.live:
        held = (worker.states or {}).get(rollout.model, {}).get(version)
        if held is not None and held.state is VersionState.UNAVAILABLE and held.digest in ("", wanted.digest):
            return f"{label} is unavailable in worker {worker.slot}: {held.reason or 'no reason given'}"
    return None


def _of_budget(sight: Sight, rollout: Rollout) -> str | None:
    """A worker has stopped choosing the candidate. What it says of an older route is not about this one."""
    if rollout.phase not in _SERVING or rollout.route_revision == 0:
        return None
    for worker in sight.live:
        told = worker.troubles.get(rollout.model)
        if told and worker.applied >= rollout.route_revision:
            return f"worker {worker.slot}: {told}"
    return None
