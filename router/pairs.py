"""The most different pairs of answers that mirrors have found, as the workers leave them in the state directory."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from router.decoding import decoder

DIRECTORY = "pairs"


def pairs_path(state: Path, slot: int) -> Path:
    """Where worker `slot` leaves its pairs."""
    return state / DIRECTORY / f"worker-{slot}.json"


class KeptPairs(msgspec.Struct, frozen=True):
    """The worst pairs of one mirror: of one worker, or of all. `salt`: of the route, a rollout's id in a rollout."""

    model: str
    version: int
    variant: str
    salt: str
    most: int
    pairs: list[dict[str, Any]]


def read_pairs(path: Path) -> list[KeptPairs]:
    """What one worker left; nothing where that cannot be read."""
    with suppress(OSError, msgspec.MsgspecError):
        return decoder(list[KeptPairs]).decode(path.read_bytes())
    return []


def worst_pairs(state: Path, model: str, salt: str | None = None) -> list[KeptPairs]:
    """The worst pairs of a model's mirrors over all workers, worst first; `salt` names the rollout."""
    found: dict[tuple[int, str, str], list[KeptPairs]] = {}
    for path in sorted((state / DIRECTORY).glob("worker-*.json")):
        for kept in read_pairs(path):
            if kept.model == model and salt in (None, kept.salt):
                found.setdefault((kept.version, kept.variant, kept.salt), []).append(kept)
    return [_merged(each) for each in found.values()]


def _merged(each: list[KeptPairs]) -> KeptPairs:
    most = max(kept.most for kept in each)
    pairs = sorted((pair for kept in each for pair in kept.pairs), key=rank, reverse=True)
    return msgspec.structs.replace(each[0], most=most, pairs=pairs[:most])


def rank(pair: dict[str, Any]) -> tuple[bool, float]:
    """What differs comes before what does not, then by distance."""
    return bool(pair["differs"]), float(pair["distance"])


def encode_pairs(kept: Iterable[KeptPairs]) -> bytes:
    """What `read_pairs` reads."""
    return msgspec.json.encode(list(kept))
