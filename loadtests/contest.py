"""Who is measured in a scenario: servers side by side, or one gateway in two ways. The first is the yardstick."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from loadtests import client, peers
from loadtests.load import Round
from loadtests.machine import Cores
from loadtests.processes import Server, announced, gateway
from loadtests.requests import Target, build
from loadtests.scenario import Beside, Scenario
from loadtests.subjects import file_of, input_of, prepare

REQUESTS_IN_TURN = 32
PROBE_SECONDS = 20.0
ROLLOUT, PLAIN, SINGLE = "-rollout", "-plain", "-unbatched"
UNBATCHED = "[execution]\nmax_batch_rows = 1\n"
WATCHED = """default_version = 1
labels = ["0", "1", "2"]

[outputs.label]
kind = "class"

[outputs.probabilities]
kind = "probabilities"
"""


class WrongAnswer(Exception):
    """A server does not answer the scenario's requests, so there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """What is loaded, with what. `background`: a load that runs meanwhile, and is not measured."""

    label: str
    server: Server
    requests: Sequence[bytes]
    background: Round | None = None


@dataclass(frozen=True, slots=True)
class Ring:
    """Where a scenario is run. `folder` has the models in `models`, and room for logs and states."""

    server: Server
    folder: Path
    cores: Cores

    @property
    def models(self) -> Path:
        return self.folder / "models"


def prepare_all(scenarios: Sequence[Scenario], models: Path) -> None:
    """Put all that the scenarios need into the model repository. Raises NoSuchModel."""
    for one in scenarios:
        if one.versus == "plain":
            prepare(one.model, models, name=one.model + PLAIN, manifest=WATCHED)
            prepare(one.model, models, name=one.model + ROLLOUT, manifest=WATCHED, versions=2)
        if one.versus == "unbatched":
            prepare(one.model, models, name=one.model + SINGLE, manifest=UNBATCHED)
        if one.neighbour is not None:
            prepare(one.neighbour.model, models)
        prepare(one.model, models)


@contextmanager
def contestants(scenario: Scenario, ring: Ring) -> Iterator[list[Contestant]]:
    """All of them started and warm. Raises NotStarted, NotInstalled, WrongAnswer."""
    with ExitStack() as stack:
        found = _line_up(scenario, ring, stack)
        for one in found:
            warm_up(one.server, one.requests, scenario.concurrency)
        yield found


def _line_up(scenario: Scenario, ring: Ring, stack: ExitStack) -> list[Contestant]:
    asked = gateway_requests(scenario)
    if scenario.versus == "plain":
        changed = gateway_requests(scenario, scenario.model + ROLLOUT)
        plain = gateway_requests(scenario, scenario.model + PLAIN)
        return [Contestant("no rollout", ring.server, plain), Contestant("rollout", ring.server, changed)]
    if scenario.versus == "unbatched":
        single = gateway_requests(scenario, scenario.model + SINGLE)
        return [Contestant("unbatched", ring.server, single), Contestant("batched", ring.server, asked)]
    if scenario.versus == "alone":
        return [Contestant("alone", ring.server, asked), _with_neighbour(scenario, ring, asked)]
    if scenario.versus == "one-worker":
        one = gateway(ring.models, ring.folder / f"one-{scenario.name}", cores=ring.cores.server)
        label = f"{scenario.workers} workers"
        return [Contestant("1 worker", stack.enter_context(one), asked), Contestant(label, ring.server, asked)]
    others = [_other(name, scenario, ring, stack) for name in ("reference", *scenario.beside)]
    return [*others, Contestant("serin", ring.server, asked)]


def _with_neighbour(scenario: Scenario, ring: Ring, asked: Sequence[bytes]) -> Contestant:
    assert scenario.neighbour is not None
    model, connections = scenario.neighbour.model, scenario.neighbour.concurrency
    requests = build(Target(model), input_of(model), encoding="binary", keys=[None] * 4)
    background = Round(requests, connections, 0.0, ring.cores.client)
    return Contestant(f"beside {model}, c = {connections}", ring.server, asked, background)


def _other(name: Beside | str, scenario: Scenario, ring: Ring, stack: ExitStack) -> Contestant:
    file = file_of(scenario.model, scenario.version, ring.models)
    command = peers.command(name, file, scenario.model) or own_app(name, file)
    log = ring.folder / f"{name}.log"
    # One process uses one core anyway; it is pinned wherever the gateway is.
    server = stack.enter_context(announced(command, log, ring.cores.server))
    return Contestant(name, server, reference_requests(scenario))


def own_app(name: str, file: Path) -> list[str]:
    """The reference app, its `async def` twin, or an app that knows one answer."""
    return [sys.executable, "-m", "loadtests.reference", str(file), "--endpoint", name]


def gateway_requests(scenario: Scenario, model: str = "") -> list[bytes]:
    """What the gateway is sent, in turn."""
    target = Target(model or scenario.model, scenario.version)
    if not scenario.keys:
        return build(target, input_of(scenario.model), encoding=scenario.encoding, keys=[None] * _turns(scenario))
    keys = [f"user-{number}" for number in range(scenario.keys)]
    return build(target, input_of(scenario.model), encoding=scenario.encoding, keys=keys)


def reference_requests(scenario: Scenario) -> list[bytes]:
    """What the others are sent: the same rows, as JSON, which they all know."""
    return build(Target(scenario.model), input_of(scenario.model), keys=[None] * _turns(scenario))


def warm_up(server: Server, requests: Sequence[bytes], connections: int) -> None:
    """Every kind of request once, at the load's concurrency at least. Raises WrongAnswer unless all are answered."""
    given = list(islice(cycle(requests), max(len(requests), 4 * connections)))
    host, port = server.address
    replies = client.run(client.exchange(host, port, given, connections=connections, seconds=PROBE_SECONDS))
    bad = next((reply for reply in replies if reply.status != 200), None)
    if bad is not None:
        raise WrongAnswer(
            f"{server.http} answered {bad.status or 'nothing'}: {bad.body[:300].decode(errors='replace')}"
        )


def _turns(scenario: Scenario) -> int:
    return min(REQUESTS_IN_TURN, len(input_of(scenario.model).rows))
