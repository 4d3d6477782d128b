"""`serin rollout` and `serin apply`: take a model to another version, step by step."""

import time
from typing import Any

import click

from router.amounts import seconds_of
from router.client import AdminClient
from router.errors import InvalidArgument
from service.cli import evidence_text, launching, options, output, replaying, rollout_text, waiting
from service.cli import explain as explaining
from service.cli import watch as watching
from service.cli.rollout_moves import MOVES, answered

Document = dict[str, Any]

PAGE = 200

identity = click.option("--id", "identity", metavar="ROLLOUT", help="An earlier one, such as digits-7; else the last.")
if_match = click.option("--if-match", metavar="NUMBER", type=click.IntRange(0), help="Only if the last one is this.")
file = click.option("-f", "--file", metavar="FILE", help="A document, YAML or JSON; - is standard input.")


@click.group()
def rollout() -> None:
    """Take a model to another version step by step, watch it, steer it, go back."""


@rollout.command("start")
@click.argument("model")
@file
@launching.flags
@if_match
@click.option("--reason", default="", help="Why; recorded in the history.")
@options.gateway
def start(
    asked: options.Asked, model: str, file: str | None, if_match: int | None, reason: str, **given: Any
) -> Document | None:
    """Begin a rollout of MODEL, as in: serin rollout start digits --to 2 --steps 1,5,25,50 --pause 10m

    Flags go before what a file says. An open rollout is in the way of another one; `abort` ends it.
    """
    document = launching.document(launching.read(file) if file else {}, given)
    if reason:
        document["reason"] = reason
    with asked.connect() as client:
        answered(client.start_rollout(model, document, if_match), asked.as_json)
    return None


@click.command("apply")
@click.option("-f", "--file", "files", metavar="FILE", multiple=True, required=True, help="YAML or JSON; - is stdin.")
@if_match
@click.option("--reason", default="", help="Why; recorded in the history.")
@options.gateway
def apply(asked: options.Asked, files: tuple[str, ...], if_match: int | None, reason: str) -> None:
    """Apply rollouts from files; the same document again changes nothing.

    A document that is the model's last rollout is answered with that rollout, whatever became of it; `serin rollout
    start -f FILE` begins anew.
    """
    documents = [launching.read(name) for name in files]
    for name, document in zip(files, documents, strict=True):
        if not isinstance(document.get("model"), str):
            raise InvalidArgument(f"{name}: model: required here, as in model: digits")
    with asked.connect() as client:
        for document in documents:
            more = {"reason": reason} if reason else {}
            answered(client.apply_rollout(document["model"], {**document, **more}, if_match), asked.as_json)


@rollout.command("status")
@click.argument("model")
@identity
@options.gateway
def status(asked: options.Asked, model: str, identity: str | None) -> None:
    """Show the last rollout of MODEL: where it is and why, weights, checks with their numbers."""
    with asked.connect() as client:
        found = _found(client, model, identity)
    if asked.as_json:
        output.emit(found)
        return
    output.say("\n".join(rollout_text.lines(found)) + "\n")
    output.table(rollout_text.VARIANTS, rollout_text.variant_rows(found), empty="It has no variants.")
    if found["checks"]:
        output.say("")
        output.table(rollout_text.CHECKS, rollout_text.check_rows(found), empty="")
    if rows := evidence_text.evidence_rows(found):
        output.say("\n" + "\n".join([*evidence_text.evidence_lines(found), ""]))
        output.table(evidence_text.EVIDENCE, rows, empty="")
    if found["pairs"]:
        output.say("\nthe answers to mirrored requests that lie furthest apart (`serin rollout pairs` has more):")
        output.table(rollout_text.PAIRS, rollout_text.pair_rows(found["pairs"]), empty="")


@rollout.command("explain")
@click.argument("model")
@identity
@options.gateway
def explain(asked: options.Asked, model: str, identity: str | None) -> None:
    """Say in sentences what holds the rollout of MODEL, what comes next, and who may do what."""
    with asked.connect() as client:
        found = _found(client, model, identity)
    told = [text for text in explaining.sentences(found) if text]
    output.emit(told) if asked.as_json else output.say("\n".join(told))


