"""`python -m loadtests.memory`: what a worker needs, what each model adds, and how often big weights are in memory."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from loadtests import report
from loadtests.contest import WrongAnswer, warm_up
from loadtests.observed import Memory, family, memory, workers
from loadtests.processes import NotStarted, Server, end_with_the_run, gateway
from loadtests.requests import Target, build
from loadtests.subjects import input_of, prepare

MANY = 50
MIB = 1 << 20
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Case:
    """`models`: names in the repository, all made by the recipe `model`."""

    label: str
    model: str
    models: tuple[str, ...]
    shared: bool = True


CASES = (
    Case("one tiny model", "tiny", ("tiny",)),
    Case(f"{MANY} tiny models", "tiny", tuple(f"tiny-{number}" for number in range(MANY))),
    Case("192 MiB of weights, shared", "wide", ("wide",)),
    Case("192 MiB of weights, a copy each", "wide", ("wide",), shared=False),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of all workers together, each after requests to every model; `others`: of the gateway's other processes."""

    case: Case
    workers: int
    total: Memory
    others: Memory


def measure(case: Case, folder: Path, count: int) -> Seen:
    """Start a gateway, ask every worker, look. Raises NotStarted, WrongAnswer."""
    models, state = folder / case.label, folder / f"state of {case.label}"
    for name in case.models:
        prepare(case.model, models, name=name)
    more: dict[str, object] = {} if case.shared else {"share-weights-bytes": 0}
    with gateway(models, state, workers=count, more=more) as server:
        for name in case.models:
            _ask(server, name, case.model)
        pids = workers(server.pid)
        others = [pid for pid in family(server.pid) if pid not in pids]
        return Seen(case, len(pids), memory(pids), memory(others))


def _ask(server: Server, name: str, model: str) -> None:
    requests = build(Target(name), input_of(model), keys=[None] * 2)
    # New connections each time, so that all workers get some.
    for _ in range(4):
        warm_up(server, requests, CONNECTIONS)


def table(seen: list[Seen]) -> Table:
    """A line for each case, in MiB."""
    found = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    found.add_column("models")
    for name in ("workers", "private of one", "PSS of one", "RSS of one", "PSS of all", "PSS of the rest"):
        found.add_column(name, justify="right")
    for one in seen:
        of_one = (one.total.private, one.total.proportional, one.total.resident)
        numbers = [*(size / one.workers for size in of_one), one.total.proportional, one.others.proportional]
        found.add_row(one.case.label, str(one.workers), *(f"{size / MIB:,.0f} MiB" for size in numbers))
    return found


def each_model(seen: list[Seen]) -> str:
    """What one more tiny model costs a worker."""
    one, many = (one.total.private / one.workers for one in seen[:2])
    return f"Each further tiny model: {(many - one) / (MANY - 1) / 1024:,.0f} KiB in each worker"


def main() -> int:
    """The exit code: 0, or 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="loadtests.memory", description=__doc__)
    parser.add_argument("--workers", type=int, choices=range(2, 9), default=4, metavar="2..8", help="[4]")
    options = parser.parse_args()
    end_with_the_run()
    say: Callable[..., None] = report.console().print
    seen = []
    try:
        with TemporaryDirectory(prefix="serin-memory-") as folder:
            for case in CASES:
                say(f"  {case.label} ...")
                seen.append(measure(case, Path(folder), options.workers))
    except (NotStarted, WrongAnswer, TimeoutError, OSError) as error:
        say(f"memory: {error}", markup=False)
        return 2
    say("", table(seen), "", each_model(seen), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
