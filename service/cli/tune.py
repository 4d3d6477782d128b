"""`serin tune`: try ways to run a version on this machine, and write the best into its model.toml."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from router.errors import InvalidArgument, NotFound
from service import settings
from service.cli import options, output
from service.cli.trials import Subject, attempt
from service.cores import available_cores
from service.runtime import repository
from service.runtime.repository import MANIFEST_FILE
from service.tuning import BATCHES, Outcome, Setup, Value, best, better, grid, with_tables

PASSES = 2
"""Each setup is tried in both of them, so that what disturbs one for a while does not decide."""


@click.command()
@click.argument("model")
@click.option("--models", metavar="DIRECTORY", help="Where the models are, if not as settings say.")
@click.option("--version", type=click.IntRange(1), help="The version to try. [the newest]")
@click.option("--inputs", metavar="FILE", help="V2 request bodies, one a line. [the golden rows, else zeros]")
@click.option("--callers", type=click.IntRange(1, 1024), default=64, show_default=True, help="Requests under way.")
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Of each trial.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1, 65_536), help=f"Rows. [{BATCHES}]")
@click.option("--p99-ms", type=click.FloatRange(0, min_open=True), help="The best must keep this at that many callers.")
@click.option("--write", is_flag=True, help="Write the best into the model's model.toml.")
@options.config
@options.as_json
def tune(
    model: str,
    models: str | None,
    version: int | None,
    inputs: str | None,
    callers: int,
    seconds: float,
    batches: Sequence[int],
    p99_ms: float | None,
    write: bool,
    config: str | None,
    as_json: bool,
) -> None:
    """Try ways to run MODEL: workers x threads x rows of a batch x on the loop or in threads.

    It runs the model and no server, beside whatever else the machine does: keep it quiet meanwhile. Fewer --callers
    show what few callers get, more of them what the machine can do.
    """
    directory = settings.load({"config": config, "models": models}).models
    subject = Subject(str(directory), model, _version(directory, model, version), callers, seconds, _file(inputs))
    outcomes, source = _try_all(subject, grid(available_cores(), batches=tuple(batches) or BATCHES))
    found = best(outcomes, p99_ms)
    if as_json:
        output.emit({"inputs": source, "best": found and _plain(found), "tried": [_plain(one) for one in outcomes]})
    else:
        _show(outcomes, found, source)
    if found is None:
        raise InvalidArgument(f"no setup kept a p99 of {p99_ms:g} ms" if p99_ms else "no setup answered every request")
    if write:
        _write(directory / model / MANIFEST_FILE, found.setup)
    if not as_json:
        output.say(_advice(found, model, write))


def _version(directory: Path, model: str, version: int | None) -> int:
    found = repository.scan(directory).get(model)
    if found is None or not found.versions:
        raise NotFound(f"there is no model {model!r} in {directory}")
    if version is not None and version not in found.versions:
        raise NotFound(f"{model} has no version {version}; it has {', '.join(map(str, sorted(found.versions)))}")
    return version or max(found.versions)


def _file(inputs: str | None) -> str:
    return "" if inputs is None else os.path.abspath(inputs)


def _try_all(subject: Subject, setups: Sequence[Setup]) -> tuple[list[Outcome], str]:
    found: dict[Setup, Outcome] = {}
    source = ""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{subject.model}:{subject.version}", total=PASSES * len(setups))
        for setup in [*setups] * PASSES:
            outcome, source = attempt(subject, setup)
            found[setup] = better(found.get(setup), outcome)
            progress.advance(task)
    return list(found.values()), source


def _show(outcomes: Sequence[Outcome], found: Outcome | None, source: str) -> None:
    headings = [">WORKERS", ">THREADS", ">BATCH", "MODE", ">REQUESTS/S", ">P50 MS", ">P99 MS", ">FAILED", ""]
    rows = [
        (
            *(one.setup.workers, one.setup.threads, one.setup.batch, one.setup.mode),
            *(f"{one.per_second:,.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", one.failed),
            "best" if one is found else "",
        )
        for one in sorted(outcomes, key=lambda one: -one.per_second)
    ]
    output.table(headings, rows, empty="nothing was tried")
    output.say(f"\nInputs: {source}. HTTP is not part of it.")


def _advice(found: Outcome, model: str, written: bool) -> str:
    tables = "; ".join(f"[{table}] {_pairs(values)}" for table, values in found.setup.tables.items())
    where = f"Written into {model}/{MANIFEST_FILE}" if written else f"Write into {model}/{MANIFEST_FILE} (or --write)"
    return f"{where}: {tables}\nStart the server with: serin serve --workers {found.setup.workers}"


def _pairs(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{key} = {value!r}".replace("'", '"') for key, value in values.items())


def _write(file: Path, setup: Setup) -> None:
    text = file.read_text() if file.exists() else ""
    changed = with_tables(text, setup.tables)
    new = file.with_name(f".{file.name}.new")
    new.write_text(changed)
    os.replace(new, file)


def _plain(one: Outcome) -> dict[str, object]:
    setup = {name: getattr(one.setup, name) for name in ("workers", "threads", "batch", "mode")}
    return {**setup, **{name: getattr(one, name) for name in ("per_second", "p50_ms", "p99_ms", "failed")}}
