"""The `link_state` table: how each carrier's link stands, as the service last saw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from broadcaster.store.engine import execute_many
from broadcaster.store.schema import link_state


class LinkRow(NamedTuple):
    """One carrier's link; `rate_tps` in parts per second over the last second, `seen_ms` when the service last wrote this."""

    carrier: str
    state: str
    reason: str
    since_ms: int
    seen_ms: int
    rate_tps: float
    outstanding: int


def put_links(connection: Connection, rows: Sequence[LinkRow]) -> None:
    """Replace the rows of these carriers."""
    execute_many(
        connection,
        "INSERT INTO link_state (carrier, state, reason, since_ms, seen_ms, rate_tps, outstanding) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (carrier) DO UPDATE SET state = excluded.state, reason = excluded.reason, since_ms = excluded.since_ms, "
        "seen_ms = excluded.seen_ms, rate_tps = excluded.rate_tps, outstanding = excluded.outstanding",
        rows,
    )


def links(connection: Connection) -> dict[str, LinkRow]:
    """Return the rows by carrier."""
    return {row.carrier: LinkRow(**row._asdict()) for row in connection.execute(select(link_state))}
