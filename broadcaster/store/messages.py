"""The `message`, `lease`, `submission` and `tally` tables while a campaign is sent.

A lease is the durable intent to send: a contiguous range of a lane's ids, or an explicit list for second tries. Every message
under it ends with an outcome for each of its parts, appended to `submission` and folded in the same transaction into the
message's state and the lane's tally. What a dead process left under open leases without an outcome is what nobody can know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, text, update

from broadcaster.model import State
from broadcaster.store import receipts, usage
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import Store, append, execute_many, joined_octets, run
from broadcaster.store.schema import LANE_SHIFT, lease, submission
from broadcaster.store.states import choose, fold, fold_chosen, move_folded

OPEN_LEASE_FOLD_MS: Final = 1_000
"""A lease open for longer is folded as far as it has come."""
FOLD_ALL_ROWS: Final = 20_000
FOLD_UP_ROWS: Final = 2_000
TOKEN_OCTETS: Final = 16
_LAST_MS: Final = 1 << 62
_GIVEN_BACK: Final = "state = 1 AND resolved IN ('released', 'policy')"
"""Unknown, and set to be sent again: unknown it is once more when no later copy is sent and taken."""
RECOVERED_WAIT_MS: Final = 60_000
"""How long a message waits for its next try of which a crash took the time."""
OTHER_REFUSED: Final = "other part refused"
"""The `reason` of a part that is not sent because another one of its message was refused for good."""
THROTTLED: Final = 0x58
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
    raw_id: str | None = None
    """The carrier's own spelling of its id, where the card's rule made another of it (F02)."""


_BEST = text(
    "SELECT s.message_id, s.part, max(s.attempt) AS attempt, max(s.state) AS state, "
    "sum(CASE WHEN s.status IS NULL OR s.status = :throttled OR s.reason = 'link' THEN 0 ELSE 1 END) AS refusals "
    "FROM scratch CROSS JOIN submission s WHERE s.message_id = scratch.id GROUP BY s.message_id, s.part"
).bindparams(throttled=THROTTLED)


_WAITS = text(
    "SELECT s.message_id, s.part FROM scratch CROSS JOIN submission s WHERE s.message_id = scratch.id AND s.lease_id = :lease "
    "AND s.state = :retry AND s.resolved IS NULL AND (s.reason IS NULL OR s.reason <> 'link')"
).bindparams(retry=int(State.RETRY))
"""Parts whose last answer under a lease sends them into a later one; what the link was blamed for may be written again under it."""

_UNKNOWN_AGAIN = text(f"UPDATE submission SET state = 20 WHERE message_id IN (SELECT id FROM folded) AND {_GIVEN_BACK}")  # noqa: S608


_IN_RANGE = "FROM message m LEFT JOIN opt_out o ON o.token = m.token WHERE m.id BETWEEN ? AND ? AND m.state = ?"


def due_ids(connection: Connection, lane_id: int, now_ms: int, limit: int) -> list[int]:
    """Return messages of the lane whose second try is due."""
    query = f"SELECT id FROM message WHERE not_before_ms <= ? AND id >> {LANE_SHIFT} = ? ORDER BY not_before_ms LIMIT ?"  # noqa: S608
    return list(run(connection, query, (now_ms, lane_id, limit)).scalars())


def open_range(
    connection: Connection, lane_id: int, epoch: int, first: int, last: int, parts: int, now_ms: int, *, urgent: bool = False
) -> tuple[int, list[Leased]]:
    """Lease positions [first, last] of a lane, all never sent before; return the lease id and its messages.

    In an `urgent` campaign only a refusal of everything counts (rules/refusal.py, `Scope`).
    """
    base = lane_id << LANE_SHIFT
    lease_id = _open(connection, lane_id, epoch, base + first, base + last, None, now_ms)
    whole = tuple((part, 1) for part in range(1, parts + 1))
    chosen = base + first, base + last, int(State.READY)
    tokens = joined_octets(connection, "m.token", "m.id")
    found, refusing, joined = run(connection, f"SELECT count(*), count(o.token), {tokens} {_IN_RANGE}", chosen).one()
    if found == last - first + 1 and not refusing:
        sealed = bytes.fromhex(joined)
        each = enumerate(range(0, len(sealed), TOKEN_OCTETS), base + first)
        # A named tuple's own constructor takes twice as long.
        return lease_id, [tuple.__new__(Leased, (id_, sealed[at : at + TOKEN_OCTETS], False, whole, 0)) for id_, at in each]
    query = f"SELECT m.id, m.token, coalesce(o.scope, 0) > ? {_IN_RANGE} ORDER BY m.id"
    rows = run(connection, query, (int(urgent), *chosen)).all()
    return lease_id, [Leased(message_id, token, bool(refuses), whole, 0) for message_id, token, refuses in rows]


def open_list(
    connection: Connection, lane_id: int, epoch: int, ids: Sequence[int], parts: int, now_ms: int, *, urgent: bool = False
) -> tuple[int, list[Leased]]:
    """Lease the named messages for another try; only parts not yet accepted are to be sent."""
    lease_id = _open(connection, lane_id, epoch, min(ids), max(ids), json.dumps(list(ids)), now_ms)
    choose(connection, ids)
    connection.execute(text("UPDATE message SET not_before_ms = NULL WHERE id IN (SELECT id FROM scratch)"))
    tried: dict[int, dict[int, tuple[int, int]]] = {}
    refusals: dict[int, int] = {}
    for message_id, part, attempt, state, refused in connection.execute(_BEST):
        tried.setdefault(message_id, {})[part] = (attempt, state)
        refusals[message_id] = max(refusals.get(message_id, 0), refused)
    result = []
    query = text(
        "SELECT m.id, m.token, coalesce(o.scope, 0) > :urgent FROM scratch CROSS JOIN message m "
        "LEFT JOIN opt_out o ON o.token = m.token WHERE m.id = scratch.id ORDER BY scratch.id"
    )
    for message_id, token, refuses in connection.execute(query, {"urgent": int(urgent)}):
        known = tried.get(message_id, {})
        left = [(part, known.get(part, (0, 0))[0] + 1) for part in range(1, parts + 1) if known.get(part, (0, 0))[1] <= State.RETRY]
        result.append(Leased(message_id, token, bool(refuses), left, refusals.get(message_id, 0)))
    return lease_id, result


def _open(connection: Connection, lane_id: int, epoch: int, first_id: int, last_id: int, ids_json: str | None, now_ms: int) -> int:
    statement = "INSERT INTO lease (lane_id, epoch, first_id, last_id, message_ids, opened_ms) VALUES (?, ?, ?, ?, ?, ?) RETURNING id"
    return int(run(connection, statement, (lane_id, epoch, first_id, last_id, ids_json, now_ms)).scalar_one())


def close_leases(connection: Connection, lease_ids: Sequence[int], now_ms: int) -> None:
    """Close leases all of whose messages have an outcome."""
    execute_many(connection, "UPDATE lease SET closed_ms = ? WHERE id = ?", [(now_ms, lease_id) for lease_id in lease_ids])


def record_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Append outcomes; the states of their messages follow with the next fold. Recording one twice is harmless (T3).

    An attempt at a part of which the carrier has, or may have, an earlier one is marked as a possible duplicate.
    """
    append(connection, submission, Outcome._fields, outcomes, or_ignore=True)
    again = [item for item in outcomes if item.attempt > 1]
    execute_many(
        connection,
        f"UPDATE submission SET state = 20 WHERE message_id = ? AND part = ? AND attempt < ? AND {_GIVEN_BACK}",  # noqa: S608  a constant
        [(item.message_id, item.part, item.attempt) for item in again if State.CANCELLED <= item.state < State.UNCERTAIN],
    )
    execute_many(
        connection,
        "UPDATE submission SET dup_risk = true WHERE message_id = ? AND part = ? AND attempt = ? AND EXISTS ("
        "  SELECT 1 FROM submission e WHERE e.message_id = submission.message_id AND e.part = submission.part "
        "  AND e.attempt < submission.attempt AND (e.state >= 20 OR e.resolved IN ('released', 'policy')))",
        [(item.message_id, item.part, item.attempt) for item in again if item.sent_ns is not None or item.state >= State.UNCERTAIN],
    )


