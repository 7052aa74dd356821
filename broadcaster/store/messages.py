"""The `message`, `lease`, `submission` and `tally` tables while a campaign is sent.

A lease is the durable intent to send: a contiguous range of a lane's ids, or an explicit list for second tries. Every message
under it ends with an outcome for each of its parts, appended to `submission` and folded in the same transaction into the
message's state and the lane's tally. What a dead process left under open leases without an outcome is what nobody can know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text, update

from broadcaster.model import State
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import append, execute_many
from broadcaster.store.schema import LANE_SHIFT, lease, submission

THROTTLED = 0x58
"""ESME_RTHROTTLED (SMPP 3.4 §5.1.3): no fault of the message, so no try is counted against it."""


class Leased(NamedTuple):
    """One message under a lease; `parts` lists (part number, next attempt) still to be sent, `tries` the refusals so far."""

    id: int
    token: bytes
    refuses: bool
    parts: Sequence[tuple[int, int]]
    tries: int


class Outcome(NamedTuple):
    """What became of one part at one attempt: a row of `submission`."""

    message_id: int
    part: int
    attempt: int
    lease_id: int
    carrier: str
    state: int
    status: int | None
    smsc_id: str | None
    sent_ns: int | None
    answered_ms: int
    reason: str | None


# CROSS JOIN names the order of the loops: SQLite never reorders it, and without ANALYZE (a trap with mostly empty columns) it would
# rather walk a whole table than begin with the few rows set aside. PostgreSQL reads it as any other join.
_FOLD = text(
    "INSERT INTO folded (id, area_code, old_state, new_state) "
    "SELECT m.id, m.area_code, m.state, worst.state FROM ("
    "  SELECT message_id, min(state) AS state, count(*) AS parts FROM ("
    "    SELECT s.message_id, s.part, max(s.state) AS state FROM scratch CROSS JOIN submission s WHERE s.message_id = scratch.id "
    "    GROUP BY s.message_id, s.part) AS best GROUP BY message_id) AS worst "
    "CROSS JOIN message m CROSS JOIN lane l "
    "WHERE m.id = worst.message_id AND l.id = m.id >> :shift AND worst.parts = l.parts AND m.state <> worst.state "
    "AND m.state NOT IN (:cancelled, :lapsed)"
).bindparams(cancelled=int(State.CANCELLED), lapsed=int(State.LAPSED))
_MOVE = text(
    "UPDATE message SET state = (SELECT new_state FROM folded WHERE folded.id = message.id), not_before_ms = NULL "
    "WHERE id IN (SELECT id FROM folded)"
)
_RETALLY = text(
    "INSERT INTO tally (lane_id, area_code, state, exclusion, messages) "
    "SELECT id >> :shift, area_code, CASE WHEN :sign < 0 THEN old_state ELSE new_state END, 0, :sign * count(*) "
    "FROM folded WHERE true GROUP BY 1, 2, 3 "
    "ON CONFLICT (lane_id, area_code, state, exclusion) DO UPDATE SET messages = tally.messages + excluded.messages"
)
_BEST = text(
    "SELECT s.message_id, s.part, max(s.attempt) AS attempt, max(s.state) AS state, "
    "sum(CASE WHEN s.status IS NULL OR s.status = :throttled THEN 0 ELSE 1 END) AS refusals "
    "FROM scratch CROSS JOIN submission s WHERE s.message_id = scratch.id GROUP BY s.message_id, s.part"
).bindparams(throttled=THROTTLED)


def due_ids(connection: Connection, lane_id: int, now_ms: int, limit: int) -> list[int]:
    """Return messages of the lane whose second try is due."""
    query = text("SELECT id FROM message WHERE not_before_ms <= :now AND id >> :shift = :lane ORDER BY not_before_ms LIMIT :limit")
    values = {"now": now_ms, "shift": LANE_SHIFT, "lane": lane_id, "limit": limit}
    return list(connection.execute(query, values).scalars())


def open_range(
    connection: Connection, lane_id: int, epoch: int, first: int, last: int, parts: int, now_ms: int
) -> tuple[int, list[Leased]]:
    """Lease positions [first, last] of a lane, all never sent before; return the lease id and its messages."""
    base = lane_id << LANE_SHIFT
    lease_id = _open(connection, lane_id, epoch, base + first, base + last, None, now_ms)
    query = text(
        "SELECT m.id, m.token, o.token IS NOT NULL FROM message m LEFT JOIN opt_out o ON o.token = m.token "
        "WHERE m.id BETWEEN :first AND :last AND m.state = :ready ORDER BY m.id"
    )
    whole = tuple((part, 1) for part in range(1, parts + 1))
    rows = connection.execute(query, {"first": base + first, "last": base + last, "ready": int(State.READY)})
    return lease_id, [Leased(row[0], row[1], bool(row[2]), whole, 0) for row in rows]


def open_list(
    connection: Connection, lane_id: int, epoch: int, ids: Sequence[int], parts: int, now_ms: int
) -> tuple[int, list[Leased]]:
    """Lease the named messages for another try; only parts not yet accepted are to be sent."""
    lease_id = _open(connection, lane_id, epoch, min(ids), max(ids), json.dumps(list(ids)), now_ms)
    _scratch(connection, ids)
    connection.execute(text("UPDATE message SET not_before_ms = NULL WHERE id IN (SELECT id FROM scratch)"))
    tried: dict[int, dict[int, tuple[int, int]]] = {}
    refusals: dict[int, int] = {}
    for message_id, part, attempt, state, refused in connection.execute(_BEST):
        tried.setdefault(message_id, {})[part] = (attempt, state)
        refusals[message_id] = max(refusals.get(message_id, 0), refused)
    result = []
    query = text(
        "SELECT m.id, m.token, o.token IS NOT NULL FROM scratch CROSS JOIN message m "
        "LEFT JOIN opt_out o ON o.token = m.token WHERE m.id = scratch.id ORDER BY scratch.id"
    )
    for message_id, token, refuses in connection.execute(query):
        known = tried.get(message_id, {})
        left = [(part, known.get(part, (0, 0))[0] + 1) for part in range(1, parts + 1) if known.get(part, (0, 0))[1] <= State.RETRY]
        result.append(Leased(message_id, token, bool(refuses), left, refusals.get(message_id, 0)))
    return lease_id, result


def _open(connection: Connection, lane_id: int, epoch: int, first_id: int, last_id: int, ids_json: str | None, now_ms: int) -> int:
    result = connection.execute(
        lease.insert().values(
            lane_id=lane_id, epoch=epoch, first_id=first_id, last_id=last_id, message_ids=ids_json, opened_ms=now_ms, closed_ms=None
        )
    )
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def close_leases(connection: Connection, lease_ids: Sequence[int], now_ms: int) -> None:
    """Close leases all of whose messages have an outcome."""
    if lease_ids:
        connection.execute(update(lease).where(lease.c.id.in_(lease_ids)).values(closed_ms=now_ms))


def record_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Append outcomes and fold them into messages and tallies."""
    if not outcomes:
        return
    append(connection, submission, Outcome._fields, outcomes)
    fold(connection, {item.message_id for item in outcomes})


