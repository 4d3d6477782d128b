"""The controller's process, put together: the admin port over the one writer. `python -m service.control`."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from router.acknowledgement import Limits
from router.api import ApiOptions, create_app
from router.boot import boot_clock
from router.chain import LEAST_DIGITS
from router.controller import Controller, ControllerSettings
from router.doorman import Doorman
from router.drift_api import drift_router
from router.errors import SerinError
from router.exposition import Build, Exposition, Extra, RouteWeight, render
from router.exposures import DIRECTORY as EXPOSURES
from router.exposures import exposure_uses
from router.familiar import FamiliarReader
from router.guard import Guard
from router.internal import TokenOnly
from router.metrics import Sample
from router.pilot import Pilot
from router.remotes import Prober
from router.rollout_api import Desk, rollout_router
from router.routes import KeySource
from router.statedir import StoreThread
from service import logs
from service.access import COPY, KeyFile, Places, doorman_of
from service.elsewhere import upstreams_of
from service.faults import Faults
from service.judging import outside_of
from service.lifeline import Command, Lifeline, open_lifeline
from service.listening import Port, PortOptions
from service.priority import give_way
from service.renewals import ADMIN, renewal_of, tls_samples
from service.settings import Settings

#: Open answers (long polls, event streams) end by themselves when the controller closes; this bounds the rest.
CLOSE_SECONDS = 3

#: The metrics page and its content type.
Metrics = Callable[[], tuple[bytes, str]]

#: Where workers keep the table that they last served (service/worker.py).
CACHED_TABLES = "table-*.json"


def main() -> None:
    """Serve the admin API until the supervisor closes the pipe. Exit code 1 and one log line when that cannot begin."""
    lifeline = open_lifeline()
    settings = Settings(**lifeline.config["settings"])
    give_way()
    logs.configure(form=settings.log_format, level=settings.log_level, access=settings.access_log, process="controller")
    try:
        asyncio.run(serve(lifeline, settings))
    except SerinError as error:
        logs.get("controller").error("the controller cannot start", reason=error.message)
        sys.exit(1)


async def serve(lifeline: Lifeline, settings: Settings) -> None:
    """Open the store, then the port; close them the other way round. Raises SerinError when the store is not ours."""
    log = logs.get("controller")
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    lifeline.follow(lambda command: None, partial(loop.call_soon_threadsafe, ended.set))
    faults = Faults.parse(settings.faults)
    if faults:
        log.warning("FAULTS ARE BEING INJECTED", faults=settings.faults)
    async with AsyncExitStack() as stack:
        cached = sorted(settings.state.glob(CACHED_TABLES))
        store = await StoreThread.open(settings.state, _now().isoformat(), cached, faults.hit)
        stack.push_async_callback(store.close)
        for notice in store.notices:
            log.error(notice)
        controller = Controller(store, _now, _controller_settings(lifeline.config["instance"], settings))
        await controller.start()
        log.info("the history goes on", events=controller.last_event, audit_head=controller.head)
        outside = outside_of(settings, controller, lambda: _now().timestamp())
        stack.push_async_callback(outside.judge.close)
        upstreams = upstreams_of(settings)
        stack.push_async_callback(upstreams.close)
        prober = Prober(controller, upstreams, controller.now, _tell_unrecorded)
        pilot = Pilot(controller, boot_clock(_now), outside.assessor, on_trouble=_tell_trouble)
        tls = renewal_of(
            settings.admin_tls_files, ADMIN, lambda: _now().timestamp(), lifeline.config.get("certificates", {})
        )
        doorman, keys = _doorman(settings, lifeline.config["token"])
        if keys is not None:
            stack.push_async_callback(_cancelled, asyncio.create_task(keys.run()))
        known = keys.samples if keys is not None else tuple[Sample, ...]
        app: Guard

        def samples() -> tuple[Sample, ...]:
            told = (*tls_samples(ADMIN, tls), *_audit(controller), *known())
            return (*outside.samples(pilot), *told, *app.samples())

        metrics = _metrics(settings, controller, samples)
        options = _options(lifeline.config, settings, metrics, doorman)
        desk = Desk(pilot, store, settings.state)
        parts = (rollout_router(desk), drift_router(controller, outside.monitor))
        options = replace(options, parts=parts)
        app = create_app(controller, options)
        told = PortOptions(settings.keep_alive_seconds, settings.max_header_bytes, settings.access_log)
        ports = [Port(app, told, tls=tls)]
        if tls is not None:
            stack.push_async_callback(_cancelled, asyncio.create_task(tls.run()))
            ports.append(Port(TokenOnly(app, lifeline.config["token"]), told))
        for port, fd in zip(ports, lifeline.config["fds"], strict=True):
            await port.start()
            await port.listen(fd)
        lifeline.report(listening=True)
        stack.push_async_callback(_cancelled, asyncio.create_task(pilot.run()))
        stack.push_async_callback(_cancelled, asyncio.create_task(outside.run()))
        stack.push_async_callback(_cancelled, asyncio.create_task(prober.run()))
        await ended.wait()
        await controller.close()
        await asyncio.gather(*(port.close(CLOSE_SECONDS) for port in ports))
        log.info("controller stopped", revision=controller.table.revision, audit_head=controller.head)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _tell_trouble(model: str, text: str) -> None:
    if text:
        logs.get("controller").warning("a rollout cannot go on", model=model, reason=text)
    else:
        logs.get("controller").info("the rollout goes on", model=model)


def _tell_unrecorded(text: str) -> None:
    logs.get("controller").warning("what upstreams say cannot be recorded", reason=text)


def _controller_settings(instance: str, settings: Settings) -> ControllerSettings:
    return ControllerSettings(
        instance,
        supervised=True,
        limits=Limits(load_seconds=settings.load_wait_seconds),
        key=KeySource(header=settings.key_header.lower()),
        upstreams=frozenset(settings.upstreams),
    )


def _doorman(settings: Settings, token: str) -> tuple[Doorman | None, KeyFile | None]:
    """None where no key is asked. Raises InvalidArgument when the file of keys cannot be used."""
    if settings.keys_file is None:
        return None, None
    doorman = doorman_of(settings.admin_rules(token), lambda: _now().timestamp())
    keys = KeyFile(Places(settings.keys_file, settings.state / COPY, keeps=True), doorman, _tell_keys)
    keys.read()
    return doorman, keys


def _tell_keys(text: str) -> None:
    if text:
        logs.get("controller").error("the file of API keys cannot be used; the old keys stay", reason=text)
    else:
        logs.get("controller").info("the file of API keys can be used again")


def _options(config: Command, settings: Settings, metrics: Metrics, doorman: Doorman | None) -> ApiOptions:
    return ApiOptions(
        token=config["token"],
        version=_package_version("serin"),
        hosts=settings.admin_hosts(settings.admin_host, config["loopback"]),
        metrics=metrics,
        models_directory=str(settings.models.absolute()),
        doorman=doorman,
    )


def _metrics(settings: Settings, controller: Controller, samples: Callable[[], tuple[Sample, ...]]) -> Metrics:
    state = settings.state
    build = Build("serin", _package_version("serin"), _package_version("onnxruntime"))

    def extra() -> Extra:
        table = controller.table
        weights = tuple(
            RouteWeight(route.model, variant.version, variant.name, variant.weight_ppm, route.epoch)
            for route in table.routes.values()
            for variant in route.variants
        )
        limits = {model: route.exposure for model, route in table.routes.items()}
        return Extra(build, weights, table.revision, exposure_uses(state / EXPOSURES, limits), samples())

    familiar = FamiliarReader(state / "counters", settings.familiar_metrics)
    return partial(render, Exposition(state / "counters", extra), familiar)


def _audit(controller: Controller) -> tuple[Sample, ...]:
    digits = int(controller.head[:LEAST_DIGITS], 16)
    return Sample("serin_audit_events", (), controller.last_event), Sample("serin_audit_head", (), digits)


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
