"""Requests to one version that are not run like others: suspects of a death run alone, poison is not run at all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from router.errors import InvalidArgument, ShedReason

POISON, SUSPECTS = "poison", "suspects"
Told = Mapping[str, Sequence[Mapping[str, Any]]]
"""POISON and SUSPECTS: requests as {"model", "version", "digest", "body": hexadecimal}."""

Cleared = Callable[[int], None]
"""Hears of the body of a suspect that was run, and nothing happened."""


class Poison(InvalidArgument):
    """A request that a version is not asked again, since workers died of it there; another version may answer."""


class Accused:
    """By the xxh3 of their bodies. Versions that nobody accuses have none of it."""

    def __init__(self, poison: Iterable[int], suspects: Iterable[int], on_cleared: Cleared) -> None:
        self._poison = frozenset(poison)
        self._suspects = set(suspects) - self._poison
        self._on_cleared = on_cleared

    def __contains__(self, body_hash: int) -> bool:
        return body_hash in self._poison or body_hash in self._suspects

    def require_innocence(self, body_hash: int) -> None:
        """Raises Poison."""
        if body_hash in self._poison:
            raise Poison(
                "two workers died of running this very request on this version, so it is not run again; "
                "another version may answer it",
                reason=ShedReason.POISON,
            )

    def clear(self, body_hash: int) -> None:
        """It was run, and nothing happened."""
        if body_hash in self._suspects:
            self._suspects.discard(body_hash)
            self._on_cleared(body_hash)


def accused_of(told: Told, on_cleared: Callable[[dict[str, Any]], None]) -> dict[tuple[tuple[str, int], str], Accused]:
    """What the supervisor says, by version and digest. `on_cleared` hears of a suspect in the same form."""
    bodies: dict[tuple[tuple[str, int], str], dict[str, set[int]]] = {}
    for kind in (POISON, SUSPECTS):
        for one in told.get(kind, ()):
            key = (one["model"], one["version"]), one["digest"]
            bodies.setdefault(key, {POISON: set(), SUSPECTS: set()})[kind].add(int(one["body"], 16))

    def cleared(key: tuple[tuple[str, int], str], body_hash: int) -> None:
        (model, version), digest = key
        on_cleared({"model": model, "version": version, "digest": digest, "body": f"{body_hash:016x}"})

    return {key: Accused(found[POISON], found[SUSPECTS], partial(cleared, key)) for key, found in bodies.items()}
