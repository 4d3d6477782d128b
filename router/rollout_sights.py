"""What workers have seen of a rollout and left where the controller finds it: notices, exposure, the worst pairs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from router.exposures import DIRECTORY, Used, exposure_used
from router.fleet import Worker
from router.pairs import worst_pairs
from router.rollout import Rollout

Document = dict[str, Any]
LIMITS = ("requests", "keys", "failures")


def notices(rollout: Rollout, live: Iterable[Worker]) -> list[str]:
    """What workers say of the present route, and ends nothing."""
    if not rollout.is_active:
        return []
    told = [
        (worker.slot, worker.notices.get(rollout.model)) for worker in live if worker.applied >= rollout.route_revision
    ]
    return [f"worker {slot}: {text}" for slot, text in told if text]


def exposure_document(rollout: Rollout, state: Path) -> Document | None:
    """What the candidate may have and has had on this host, by limit; None where nothing limits it."""
    limit = rollout.spec.exposure
    if limit is None:
        return None
    used = exposure_used(state / DIRECTORY, rollout.id) or Used(0, 0, 0)
    allowed = {name: getattr(limit, name) for name in LIMITS if getattr(limit, name) is not None}
    limits = {name: {"used": getattr(used, name), "allowed": most} for name, most in allowed.items()}
    return {"limits": limits, "lifted": rollout.proven}


def pairs_document(rollout: Rollout, state: Path, most: int | None = None) -> list[Document]:
    """By mirror, the pairs that lie furthest apart, worst first; `most` of each. Reads files."""
    salt = rollout.spec.salt or rollout.id
    return [
        {"variant": kept.variant, "version": kept.version, "pairs": kept.pairs[:most]}
        for kept in worst_pairs(state, rollout.model, salt)
    ]
