"""When a whole request may go to another server without being looked into: only where nobody here needs its values."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.calls import passes
from service.protocol.messages import InferRequest, RequestedOutput

PLAIN = InferRequest({})
CLASSES = InferRequest({}, outputs=(RequestedOutput("y", classification=3),))


def asked(
    *, elsewhere: bool = True, body: bytes | None = b"{}", guards: Any = None, tap: Any = None, classes: bool = False
) -> bool:
    loaded: Any = SimpleNamespace(passes=elsewhere)
    assignment: Any = SimpleNamespace(guards=guards, tap=tap)
    call: Any = SimpleNamespace(body=body)
    return passes(loaded, assignment, call, CLASSES if classes else PLAIN)


def test_a_plain_request_goes_as_it_is() -> None:
    assert asked()


@pytest.mark.parametrize(
    "reason",
    [{"elsewhere": False}, {"body": None}, {"guards": object()}, {"tap": object()}, {"classes": True}],
    ids=lambda reason: next(iter(reason)),
)
def test_who_needs_the_values_has_them_read(reason: dict[str, Any]) -> None:
    assert not asked(**reason)
