"""Who is let in, and who is not any more."""

from dataclasses import dataclass, replace

import pytest

from router.access import DATA_PLANE, Key, Need, Role, digest_of
from router.doorman import MOST_VERIFIED, Bucket, Doorman, Rules
from router.errors import PermissionDenied, ResourceExhausted, Unauthenticated

SECRET = b"serin_abcdefgh_" + b"s" * 43
WRONG = b"serin_abcdefgh_" + b"t" * 43
STRANGE = b"serin_zzzzzzzz_" + b"s" * 43
KEY = Key("abcdefgh", "ci", digest_of(SECRET), frozenset({Role.PREDICT}))


@dataclass
class Clock:
    wall: float = 1000.0
    steady: float = 0.0


def doorman(*keys: Key, clock: Clock | None = None, rules: Rules | None = None) -> Doorman:
    at = clock or Clock()
    made = Doorman(rules or Rules(), lambda: at.wall, lambda: at.steady)
    made.replace({key.id: key for key in keys})
    return made


def bearer(key: bytes = SECRET) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key}


def test_a_good_key_is_let_in_however_it_is_sent_and_again() -> None:
    door = doorman(KEY)
    for headers in (bearer(), bearer(), {b"x-api-key": SECRET}, {b"x-api-key": SECRET}):
        principal = door.admit(headers, Need.PREDICT, "digits")
        assert principal is not None
        assert principal.name == "ci"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(WRONG),
        bearer(STRANGE),
        bearer(b""),
        {b"authorization": SECRET},
        {b"x-api-key": b"Bearer " + SECRET},
        {**bearer(), b"x-api-key": SECRET},
        bearer(SECRET + b", Bearer " + SECRET),
        {b"serin-token": b""},
        {b"serin-token": SECRET},
    ],
)
def test_everything_else_is_told_the_same_also_after_good_ones(headers: dict[bytes, bytes]) -> None:
    door = doorman(KEY)
    door.admit(bearer(), Need.PREDICT)
    door.admit({b"x-api-key": SECRET}, Need.PREDICT)

    with pytest.raises(Unauthenticated, match=r"^a valid key is needed here"):
        door.admit(headers, Need.PREDICT)


def test_a_key_for_something_else_is_refused() -> None:
    door = doorman(replace(KEY, models=frozenset({"digits"})))
    with pytest.raises(PermissionDenied, match="takes `operator`"):
        door.admit(bearer(), Need.OPERATOR)
    with pytest.raises(PermissionDenied, match="not for this model"):
        door.admit(bearer(), Need.PREDICT, "churn")


def test_what_is_open_asks_nobody() -> None:
    door = doorman(rules=Rules(frozenset({Need.OPEN}) | DATA_PLANE))
    assert door.admit({}, Need.PREDICT, "digits") is None
    assert not door.asks(Need.PREDICT)
    assert door.asks(Need.OPERATOR)


def test_a_key_ends_at_its_time_also_one_that_was_let_in_before() -> None:
    clock = Clock()
    door = doorman(replace(KEY, expires_at=2000.0), clock=clock)
    principal = door.admit(bearer(), Need.PREDICT)
    assert door.still(principal)

    clock.wall = 2000.0

    assert not door.still(principal)
    with pytest.raises(Unauthenticated, match="has expired"):
        door.admit(bearer(), Need.PREDICT)


def test_a_key_that_is_taken_back_is_let_in_no_more_and_two_may_be_good_at_once() -> None:
    second = b"serin_bbbbbbbb_" + b"s" * 43
    door = doorman(KEY, replace(KEY, id="bbbbbbbb", digest=digest_of(second)))
    before = door.admit(bearer(), Need.PREDICT)
    after = door.admit(bearer(second), Need.PREDICT)

    door.replace({"bbbbbbbb": replace(KEY, id="bbbbbbbb", digest=digest_of(second))})

    with pytest.raises(Unauthenticated):
        door.admit(bearer(), Need.PREDICT)
    assert not door.still(before)
    assert door.still(after)
    assert door.admit(bearer(second), Need.PREDICT) is after


