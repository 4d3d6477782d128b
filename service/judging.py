"""What the controller asks and tells others, put together from the settings: sources, hooks, and who judges."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns

from router.controller import Controller
from router.doubt import Doubting
from router.drift_monitor import DriftMonitor
from router.drift_views import drift_samples
from router.drift_windows import Policy
from router.hooks import Hook, Sender
from router.judge import Judge
from router.metrics import Sample
from router.pilot import Pilot
from router.rollout_metrics import Decisions, decision_samples, hook_samples, rollout_samples
from router.selfcheck_monitor import SelfCheck
from router.sources import Source, Sources
from router.tally import Reader
from router.webhooks import Cursors, Webhooks
from service import logs
from service.settings import Settings, SettingsError, hook_secret, secret

DRIFT = "drift.json"
"""In the state directory: what is known of drift."""

CURSORS = "hooks.json"
"""In the state directory: what each hook has had."""


class Outside:
    """What goes out of one controller: questions to sources and gates, events to hooks, and what is said of drift.

    `assessor` is the pilot's; `judge` is to be closed.
    """

    def __init__(
        self,
        judge: Judge,
        webhooks: Webhooks,
        decisions: Decisions,
        monitor: DriftMonitor,
        self_check: SelfCheck | None,
    ) -> None:
        self.judge = judge
        self.assessor = Doubting(judge, monitor.obstacle)
        self.monitor = monitor
        self._webhooks = webhooks
        self._decisions = decisions
        self._self_check = self_check

    async def run(self) -> None:
        """Tells the hooks, until the controller closes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._webhooks.run())
            group.create_task(self._decisions.run())
            group.create_task(self.monitor.run())
            if self._self_check is not None:
                group.create_task(self._self_check.run())

    def samples(self, pilot: Pilot) -> Iterator[Sample]:
        """What the controller's metrics page says beside the counts."""
        yield from rollout_samples(pilot.informed(rollout) for rollout in pilot.controller.state.rollouts.values())
        yield from decision_samples(self._decisions)
        yield from hook_samples(self._webhooks.counts)
        yield from drift_samples(self.monitor.look.watched, self.monitor.look.matches)
        if self._self_check is not None:
            yield from self._self_check.samples()


def outside_of(settings: Settings, controller: Controller, clock: Callable[[], float]) -> Outside:
    """`clock`: seconds since 1970, for signatures. Raises SettingsError when a secret is missing or cannot be read."""
    hooks = tuple(_hook(settings, name) for name in settings.hooks)
    reader, sender = Reader(settings.state / "counters", keeps=True, clock=monotonic_ns), Sender(clock)
    judge = Judge(reader.read, Sources(_sources(settings)), {hook.name: hook for hook in hooks}, sender)
    webhooks = Webhooks(controller, hooks, sender, Cursors(settings.state / CURSORS))
    webhooks.on_trouble = _tell_trouble
    policy = Policy(settings.drift_window_requests, settings.drift_window_seconds)
    monitor = DriftMonitor(controller, reader.read, settings.state / DRIFT, policy)
    self_check = SelfCheck(controller, reader.read, monotonic_ns) if settings.self_check else None
    return Outside(judge, webhooks, Decisions(controller), monitor, self_check)


def _sources(settings: Settings) -> dict[str, Source]:
    return {
        name: Source(
            name,
            said.kind,
            said.url,
            said.timeout_seconds,
            secret("sources", name, said.token_file).decode("ascii", "replace"),
        )
        for name, said in settings.sources.items()
    }


def _hook(settings: Settings, name: str) -> Hook:
    said = settings.hooks[name]
    if said.ca_file is not None and not Path(said.ca_file).is_file():
        raise SettingsError(f"hooks.{name}.ca_file: no such file: {said.ca_file}")
    return Hook(
        name,
        said.url,
        hook_secret(settings, name),
        said.events,
        said.allow_private,
        said.timeout_seconds,
        str(said.ca_file) if said.ca_file else "",
    )


def _tell_trouble(name: str, text: str) -> None:
    if text:
        logs.get("controller").warning("a hook does not take events", hook=name, reason=text)
    else:
        logs.get("controller").info("the hook takes events again", hook=name)
