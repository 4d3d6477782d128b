"""`serin assign`: who answers a key, recomputed as the gateway does it."""

import os
from typing import Any

import click

from router.routes import Route, Variant, validate_route
from router.split import choose, score, uniform
from service.cli import grammar, options, output


@click.command()
@click.argument("model")
@click.argument("weights", nargs=-1, metavar="[VERSION=PERCENT]...")
@click.option("--key", required=True, help="The routing key, as clients send it.")
@click.option("--salt", default=None, help="Salt of the split, if not the recorded one (offline: the model's name).")
@options.gateway
def assign(asked: options.Asked, model: str, weights: tuple[str, ...], key: str, salt: str | None) -> None:
    """Say which variant a routing key is assigned to, and why.

    With weights, as in `serin assign digits --key user-7 1=90 2=10`, nothing is asked of a gateway; without them the
    route that the running gateway has recorded is used. The variant with the smallest score wins: score = -ln(u) /
    weight, u from xxh3_64(salt, 0, key, 0, variant).
    """
    route = _offline(model, weights) if weights else _recorded(model, asked)
    used = salt if salt is not None else route.salt or model
    found = explain(route, used, key)
    if asked.as_json:
        output.emit(found)
        return
    rows = [
        (v["variant"], v["version"] or "", output.number(v["weight"]), v["u"], v["score"], "<-" if v["chosen"] else "")
        for v in found["scores"]
    ]
    output.table(["VARIANT", "VERSION", ">WEIGHT %", ">U", ">SCORE", ""], rows, empty="no variants")


def explain(route: Route, salt: str, key: str) -> dict[str, Any]:
    """The assignment of `key` with the numbers behind it; a score is None for a variant without weight."""
    salted = Route(model=route.model, variants=route.variants, salt=salt)
    raw = os.fsencode(key)  # the bytes as they were typed, whatever their encoding
    chosen = choose(salted, raw, draw=0.0)

    def row(variant: Variant) -> dict[str, Any]:
        return {
            "variant": variant.name,
            "version": variant.version or None,
            "weight": variant.weight_ppm / 10_000,
            "u": uniform(salt, raw, variant.name),
            "score": score(salt, raw, variant) if variant.weight_ppm else None,
            "chosen": variant == chosen,
        }

    return {
        "model": route.model,
        "key": key,
        "salt": salt,
        "variant": chosen.name,
        "version": chosen.version or None,
        "scores": [row(variant) for variant in route.variants],
    }


def _offline(model: str, weights: tuple[str, ...]) -> Route:
    route = Route(model=model, variants=grammar.variants(weights))
    # An alias has no version here; any stands for it where only names and weights are checked.
    validate_route(Route(model, tuple(Variant(v.name, v.version or 1, v.weight_ppm) for v in route.variants)))
    return route


def _recorded(model: str, asked: options.Asked) -> Route:
    with asked.connect() as client:
        found = client.route(model)
    variants = tuple(Variant(v["name"], v["version"], v["weight_ppm"]) for v in found["variants"])
    return Route(model=model, variants=variants, salt=found["salt"])
