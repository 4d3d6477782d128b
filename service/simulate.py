"""`python -m service.simulate`: a rollout's policy on synthetic traffic, many times, on all cores.

A heavy word has a process of its own: the command line imports no numpy. It asks on standard input and is answered on
standard output, one JSON object each; the progress bar is on standard error.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from router.errors import SerinError
from router.plan import RolloutSpec
from router.rehearsal import Outcome, Play, rehearse
from router.spec import parse_spec
from router.strategies import label
from router.trials import Scenario, Setting, Summary, plays, summary
from service.logs import printable

MOST_RUNS = 100_000
WRONG, INTERRUPTED = 2, 130
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. asked_by: the process that waits for the answer; minutes: no new run begins after that;
    processes 0: one for each core."""

    asked_by: int
    document: Mapping[str, Any]
    setting: Mapping[str, float]
    scenarios: tuple[str, ...] = ()
    runs: int = 50
    minutes: float = 5.0
    seed: int = 1
    processes: int = 0


def main() -> int:
    """Read the order, rehearse, print; the exit code."""
    order = Order(**json.load(sys.stdin))
    end_with(order.asked_by)
    try:
        spec, setting = parse_spec(order.document), Setting(**order.setting)
        found = _run(order, plays(spec, setting, order.scenarios))
    except SerinError as error:
        sys.stderr.write(f"serin: {printable(error.message)}\n")
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    json.dump(_document(order, spec, found), sys.stdout)
    return 0


Found = dict[Scenario, Summary]


def _run(order: Order, wanted: Mapping[Scenario, Play]) -> Found:
    """Every scenario in turn, run after run, so that each has as many when the time is up."""
    outcomes: dict[Scenario, list[Outcome]] = {scenario: [] for scenario in wanted}
    runs, ends = min(order.runs, MOST_RUNS), time.monotonic() + 60.0 * order.minutes
    tasks = ((scenario, play, (order.seed, number, run)) for run in range(runs)
             for number, (scenario, play) in enumerate(wanted.items()))  # fmt: skip
    processes = order.processes or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with _bar() as bar, ProcessPoolExecutor(processes, context, end_with, (os.getpid(),)) as pool:
        shown, pending = bar.add_task("rehearsing", total=runs * len(wanted)), dict[Future[Outcome], Scenario]()
        try:
            while True:
                _fill(pool, pending, islice(tasks, 2 * processes - len(pending)), ends)
                if not pending:
                    break
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    outcomes[pending.pop(future)].append(future.result())
                bar.advance(shown, len(done))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {scenario: summary(found) for scenario, found in outcomes.items() if found}


Task = tuple[Scenario, Play, tuple[int, int, int]]


def _fill(
    pool: ProcessPoolExecutor, pending: dict[Future[Outcome], Scenario], tasks: Iterator[Task], ends: float
) -> None:
    """Begin runs while there is time; at least one of each scenario is always begun."""
    for scenario, play, seed in tasks:
        if time.monotonic() >= ends and seed[2] > 0:
            return
        pending[pool.submit(one, play, seed)] = scenario


def end_with(parent: int) -> None:
    """Where the system can, be ended when the process that began this one is gone, however it went: idle processes of
    a pool would wait for ever. Raises SystemExit when it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(INTERRUPTED)


def one(play: Play, seed: tuple[int, int, int]) -> Outcome:
    """One run; the same whatever ran before it, and on whichever core."""
    return rehearse(play, np.random.default_rng(seed))


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _document(order: Order, spec: RolloutSpec, found: Found) -> dict[str, Any]:
    """The answer, for the command line to show."""
    told = [
        {"scenario": scenario.name, "told": scenario.told, "harmless": scenario.harmless, **asdict(result)}
        for scenario, result in found.items()
    ]
    allowed = spec.analysis.budgets.false_rollback if spec.analysis else None
    return {
        "model": spec.model,
        "strategy": str(spec.strategy),
        "steps": [label(step) for step in spec.steps],
        "seed": order.seed,
        "setting": dict(order.setting),
        "allowed_abort_rate": allowed,
        "scenarios": told,
    }


if __name__ == "__main__":
    sys.exit(main())
