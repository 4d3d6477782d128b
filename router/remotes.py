"""What the controller knows of versions elsewhere, told like what the inventory finds on disk, and who finds it out."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

from router.bell import Bell
from router.errors import FailedPrecondition, ResourceExhausted, SerinError
from router.names import NAME_RULE, is_name, require
from router.reports import InventoryModel, InventoryReport, InventoryVersion, VersionState
from router.routes import RouteTable, routed_versions
from router.state import State
from router.targets import Target, is_target, parse_target, target_of
from router.upstreams import Upstreams, digest_of

EVERY_SECONDS: Final = 5.0
FORGET_SECONDS: Final = 600.0
"""A target that nobody routes to is asked after no longer than this."""

MAX_TARGETS: Final = 64
TOGETHER: Final = 8

Key = tuple[str, int]


class Remotes:
    """Targets by the model that they serve here. `upstreams`: names in the settings."""

    def __init__(self, upstreams: frozenset[str] = frozenset()) -> None:
        self.local = InventoryReport()
        self._upstreams = upstreams
        self._found: dict[Key, InventoryVersion] = {}
        self._targets: dict[Key, Target] = {}
        self._asked: dict[Key, float] = {}
        self._without: RouteTable | None = None

    @property
    def has_news(self) -> bool:
        """Whether something was asked for and not looked at yet."""
        return any(found.state is VersionState.LOADING for found in self._found.values())

    def merged(self, local: InventoryReport) -> InventoryReport:
        """What the inventory found on disk, and the targets. Where both have a number, the disk has it."""
        self.local = local
        models = dict(local.models)
        for (model, number), found in self._found.items():
            known = models.get(model, InventoryModel())
            models[model] = replace(known, versions={number: found, **known.versions})
        return replace(local, models=models)

    def ask(self, model: str, references: Iterable[str], now: float) -> bool:
        """Take up the targets among the references; whether there were any. Raises SerinError."""
        targets = [parse_target(reference) for reference in references if is_target(reference)]
        require(not targets or is_name(model), "model", NAME_RULE)
        for target in targets:
            if target.upstream not in self._upstreams:
                known = ", ".join(sorted(self._upstreams)) or "none"
                raise FailedPrecondition(f"{target}: there is no [upstreams.{target.upstream}]; there are: {known}")
            key = (model, target.number)
            if self._targets.setdefault(key, target) != target:
                raise FailedPrecondition(f"{target} has the number of {self._targets[key]}; name a version of it")
            if len(self._targets) > MAX_TARGETS:
                del self._targets[key]
                raise ResourceExhausted(f"{MAX_TARGETS} versions elsewhere are in use; that is the most")
            self._asked[key] = now
            if key not in self._found or self._found[key].state is VersionState.UNAVAILABLE:
                self._found[key] = InventoryVersion(VersionState.LOADING, digest=target.digest())
        return bool(targets)

    def due(self, state: State, now: float) -> dict[Key, Target]:
        """Those to look at: what a table needs, and what was asked for a short while ago. All else is forgotten."""
        if state.table is self._without and not self._targets:
            return {}
        needed = {key for key in self._asked if now - self._asked[key] < FORGET_SECONDS}
        for model, versions in state.table.wanted.items():
            route, rollout = state.table.routes.get(model), state.rollouts.get(model)
            used = routed_versions(route) if route else frozenset()
            used |= rollout.versions if rollout is not None and rollout.is_active else frozenset()
            for number, wanted in versions.items():
                target = target_of(wanted.digest)
                if target is None:
                    continue
                if (model, number) not in self._targets:  # known from before a restart
                    self._targets[model, number] = target
                    self._asked[model, number] = now
                    needed.add((model, number))
                if number in used:
                    needed.add((model, number))
        for key in [key for key in self._targets if key not in needed]:
            for known in (self._targets, self._found, self._asked):
                known.pop(key, None)
        self._without = None if self._targets else state.table
        return dict(self._targets)

    def take(self, state: State, found: dict[Key, InventoryVersion]) -> bool:
        """Take over what was found; whether any of it is new. One that is away keeps what was known of it."""
        before = dict(self._found)
        for key, version in found.items():
            if key not in self._targets:
                continue
            if version.state is VersionState.UNAVAILABLE:
                wanted = state.table.wanted.get(key[0], {}).get(key[1])
                known = self._found.get(key) or version
                digest = wanted.digest if wanted is not None else known.digest or version.digest
                version = replace(known, state=version.state, reason=version.reason, digest=digest)
            self._found[key] = version
        return self._found != before


class Controlling(Protocol):
    """What is needed of the controller."""

    bell: Bell
    remotes: Remotes

    @property
    def state(self) -> State: ...
    @property
    def closing(self) -> bool: ...
    async def report_inventory(self, report: InventoryReport) -> None: ...


class Prober:
    """Asks upstreams for the metadata of targets. `clock`: monotonic seconds, those of `Remotes.ask`. `on_trouble`: why
    what was found could not be recorded; the next look tries again."""

    def __init__(
        self,
        controller: Controlling,
        upstreams: Upstreams,
        clock: Callable[[], float],
        on_trouble: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._controller = controller
        self._upstreams = upstreams
        self._clock = clock
        self._on_trouble = on_trouble
        self._places = asyncio.Semaphore(TOGETHER)
        self._untold = False

    async def run(self) -> None:
        """Look again and again, at once when something is asked for. Ends with the controller."""
        controller = self._controller
        while not controller.closing:
            try:
                await self.look()
            except SerinError as error:
                self._on_trouble(error.message)
            await controller.bell.until(lambda: controller.closing or controller.remotes.has_news, EVERY_SECONDS)

    async def look(self) -> None:
        """One look at all of them."""
        remotes, state = self._controller.remotes, self._controller.state
        due = remotes.due(state, self._clock())
        found = await asyncio.gather(*(self._examined(target) for target in due.values()))
        news = remotes.take(self._controller.state, dict(zip(due, found, strict=True)))
        self._untold = news or self._untold
        if self._untold:
            await self._controller.report_inventory(remotes.local)
            self._untold = False

    async def _examined(self, target: Target) -> InventoryVersion:
        try:
            async with self._places:
                signature = await self._upstreams.signature(target)
        except SerinError as error:
            return InventoryVersion(VersionState.UNAVAILABLE, error.message, target.digest())
        digest = digest_of(target, signature)
        return InventoryVersion(VersionState.READY, digest=digest, stamp=digest, signature=signature)
