"""Routes as plain values: who may answer for a model, and how much. The controller alone writes them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from router.decoding import decoder
from router.errors import InvalidArgument, NotFound
from router.names import MAX_VERSION, PPM, is_int, is_name, is_text, is_version, require, shown
from router.safeguards import (
    Comparison,
    Exposure,
    Fallback,
    Golden,
    Mirror,
    Units,
    check_exposure,
    check_fallback,
    check_golden,
    check_mirrors,
    check_units,
)
from router.targets import is_target, parse_target

__all__ = [
    "DEFAULT_KEY", "MAX_ALIASES", "MAX_RULES", "MAX_VARIANTS", "MAX_VERSION", "PPM",
    "Comparison", "Exposure", "Fallback", "Golden", "KeySource", "Mirror", "Route", "RouteTable", "Rule", "Units",
    "Variant", "Wanted", "decode_table", "encode_table", "is_name", "is_version", "live", "percent_to_ppm",
    "ppm_to_percent", "resolve", "routed_versions", "validate_route", "variant_named",
]  # fmt: skip

MAX_VARIANTS: Final = 64
MAX_RULES: Final = 256
MAX_ALIASES: Final = 256

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, section 5.6.2


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm of a route: a name that people and metrics use, the version behind it, and its share. `apart`: its
    requests wait and run beside those of other variants of the same version, as a candidate's do."""

    name: str
    version: int
    weight_ppm: int
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests whose header (lower case) has this value go to the variant; without a value its presence is enough."""

    header: str
    variant: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a request's routing key is looked for: header, then cookie, then V2 parameter; the first present wins."""

    header: str | None = "serin-routing-key"
    cookie: str | None = None
    parameter: str | None = "routing_key"


DEFAULT_KEY: Final = KeySource()


@dataclass(frozen=True, slots=True)
class Route:
    """The recorded decision for one model. `revision`: the table revision that last changed it (its ETag).

    `epoch` grows whenever the split itself changes (variants, weights, salt, key): no evidence mixes two splits.
    """

    model: str
    variants: tuple[Variant, ...]
    salt: str = ""
    key: KeySource = KeySource()
    rules: tuple[Rule, ...] = ()
    aliases: dict[str, int] = field(default_factory=dict)
    revision: int = 0
    epoch: int = 0
    fallback: Fallback | None = None
    mirrors: tuple[Mirror, ...] = ()
    exposure: Exposure | None = None
    units: Units | None = None
    golden: Golden | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The content of a version that workers are to hold. `stamp` tells cheaply that the files are still those."""

    digest: str
    stamp: str


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All that a worker needs to know, swapped as a whole. `scanned`: the model repository was read through once.

    `unavailable`: versions that are there and cannot be served, with the reason, so that any worker can say so.
    """

    revision: int = 0
    routes: dict[str, Route] = field(default_factory=dict)
    wanted: dict[str, dict[int, Wanted]] = field(default_factory=dict)
    scanned: bool = False
    unavailable: dict[str, dict[int, str]] = field(default_factory=dict)


def encode_table(table: RouteTable) -> bytes:
    """JSON of a table, for the wire, the cache file and the store."""
    return msgspec.json.encode(table)


def decode_table(data: bytes) -> RouteTable:
    """The table that `encode_table` wrote. Raises InvalidArgument when it is not one."""
    try:
        return decoder(RouteTable).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"not a route table: {error}") from error


def live(route: Route) -> Iterator[Variant]:
    """The variants that may get split traffic."""
    return (variant for variant in route.variants if variant.weight_ppm > 0)


def variant_named(route: Route, name: str) -> Variant | None:
    """The variant of that name, or None."""
    return next((variant for variant in route.variants if variant.name == name), None)


def routed_versions(route: Route) -> frozenset[int]:
    """Every version that a request may reach through the route: by weight, rule or alias, instead, or as a copy."""
    named = {rule.variant for rule in route.rules}
    named |= {place.to for place in (route.fallback, route.exposure) if place is not None}
    reachable = {v.version for v in route.variants if v.weight_ppm > 0 or v.name in named}
    reachable |= {mirror.version for mirror in route.mirrors if mirror.share_ppm > 0}
    return frozenset(reachable | set(route.aliases.values()))


def resolve(route: Route, reference: str) -> int:
    """The version that `reference` (digits, an alias or a target) stands for. Raises NotFound for an unknown alias,
    InvalidArgument for what is no target."""
    if is_version(reference):
        return int(reference)
    if is_target(reference):
        return parse_target(reference).number
    if reference in route.aliases:
        return route.aliases[reference]
    known = ", ".join(sorted(route.aliases)) or "none"
    raise NotFound(f"{route.model} has no alias {shown(reference)}; its aliases: {known}")


