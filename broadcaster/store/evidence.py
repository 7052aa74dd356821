"""Unknown parts, receipts that fit no known id, and what becomes of them when the two belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from broadcaster.store.engine import execute_many
from broadcaster.store.states import fold
from broadcaster.store.unknown import RECEIPT


class Doubtful(NamedTuple):
    """A part whose fate is unknown: it went out, if it did, after `leased_ms`, and was given up at `answered_ms`."""

    message_id: int
    part: int
    attempt: int
    token: bytes
    leased_ms: int
    answered_ms: int
    alone: bool
    """No other part of its message awaits a receipt, which might be the orphan under an id that is read wrongly (F02)."""
    decided: bool
    """A person settled it, or it was set to be sent again: no receipt settles it, but one may still be about it."""


class Orphan(NamedTuple):
    """A final receipt that fits no known id."""

    id: int
    smsc_id: str
    token: bytes
    state: int
    error: str | None
    reference: int | None
    submit_date: str | None
    received_ms: int


def doubtful(connection: Connection, carrier: str, limit: int) -> list[Doubtful]:
    """Return up to `limit` unknown parts of a carrier, those that a person has decided about included."""
    query = text(
        "SELECT s.message_id, s.part, s.attempt, m.token, l.opened_ms, s.answered_ms, "
        "NOT EXISTS (SELECT 1 FROM submission o WHERE o.message_id = s.message_id "
        "  AND (o.state = 30 OR (o.part <> s.part AND o.state = 1 AND o.resolved IN ('released', 'policy')))), "
        "s.resolved IS NOT NULL FROM submission s CROSS JOIN message m CROSS JOIN lease l "
        "WHERE s.state = 20 AND s.carrier = :carrier AND m.id = s.message_id AND l.id = s.lease_id "
        "ORDER BY s.message_id, s.part LIMIT :limit"
    )
    return [Doubtful(*row) for row in connection.execute(query, {"carrier": carrier, "limit": limit})]


def orphans(connection: Connection, carrier: str, before_ms: int, limit: int) -> list[Orphan]:
    """Return up to `limit` final receipts of a carrier that came by `before_ms` and are still unmatched, the oldest first."""
    query = text(
        "SELECT id, smsc_id, token, state, error, reference, submit_date, received_ms FROM receipt "
        "WHERE NOT matched AND carrier = :carrier AND state IS NOT NULL AND token IS NOT NULL AND received_ms <= :before "
        "ORDER BY id DESC LIMIT :limit"
    )
    rows = connection.execute(query, {"carrier": carrier, "before": before_ms, "limit": limit})
    return [Orphan(*row) for row in rows][::-1]


def known(connection: Connection, carrier: str, found: Orphan, part: Doubtful) -> bool:
    """Tell whether the receipt is about another part: of the message (a repetition, F10), or of any message to the number (F03)."""
    query = text(
        "SELECT 1 FROM submission WHERE message_id = :message AND smsc_id = :smsc_id UNION ALL "
        "SELECT 1 FROM submission s CROSS JOIN message m "
        "WHERE s.state = 30 AND s.smsc_id = :smsc_id AND s.carrier = :carrier AND m.id = s.message_id AND m.token = :token"
    )
    values = {"message": part.message_id, "smsc_id": found.smsc_id, "carrier": carrier, "token": found.token}
    return connection.execute(query, values).first() is not None


def accept(connection: Connection, pairs: Sequence[tuple[Orphan, Doubtful]]) -> int:
    """Settle unknown parts by the receipts that can only be theirs (T5), return how many were still unknown."""
    settled = execute_many(
        connection,
        "UPDATE submission SET state = ?, smsc_id = ?, receipt_ms = ?, receipt_error = ?, resolved = ? "
        "WHERE message_id = ? AND part = ? AND attempt = ? AND state = 20 AND resolved IS NULL",
        [
            (found.state, found.smsc_id, found.received_ms, found.error, RECEIPT, part.message_id, part.part, part.attempt)
            for found, part in pairs
        ],
    )
    execute_many(
        connection,
        "UPDATE receipt SET matched = true WHERE id = ?",
        [(found.id,) for found, _ in pairs],
    )
    fold(connection, {part.message_id for _, part in pairs})
    return settled
