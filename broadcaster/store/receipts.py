"""The `receipt` inbox, and how a receipt finds its submission.

A receipt belongs to the newest submission with the same carrier, the same normalised id and the same number; anything less is left
unmatched and counted, since a warning credited to the wrong person is worse than one without a receipt. The first final state stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, func, select, text

from broadcaster.model import State
from broadcaster.store import messages
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import append
from broadcaster.store.schema import LANE_SHIFT, receipt


class Received(NamedTuple):
    """One receipt as it came; `state` is None for an intermediate or unknown one, `matched` until it has been looked at."""

    carrier: str
    smsc_id: str
    token: bytes | None
    stat: str
    state: int | None
    error: str | None
    received_ms: int
    matched: bool | None = None


_HITS = """
    INSERT INTO hit (receipt_id, message_id, part, attempt, state, error, received_ms)
    SELECT receipt_id, message_id, part, attempt, state, error, received_ms FROM (
        SELECT r.id AS receipt_id, s.message_id, s.part, s.attempt, r.state, r.error, r.received_ms,
               row_number() OVER (
                   PARTITION BY r.id ORDER BY s.answered_ms DESC, s.message_id DESC, s.attempt DESC, s.part DESC
               ) AS nth
        FROM {tables} CROSS JOIN message m
        WHERE s.smsc_id = r.smsc_id AND s.carrier = r.carrier AND m.id = s.message_id AND m.token = r.token AND {which}
    ) AS candidate WHERE nth = 1
"""
# CROSS JOIN names the order of the loops, as in store/messages.py.
_MATCH_NEW = text(_HITS.format(tables="receipt r CROSS JOIN submission s", which="r.id > :after AND r.matched IS NULL"))
_MATCH_LEFT = text(_HITS.format(tables="receipt r CROSS JOIN submission s", which="NOT r.matched"))
_MATCH_WAITING = text(
    _HITS.format(tables="scratch CROSS JOIN submission s CROSS JOIN receipt r", which="s.message_id = scratch.id AND NOT r.matched")
)
_SETTLE = text(
    "UPDATE submission SET state = h.state, receipt_ms = h.received_ms, receipt_error = h.error FROM ("
    "  SELECT message_id, part, attempt, state, error, received_ms, "
    "         row_number() OVER (PARTITION BY message_id, part, attempt ORDER BY receipt_id) AS nth "
    "  FROM hit WHERE state IS NOT NULL) AS h "
    "WHERE h.nth = 1 AND submission.message_id = h.message_id AND submission.part = h.part "
    "AND submission.attempt = h.attempt AND submission.state < :final"
)
_UNMATCHED = text("NOT matched")
"""As the partial index spells it: SQLAlchemy would write ``matched = 0`` for SQLite, which does not use the index."""


def record_receipts(connection: Connection, received: Sequence[Received]) -> None:
    """Append to the inbox."""
    append(connection, receipt, Received._fields, received)


def newest_id(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(receipt.c.id), 0))).scalar_one())


def unmatched(connection: Connection) -> int:
    """Return how many receipts no submission is known for."""
    return int(connection.execute(select(func.count()).select_from(receipt).where(_UNMATCHED)).scalar_one())


def unfounded(connection: Connection, lane: Lane) -> int:
    """Return how many of a lane's outcomes by receipt have no matched receipt of that id and state (about 3 s a million).

    A set difference and not a join: the inbox has no index over what is matched, and needs none for anything else.
    """
    query = text(
        "SELECT count(*) FROM (SELECT smsc_id, state FROM submission "
        "WHERE message_id >= :low AND message_id < :high AND state >= :final "
        "EXCEPT SELECT smsc_id, state FROM receipt WHERE carrier = :carrier AND matched) AS unfounded"
    )
    low, high = lane.id << LANE_SHIFT, (lane.id + 1) << LANE_SHIFT
    values = {"low": low, "high": high, "final": int(State.EXPIRED), "carrier": lane.carrier}
    return int(connection.execute(query, values).scalar_one())


def match(connection: Connection, after: int | None = None) -> int:
    """Match the receipts with ids above `after`, just stored, or all that are unmatched; return how many found their submission."""
    if after is None:
        return _settle(connection, _MATCH_LEFT, {})
    found = _settle(connection, _MATCH_NEW, {"after": after})
    # Only now do the few that found none enter the partial index, instead of every receipt for a moment.
    connection.execute(text("UPDATE receipt SET matched = false WHERE id > :after AND matched IS NULL"), {"after": after})
    return found


def match_waiting(connection: Connection) -> int:
    """Match receipts that came before their response (F01) with the outcomes recorded last; usually there are none.

    Called after `messages.record_outcomes` in the same transaction: a receipt and its submission meet when the later one is stored.
    """
    return _settle(connection, _MATCH_WAITING, {})


def _settle(connection: Connection, query: TextClause, values: Mapping[str, int]) -> int:
    """Find hits and carry their states to submissions, messages and tallies; return how many receipts found their submission."""
    connection.execute(text("DELETE FROM hit"))
    found = connection.execute(query, values).rowcount
    if not found:
        return 0
    connection.execute(text("UPDATE receipt SET matched = true WHERE id IN (SELECT receipt_id FROM hit)"))
    connection.execute(_SETTLE, {"final": int(State.EXPIRED)})
    touched = set(connection.execute(text("SELECT message_id FROM hit WHERE state IS NOT NULL")).scalars())
    if touched:
        messages.fold(connection, touched)
    return found
