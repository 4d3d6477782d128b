"""`serin audit`: whether the history is what was recorded, and a copy of it to keep elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from router.auditfile import events_of
from router.chain import ChainBroken, walk
from service.cli import options, output

Document = dict[str, Any]

PAGE = 1000
STATE = click.option("--state", metavar="DIR", help="A state directory, in use or not, in place of the API.")


@click.group()
def audit() -> None:
    """Check the history, or copy it."""


@audit.command()
@STATE
@click.option("--file", type=click.File("rb"), metavar="FILE", help="An exported history; - is standard input.")
@click.option("--expect-head", default="", metavar="HASH", help="A head kept elsewhere, at least 12 digits.")
@options.gateway
def verify(asked: options.Asked, state: str | None, file: IO[bytes] | None, expect_head: str) -> None:
    """Walk the chain of the history. Exits with 0 when it is whole, with 1 when it is not.

    What is whole may still have been cut off at the end, or written anew from its beginning: only --expect-head, with
    a head that was kept elsewhere, tells.
    """
    if state is not None and file is not None:
        raise click.UsageError("--state and --file exclude each other")
    found = walk(_lines(file) if file is not None else _events(asked, state), expect_head)
    if asked.as_json:
        output.emit({"whole": True, "events": found.events, "head": found.head, "expected_at": found.kept_at})
        return
    where = f"; the expected head is event {found.kept_at}" if found.kept_at else ""
    output.say(f"{found.events} events, chain whole, head {found.head}{where}")


@audit.command()
@STATE
@options.gateway
def export(asked: options.Asked, state: str | None) -> None:
    """Print the whole history as JSON lines, oldest first; --json changes nothing."""
    for event in _events(asked, state):
        output.emit_line(event)


def _events(asked: options.Asked, state: str | None) -> Iterator[Document]:
    if state is not None:
        yield from events_of(Path(state))
        return
    with asked.connect() as client:
        after = 0
        while page := client.events(after, PAGE)["events"]:
            yield from page
            after = page[-1]["id"]


def _lines(file: IO[bytes]) -> Iterator[Document]:
    for number, line in enumerate(file, 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise ChainBroken(f"line {number} is not JSON") from error
        if not isinstance(event, dict):
            raise ChainBroken(f"line {number} is no event")
        yield event
