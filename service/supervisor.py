"""One parent: holds the sockets, keeps a controller, an inventory and N workers alive, drains them at the end."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from router import aftermath, reports
from router.client import SupervisorLink
from router.errors import SerinError
from router.loopback import Loopback
from router.reports import WorkerProcess
from service import logs, preflight, sockets
from service.children import ChildSpec, Facts, Keeper, Starter, environment
from service.crashes import Blame, Death, Rests, Suspect, blame, read_oom_kills
from service.dock import Dock, plain, suspect_from
from service.forks import Forkserver, take_in_orphans
from service.listeners import Listeners, open_listeners
from service.priority import give_way
from service.renewals import ADMIN, CLIENTS, Kept
from service.settings import Settings

LAST_WAIT_SECONDS = 5.0
HURRY_SECONDS = 3.0
REFUSE_SECONDS = 0.5
"""After the drain's delay, for workers to close their sockets; then those of dead and stuck ones are closed too."""
INVENTORY_WAIT_SECONDS = 1.0
"""It is there to die of files, of each but once; as many as there are must not make the next wait."""

MODULES = {
    "controller": "service.control",
    "inventory": "service.inventory",
    "worker": "service.app",
}
LATER = {"httpcore": "httpcore", "pydantic": "pydantic.v1"}
"""What a worker imports only once it runs: its module, where this package is installed. FastAPI looks for classes of an
older pydantic in each route."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway, as `serin serve` announces it. `grpc`: host and port, or "" where gRPC is off."""

    http: str
    admin: str
    workers: int
    models: Path
    state: Path
    grpc: str = ""


