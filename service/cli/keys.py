"""`serin key`: API keys in their file. A key is shown once, when it is made; the file holds its hash."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from router.access import Role, is_actor, key_rows
from router.amounts import seconds_of
from router.errors import InvalidArgument, NotFound
from service import settings
from service.access import load_keys
from service.cli import options, output
from service.keyfile import Wish, add, make, revoke

MISSING = "which file? Say --keys-file FILE, or set keys_file in serin.toml or SERIN_KEYS_FILE"
keys_file = click.option("--keys-file", metavar="FILE", help="File of the keys, if not as settings say.")


@click.group()
def key() -> None:
    """API keys: make, list, take back. A gateway takes up changes of its file within two seconds."""


@key.command("new")
@click.option("--name", required=True, metavar="NAME", help="Who has it; the name stands in the history.")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice([str(role) for role in Role]), help="Repeatable."
)
@click.option("--model", "models", multiple=True, metavar="MODEL", help="predict: only this model; repeatable.")
@click.option("--expires", metavar="WHEN", help="A time from now such as 90d, or a date such as 2027-01-31.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Requests a second, at most.")
@click.option("--burst", type=click.FloatRange(min=1), metavar="N", help="So many may come at once. [the rate]")
@click.option("--note", default="", metavar="TEXT", help="For people.")
@keys_file
@options.config
@options.as_json
def new(
    name: str,
    roles: tuple[str, ...],
    models: tuple[str, ...],
    expires: str | None,
    rate: float | None,
    burst: float | None,
    note: str,
    keys_file: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Make a key, add its hash to the file, and print it: it is not shown again.

    Roles: predict (ask models), viewer (see everything), operator (routes, rollouts, loads), admin (all of it).
    """
    if not is_actor(name):
        raise InvalidArgument("--name: must be 1 to 64 letters, digits or any of . _ - @")
    wish = Wish(name, roles, models, _moment(expires), rate, burst, note)
    path = _path(keys_file, config)
    made = make()
    add(path, made, wish)
    if as_json:
        output.emit({"id": made.id, "name": name, "key": made.key})
    else:
        output.say(made.key)
        click.echo(f"serin: this is shown once; {path} holds only its hash, under the id {made.id}", err=True)


@key.command("list")
@keys_file
@options.config
@options.as_json
def list_keys(keys_file: str | None, config: str | None, as_json: bool) -> None:
    """Show the keys of the file."""
    found = load_keys(_path(keys_file, config)).keys
    rows = [key_rows(one) for one in sorted(found.values(), key=lambda one: (one.name, one.id))]
    if as_json:
        output.emit({"keys": rows})
        return
    output.table(["ID", "NAME", "ROLES", "MODELS", "EXPIRES", "RATE", "NOTE"], map(_cells, rows), empty="no keys")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@keys_file
@options.config
def revoke_key(key_id: str, keys_file: str | None, config: str | None) -> None:
    """Take the key with this id out of the file."""
    path = _path(keys_file, config)
    if not revoke(path, key_id):
        raise NotFound(f"{path} has no key with the id {key_id[:64]}; `serin key list` shows all")
    output.say(f"{key_id} is taken back; gateways let it in no more within two seconds")


def _path(keys_file: str | None, config: str | None) -> Path:
    found = settings.load({"config": config, "keys_file": keys_file}).keys_file
    if found is None:
        raise InvalidArgument(MISSING)
    return found


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    now = datetime.now(UTC)
    if re.fullmatch(r"[0-9.]+[a-z]+", text):
        return now + timedelta(seconds=seconds_of(text))
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument("--expires: is neither a time such as 90d nor a date such as 2027-01-31") from None
    moment = given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    if moment <= now:
        raise InvalidArgument("--expires: is over already")
    return moment


def _cells(row: dict[str, Any]) -> list[object]:
    models = "all" if row["models"] is None else ", ".join(row["models"])
    rate = f"{output.number(row['requests_per_second'])}/s" if row["requests_per_second"] else ""
    return [row["id"], row["name"], ", ".join(row["roles"]), models, row["expires"] or "never", rate, row["note"]]
