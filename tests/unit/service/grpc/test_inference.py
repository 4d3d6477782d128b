"""One message on its way, with a dataplane that only notes what it is asked."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from router.errors import Internal, NotFound, ShedReason, Unavailable
from router.telemetry import Outcome
from service.calls import Assignment
from service.grpc import inference as inference_module
from service.grpc.answers import headers_of
from service.grpc.inference import Inference
from service.http.v2 import Bounds
from service.pb.messages import ModelInferRequest
from service.protocol.limits import Limits
from service.protocol.messages import InferResponse, OutputTensor


class Context:
    """What grpc.aio gives to a handler."""

    def __init__(self, *metadata: tuple[str, str | bytes], remaining: float | None = None) -> None:
        self.metadata = metadata
        self.remaining = remaining
        self.trailers: dict[str, str] = {}
        self.ended: tuple[grpc.StatusCode, str] | None = None

    def invocation_metadata(self) -> Any:
        return self.metadata

    def time_remaining(self) -> float | None:
        return self.remaining

    def set_trailing_metadata(self, trailers: Any) -> None:
        self.trailers = dict(trailers)

    async def abort(self, code: grpc.StatusCode, details: str, trailers: Any) -> None:
        self.ended, self.trailers = (code, details), dict(trailers)
        raise asyncio.InvalidStateError("aborted")


class Dataplane:
    """Answers with `result`, or raises it."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.calls: list[Any] = []
        self.closed: list[Outcome] = []
        self.shed: list[ShedReason] = []
        self.ran = 0

    def expect(self, model: str) -> None:
        if model != "digits":
            raise NotFound("nobody")

    def assign(self, call: Any, request: Any) -> Any:
        self.calls.append(call)
        series: Any = SimpleNamespace(observe=lambda outcome, *_: self.closed.append(outcome), shed=self.shed.append)
        return Assignment("digits", "canary", 2, 7, series, 0, 0)

    async def infer(self, assignment: Any, call: Any, request: Any) -> InferResponse:
        self.ran += 1
        if isinstance(self.result, BaseException):
            raise self.result
        return InferResponse("digits", "2", [OutputTensor("y", "FP32", np.float32([3]))], request.id)


def door(dataplane: Dataplane, most: int = 4) -> tuple[Inference, list[str], Any]:
    rejected: list[str] = []
    v2: Any = SimpleNamespace(in_flight=0)
    fake: Any = dataplane
    return Inference(fake, v2, Bounds(Limits(), 30.0, 20.0, most), rejected.append), rejected, v2


def body(model: str = "digits", name: str = "", **parameters: int) -> bytes:
    message = ModelInferRequest(model_name=model, id=name)
    message.inputs.add(name="x", datatype="FP32", shape=[1])
    message.raw_input_contents.append(np.float32([1]).tobytes())
    for key, value in parameters.items():
        message.parameters[key].int64_param = value
    return bytes(message.SerializeToString())


async def refusal(inference: Inference, sent: bytes, context: Context) -> tuple[str, str]:
    with pytest.raises(asyncio.InvalidStateError):
        await inference.infer(sent, context)
    assert context.ended is not None
    return context.ended[0].name, context.ended[1]


async def test_an_answer_tells_who_gave_it_and_is_booked_once() -> None:
    dataplane = Dataplane()
    inference, rejected, v2 = door(dataplane)
    context = Context(("x-request-id", "mine"), ("serin-routing-key", "ann"))
    answer = await inference.infer(body(name="7"), context)
    assert (answer.id, answer.model_version) == ("7", "2")
    assert context.trailers == {
        "x-request-id": "mine",
        "serin-version": "2",
        "serin-variant": "canary",
        "serin-revision": "7",
    }
    assert dataplane.calls[0].headers[b"serin-routing-key"] == b"ann"
    assert dataplane.closed == [Outcome.OK]
    assert (rejected, v2.in_flight) == ([], 0)


async def test_the_shortest_of_three_deadlines_counts() -> None:
    for remaining, timeout, seconds in ((None, None, 30), (5.0, None, 5), (5.0, 2_000_000, 2), (1.0, 2_000_000, 1)):
        dataplane = Dataplane()
        sent = body() if timeout is None else body(timeout=timeout)
        await door(dataplane)[0].infer(sent, Context(remaining=remaining))
        call = dataplane.calls[0]
        assert (call.deadline_ns - call.arrived_ns) / 1e9 == pytest.approx(seconds, abs=0.001)


