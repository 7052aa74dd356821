"""The refusal code that stopped each carrier account: it stays suspect across restarts, until the carrier takes a part (F53–F55)."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from broadcaster.store.engine import execute_many
from broadcaster.store.schema import lane, suspicion


class Past(NamedTuple):
    """What a former service knew of an account: the suspect code, and the lanes that were stopped."""

    suspect: int | None = None
    halted: frozenset[int] = frozenset()


UNBLEMISHED = Past()


def put_suspect(connection: Connection, carrier: str, status: int) -> None:
    """Remember the command status that stopped this carrier."""
    execute_many(
        connection,
        "INSERT INTO suspicion (carrier, status) VALUES (?, ?) ON CONFLICT (carrier) DO UPDATE SET status = excluded.status",
        [(carrier, status)],
    )


def clear_suspect(connection: Connection, carrier: str) -> None:
    """Forget it: the carrier takes parts again, or a person let it go on."""
    connection.execute(delete(suspicion).where(suspicion.c.carrier == carrier))


def past_of(connection: Connection, carrier: str) -> Past:
    """Return what is known of an account at a start."""
    suspect = connection.execute(select(suspicion.c.status).where(suspicion.c.carrier == carrier)).scalar_one_or_none()
    halted = connection.execute(select(lane.c.id).where(lane.c.carrier == carrier, lane.c.halted.is_not(None))).scalars()
    return Past(suspect, frozenset(halted))
