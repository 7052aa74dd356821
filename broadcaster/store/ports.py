"""The `port` table: numbers that moved to another carrier, as the clearing house or the carriers tell."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from broadcaster.store.engine import execute_many
from broadcaster.store.schema import port


def put_ports(connection: Connection, rows: Sequence[tuple[bytes, str, int]]) -> None:
    """Store (token, carrier moved to, since when in epoch seconds); of several moves of a number the latest stays."""
    execute_many(
        connection,
        "INSERT INTO port (token, carrier, effective_s) VALUES (?, ?, ?) ON CONFLICT (token) "
        "DO UPDATE SET carrier = excluded.carrier, effective_s = excluded.effective_s WHERE excluded.effective_s > port.effective_s",
        rows,
    )


def count_ports(connection: Connection) -> dict[str, int]:
    """Return carrier → numbers that moved to it."""
    rows = connection.execute(select(port.c.carrier, func.count()).group_by(port.c.carrier).order_by(port.c.carrier))
    return {row[0]: int(row[1]) for row in rows}
