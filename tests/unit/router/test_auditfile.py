"""The history on disk, read beside its writer: any row that was touched is found, and old ones get their links."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from router.auditfile import events_of
from router.chain import ChainBroken, walk
from router.errors import FailedPrecondition, InvalidArgument
from router.routes import RouteTable
from router.state import Change, Event, State, Who
from router.statedir import DATABASE
from router.store import connect

AT = "2025-01-31T12:00:00.000Z"
COLUMNS = ("id", "at", "revision", "actor", "kind", "model", "reason", "before", "after", "rollout", "hash")


def record(directory: Path, count: int = 4) -> str:
    """Commit so many events, in changes of two; the head."""
    store = connect(directory / DATABASE)
    state = store.load()
    for number in range(0, count, 2):
        events = tuple(
            Event("route.set", "digits", Who("ann", f"why {n}"), {"1": 0.1 * n}, ["\u00e9", n], rollout="r1")
            for n in (number, number + 1)
        )
        after = State(RouteTable(revision=state.table.revision + 1))
        store.commit(state, Change(after, events), AT)
        state = after
    head = store.head()
    store.close()
    return head


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("recorded")
    record(directory)
    return directory


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """A directory with four events."""
    shutil.copy(recorded / DATABASE, tmp_path)
    return tmp_path


def touch(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_what_was_recorded_is_whole_and_goes_on(tmp_path: Path) -> None:
    head = record(tmp_path)
    assert (walk(events_of(tmp_path)).events, walk(events_of(tmp_path)).head) == (4, head)
    later = record(tmp_path)
    found = walk(events_of(tmp_path), head)
    assert (found.events, found.head, found.kept_at) == (8, later, 4)


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    record(tmp_path)
    store = connect(tmp_path / DATABASE)
    state = store.load()
    store.commit(state, Change(State(RouteTable(revision=9)), (Event("b", None, Who()),)), AT)
    try:
        assert walk(events_of(tmp_path)).events == 5
    finally:
        store.close()


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_is_found(copy: Path, column: str, number: int) -> None:
    value = "77" if column in ("id", "revision") else "'\"x\"'"
    touch(copy, f"UPDATE events SET {column} = {value} WHERE id = {number}")
    with pytest.raises(ChainBroken, match=f"^event {number} "):
        walk(events_of(copy))


FORGERIES: dict[str, tuple[str, ...]] = {
    "deleted": ("DELETE FROM events WHERE id = 2",),
    "deleted and moved up": (
        "DELETE FROM events WHERE id = 2",
        "UPDATE events SET id = 2 WHERE id = 3",
        "UPDATE events SET id = 3 WHERE id = 4",
    ),
    "inserted": (
        "UPDATE events SET id = id + 100 WHERE id >= 2",
        "UPDATE events SET id = id - 99 WHERE id > 100",
        "INSERT INTO events SELECT 2, at, revision, actor, kind, model, reason, before, after, rollout, hash, claimed"
        " FROM events WHERE id = 1",
    ),
    "exchanged": (
        "UPDATE events SET id = 200 WHERE id = 2",
        "UPDATE events SET id = 2 WHERE id = 3",
        "UPDATE events SET id = 3 WHERE id = 200",
    ),
    "no JSON": ("UPDATE events SET before = '{' WHERE id = 2",),
    "no text": ("UPDATE events SET actor = CAST(X'ff' AS TEXT) WHERE id = 2",),
    "without a hash": ("UPDATE events SET hash = '' WHERE id = 2",),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_forged_rows_are_found(copy: Path, case: str) -> None:
    touch(copy, *FORGERIES[case])
    with pytest.raises(ChainBroken, match=r"^event 2 "):
        walk(events_of(copy))


def test_a_cut_at_the_end_needs_a_head_that_was_kept(tmp_path: Path) -> None:
    head = record(tmp_path)
    touch(tmp_path, "DELETE FROM events WHERE id = 4")
    assert walk(events_of(tmp_path)).events == 3
    with pytest.raises(ChainBroken, match="cut off"):
        walk(events_of(tmp_path), head)


def test_the_events_of_an_older_serin_get_their_links(tmp_path: Path) -> None:
    head = record(tmp_path)
    touch(
        tmp_path,
        "ALTER TABLE events DROP COLUMN hash",
        "ALTER TABLE events DROP COLUMN claimed",
        "UPDATE meta SET value = '3' WHERE name = 'schema_version'",
    )
    with pytest.raises(FailedPrecondition, match="without a chain"):
        walk(events_of(tmp_path))
    connect(tmp_path / DATABASE).close()
    assert walk(events_of(tmp_path)).head == head


def _nothing(directory: Path) -> None:
    return None


def _garbage(directory: Path) -> None:
    (directory / DATABASE).write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize(("make", "error"), [(_nothing, InvalidArgument), (_garbage, FailedPrecondition)])
def test_what_is_no_history_is_said(tmp_path: Path, make: Callable[[Path], None], error: type[Exception]) -> None:
    make(tmp_path)
    with pytest.raises(error):
        walk(events_of(tmp_path))
