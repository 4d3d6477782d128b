"""Versions elsewhere behind a fake upstream: what an answer means, and who waits how long for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from router.errors import DeadlineExceeded, FailedPrecondition, Kind, ResourceExhausted, Unavailable
from router.routes import Wanted
from router.targets import Target, parse_target
from router.upstreams import Answer, Signature, Upstream, digest_of
from service.protocol.codec import decode, encode
from service.protocol.messages import InferResponse, OutputTensor
from service.runtime.executor import Limits
from service.runtime.health import Health
from service.runtime.pool import NoMarks, Pool
from service.runtime.remote import RemoteExecutor, RemoteLoader, RemoteSession, failure

OTHER = parse_target("other#m/1")
SAID: Signature = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
WANTED = Wanted(digest_of(OTHER, SAID), "s")
ROW = np.array([[1, 2]], np.float32)
SECOND = 1_000_000_000


@dataclass
class Fake:
    """An upstream that doubles what it gets, or answers what it is told, when it may."""

    said: Signature = field(default_factory=lambda: SAID)
    answer: Answer | None = None
    away: str = ""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[bytes, Mapping[str, str]]] = field(default_factory=list)
    gave_up: int = 0

    def named(self, target: Target) -> Upstream:
        return Upstream("other", "http://other", timeout_seconds=10.0, max_connections=2)

    async def signature(self, target: Target) -> Signature:
        return self.said

    async def takes_binary(self, target: Target) -> bool:
        return True

    async def trouble(self, target: Target) -> str:
        return self.away

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str], max_bytes: int) -> Answer:
        self.asked.append((body, headers))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.gave_up += 1
            raise
        if self.answer is not None:
            return self.answer
        length = headers.get("inference-header-content-length")
        request = decode(body, None if length is None else int(length))
        output = OutputTensor("y", "FP32", np.frombuffer(request.inputs["x"].data, np.float32).reshape(1, 2) * 2)  # type: ignore[call-overload]
        encoded = encode(InferResponse("m", "1", [output]), request)
        return Answer(200, {"inference-header-content-length": str(encoded.header_length)}, encoded.body)


@pytest.fixture
async def fake() -> Fake:
    found = Fake()
    found.go.set()
    return found


def loader(fake: Fake, models: Path) -> RemoteLoader:
    return RemoteLoader(fake, models, Limits(max_queue=1), 1 << 20)  # type: ignore[arg-type]


@pytest.fixture
async def executor(fake: Fake, tmp_path: Path) -> AsyncIterator[RemoteExecutor]:
    parts = await loader(fake, tmp_path).load("m", OTHER, WANTED)
    pool = Pool(2, NoMarks())
    made = parts.executor(parts.runnable, pool, parts.limits or Limits(), parts.profile)
    assert isinstance(made, RemoteExecutor)
    yield made
    pool.close()


def soon(seconds: float = 20.0) -> int:
    return perf_counter_ns() + int(seconds * SECOND)


async def test_a_call_gives_what_a_run_would_and_hands_the_time_on(fake: Fake, executor: RemoteExecutor) -> None:
    outputs, _, took, alone = await executor.run_anyhow({"x": ROW}, None, soon(5))
    assert outputs[0].tolist() == [[2.0, 4.0]]
    assert (alone, took > 0, executor.in_flight) == (True, True, 0)
    [(body, headers)] = fake.asked
    request = decode(body, int(headers["inference-header-content-length"]))
    assert 0 < int(request.parameters["timeout"]) <= 5_000_000


async def test_text_is_read_as_a_session_here_answers_it(fake: Fake, tmp_path: Path) -> None:
    fake.said = {**SAID, "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1]}]}
    fake.answer = Answer(200, {}, b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[2],"data":["\xc3\xa9","b"]}]}')
    parts = await loader(fake, tmp_path).load("m", OTHER, Wanted(digest_of(OTHER, fake.said), "s"))
    assert isinstance(parts.session, RemoteSession)
    (found,) = await parts.session.call({"x": ROW}, None, soon())
    assert found.tolist() == ["é", "b"]


async def test_a_whole_body_goes_there_as_it_is_with_few_of_its_headers(fake: Fake, executor: RemoteExecutor) -> None:
    fake.answer = Answer(200, {}, b"what it said")
    headers = {b"x-request-id": b"7", b"authorization": b"secret", b"host": b"here", b"cookie": b"a=b"}
    encoded, _, _ = await executor.pass_on(b"{}", headers, soon(), 10)
    assert (encoded.body, encoded.header_length) == (b"what it said", None)
    assert fake.asked == [(b"{}", {"content-type": "application/json", "x-request-id": "7"})]


async def test_a_shadow_thread_gets_the_same_answer(fake: Fake, executor: RemoteExecutor) -> None:
    outputs = await asyncio.to_thread(executor.runnable.run, {"x": ROW}, ["y"], executor.runnable.switch())
    assert outputs[0].tolist() == [[2.0, 4.0]]


async def test_who_runs_out_of_time_is_told_and_the_call_is_ended(fake: Fake, executor: RemoteExecutor) -> None:
    fake.go.clear()
    with pytest.raises(DeadlineExceeded, match="other#m/1 did not answer before the deadline"):
        await executor.run({"x": ROW}, None, soon(0.05))
    await asyncio.sleep(0)
    assert (fake.gave_up, executor.in_flight) == (1, 0)


async def test_calls_beyond_the_connections_wait_and_those_beyond_the_queue_are_refused(
    fake: Fake, executor: RemoteExecutor
) -> None:
    fake.go.clear()
    calls = [asyncio.create_task(executor.run({"x": ROW}, None, soon())) for _ in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert (executor.in_flight, executor.room.queued) == (2, 1)
    with pytest.raises(ResourceExhausted):
        await executor.run({"x": ROW}, None, soon())
    fake.go.set()
    assert len(await asyncio.gather(*calls)) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID_ARGUMENT),
        (422, Kind.INVALID_ARGUMENT),
        (302, Kind.INTERNAL),
        (401, Kind.INTERNAL),
        (404, Kind.INTERNAL),
        (429, Kind.RESOURCE_EXHAUSTED),
        (500, Kind.INTERNAL),
        (503, Kind.UNAVAILABLE),
        (504, Kind.DEADLINE_EXCEEDED),
    ],
)
def test_a_fault_of_the_callers_is_theirs_and_all_else_is_the_versions(status: int, kind: Kind) -> None:
    error = failure(OTHER, Answer(status, {}, b'{"error": "it said so"}'))
    assert error.kind is kind
    assert "it said so" in error.message


async def test_what_is_not_as_it_was_examined_is_not_loaded(fake: Fake, tmp_path: Path) -> None:
    fake.said = {**SAID, "outputs": [{"name": "z", "datatype": "FP32", "shape": [1]}]}
    with pytest.raises(FailedPrecondition, match="other inputs or outputs"):
        await loader(fake, tmp_path).load("m", OTHER, WANTED)


async def test_what_is_not_ready_there_is_not_loaded(fake: Fake, tmp_path: Path) -> None:
    fake.away = "not ready there"
    with pytest.raises(Unavailable, match="not ready there"):
        await loader(fake, tmp_path).load("m", OTHER, WANTED)


async def test_what_model_toml_says_of_the_outputs_is_counted(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.toml").write_text('[outputs.y]\nkind = "probabilities"\n')
    parts = await loader(fake, tmp_path).load("m", OTHER, WANTED)
    assert {family.output for family in parts.watch.families} == {"y"}


async def test_two_looks_in_a_row_must_fail_and_one_brings_it_back(fake: Fake) -> None:
    told: list[tuple[Any, str]] = []
    key = ("m", OTHER.number)
    holder = SimpleNamespace(remotes=lambda: {key: OTHER}, note_remote=lambda *note: told.append(note))
    health = Health(holder, fake)  # type: ignore[arg-type]
    for fake.away in ("", "gone", "", "gone", "gone", ""):
        await health.look()
    assert told == [(key, ""), (key, ""), (key, "gone"), (key, "")]
