"""Requests that kill workers: found, refused and remembered, while the version goes on answering everybody else.

`poison=V` makes a model die of every row that begins with V, as a fault in a kernel would.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest

from service.pb.messages import MESSAGES, SERVICE
from tests.e2e.conftest import Running, eventually
from tests.e2e.traffic import Ask, Traffic, failed, keyed, post

Start = Callable[..., Any]

DEADLY = 13


def body(first: float, **more: object) -> bytes:
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [first] + [0] * 63}
    return json.dumps({"inputs": [tensor], **more}).encode()


def ask(running: Running, content: bytes, version: str = "") -> httpx.Response | None:
    """The answer; None when the worker died of it, or was not there."""
    where = f"/versions/{version}" if version else ""
    try:
        return httpx.post(f"{running.http}/v2/models/digits{where}/infer", content=content, timeout=30)
    except httpx.TransportError:
        return None


def refused(running: Running, content: bytes) -> bool:
    answer = ask(running, content)
    return answer is not None and answer.status_code == 400


def deaths(running: Running) -> list[dict[str, Any]]:
    return [line for line in running.log_lines() if line["event"] == "settled a dead worker"]


@pytest.mark.parametrize("flags", [(), ("--max-concurrency", "1")], ids=["on the loop or in threads", "one at a time"])
def test_a_request_that_kills_twice_is_poison_and_its_version_goes_on(start: Start, flags: tuple[str, ...]) -> None:
    deadly = body(DEADLY)
    with start(*flags, faults=f"digits:* poison={DEADLY}") as running:
        with Traffic(running.http, keyed, connections=8) as traffic:
            eventually(lambda: refused(running, deadly), seconds=60)
            traffic.wait_for(200)
            answers = traffic.stop()
        killed = len(deaths(running))
        assert killed in (2, 3)  # sent again before the other worker knew, it ran amid others
        for _ in range(5):
            answer = ask(running, deadly)
            assert answer is not None
            assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")
            assert "two workers died" in answer.json()["error"]
        assert len(deaths(running)) == killed
        assert {answer.status for answer in failed(answers)} <= {0, 503}
        status = httpx.get(f"{running.admin}/api/v1/status", timeout=5).json()
        assert status["quarantined"] == []
        assert ask(running, body(1)).status_code == 200  # type: ignore[union-attr]
    with start(*flags, faults=f"digits:* poison={DEADLY}") as again:
        assert refused(again, deadly)
        assert [line for line in deaths(again) if line not in deaths(running)] == []


def test_of_those_that_ran_together_the_one_that_kills_is_found(start: Start) -> None:
    deadly = body(DEADLY)
    with start("--workers", "1", "--max-concurrency", "1", faults=f"digits:* slow=0.02 poison={DEADLY}") as running:
        # Fresh bodies all the time: whoever shares a run with the deadly one is suspected with it.
        with Traffic(running.http, distinct, connections=16) as traffic:
            eventually(lambda: refused(running, deadly), seconds=60)
            done = len(deaths(running))
            traffic.wait_for(100)
            answers = traffic.stop()
        assert done == len(deaths(running))
        assert done in (2, 3)
        assert {answer.status for answer in failed(answers)} <= {0, 503}
        poison = json.loads((running.state / "poison.json").read_text())
        assert len(poison) == 1


def distinct(number: int) -> Ask:
    return post("/v2/models/digits/infer", body(1, id=str(number)))


def test_the_last_version_rests_and_others_are_answered_meanwhile(start: Start) -> None:
    models = ("digits/1", "diabetes")
    with start("--workers", "1", models=models, faults="digits:* crash=1") as running:
        told: list[httpx.Response] = []

        def rests() -> bool:
            answer = ask(running, body(1 + len(told) + time.monotonic() % 1))
            if answer is not None and answer.status_code == 503:
                told.append(answer)
            return len(told) >= 3 and len(deaths(running)) >= 3

        eventually(rests, seconds=60)
        assert {one.json()["code"] for one in told} == {"UNAVAILABLE"}
        assert all("rests" in one.json()["error"] and int(one.headers["retry-after"]) >= 1 for one in told)
        assert httpx.get(f"{running.admin}/api/v1/status", timeout=5).json()["quarantined"] == []
        assert httpx.get(f"{running.http}/v2/models/diabetes/ready", timeout=5).status_code == 200


def test_over_grpc_too(start: Start) -> None:
    with start(faults=f"digits:* poison={DEADLY}") as running:
        at = running.seen["grpc"]
        message = MESSAGES["ModelInferRequest"](model_name="digits")
        tensor = message.inputs.add(name="pixels", datatype="FP32", shape=[1, 64])
        tensor.contents.fp32_contents.extend([float(DEADLY)] + [0.0] * 63)

        async def once() -> Any:
            async with grpc.aio.insecure_channel(at) as channel:
                infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
                try:
                    await infer(message.SerializeToString(), timeout=10)
                except grpc.aio.AioRpcError as error:
                    return error.code()
            return grpc.StatusCode.OK

        codes = []
        until = time.monotonic() + 60
        while grpc.StatusCode.INVALID_ARGUMENT not in codes and time.monotonic() < until:
            codes.append(asyncio.run(once()))
        assert codes[-1] is grpc.StatusCode.INVALID_ARGUMENT
        assert grpc.StatusCode.OK not in codes
        assert len(deaths(running)) in (2, 3)


def test_a_version_that_dies_now_and_then_is_still_found_though_its_requests_are_alike(start: Start) -> None:
    with start(faults="digits:2 crash=0.05") as running:
        running.serin("route", "set", "digits", "1=50", "2=50")
        with Traffic(running.http, keyed, connections=8):
            eventually(lambda: httpx.get(f"{running.admin}/api/v1/status", timeout=5).json()["quarantined"], seconds=60)
