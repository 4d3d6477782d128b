"""`python -m loadtests.soak`: minutes of steady open-loop load, and whether anything drifts meanwhile.

The gates: the p99 of each minute is at most 1.25 times that of the first; memory does not grow after the first minute;
what `/metrics` counted is what the client counted, to the last request; nothing failed; and the load was what it was to
be, which models of a few microseconds do not allow: our generator sends at most 10,000 a second. The exit code says it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import httpx
from rich.table import Table

from loadtests import machine, report
from loadtests.arrivals import Arrived
from loadtests.bench import MAX_RATE
from loadtests.contest import WrongAnswer, warm_up
from loadtests.load import LoadFailed, Open, Round, generator
from loadtests.machine import share_cores, usable_cores
from loadtests.observed import family, resident
from loadtests.processes import NotStarted, Server, end_with_the_run, gateway
from loadtests.requests import Target, build
from loadtests.subjects import NoSuchModel, input_of, prepare
from loadtests.tour.scrape import Scrape

WORST_P99 = 1.25
MEMORY_SLACK = 8 << 20
"""Bytes that the whole gateway may grow by after the first minute: the allocator's noise, not a leak of minutes."""

MIB = 1 << 20
CAPACITY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One gate: what was seen, and whether it held."""

    held: bool
    text: str


@dataclass(slots=True)
class Samples:
    """Resident memory of a gateway with all its processes, once a second."""

    pid: int
    begun: float
    seen: list[tuple[float, int]] = field(default_factory=list)

    def look(self) -> None:
        self.seen.append((monotonic() - self.begun, resident(family(self.pid))))

    def after(self, seconds: float) -> list[int]:
        return [size for at, size in self.seen if at >= seconds]


def judge_p99(arrived: Arrived) -> Finding:
    """Each minute against the first."""
    first, *later = (window.p99_ms for window in arrived.windows)
    worst = max(later, default=first) / first if first else 0.0
    told = ", ".join(f"{window.p99_ms:.2f}" for window in arrived.windows)
    return Finding(0 < worst <= WORST_P99, f"p99 by minute: {told} ms; worst/first {worst:.2f} (at most {WORST_P99})")


def judge_memory(sizes: Sequence[int]) -> Finding:
    """The last tenth of what was seen after the first minute against its first tenth, by their medians."""
    part = max(1, len(sizes) // 10)
    if not sizes:
        return Finding(False, "memory was not seen")
    first, last = (sorted(some)[len(some) // 2] for some in (sizes[:part], sizes[-part:]))
    text = f"memory after the first minute: {first / MIB:.1f} MiB, at the end {last / MIB:.1f} MiB"
    return Finding(last - first <= MEMORY_SLACK, f"{text} (growth at most {MEMORY_SLACK / MIB:.0f} MiB)")


def judge_counts(arrived: Arrived, counted: float) -> Finding:
    """The gateway's count of answered requests against the client's."""
    text = f"requests sent {arrived.sent:,}, answered {arrived.answered:,}, counted by /metrics {counted:,.0f}"
    return Finding(arrived.sent == arrived.answered == counted, text)


def judge_load(share: float, asked: float) -> Finding:
    """Whether the rate was what was asked for, or only what the generator can send."""
    return Finding(share >= 0.99 * asked, f"load {share:.0%} of the capacity (asked: {asked:.0%})")


def judge_errors(arrived: Arrived) -> Finding:
    """Everything was answered with 200."""
    errors = ", ".join(f"{name}: {times}" for name, times in arrived.whole.errors.items())
    return Finding(not errors, f"errors: {errors or 'none'}")


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it. `capacity`: of a closed loop just before; `rate`: of the open one."""

    capacity: float
    rate: float
    arrived: Arrived
    findings: tuple[Finding, ...]


def soak(server: Server, options: argparse.Namespace, folder: Path) -> Soaked:
    """Measure the capacity, then load at a share of it. Raises LoadFailed, WrongAnswer, httpx.HTTPError."""
    cores = share_cores(usable_cores(), 1)
    keys = [f"user-{number}" for number in range(500)]
    requests = build(Target(options.model), input_of(options.model), keys=keys)
    warm_up(server, requests, options.connections)
    given = Round(requests, options.connections, CAPACITY_SECONDS, cores.client)
    capacity = generator(folder)(server.address, given).per_second
    rate = min(MAX_RATE, options.share * capacity)
    before, samples = Scrape.of(server.http), Samples(server.pid, monotonic())
    given = Round(requests, options.connections, options.minutes * 60.0, cores.client)
    arrived = Open()(server.address, given, rate, look=samples.look)
    counted = Scrape.of(server.http).since(before).total("serin_requests_total", model=options.model, outcome="ok")
    sizes = samples.after(60.0 if options.minutes > 1 else 0.0)
    judged = judge_p99(arrived), judge_memory(sizes), judge_counts(arrived, counted), judge_errors(arrived)
    return Soaked(capacity, rate, arrived, (judge_load(rate / capacity, options.share), *judged))


def table(soaked: Soaked) -> Table:
    """The gates, one a line."""
    found = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in soaked.findings:
        found.add_row("held" if finding.held else "[red]NOT HELD[/red]", finding.text)
    return found


def main() -> int:
    """The exit code: 0, 1 when a gate did not hold, 2 when it could not be measured."""
    options = parser().parse_args()
    end_with_the_run()
    say, facts = report.console().print, machine.facts()
    cores = share_cores(usable_cores(), 1)
    try:
        with TemporaryDirectory(prefix="serin-soak-") as name:
            folder = Path(name)
            prepare(options.model, folder / "models")
            with gateway(folder / "models", folder / "state", cores=cores.server) as server:
                say(f"{options.model}, {options.connections} connections, {options.minutes:g} minutes ...")
                found = soak(server, options, folder)
    except (NotStarted, NoSuchModel, WrongAnswer, LoadFailed, TimeoutError, OSError, httpx.HTTPError) as error:
        say(f"soak: {error}", markup=False)
        return 2
    whole = found.arrived.whole
    say(f"closed loop {found.capacity:,.0f}/s; open loop {found.rate:,.0f}/s")
    say(f"p50 {whole.p50_ms:.2f} ms, p99 {whole.p99_ms:.2f} ms; generator late by {found.arrived.late_ms:.2f} ms")
    say(table(found), "", report.foot(facts), sep="\n")
    return 0 if all(finding.held for finding in found.findings) else 1


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.soak`."""
    found = argparse.ArgumentParser(prog="loadtests.soak", description="Steady load, and whether anything drifts.")
    found.add_argument("--model", default="mlp", help="a sample, or one that loadtests makes [mlp]")
    found.add_argument("--minutes", type=int, choices=range(1, 61), default=5, metavar="1..60", help="[5]")
    found.add_argument("--connections", type=int, choices=range(1, 1025), default=256, metavar="1..1024", help="[256]")
    found.add_argument("--share", type=float, default=0.8, help="of the capacity measured just before [0.8]")
    return found


if __name__ == "__main__":
    sys.exit(main())
