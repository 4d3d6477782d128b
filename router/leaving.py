"""Versions that are gone: how long what was counted of them is shown, and when its room may be taken.

Every worker has a block for each version that it held. One of its cells says until when the counts are shown; it is 0
while the worker holds the version. When that time has come in all workers, no reader shows the version any more: all of
its counts are shown or none, so a series ends, and does not go down. Pure.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from router.layout import BlockSpec

Key = tuple[str, str]
"""Model and version, as labels have them."""

VERSION: Final = "version"
STATE, QUEUED, UNTIL = "state", "queued", "until"
INPUTS: Final = "inputs"
"""The blocks whose counts are added up over all versions, for drift: they stay."""

MARGIN_NS: Final = 60_000_000_000
"""From the time at which a version is shown no more until its room is taken: longer than any reading takes."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long the counts of a version that is gone are shown. `clock`: ns since the machine started."""

    nanos: int
    clock: Callable[[], int]

    def until(self) -> int:
        """Of one that goes now."""
        return self.clock() + self.nanos


def version_spec(model: str, version: int) -> BlockSpec:
    """The block of a version in one worker."""
    families = ((STATE, 1), (QUEUED, 1), (UNTIL, 1))
    return BlockSpec(VERSION, {"model": model, "version": str(version)}, families, gauges=(STATE, QUEUED))


def key_of(spec: BlockSpec) -> Key | None:
    """Whose block it is; None for one that belongs to no version."""
    model, version = spec.labels.get("model"), spec.labels.get("version")
    return None if model is None or version is None else (model, version)


def leaves(spec: BlockSpec) -> Key | None:
    """The version with which it goes; None for one that stays."""
    return None if spec.kind in (VERSION, INPUTS) else key_of(spec)


def gone(untils: Iterable[tuple[Key, int]], now_ns: int) -> frozenset[Key]:
    """The versions that are shown no more, from the cells of all workers."""
    latest: dict[Key, int] = {}
    for key, until in untils:
        known = latest.get(key, until)
        latest[key] = max(known, until) if known and until else 0
    return frozenset(key for key, until in latest.items() if 0 < until <= now_ns)
