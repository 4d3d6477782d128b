from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from router.errors import InvalidArgument, NotFound
from router.routes import (
    PPM,
    Comparison,
    Exposure,
    Fallback,
    KeySource,
    Mirror,
    Route,
    RouteTable,
    Rule,
    Units,
    Variant,
    Wanted,
    decode_table,
    encode_table,
    is_name,
    is_version,
    percent_to_ppm,
    ppm_to_percent,
    resolve,
    routed_versions,
    validate_route,
)

GOOD = Route("digits", (Variant("1", 1, 900_000), Variant("canary", 2, 100_000)), aliases={"stable": 1})


@pytest.mark.parametrize(
    ("percent", "ppm"),
    [
        ("12.5", 125_000),
        (12.5, 125_000),
        (10, 100_000),
        ("0.0001", 1),
        ("100%", PPM),
        (0, 0),
        (33.3333, 333_333),
        (Decimal("0.1"), 1_000),
        (" 7 ", 70_000),
        ("1e1", 100_000),
    ],
)
def test_percent_is_exact_in_ppm(percent: str | float, ppm: int) -> None:
    assert percent_to_ppm(percent) == ppm


@pytest.mark.parametrize(
    "percent",
    [
        "0.00001",
        "100.0001",
        -1,
        "nan",
        "inf",
        float("nan"),
        "ten",
        "",
        True,
        "1" * 40,
        "1e999999999",
        1e308,
        "1_0",
        "\u0661",
    ],
)
def test_what_is_no_percentage_is_refused(percent: str | float) -> None:
    with pytest.raises(InvalidArgument):
        percent_to_ppm(percent)


@seed(1)
@given(st.integers(0, PPM))
def test_percent_text_reads_back_as_the_same_weight(ppm: int) -> None:
    assert percent_to_ppm(ppm_to_percent(ppm)) == ppm


@pytest.mark.parametrize(("ppm", "text"), [(0, "0"), (1, "0.0001"), (100_000, "10"), (125_000, "12.5"), (PPM, "100")])
def test_weights_are_shown_as_people_write_them(ppm: int, text: str) -> None:
    assert ppm_to_percent(ppm) == text


