"""`serin feedback`: labels and rewards for answers, from a person or from a file."""

import json
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import quote

import click
import httpx

from router.errors import InvalidArgument, Unavailable
from router.exchange import error_in, tls_trouble
from service.cli import options, output

Document = dict[str, Any]

BATCH = 500
"""Items a request: the gateway takes 1000, in a megabyte."""
MAX_SHOWN = 10
SECONDS = 30.0


@click.command()
@click.argument("model")
@click.option("--assignment", metavar="TOKEN", help="The Serin-Assignment of an answer.")
@click.option("--label", help="The class that would have been right.")
@click.option("--reward", type=click.Choice(["0", "1"]), help="1 if the answer was good, 0 if not.")
@click.option("--file", type=click.File("rb"), metavar="FILE", help="JSON lines, an item each; - is standard input.")
@click.option("--url", metavar="URL", help="Where clients reach the models, if not as settings say.")
@options.config
@options.ca_file
@options.api_key_file
@options.as_json
def feedback(
    model: str,
    assignment: str | None,
    label: str | None,
    reward: str | None,
    file: IO[bytes] | None,
    url: str | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Say whether answers of MODEL were right, by the token that came with each.

    A line of FILE is like {"assignment": "...", "label": "7"} or {"assignment": "...", "reward": 1}. To send the same
    again is safe: each answer counts once. Exits with 1 when something was refused.
    """
    if (file is None) == (assignment is None):
        raise InvalidArgument("give either --assignment with --label or --reward, or --file")
    items = _one(str(assignment), label, reward) if file is None else _lines(file)
    with options.public_client(url, flags, SECONDS) as http:
        told = _send(http, model, items)
    if as_json:
        output.emit(told)
    else:
        output.say(f"{told['counted']} counted, {told['repeated']} counted before, {told['refused']} refused")
        for error in told["errors"][:MAX_SHOWN]:
            output.complain(f"item {error['index'] + 1}: {error['error']}")
    if told["refused"]:
        raise click.exceptions.Exit(1)


def _one(assignment: str, label: str | None, reward: str | None) -> Iterator[Document]:
    if (label is None) == (reward is None):
        raise InvalidArgument("--assignment needs either --label or --reward")
    yield {"assignment": assignment, **({"label": label} if reward is None else {"reward": int(reward)})}


def _lines(file: IO[bytes]) -> Iterator[Document]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InvalidArgument(f"line {number} is not JSON; what came before it was sent") from error


def _send(http: httpx.Client, model: str, items: Iterator[Document]) -> Document:
    """All items in batches, and one answer for them; places of errors are those in the whole."""
    whole: Document = {"counted": 0, "repeated": 0, "refused": 0, "errors": []}
    sent = 0
    for batch in _batches(items):
        told = _post(http, model, batch)
        for word in ("counted", "repeated", "refused"):
            whole[word] += told[word]
        whole["errors"] += [{**error, "index": error["index"] + sent} for error in told["errors"]]
        sent += len(batch)
    return whole


def _post(http: httpx.Client, model: str, batch: list[Document]) -> Document:
    try:
        answer = http.post(f"/v2/models/{quote(model, safe='')}/feedback", json={"feedback": batch})
    except httpx.HTTPError as error:
        if trouble := tls_trouble(error, http.base_url):
            raise Unavailable(f"{http.base_url}: {trouble}") from error
        raise Unavailable(
            f"nothing answers at {http.base_url} ({type(error).__name__}): is `serin serve` running? "
            "Give the address that clients use with --url"
        ) from error
    if answer.is_error:
        raise error_in(answer)
    told: Document = answer.json()
    return told


def _batches(items: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
