"""One line of the append-only history, and who caused it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Who:
    """Who asked, and why. `claimed`: whom the caller said it acts for, where a key says who it is."""

    actor: str = "serin"
    reason: str = ""
    claimed: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the append-only history. `before` and `after` are JSON values; id, at, revision and hash come at
    commit. `rollout`: the id of the rollout that it belongs to. `hash`: its link of the chain.
    """

    kind: str
    model: str | None
    who: Who
    before: Any = None
    after: Any = None
    id: int = 0
    at: str = ""
    revision: int = 0
    rollout: str | None = None
    hash: str = ""
