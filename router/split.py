"""Who answers this request: a choice that anyone can recompute from the route and the key.

With a key it is an exponential race (rulings on assignment): every live variant of weight w draws
`u = ((h >> 11) + 0.5) / 2**53` from `h = xxh3_64(salt \\0 key \\0 variant name)`, and the smallest `-ln(u) / w` wins.
Shares are exact in expectation, and when a weight grows, keys move only towards the variant that grew.
Without a key it is one uniform draw, which the caller hands in. Nothing here reads a clock or draws a number.
"""

from collections.abc import Callable
from math import inf, log

from xxhash import xxh3_64_intdigest

from router.errors import FailedPrecondition
from router.routes import PPM, Route, Variant, variant_named


def choose(route: Route, key: bytes | None, draw: float) -> Variant:
    """The variant for a request. `key`: raw header bytes, or UTF-8 of a string; `draw` in [0, 1) is used without a key.

    Raises FailedPrecondition when no variant has weight, which a validated route cannot have.
    """
    variants = route.variants
    if len(variants) == 1 and variants[0].weight_ppm > 0:
        return variants[0]
    return _by_draw(route, draw) if key is None else _by_key(route, key)


def uniform(salt: str, key: bytes, variant: str) -> float:
    """The number in (0, 1] that a key draws for a variant."""
    digest = xxh3_64_intdigest(b"%b\0%b\0%b" % (salt.encode(), key, variant.encode()))
    return ((digest >> 11) + 0.5) / 9007199254740992.0  # 2**53


def score(salt: str, key: bytes, variant: Variant) -> float:
    """The time at which a variant arrives in the race for a key; infinite without weight. The smallest wins."""
    if variant.weight_ppm <= 0:
        return inf
    return -log(uniform(salt, key, variant.name)) / variant.weight_ppm


def salt_of(route: Route) -> bytes:
    """The salt in use: the recorded one, else the model's name."""
    return (route.salt or route.model).encode()


def ruled(route: Route, header: Callable[[str], str | None]) -> Variant | None:
    """The variant of the first rule that matches; `header` answers a lower-case name with its value, or None."""
    for rule in route.rules:
        value = header(rule.header)
        if value is not None and rule.value in (None, value):
            return variant_named(route, rule.variant)
    return None


def _by_key(route: Route, key: bytes) -> Variant:
    prefix = b"%b\0%b\0" % (salt_of(route), key)
    best, earliest = None, inf
    for variant in route.variants:
        weight = variant.weight_ppm
        if weight <= 0:
            continue
        # `score` written out: this runs once for every keyed request.
        arrival = -log(((xxh3_64_intdigest(prefix + variant.name.encode()) >> 11) + 0.5) / 9007199254740992.0) / weight
        if arrival < earliest:
            best, earliest = variant, arrival
    return _found(route, best)


def _by_draw(route: Route, draw: float) -> Variant:
    point = draw * PPM
    last = None
    for variant in route.variants:
        if variant.weight_ppm <= 0:
            continue
        if point < variant.weight_ppm:
            return variant
        point -= variant.weight_ppm
        last = variant  # only rounding of a draw just below 1 can get past the last one
    return _found(route, last)


def _found(route: Route, variant: Variant | None) -> Variant:
    if variant is None:
        raise FailedPrecondition(f"the route of {route.model} gives no variant any weight")
    return variant
