"""What decides about a request before its tensors are looked at."""

import pytest

from router.errors import InvalidArgument
from router.routes import KeySource, Route, Rule, Variant
from service.bound import BoundRoute, cookie_value, routing_key


def bound(**key: str | None) -> BoundRoute:
    return BoundRoute.of(Route("digits", (Variant("1", 1, 1_000_000),), key=KeySource(**key)))


@pytest.mark.parametrize(
    ("headers", "parameters", "expected"),
    [
        ({b"x-user": b"h"}, {"routing_key": "p"}, b"h"),
        ({b"cookie": b"sid=c"}, {"routing_key": "p"}, b"c"),
        ({b"x-user": b"", b"cookie": b"other=1"}, {"routing_key": "p"}, b"p"),
        ({}, {"routing_key": "\N{LATIN SMALL LETTER E WITH ACUTE}"}, "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
        ({}, {"routing_key": 42}, b"42"),
        ({}, {"routing_key": ""}, None),
        ({}, {}, None),
    ],
)
def test_the_key_is_the_first_of_header_cookie_and_parameter(headers, parameters, expected):
    assert routing_key(bound(header="x-user", cookie="sid"), headers, parameters) == expected


@pytest.mark.parametrize("value", [True, 1.5])
def test_a_key_that_is_no_text_is_refused(value):
    with pytest.raises(InvalidArgument, match="routing_key"):
        routing_key(bound(), {}, {"routing_key": value})


def test_a_route_may_look_for_no_key_at_all():
    route = bound(header=None, cookie=None, parameter=None)

    assert routing_key(route, {b"serin-routing-key": b"x"}, {"routing_key": "x"}) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [(b"a=1; sid=7; b=2", b"7"), (b"sid=a=b", b"a=b"), (b"xsid=7", None), (b"", None), (b"sid", b"")],
)
def test_a_cookie_is_found_by_its_whole_name(header, expected):
    assert cookie_value(header, b"sid") == expected


def test_rules_are_bound_as_the_bytes_that_arrive():
    variants = (Variant("1", 1, 1_000_000), Variant("beta", 2, 0))
    rules = (Rule("x-beta", "beta", "1"), Rule("x-any", "beta"))

    assert BoundRoute.of(Route("digits", variants, rules=rules)).rules == (
        (b"x-beta", b"1", variants[1]),
        (b"x-any", None, variants[1]),
    )
