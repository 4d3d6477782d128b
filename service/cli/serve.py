"""`serin serve` and `serin settings`: start a gateway; show what it would be started with."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from service import logs, settings, supervisor
from service.cli import options, output
from service.settings import Settings
from service.supervisor import Gateway

SAMPLE = "digits"
CURL = """curl -s {url}/v2/models/{model}/infer -d '{body}'"""


@click.command()
@options.every_setting
@options.as_json
def serve(as_json: bool, **flags: Any) -> None:
    """Start a gateway and serve models until Ctrl-C or SIGTERM.

    Every flag can also be set as SERIN_<NAME> in the environment or as <name> in serin.toml; a flag comes first, then
    the environment, then the file. With --json the addresses are printed as one line of JSON.
    """
    found = settings.load(flags)
    logs.configure(form=found.log_format, level=found.log_level, process="supervisor")

    def announce(gateway: Gateway) -> None:
        if as_json:
            output.emit_line(_addresses(gateway))
        else:
            output.say(welcome(gateway, sample_row(found.models)))

    sys.exit(supervisor.serve(found, announce))


@click.command("settings")
@options.every_setting
@options.as_json
@click.option("--markdown", is_flag=True, help="Print the reference page of all settings instead.")
def show_settings(as_json: bool, markdown: bool, **flags: Any) -> None:
    """Show every setting, its value and its origin."""
    if markdown:
        output.say(settings.reference())
        return
    found = settings.load(flags)
    values = found.model_dump(mode="json")
    if as_json:
        output.emit({name: {"value": value, "origin": found.origin(name)} for name, value in values.items()})
        return
    rows = [
        (name, value, found.origin(name), Settings.model_fields[name].description) for name, value in values.items()
    ]
    output.table(["SETTING", "VALUE", "FROM", "MEANING"], rows, empty="no settings")


def welcome(gateway: Gateway, row: list[Any] | None) -> str:
    """The text that greets who started the gateway."""
    workers = "1 worker" if gateway.workers == 1 else f"{gateway.workers} workers"
    lines = [
        f"Serin is ready: {workers}, models in {gateway.models}, state in {gateway.state}",
        "",
        f"  models   {gateway.http}   V2 protocol, /docs, /metrics",
        *([f"  gRPC     {gateway.grpc}   V2 protocol, health, reflection"] if gateway.grpc else []),
        f"  admin    {gateway.admin}   /api/v1, /metrics",
        "",
        "Try it:",
        "",
    ]
    if row is None:
        return "\n".join([*lines, f"  curl -s {gateway.http}/v2", ""])
    body = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, len(row)], "data": row}]}
    text = json.dumps(body, separators=(",", ":"))
    return "\n".join([*lines, "  " + CURL.format(url=gateway.http, model=SAMPLE, body=text), ""])


def sample_row(models: Path) -> list[Any] | None:
    """The first held-out row of the sample model, if that is what lies in the models directory."""
    try:
        rows = json.loads((models / SAMPLE / "heldout.json").read_text())["inputs"]["pixels"]
        row = rows[0]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return row if isinstance(row, list) else None


def _addresses(gateway: Gateway) -> dict[str, object]:
    return {
        "http": gateway.http,
        "grpc": gateway.grpc,
        "admin": gateway.admin,
        "workers": gateway.workers,
        "state": str(gateway.state),
    }
