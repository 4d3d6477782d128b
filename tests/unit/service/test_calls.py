"""When a whole request may go to another server without being looked into: only where nobody here needs its values."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.calls import passes
from service.protocol.messages import InferRequest, InputTensor, RequestedOutput

PLAIN = InferRequest({})
CLASSES = InferRequest({}, outputs=(RequestedOutput("y", classification=3),))


BINARY = (
    InferRequest({"x": InputTensor("x", "FP32", (1,), 1, memoryview(b"1234"))}),
    InferRequest({}, binary_output=True),
    InferRequest({}, outputs=(RequestedOutput("y", binary=True),)),
    InferRequest({}, raw=memoryview(b"1234")),
)


def asked(
    request: InferRequest = PLAIN,
    *,
    elsewhere: bool = True,
    binary: bool = False,
    body: bytes | None = b"{}",
    guards: Any = None,
    tap: Any = None,
) -> bool:
    loaded: Any = SimpleNamespace(passes=elsewhere, passes_binary=binary)
    assignment: Any = SimpleNamespace(guards=guards, tap=tap)
    call: Any = SimpleNamespace(body=body)
    return passes(loaded, assignment, call, request)


def test_a_plain_request_goes_as_it_is() -> None:
    assert asked()


@pytest.mark.parametrize(
    "reason",
    [{"elsewhere": False}, {"body": None}, {"guards": object()}, {"tap": object()}, {"request": CLASSES}],
    ids=lambda reason: next(iter(reason)),
)
def test_who_needs_the_values_has_them_read(reason: dict[str, Any]) -> None:
    assert not asked(**reason)


@pytest.mark.parametrize("request_", BINARY, ids=("input", "outputs", "output", "raw"))
def test_binary_tensors_go_as_they_are_only_to_who_knows_the_layout(request_: InferRequest) -> None:
    assert asked(request_, binary=True)
    assert not asked(request_)
