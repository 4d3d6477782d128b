"""The log of blocks in the database: what each verdict of the evidence rests on, line by line, compressed."""

import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, insert, select

from router.errors import Internal
from router.replay import WATCH_ROWS
from router.schema import blocks, rollouts

KEPT_ROLLOUTS: Final = 10
"""Of each model, the newest rollouts whose blocks are kept. A rollout has at most some ten thousand lines."""


def write_blocks(connection: Connection, log: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Adds lines; with the first one of a rollout, those of old ones are let go."""
    for identity, row in log:
        document = zlib.compress(msgspec.json.encode(row), 1)
        connection.execute(insert(blocks).values(rollout=identity, number=row["number"], document=document))
        if row["number"] in (1, WATCH_ROWS + 1):
            _let_go(connection, identity)


def read_blocks(connection: Connection, identity: str, after: int, limit: int) -> tuple[dict[str, Any], ...]:
    """Lines with a number above `after`, oldest first."""
    query = select(blocks.c.document).where(blocks.c.rollout == identity, blocks.c.number > after)
    found = connection.execute(query.order_by(blocks.c.number).limit(limit)).scalars()
    return tuple(_line(document) for document in found)


def _line(document: bytes) -> dict[str, Any]:
    try:
        return dict(msgspec.json.decode(zlib.decompress(document)))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise Internal(f"a line of the log of blocks is not understood: {error}") from error


def _let_go(connection: Connection, identity: str) -> None:
    model = select(rollouts.c.model).where(rollouts.c.id == identity).scalar_subquery()
    mine = select(rollouts.c.id).where(rollouts.c.model == model)
    kept = mine.order_by(rollouts.c.number.desc()).limit(KEPT_ROLLOUTS)
    connection.execute(delete(blocks).where(blocks.c.rollout.in_(mine), blocks.c.rollout.not_in(kept)))
