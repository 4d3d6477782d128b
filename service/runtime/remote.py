"""A version that is served elsewhere, in the place of a session: the same calls, over the V2 protocol and HTTP."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, TypeVar

from router.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotBegun,
    ResourceExhausted,
    SerinError,
    ShedReason,
    Unavailable,
)
from router.routes import Wanted
from router.targets import Target
from router.upstreams import Answer, Upstreams, digest_of, error_text
from service.protocol.codec import Encoded
from service.protocol.remote_codec import read_answer, write_request
from service.protocol.tensors import DATATYPES, Array, Signature, TensorSpec
from service.runtime import octets, repository
from service.runtime.executor import Executor, Limits, Names
from service.runtime.gates import DEFAULT_PRIORITY
from service.runtime.jobs import seconds_until
from service.runtime.loading import Parts
from service.runtime.manifest import parse_manifest
from service.runtime.profile import Profile
from service.runtime.repository import MANIFEST_FILE, Refused
from service.runtime.seats import Feeds, Ran
from service.runtime.watchdog import Switch
from service.watch import compile_watch

HEADER: Final = "inference-header-content-length"
CALLERS_FAULT: Final = (400, 413, 415, 422)
PASSED_ON: Final = (b"content-type", HEADER.encode(), b"x-request-id", b"traceparent", b"tracestate")

T = TypeVar("T")


class CallSwitch:
    """Ends one call from another thread."""

    def __init__(self) -> None:
        self.call: concurrent.futures.Future[Any] | None = None

    def stop(self) -> None:
        """Nobody waits for it any more."""
        if self.call is not None:
            self.call.cancel()


class RemoteSession:
    """Made on the event loop whose connections it uses. `binary`: the other side knows the binary extension."""

    metadata: Mapping[str, str] = {}

    def __init__(
        self, target: Target, upstreams: Upstreams, signature: Signature, binary: bool, max_bytes: int
    ) -> None:
        self.target = target
        self.signature = signature
        self._upstreams = upstreams
        self._binary = binary
        self._max_bytes = max_bytes
        self._names = [spec.name for spec in signature.outputs]
        self._loop = asyncio.get_running_loop()

    @property
    def timeout_seconds(self) -> float:
        """The longest that one request may take there."""
        return self._upstreams.named(self.target).timeout_seconds

    async def call(self, feeds: Feeds, names: Names, deadline_ns: int) -> list[Array]:
        """The outputs in the order of `names`. Raises InvalidArgument where the other side says that the tensors are at
        fault, Unavailable, DeadlineExceeded and ResourceExhausted as they come, Internal for everything else."""
        wanted = list(names or self._names)
        left = max(1, (deadline_ns - perf_counter_ns()) // 1000)
        request = write_request(feeds, self.signature, wanted, left, self._binary)
        headers = {"content-type": "application/json"}
        if request.header_length is not None:
            headers = {"content-type": "application/octet-stream", HEADER: str(request.header_length)}
        answer = await self._post(request.body, headers)
        arrays = read_answer(answer.body, _header_length(answer), self.signature)
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise Internal(f"{self.target} answered without output {missing[0]!r}")
        return [
            octets.as_read(found) if found.dtype.kind == "O" else found for found in map(arrays.__getitem__, wanted)
        ]

    async def pass_on(self, body: bytes, headers: Mapping[bytes, bytes]) -> Encoded:
        """The answer to a whole request as it came; neither is looked into. Raises as `call`."""
        given = {name.decode(): headers[name].decode("latin-1") for name in PASSED_ON if name in headers}
        answer = await self._post(body, {"content-type": "application/json", **given})
        return Encoded(answer.body, _header_length(answer))

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list[Array]:
        """Like `Session.run`, for a thread beside the loop."""
        deadline = perf_counter_ns() + int(self.timeout_seconds * 1e9)
        call = asyncio.run_coroutine_threadsafe(self.call(feeds, names, deadline), self._loop)
        if isinstance(stop, CallSwitch):
            stop.call = call
        try:
            return call.result(self.timeout_seconds)
        except concurrent.futures.CancelledError as error:
            raise Cancelled("nobody waited for the answer any more") from error
        except concurrent.futures.TimeoutError as error:
            call.cancel()
            raise DeadlineExceeded(f"{self.target} did not answer in time") from error

    def switch(self) -> Switch:
        """What ends one `run`."""
        return CallSwitch()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        answer = await self._upstreams.post(self.target, body, headers, self._max_bytes)
        if answer.status != 200:
            raise failure(self.target, answer)
        return answer


class RemoteExecutor(Executor):
    """Calls in place of runs: so many at a time as there are connections, and none takes a thread."""

    def __init__(self, model: Any, pool: Any, limits: Limits, profile: Profile, token: int = 0) -> None:
        super().__init__(model, pool, limits, profile, token)
        self.session: RemoteSession = model

    async def run(
        self, feeds: Feeds, names: Names, deadline_ns: int, body_hash: int = 0, priority: int = DEFAULT_PRIORITY
    ) -> Ran:
        """As of any executor."""
        work = self.session.call(feeds, names, self._own(deadline_ns))
        outputs, waited, took = await self._in_turn(work, self._own(deadline_ns), priority)
        self.on_run(feeds, took, perf_counter_ns() - took)
        return outputs, waited, took, True

    async def pass_on(
        self, body: bytes, headers: Mapping[bytes, bytes], deadline_ns: int, priority: int
    ) -> tuple[Encoded, int, int]:
        """The answer to a request that is not looked into, nanoseconds waited, and nanoseconds that the call took."""
        return await self._in_turn(self.session.pass_on(body, headers), self._own(deadline_ns), priority)

    def _own(self, deadline_ns: int) -> int:
        return min(deadline_ns, perf_counter_ns() + int(self.session.timeout_seconds * 1e9))

    async def _in_turn(self, work: Coroutine[Any, Any, T], deadline_ns: int, priority: int) -> tuple[T, int, int]:
        arrived = perf_counter_ns()
        try:
            if deadline_ns <= arrived:
                raise NotBegun("the deadline was over before the request could be sent")
            turn = await self.take_turn(deadline_ns, priority)
        except BaseException:
            work.close()
            raise
        begun = perf_counter_ns()
        self.in_flight += 1
        # A task of its own: the fast lane's requests are in none, and the HTTP client wants one.
        task = asyncio.get_running_loop().create_task(work)
        try:
            await asyncio.wait((task,), timeout=seconds_until(deadline_ns))
        finally:
            self.in_flight -= 1
            turn.give_back()
            task.cancel()  # nothing happens when it is done
        if not task.done():
            raise DeadlineExceeded(f"{self.session.target} did not answer before the deadline")
        outcome = task.result()
        took = perf_counter_ns() - begun
        self.took(took)
        return outcome, begun - arrived, took

    def _gates(self) -> Any:
        return (self._gate,)


@dataclass(frozen=True, slots=True)
class RemoteLoader:
    """Makes parts of a version elsewhere. `models_dir` may hold a `model.toml` for it. `limits`: all but how many calls
    there are at a time, which its upstream says."""

    upstreams: Upstreams
    models_dir: Path
    limits: Limits
    max_bytes: int

    async def load(self, model: str, target: Target, wanted: Wanted) -> Parts:
        """Raises SerinError with a reason fit to be shown."""
        upstream, said = self.upstreams.named(target), await self.upstreams.signature(target)
        if digest_of(target, said) != wanted.digest:
            raise FailedPrecondition(f"{target} has other inputs or outputs than a moment ago")
        if away := await self.upstreams.trouble(target):
            raise Unavailable(away)
        signature = Signature(*(tuple(_spec(target, one) for one in said[part]) for part in ("inputs", "outputs")))
        binary = await self.upstreams.takes_binary(target)
        session = RemoteSession(target, self.upstreams, signature, binary, self.max_bytes)
        try:
            manifest = parse_manifest(repository.read_beside(self.models_dir, model, MANIFEST_FILE))
        except Refused as refused:
            raise FailedPrecondition(str(refused)) from refused
        watch = compile_watch(manifest.meanings(), signature)
        limits = replace(self.limits, max_concurrency=upstream.max_connections, overlap=False)
        return Parts(session, session, manifest, watch, Profile(), limits, RemoteExecutor, target.model, binary)


def failure(target: Target, answer: Answer) -> SerinError:
    """What an answer other than 200 means: a fault of the caller's is passed on, all else is the version's."""
    said = error_text(answer.body)
    text = f"{target} answered {answer.status}" + (f": {said}" if said else "")
    if answer.status in CALLERS_FAULT:
        return InvalidArgument(said or text)
    if answer.status == 429:
        return ResourceExhausted(text, retry_after_seconds=1, reason=ShedReason.UPSTREAM)
    if answer.status in (502, 503):
        return Unavailable(text, retry_after_seconds=1, reason=ShedReason.UPSTREAM)
    return DeadlineExceeded(text) if answer.status in (408, 504) else Internal(text)


def _header_length(answer: Answer) -> int | None:
    text = answer.headers.get(HEADER)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > len(answer.body):
        raise Internal("the upstream's answer has a wrong Inference-Header-Content-Length")
    return int(text)


def _spec(target: Target, said: Mapping[str, Any]) -> TensorSpec:
    if said["datatype"] not in DATATYPES:
        raise FailedPrecondition(f"{target}: {said['name']!r} is of {said['datatype']!r}, which V2 does not know")
    return TensorSpec(said["name"], said["datatype"], tuple(-1 if size < 0 else size for size in said["shape"]))
