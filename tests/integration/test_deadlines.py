"""What a caller's time, and his leaving, do to a run: over the fast lane, its plain twin, other protocols and gRPC.

Every version of digits takes half a second here, one run at a time; runs are counted as they begin.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from service.grpc.port import port_of
from service.http.lane import lane_of
from service.listening import Port, PortOptions
from service.pb.messages import MESSAGES, SERVICE
from service.runtime.executor import Runnable
from service.runtime.seats import Feeds, Names
from service.runtime.watchdog import Switch
from service.settings import Settings
from service.together import gateway

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = PortOptions(keep_alive_seconds=5, max_header_bytes=8192, access_log=False)
PIXELS = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
V1 = {"instances": [[0] * 64]}


@dataclass
class Counted:
    """Stands before a session and counts. No run ends while `going` is not set."""

    model: Runnable
    begun: int = 0
    going: threading.Event = field(default_factory=threading.Event)

    def run(self, feeds: Feeds, names: Names = None, stop: Switch | None = None) -> list:  # type: ignore[type-arg]
        self.begun += 1
        self.going.wait(20)
        return self.model.run(feeds, names, stop)

    def switch(self) -> Switch:
        return self.model.switch()


@dataclass
class World:
    lane: int
    plain: int
    grpc: str
    counted: Counted
    executor: object
    queued: Callable[[], int] = field(default=lambda: 0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = Settings(models=ROOT / "models", state=tmp_path, faults="digits:* slow=0.5", max_concurrency=1)
    async with gateway(settings) as serin:
        worker = serin.worker
        executor = worker.engine.acquire("digits", 1).executor
        executor.runnable = counted = Counted(executor.runnable)
        counted.going.set()
        bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [Port(worker.app, OPTIONS, lane_of(worker.v2)), Port(worker.app, OPTIONS)]
        for port, one in zip(ports, bound, strict=False):
            await port.start()
            await port.listen(one.fileno())
        at = f"127.0.0.1:{bound[2].getsockname()[1]}"
        bound[2].close()
        calls = port_of(worker.front, None)
        await calls.listen(at)
        numbers = [one.getsockname()[1] for one in bound[:2]]
        yield World(*numbers, at, counted, executor, lambda: executor.room.queued)
        await calls.close(1.0)
        for port, one in zip(ports, bound, strict=False):
            await port.close(2.0)
            one.close()


def request(*headers: str, path: str = "/v2/models/digits/infer", **more: object) -> bytes:
    body = json.dumps(V1 if path.startswith("/v1") else {"inputs": [PIXELS], **more}).encode()
    head = [f"POST {path} HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def status(port: int, raw: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    try:
        async with asyncio.timeout(20):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


IN_TIME = {
    "header": ("lane", request("Serin-Timeout: 0.1")),
    "header of a proxy": ("plain", request("X-Envoy-Expected-Rq-Timeout-Ms: 100")),
    "parameter": ("lane", request(parameters={"timeout": 100_000})),
    "parameter, plain": ("plain", request(parameters={"timeout": 100_000})),
    "header, V1": ("lane", request("Serin-Timeout: 0.1", path="/v1/models/digits:predict")),
}


@pytest.mark.parametrize("way", IN_TIME)
async def test_who_waits_longer_than_he_will_is_answered_504_and_never_run(world: World, way: str) -> None:
    world.counted.going.clear()
    first = asyncio.create_task(status(world.lane, request()))
    await until(lambda: world.counted.begun == 1)
    which, raw = IN_TIME[way]
    found = await asyncio.gather(*(status(getattr(world, which), raw) for _ in range(3)))
    assert found == [504] * 3
    world.counted.going.set()
    assert await first == 200
    assert world.counted.begun == 1
    assert await status(world.lane, request()) == 200
    assert world.counted.begun == 2


async def counted(world: World, reason: str) -> float:
    """How many requests of digits were not run for this reason, by `/metrics`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.plain)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        page = (await reader.read()).decode()
    writer.close()
    name = f'serin_shed_requests_total{{model="digits",reason="{reason}",'
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))


@pytest.mark.parametrize("which", ["lane", "plain"])
async def test_what_is_not_run_is_counted_by_why(world: World, which: str) -> None:
    world.executor.room.most = 1
    world.counted.going.clear()
    first = asyncio.create_task(status(world.lane, request()))
    await until(lambda: world.counted.begun == 1)
    late = asyncio.create_task(status(getattr(world, which), request("Serin-Timeout: 0.2")))
    await until(lambda: world.queued() == 1)
    assert await status(getattr(world, which), request()) == 429
    assert await late == 504
    world.counted.going.set()
    assert await first == 200
    assert [await counted(world, reason) for reason in ("queue_full", "late", "long_wait")] == [1, 1, 0]


@pytest.mark.parametrize("which", ["lane", "plain", "v1"])
async def test_who_leaves_while_he_waits_is_never_run(world: World, which: str) -> None:
    port = world.plain if which == "plain" else world.lane
    path = "/v1/models/digits:predict" if which == "v1" else "/v2/models/digits/infer"
    world.counted.going.clear()
    first = asyncio.create_task(status(world.lane, request()))
    await until(lambda: world.counted.begun == 1)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(path=path))
    await until(lambda: world.queued() == 1)
    writer.close()
    await until(lambda: world.queued() == 0)
    world.counted.going.set()
    assert await first == 200
    assert await status(world.lane, request()) == 200
    assert world.counted.begun == 2


async def test_over_grpc_too(world: World) -> None:
    message = MESSAGES["ModelInferRequest"](model_name="digits")
    tensor = message.inputs.add(name="pixels", datatype="FP32", shape=[1, 64])
    tensor.contents.fp32_contents.extend([0.0] * 64)
    world.counted.going.clear()
    first = asyncio.create_task(status(world.lane, request()))
    await until(lambda: world.counted.begun == 1)
    async with grpc.aio.insecure_channel(world.grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await infer(message.SerializeToString(), timeout=0.1)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        message.parameters["timeout"].int64_param = 100_000
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await infer(message.SerializeToString(), timeout=10)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        del message.parameters["timeout"]
        call = infer(message.SerializeToString(), timeout=10)
        await until(lambda: world.queued() == 1)
        call.cancel()
        await until(lambda: world.queued() == 0)
    world.counted.going.set()
    assert await first == 200
    assert await status(world.lane, request()) == 200
    assert world.counted.begun == 2


async def test_live_and_other_models_are_answered_while_every_thread_is_busy(world: World) -> None:
    busy = [asyncio.create_task(status(world.lane, request())) for _ in range(6)]
    await until(lambda: world.queued() == 5)
    assert await status(world.lane, b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n") == 200
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 10], "data": [0] * 10}
    body = json.dumps({"inputs": [tensor]}).encode()
    quick = b"POST /v2/models/diabetes/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert await status(world.lane, quick) == 200
    assert not any(one.done() for one in busy[1:]), "the other model was not waited for"
    assert await asyncio.gather(*busy) == [200] * 6


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "1e400", "1" * 40])
async def test_what_is_no_time_is_refused(world: World, text: str) -> None:
    assert await status(world.lane, request(f"Serin-Timeout: {text}")) == 400
    assert world.counted.begun == 0


@pytest.mark.parametrize("which", ["lane", "plain"])
async def test_a_body_that_would_be_refused_anyway_is_not_looked_into(world: World, which: str) -> None:
    room = world.executor.room  # type: ignore[attr-defined]
    room.most, room.queued = 5, 5
    nonsense = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{"
    assert await status(getattr(world, which), nonsense) == 429
    room.queued = 0
    assert await status(getattr(world, which), nonsense) == 400
