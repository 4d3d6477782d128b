"""What was seen is seen by all workers, and the memory for it never grows."""

import pytest

from router.errors import ResourceExhausted
from service.seen import CALLER_BYTES, KEPT_PERIODS, SeenCallers, SeenIds


@pytest.fixture
def seen(tmp_path):
    made = SeenIds(tmp_path / "feedback", 64 * 1024)
    yield made
    made.close()


def other(seen: SeenIds) -> SeenIds:
    return SeenIds(seen._directory, 64 * 1024)


def test_an_id_is_seen_once_by_all_workers(seen):
    neighbour = other(seen)
    assert seen.locked()
    seen.of(1).add(77)
    seen.unlock()
    assert neighbour.locked()
    assert 77 in neighbour.of(1)
    assert 78 not in neighbour.of(1)
    neighbour.unlock()
    neighbour.close()


def test_only_one_worker_holds_the_lock(seen):
    neighbour = other(seen)
    assert seen.locked()
    assert not neighbour.locked()
    seen.unlock()
    assert neighbour.locked()
    neighbour.close()


def test_a_map_that_is_nearly_full_tells_ids_apart_and_then_says_so(seen):
    assert seen.locked()
    ids = seen.of(1)
    wrong = 0
    for number in range(24_576):
        assert not ids.is_full
        wrong += number in ids
        ids.add(number)
    assert all(number in ids for number in range(24_576))
    assert wrong <= 10
    assert ids.is_full or wrong


def test_old_periods_are_forgotten_and_the_two_last_are_not(seen):
    assert seen.locked()
    for period in range(50):
        seen.of(period).add(1)
    assert 1 in seen.of(48)
    assert 1 in seen.of(49)
    assert len(list(seen._directory.glob("*.ids"))) == KEPT_PERIODS


def test_a_map_keeps_its_size_and_what_it_knows_when_the_setting_changes(seen):
    assert seen.locked()
    for number in range(1000):
        seen.of(1).add(number)
    seen.close()
    larger = SeenIds(seen._directory, 1024 * 1024)
    assert larger.locked()
    assert all(number in larger.of(1) for number in range(1000))
    larger.close()


def test_no_room_is_said_in_words(tmp_path):
    (tmp_path / "feedback").write_text("a file where the directory would be")
    with pytest.raises(ResourceExhausted, match="no room in the state directory"):
        SeenIds(tmp_path / "feedback", 4096).locked()
    with pytest.raises(ResourceExhausted, match="no room in the state directory"):
        SeenCallers(tmp_path / "feedback", "r1", 0, 1)


def test_a_caller_counts_once_whichever_worker_it_meets(tmp_path):
    workers = [SeenCallers(tmp_path, "r1", 0, 1) for _ in range(3)]
    first = [workers[number % 3].is_first(b"user-%d" % (number // 3)) for number in range(300)]
    assert sum(first) >= 99  # two of a hundred callers may fall on one byte
    assert first[0]
    assert not any(first[number] for number in range(300) if number % 3)


def test_a_caller_counts_in_its_own_step_only(tmp_path):
    keys = [b"user-%d" % number for number in range(3000)]
    steps = [SeenCallers(tmp_path, "r1", step, 3) for step in range(3)]
    counted = [[key for key in keys if callers.is_first(key)] for callers in steps]
    assert all(900 < len(found) < 1100 for found in counted)
    assert len(set().union(*counted)) == sum(map(len, counted))


def test_another_rollout_counts_its_callers_anew(tmp_path):
    assert SeenCallers(tmp_path, "r1", 0, 1).is_first(b"u")
    assert SeenCallers(tmp_path, "r2", 0, 1).is_first(b"u")
    assert not SeenCallers(tmp_path, "r1", 0, 1).is_first(b"u")


def test_the_memory_of_a_rollout_is_taken_when_it_begins(tmp_path):
    SeenCallers(tmp_path, "r1", 0, 1)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == CALLER_BYTES
    assert file.stat().st_blocks * 512 >= CALLER_BYTES