def test_a_rate_is_held_and_its_burst_comes_back_with_time() -> None:
    clock = Clock()
    door = doorman(replace(KEY, requests_per_second=2.0, burst=3.0), clock=clock)
    for _ in range(3):
        door.admit(bearer(), Need.PREDICT)
    with pytest.raises(ResourceExhausted) as raised:
        door.admit(bearer(), Need.PREDICT)
    assert raised.value.retry_after_seconds == pytest.approx(0.5)

    clock.steady += 0.5

    door.admit(bearer(), Need.PREDICT)
    with pytest.raises(ResourceExhausted):
        door.admit(bearer(), Need.PREDICT)


def test_a_process_has_its_share_of_a_rate_and_at_least_one_request() -> None:
    door = doorman(replace(KEY, requests_per_second=2.0, burst=2.0), rules=Rules(shares=4))
    door.admit(bearer(), Need.PREDICT)
    with pytest.raises(ResourceExhausted) as raised:
        door.admit(bearer(), Need.PREDICT)
    assert raised.value.retry_after_seconds == pytest.approx(2.0)


def test_new_keys_give_back_no_rate_that_was_used() -> None:
    limited = replace(KEY, requests_per_second=1.0, burst=1.0)
    door = doorman(limited)
    door.admit(bearer(), Need.PREDICT)

    door.replace({KEY.id: limited})

    with pytest.raises(ResourceExhausted):
        door.admit(bearer(), Need.PREDICT)


def test_to_be_permitted_uses_nothing_of_a_rate() -> None:
    door = doorman(replace(KEY, requests_per_second=1.0, burst=1.0))
    for _ in range(5):
        door.permit(bearer(), Need.PREDICT)
    door.admit(bearer(), Need.PREDICT)


def test_the_token_of_our_own_processes_opens_what_they_need_where_it_is_known() -> None:
    door = doorman(KEY, rules=Rules(token="secret"))
    own = door.admit({b"serin-token": b"secret"}, Need.INTERNAL)
    assert own is not None
    assert (own.name, own.id) == ("", "")
    with pytest.raises(PermissionDenied):
        door.admit({b"serin-token": b"secret"}, Need.ADMIN)
    for token in (b"", b"secret ", b"Secret"):
        with pytest.raises(Unauthenticated):
            door.admit({b"serin-token": token}, Need.INTERNAL)
    with pytest.raises(PermissionDenied):
        door.admit(bearer(), Need.INTERNAL)


def test_keys_in_ever_new_spellings_are_forgotten_again() -> None:
    door = doorman(KEY)
    for number in range(200):
        spelt = b"".join(bytes([c ^ 32]) if number >> i & 1 else bytes([c]) for i, c in enumerate(b"bearer"))
        door.admit({b"authorization": spelt + b" " + SECRET}, Need.PREDICT)
    assert len(door._bearers) <= MOST_VERIFIED


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({b"host": b"models.example"}, True),
        ({b"host": b"MODELS.example:8000"}, True),
        ({}, True),
        ({b"host": b"evil.example"}, False),
        ({b"host": b""}, False),
    ],
)
def test_other_host_names_are_refused_where_some_are_listed(headers: dict[bytes, bytes], passes: bool) -> None:
    door = doorman(rules=Rules(frozenset(Need), hosts=frozenset({"models.example"})))
    assert door.admit({b"host": b"evil.example"}, Need.OPEN) is None
    if passes:
        assert door.admit(headers, Need.PREDICT) is None
    else:
        with pytest.raises(PermissionDenied):
            door.admit(headers, Need.PREDICT)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({b"host": b"localhost:8000"}, True),
        ({b"host": b"elsewhere"}, True),
        ({b"host": b"localhost:8000", b"origin": b"http://localhost:8000"}, True),
        ({b"host": b"localhost:8000", b"origin": b"http://evil.example"}, False),
        ({b"host": b"localhost:8000", b"origin": b"null"}, False),
        ({b"host": b"evil.example:8000", b"origin": b"http://evil.example:8000"}, False),
    ],
)
def test_without_keys_a_page_of_somebody_else_does_nothing_that_an_operator_does(
    headers: dict[bytes, bytes], passes: bool
) -> None:
    door = doorman(rules=Rules(frozenset(Need)))
    assert door.minds(Need.OPERATOR)
    if passes:
        assert door.admit(headers, Need.OPERATOR) is None
    else:
        with pytest.raises(PermissionDenied):
            door.admit(headers, Need.OPERATOR)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(10.0, 2.0, 0.0)
    assert [bucket.take(1000.0) for _ in range(2)] == [0.0, 0.0]
    assert bucket.take(1000.0) == pytest.approx(0.1)
