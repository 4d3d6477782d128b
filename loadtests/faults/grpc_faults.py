"""SIGTERM with calls of 3 s in flight over gRPC, then kill -9 of workers: what callers of the other protocol see."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import grpc

from loadtests.faults.counting import MODEL, STEP
from loadtests.faults.outcome import Figure, Outcome, at_most, exactly, shown
from loadtests.faults.stand import Gateway, eventually, stand
from loadtests.observed import workers
from service.pb.messages import MESSAGES, SERVICE

ROW = "C26"
SLOW, SLOW_SECONDS, CHANNELS, KILLS, LONG_KILLS = 20, 3.0, 8, 3, 30
DELAY_SECONDS, LIMIT_SECONDS, CALL_SECONDS, PAUSE_SECONDS = 2.0, 30.0, 20.0, 0.02
DRAIN = {
    "drain-delay-seconds": DELAY_SECONDS,
    "drain-limit-seconds": LIMIT_SECONDS,
    "max-concurrency": SLOW,
    "faults": f"{MODEL}:2 slow={SLOW_SECONDS:g}",
}
METHOD = f"/{SERVICE}/ModelInfer"
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


def run(long: bool) -> Outcome:
    """One drain, and 3 kills of workers; 30 in the long form."""
    # Both start first: a process that has used gRPC cannot start others safely.
    with stand(1, 2) as at, stand(1) as other, at.gateway(DRAIN) as drains, other.gateway() as lives:
        figures = drained(drains) + killed(lives, LONG_KILLS if long else KILLS)
    return Outcome(figures)


class GrpcCallers:
    """Each of some channels calls again and again in a thread of its own; what came of it is counted by status."""

    def __init__(self, target: str) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong = 0
        self._target = target
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CHANNELS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(CALL_SECONDS + 5.0)

    def _work(self, first: int) -> None:
        with grpc.insecure_channel(self._target, options=OPTIONS) as channel:
            number = first
            while not self._stopped.is_set():
                status, value = call(channel, number)
                self.seen[status] += 1
                self.wrong += status == "OK" and value % STEP != number
                number += CHANNELS
                sleep(PAUSE_SECONDS)


def call(channel: Any, number: int, version: str = "") -> tuple[str, int]:
    """One call: the name of its status, and the value."""
    tensor = {"name": "x", "datatype": "INT64", "shape": [1, 1], "contents": {"int64_contents": [number]}}
    request = MESSAGES["ModelInferRequest"](model_name=MODEL, model_version=version, inputs=[tensor])
    encode, decode = MESSAGES["ModelInferRequest"].SerializeToString, MESSAGES["ModelInferResponse"].FromString
    infer = channel.unary_unary(METHOD, request_serializer=encode, response_deserializer=decode)
    try:
        answer = infer(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        return str(error.code().name), -1
    return "OK", int(answer.outputs[0].contents.int64_contents[0])


def drained(gateway: Gateway) -> list[Figure]:
    """One SIGTERM."""
    target = gateway.server.grpc
    with ThreadPoolExecutor(SLOW) as pool:
        channels = [grpc.insecure_channel(target, options=OPTIONS) for _ in range(4)]
        quick = GrpcCallers(target)
        slow = [pool.submit(call, channels[number % 4], number, "2") for number in range(SLOW)]
        sleep(1.0)
        begun = monotonic()
        gateway.signal(signal.SIGTERM)
        code = gateway.exit_code(DELAY_SECONDS + LIMIT_SECONDS + 5.0)
        took = monotonic() - begun
        ended = Counter(one.result()[0] for one in slow)
        quick.stop()
        for channel in channels:
            channel.close()
    other = {status: times for status, times in quick.seen.items() if status not in ("OK", "UNAVAILABLE")}
    return [
        exactly(f"drain: calls of {SLOW_SECONDS:g} s completed, of {SLOW}", ended["OK"], SLOW),
        shown("drain: other calls answered", quick.seen["OK"]),
        exactly(
            f"drain: calls that ended otherwise than OK or UNAVAILABLE {other or ''}".rstrip(), sum(other.values())
        ),
        exactly("drain: wrong answers", quick.wrong),
        exactly("drain: exit code", code),
        at_most("drain: seconds to the end", took, DELAY_SECONDS + LIMIT_SECONDS),
    ]


def killed(gateway: Gateway, kills: int) -> list[Figure]:
    """kill -9 of workers: only calls that were under way in them end with UNAVAILABLE."""
    quick = GrpcCallers(gateway.server.grpc)
    for _ in range(kills):
        sleep(1.0)
        victim = workers(gateway.pid)[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda gone=victim: replaced(gateway, gone) or None, 30.0)  # type: ignore[misc]
    sleep(1.0)
    quick.stop()
    other = {status: times for status, times in quick.seen.items() if status not in ("OK", "UNAVAILABLE")}
    return [
        shown("kills: calls answered", quick.seen["OK"]),
        at_most(
            f"kills: calls lost, {CHANNELS} at most in each of {kills}", quick.seen["UNAVAILABLE"], CHANNELS * kills
        ),
        exactly(f"kills: calls that ended otherwise {other or ''}".rstrip(), sum(other.values())),
        exactly("kills: wrong answers", quick.wrong),
    ]


def replaced(gateway: Gateway, gone: int) -> bool:
    """Another worker listens in the place of this one."""
    listening = {one["pid"] for one in gateway.ask("/api/v1/status")["workers"] if one["listening"]}
    return len(listening) == 2 and gone not in listening
