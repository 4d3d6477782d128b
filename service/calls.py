"""One request on its way: what the front end knows of it, and the version it has been given to."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from router.errors import InvalidArgument, Kind, ResourceExhausted, SerinError
from router.telemetry import How, Outcome, VariantSeries
from service.feedback import Stamp
from service.protocol.bodies import Body
from service.protocol.classification import classified
from service.protocol.codec import PassedOn
from service.protocol.json_codec import NonFinite
from service.protocol.messages import InferRequest, InferResponse, OutputTensor, Parameter, RequestedOutput
from service.protocol.tensors import Array
from service.runtime.accused import Accused
from service.runtime.company import has_free_rows
from service.runtime.executor import Executor
from service.runtime.gates import DEFAULT_PRIORITY
from service.runtime.loaded import Loaded
from service.runtime.remote import RemoteExecutor
from service.runtime.seats import Ran

OUTCOME_OF_KIND: Mapping[Kind, Outcome] = {
    Kind.INVALID_ARGUMENT: Outcome.CLIENT_ERROR,
    Kind.NOT_FOUND: Outcome.CLIENT_ERROR,
    Kind.UNIMPLEMENTED: Outcome.CLIENT_ERROR,
    Kind.RESOURCE_EXHAUSTED: Outcome.SHED,
    Kind.UNAVAILABLE: Outcome.SHED,
    Kind.DEADLINE_EXCEEDED: Outcome.TIMEOUT,
    Kind.CANCELLED: Outcome.CANCELLED,
}
"""How a request that failed after its assignment is booked; every other kind is an error of the version."""


NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})

Tap = Callable[[Mapping[str, Array], int, Callable[[], bytes | None]], None]
"""Takes the inputs of a request to be sampled: (inputs, bytes of the request, how to find its routing key)."""


class Call(Struct, frozen=True):
    """What the front end knows of a request beside its tensors. Times are `perf_counter_ns`. `body`: the whole of it,
    where another server could answer it as it is.

    A `Struct` like all that is made for each request: a frozen dataclass of this size costs a microsecond.
    """

    model: str
    version: str | None
    headers: Mapping[bytes, bytes]
    arrived_ns: int
    deadline_ns: int
    body_hash: int = 0
    body_bytes: int = 0
    priority: int = DEFAULT_PRIORITY
    body: Body | None = None


class Assignment(Struct):
    """One request that has been given to a version; closed exactly once, with what became of it.

    `reason`: why it is no longer with the version that it was first given to ("" while it is); that one's booking was
    closed by then, and this one counts elsewhere. `outcome`: what it is when nothing fails. `tap`: takes its inputs,
    once, for the version that it was first given to. `stamp`: signs its answer. `unit`: where it counts once more, as
    the first request of its caller. `leads`: it stands for its run; one of those that ran together does. `apart`: it
    waits and runs in the queue of its variant.
    """

    model: str
    variant: str
    version: int
    revision: int
    series: VariantSeries
    started_ns: int
    decode_ns: int
    queue_ns: int = 0
    compute_ns: int = 0
    result_ns: int = 0
    leads: bool = True
    cells: tuple[int, ...] = ()
    stamp: Stamp | None = None
    non_finite: NonFinite = "null"
    how: int = How.VERSION
    reason: str = ""
    outcome: Outcome = Outcome.OK
    guards: "Guarding | None" = None
    tap: Tap | None = None
    unit: VariantSeries | None = None
    apart: bool = False

    def close(self, outcome: Outcome) -> None:
        """Book the request. The total ends with the result (or the failure); encoding is a phase of its own."""
        now = perf_counter_ns()
        result = self.result_ns or now
        phases = (self.decode_ns, self.queue_ns, self.compute_ns, now - result)
        self.series.observe(outcome, result - self.started_ns, phases, self.cells, self.leads)
        if self.unit is not None:
            self.unit.observe(outcome, result - self.started_ns, phases, self.cells, self.leads)
        if self.guards is not None:
            self.guards.closed(self, outcome)

    def fail(self, error: SerinError) -> None:
        """Book a request that an error ended, also by why it was not run."""
        if error.reason is not None:
            self.series.shed(error.reason)
        self.close(OUTCOME_OF_KIND.get(error.kind, Outcome.ERROR))

    def become(self, other: "Assignment") -> None:
        """Go on as another one; whoever is to close it holds this one."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))


TIMEOUT_HEADERS: Mapping[bytes, float] = {b"serin-timeout": 1e9, b"x-envoy-expected-rq-timeout-ms": 1e6}
"""Headers with the time that a caller, or the proxy before us, will wait; and nanoseconds in their units."""


def time_allowed_ns(
    request_seconds: float, parameters: Mapping[str, Parameter], headers: Mapping[bytes, bytes] = NO_HEADERS
) -> int:
    """The server's limit, or what the caller says if that is less: in a header, or in the parameter `timeout`
    (microseconds, as Triton has it).

    Raises InvalidArgument for what is no time.
    """
    allowed = int(request_seconds * 1e9)
    for name, unit_ns in TIMEOUT_HEADERS.items():
        if name in headers:
            allowed = min(allowed, _header_ns(name, headers[name], unit_ns))
    wanted = parameters.get("timeout")
    if wanted is None:
        return allowed
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise InvalidArgument("the parameter `timeout` must be a whole number of microseconds")
    return min(allowed, wanted * 1000) if wanted else allowed


