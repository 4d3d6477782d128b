"""The rounds of a scenario: one, other, one, other, ... so that a drift of the machine meets both."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import monotonic

from loadtests.contest import Contestant
from loadtests.load import Open, Own, Round, Wrk, background, spinner
from loadtests.machine import Cores
from loadtests.measured import Measured
from loadtests.observed import cpu_seconds, family
from loadtests.processes import Server
from loadtests.scenario import Regime, Scenario

MAX_RATE = 10_000.0
"""Requests a second of the open loop; more than that one process of it cannot send in time."""

Rounds = tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A scenario's rounds by contestant, the yardstick first; the n-th of all were made one right after the other."""

    scenario: Scenario
    rounds: dict[str, Rounds]
    regime: Regime = "as is"

    @property
    def yardstick(self) -> str:
        return next(iter(self.rounds))

    def ratio(self, label: str) -> float:
        """Requests per second against the yardstick: the median over the pairs of rounds."""
        return self._median(label, lambda measured: measured.per_second)

    def p99_ratio(self, label: str) -> float:
        """The same of the 99th percentile of the latency."""
        return self._median(label, lambda measured: measured.p99_ms)

    def _median(self, label: str, of: Callable[[Measured], float]) -> float:
        pairs = zip(self.rounds[label], self.rounds[self.yardstick], strict=True)
        return median(of(ours) / of(theirs) if of(theirs) else 0.0 for ours, theirs in pairs)


def middle(rounds: Rounds) -> Measured:
    """The round with the middle rate: its percentiles belong to its rate."""
    return sorted(rounds, key=lambda measured: measured.per_second)[(len(rounds) - 1) // 2]


@dataclass(frozen=True, slots=True)
class Bench:
    """How rounds are made."""

    load: Own | Wrk
    cores: Cores
    seconds: float
    rounds: int

    def compare(self, scenario: Scenario, regime: Regime, contestants: Sequence[Contestant]) -> Compared:
        """Raises LoadFailed."""
        with self._regime(regime):
            measure = self._measure(scenario, contestants)
            found: dict[str, list[Measured]] = {one.label: [] for one in contestants}
            for _ in range(self.rounds):
                for one in contestants:
                    found[one.label].append(measure(one))
        return Compared(scenario, {label: tuple(rounds) for label, rounds in found.items()}, regime)

    def _measure(self, scenario: Scenario, contestants: Sequence[Contestant]) -> Callable[[Contestant], Measured]:
        closed = partial(self._closed, scenario)
        if scenario.arrivals is None:
            return closed
        rate = scenario.arrivals * closed(contestants[0]).per_second
        return partial(self._open, scenario, min(MAX_RATE, rate))

    def _closed(self, scenario: Scenario, one: Contestant) -> Measured:
        given = Round(one.requests, scenario.concurrency, self.seconds, self.cores.client)
        with self._background(one):
            return with_cores(one.server, lambda: self.load(one.server.address, given))

    def _open(self, scenario: Scenario, rate: float, one: Contestant) -> Measured:
        given = Round(one.requests, scenario.concurrency, self.seconds, self.cores.client)
        send = partial(Open(), one.server.address, given, rate, shared=scenario.neighbour is not None)
        with self._background(one):
            return with_cores(one.server, lambda: send().whole)

    @contextmanager
    def _background(self, one: Contestant) -> Iterator[None]:
        if one.background is None:
            yield
            return
        given = replace(one.background, seconds=self.seconds + 3.0)
        with background(one.server.address, given):
            yield

    @contextmanager
    def _regime(self, regime: Regime) -> Iterator[None]:
        if regime == "as is" or self.cores.client is None:
            yield
            return
        limit = 60.0 + 12 * self.rounds * self.seconds
        with spinner(self.cores.client, limit):
            yield


def with_cores(server: Server, load: Callable[[], Measured]) -> Measured:
    """The load, and what the server's processes computed meanwhile; the generator's warm-up counts in proportion."""
    pids = family(server.pid)
    before, begun = cpu_seconds(pids), monotonic()
    measured = load()
    spent, took = cpu_seconds(pids) - before, monotonic() - begun
    share = min(1.0, measured.seconds / took)
    return replace(measured, core_micros=spent * share / measured.requests * 1e6 if measured.requests else 0.0)
