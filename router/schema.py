"""The tables of the state database."""

from collections.abc import Mapping

from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 5
"""Grows with every change that an older Serin could not read."""

metadata = MetaData()

meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", Text, nullable=False))

tables = Table(
    "tables",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("at", String, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("actor", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("model", String, index=True),
    Column("reason", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("rollout", String, index=True),
    Column("hash", String, nullable=False, server_default=""),
    Column("claimed", String, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

unloaded = Table(
    "unloaded",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
)

quarantines = Table(
    "quarantines",
    metadata,
    Column("digest", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String, nullable=False),
)

crashes = Table(
    "crashes",
    metadata,
    Column("instance", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("signal", String, nullable=False),
    Column("at_seconds", Float, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, index=True),
    Column("model", String, nullable=False, index=True),
    Column("phase", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("at", String, nullable=False),
)

blocks = Table(
    "blocks",
    metadata,
    Column("rollout", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
)

MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE events ADD COLUMN rollout VARCHAR",
        "CREATE INDEX ix_events_rollout ON events (rollout)",
    ),
    2: (),  # a rollout that is judged by evidence must not be walked on by a release that does not look at it
    3: ("ALTER TABLE events ADD COLUMN hash VARCHAR NOT NULL DEFAULT ''",),
    4: ("ALTER TABLE events ADD COLUMN claimed VARCHAR NOT NULL DEFAULT ''",),
}
"""What leads from a version to the next, besides tables that are new."""

CHAINED_SINCE = 4
"""The first version with a hash in each event; those of an older one get theirs when it is brought up to date."""
