"""`serin route`: who answers for a model, and how much."""

from typing import Any

import click

from router.client import AdminClient
from router.errors import InvalidArgument, NotFound
from service.cli import grammar, options, output

Document = dict[str, Any]

KEY_PLACES = ("header", "cookie", "parameter")


@click.group()
def route() -> None:
    """Show and set how traffic is split among versions."""


@route.command("show")
@click.argument("model", required=False)
@options.gateway
def show_route(asked: options.Asked, model: str | None) -> None:
    """Show the route of MODEL, or all routes."""
    with asked.connect() as client:
        found = client.route(model) if model else client.routes()
    if asked.as_json:
        output.emit(found)
    else:
        _show([found] if model else found["routes"])


@route.command("set")
@click.argument("model")
@click.argument("weights", nargs=-1, required=True, metavar="[NAME:]VERSION=PERCENT...")
@click.option("--alias", "aliases", multiple=True, metavar="NAME=VERSION", help="Also point an alias; repeatable.")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="'header: value -> variant'; replaces all rules.")
@click.option("--no-rules", is_flag=True, help="Take all rules away.")
@click.option("--key-header", metavar="HEADER", help="Header that holds the routing key.")
@click.option("--key-cookie", metavar="COOKIE", help="Cookie that holds the routing key.")
@click.option("--key-parameter", metavar="NAME", help="V2 parameter that holds the routing key.")
@click.option("--salt", help="Salt of the split; another salt draws all keys anew.")
@click.option("--if-match", metavar="REVISION", type=click.IntRange(0), help="Only if the route still is at this.")
@click.option("--reason", default="", help="Why; recorded in the event.")
@options.gateway
def set_route(
    asked: options.Asked, model: str, weights: tuple[str, ...], if_match: int | None, reason: str, **changes: Any
) -> None:
    """Split the traffic of MODEL, as in: serin route set digits 1=90 2=10

    Weights are percent and sum to 100. A version may be an alias, or UPSTREAM#MODEL[/VERSION] for one elsewhere; NAME:
    gives the variant another name, as in canary:2=10. What no flag names stays as it is. The command returns when every
    worker has applied it.
    """
    body: Document = {"variants": grammar.shares(weights), "reason": reason or None}
    with asked.connect() as client:
        recorded = _recorded(client, model) if _needs_recorded(changes) else None
        body |= changed_fields(changes, recorded)
        if recorded is not None and if_match is None:
            # What was merged here was read a moment ago: it must still be so.
            if_match = recorded["revision"]
        answer = client.set_route(model, body, if_match)
    _answer(answer, asked.as_json)


@route.command("alias")
@click.argument("model")
@click.argument("aliases", nargs=-1, required=True, metavar="NAME=VERSION...")
@click.option("--if-match", metavar="REVISION", type=click.IntRange(0), help="Only if the route still is at this.")
@click.option("--reason", default="", help="Why; recorded in the event.")
@options.gateway
def set_alias(asked: options.Asked, model: str, aliases: tuple[str, ...], if_match: int | None, reason: str) -> None:
    """Point aliases of MODEL to versions, as in: serin route alias digits champion=2 (champion= takes it away)."""
    with asked.connect() as client:
        body = {"aliases": grammar.aliases(aliases), "reason": reason or None}
        answer = client.patch_route(model, body, if_match)
    _answer(answer, asked.as_json)


def changed_fields(changes: Document, recorded: Document | None) -> Document:
    """The fields of a PUT that the flags ask for. Aliases and the key source are merged with what is recorded."""
    if changes["rules"] and changes["no_rules"]:
        raise InvalidArgument("--rule and --no-rules exclude each other")
    body: Document = {}
    if changes["rules"] or changes["no_rules"]:
        body["rules"] = grammar.rules(changes["rules"])
    if changes["salt"] is not None:
        body["salt"] = changes["salt"]
    if changes["aliases"]:
        merged = {**(recorded or {}).get("aliases", {}), **grammar.aliases(changes["aliases"])}
        body["aliases"] = {name: version for name, version in merged.items() if version is not None}
    key = {name: changes[f"key_{name}"] for name in KEY_PLACES}
    if any(value is not None for value in key.values()):
        before = (recorded or {}).get("key", {})
        body["key"] = {**before, **{name: value or None for name, value in key.items() if value is not None}}
    if "key" in body and body["key"].get("header"):
        body["key"]["header"] = body["key"]["header"].lower()
    return body


def _needs_recorded(changes: Document) -> bool:
    return bool(changes["aliases"]) or any(changes[f"key_{name}"] is not None for name in KEY_PLACES)


def _recorded(client: AdminClient, model: str) -> Document | None:
    try:
        return client.route(model)
    except NotFound:
        return None


def _answer(answer: Document, as_json: bool) -> None:
    if as_json:
        output.emit(answer)
        return
    output.say(f"revision {answer['revision']}, applied by {answer['applied']} of {answer['workers']} workers")
    _show([answer["route"]])


def _show(routes: list[Document]) -> None:
    rows = [
        (r["model"], v["name"], v["version"], output.number(v["weight"]), _aliases_of(r, v["version"]), r["revision"])
        for r in routes
        for v in r["variants"]
    ]
    output.table(
        ["MODEL", "VARIANT", ">VERSION", ">WEIGHT %", "ALIASES", ">REVISION"], rows, empty="There are no routes."
    )
    for route in routes:
        for rule in route["rules"]:
            value = "" if rule["value"] is None else f": {rule['value']}"
            output.say(f"{route['model']}: rule {rule['header']}{value} -> {rule['variant']}")
        loose = {a: v for a, v in route["aliases"].items() if v not in {one["version"] for one in route["variants"]}}
        if loose:
            output.say(
                f"{route['model']}: " + ", ".join(f"{alias} = version {version}" for alias, version in loose.items())
            )


def _aliases_of(route: Document, version: int) -> str:
    return ", ".join(alias for alias, target in route["aliases"].items() if target == version)
