"""Follows one rollout until it has ended, also while the controller is away for a moment."""

import time
from collections.abc import Iterator
from typing import Any, Final

from router.client import AdminClient
from router.errors import DeadlineExceeded, Unavailable

Document = dict[str, Any]

PROMOTED, ABORTED, TIMED_OUT = 0, 3, 4
AWAY_SECONDS: Final = 60.0
"""So long a controller may be away before following it gives up; it is restarted within a second or two."""

GOOD: Final = frozenset({"window", "promoted"})
BAD: Final = frozenset({"aborted", "rolled_back", "superseded"})


def exit_code(found: Document) -> int | None:
    """0 promoted, 3 aborted (or rolled back, or something else took its place), None: not decided."""
    return PROMOTED if found["phase"] in GOOD else ABORTED if found["phase"] in BAD else None


def follow(client: AdminClient, model: str, every_seconds: float) -> Iterator[Document | None]:
    """What the model's last rollout is, again and again; None when the controller did not answer.

    The first call must succeed. Raises what the last attempt raised when the controller stays away.
    """
    found = client.rollout(model)
    identity, answered = found["id"], time.monotonic()
    yield found
    while True:
        time.sleep(every_seconds)
        try:
            found = client.rollout_by_id(identity)
        except (Unavailable, DeadlineExceeded):
            if time.monotonic() - answered > AWAY_SECONDS:
                raise
            yield None
            continue
        answered = time.monotonic()
        yield found
