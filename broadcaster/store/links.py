"""The `link_state` table: how each bind of each carrier account stands, as the service last saw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from broadcaster.store.engine import execute_many
from broadcaster.store.schema import link_state


class LinkRow(NamedTuple):
    """One bind; `rate_tps` in parts per second over the last second, `seen_ms` when the service last wrote this.

    `bind` counts from 1; `endpoint` is the host it is connected to, or tries next.
    """

    carrier: str
    state: str
    reason: str
    since_ms: int
    seen_ms: int
    rate_tps: float
    outstanding: int
    bind: int = 1
    endpoint: str = ""


def put_links(connection: Connection, rows: Sequence[LinkRow]) -> None:
    """Replace the rows of these binds; those that a carrier of theirs has no more, since its card changed, go."""
    most: dict[str, int] = {}
    for row in rows:
        most[row.carrier] = max(most.get(row.carrier, 0), row.bind)
    execute_many(connection, "DELETE FROM link_state WHERE carrier = ? AND bind > ?", list(most.items()))
    execute_many(
        connection,
        "INSERT INTO link_state (carrier, state, reason, since_ms, seen_ms, rate_tps, outstanding, bind, endpoint) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (carrier, bind) DO UPDATE SET state = excluded.state, reason = excluded.reason, since_ms = excluded.since_ms, "
        "seen_ms = excluded.seen_ms, rate_tps = excluded.rate_tps, outstanding = excluded.outstanding, endpoint = excluded.endpoint",
        rows,
    )


def binds(connection: Connection) -> list[LinkRow]:
    """Return every bind, by carrier and number."""
    found = connection.execute(select(link_state).order_by(link_state.c.carrier, link_state.c.bind))
    return [LinkRow(**row._asdict()) for row in found]


def links(connection: Connection) -> dict[str, LinkRow]:
    """Return how each carrier stands with all its binds: as the best of them, with the rates and outstanding parts of all."""
    by_carrier: dict[str, list[LinkRow]] = {}
    for row in binds(connection):
        by_carrier.setdefault(row.carrier, []).append(row)
    return {carrier: _together(rows) for carrier, rows in by_carrier.items()}


def _together(rows: Sequence[LinkRow]) -> LinkRow:
    best = next((row for row in rows if row.state == "bound"), rows[0])
    return best._replace(
        rate_tps=sum(row.rate_tps for row in rows),
        outstanding=sum(row.outstanding for row in rows),
        seen_ms=max(row.seen_ms for row in rows),
    )
