"""The gRPC port of a whole gateway: shared by its workers, said goodbye to at the end, and absent when it is off."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.e2e.conftest import Running, clean_environment, eventually
from tests.e2e.test_shadow_fallback import begin, metric, sum_of_copies

Start = Callable[..., Any]
SLOW_SECONDS = 3.0


@contextmanager
def channel(running: Running) -> Iterator[grpc.Channel]:
    """A connection of its own; gRPC would share one among the channels of a process."""
    with grpc.insecure_channel(running.seen["grpc"], [("grpc.use_local_subchannel_pool", 1)]) as found:
        yield found


def request(version: str = "1") -> Any:
    made = pb.ModelInferRequest(model_name="digits", model_version=version)
    made.inputs.add(name="pixels", datatype="FP32", shape=[1, 64])
    made.raw_input_contents.append(np.zeros((1, 64), np.float32).tobytes())
    return made


def ask(running: Running, version: str = "1") -> str:
    """The version that answered on a new connection."""
    with channel(running) as found:
        return str(GRPCInferenceServiceStub(found).ModelInfer(request(version), timeout=20).model_version)


def answered(stub: Any) -> str | None:
    """The version that answered; None when the connection broke under the call."""
    try:
        return str(stub.ModelInfer(request(), wait_for_ready=True, timeout=30).model_version)
    except grpc.RpcError:
        return None


def listeners(running: Running) -> set[int]:
    """The workers that listen on the gRPC port, by the inodes of their sockets."""
    port = f":{int(running.seen['grpc'].rpartition(':')[2]):04X}"
    # gRPC's sockets are of IPv6, mapped where the address is of IPv4.
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(port) and line[3] == "0A"}

    def holds(pid: int) -> bool:
        files = Path(f"/proc/{pid}/fd")
        return any(os.readlink(file) in inodes for file in files.iterdir())

    return {pid for pid in running.workers() if holds(pid)}


def test_every_worker_listens_on_the_one_port_and_a_dead_one_is_replaced(start: Start) -> None:
    with start("--workers", "2", models=("digits/1",)) as running:
        assert listeners(running) == set(running.workers())
        victim = running.workers()[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in running.workers() and len(listeners(running)) == 2, seconds=60)
        assert {ask(running) for _ in range(20)} == {"1"}
        assert running.stop() == 0


def test_a_drain_says_not_serving_then_goodbye_and_finishes_what_is_in_flight(start: Start) -> None:
    flags = ("--drain-delay-seconds", "1.5", "--workers", "1", "--max-concurrency", "8")
    with (
        start(*flags, faults=f"digits:2 slow={SLOW_SECONDS}", models=("digits/1", "digits/2")) as running,
        channel(running) as slow,
        channel(running) as idle,
    ):
        health = health_pb2_grpc.HealthStub(idle)
        statuses = health.Watch(health_pb2.HealthCheckRequest())
        assert next(statuses).status == health_pb2.HealthCheckResponse.SERVING
        hold = threading.Event()
        waiting = GRPCInferenceServiceStub(idle).ModelStreamInfer(iter(lambda: hold.wait() and None, None))
        late = [GRPCInferenceServiceStub(slow).ModelInfer.future(request("2"), timeout=30) for _ in range(4)]
        time.sleep(0.7)
        running.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert next(statuses).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert ask(running) == "1", "before the delay is over it still serves"
        assert [call.result(30).model_version for call in late] == ["2"] * 4
        assert list(waiting) == [], "an idle stream ends without an error"
        assert list(statuses) == []
        hold.set()
        assert running.process.wait(20) == 0
        assert time.monotonic() - begun < 1.5 + SLOW_SECONDS + 5, "idle calls do not use up the drain's limit"


class Busy:
    """Calls one after another on each of many connections of its own, until the block ends; `seen` counts statuses."""

    def __init__(self, target: str, connections: int) -> None:
        self.seen: Counter[str] = Counter()
        self._target, self._connections = target, connections
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Busy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60)

    async def _run(self) -> None:
        await asyncio.gather(*(self._work() for _ in range(self._connections)))

    async def _work(self) -> None:
        async with grpc.aio.insecure_channel(self._target, [("grpc.use_local_subchannel_pool", 1)]) as found:
            infer = GRPCInferenceServiceStub(found).ModelInfer
            while not self._stopped.is_set():
                try:
                    await infer(request(), timeout=30)
                except grpc.RpcError as error:
                    self.seen[error.code().name] += 1
                    await asyncio.sleep(0.05)
                else:
                    self.seen["OK"] += 1


def test_who_calls_in_the_moment_of_the_end_is_answered_or_told_unavailable(start: Start) -> None:
    flags = ("--workers", "1", "--max-concurrency", "8")
    with start(*flags, faults="digits:2 slow=3", models=("digits/1", "digits/2")) as running:
        with channel(running) as shared, Busy(running.seen["grpc"], connections=32) as busy:
            stub = GRPCInferenceServiceStub(shared)
            eventually(lambda: busy.seen["OK"] > 500)
            late = [stub.ModelInfer.future(request("2"), timeout=30) for _ in range(4)]
            eventually(lambda: metric(running, "serin_requests_in_flight", version="2") == 4)
            running.process.send_signal(signal.SIGTERM)
            codes = set()
            while running.process.poll() is None:  # on the connection of the slow ones too
                try:
                    stub.ModelInfer(request(), timeout=30)
                except grpc.RpcError as error:
                    codes.add(error.code().name)
            assert [call.result(30).model_version for call in late] == ["2"] * 4
        assert running.process.wait(20) == 0
        assert codes == {"UNAVAILABLE"}
        assert set(busy.seen) == {"OK", "UNAVAILABLE"}, busy.seen
        assert [line for line in running.log().splitlines() if not line.startswith("{")] == []


def test_an_idle_connection_hears_goaway_before_it_is_closed(start: Start) -> None:
    with start("--workers", "1", models=("digits/1",)) as running:
        host, _, port = running.seen["grpc"].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as idle:
            idle.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            said = idle.recv(65536)
            running.process.send_signal(signal.SIGTERM)
            while more := idle.recv(65536):
                said += more
        assert running.process.wait(20) == 0
    assert said.endswith(b"\0\0\x08\x07\0" + bytes(12)), said


def test_after_the_goodbye_new_connections_are_refused(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        assert ask(running) == "1"
        assert running.stop() == 0
        with pytest.raises(grpc.RpcError) as error:
            ask(running)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_reconnects_to_another_worker_by_itself(start: Start) -> None:
    with start("--workers", "2", models=("digits/1",)) as running, channel(running) as found:
        stub = GRPCInferenceServiceStub(found)
        for victim in running.workers():
            assert stub.ModelInfer(request(), wait_for_ready=True, timeout=30).model_version == "1"
            os.kill(victim, signal.SIGKILL)
            assert eventually(lambda: answered(stub), seconds=60) == "1"
            eventually(lambda victim=victim: victim not in running.workers() and len(listeners(running)) == 2)


def test_protobuf_in_python_says_the_same_as_protobuf_in_c(start: Start) -> None:
    with start("--workers", "1", models=("digits/1",), PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python") as running:
        assert ask(running) == "1"
        with channel(running) as found:
            told = GRPCInferenceServiceStub(found).ModelMetadata(pb.ModelMetadataRequest(name="digits"), timeout=20)
        assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in told.inputs] == [
            ("pixels", "FP32", [-1, 64])
        ]


def test_where_grpc_is_off_nothing_of_it_is_loaded(start: Start) -> None:
    with start("--grpc", "off", "--workers", "1", models=("digits/1",)) as running:
        assert running.seen["grpc"] == ""
        (worker,) = running.workers()
        assert "cygrpc" not in Path(f"/proc/{worker}/maps").read_text()
        assert running.stop() == 0


def test_a_taken_grpc_port_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = ("serve", "--http-port", "0", "--admin-port", "0", "--grpc-port", str(port))
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *words],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == (
        f"serin: --grpc-port: port {port} on 127.0.0.1 is taken by another program; choose another or stop it\n"
    )


def test_an_ipv6_host_is_served_too(start: Start) -> None:
    with start("--host", "::1", "--workers", "1", models=("digits/1",)) as running:
        assert running.seen["grpc"].startswith("[::1]:")
        assert ask(running) == "1"


def test_callers_of_a_candidate_that_fails_see_no_error_and_are_told_why(start: Start) -> None:
    with start(faults="digits:2 fail=1", models=("digits/1", "digits/2")) as running:
        begin(running, {"weight": 10, "pause": "1h"})
        asked = request("")
        fell_back = 0
        with channel(running) as found:
            infer = GRPCInferenceServiceStub(found).ModelInfer
            for number in range(300):
                answer, call = infer.with_call(asked, metadata=(("serin-routing-key", f"user-{number}"),), timeout=30)
                told = dict(call.trailing_metadata())
                assert answer.model_version == told["serin-version"] == "1"
                fell_back += told.get("serin-fallback") == "error" or "serin-diverted" in told
        assert 5 < fell_back < 80
        assert metric(running, "serin_served_instead_total", version="1", outcome="ok") == fell_back


def test_calls_are_mirrored_as_requests_over_http_are(start: Start) -> None:
    with start(models=("digits/1", "digits/2")) as running:
        begin(running, {"shadow": 100, "requests": 100_000})
        with channel(running) as found:
            for _ in range(50):
                GRPCInferenceServiceStub(found).ModelInfer(request(""), timeout=30)
        eventually(lambda: sum_of_copies(running) == 50)
        assert metric(running, "serin_mirror_requests_total", version="2", outcome="ok") > 0


def test_feedback_takes_the_token_of_a_call(start: Start) -> None:
    with start(models=("digits/1",)) as running, channel(running) as found:
        _, call = GRPCInferenceServiceStub(found).ModelInfer.with_call(request(""), timeout=30)
        token = dict(call.trailing_metadata())["serin-assignment"]
        answer = httpx.post(
            f"{running.http}/v2/models/digits/feedback", json={"assignment": token, "reward": 1}, timeout=30
        )
        assert answer.status_code == 200, answer.text
