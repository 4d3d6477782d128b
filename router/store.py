"""What the controller knows, on disk: SQLAlchemy Core on SQLite, one connection, one transaction a change.

WAL and synchronous=FULL: a commit that was answered survives `kill -9` and power loss. A change is written only if the
table on disk is still the one it was decided from (compare-and-swap on the revision).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, create_engine, delete, event, func, insert, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.pool import StaticPool

from router.blocklog import read_blocks, write_blocks
from router.chain import GENESIS, link
from router.errors import Conflict, FailedPrecondition, Internal, Unavailable
from router.rollout import Rollout
from router.rollout_rows import latest_rollouts, page_of_rollouts, read_rollout, write_rollouts
from router.routes import RouteTable, decode_table, encode_table
from router.schema import (
    CHAINED_SINCE,
    MIGRATIONS,
    SCHEMA_VERSION,
    crashes,
    events,
    meta,
    metadata,
    quarantines,
    tables,
    unloaded,
)
from router.state import Change, Event, Quarantine, State, Who
from router.views import event_document

KEPT_TABLES = 200
"""So many table documents are kept for looking back; events are kept for ever."""

KEPT_CRASH_SECONDS = 3600.0
"""Longer than any window in which deaths are counted."""

Fault = Callable[[str], None]


def no_fault(point: str) -> None:
    """The fault seam when nothing is to fail."""


class Store:
    """The database of one state directory. All methods belong to the thread that opened it."""

    def __init__(self, engine: Engine, fault: Fault = no_fault) -> None:
        self._engine = engine
        self._fault = fault

    def load(self) -> State:
        """The state as last committed; an empty one when there is none."""
        with self._reading() as connection:
            row = connection.execute(select(tables.c.document).order_by(tables.c.revision.desc()).limit(1)).first()
            table = decode_table(row.document.encode()) if row else RouteTable()
            out = frozenset((row.model, row.version) for row in connection.execute(select(unloaded)))
            quarantined = {row.digest: _quarantine(row) for row in connection.execute(select(quarantines))}
            rollouts = latest_rollouts(connection)
        return State(table, out, quarantined, rollouts)

    def commit(self, before: State, change: Change, at: str) -> tuple[Event, ...]:
        """Writes a change that was decided from `before`; all or nothing. Returns its events with their ids.

        Raises Conflict when the table on disk is another one, Unavailable when the disk refuses.
        """
        revision = change.state.table.revision
        with self._writing() as connection:
            recorded = connection.execute(select(func.max(tables.c.revision))).scalar()
            if (recorded or 0) != before.table.revision:
                raise Conflict(f"the recorded table is at revision {recorded or 0}, not {before.table.revision}")
            if revision != before.table.revision:
                document = encode_table(change.state.table).decode()
                connection.execute(insert(tables).values(revision=revision, document=document, at=at))
                connection.execute(delete(tables).where(tables.c.revision <= revision - KEPT_TABLES))
            _write_sets(connection, before, change.state, at)
            write_rollouts(connection, before, change, at)
            write_blocks(connection, change.log)
            if change.crash is not None:
                old = crashes.c.at_seconds < change.crash.at_seconds - KEPT_CRASH_SECONDS
                connection.execute(delete(crashes).where(old))
                connection.execute(insert(crashes).values(**msgspec.to_builtins(change.crash)))
            written = tuple(_append(connection, entry, at, revision) for entry in change.events)
            self._fault("commit.before")
        self._fault("commit.after")
        return written

    def events(
        self, after: int | None, limit: int, model: str | None = None, rollout: str | None = None
    ) -> tuple[Event, ...]:
        """Events in the order they happened: the first `limit` with an id above `after`, or without it the newest."""
        query = select(events)
        if model is not None:
            query = query.where(events.c.model == model)
        if rollout is not None:
            query = query.where(events.c.rollout == rollout)
        with self._reading() as connection:
            if after is None:
                rows = reversed(connection.execute(query.order_by(events.c.id.desc()).limit(limit)).all())
            else:
                rows = iter(connection.execute(query.where(events.c.id > after).order_by(events.c.id).limit(limit)))
            return tuple(_event(row) for row in rows)

    def rollout(self, identity: str) -> Rollout | None:
        """One rollout, whenever it was."""
        with self._reading() as connection:
            return read_rollout(connection, identity)

    def rollouts(self, before: int | None, limit: int, model: str | None = None) -> tuple[Rollout, ...]:
        """Rollouts, the newest first: those with a number below `before`, or without it the newest."""
        with self._reading() as connection:
            return page_of_rollouts(connection, before, limit, model)

    def blocks(self, identity: str, after: int, limit: int) -> tuple[dict[str, Any], ...]:
        """Lines of a rollout's log of blocks with a number above `after`, oldest first."""
        with self._reading() as connection:
            return read_blocks(connection, identity, after, limit)

    def last_event(self) -> int:
        """The id of the newest event; 0 when there is none."""
        with self._reading() as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def head(self) -> str:
        """The hash of the newest event."""
        with self._reading() as connection:
            return _head(connection)

    def crash_count(self, digest: str, since_seconds: float) -> int:
        """How many deaths were blamed on the content since a wall-clock time."""
        query = select(func.count()).where(crashes.c.digest == digest, crashes.c.at_seconds >= since_seconds)
        with self._reading() as connection:
            return connection.execute(query).scalar() or 0

    def has_crash(self, instance: str) -> bool:
        """Whether the death of this worker was recorded before."""
        with self._reading() as connection:
            return (
                connection.execute(select(crashes.c.instance).where(crashes.c.instance == instance)).first() is not None
            )

    def close(self) -> None:
        """Closes the connection."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except OperationalError as error:
            raise Unavailable(f"the state cannot be read: {error.orig}") from error
        except DatabaseError as error:
            raise Internal(f"the state database is broken: {error.orig}") from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise Conflict("the recorded table changed meanwhile; nothing was written") from error
        except OperationalError as error:
            raise Unavailable(f"the change cannot be recorded, nothing was changed: {error.orig}") from error
        except DatabaseError as error:
            raise Internal(f"the state database is broken: {error.orig}") from error


def connect(path: Path, fault: Fault = no_fault) -> Store:
    """Opens or creates the database. Raises DatabaseError when the file is no sound database, FailedPrecondition when a
    newer Serin wrote it."""
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            _check(connection)
            metadata.create_all(connection)
            _migrate(connection)
            if connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).first() is None:
                connection.execute(insert(meta).values(name="schema_version", value=str(SCHEMA_VERSION)))
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, fault)


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _check(connection: Connection) -> None:
    verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        raise DatabaseError("PRAGMA quick_check", None, Exception(str(verdict)))
    known = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'meta'").first()
    if known is None:
        return
    version = connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar()
    if version is not None and int(version) > SCHEMA_VERSION:
        raise FailedPrecondition(
            f"the state was written by a newer Serin (schema {version}; this one knows {SCHEMA_VERSION}); "
            "start that one, or choose another --state directory"
        )


def _migrate(connection: Connection) -> None:
    recorded = connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar()
    before = SCHEMA_VERSION if recorded is None else int(recorded)
    for version in range(before, SCHEMA_VERSION):
        for statement in MIGRATIONS[version]:
            connection.exec_driver_sql(statement)
    if before < CHAINED_SINCE:
        _chain_all(connection)
    connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=str(SCHEMA_VERSION)))


def _write_sets(connection: Connection, before: State, after: State, at: str) -> None:
    if after.unloaded != before.unloaded:
        connection.execute(delete(unloaded))
        rows = [{"model": model, "version": version} for model, version in sorted(after.unloaded)]
        if rows:
            connection.execute(insert(unloaded), rows)
    if after.quarantined != before.quarantined:
        connection.execute(delete(quarantines))
        entries = [{**msgspec.to_builtins(q), "at": q.at or at} for q in after.quarantined.values()]
        if entries:
            connection.execute(insert(quarantines), entries)


def _append(connection: Connection, entry: Event, at: str, revision: int) -> Event:
    values = {
        "at": at,
        "revision": revision,
        "actor": entry.who.actor,
        "kind": entry.kind,
        "model": entry.model,
        "reason": entry.who.reason,
        "before": msgspec.json.encode(entry.before).decode(),
        "after": msgspec.json.encode(entry.after).decode(),
        "rollout": entry.rollout,
        "claimed": entry.who.claimed,
    }
    previous = _head(connection)
    result = connection.execute(insert(events).values(**values))
    identity = result.inserted_primary_key
    number = int(identity[0]) if identity is not None else 0
    # Over what is read back, so that whoever reads it finds the same.
    written = _event(connection.execute(select(events).where(events.c.id == number)).one())
    chained = link(previous, event_document(written))
    connection.execute(update(events).where(events.c.id == number).values(hash=chained))
    return replace(entry, id=number, at=at, revision=revision, hash=chained)


def _head(connection: Connection) -> str:
    return connection.execute(select(events.c.hash).order_by(events.c.id.desc()).limit(1)).scalar() or GENESIS


def _chain_all(connection: Connection) -> None:
    head = GENESIS
    for row in connection.execute(select(events).order_by(events.c.id)).all():
        head = link(head, event_document(_event(row)))
        connection.execute(update(events).where(events.c.id == row.id).values(hash=head))


def _event(row: Row[Any]) -> Event:
    before, after = msgspec.json.decode(row.before), msgspec.json.decode(row.after)
    who = Who(row.actor, row.reason, row.claimed)
    return Event(row.kind, row.model, who, before, after, row.id, row.at, row.revision, row.rollout, row.hash)


def _quarantine(row: Row[Any]) -> Quarantine:
    return Quarantine(row.digest, row.model, row.version, row.reason, row.at)
