"""States follow from outcomes and receipts: a part is at its best attempt, a message at its worst part, totals count messages.

A lane whose carrier sends one receipt for a whole message (`receipt_part`, F11) lets that part's final state stand for the
other parts that the carrier has accepted.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store.engine import execute_many
from broadcaster.store.schema import LANE_SHIFT

# CROSS JOIN names the order of the loops: SQLite never reorders it, and without ANALYZE (a trap with mostly empty columns) it would
# rather walk a whole table than begin with the few rows at hand. PostgreSQL reads it as any other join.
_FOLD = text(
    "INSERT INTO folded (id, area_code, old_state, new_state) "
    "SELECT m.id, m.area_code, m.state, worst.state FROM ("
    "  SELECT id, min(CASE WHEN part <> spoken AND spoken > 0 AND state = :accepted THEN :delivered ELSE state END) AS state, "
    "         count(*) AS parts, min(wanted) AS wanted FROM ("
    "    SELECT scratch.id, s.part, l.receipt_part AS spoken, l.parts AS wanted, max(s.state) AS state "
    "    FROM scratch CROSS JOIN submission s CROSS JOIN lane l WHERE s.message_id = scratch.id AND l.id = scratch.id >> :shift "
    "    GROUP BY scratch.id, s.part, l.receipt_part, l.parts) AS best GROUP BY id) AS worst "
    "CROSS JOIN message m WHERE m.id = worst.id AND worst.parts = worst.wanted AND m.state <> worst.state "
    "AND m.state NOT IN (:cancelled, :lapsed)"
).bindparams(
    shift=LANE_SHIFT,
    accepted=int(State.ACCEPTED),
    delivered=int(State.DELIVERED),
    cancelled=int(State.CANCELLED),
    lapsed=int(State.LAPSED),
)
_MOVE = text(
    "UPDATE message SET state = (SELECT new_state FROM folded WHERE folded.id = message.id), not_before_ms = NULL "
    "WHERE id IN (SELECT id FROM folded)"
)
_RETALLY = text(
    "INSERT INTO tally (lane_id, area_code, state, exclusion, messages) "
    "SELECT lane_id, area_code, state, 0, sum(moved) FROM ("
    "  SELECT id >> :shift AS lane_id, area_code, old_state AS state, -count(*) AS moved FROM folded GROUP BY 1, 2, 3 "
    "  UNION ALL SELECT id >> :shift, area_code, new_state, count(*) FROM folded GROUP BY 1, 2, 3) AS moves "
    "WHERE true GROUP BY lane_id, area_code, state "
    "ON CONFLICT (lane_id, area_code, state, exclusion) DO UPDATE SET messages = tally.messages + excluded.messages"
).bindparams(shift=LANE_SHIFT)


def choose(connection: Connection, ids: Iterable[int]) -> None:
    """Put message ids into the connection's `scratch` table, for the statement that comes next."""
    connection.execute(text("DELETE FROM scratch"))
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
    connection.execute(text("DELETE FROM folded"))
    connection.execute(_FOLD)
    return move_folded(connection)


def move_folded(connection: Connection) -> int:
    """Carry out the moves that `folded` lists, in messages and totals; return how many."""
    moved = connection.execute(_MOVE).rowcount
    if moved:
        connection.execute(_RETALLY)
    return moved