def defer(connection: Connection, later: Sequence[tuple[int, int]]) -> None:
    """Set messages that may be tried again aside: (not before, in ms; message id). Their states are folded at once."""
    if not later:
        return
    fold(connection, {message_id for _, message_id in later})
    execute_many(
        connection, "UPDATE message SET not_before_ms = ? WHERE id = ? AND state = ?", [(*item, int(State.RETRY)) for item in later]
    )


def fold_some(connection: Connection, now_ms: int, limit: int) -> bool:
    """Bring states up to date with the next `limit` receipts and closed leases of as many messages; tell whether any are left.

    With the last slice come the leases that have been open for a while, as far as they are, so that one slow answer does not hide the
    others. What was folded before a crash is known (`installation.receipts_folded`, `lease.folded`): the next one goes on from there.
    """
    after = run(connection, "SELECT receipts_folded FROM installation").scalar_one()
    newest = receipts.newest_id(connection)
    until = min(newest, after + limit)
    closed, left = _unfolded(connection, limit)
    left = left or until < newest
    leases = closed if left else [*closed, *_long_open(connection, now_ms)]
    choose(connection, ())
    _choose_leased(connection, leases)
    if leases:
        receipts.settle_waiting(connection)
    if until > after:
        receipts.settle(connection, after, until)
        run(connection, "UPDATE installation SET receipts_folded = ?", (until,))
    fold_chosen(connection)
    execute_many(connection, "UPDATE lease SET folded = true WHERE id = ?", [(item.id,) for item in closed])
    return left


