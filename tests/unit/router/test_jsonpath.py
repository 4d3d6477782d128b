"""Where a number lies in a JSON document, and what of it is no number."""

import pytest

from router.errors import InvalidArgument
from router.figures import Measurement
from router.jsonpath import number_at, parse_path
from router.verdict import VerdictKind

DOCUMENT = {"data": {"rates": [{"error": 0.25}, {"error": "0.5"}], "a.b": 3, "none": None, "nan": "NaN", "yes": True}}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("$", ()),
        ("data.rates[0].error", ("data", "rates", 0, "error")),
        ("$.data.rates[-1].error", ("data", "rates", -1, "error")),
        ('data["a.b"]', ("data", "a.b")),
        ('["a\\"b"]', ('a"b',)),
    ],
)
def test_a_path_is_names_and_places(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["a..b", "a.", "a[*]", "a[0]b", "a b", "[", "$..a", "a[?(@.x)]", ".".join("x" * 40)])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_path(text)


@pytest.mark.parametrize(
    ("text", "value"), [("data.rates[0].error", 0.25), ("data.rates[-1].error", 0.5), ('data["a.b"]', 3)]
)
def test_a_number_or_a_text_that_is_one_is_found(text: str, value: float) -> None:
    assert number_at(DOCUMENT, parse_path(text)) == Measurement(value)


@pytest.mark.parametrize("text", ["data.none", "data.none.deeper", "data.rates[2].error", "data.rates[-3]", "data.nan"])
def test_what_is_not_there_yet_is_no_data(text: str) -> None:
    found = number_at(DOCUMENT, parse_path(text))
    assert (found.value, found.kind) == (None, VerdictKind.NO_DATA)


@pytest.mark.parametrize("text", ["data.rate", "data.yes", "data.rates", "data[0]", "data.rates.error", ""])
def test_what_is_no_number_is_an_error(text: str) -> None:
    found = number_at(DOCUMENT, parse_path(text))
    assert (found.value, found.kind) == (None, VerdictKind.ERROR)
