"""`serin status`: the gateway at a glance."""

from typing import Any

import click

from service.cli import options, output

HIDDEN = frozenset({"workers"})


@click.command()
@options.gateway
def status(asked: options.Asked) -> None:
    """Show the running gateway and its workers."""
    with asked.connect() as client:
        found: dict[str, Any] = client.status()
    if asked.as_json:
        output.emit(found)
        return
    facts = [(name.replace("_", " "), _plain(value)) for name, value in found.items() if name not in HIDDEN]
    output.table(["GATEWAY", ""], facts, empty="")
    output.say("")
    rows = [
        (w["worker"], w["pid"], "yes" if w["listening"] else "no", w["applied"], _refusal(w["refused"]))
        for w in found["workers"]
    ]
    output.table([">WORKER", ">PROCESS", "LISTENS", ">REVISION", "REFUSED"], rows, empty="No worker is known yet.")


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{one['model']}:{one['version']}" for one in value) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(refused: dict[str, Any] | None) -> str:
    return f"revision {refused['revision']}: {refused['reason']}" if refused else ""
