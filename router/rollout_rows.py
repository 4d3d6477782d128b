"""Rollouts in the database: a row each, for ever; the newest of a model is the one that counts."""

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from router.decoding import decoder
from router.errors import Conflict, Internal
from router.rollout import Rollout
from router.schema import rollouts
from router.state import Change, State


def latest_rollouts(connection: Connection) -> dict[str, Rollout]:
    """The newest rollout of each model."""
    newest = select(func.max(rollouts.c.number)).group_by(rollouts.c.model)
    found = connection.execute(select(rollouts.c.document).where(rollouts.c.number.in_(newest))).scalars()
    return {rollout.model: rollout for rollout in map(decode_rollout, found)}


def read_rollout(connection: Connection, identity: str) -> Rollout | None:
    """One rollout, or None."""
    document = connection.execute(select(rollouts.c.document).where(rollouts.c.id == identity)).scalar()
    return None if document is None else decode_rollout(document)


def page_of_rollouts(connection: Connection, before: int | None, limit: int, model: str | None) -> tuple[Rollout, ...]:
    """Rollouts, the newest first."""
    query = select(rollouts.c.document).order_by(rollouts.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(rollouts.c.number < before)
    if model is not None:
        query = query.where(rollouts.c.model == model)
    return tuple(decode_rollout(document) for document in connection.execute(query).scalars())


def write_rollouts(connection: Connection, before: State, change: Change, at: str) -> None:
    """Writes what a change makes of rollouts. Raises Conflict when one is not as it was when it was decided."""
    changed = [r for model, r in change.state.rollouts.items() if before.rollouts.get(model) != r]
    for rollout in (*change.closed, *changed):
        old = before.rollouts.get(rollout.model)
        known = old.revision if old is not None and old.id == rollout.id else None
        _write(connection, rollout, known, at)


def encode_rollout(rollout: Rollout) -> str:
    """Its JSON."""
    return msgspec.json.encode(rollout).decode()


def decode_rollout(document: str) -> Rollout:
    """The rollout that `encode_rollout` wrote. Raises Internal when it is not one."""
    try:
        return decoder(Rollout).decode(document)
    except msgspec.MsgspecError as error:
        raise Internal(f"a recorded rollout is not understood: {error}") from error


def _write(connection: Connection, rollout: Rollout, known: int | None, at: str) -> None:
    values = {
        "id": rollout.id,
        "number": rollout.number,
        "model": rollout.model,
        "phase": str(rollout.phase),
        "revision": rollout.revision,
        "document": encode_rollout(rollout),
        "at": at,
    }
    if known is None:
        connection.execute(insert(rollouts).values(**values))
        return
    same = (rollouts.c.id == rollout.id) & (rollouts.c.revision == known)
    if connection.execute(update(rollouts).where(same).values(**values)).rowcount != 1:
        raise Conflict(f"rollout {rollout.id} changed meanwhile; nothing was written")