async def test_after_its_deadline_a_call_reaches_no_model() -> None:
    dataplane = Dataplane()
    code, _ = await refusal(door(dataplane)[0], body(), Context(remaining=0.0))
    assert code == "DEADLINE_EXCEEDED"
    assert (dataplane.ran, dataplane.closed, dataplane.shed) == (0, [Outcome.TIMEOUT], [ShedReason.LATE])


@pytest.mark.parametrize(("late_ns", "outcome"), [(0, Outcome.CANCELLED), (10**9, Outcome.TIMEOUT)])
async def test_a_call_that_is_cancelled_is_booked_by_why(
    monkeypatch: pytest.MonkeyPatch, late_ns: int, outcome: Outcome
) -> None:
    """gRPC cancels what is out of time as it does what its caller has given up."""
    clock = [1_000]
    monkeypatch.setattr(inference_module, "perf_counter_ns", lambda: clock[0])
    dataplane, begun = Dataplane(), asyncio.Event()

    async def wait_for_ever(*_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    dataplane.infer = wait_for_ever  # type: ignore[method-assign]
    inference, _, v2 = door(dataplane)
    task = asyncio.ensure_future(inference.infer(body(), Context(remaining=1.0)))
    await begun.wait()
    clock[0] += late_ns
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (dataplane.closed, v2.in_flight) == ([outcome], 0)


async def test_what_reaches_no_version_is_counted_by_its_reason() -> None:
    inference, rejected, v2 = door(Dataplane())
    assert (await refusal(inference, body("nobody"), Context()))[0] == "NOT_FOUND"
    assert (await refusal(inference, b"\xff", Context()))[0] == "INVALID_ARGUMENT"
    v2.in_flight = 4
    context = Context()
    assert (await refusal(inference, body(), context))[0] == "UNAVAILABLE"
    assert context.trailers["retry-after"] == "1"
    assert rejected == ["not_found", "bad_request", "overloaded"]


async def test_a_bug_on_the_way_to_a_version_is_not_told_and_counted() -> None:
    dataplane = Dataplane()

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    dataplane.assign = broken  # type: ignore[method-assign]
    inference, rejected, v2 = door(dataplane)
    assert await refusal(inference, body(), Context()) == ("INTERNAL", "the gateway failed; its log has why")
    assert (rejected, v2.in_flight) == (["internal"], 0)


async def test_errors_of_a_version_are_booked_there_and_bugs_are_not_told() -> None:
    cases = (
        (Internal("the model failed"), "INTERNAL", "the model failed", Outcome.ERROR),
        (Unavailable("gone"), "UNAVAILABLE", "gone", Outcome.SHED),
        (ZeroDivisionError("secret"), "INTERNAL", "the gateway failed; its log has why", Outcome.ERROR),
    )
    for error, code, text, outcome in cases:
        dataplane, context = Dataplane(error), Context()
        assert await refusal(door(dataplane)[0], body(), context) == (code, text)
        assert dataplane.closed == [outcome]
        assert context.trailers["serin-version"] == "2"


async def test_an_error_in_a_stream_names_its_request_and_the_stream_goes_on() -> None:
    async def sent() -> AsyncIterator[bytes]:
        for message in (body(name="a"), body("nobody", name="b"), b"\xff", body(name="c")):
            yield message

    inference, _, _ = door(Dataplane())
    answers = [answer async for answer in inference.stream(sent(), Context(), asyncio.Event())]
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "", "c"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, False]
    parameters = answers[0].infer_response.parameters
    assert parameters["triton_final_response"].bool_param
    assert parameters["serin-variant"].string_param == "canary"


def test_metadata_that_came_twice_is_one_list() -> None:
    context = Context(("a", "1"), ("a", "2"), ("cookie", "x=1"), ("cookie", "y=2"), ("b-bin", b"\xff"))
    assert headers_of(context) == {b"a": b"1, 2", b"cookie": b"x=1; y=2", b"b-bin": b"\xff"}
