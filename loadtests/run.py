"""`python -m loadtests.run SET`: Serin beside other servers, in one run, and what each stage of a request costs.

Server and client get a core of their own where there are two. Everything listens on loopback, on free ports, with state
in a temporary directory; what is started is ended by its pid.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from loadtests import contest, hotpath, machine, report, scenario, subjects
from loadtests.bench import Bench, Compared
from loadtests.contest import Ring, WrongAnswer
from loadtests.load import LoadFailed, Own, Wrk, generator
from loadtests.machine import share_cores, usable_cores
from loadtests.measured import Measured
from loadtests.peers import NotInstalled
from loadtests.processes import ROOT, NotStarted, Server, complaints, end_with_the_run, gateway, serin
from loadtests.scenario import BadScenario, Scenario

RESULTS = ROOT / "loadtests" / "results"
ROUTE_SECONDS = 60.0

Failure = tuple[str, str]


class Run:
    """One run: the results so far, and when it must be over."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._load: Own | Wrk = generator(folder, own=options.own_client)
        self._limit_seconds = options.minutes * 60.0
        self._until = monotonic() + self._limit_seconds
        self._say = report.console().print
        self.results: list[Compared] = []
        self.failures: list[Failure] = []
        self.complaints: list[str] = []

    @property
    def generator(self) -> str:
        return self._load.name

    def all(self, scenarios: list[Scenario]) -> None:
        """Run the scenarios, one gateway for those with as many workers. Failures are collected, not raised."""
        contest.prepare_all(scenarios, self._folder / "models")
        for workers, group in groupby(scenarios, key=lambda one: one.workers):
            cores = share_cores(usable_cores(), workers)
            state = self._folder / f"state-{workers}"
            with gateway(self._folder / "models", state, workers=workers, cores=cores.server) as server:
                for one in group:
                    self._one(one, Ring(server, self._folder, cores))
                self.complaints += complaints(server.log)

    def _one(self, one: Scenario, ring: Ring) -> None:
        if monotonic() > self._until:
            self.failures.append((one.name, f"not run: the run had taken {self._limit_seconds:.0f} s already"))
            return
        self._say(f"  {one.name} ...")
        bench = Bench(self._load, ring.cores, self._options.seconds, self._options.rounds)
        try:
            set_route(one, ring.server)
            begin_rollout(one, ring.server)
            with contest.contestants(one, ring) as contestants:
                for regime in self._options.regimes or one.regimes:
                    self.results.append(bench.compare(one, regime, contestants))
        except (WrongAnswer, LoadFailed, NotStarted, NotInstalled, TimeoutError, OSError) as error:
            self.failures.append((one.name, str(error) or type(error).__name__))


def set_route(one: Scenario, server: Server) -> None:
    """Give the route that the scenario asks for. Raises WrongAnswer."""
    if one.route:
        _serin(server, "route", "set", one.model, *one.route, "--reason", "load test")


def begin_rollout(one: Scenario, server: Server) -> None:
    """Begin the rollout that the scenario asks for, on the model's other name. Raises WrongAnswer."""
    if one.rollout:
        _serin(server, "rollout", "start", one.model + contest.ROLLOUT, *one.rollout, "--reason", "load test")


def _serin(server: Server, *words: str) -> None:
    command = serin(*words, "--admin-url", server.admin)
    done = subprocess.run(command, capture_output=True, text=True, timeout=ROUTE_SECONDS, check=False, cwd=ROOT)
    if done.returncode:
        raise WrongAnswer(f"serin {words[0]} {words[1]}: {done.stderr.strip()}")


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
    if options.save or options.save_to:
        now = datetime.now(UTC)
        path = options.save_to or RESULTS / f"{now:%Y-%m-%d}-{options.set}.jsonl"
        about = {"at": now.isoformat(timespec="seconds"), "load": run.generator, "machine": facts}
        report.save(path, run.results, stages, about)
        say(f"saved to {path}")
    return 1 if run.failures or any(measured.failed for one in run.results for measured in _of_gateway(one)) else 0


def _of_gateway(one: Compared) -> list[Measured]:
    """The rounds of all that is not somebody else's server."""
    others = {"reference", *one.scenario.beside}
    return [measured for label, rounds in one.rounds.items() if label not in others for measured in rounds]


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.run`."""
    found = argparse.ArgumentParser(prog="loadtests.run", description="Load Serin and other servers, side by side.")
    found.add_argument("set", nargs="?", default="short", help="a set of scenarios, or one scenario [short]")
    found.add_argument("--seconds", type=_between(1, 60), default=2.0, help="of one round [2]")
    found.add_argument("--rounds", type=_between(1, 20, int), default=3, help="of each server, alternating [3]")
    found.add_argument("--minutes", type=_between(1, 120), default=7.0, help="no scenario begins after [7]")
    found.add_argument(
        "--regime",
        dest="regimes",
        action="append",
        choices=("as is", "awake"),
        help="the client's core: as is, or kept awake by a spinner; repeatable [what each scenario says]",
    )
    found.add_argument("--own-client", action="store_true", help="do not use wrk, though it is there")
    found.add_argument("--save", action="store_true", help="append the results to loadtests/results/")
    found.add_argument("--save-to", type=Path, help="append them to this file")
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
