"""Keys as a file lists them, and what their roles may."""

import pytest

from router.access import GRANTS, Need, Role, digest_of, is_actor, known, may, read_keys, sent_key
from router.errors import InvalidArgument

KEY = b"serin_abcdefgh_" + b"s" * 43
OTHER = b"serin_abcdefgh_" + b"t" * 43


def text(**changes: object) -> str:
    """A file with one key, but for these lines (None: left out)."""
    lines: dict[str, object] = {
        "id": '"abcdefgh"', "name": '"ci"', "sha256": f'"{digest_of(KEY).hex()}"', "roles": '["predict"]', **changes
    }  # fmt: skip
    return "\n".join(["[[key]]", *(f"{name} = {value}" for name, value in lines.items() if value is not None)])


def test_a_key_is_what_its_lines_say() -> None:
    found = read_keys(
        text(models='["digits"]', expires="2027-01-31T00:00:00Z", requests_per_second=5, burst=20, note='"for tests"')
    )["abcdefgh"]

    assert (found.name, found.roles, found.models) == ("ci", {Role.PREDICT}, {"digits"})
    assert (found.expires_at, found.requests_per_second, found.burst) == (1801353600.0, 5, 20)


def test_a_rate_without_a_burst_allows_a_second_of_it_at_once() -> None:
    assert read_keys(text(requests_per_second=0.5))["abcdefgh"].burst == 1
    assert read_keys(text(requests_per_second=7))["abcdefgh"].burst == 7
    assert read_keys(text())["abcdefgh"].burst == 0


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"id": '"short"'}, "key[0].id"),
        ({"id": '"ABCDEFGH"'}, "key[0].id"),
        ({"id": None}, "key[0]"),
        ({"name": '"a b"'}, "key[0].name"),
        ({"name": '""'}, "key[0].name"),
        ({"sha256": f'"{KEY.decode()}"'}, "key[0].sha256"),
        ({"roles": '["root"]'}, "key[0].roles"),
        ({"roles": "[]"}, "key[0].roles"),
        ({"models": '["../x"]'}, "key[0].models"),
        ({"models": '["digits"]', "roles": '["predict", "viewer"]'}, "key[0].models"),
        ({"expires": '"tomorrow"'}, "key[0].expires"),
        ({"expires": "2027-01-31T00:00:00"}, "key[0].expires"),
        ({"burst": 5}, "key[0].burst"),
        ({"requests_per_second": 0}, "key[0].requests_per_second"),
        ({"requests_per_second": "nan"}, "key[0].requests_per_second"),
        ({"secret": '"x"'}, "key[0]"),
        ({"id": '"'}, "not valid TOML"),
    ],
)
def test_what_a_file_gets_wrong_is_named_and_never_quoted(changes: dict[str, object], place: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_keys(text(**changes))

    assert raised.value.message.startswith(place)
    assert "sss" not in raised.value.message


def test_an_id_stands_in_a_file_once() -> None:
    with pytest.raises(InvalidArgument, match=r"key\[1\].id: is there twice"):
        read_keys(text() + "\n" + text())


def test_only_the_key_itself_is_known() -> None:
    keys = read_keys(text())

    assert known(keys, KEY) is keys["abcdefgh"]
    wrong = (
        OTHER,
        b"",
        b"serin_abcdefgh_",
        KEY + b" ",
        KEY[:-1],
        KEY.upper(),
        b"serin_zzzzzzzz_" + b"s" * 43,
        KEY + b"\n",
    )
    assert [known(keys, sent) for sent in wrong] == [None] * len(wrong)
    assert known({}, KEY) is None


@pytest.mark.parametrize(
    ("authorization", "api_key", "sent"),
    [
        (b"Bearer k", None, b"k"),
        (b"bearer k", None, b"k"),
        (None, b"k", b"k"),
        (None, None, None),
        (b"Bearer k", b"k", None),
        (b"Basic k", None, None),
        (b"Bearer", None, b""),
        (b"k", None, None),
        (b"Bearer  k", None, b" k"),
        (b"Bearer a, Bearer k", None, b"a, Bearer k"),
        (b"", b"k", None),
    ],
)
def test_a_key_is_sent_in_one_of_two_ways_and_once(
    authorization: bytes | None, api_key: bytes | None, sent: bytes | None
) -> None:
    assert sent_key(authorization, api_key) == sent


def test_each_role_of_people_holds_the_one_below_and_admin_holds_all_but_what_is_ours() -> None:
    assert GRANTS[Role.VIEWER] < GRANTS[Role.OPERATOR] < GRANTS[Role.ADMIN]
    assert GRANTS[Role.PREDICT] < GRANTS[Role.ADMIN]
    assert GRANTS[Role.ADMIN] == frozenset(Need) - {Need.INTERNAL}
    assert Need.PREDICT not in GRANTS[Role.OPERATOR]
    assert not GRANTS[Role.PREDICT] & {Need.VIEWER, Need.METRICS, Need.OPERATOR, Need.ADMIN}


def test_a_key_for_one_model_sees_that_one_alone() -> None:
    key = read_keys(text(models='["digits"]'))["abcdefgh"]

    assert may(key.needs, key.models, Need.PREDICT, "digits")
    assert may(key.needs, key.models, Need.LOOK, "digits")
    assert not may(key.needs, key.models, Need.PREDICT, "churn")
    assert not may(key.needs, key.models, Need.PREDICT, "")
    assert not may(key.needs, key.models, Need.LOOK, "Digits")
    assert not may(key.needs, key.models, Need.LIST, None)


@pytest.mark.parametrize(("name", "fits"), [("ci", True), ("ann@example.org", True), ("a/b", False), ("a\n", False)])
def test_names_stand_in_the_history_on_one_line(name: str, fits: bool) -> None:
    assert is_actor(name) is fits
