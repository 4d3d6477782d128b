"""Limits that all workers of a host keep together, through files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidArgument
from router.exposures import Used, exposure_path, exposure_used, exposure_uses
from router.routes import Exposure
from service.exposure import LEAST_PLACES, KeySet, Meter, remove_old


def limits(rollout="r1", **more) -> Exposure:
    return Exposure(rollout, "canary", "stable", **more)


def test_requests_of_all_workers_count_against_one_limit(tmp_path):
    workers = [Meter(limits(requests=10), tmp_path, slot) for slot in range(3)]
    admitted = [workers[number % 3].admit(None) for number in range(30)]

    assert admitted == [True] * 10 + [False] * 20
    assert {worker.spent for worker in workers} == {"requests"}
    assert exposure_used(tmp_path, "r1") == Used(10, 0, 0)


def test_what_was_used_is_known_to_the_next_process(tmp_path):
    Meter(limits(requests=2), tmp_path, 0).admit(None)
    again = Meter(limits(requests=2), tmp_path, 0)

    assert [again.admit(None) for _ in range(3)] == [True, False, False]


def test_a_higher_limit_goes_on_from_there_and_another_rollout_begins(tmp_path):
    first = Meter(limits(requests=1), tmp_path, 0)
    assert [first.admit(None), first.admit(None)] == [True, False]

    assert Meter(limits(requests=2), tmp_path, 0).admit(None)
    assert not Meter(limits(requests=2), tmp_path, 1).admit(None)
    assert Meter(limits("r2", requests=1), tmp_path, 0).admit(None)


def test_known_keys_stay_and_new_ones_are_refused_when_all_are_given_out(tmp_path):
    one, other = Meter(limits(keys=2), tmp_path, 0), Meter(limits(keys=2), tmp_path, 1)

    assert [one.admit(b"a"), other.admit(b"b"), one.admit(b"c"), other.admit(b"a"), one.admit(b"b")] == [
        True, True, False, True, True,
    ]  # fmt: skip
    assert one.spent == "keys"
    assert exposure_used(tmp_path, "r1") == Used(4, 2, 0)


def test_a_request_without_a_key_is_a_key_of_its_own(tmp_path):
    meter = Meter(limits(keys=2), tmp_path, 0)

    assert [meter.admit(None) for _ in range(3)] == [True, True, False]


def test_more_keys_than_the_file_has_places_move_to_a_larger_one(tmp_path):
    small = Meter(limits(keys=2), tmp_path, 0)
    assert small.admit(b"a")
    large = Meter(limits(keys=5 * LEAST_PLACES), tmp_path, 0)

    assert all(large.admit(b"%d" % number) for number in range(2000))
    assert large.admit(b"a")
    assert large.used.keys == 2001


def test_failures_end_it_too(tmp_path):
    one, other = Meter(limits(failures=2), tmp_path, 0), Meter(limits(failures=2), tmp_path, 1)
    one.failed()
    assert other.admit(None)
    other.failed()

    assert not one.admit(None)
    assert one.spent == "failures"


def test_a_damaged_file_begins_anew(tmp_path):
    exposure_path(tmp_path, "r1").write_bytes(b"\xff" * 100)
    assert exposure_used(tmp_path, "r1") is None

    assert Meter(limits(requests=1), tmp_path, 0).admit(None)
    assert exposure_used(tmp_path, "r1") == Used(1, 0, 0)


def test_limits_and_uses_are_told_by_model(tmp_path):
    Meter(limits(requests=9, keys=3), tmp_path, 0).admit(b"a")
    uses = exposure_uses(
        tmp_path, {"digits": limits(requests=9, keys=3), "wine": None, "new": limits("r9", failures=1)}
    )

    assert [(use.model, use.limit, use.used, use.allowed) for use in uses] == [
        ("digits", "requests", 1, 9), ("digits", "keys", 1, 3), ("new", "failures", 0, 1),
    ]  # fmt: skip


def test_a_slot_beyond_the_page_is_refused(tmp_path):
    with pytest.raises(InvalidArgument):
        Meter(limits(requests=1), tmp_path, 10_000)


def test_files_of_the_oldest_rollouts_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("service.exposure.KEPT_FILES", 3)
    for number in range(5):
        Meter(limits(f"r{number}", requests=1), tmp_path, 0)
    remove_old(tmp_path)

    assert len(list(tmp_path.iterdir())) == 3


@given(st.sets(st.integers(1, 2**64 - 1), max_size=300), st.sets(st.integers(1, 2**64 - 1), max_size=50))
def test_a_key_set_holds_what_was_added_and_nothing_else(added, others):
    keys = KeySet(memoryview(bytearray(LEAST_PLACES * 8)).cast("Q"))
    for key in added:
        keys.add(key)

    assert all(key in keys for key in added)
    assert not any(key in keys for key in others - added)
