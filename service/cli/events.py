"""`serin events`: who changed what, and why."""

import json
from typing import Any

import click

from service.cli import options, output, rollout_text

Document = dict[str, Any]

LONGEST = 60


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on printing events as they happen.")
@click.option("--model", metavar="MODEL", help="Only events of this model.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(0, 1000), help="How many past events.")
@click.option("--after", metavar="ID", type=click.IntRange(0), help="Only events after this one, oldest first.")
@options.gateway
def events(asked: options.Asked, follow: bool, model: str | None, limit: int, after: int | None) -> None:
    """Show the last events, oldest first.

    With --follow --json every event is one line of JSON.
    """
    with asked.connect() as client:
        found = client.events(after, limit, model)["events"] if limit else []
        if asked.as_json and not follow:
            output.emit(found)
            return
        if not follow:
            rows = [(e["id"], e["at"], e["actor"], e["kind"], e["model"] or "", change(e), e["reason"]) for e in found]
            headings = [">ID", "AT", "WHO", "WHAT", "MODEL", "CHANGE", "WHY"]
            output.table(headings, rows, empty="There are no events yet.")
            return
        for event in found:
            _print(event, asked.as_json)
        last = max((event["id"] for event in found), default=after)
        for event in client.follow_events(after=last, model=model):
            _print(event, asked.as_json)


def change(event: Document) -> str:
    """Before and after in a few words: `1=100 -> 1=90 2=10`."""
    before, after = (_brief(event[side]) for side in ("before", "after"))
    if before == after:
        return after
    return f"{before} -> {after}" if before else after


def _brief(value: object) -> str:
    if isinstance(value, dict) and isinstance(value.get("variants"), list):
        split = " ".join(f"{_named(v)}={output.number(v['weight'])}" for v in value["variants"])
        aliases = " ".join(f"{name}->{version}" for name, version in value.get("aliases", {}).items())
        return f"{split} {aliases}".strip()
    if value is None:
        return ""
    if (rollout := rollout_text.brief(value)) is not None:
        return rollout
    if isinstance(value, dict) and value and all(str(item).startswith("sha256:") for item in value.values()):
        return "versions " + ", ".join(value)
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _named(variant: Document) -> str:
    name, version = variant["name"], str(variant["version"])
    return version if name == version else f"{name}:{version}"


def _print(event: Document, as_json: bool) -> None:
    if as_json:
        output.emit_line(event)
        return
    why = f"  ({event['reason']})" if event["reason"] else ""
    words = (event["id"], event["at"], event["actor"], event["kind"], event["model"] or "", change(event))
    output.say("  ".join(str(word) for word in words if word != "") + why)