class Refused(ResourceExhausted):
    """A version has no room; the booking of the request is closed."""

    def __init__(self, assignment: Assignment, full: ResourceExhausted) -> None:
        super().__init__(full.message, retry_after_seconds=full.retry_after_seconds, reason=full.reason)
        self.assignment = assignment


def _header_ns(name: bytes, text: bytes, unit_ns: float) -> int:
    try:
        units = float(text) if len(text) <= 32 and b"_" not in text else -1.0
    except ValueError:
        units = -1.0
    if not 0 < units <= 1e9:
        raise InvalidArgument(f"the header {name.decode()} must be a time above 0, as in 0.25")
    return int(units * unit_ns)


def priority_of(parameters: Mapping[str, Parameter]) -> int:
    """The parameter `priority`: 1 comes first, 0 is the server's own. Raises InvalidArgument for what is no number."""
    wanted = parameters.get("priority", 0)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise InvalidArgument("the parameter `priority` must be a whole number from 0 on; 1 is the highest")
    return wanted or DEFAULT_PRIORITY


Run = Callable[[Assignment, Call, InferRequest], Awaitable[InferResponse]]


@dataclass(slots=True)
class Answered:
    """What a run took and gave. `outputs`: those in `names`, and those that are only counted.

    Nobody changes it; to have that enforced would cost each request a microsecond.
    """

    call: Call
    request: InferRequest
    loaded: Loaded
    feeds: Mapping[str, Array]
    outputs: Mapping[str, Array]
    names: Sequence[str]


class Guarding(Protocol):
    """What `service.guards.Guards` does with an assignment. Routes without any of it have None in its place.
    `falls_back`: `infer` is to run it, since another version may have to. `looks_at_answers`: now; if not, `passed_by`
    does in place of `answered`."""

    @property
    def falls_back(self) -> bool: ...
    @property
    def looks_at_answers(self) -> bool: ...
    def infer(
        self, run: Run, assignment: Assignment, call: Call, request: InferRequest
    ) -> Awaitable[InferResponse]: ...
    def answered(self, assignment: Assignment, found: Answered) -> None: ...
    def passed_by(self, assignment: Assignment, loaded: Loaded) -> None: ...
    def closed(self, assignment: Assignment, outcome: Outcome) -> None: ...


async def run(
    loaded: Loaded, assignment: Assignment, call: Call, work: tuple[Mapping[str, Array], Sequence[str]]
) -> dict[str, Array]:
    """Run inputs for the outputs asked for, and for those that are watched, so that every request is counted alike."""
    feeds, names = work
    executor = loaded.executor
    wanted = names
    if names is not loaded.output_names:
        wanted = [*names, *(name for name in loaded.watched_names if name not in names)]
    deadline_ns = call.deadline_ns
    if (own := loaded.manifest.execution.timeout_seconds) is not None:
        deadline_ns = min(deadline_ns, call.arrived_ns + int(own * 1e9))
    if executor.accused is not None and call.body_hash in executor.accused:
        ran = await _tried(executor, executor.accused, call, (feeds, wanted, deadline_ns))
    elif loaded.batcher is not None:
        ran = await loaded.batcher.run(feeds, wanted, deadline_ns, call.body_hash, call.priority)
    else:
        ran = await executor.run_anyhow(feeds, wanted, deadline_ns, call.body_hash, call.priority)
    arrays, queued, computed, assignment.leads = ran
    assignment.queue_ns, assignment.compute_ns = queued, computed
    assignment.result_ns = perf_counter_ns()
    return dict(zip(wanted, arrays, strict=True))


async def _tried(
    executor: Executor, accused: Accused, call: Call, work: tuple[Mapping[str, Array], Sequence[str], int]
) -> Ran:
    accused.require_innocence(call.body_hash)
    ran = await executor.run_alone(*work, call.body_hash, call.priority)
    accused.clear(call.body_hash)
    return ran


def passes(loaded: Loaded, assignment: Assignment, call: Call, request: InferRequest) -> bool:
    """Whether the request may go to where the version is, and the answer back, and neither be looked into: nobody here
    counts, samples, copies or compares what is in them, and the other side knows the layout."""
    return (
        loaded.passes
        and (loaded.passes_binary or not request.is_binary)
        and call.body is not None
        and assignment.guards is None
        and assignment.tap is None
        and not any(output.classification for output in request.outputs or ())
    )


async def pass_on(loaded: Loaded, assignment: Assignment, call: Call) -> PassedOn:
    """Hand the request on as it came."""
    executor = loaded.executor
    assert isinstance(executor, RemoteExecutor)
    encoded, queued, called = await executor.pass_on(
        bytes(call.body or b""), call.headers, call.deadline_ns, call.priority
    )
    assignment.queue_ns, assignment.compute_ns, assignment.result_ns = queued, called, perf_counter_ns()
    return PassedOn(assignment.model, str(assignment.version), (), encoded=encoded)


def classes(tensors: Sequence[OutputTensor], wanted: Sequence[RequestedOutput], loaded: Loaded) -> list[OutputTensor]:
    """The outputs with classes in the place of those that are wanted so; `wanted` are their names in order."""
    found = []
    for tensor, output in zip(tensors, wanted, strict=True):
        if output.classification:
            labels = loaded.manifest.class_labels(tensor.name)
            array = classified(tensor.array, output.classification, has_free_rows(loaded.signature), labels)
            tensor = OutputTensor(tensor.name, "BYTES", array)
        found.append(tensor)
    return found