def variants(*weights: int) -> tuple[Variant, ...]:
    return tuple(Variant(str(n), n, weight) for n, weight in enumerate(weights, 1))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"model": "../etc"}, "model"),
        ({"variants": ()}, "variants"),
        ({"variants": variants(900_000, 90_000)}, "variants"),
        ({"variants": variants(900_000, 110_000)}, "variants"),
        ({"variants": variants(1_100_000, -100_000)}, "variants[1].weight"),
        ({"variants": (Variant("a b", 1, PPM),)}, "variants[0].name"),
        ({"variants": (Variant("a", 0, PPM),)}, "variants[0].version"),
        ({"variants": (Variant("a", 1, 500_000), Variant("a", 2, 500_000))}, "variants"),
        ({"variants": tuple(Variant(f"v{n}", n, PPM) for n in range(1, 80))}, "variants"),
        ({"rules": (Rule("x-a", "nobody"),)}, "rules[0].variant"),
        ({"rules": (Rule("X-A", "1"),)}, "rules[0].header"),
        ({"rules": (Rule("x a", "1"),)}, "rules[0].header"),
        ({"rules": (Rule("x-a", "1", "a\r\nb"),)}, "rules[0].value"),
        ({"aliases": {"17": 1}}, "aliases.17"),
        ({"aliases": {"stable": 0}}, "aliases.stable"),
        ({"salt": "a\0b"}, "salt"),
        ({"salt": "\ud800"}, "salt"),
        ({"key": KeySource(header="Upper")}, "key.header"),
        ({"key": KeySource(cookie="a=b")}, "key.cookie"),
        ({"key": KeySource(parameter="")}, "key.parameter"),
        ({"fallback": Fallback("nobody")}, "fallback.to"),
        ({"fallback": Fallback("1", ())}, "fallback.reasons"),
        ({"fallback": Fallback("1", ("timeout", "bad luck"))}, "fallback.reasons[1]"),
        ({"fallback": Fallback("1", budget_ppm=PPM + 1)}, "fallback.budget_ppm"),
        ({"mirrors": (Mirror(0),)}, "mirrors[0].version"),
        ({"mirrors": (Mirror(2, share_ppm=-1),)}, "mirrors[0].share_ppm"),
        ({"mirrors": (Mirror(2, variant="a b"),)}, "mirrors[0].variant"),
        ({"mirrors": (Mirror(2, against="nobody"),)}, "mirrors[0].against"),
        ({"mirrors": (Mirror(2, worst=1000),)}, "mirrors[0].worst"),
        ({"mirrors": (Mirror(2), Mirror(2))}, "mirrors"),
        ({"mirrors": tuple(Mirror(n) for n in range(1, 20))}, "mirrors"),
        ({"mirrors": (Mirror(2, compare=(Comparison("", "exact"),)),)}, "mirrors[0].compare[0].output"),
        ({"mirrors": (Mirror(2, compare=(Comparison("y", "by eye"),)),)}, "mirrors[0].compare[0].kind"),
        ({"mirrors": (Mirror(2, compare=(Comparison("y", "exact"),) * 2),)}, "mirrors[0].compare"),
        ({"mirrors": (Mirror(2, compare=(Comparison("y", "top_k", k=0),)),)}, "mirrors[0].compare[0].k"),
        (
            {"mirrors": (Mirror(2, compare=(Comparison("y", "tolerance", float("nan")),)),)},
            "mirrors[0].compare[0].absolute",
        ),
        ({"exposure": Exposure("", "canary", "1", 5)}, "exposure.rollout"),
        ({"exposure": Exposure("r", "nobody", "1", 5)}, "exposure.variant"),
        ({"exposure": Exposure("r", "canary", "canary", 5)}, "exposure.to"),
        ({"exposure": Exposure("r", "canary", "1")}, "exposure"),
        ({"exposure": Exposure("r", "canary", "1", 0)}, "exposure.requests"),
        ({"exposure": Exposure("r", "canary", "1", keys=10**7)}, "exposure.keys"),
    ],
)
def test_a_bad_route_is_refused_with_the_field(change: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        validate_route(replace(GOOD, **change))
    assert refused.value.message.startswith(f"{path}: ")


def test_a_good_route_passes_also_with_the_same_version_twice() -> None:
    validate_route(GOOD)
    validate_route(
        replace(GOOD, variants=(Variant("a", 1, 500_000), Variant("b", 1, 500_000)), rules=(Rule("x", "b"),))
    )


def test_digits_and_aliases_resolve_to_versions() -> None:
    assert (resolve(GOOD, "7"), resolve(GOOD, "stable")) == (7, 1)
    with pytest.raises(NotFound, match="no alias 'nope'; its aliases: stable"):
        resolve(GOOD, "nope")


def test_weight_rules_and_aliases_make_a_version_reachable_and_weight_zero_does_not() -> None:
    route = replace(
        GOOD, variants=(*variants(PPM, 0, 0), Variant("t", 9, 0)), rules=(Rule("x", "t"),), aliases={"b": 2}
    )
    assert routed_versions(route) == {1, 9, 2}


def test_who_steps_in_and_who_is_mirrored_is_reachable_too() -> None:
    route = Route("m", (Variant("a", 1, PPM), Variant("b", 2, 0), Variant("c", 3, 0)))
    assert routed_versions(replace(route, fallback=Fallback("b"))) == {1, 2}
    assert routed_versions(replace(route, exposure=Exposure("r", "a", "c", 5))) == {1, 3}
    assert routed_versions(replace(route, mirrors=(Mirror(9), Mirror(8, share_ppm=0)))) == {1, 9}


def test_a_route_that_was_written_before_there_were_fallbacks_is_read() -> None:
    old = b'{"revision":3,"routes":{"m":{"model":"m","variants":[{"name":"1","version":1,"weight_ppm":1000000}]}}}'
    assert decode_table(old).routes["m"] == Route("m", (Variant("1", 1, PPM),))


def test_a_route_with_all_that_may_stand_beside_its_split_survives_the_wire() -> None:
    mirrors = (Mirror(2, 10, "m", "1", (Comparison("*", "cosine", least=0.5),), 3, True),)
    full = replace(
        GOOD, fallback=Fallback("1", ("shed",), 7), mirrors=mirrors, exposure=Exposure("r", "canary", "1", 5)
    )
    validate_route(full)
    assert decode_table(encode_table(RouteTable(3, {"digits": full}))).routes["digits"] == full


def test_a_table_survives_the_wire() -> None:
    table = RouteTable(3, {"digits": GOOD}, {"digits": {1: Wanted("sha256:a", "s")}}, True)
    assert decode_table(encode_table(table)) == table


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"revision": "x"}', b"\xff", b'{"routes": {"a": {}}}'])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        decode_table(data)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("1", True),
        ("01", False),
        ("0", False),
        ("9" * 18, True),
        ("9" * 19, False),
        ("-1", False),
        ("1.5", False),
        ("", False),
        ("1\n", False),
    ],
)
def test_version_numbers_are_positive_whole_and_plain(text: str, holds: bool) -> None:
    assert is_version(text) is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("digits", True),
        ("a.b-c_d", True),
        (".a", False),
        ("a/b", False),
        ("", False),
        ("a" * 129, False),
        ("a\n", False),
        ("é", False),
    ],
)
def test_names_are_plain(text: str, holds: bool) -> None:
    assert is_name(text) is holds


@pytest.mark.parametrize("units", [Units("", 0, 1), Units("r1", 1, 1), Units("r1", -1, 2), Units("r1", 0, 0)])
def test_callers_belong_to_one_of_the_steps_there_are(units):
    with pytest.raises(InvalidArgument, match="units"):
        validate_route(Route("digits", (Variant("1", 1, PPM),), units=units))


def test_a_table_carries_whose_callers_are_counted():
    route = Route("digits", (Variant("1", 1, PPM),), units=Units("r1", 2, 3))
    validate_route(route)
    assert decode_table(encode_table(RouteTable(1, {"digits": route}))).routes["digits"] == route
