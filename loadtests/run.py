"""`python -m loadtests.run short`: Serin beside a plain FastAPI app, in one run, and what each stage costs.

Server and client get a core of their own where there are two. Everything listens on loopback, on free ports, with state
in a temporary directory; what is started is ended by its pid.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from loadtests import hotpath, machine, report, scenario, subjects
from loadtests.bench import Bench, Compared, WrongAnswer
from loadtests.load import LoadFailed, Own, Wrk, generator
from loadtests.machine import share_cores, usable_cores
from loadtests.processes import ROOT, NotStarted, Server, announced, complaints, end_with_the_run, gateway, serin
from loadtests.scenario import BadScenario, Scenario

RESULTS = ROOT / "loadtests" / "results"
LIMIT_SECONDS = 420.0
ROUTE_SECONDS = 60.0

Failure = tuple[str, str]


class Run:
    """One run: the results so far, and when it must be over."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._load: Own | Wrk = generator(folder, own=options.own_client)
        self._until = monotonic() + LIMIT_SECONDS
        self._say = report.console().print
        self.results: list[Compared] = []
        self.failures: list[Failure] = []
        self.complaints: list[str] = []

    @property
    def generator(self) -> str:
        return self._load.name

    def all(self, scenarios: list[Scenario]) -> None:
        """Run the scenarios, one gateway for those with as many workers. Failures are collected, not raised."""
        models = self._folder / "models"
        for name in {one.model for one in scenarios}:
            subjects.prepare(name, models)
        for workers, group in groupby(scenarios, key=lambda one: one.workers):
            cores = share_cores(usable_cores(), workers)
            bench = Bench(self._load, cores, self._options.seconds, self._options.rounds)
            with gateway(models, self._folder / f"state-{workers}", workers=workers, cores=cores.server) as server:
                for one in group:
                    self._one(one, bench, server)
                self.complaints += complaints(server.log)

    def _one(self, one: Scenario, bench: Bench, server: Server) -> None:
        if monotonic() > self._until:
            self.failures.append((one.name, f"not run: the run had taken {LIMIT_SECONDS:.0f} s already"))
            return
        self._say(f"  {one.name} ...")
        try:
            set_route(one, server)
            with self._reference(one, bench) as reference:
                self.results.append(bench.compare(one, reference, server))
        except (WrongAnswer, LoadFailed, NotStarted, TimeoutError, OSError) as error:
            self.failures.append((one.name, str(error) or type(error).__name__))

    def _reference(self, one: Scenario, bench: Bench) -> AbstractContextManager[Server]:
        file = subjects.file_of(one.model, one.version, self._folder / "models")
        # One process uses one core anyway; it is pinned wherever the gateway is.
        command = [sys.executable, "-m", "loadtests.reference", str(file)]
        return announced(command, self._folder / "reference.log", bench.cores.server)


def set_route(one: Scenario, server: Server) -> None:
    """Give the route that the scenario asks for. Raises WrongAnswer."""
    if not one.route:
        return
    command = serin("route", "set", one.model, *one.route, "--admin-url", server.admin, "--reason", "load test")
    done = subprocess.run(command, capture_output=True, text=True, timeout=ROUTE_SECONDS, check=False, cwd=ROOT)
    if done.returncode:
        raise WrongAnswer(f"serin route set: {done.stderr.strip()}")


def main() -> int:
    """The exit code: 0, or 1 when a scenario could not be measured or requests failed."""
    options = parser().parse_args()
    end_with_the_run()
    say, facts = report.console().print, machine.facts()
    try:
        scenarios = scenario.of_set(options.set)
        with TemporaryDirectory(prefix="serin-bench-") as folder:
            run = Run(Path(folder), options)
            rounds = f"{options.rounds} rounds of {options.seconds:g} s each"
            say(f"{len(scenarios)} scenarios, {rounds}; load by {run.generator}")
            run.all(scenarios)
            say("  the stages of the hot path ...")
            stages = hotpath.stages(Path(folder))
    except (BadScenario, NotStarted, subjects.NoSuchModel) as error:
        say(f"bench: {error}", markup=False)
        return 2
    say("", report.loads(run.results), "", report.stages(stages), "", report.foot(facts), sep="\n")
    for name, reason in run.failures:
        say(f"{name}: {reason}", markup=False)
    for line in run.complaints:
        say(f"the gateway logged: {line}", markup=False)
    if options.save:
        now = datetime.now(UTC)
        path = RESULTS / f"{now:%Y-%m-%d}-{options.set}.jsonl"
        about = {"at": now.isoformat(timespec="seconds"), "load": run.generator, "machine": facts}
        report.save(path, run.results, stages, about)
        say(f"saved to {path.relative_to(ROOT)}")
    failed = run.failures or any(measured.failed for one in run.results for measured in one.gateway)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.run`."""
    found = argparse.ArgumentParser(
        prog="loadtests.run", description="Load Serin and a plain FastAPI app, side by side."
    )
    found.add_argument("set", nargs="?", default="short", help="a set of scenarios, or one scenario [short]")
    found.add_argument("--seconds", type=_between(1, 60), default=2.0, help="of one round [2]")
    found.add_argument("--rounds", type=_between(1, 20, int), default=3, help="of each server, alternating [3]")
    found.add_argument("--own-client", action="store_true", help="do not use wrk, though it is installed")
    found.add_argument("--save", action="store_true", help="append the results to loadtests/results/")
    return found


def _between(least: float, most: float, kind: type[int] | type[float] = float) -> Callable[[str], float]:
    def check(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"from {least:g} to {most:g}")
        return value

    return check


if __name__ == "__main__":
    sys.exit(main())
