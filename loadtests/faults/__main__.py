"""`python -m loadtests.faults`: lists the experiments. `python -m loadtests.faults NAME [--long]` runs one.

The exit code: 0, 1 when a gate did not hold, 2 when it could not be measured.
"""

import argparse
import json
import sys
from dataclasses import asdict
from time import monotonic

import httpx
from rich.table import Table

from loadtests import machine, report
from loadtests.faults.catalogue import Experiment, experiments
from loadtests.faults.outcome import Outcome
from loadtests.load import LoadFailed
from loadtests.processes import NotStarted, end_with_the_run

SWITCH_SECONDS = 0.0005
"""What harms the gateway and those that ask it share an interpreter, and must not hold each other up for long."""


def main() -> int:
    """The exit code."""
    known = experiments()
    options = parser(list(known)).parse_args()
    if not options.name:
        report.console().print(listed(known))
        return 0
    end_with_the_run()
    sys.setswitchinterval(SWITCH_SECONDS)
    chosen, facts, begun = known[options.name], machine.facts(), monotonic()
    try:
        outcome = chosen.run(options.long)
    except (NotStarted, LoadFailed, TimeoutError, OSError, httpx.HTTPError) as error:
        print(f"{chosen.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    seconds = monotonic() - begun
    if options.json:
        print(json.dumps(record(chosen, outcome, options.long, seconds) | {"machine": facts}))
    else:
        say = report.console().print
        say(f"{chosen.row} {chosen.name}: {chosen.caption}", f"{seconds:.0f} s", sep="  ")
        say(table(outcome), *outcome.notes, "", report.foot(facts), sep="\n")
    return 0 if outcome.held else 1


def listed(known: dict[str, Experiment]) -> Table:
    """One experiment a line."""
    found = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for one in known.values():
        found.add_row(one.row, one.name, one.caption)
    return found


def table(outcome: Outcome) -> Table:
    """One figure a line."""
    found = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for figure in outcome.figures:
        found.add_row("held" if figure.held else "[red]NOT HELD[/red]", figure.name, figure.text)
    return found


def record(chosen: Experiment, outcome: Outcome, long: bool, seconds: float) -> dict[str, object]:
    """The same as plain values."""
    figures = [asdict(figure) for figure in outcome.figures]
    about = {"experiment": chosen.name, "row": chosen.row, "long": long, "seconds": round(seconds, 1)}
    return {**about, "held": outcome.held, "figures": figures, "notes": list(outcome.notes)}


def parser(names: list[str]) -> argparse.ArgumentParser:
    """The words after `python -m loadtests.faults`."""
    found = argparse.ArgumentParser(prog="loadtests.faults", description="Harm a gateway under load, and count.")
    found.add_argument("name", nargs="?", choices=names, help="without one: the list of them")
    found.add_argument("--long", action="store_true", help="the whole of it, which may take hours")
    found.add_argument("--json", action="store_true", help="one line of JSON")
    return found


if __name__ == "__main__":
    sys.exit(main())