def serve(settings: Settings, announce: Callable[[Gateway], None], modules: dict[str, str] | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; returns the exit code. `announce` is called once, when it is ready.

    Raises SettingsError and PortTaken before anything was started. `modules`: other children for the roles (tests).
    """
    give_way()
    preflight.raise_open_files()
    preflight.require_models(settings)
    preflight.require_secrets(settings)
    preflight.require_supplies(settings)
    preflight.require_certificates(settings)
    preflight.require_access(settings)
    with preflight.state_directory(settings) as unclean:
        preflight.keep_keys(settings)
        listeners = open_listeners(settings, patience_seconds=preflight.PATIENCE_SECONDS if unclean else 0.0)
        try:
            supervisor = Supervisor(settings, listeners, announce, {**MODULES, **(modules or {})})
            return asyncio.run(supervisor.run())
        finally:
            listeners.close()


def imports(modules: Mapping[str, str], grpc: bool) -> list[str]:
    """What copies of the fork server need."""
    later = [module for package, module in LATER.items() if find_spec(package) is not None]
    return [modules["worker"], modules["inventory"], *later, *(["service.grpc.port"] if grpc else [])]


class Supervisor:
    """The children of one gateway and what passes between them. Hears of their reports and deaths as their Watcher."""

    def __init__(
        self, settings: Settings, listeners: Listeners, announce: Callable[[Gateway], None], modules: dict[str, str]
    ) -> None:
        self.log = logs.get("supervisor")
        self.settings = settings.model_copy(
            update={
                "http_port": listeners.workers[0].getsockname()[1],
                "admin_port": listeners.admin.getsockname()[1],
                "grpc_port": listeners.grpc.getsockname()[1] if listeners.grpc else settings.grpc_port,
            }
        )
        self.gateway = Gateway(
            http=sockets.url(sockets.address_of(listeners.workers[0]), settings.public_tls_files is not None),
            admin=sockets.url(sockets.address_of(listeners.admin), settings.admin_tls_files is not None),
            workers=settings.workers,
            models=settings.models,
            state=settings.state,
            grpc=sockets.authority(sockets.address_of(listeners.grpc)) if listeners.grpc else "",
        )
        self._listeners = listeners
        self._controller_url = sockets.url(sockets.address_of(listeners.internal or listeners.admin))
        self.certificates = Kept({CLIENTS: settings.public_tls_files, ADMIN: settings.admin_tls_files}, time.time)
        self.token = secrets.token_urlsafe(32)
        self.cover = sockets.Cover()
        self.rests = Rests()
        self.dock = Dock()
        self.dock.load(settings.state)
        self.link: SupervisorLink | None = None
        self.hurry = asyncio.Event()
        self.end = asyncio.Event()
        self._announce: Callable[[Gateway], None] | None = announce
        specs = self._specs(listeners, modules)
        server = self._forkserver(specs, modules) if settings.forkserver and take_in_orphans() else None
        self.forkserver, starter = server, Starter(server)
        self.controller, self.inventory, *self.workers = (
            Keeper(spec, self, starter, clock=time.monotonic, oom=read_oom_kills) for spec in specs
        )

    def _specs(self, listeners: Listeners, modules: dict[str, str]) -> list[ChildSpec]:
        config = {
            "settings": self.settings.model_dump(mode="json"),
            "token": self.token,
            "controller": self._controller_url,
            "workers": self.settings.workers,
            "certificates": self.certificates.by_port,
        }
        private = sockets.is_loopback(self.settings.admin_host)
        doors = (listeners.admin, *([listeners.internal] if listeners.internal else []))
        admin, http = tuple(bound.fileno() for bound in doors), tuple(bound.fileno() for bound in listeners.workers)
        public = {"fds": http, "grpc": sockets.authority(listeners.grpc.getsockname()) if listeners.grpc else ""}
        return [
            ChildSpec("controller", modules["controller"], 0, {**config, "fds": admin, "loopback": private}, admin),
            ChildSpec("inventory", modules["inventory"], 0, {**config, "fds": ()}, (), INVENTORY_WAIT_SECONDS),
            *(
                ChildSpec(
                    "worker",
                    modules["worker"],
                    slot,
                    {**config, **public, "suspects": (), "accused": self.dock.told()},
                    http,
                )
                for slot in range(self.settings.workers)
            ),
        ]

    def _forkserver(self, specs: Sequence[ChildSpec], modules: dict[str, str]) -> Forkserver:
        fds = {fd for spec in specs for fd in spec.fds}
        return Forkserver(imports(modules, self._listeners.grpc is not None), sorted(fds), environment())

    async def run(self) -> int:
        """Start everything, wait for a signal, drain. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        self.log.info("starting", workers=self.settings.workers, http=self.gateway.http, admin=self.gateway.admin)
        if self.settings.faults:
            self.log.warning("FAULTS ARE BEING INJECTED", faults=self.settings.faults)
        keepers = (self.controller, self.inventory, *self.workers)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keeper.run(), name=keeper.spec.name) for keeper in keepers]
            link = group.create_task(self._follow_controller(), name="link")
            keeping = group.create_task(self.certificates.run(), name="certificates")
            await self.end.wait()
            if self.forkserver is not None:
                group.create_task(self.forkserver.close(), name="forkserver")
            await self._drain(tasks[2:])
            link.cancel()
            keeping.cancel()
            await self.inventory.stop(LAST_WAIT_SECONDS)
            await self.controller.stop(LAST_WAIT_SECONDS)
        self.log.info("stopped")
        return 0

    def _signalled(self) -> None:
        (self.hurry if self.end.is_set() else self.end).set()

    async def _drain(self, tasks: list[asyncio.Task[None]]) -> None:
        limit = self.settings.drain_delay_seconds + self.settings.drain_limit_seconds
        self.log.info("draining", limit_seconds=limit)
        for keeper in self.workers:
            keeper.finish()
        self._tell_all({"drain": True})
        refuse = asyncio.get_running_loop().call_later(
            self.settings.drain_delay_seconds + REFUSE_SECONDS, self._listeners.refuse
        )
        hurry = asyncio.ensure_future(self.hurry.wait())
        ended = asyncio.ensure_future(asyncio.wait(tasks))
        await asyncio.wait([hurry, ended], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if hurry.done() and not ended.done():
            self._tell_all({"hurry": True})
            await asyncio.wait({ended}, timeout=HURRY_SECONDS)
        hurry.cancel()
        for keeper in self.workers:
            if keeper.alive is not None:
                self.log.warning("killed at the end of the drain", child=keeper.spec.name)
                keeper.alive.kill()
        await ended
        refuse.cancel()

    def _tell_all(self, command: Facts) -> None:
        for keeper in self.workers:
            if keeper.alive is not None:
                keeper.alive.send(command)

    # ---- Watcher ----

    def started(self, keeper: Keeper) -> None:
        self.log.debug("started", child=keeper.spec.name, pid=keeper.child.pid if keeper.child else None)

    def reported(self, keeper: Keeper, facts: Facts) -> None:
        self.log.debug("reported", child=keeper.spec.name, facts=facts)
        if facts.get("listening") and self.link is not None:
            self.link.changed()
        if keeper.spec.role != "worker":
            return
        if (cleared := facts.pop("cleared", None)) is not None and self.dock.cleared(suspect_from(cleared)):
            self._tell_all({"accused": self.dock.told()})
        if facts.get("listening"):
            self._tell(self.cover.listens(keeper.spec.slot, self._listening()))
        if self._announce is not None and all(worker.has("ready") for worker in self.workers):
            announce, self._announce = self._announce, None
            announce(self.gateway)

    def died(self, keeper: Keeper, death: Death) -> Facts:
        if keeper.spec.role != "worker":
            return {}
        found, convicted = self._settle(keeper.spec.slot, death)
        if keeper.child is not None and self.link is not None:
            culprit = found.culprit
            named = reports.Blame(culprit.model, culprit.version, culprit.digest) if culprit else None
            instance = keeper.child.instance
            self.link.died(reports.Death(keeper.spec.slot, instance, death.signal_name, named, death.out_of_memory))
        self._tell(self.cover.lost(keeper.spec.slot, self._listening()))
        told = self._accuse(convicted) | self._rest(None if convicted else found.culprit)
        return {"suspects": [asdict(suspect) for suspect in found.suspects], **told}

    def _rest(self, culprit: Suspect | None) -> Facts:
        """Who died of a request need not wait: the version does, in all workers, so that the others are answered."""
        if culprit is None or not culprit.body_hash:
            return {}
        seconds = self.rests.died(culprit, time.monotonic())
        rest = {"rest": {"model": culprit.model, "version": culprit.version, "seconds": seconds}}
        self._tell_all(rest)
        return {**rest, "at_once": True}

    def _accuse(self, convicted: Suspect | None) -> Facts:
        """Tell all workers which requests stand accused now."""
        if convicted is not None:
            self.log.error("a request has killed two workers and is not run again", **plain(convicted))
            try:
                self.dock.save(self.settings.state)
            except OSError as error:
                self.log.error("poison cannot be remembered", reason=os.strerror(error.errno or 0))
        told = {"accused": self.dock.told()}
        self._tell_all(told)
        return told

    def _settle(self, slot: int, death: Death) -> tuple[Blame, Suspect | None]:
        """Whom a death blames, and the request that is poison from now on."""
        directory = self.settings.state / "counters"
        try:
            slots = aftermath.open_slots(directory, slot) if death.is_native else []
            found, convicted = blame(death, slots), self.dock.died(slots)
            culprit = (found.culprit.model, found.culprit.version) if found.culprit else None
            lost = aftermath.settle(directory, slot, culprit)
            aftermath.restarted(directory, slot)
        except (SerinError, OSError, ValueError) as error:
            self.log.error("the counters of a dead worker cannot be settled", slot=slot, reason=str(error))
            return Blame(), None
        self.log.warning("settled a dead worker", slot=slot, requests_lost=lost, blamed=culprit)
        return found, convicted

    def _listening(self) -> list[int]:
        return [keeper.spec.slot for keeper in self.workers if keeper.has("listening")]

    def _tell(self, commands: list[tuple[int, Facts]]) -> None:
        for slot, command in commands:
            if (child := self.workers[slot].alive) is not None:
                child.send(command)

    # ---- the controller ----

    async def _follow_controller(self) -> None:
        async with Loopback(self._controller_url) as http:
            self.link = SupervisorLink(http, self.token, self._controller_trouble)
            await self.link.run(self._alive, self._kill)

    def _controller_trouble(self, text: str) -> None:
        if not text:
            self.log.info("the controller answers")
        elif self.controller.has("listening"):  # until then it is only starting
            self.log.warning("no controller", reason=text)

    def _alive(self) -> tuple[WorkerProcess, ...]:
        return tuple(
            WorkerProcess(keeper.spec.slot, child.instance, child.pid, keeper.has("listening"))
            for keeper in self.workers
            if (child := keeper.alive) is not None
        )

    def _kill(self, instance: str) -> None:
        for keeper in self.workers:
            if (child := keeper.alive) is not None and child.instance == instance:
                self.log.error("killed: it did not confirm the routes in time", child=keeper.spec.name)
                child.kill()