def fold_up(store: Store) -> None:
    """Fold what has gathered in slices of their own, so that nobody waits for the write lock while `fold_all` does the rest."""
    left = True
    while left:
        with store.write() as connection:
            left = fold_next(connection)


def fold_next(connection: Connection) -> bool:
    """Fold one slice of what has gathered; tell whether any is left."""
    return fold_some(connection, _LAST_MS, FOLD_UP_ROWS)


def fold_all(connection: Connection) -> None:
    """Bring every message and total up to date with all outcomes and receipts stored so far, for those who need exact states.

    It holds the write lock until it is done: `fold_up` comes first where much may have gathered.
    """
    while fold_some(connection, _LAST_MS, FOLD_ALL_ROWS):
        pass


def _choose_leased(connection: Connection, leases: Sequence[Row[Any]]) -> None:
    """Add the messages of these leases to `scratch`."""
    execute_many(
        connection,
        "INSERT INTO scratch (id) SELECT id FROM message WHERE id BETWEEN ? AND ? ON CONFLICT DO NOTHING",
        [(item.first_id, item.last_id) for item in leases if item.message_ids is None],
    )
    execute_many(
        connection,
        "INSERT INTO scratch (id) VALUES (?) ON CONFLICT DO NOTHING",
        [(message_id,) for item in leases if item.message_ids is not None for message_id in json.loads(item.message_ids)],
    )


def _unfolded(connection: Connection, limit: int) -> tuple[list[Row[Any]], bool]:
    """Return closed leases to fold, of about `limit` messages, and whether there are more."""
    query = "SELECT id, first_id, last_id, message_ids FROM lease WHERE NOT folded AND closed_ms IS NOT NULL ORDER BY id LIMIT ?"
    chosen: list[Row[Any]] = []
    size = 0
    for item in run(connection, query, (limit + 1,)).all():
        if size >= limit:
            return chosen, True
        chosen.append(item)
        size += item.last_id - item.first_id + 1 if item.message_ids is None else len(json.loads(item.message_ids))
    return chosen, False


