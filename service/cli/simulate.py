"""`serin simulate`: try a policy before it is used. The work is done by a process of its own, `service.simulate`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click

from router.amounts import seconds_of
from router.rollout import span
from service.cli import launching, options, output

SCENARIOS = ("aa", "errors", "latency", "tail", "class", "score", "late")
UNNAMED = {"model": "simulated", "to": 2}
HEADINGS = ("SCENARIO", ">RUNS", ">ABORTED", ">HELD", ">PROMOTED", ">OTHER", ">NOTICED AFTER", ">REQUESTS UNTIL THEN",
            ">PROMOTED AFTER")  # fmt: skip

Document = dict[str, Any]


@click.command()
@click.option(
    "--spec", metavar="FILE", help="The rollout, as `serin apply` takes it; - reads standard input. [a canary]"
)
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(SCENARIOS), help="Only this; repeatable.")
@click.option("--rps", type=float, default=100.0, show_default=True, help="Requests a second, of both versions.")
@click.option("--errors", type=float, default=0.001, show_default=True, help="Stable's rate of errors.")
@click.option("--latency", metavar="TIME", default="0.02s", show_default=True, help="Stable's median latency.")
@click.option("--fault-errors", type=float, default=0.01, show_default=True, help="errors, late: the rate instead.")
@click.option("--fault-latency", type=float, default=1.5, show_default=True, help="latency, tail: so many times.")
@click.option("--fault-classes", type=float, default=0.05, show_default=True, help="class: the share that moves.")
@click.option("--fault-score", type=float, default=0.3, show_default=True, help="score: shifted by so many sd.")
@click.option("--after", metavar="TIME", default="10m", show_default=True, help="late: when the fault begins.")
@click.option("--horizon", metavar="TIME", default="6h", show_default=True, help="A rollout is followed so long.")
@click.option("--runs", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Of each scenario.")
@click.option("--minutes", type=click.FloatRange(0.01, 1440), default=5.0, show_default=True, help="Begin none after.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, other luck.")
@click.option("--processes", type=click.IntRange(0, 256), default=0, help="At the same time. [one for each core]")
@options.as_json
def simulate(
    spec: str | None, scenarios: tuple[str, ...], rps: float, errors: float, latency: str, fault_errors: float,
    fault_latency: float, fault_classes: float, fault_score: float, after: str, horizon: str, runs: int,
    minutes: float, seed: int, processes: int, as_json: bool,
) -> int:  # fmt: skip
    """Try a rollout's policy on synthetic traffic before it is used.

    Runs the steps and the evidence of a rollout many times against made-up requests: with nothing wrong, with errors,
    slower, with other predictions, and with a fault that begins late. Says how often it is aborted for nothing, how
    soon it notices a fault and after how many requests, and how long promotion takes. Needs no gateway.
    """
    setting = {
        "rate": rps, "errors": errors, "latency_seconds": seconds_of(latency), "fault_errors": fault_errors,
        "fault_latency": fault_latency, "fault_classes": fault_classes, "fault_score": fault_score,
        "late_seconds": seconds_of(after), "horizon_seconds": seconds_of(horizon),
    }  # fmt: skip
    order = {
        "document": launching.read(spec) if spec else UNNAMED, "setting": setting, "scenarios": scenarios,
        "runs": runs, "minutes": minutes, "seed": seed, "processes": processes, "asked_by": os.getpid(),
    }  # fmt: skip
    command, text = [sys.executable, "-m", "service.simulate"], json.dumps(order, default=str)
    asked = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)
    if asked.returncode:
        return asked.returncode
    found = json.loads(asked.stdout)
    if as_json:
        output.emit(found)
    else:
        _show(found)
    return 0


def _show(found: Document) -> None:
    setting = found["setting"]
    output.say(
        f"{found['model']}: {found['strategy']} with {', '.join(found['steps'])}\n"
        f"Synthetic traffic: {setting['rate']:g} requests a second, {100 * setting['errors']:.4g} % errors, "
        f"{1e3 * setting['latency_seconds']:g} ms latency (median)\n"
    )
    output.table(HEADINGS, [_row(one) for one in found["scenarios"]], empty="nothing was rehearsed")
    output.say("\nTimes and requests: median (slowest tenth). Held: nothing goes on before a person has looked.")
    for one in found["scenarios"]:
        if one["harmless"]:
            output.say(
                f"False aborts: {one['endings']['aborted']} of {one['runs']}, so below {100 * one['at_most']:.2g} % "
                f"(95 % confidence); the policy promises at most {100 * found['allowed_abort_rate']:g} %."
            )


def _row(one: Document) -> list[str]:
    ends = one["endings"]
    other = ends["decision"] + ends["expired"] + ends["undecided"]
    counts = [str(number) for number in (one["runs"], ends["aborted"], ends["held"], ends["promoted"], other)]
    noticed, promoted = (_spread(one[f"{name}_seconds"], span) for name in ("noticed", "promoted"))
    return [one["told"], *counts, noticed, _spread(one["exposed"], "{:,.0f}".format), promoted]


def _spread(numbers: Document, told: Callable[[float], str]) -> str:
    if numbers["median"] is None:
        return "-"
    return f"{told(numbers['median'])} ({told(numbers['slow'])})"