def percent_to_ppm(percent: str | int | float | Decimal) -> int:
    """Exact parts per million of a percentage such as `12.5`, `"12.5"` or `"12.5%"`.

    Raises InvalidArgument below 0, above 100, for what is no number, and for more than 4 decimals (1 ppm = 0.0001 %).
    """
    text = str(percent).strip().removesuffix("%").strip()
    # Decimal takes digits of all scripts, and lines between them; JSON's numbers and other readers do not.
    if isinstance(percent, bool) or len(text) > 32 or not text.isascii() or "_" in text:
        raise InvalidArgument("a weight must be a percentage such as 12.5")
    try:
        ppm = Decimal(text) * 10_000
    except ArithmeticError as error:
        raise InvalidArgument(f"weight {text!r} is not a percentage such as 12.5") from error
    if not ppm.is_finite() or not 0 <= ppm <= PPM:
        raise InvalidArgument(f"weight {text} must lie between 0 and 100 percent")
    if ppm != int(ppm):
        raise InvalidArgument(f"weight {text} is finer than 0.0001 percent")
    return int(ppm)


def ppm_to_percent(weight_ppm: int) -> str:
    """Percentage as people write it: `10`, `12.5`, `0.0001`."""
    whole, fraction = divmod(weight_ppm, 10_000)
    return f"{whole}.{fraction:04d}".rstrip("0").rstrip(".")


def validate_route(route: Route) -> None:
    """Raises InvalidArgument that names the field. Whether the versions are ready is asked by the controller."""
    require(is_name(route.model), "model", "must match ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
    require(is_text(route.salt, 256), "salt", "must be at most 256 printable characters")
    _check_variants(route.variants)
    _check_key(route.key)
    _check_rules(route)
    _check_aliases(route.aliases)
    names = {variant.name: variant.version for variant in route.variants}
    check_fallback(route.fallback, names)
    check_mirrors(route.mirrors, names)
    check_exposure(route.exposure, names)
    check_units(route.units)
    check_golden(route.golden, names)


def _check_variants(variants: tuple[Variant, ...]) -> None:
    require(0 < len(variants) <= MAX_VARIANTS, "variants", f"must be 1 to {MAX_VARIANTS}")
    for index, variant in enumerate(variants):
        at = f"variants[{index}]"
        require(is_name(variant.name), f"{at}.name", "must match ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
        require(is_int(variant.version) and 0 < variant.version <= MAX_VERSION, f"{at}.version", "must be 1 or more")
        require(is_int(variant.weight_ppm) and variant.weight_ppm >= 0, f"{at}.weight", "must not be negative")
    twice = _repeated(variant.name for variant in variants)
    require(twice is None, "variants", f"the name {twice!r} is used twice; give names as in canary:2=10")
    total = sum(variant.weight_ppm for variant in variants)
    require(total == PPM, "variants", f"the weights sum to {ppm_to_percent(total)} percent, not to 100")


def _check_key(key: KeySource) -> None:
    lower = key.header is None or (key.header == key.header.lower() and _TOKEN.fullmatch(key.header) is not None)
    require(lower, "key.header", "must be a header name in lower case")
    require(key.cookie is None or _TOKEN.fullmatch(key.cookie) is not None, "key.cookie", "must be a cookie name")
    named = key.parameter is None or (key.parameter != "" and is_text(key.parameter, 128))
    require(named, "key.parameter", "must be 1 to 128 printable characters")


def _check_rules(route: Route) -> None:
    require(len(route.rules) <= MAX_RULES, "rules", f"must be at most {MAX_RULES}")
    names = {variant.name for variant in route.variants}
    for index, rule in enumerate(route.rules):
        at = f"rules[{index}]"
        is_header = rule.header == rule.header.lower() and _TOKEN.fullmatch(rule.header) is not None
        require(is_header, f"{at}.header", "must be a header name in lower case")
        require(rule.value is None or is_text(rule.value, 1024), f"{at}.value", "must be at most 1024 printable ones")
        require(rule.variant in names, f"{at}.variant", f"names no variant of this route ({', '.join(sorted(names))})")


def _check_aliases(aliases: dict[str, int]) -> None:
    require(len(aliases) <= MAX_ALIASES, "aliases", f"must be at most {MAX_ALIASES}")
    for name, version in aliases.items():
        at = f"aliases.{name[:64]}"
        require(is_name(name) and not name.isdigit(), at, "must be a name that is not all digits")
        require(is_int(version) and 0 < version <= MAX_VERSION, at, "must point to a version of 1 or more")


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
