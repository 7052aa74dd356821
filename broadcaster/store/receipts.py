"""The `receipt` inbox, and how a receipt finds its submission.

A receipt belongs to the newest submission with the same carrier, the same normalised id and the same number; anything less is left
unmatched and counted, since a warning credited to the wrong person is worse than one without a receipt. The first final state stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from broadcaster.model import State
from broadcaster.store import messages
from broadcaster.store.engine import append
from broadcaster.store.schema import receipt


class Received(NamedTuple):
    """One receipt as it came; `state` is None for an intermediate or unknown one."""

    carrier: str
    smsc_id: str
    token: bytes | None
    stat: str
    state: int | None
    error: str | None
    received_ms: int
    matched: bool = False


_MATCH = """
    INSERT INTO hit (receipt_id, message_id, part, attempt, state, error, received_ms)
    SELECT r.id, s.message_id, s.part, s.attempt, r.state, r.error, r.received_ms
    FROM receipt r
    JOIN submission s ON s.smsc_id = r.smsc_id AND s.carrier = r.carrier
    JOIN message m ON m.id = s.message_id AND m.token = r.token
    WHERE NOT r.matched AND r.id > :after
    ORDER BY r.id, s.answered_ms
"""


def record_receipts(connection: Connection, received: Sequence[Received]) -> None:
    """Append to the inbox."""
    append(connection, receipt, Received._fields, received)


def newest_id(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(receipt.c.id), 0))).scalar_one())


def unmatched(connection: Connection) -> int:
    """Return how many receipts no submission is known for."""
    return int(connection.execute(select(func.count()).select_from(receipt).where(~receipt.c.matched)).scalar_one())


def match(connection: Connection, after: int = 0) -> int:
    """Match the unmatched receipts with ids above `after`; return how many found their submission."""
    connection.execute(text("DELETE FROM hit"))
    found = connection.execute(text(_MATCH), {"after": after}).rowcount
    if not found:
        return 0
    connection.execute(text("UPDATE receipt SET matched = true WHERE id IN (SELECT receipt_id FROM hit)"))
    connection.execute(
        text(
            "UPDATE submission SET state = h.state, receipt_ms = h.received_ms, receipt_error = h.error FROM ("
            "  SELECT message_id, part, attempt, state, error, received_ms, "
            "         row_number() OVER (PARTITION BY message_id, part, attempt ORDER BY receipt_id) AS nth "
            "  FROM hit WHERE state IS NOT NULL) AS h "
            "WHERE h.nth = 1 AND submission.message_id = h.message_id AND submission.part = h.part "
            "AND submission.attempt = h.attempt AND submission.state < :final"
        ),
        {"final": int(State.EXPIRED)},
    )
    touched = set(connection.execute(text("SELECT message_id FROM hit WHERE state IS NOT NULL")).scalars())
    if touched:
        messages.fold(connection, touched)
    return found
