"""Inference over gRPC: the same path through the dataplane as over HTTP, a message in place of a body."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

from xxhash import xxh3_64_intdigest

from router.access import Need
from router.doorman import Doorman
from router.errors import Internal, Kind, NotBegun, SerinError, Unavailable
from router.status import REJECTION, rejection
from router.telemetry import Outcome
from service.calls import priority_of, time_allowed_ns
from service.dataplane import OFF_LOOP_BYTES, Assignment, Call, Dataplane
from service.grpc.answers import Context, Trailers, fail, headers_of, note, trailers_of
from service.grpc.streams import until
from service.http.replies import fields, served, told
from service.http.v2 import V2, Bounds, request_id_of
from service.pb.messages import ModelStreamInferResponse
from service.protocol.messages import InferRequest
from service.protocol.proto_codec import decode, encode, parse
from service.runtime.gates import DEFAULT_PRIORITY

log = logging.getLogger("serin.request")


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came with a message beside its bytes. `ends_ns`: the call's own deadline; both of `perf_counter_ns`."""

    headers: dict[bytes, bytes]
    request_id: str
    at_ns: int
    ends_ns: int | None


@dataclass(slots=True)
class Answer:
    """What became of one message: a response, or an error."""

    response: Any = None
    error: SerinError | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Inference:
    """Answers ModelInfer and ModelStreamInfer. `v2` counts what is in flight in this worker, over HTTP and here.

    `doorman`: asked about each message, unless it is None.
    """

    def __init__(self, dataplane: Dataplane, v2: V2, bounds: Bounds, rejected: Callable[[str], None]) -> None:
        self._dataplane = dataplane
        self._v2 = v2
        self._bounds = bounds
        self.rejected = rejected
        self.doorman: Doorman | None = None

    def not_ready_reason(self) -> str | None:
        """Why this worker should get no calls."""
        return self._dataplane.not_ready_reason()

    async def infer(self, body: bytes, context: Context) -> Any:
        """One message, one answer; who answered is told in trailing metadata."""
        arrival = arrival_of(context)
        answer = await self._answer(body, arrival)
        trailers: Trailers = trailers_of(answer.headers, arrival.request_id)
        if answer.error is not None:
            return await fail(context, answer.error, trailers)
        context.set_trailing_metadata(trailers)
        return answer.response

    async def stream(
        self, bodies: AsyncIterator[bytes], context: Context, closing: asyncio.Event
    ) -> AsyncIterator[Any]:
        """One answer for each message, in their order; an error ends its message, not the stream."""
        opened = arrival_of(context)
        async for body in until(bodies, closing, self._bounds.stream_idle_seconds):
            arrival = Arrival(opened.headers, opened.request_id, perf_counter_ns(), opened.ends_ns)
            answer = await self._answer(body, arrival)
            yield streamed(answer, body, self._bounds)

    async def _answer(self, body: bytes, arrival: Arrival) -> Answer:
        self._v2.in_flight += 1
        try:
            return await self._infer(body, arrival)
        except SerinError as error:
            self.rejected(rejection(error))
            note(error, arrival.request_id)
            return Answer(error=error)
        except Exception:
            self.rejected(REJECTION[Kind.INTERNAL])
            log.exception("request failed", extra={"request_id": arrival.request_id})
            return Answer(error=Internal("the gateway failed; its log has why"))
        finally:
            self._v2.in_flight -= 1

    async def _infer(self, body: bytes, arrival: Arrival) -> Answer:
        """Raises SerinError for what is given to no version."""
        if self._v2.in_flight > self._bounds.max_in_flight:
            raise Unavailable("too many requests are in flight in this worker; try again", retry_after_seconds=1)
        limits = self._bounds.limits
        message = parse(body, limits)
        if self.doorman is not None:
            self.doorman.admit(arrival.headers, Need.PREDICT, message.model_name)
        self._dataplane.expect(message.model_name)
        if len(body) <= OFF_LOOP_BYTES or message.raw_input_contents:
            request = decode(message, limits)
        else:
            request = await asyncio.to_thread(decode, message, limits)
        allowed = arrival.at_ns + time_allowed_ns(self._bounds.request_seconds, request.parameters, arrival.headers)
        call = Call(
            model=message.model_name,
            version=message.model_version or None,
            headers=arrival.headers,
            arrived_ns=arrival.at_ns,
            deadline_ns=allowed if arrival.ends_ns is None else min(allowed, arrival.ends_ns),
            body_hash=xxh3_64_intdigest(body),
            body_bytes=len(body),
            priority=priority_of(request.parameters) if request.parameters else DEFAULT_PRIORITY,
        )
        assignment = self._dataplane.assign(call, request)
        return await self._run(assignment, call, request, arrival.request_id)

    async def _run(self, assignment: Assignment, call: Call, request: InferRequest, request_id: str) -> Answer:
        try:
            if perf_counter_ns() >= call.deadline_ns:  # nobody waits for it; a run on the loop would not ask
                raise NotBegun("the deadline was over before the request could run")
            response = await self._dataplane.infer(assignment, call, request)
            if sum(output.array.size for output in response.outputs) * 8 <= OFF_LOOP_BYTES:
                message = encode(response, request)
            else:
                message = await asyncio.to_thread(encode, response, request)
        except SerinError as error:
            assignment.fail(error)
            note(error, request_id)
            return Answer(error=error, headers=fields(served(assignment)))
        except asyncio.CancelledError:
            # gRPC cancels a call whose deadline has come just as one that its caller has given up.
            late = perf_counter_ns() >= call.deadline_ns
            assignment.close(Outcome.TIMEOUT if late else Outcome.CANCELLED)
            raise
        except Exception:
            assignment.close(Outcome.ERROR)
            log.exception("request failed", extra={"request_id": request_id, "model": call.model})
            return Answer(error=Internal("the gateway failed; its log has why"), headers=fields(served(assignment)))
        assignment.close(assignment.outcome)
        return Answer(message, None, fields(told(assignment)))


def arrival_of(context: Context) -> Arrival:
    """What a call brings, as it begins."""
    now = perf_counter_ns()
    headers = headers_of(context)
    remaining: float | None = context.time_remaining()
    ends = None if remaining is None else now + int(remaining * 1e9)
    return Arrival(headers, request_id_of(headers.get(b"x-request-id")), now, ends)


def streamed(answer: Answer, body: bytes, bounds: Bounds) -> Any:
    """An answer as a part of a stream; an error names the request that it is about, if that can be read."""
    if answer.error is None:
        parameters = answer.response.parameters
        parameters["triton_final_response"].bool_param = True  # each message has exactly one answer
        for name, value in answer.headers:
            parameters[name.decode()].string_param = value.decode()
        return ModelStreamInferResponse(infer_response=answer.response)
    failed = ModelStreamInferResponse(error_message=answer.error.message)
    try:
        asked = parse(body, bounds.limits)
    except SerinError:
        return failed
    failed.infer_response.id = asked.id
    failed.infer_response.model_name = asked.model_name
    return failed
