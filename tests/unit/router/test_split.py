import ast
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from router import split
from router.errors import FailedPrecondition
from router.routes import PPM, Route, Rule, Variant
from router.split import choose, ruled, score, uniform

KEYS = [f"user-{number}".encode() for number in range(20_000)]


def route(*weights: int, salt: str = "") -> Route:
    return Route("digits", tuple(Variant(str(n), n, weight) for n, weight in enumerate(weights, 1)), salt)


def weights_of(count: int) -> st.SearchStrategy[list[int]]:
    cuts = st.lists(st.integers(0, PPM), min_size=count - 1, max_size=count - 1).map(sorted)
    return cuts.map(lambda c: [b - a for a, b in zip([0, *c], [*c, PPM], strict=True)])


# Recompute them anywhere: h = xxh3_64(salt \0 key \0 variant), u = ((h >> 11) + 0.5) / 2**53, smallest -ln(u) / weight.
VECTORS = [
    ("digits", b"user-1", "1", 0x36DC4838BA7F48DE, 0.21429873833630814),
    ("digits", b"user-1", "2", 0x46F5A091913DCA60, 0.27718547395601617),
    ("digits", b"alice", "1", 0xA3E830B6EC3C6267, 0.6402616926754816),
    ("digits", b"", "2", 0xEE38025054D16D3F, 0.9305421301003827),
    ("digits", b"\xff\x00z", "1", 0x2DC47C168C555756, 0.1787793688821087),
]


@pytest.mark.parametrize(("salt", "key", "variant", "digest", "number"), VECTORS)
def test_a_key_draws_the_published_numbers(salt: str, key: bytes, variant: str, digest: int, number: float) -> None:
    assert xxh3_64_intdigest(b"\0".join([salt.encode(), key, variant.encode()])) == digest
    assert uniform(salt, key, variant) == number


@pytest.mark.parametrize(
    ("key", "one_percent", "ten_percent", "half"),
    [
        (b"user-1", "1", "1", "2"),
        (b"user-9", "1", "2", "2"),
        (b"user-270", "2", "2", "2"),
        (b"alice", "1", "1", "2"),
    ],
)
def test_the_published_assignments_hold(key: bytes, one_percent: str, ten_percent: str, half: str) -> None:
    assert choose(route(990_000, 10_000), key, 0.0).name == one_percent
    assert choose(route(900_000, 100_000), key, 0.0).name == ten_percent
    assert choose(route(500_000, 500_000), key, 0.0).name == half


@pytest.mark.parametrize(
    "weights", [(900_000, 100_000), (990_000, 10_000), (333_333, 333_333, 333_334), (999_000, 1_000)]
)
def test_shares_lie_within_binomial_bounds(weights: tuple[int, ...]) -> None:
    split = route(*weights)
    names = [choose(split, key, 0.0).name for key in KEYS]
    for number, weight in enumerate(weights, 1):
        share, n = weight / PPM, len(KEYS)
        assert abs(names.count(str(number)) - n * share) < 4 * math.sqrt(n * share * (1 - share)) + 1


@seed(20250131)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(2, 5))
def test_growing_a_weight_moves_keys_only_towards_it(data: st.DataObject, count: int) -> None:
    before = data.draw(weights_of(count))
    grown = data.draw(st.integers(0, count - 1))
    giver = data.draw(st.sampled_from([n for n in range(count) if n != grown]))
    moved = data.draw(st.integers(0, before[giver]))
    after = [w + moved * (n == grown) - moved * (n == giver) for n, w in enumerate(before)]
    first, then = route(*before), route(*after)
    for key in KEYS[:300]:
        was, now = choose(first, key, 0.0).name, choose(then, key, 0.0).name
        assert was == now or now == str(grown + 1) or was == str(giver + 1)
        if was == str(grown + 1):
            assert now == was


@pytest.mark.parametrize("steps", [(50_000, 250_000, 500_000, PPM), (1, 10_000, 100_000)])
def test_no_key_leaves_a_canary_that_only_grows(steps: tuple[int, ...]) -> None:
    inside: set[bytes] = set()
    for weight in steps:
        split = route(PPM - weight, weight)
        now = {key for key in KEYS if choose(split, key, 0.0).name == "2"}
        assert inside <= now
        inside = now


@seed(7)
@settings(max_examples=200, deadline=None)
@given(
    key=st.one_of(st.none(), st.binary(max_size=40)), draw=st.floats(0, 1, exclude_max=True), place=st.integers(0, 2)
)
def test_weight_zero_never_wins(key: bytes | None, draw: float, place: int) -> None:
    weights = [600_000, 400_000]
    weights.insert(place, 0)
    assert choose(route(*weights), key, draw).weight_ppm > 0


@pytest.mark.parametrize("key", [None, b"", b"user-1"])
def test_a_single_live_variant_gets_everything(key: bytes | None) -> None:
    assert choose(route(PPM), key, 0.999).name == "1"
    assert choose(route(0, PPM, 0), key, 0.0).name == "2"


def test_the_fast_choice_is_the_smallest_score() -> None:
    wide = route(200_000, 300_000, 0, 500_000)
    for key in KEYS[:2_000]:
        assert choose(wide, key, 0.0) == min(wide.variants, key=lambda variant: score("digits", key, variant))


@pytest.mark.parametrize(("draw", "name"), [(0.0, "1"), (0.8999, "1"), (0.9, "2"), (1 - 2**-53, "2")])
def test_without_a_key_the_draw_decides_by_weight(draw: float, name: str) -> None:
    assert choose(route(900_000, 100_000), None, draw).name == name


def test_the_salt_is_the_model_unless_recorded_and_changes_who_goes_where() -> None:
    half = route(500_000, 500_000)
    assert all(choose(half, key, 0).name == choose(replace(half, salt="digits"), key, 0).name for key in KEYS[:200])
    other = [choose(replace(half, salt="r-1"), key, 0).name for key in KEYS[:200]]
    assert other != [choose(half, key, 0).name for key in KEYS[:200]]


def test_the_order_of_variants_does_not_matter_to_a_key() -> None:
    one = route(300_000, 300_000, 400_000)
    turned = replace(one, variants=one.variants[::-1])
    assert all(choose(one, key, 0) == choose(turned, key, 0) for key in KEYS[:500])


def test_a_route_without_weight_is_refused() -> None:
    with pytest.raises(FailedPrecondition):
        choose(route(0, 0), b"k", 0.5)


def test_the_first_matching_rule_names_the_variant() -> None:
    rules = (Rule("x-beta", "2", "yes"), Rule("x-any", "1"))
    ruled_route = replace(route(PPM, 0), rules=rules)
    assert ruled(ruled_route, {"x-beta": "yes", "x-any": ""}.get) == ruled_route.variants[1]
    assert ruled(ruled_route, {"x-beta": "no", "x-any": ""}.get) == ruled_route.variants[0]
    assert ruled(ruled_route, {"x-beta": "no"}.get) is None


def test_the_choice_reads_no_clock_and_rolls_no_dice() -> None:
    tree = ast.parse(Path(str(split.__file__)).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"time", "random", "secrets", "datetime", "os"}
