"""The rounds of a scenario: reference, gateway, reference, gateway, ... so that a drift of the machine meets both."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from loadtests import client
from loadtests.load import Own, Round, Wrk
from loadtests.machine import Cores
from loadtests.measured import Measured
from loadtests.processes import Server
from loadtests.requests import Target, build
from loadtests.scenario import Scenario
from loadtests.subjects import input_of

REQUESTS_IN_TURN = 32
PROBE_SECONDS = 20.0


class WrongAnswer(Exception):
    """A server does not answer the scenario's requests, so there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A scenario's rounds; the n-th of both were made one right after the other."""

    scenario: Scenario
    reference: tuple[Measured, ...]
    gateway: tuple[Measured, ...]

    @property
    def ratio(self) -> float:
        """Requests per second against the reference: the median over the pairs of rounds."""
        pairs = zip(self.gateway, self.reference, strict=True)
        return median(ours.per_second / theirs.per_second if theirs.requests else 0.0 for ours, theirs in pairs)


def middle(rounds: tuple[Measured, ...]) -> Measured:
    """The round with the middle rate: its percentiles belong to its rate."""
    return sorted(rounds, key=lambda measured: measured.per_second)[(len(rounds) - 1) // 2]


@dataclass(frozen=True, slots=True)
class Bench:
    """How rounds are made."""

    load: Own | Wrk
    cores: Cores
    seconds: float
    rounds: int

    def compare(self, scenario: Scenario, reference: Server, gateway: Server) -> Compared:
        """Raises WrongAnswer, LoadFailed."""
        one = self._loader(reference, reference_requests(scenario), scenario)
        other = self._loader(gateway, gateway_requests(scenario), scenario)
        pairs = [(one(), other()) for _ in range(self.rounds)]
        theirs, ours = zip(*pairs, strict=True)
        return Compared(scenario, theirs, ours)

    def _loader(self, server: Server, requests: list[bytes], scenario: Scenario) -> Callable[[], Measured]:
        warm_up(server, requests, scenario.concurrency)
        given = Round(requests, scenario.concurrency, self.seconds, self.cores.client)
        return lambda: self.load(server.address, given)


def gateway_requests(scenario: Scenario) -> list[bytes]:
    """What the gateway is sent, in turn."""
    target = Target(scenario.model, scenario.version)
    if not scenario.keys:
        return build(target, input_of(scenario.model), encoding=scenario.encoding, keys=[None] * _turns(scenario))
    keys = [f"user-{number}" for number in range(scenario.keys)]
    return build(target, input_of(scenario.model), encoding=scenario.encoding, keys=keys)


def reference_requests(scenario: Scenario) -> list[bytes]:
    """What the reference is sent: the same rows, as JSON, which is all it knows."""
    return build(Target(scenario.model), input_of(scenario.model), keys=[None] * _turns(scenario))


def warm_up(server: Server, requests: list[bytes], connections: int) -> None:
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
