import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from router.blocklog import KEPT_ROLLOUTS
from router.errors import Conflict, FailedPrecondition, Unavailable
from router.routes import RouteTable, encode_table
from router.state import Change, Crash, Event, Quarantine, State, Who
from router.statedir import DATABASE, lock, newest_cached, open_store
from router.store import KEPT_TABLES, Store, connect
from tests.unit.router.rollouts import of, walking
from tests.unit.router.world import ANN, state

AT = "2025-01-31T12:00:00.000Z"


def change(revision: int, *events: Event, **more: object) -> Change:
    recorded = state()
    return Change(replace(recorded, table=replace(recorded.table, revision=revision), **more), events)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = connect(tmp_path / DATABASE)
    yield opened
    opened.close()


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.load() == State()
    assert store.last_event() == 0


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    first = connect(tmp_path / DATABASE)
    held = {"d9": Quarantine("d9", "digits", 9, "killed")}
    wanted = change(1, Event("a", "digits", ANN), unloaded=frozenset({("digits", 3)}), quarantined=held)
    first.commit(State(), wanted, AT)
    first.close()
    second = connect(tmp_path / DATABASE)
    assert second.load() == replace(wanted.state, quarantined={"d9": replace(held["d9"], at=AT)})
    second.close()


def test_events_get_growing_ids_and_come_back_whole(store: Store) -> None:
    written = store.commit(State(), change(1, Event("a", "digits", ANN, {"x": [1]}, None), Event("b", None, Who())), AT)
    assert [event.id for event in written] == [1, 2]
    assert store.events(0, 10) == written
    assert (written[0].at, written[0].revision, written[0].before) == (AT, 1, {"x": [1]})


def test_events_are_paged_forward_or_read_from_the_end(store: Store) -> None:
    store.commit(State(), change(1, *(Event("a", f"m{n % 2}", ANN) for n in range(6))), AT)
    assert [event.id for event in store.events(2, 2)] == [3, 4]
    assert [event.id for event in store.events(None, 2)] == [5, 6]
    assert [event.id for event in store.events(0, 10, "m1")] == [2, 4, 6]
    assert store.last_event() == 6


def test_a_change_of_another_table_is_refused_and_writes_nothing(store: Store) -> None:
    store.commit(State(), change(1), AT)
    with pytest.raises(Conflict):
        store.commit(State(), change(1, Event("late", None, ANN)), AT)
    with pytest.raises(Conflict):
        store.commit(change(7).state, change(8, Event("ahead", None, ANN)), AT)
    assert store.last_event() == 0


def test_an_event_alone_needs_no_new_revision(store: Store) -> None:
    store.commit(State(), change(1), AT)
    store.commit(change(1).state, change(1, Event("worker.died", None, ANN)), AT)
    assert store.load().table.revision == 1
    assert store.last_event() == 1


@pytest.mark.parametrize(("point", "revision"), [("commit.before", 1), ("commit.after", 2)])
def test_a_fault_around_the_commit_leaves_all_or_nothing(tmp_path: Path, point: str, revision: int) -> None:
    failing = [""]

    def fault(name: str) -> None:
        if name == failing[0]:
            raise RuntimeError("stopped here")

    store = connect(tmp_path / DATABASE, fault)
    store.commit(State(), change(1), AT)
    failing[0] = point
    with pytest.raises(RuntimeError):
        store.commit(change(1).state, change(2, Event("a", None, ANN)), AT)
    assert (store.load().table.revision, store.last_event()) == (revision, revision - 1)
    store.close()


def test_only_the_last_tables_are_kept(store: Store) -> None:
    for revision in range(1, KEPT_TABLES + 4):
        store.commit(change(revision - 1).state if revision > 1 else State(), change(revision), AT)
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*), min(revision) FROM tables").one() == (KEPT_TABLES, 4)


def test_deaths_are_counted_by_content_in_a_window_and_once_each(store: Store) -> None:
    before = State()
    for number, seconds in enumerate((10.0, 50.0, 65.0)):
        crash = Crash(f"w{number}", "d1", "digits", 1, "SIGSEGV", seconds)
        store.commit(before, replace(change(0), state=before, crash=crash), AT)
    assert store.crash_count("d1", 20.0) == 2
    assert store.crash_count("d2", 0.0) == 0
    assert store.has_crash("w1")
    assert not store.has_crash("w9")


def test_it_syncs_fully_and_writes_ahead(store: Store) -> None:
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_newer_schema_is_refused_in_words_and_left_alone(tmp_path: Path) -> None:
    connect(tmp_path / DATABASE).close()
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(FailedPrecondition, match="newer Serin"):
        open_store(tmp_path, [], AT)
    assert [path.name for path in tmp_path.glob("*broken*")] == []


