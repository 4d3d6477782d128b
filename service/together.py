"""The whole gateway in one process and one event loop, without a port: for tests and notebooks.

The same controller, inventory and worker as in `serin serve`; what crosses between their processes there goes over
httpx's in-process transport here. What a crash would be held apart from is not: one bad native crash ends it all.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from time import time

import httpx
from starlette.types import ASGIApp

from router.api import ApiOptions, create_app
from router.boot import boot_clock
from router.client import InventoryLink
from router.controller import Controller, ControllerSettings
from router.drift_api import drift_router
from router.pilot import Pilot
from router.remotes import Prober
from router.rollout_api import Desk, rollout_router
from router.routes import KeySource
from router.statedir import StoreThread
from service.elsewhere import upstreams_of
from service.inventory import Guard, Rounds
from service.judging import outside_of
from service.runtime.allowed import allowed_by
from service.runtime.ledger import Ledger
from service.runtime.session import SessionOptions
from service.runtime.stock import Stock
from service.settings import Settings
from service.supply import content_of
from service.worker import Place, Worker

CONTROLLER = "http://controller"
READY_SECONDS = 60.0
CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Together:
    """A gateway in this process. `http` and `admin` are clients for the public and the admin port."""

    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    worker: Worker
    controller: Controller


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Together]:
    """Start everything, wait until it is ready, and close it in reverse. Raises TimeoutError when it never is."""
    settings.state.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        controller, admin_app, token = await _controller(stack, settings)
        transport = httpx.ASGITransport(admin_app)
        await _inventory(stack, settings, transport, token)
        worker = Worker(settings, Place(0, token_hex(8), token, CONTROLLER, time), transport)
        stack.push_async_callback(worker.close)
        await worker.start()
        async with asyncio.timeout(READY_SECONDS):
            await worker.ready.wait()
            await worker.be_ready()
        http = await stack.enter_async_context(_client(worker.app, "http://serin"))
        admin = await stack.enter_async_context(_client(admin_app, "http://localhost"))
        yield Together(http, admin, worker, controller)


async def _controller(stack: AsyncExitStack, settings: Settings) -> tuple[Controller, ASGIApp, str]:
    token = token_hex(16)
    store = await StoreThread.open(settings.state, datetime.now(UTC).isoformat(), [])
    stack.push_async_callback(store.close)
    key, names = KeySource(settings.key_header.lower()), frozenset(settings.upstreams)
    options = ControllerSettings(token_hex(8), key=key, upstreams=names)
    controller = Controller(store, lambda: datetime.now(UTC), options)
    await controller.start()
    outside = outside_of(settings, controller, lambda: datetime.now(UTC).timestamp())
    stack.push_async_callback(outside.judge.close)
    pilot = Pilot(controller, boot_clock(lambda: datetime.now(UTC)), outside.assessor)
    upstreams = upstreams_of(settings)
    stack.push_async_callback(upstreams.close)
    prober = Prober(controller, upstreams, controller.now)
    working = {asyncio.create_task(one.run()) for one in (pilot, outside, prober)}
    stack.push_async_callback(asyncio.wait, working, timeout=CLOSE_SECONDS)
    stack.push_async_callback(controller.close)
    desk = Desk(pilot, store, settings.state)
    parts = (rollout_router(desk), drift_router(controller, outside.monitor))
    told = ApiOptions(token, models_directory=str(settings.models.absolute()), parts=parts)
    return controller, create_app(controller, told), token


async def _inventory(
    stack: AsyncExitStack, settings: Settings, transport: httpx.AsyncBaseTransport, token: str
) -> None:
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=CONTROLLER, transport=transport))
    link = InventoryLink(http, token)
    guard = Guard(SessionOptions(settings.session_threads, libraries=settings.libraries), settings.load_timeout_seconds)
    stock = Stock(settings.models, Ledger(settings.state), guard.examine, link.changed, instance=token_hex(8))
    stock.allowed, stock.libraries = allowed_by(settings.allowed_digests_file), content_of(settings.libraries)
    rounds = Rounds(stock, settings.scan_interval_seconds)
    thread = threading.Thread(target=rounds.run, name="rounds", daemon=True)
    thread.start()
    telling = asyncio.create_task(link.run(lambda: stock.report, rounds.wish))
    stack.push_async_callback(_ended, telling, rounds, thread)


async def _ended(telling: "asyncio.Task[None]", rounds: Rounds, thread: threading.Thread) -> None:
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    rounds.end()
    await asyncio.to_thread(thread.join, 5.0)


def _client(app: ASGIApp, url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, transport=httpx.ASGITransport(app), timeout=60.0)
