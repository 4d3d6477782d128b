"""A worker's process: its port, the supervisor's commands, and the drain. `python -m service.app`."""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

import uvloop

from router.errors import SerinError
from service import logs
from service.http.connection import Connection
from service.http.lane import lane_of
from service.lifeline import Command, Lifeline, open_lifeline
from service.listening import Port, PortOptions
from service.priority import come_first
from service.renewals import CLIENTS, renewal_of
from service.runtime.accused import accused_of
from service.settings import Settings
from service.tidying import Freezing, Tidying
from service.worker import Place, Worker, wait_at_most

SWITCH_SECONDS = 0.0005
"""For so long at most a thread keeps the interpreter when the loop asks for it. With Python's 5 ms the loop stands
still while another thread reads a large body."""


async def serve(lifeline: Lifeline, settings: Settings) -> None:
    """Run one worker until the supervisor says drain, or is gone."""
    config = lifeline.config
    place = Place(config["slot"], config["instance"], config["token"], config["controller"], time.time)
    worker = Worker(settings, place)
    worker.tls = tls = renewal_of(settings.public_tls_files, CLIENTS, time.time, config.get("certificates", {}))
    renewing = None if tls is None else asyncio.create_task(tls.run(), name="renewal")
    drain, hurry, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
    try:
        await worker.start()
        # Access log lines are uvicorn's to write, so with them requests take uvicorn's way.
        connection = Connection if settings.access_log else lane_of(worker.v2)
        port = Port(worker.app, _port_options(settings), connection, tls)
        await port.start()
        worker.pool.is_lone = port.is_lone
        commands = _Commands(worker, port, lifeline, (drain, hurry))
        worker.engine.suspect((s["model"], s["version"]) for s in config.get("suspects", ()))
        worker.engine.accuse(accused_of(config.get("accused", {}), commands.cleared))
        commands.take({"rest": config["rest"]} if "rest" in config else {})
        loop = asyncio.get_running_loop()
        lifeline.follow(
            lambda command: loop.call_soon_threadsafe(commands.take, command),
            lambda: loop.call_soon_threadsafe(gone.set),
        )
        doors: list[Door] = [port]
        if config.get("grpc"):
            doors.append(_grpc(worker))
        await worker.be_ready()
        # What lives as long as the worker need not be looked through for garbage again and again.
        gc.collect()
        gc.freeze()
        engine, freezing = worker.engine, Freezing()
        tidy = Tidying(
            lambda: worker.v2.in_flight == 0,
            changes=lambda: engine.changes,
            freeze=lambda: freezing.look(engine.parts, engine.departures),
        )
        tidying = asyncio.create_task(tidy.run(), name="tidying")
        lifeline.report(listening=True)
        for door, place_of in zip(doors, (config["fds"][place.slot], config.get("grpc")), strict=False):
            await door.listen(place_of)
        ready = asyncio.create_task(_report_ready(worker, lifeline))
        await _first(drain, gone)
        ready.cancel()
        tidying.cancel()
        if not gone.is_set():
            await _drain(worker, doors, hurry)
    finally:
        if renewing is not None:
            renewing.cancel()
        await worker.close()


class _Commands:
    """What the supervisor says while a worker runs."""

    def __init__(
        self, worker: Worker, port: Port, lifeline: Lifeline, events: tuple[asyncio.Event, asyncio.Event]
    ) -> None:
        self._worker = worker
        self._port = port
        self._lifeline = lifeline
        self._fds: list[int] = lifeline.config["fds"]
        self._drain, self._hurry = events
        self._tasks: set[asyncio.Task[None]] = set()

    def cleared(self, one: dict[str, Any]) -> None:
        """A suspect was run, and nothing happened."""
        self._lifeline.report(cleared=one)

    def take(self, command: Command) -> None:
        if "adopt" in command:
            task = asyncio.create_task(self._port.listen(self._fds[command["adopt"]]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if "release" in command:
            self._port.leave(self._fds[command["release"]])
        if "accused" in command:
            self._worker.engine.accuse(accused_of(command["accused"], self.cleared))
        if "rest" in command:
            rest = command["rest"]
            self._worker.engine.rest((rest["model"], rest["version"]), rest["seconds"])
        if "drain" in command:
            self._drain.set()
        if "hurry" in command:
            self._hurry.set()


async def _report_ready(worker: Worker, lifeline: Lifeline) -> None:
    await worker.ready.wait()
    lifeline.report(ready=True)


class Door(Protocol):
    """A port of this worker. What it listens on is the HTTP port's socket, or the gRPC port's address."""

    async def listen(self, where: Any, /) -> None: ...
    async def close(self, limit_seconds: float) -> None: ...


def _grpc(worker: Worker) -> Door:
    """The gRPC port. Its package is loaded only where it is on: grpcio is an extra."""
    door: Door = import_module("service.grpc.port").port_of(worker.front, worker.tls)
    return door


async def _drain(worker: Worker, doors: Sequence[Door], hurry: asyncio.Event) -> None:
    """Not ready and still serving, for balancers to see; then no new connection; then the last requests."""
    settings = worker.settings
    worker.dataplane.draining = worker.v2.draining = True
    worker.log.info("draining", in_flight=worker.v2.in_flight)
    await wait_at_most(hurry, settings.drain_delay_seconds)
    closing: asyncio.Future[Any] = asyncio.gather(*(door.close(settings.drain_limit_seconds) for door in doors))
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait({closing, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if closing.cancel():
        with suppress(asyncio.CancelledError):
            await closing
    worker.log.info("drained", in_flight=worker.v2.in_flight)


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _port_options(settings: Settings) -> PortOptions:
    return PortOptions(
        keep_alive_seconds=settings.keep_alive_seconds,
        max_header_bytes=settings.max_header_bytes,
        access_log=settings.access_log,
        head_seconds=settings.body_read_timeout_seconds,
        max_body_bytes=settings.max_body_bytes,
    )


def main() -> None:
    """`python -m service.app`: a child of the supervisor."""
    work(open_lifeline())


def work(lifeline: Lifeline) -> None:
    """Be the worker that the lifeline says; does not return."""
    settings = Settings(**lifeline.config["settings"])
    come_first()
    sys.setswitchinterval(SWITCH_SECONDS)
    slot = lifeline.config["slot"]
    logs.configure(
        form=settings.log_format, level=settings.log_level, access=settings.access_log, process=f"worker-{slot}"
    )
    try:
        uvloop.run(serve(lifeline, settings))
    except SerinError as error:
        logs.get("worker").error("the worker cannot start", reason=error.message)
        raise SystemExit(1) from None
    # A thread that is still inside a model's native code cannot be interrupted, and must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
