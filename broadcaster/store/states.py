"""States follow from outcomes and receipts: a part is at its best attempt, a message at its worst part, totals count messages.

A lane whose carrier sends one receipt for a whole message (`receipt_part`, F11) lets that part's final state stand for the
other parts that the carrier has accepted.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from broadcaster.model import State
from broadcaster.store.engine import execute_many, run
from broadcaster.store.schema import LANE_SHIFT

# CROSS JOIN names the order of the loops: SQLite never reorders it, and without ANALYZE (a trap with mostly empty columns) it would
# rather walk a whole table than begin with the few rows at hand. PostgreSQL reads it as any other join.
_FOLD = (
    "INSERT INTO folded (id, area_code, old_state, new_state) "  # noqa: S608  constants
    "SELECT m.id, m.area_code, m.state, worst.state FROM ("
    f"  SELECT id, min(CASE WHEN part <> spoken AND spoken > 0 AND state = {State.ACCEPTED:d} THEN {State.DELIVERED:d} "
    "         ELSE state END) AS state, count(*) AS parts, min(wanted) AS wanted FROM ("
    "    SELECT scratch.id, s.part, min(l.receipt_part) AS spoken, min(l.parts) AS wanted, max(s.state) AS state "
    "    FROM scratch CROSS JOIN submission s CROSS JOIN lane l "
    f"    WHERE s.message_id = scratch.id AND l.id = scratch.id >> {LANE_SHIFT} "
    "    GROUP BY scratch.id, s.part) AS best GROUP BY id) AS worst "
    "CROSS JOIN message m WHERE m.id = worst.id AND worst.parts = worst.wanted AND m.state <> worst.state "
    f"AND m.state NOT IN ({State.CANCELLED:d}, {State.LAPSED:d})"
)
_MOVE = (
    "UPDATE message SET state = (SELECT new_state FROM folded WHERE folded.id = message.id), not_before_ms = NULL "
    "WHERE id IN (SELECT id FROM folded)"
)
_RETALLY = (
    "WITH moved AS MATERIALIZED ("  # noqa: S608  a constant
    f"  SELECT id >> {LANE_SHIFT} AS lane_id, area_code, old_state, new_state, count(*) AS messages FROM folded GROUP BY 1, 2, 3, 4) "
    "INSERT INTO tally (lane_id, area_code, state, exclusion, messages) "
    "SELECT lane_id, area_code, state, 0, sum(messages) FROM ("
    "  SELECT lane_id, area_code, old_state AS state, -messages AS messages FROM moved "
    "  UNION ALL SELECT lane_id, area_code, new_state, messages FROM moved) AS moves "
    "WHERE true GROUP BY lane_id, area_code, state "
    "ON CONFLICT (lane_id, area_code, state, exclusion) DO UPDATE SET messages = tally.messages + excluded.messages"
)


def choose(connection: Connection, ids: Iterable[int]) -> None:
    """Put message ids into the connection's `scratch` table, for the statement that comes next."""
    run(connection, "DELETE FROM scratch")
    execute_many(connection, "INSERT INTO scratch (id) VALUES (?)", ((item,) for item in ids))


def fold(connection: Connection, message_ids: set[int]) -> None:
    """Bring these messages and their totals in line with the outcomes of their parts; see `fold_chosen`."""
    choose(connection, message_ids)
    fold_chosen(connection)


def fold_chosen(connection: Connection) -> int:
    """Bring the messages in `scratch` and their totals in line with the outcomes of their parts; return how many moved.

    A message with a part not yet answered stays where it is, and so does one that was closed unsent: a receipt for a part of it that
    went out opens it no more.
    """
    run(connection, "DELETE FROM folded")
    run(connection, _FOLD)
    return move_folded(connection)


def move_folded(connection: Connection) -> int:
    """Carry out the moves that `folded` lists, in messages and totals; return how many."""
    moved = run(connection, _MOVE).rowcount
    if moved:
        run(connection, _RETALLY)
    return moved
