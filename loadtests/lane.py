"""Whole requests through the fast lane of a gateway in this process, from the bytes of a client to those of the answer.

Without sockets and without the kernel: what is left is the program's own, and can be compared from day to day.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time_ns
from typing import Any

from loadtests.requests import Target, build
from loadtests.subjects import input_of, prepare
from service.http.lane import lane_of
from service.listening import Port, PortOptions
from service.settings import Settings
from service.together import gateway

MODEL = "tiny"
READY_SECONDS, TURN_SECONDS = 60.0, 10.0


class Wire:
    """A transport that takes what is written and sends nothing."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing was open."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known of the other side."""
        return default


@dataclass(frozen=True, slots=True)
class Client:
    """One connection of the lane."""

    connection: Any
    wire: Wire


class WrongAnswer(Exception):
    """The lane did not answer a request of the measurement with 200."""


async def micros(folder: Path, clients: int, turns: int, yardstick: Callable[[], float]) -> tuple[float, float]:
    """Microseconds of processor time of one request while so many clients send one each turn, in the quietest of many
    turns; and the least of `yardstick`, which is called between them. Raises WrongAnswer."""
    models = folder / "models"
    models.mkdir(exist_ok=True)
    prepare(MODEL, models)
    async with gateway(Settings(models=models, state=folder / f"state-{clients}")) as serin:
        port = Port(serin.worker.app, PortOptions(60, 8192, False), lane_of(serin.worker.v2))
        await port.start()
        serin.worker.pool.is_lone = lambda: clients == 1
        async with asyncio.timeout(READY_SECONDS):
            while serin.worker.dataplane.model_not_ready_reason(MODEL, None) is not None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        made = [_client(port) for _ in range(clients)]
        requests = build(Target(MODEL), input_of(MODEL), keys=[None] * clients)
        for _ in range(20):  # heads become known, and caches full
            await _turn(made, requests)
        found = [(await _turn(made, requests), yardstick()) for _ in range(turns)]
        await port.close(0.1)
    return min(own for own, _ in found) / clients, min(other for _, other in found)


def _client(port: Port) -> Client:
    connection, wire = port.protocol(), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    return Client(connection, wire)


async def _turn(clients: list[Client], requests: list[bytes]) -> float:
    """Microseconds from the first byte to the last answer."""
    begun = process_time_ns()
    for client, request in zip(clients, requests, strict=True):
        client.connection.data_received(request)
    async with asyncio.timeout(TURN_SECONDS):
        while not all(client.wire.written for client in clients):  # noqa: ASYNC110 - the wire tells nobody
            await asyncio.sleep(0)
    spent = process_time_ns() - begun
    for client in clients:
        answer = client.wire.written.pop()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswer(f"a request of the measurement was refused: {answer!r}")
    return spent / 1e3