def _long_open(connection: Connection, now_ms: int) -> Sequence[Row[Any]]:
    query = "SELECT id, first_id, last_id, message_ids FROM lease WHERE closed_ms IS NULL AND opened_ms <= ?"
    return run(connection, query, (now_ms - OPEN_LEASE_FOLD_MS,)).all()


def recover(connection: Connection, epoch: int, now_ms: int, limit: int) -> int:
    """Settle up to `limit` messages that earlier epochs left under open leases without an outcome.

    Each unanswered part becomes uncertain, and counts against the account's quotas on the day of its lease. One that was refused, or
    given back, under that lease certainly waits for its next try: it goes on waiting. Returns how many messages were settled; 0 means
    that nothing is left open.
    """
    row = connection.execute(
        text(
            "SELECT id, lane_id, first_id, last_id, message_ids, opened_ms FROM lease "
            "WHERE closed_ms IS NULL AND epoch < :epoch ORDER BY id DESC LIMIT 1"
        ),
        {"epoch": epoch},
    ).first()
    if row is None:
        return 0
    parts, carrier = connection.execute(text("SELECT parts, carrier FROM lane WHERE id = :id"), {"id": row.lane_id}).one()
    ids = json.loads(row.message_ids) if row.message_ids else range(row.first_id, row.last_id + 1)
    choose(connection, list(ids))
    best = {(found.message_id, found.part): (found.attempt, found.state) for found in connection.execute(_BEST)}
    given_back = text(
        "SELECT m.id FROM scratch CROSS JOIN message m WHERE m.id = scratch.id "
        "AND (m.not_before_ms IS NOT NULL OR m.state IN (:cancelled, :lapsed))"
    )
    decided = set(connection.execute(given_back, {"cancelled": int(State.CANCELLED), "lapsed": int(State.LAPSED)}).scalars())
    waits = {tuple(found) for found in connection.execute(_WAITS, {"lease": row.id})}
    lost = []
    later: set[int] = set()
    settled: set[int] = set()
    for message_id in ids:
        if message_id in decided or len(settled) >= limit:
            continue
        refused = any(best.get((message_id, part), (0, -1))[1] == State.REFUSED for part in range(1, parts + 1))
        for part in range(1, parts + 1):
            attempt, state = best.get((message_id, part), (0, -1))
            if state not in {-1, State.RETRY}:
                continue
            settled.add(message_id)
            fate, reason = State.UNCERTAIN, "crash"
            if (message_id, part) in waits:
                if not refused:
                    later.add(message_id)
                    continue
                fate, reason = State.REFUSED, OTHER_REFUSED
            lost.append(Outcome(message_id, part, attempt + 1, row.id, carrier, fate, None, None, None, now_ms, reason))
    record_outcomes(connection, lost)
    usage.add(connection, carrier, [row.opened_ms * 1_000_000 for item in lost if item.state == State.UNCERTAIN])
    defer(connection, [(now_ms + RECOVERED_WAIT_MS, message_id) for message_id in sorted(later)])
    values: dict[str, Any] = {"crashed": True} if settled else {}
    if len(settled) < limit:
        values["closed_ms"] = now_ms
    connection.execute(update(lease).where(lease.c.id == row.id).values(values))
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
        connection.execute(_UNKNOWN_AGAIN)
        connection.execute(
            text(
                "UPDATE folded SET new_state = :uncertain WHERE :uncertain <= (SELECT min(best) FROM ("
                "  SELECT max(s.state) AS best FROM submission s WHERE s.message_id = folded.id GROUP BY s.part) AS parts)"
            ),
            {"uncertain": int(State.UNCERTAIN)},
        )
    return move_folded(connection)


def open_count(connection: Connection, lane_id: int) -> int:
    """Return how many messages of a lane still wait to be sent or are under way."""
    query = text("SELECT coalesce(sum(messages), 0) FROM tally WHERE lane_id = :lane AND state IN (:ready, :retry)")
    return int(connection.execute(query, {"lane": lane_id, "ready": int(State.READY), "retry": int(State.RETRY)}).scalar_one())