@rollout.command("replay")
@click.argument("model")
@identity
@options.gateway
def replay(asked: options.Asked, model: str, identity: str | None) -> int:
    """Weigh the logged blocks of the last rollout of MODEL again; exit code 1 when that gives another answer."""
    with asked.connect() as client:
        named = identity or client.rollout(model)["id"]
        found = replaying.replay(replaying.log_of(client, named))
    if asked.as_json:
        output.emit({"rollout": named, **found})
    else:
        output.say(replaying.told(named, found))
    return 1 if found["differs"] else 0


@rollout.command("list")
@click.option("--model", metavar="MODEL", help="Only rollouts of this model.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@options.gateway
def list_rollouts(asked: options.Asked, model: str | None, limit: int) -> None:
    """List rollouts, the newest first."""
    with asked.connect() as client:
        found = client.rollouts(None, limit, model)
    if asked.as_json:
        output.emit(found)
        return
    output.table(rollout_text.LIST, rollout_text.list_rows(found["rollouts"]), empty="There has been no rollout yet.")


@rollout.command("history")
@click.argument("model")
@identity
@options.gateway
def history(asked: options.Asked, model: str, identity: str | None) -> None:
    """Show everything that happened to the last rollout of MODEL, oldest first."""
    with asked.connect() as client:
        events = _history(client, identity or client.rollout(model)["id"])
    if asked.as_json:
        output.emit(events)
        return
    output.table(rollout_text.HISTORY, rollout_text.event_rows(events), empty="Nothing has happened yet.")


@rollout.command("pairs")
@click.argument("model")
@identity
@options.gateway
def pairs(asked: options.Asked, model: str, identity: str | None) -> None:
    """Show the answers to mirrored requests that lie furthest apart; what is kept of them the document's `pairs` say.

    REQUEST is the hash of its body; --json has inputs and more values, where they are kept.
    """
    with asked.connect() as client:
        found = client.rollout_pairs(identity or client.rollout(model)["id"])["mirrors"]
    if asked.as_json:
        output.emit(found)
        return
    output.table(rollout_text.PAIRS, rollout_text.pair_rows(found), empty="No mirrored request was answered apart.")


@rollout.command("watch")
@click.argument("model")
@click.option("--interval", default="1s", show_default=True, metavar="TIME", help="How often it is looked at.")
@options.gateway
def watch(asked: options.Asked, model: str, interval: str) -> int:
    """Show the rollout of MODEL live until it is promoted or has ended; exit codes as those of `wait`.

    Where the output is no terminal, and with --json, there is one line for each change.
    """
    with asked.connect() as client:
        return watching.watch(client, model, max(0.1, seconds_of(interval)), asked.as_json)


@rollout.command("wait")
@click.argument("model")
@click.option("--timeout", metavar="TIME", default="1h", show_default=True, help="Give up after this; exit code 4.")
@options.gateway
def wait(asked: options.Asked, model: str, timeout: str) -> int:
    """Wait until the rollout of MODEL is decided. Exit codes: 0 promoted, 3 aborted, 4 timed out."""
    deadline = time.monotonic() + seconds_of(timeout)
    found, code = None, None
    with asked.connect() as client:
        for seen in waiting.follow(client, model, 0.5):
            found = seen or found
            code = waiting.exit_code(seen) if seen is not None else None
            if code is not None or time.monotonic() >= deadline:
                break
    assert found is not None  # the first answer came, or it raised
    if asked.as_json:
        output.emit(found)
    else:
        output.say("\n".join(rollout_text.lines(found)))
    return waiting.TIMED_OUT if code is None else code


@rollout.command("schema")
@options.gateway
def schema(asked: options.Asked) -> None:
    """Print the JSON Schema of a rollout's document, for editors; --json changes nothing."""
    with asked.connect() as client:
        output.emit(client.rollout_schema())


for move in MOVES:
    rollout.add_command(move)


def _found(client: AdminClient, model: str, identity: str | None) -> Document:
    return client.rollout_by_id(identity) if identity else client.rollout(model)


def _history(client: AdminClient, identity: str) -> list[Document]:
    found: list[Document] = []
    after = 0
    while True:
        page = client.rollout_history(identity, after, PAGE)
        found += page["events"]
        if len(page["events"]) < PAGE:
            return found
        after = page["next_after"]
