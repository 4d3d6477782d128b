"""The small grammar of `serin route` and `serin assign`: text that a person types, to documents of the admin API."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from router.errors import InvalidArgument
from router.routes import PPM, Variant, is_version, percent_to_ppm, ppm_to_percent
from router.targets import default_name

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
TARGET = rf"{NAME}#{NAME}(?:/{NAME})?"
VARIANT = re.compile(rf"^(?:(?P<name>{NAME}):)?(?P<version>{TARGET}|{NAME})=(?P<weight>[^=]+)$")
RULE = re.compile(r"^(?P<header>[^:\s]+)\s*(?::\s*(?P<value>.*?))?\s*->\s*(?P<variant>\S+)$")
ALIAS = re.compile(rf"^(?P<name>{NAME})=(?P<version>[0-9]*)$")

Document = dict[str, Any]


def shares(words: Sequence[str]) -> list[Document]:
    """`1=90 canary:2=10 stable=5` as the variants of a PUT. Weights are percent and must sum to 100.

    A word is `[name:]version=percent`; the version may be an alias or a target; without a name its text is the name.
    """
    found = []
    total = 0
    for word in words:
        match = VARIANT.match(word)
        if match is None:
            raise InvalidArgument(f"{word!r} is not [name:]version=percent, such as 2=10 or canary:2=12.5")
        weight_ppm = percent_to_ppm(match["weight"])
        total += weight_ppm
        share: Document = {"version": int(match["version"]) if is_version(match["version"]) else match["version"]}
        found.append({**({"name": match["name"]} if match["name"] else {}), **share, "weight": _number(weight_ppm)})
    if total != PPM:
        raise InvalidArgument(f"the weights sum to {ppm_to_percent(total)} percent, not to 100: {' '.join(words)}")
    return found


def variants(words: Sequence[str]) -> tuple[Variant, ...]:
    """The same words as variants of an offline route; an alias counts as version 0, since only its name is hashed."""
    return tuple(
        Variant(
            name=share.get("name", default_name(str(share["version"]))),
            version=share["version"] if isinstance(share["version"], int) else 0,
            weight_ppm=percent_to_ppm(share["weight"]),
        )
        for share in shares(words)
    )


def rules(words: Sequence[str]) -> list[Document]:
    """`x-beta: 1 -> canary` (that value) or `x-beta -> canary` (any value) as rules of a PUT."""
    found = []
    for word in words:
        match = RULE.match(word.strip())
        if match is None:
            raise InvalidArgument(f"{word!r} is not 'header: value -> variant' or 'header -> variant'")
        value = {"value": match["value"]} if match["value"] else {}
        found.append({"header": match["header"].lower(), **value, "variant": match["variant"]})
    return found


def aliases(words: Sequence[str]) -> dict[str, int | None]:
    """`champion=2` as name and version; `champion=` takes the alias away."""
    found: dict[str, int | None] = {}
    for word in words:
        match = ALIAS.match(word)
        if match is None or match["version"].startswith("0"):
            raise InvalidArgument(f"{word!r} is not alias=version, such as champion=2 (champion= takes it away)")
        found[match["name"]] = int(match["version"]) if match["version"] else None
    return found


def version_of(text: str) -> tuple[str, int | None]:
    """`digits` or `digits:2` as model and version."""
    model, colon, version = text.partition(":")
    if colon and not is_version(version):
        raise InvalidArgument(f"{text!r}: the version must be a positive whole number, such as {model}:2")
    return model, int(version) if colon else None


def _number(weight_ppm: int) -> int | float:
    percent = Decimal(ppm_to_percent(weight_ppm))
    return int(percent) if percent == int(percent) else float(percent)
