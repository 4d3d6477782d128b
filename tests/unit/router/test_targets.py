import pytest

from router.commands import Match, SetRoute, Share, proposed
from router.errors import InvalidArgument
from router.names import is_name
from router.routes import Route, Variant, resolve
from router.targets import FIRST, SPREAD, Target, default_name, is_remote, parse_target, target_of
from service.cli import grammar
from tests.unit.router.world import sight


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("other#digits", Target("other", "digits")),
        ("other#digits/3", Target("other", "digits", "3")),
        ("a.b#c-d/v0.1", Target("a.b", "c-d", "v0.1")),
    ],
)
def test_a_target_is_read_and_written_alike(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert str(target) == text
    assert target_of(target.digest("abc")) == target


@pytest.mark.parametrize(
    "text",
    ["#digits", "other#", "other#digits/", "other#a/b/c", "o ther#digits", "other#../x", "other#digits/../../admin",
     "other#digits?x=1", "a#b#c", "other#dig%2Fits", "http://host#digits"],
)  # fmt: skip
def test_nothing_that_means_something_in_a_url_is_a_target(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not upstream#model"):
        parse_target(text)


def test_the_number_follows_from_the_text_and_readers_of_json_can_hold_it() -> None:
    number = parse_target("other#digits").number
    assert number == 9000027248850384 == resolve(Route("digits", ()), "other#digits")
    assert is_remote(number)
    assert FIRST + SPREAD < 2**53
    assert parse_target("other#digits/1").number != number


@pytest.mark.parametrize("version", [1, 20250131, 10**15, FIRST - 1, FIRST + SPREAD])
def test_a_version_on_disk_is_not_taken_for_one_elsewhere(version: int) -> None:
    assert not is_remote(version)
    assert target_of("5f2c" * 16) is None


def test_a_variant_elsewhere_has_a_name_that_may_stand_in_headers_and_metrics() -> None:
    assert default_name("other#digits/3") == "other.digits.3"
    assert is_name(default_name("other#digits/3"))
    assert default_name("stable") == "stable"


def test_a_route_names_it_by_its_number() -> None:
    shares = (Share("1", 900_000), Share("other#digits", 50_000), Share("other#digits/3", 50_000, "third"))
    route = proposed(SetRoute("digits", shares, match=Match()), sight())
    assert route.variants[1:] == (
        Variant("other.digits", parse_target("other#digits").number, 50_000),
        Variant("third", parse_target("other#digits/3").number, 50_000),
    )


def test_the_command_line_takes_it_and_assigns_offline_by_the_same_name() -> None:
    words = ("1=90", "other#digits=5", "third:other#digits/3=5")
    assert [share["version"] for share in grammar.shares(words)] == [1, "other#digits", "other#digits/3"]
    assert [variant.name for variant in grammar.variants(words)] == ["1", "other.digits", "third"]
