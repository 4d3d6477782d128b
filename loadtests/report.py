"""What a run came to: tables for people, lines of JSON for later."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from loadtests.bench import Compared, Rounds, middle
from loadtests.hotpath import Stage

PIPE_WIDTH = 160
MACHINE = ("processor", "system", "load", "python")


def console() -> Console:
    """For a terminal as wide as it is, for a pipe wide enough for any table."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=PIPE_WIDTH, highlight=False)


def loads(results: Sequence[Compared]) -> Table:
    """A line for each server of each scenario; the first is what the others are compared with."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("scenario", "client", "server"):
        table.add_column(name)
    for name in ("requests/s", "spread", "p50 ms", "p99 ms", "core µs", "× rate", "× p99", "errors"):
        table.add_column(name, justify="right")
    for result in results:
        for label in result.rounds:
            first = label == result.yardstick
            head = [result.scenario.name, result.regime] if first else ["", ""]
            ratios = ["", ""] if first else [f"{result.ratio(label):.2f}", f"{result.p99_ratio(label):.2f}"]
            table.add_row(*head, label, *_numbers(result.rounds[label]), *ratios, _errors(result.rounds[label]))
        table.add_section()
    return table


def stages(found: Sequence[Stage]) -> Table:
    """A line for each stage of the hot path."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("stage")
    for name in ("µs each", "× yardstick"):
        table.add_column(name, justify="right")
    for stage in found:
        table.add_row(stage.name, f"{stage.micros:.2f}", f"{stage.ratio:.3f}")
    return table


def foot(facts: Mapping[str, str]) -> str:
    """The machine and the versions, in two lines."""
    machine = [facts[name] for name in MACHINE]
    libraries = [f"{name} {value}" for name, value in facts.items() if name not in MACHINE]
    return "; ".join(machine) + "\n" + ", ".join(libraries)


def save(path: Path, results: Sequence[Compared], found: Sequence[Stage], about: Mapping[str, object]) -> None:
    """Append a line for each scenario, each with what it was measured on, and one for the hot path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for line in records(results, found):
            file.write(json.dumps({**about, **line}) + "\n")


def records(results: Sequence[Compared], found: Sequence[Stage]) -> Iterable[dict[str, object]]:
    """The results as plain values."""
    for result in results:
        yield {
            "scenario": msgspec.to_builtins(result.scenario),
            "regime": result.regime,
            "ratios": {label: round(result.ratio(label), 3) for label in result.rounds},
            "p99_ratios": {label: round(result.p99_ratio(label), 3) for label in result.rounds},
            "rounds": {label: [asdict(measured) for measured in rounds] for label, rounds in result.rounds.items()},
        }
    if found:
        yield {"stages": [asdict(stage) for stage in found]}


def _numbers(rounds: Rounds) -> list[str]:
    shown = middle(rounds)
    rates = [measured.per_second for measured in rounds]
    spread = (max(rates) - min(rates)) / 2 / median(rates) if median(rates) else 0.0
    return [
        f"{shown.per_second:,.0f}",
        f"±{spread:.0%}",
        f"{shown.p50_ms:.2f}",
        f"{shown.p99_ms:.2f}",
        f"{shown.core_micros:.0f}",
    ]


def _errors(rounds: Rounds) -> str:
    errors = sum(measured.failed for measured in rounds)
    return f"[red]{errors}[/red]" if errors else "0"