def defer(connection: Connection, later: Sequence[tuple[int, int]]) -> None:
    """Set messages that may be tried again aside: (not before, in ms; message id)."""
    execute_many(
        connection, "UPDATE message SET not_before_ms = ? WHERE id = ? AND state = ?", [(*item, int(State.RETRY)) for item in later]
    )


def fold(connection: Connection, message_ids: set[int]) -> None:
    """Bring messages and tallies in line with their parts: a part is at its best attempt, a message at its worst part.

    A message with a part not yet answered stays where it is, and so does one that was closed unsent: a receipt for a part of it that
    went out opens it no more.
    """
    _scratch(connection, message_ids)
    connection.execute(text("DELETE FROM folded"))
    connection.execute(_FOLD, {"shift": LANE_SHIFT})
    _apply(connection)


def _apply(connection: Connection) -> int:
    """Carry out the moves that `folded` lists, in messages and tallies; return how many."""
    moved = connection.execute(_MOVE).rowcount
    for sign in (-1, 1):
        connection.execute(_RETALLY, {"sign": sign, "shift": LANE_SHIFT})
    return moved


def _scratch(connection: Connection, ids: Iterable[int]) -> None:
    connection.execute(text("DELETE FROM scratch"))
    execute_many(connection, "INSERT INTO scratch (id) VALUES (?)", ((item,) for item in ids))