@pytest.mark.parametrize("damage", ["garbage", "flipped", "document"])
def test_a_broken_database_is_moved_aside_and_the_cached_table_comes_back(tmp_path: Path, damage: str) -> None:
    store = connect(tmp_path / DATABASE)
    store.commit(State(), change(1, *(Event("a", "digits", ANN, "x" * 2000) for _ in range(50))), AT)
    store.close()
    path = tmp_path / DATABASE
    if damage == "garbage":
        path.write_bytes(b"not a database at all" * 500)
    elif damage == "flipped":
        data = bytearray(path.read_bytes())
        data[4096:20000] = bytes(15904)
        path.write_bytes(data)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE tables SET document = '{'")
        connection.close()
    cached = tmp_path / "table.json"
    cached.write_bytes(encode_table(replace(state().table, revision=17)))
    opened = open_store(tmp_path, [cached, tmp_path / "missing.json"], AT)
    assert opened.store.load().table == replace(state().table, revision=18)
    assert "broken" in opened.notices[0]
    assert [event.kind for event in opened.store.events(0, 9)] == ["state.restored"]
    assert (tmp_path / f"{DATABASE}.broken-20250131T120000000Z").exists()
    opened.store.close()


def test_a_deleted_database_falls_back_to_the_cached_table_and_an_intact_one_does_not(tmp_path: Path) -> None:
    cached = tmp_path / "table.json"
    cached.write_bytes(encode_table(replace(state().table, revision=17)))
    first = open_store(tmp_path, [cached], AT)
    assert first.store.load().table.revision == 18
    first.store.close()
    second = open_store(tmp_path, [cached], AT)
    assert second.store.load().table.revision == 18
    assert not second.notices
    second.store.close()


def test_nothing_recorded_and_nothing_cached_starts_quietly_from_nothing(tmp_path: Path) -> None:
    opened = open_store(tmp_path, [tmp_path / "table.json"], AT)
    assert (opened.store.load(), opened.notices) == (State(), ())
    opened.store.close()


def test_the_newest_readable_cache_counts(tmp_path: Path) -> None:
    for name, revision in (("a", 3), ("b", 5), ("c", 4)):
        (tmp_path / name).write_bytes(encode_table(RouteTable(revision)))
    (tmp_path / "d").write_bytes(b"{")
    best = newest_cached([tmp_path / name for name in "abcde"])
    assert best is not None
    assert best.revision == 5


def test_a_second_controller_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    import os

    held = lock(tmp_path)
    with pytest.raises(FailedPrecondition, match=f"another controller \\(process {os.getpid()}\\)"):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))


def test_a_directory_that_cannot_hold_a_database_is_not_taken_for_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        open_store(tmp_path / "missing", [], AT)


def line(number: int) -> dict[str, object]:
    return {"number": number, "blocks": [{"epoch": 4}]}


def test_lines_of_the_log_of_blocks_are_written_with_the_change_and_read_in_order(store: Store) -> None:
    log = tuple(("digits-9", line(number)) for number in (1, 2, 3))
    store.commit(State(), replace(change(1), log=log), AT)
    assert [found["number"] for found in store.blocks("digits-9", 0, 2)] == [1, 2]
    assert store.blocks("digits-9", 2, 10) == (line(3),)
    assert store.blocks("digits-8", 0, 10) == ()


def test_a_line_that_is_there_already_takes_the_whole_change_back(store: Store) -> None:
    store.commit(State(), replace(change(1), log=(("digits-9", line(1)),)), AT)
    with pytest.raises(Conflict):
        store.commit(change(1).state, replace(change(2, Event("a", "digits", ANN)), log=(("digits-9", line(1)),)), AT)
    assert store.load().table.revision == 1
    assert store.events(0, 10) == ()


def test_the_blocks_of_the_newest_rollouts_of_a_model_are_kept(store: Store) -> None:
    before = State()
    for number in range(1, KEPT_ROLLOUTS + 3):
        begun = replace(of(walking()), id=f"digits-{number}", number=number, revision=1)
        now = replace(change(number).state, rollouts={"digits": begun})
        store.commit(before, Change(now, log=((begun.id, line(1)),)), AT)
        before = now
    kept = [number for number in range(1, KEPT_ROLLOUTS + 3) if store.blocks(f"digits-{number}", 0, 1)]
    assert kept == list(range(3, KEPT_ROLLOUTS + 3))