def recover(connection: Connection, epoch: int, now_ms: int, limit: int) -> int:
    """Settle up to `limit` messages that earlier epochs left under open leases without an outcome.

    Each unanswered part becomes uncertain. Returns how many messages were settled; 0 means that nothing is left open.
    """
    row = connection.execute(
        text(
            "SELECT id, lane_id, first_id, last_id, message_ids FROM lease "
            "WHERE closed_ms IS NULL AND epoch < :epoch ORDER BY id LIMIT 1"
        ),
        {"epoch": epoch},
    ).first()
    if row is None:
        return 0
    parts, carrier = connection.execute(text("SELECT parts, carrier FROM lane WHERE id = :id"), {"id": row.lane_id}).one()
    ids = json.loads(row.message_ids) if row.message_ids else range(row.first_id, row.last_id + 1)
    _scratch(connection, list(ids))
    best = {(found.message_id, found.part): (found.attempt, found.state) for found in connection.execute(_BEST)}
    given_back = text(
        "SELECT m.id FROM scratch CROSS JOIN message m WHERE m.id = scratch.id "
        "AND (m.not_before_ms IS NOT NULL OR m.state IN (:cancelled, :lapsed))"
    )
    decided = set(connection.execute(given_back, {"cancelled": int(State.CANCELLED), "lapsed": int(State.LAPSED)}).scalars())
    lost = []
    settled: set[int] = set()
    for message_id in ids:
        if message_id in decided or len(settled) >= limit:
            continue
        for part in range(1, parts + 1):
            attempt, state = best.get((message_id, part), (0, -1))
            if state in {-1, State.RETRY}:
                settled.add(message_id)
                lost.append(
                    Outcome(message_id, part, attempt + 1, row.id, carrier, State.UNCERTAIN, None, None, None, now_ms, "crash")
                )
    record_outcomes(connection, lost)
    if len(settled) < limit:
        connection.execute(update(lease).where(lease.c.id == row.id).values(closed_ms=now_ms, crashed=bool(settled)))
    return len(settled) or 1


def close_rest(connection: Connection, item: Lane, state: State, limit: int) -> int:
    """Settle up to `limit` messages of a lane that will never be sent, as `state`; return how many were left to settle."""
    base = item.id << LANE_SHIFT
    last = min(item.next_position + limit - 1, item.messages)
    ids = {"low": base + item.next_position, "high": base + last}
    if item.next_position <= last:
        connection.execute(text("DELETE FROM folded"))
        connection.execute(
            text(
                "INSERT INTO folded (id, area_code, old_state, new_state) "
                "SELECT id, area_code, state, :state FROM message WHERE id BETWEEN :low AND :high AND state = :ready"
            ),
            {**ids, "state": int(state), "ready": int(State.READY)},
        )
        connection.execute(text("UPDATE lane SET next_position = :next WHERE id = :lane"), {"next": last + 1, "lane": item.id})
    else:
        connection.execute(text("DELETE FROM folded"))
        connection.execute(
            text(
                "INSERT INTO folded (id, area_code, old_state, new_state) "
                "SELECT id, area_code, state, :state FROM message "
                "WHERE not_before_ms IS NOT NULL AND id >> :shift = :lane LIMIT :limit"
            ),
            {"shift": LANE_SHIFT, "lane": item.id, "state": int(state), "limit": limit},
        )
    return _apply(connection)


def open_count(connection: Connection, lane_id: int) -> int:
    """Return how many messages of a lane still wait to be sent or are under way."""
    query = text("SELECT coalesce(sum(messages), 0) FROM tally WHERE lane_id = :lane AND state IN (:ready, :retry)")
    return int(connection.execute(query, {"lane": lane_id, "ready": int(State.READY), "retry": int(State.RETRY)}).scalar_one())
