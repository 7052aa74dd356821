"""Messages that a carrier refused for good, and how they come to wait for another try."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text, update

from broadcaster.model import State
from broadcaster.store import messages
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import execute_many
from broadcaster.store.schema import LANE_SHIFT, campaign

REQUEUED = "requeued"
"""The `reason` of an attempt that was refused for good until a person requeued it."""

# A part refused by its own answer has that status; one dropped because another part was refused has none.
_CHOSEN = (
    "FROM message m WHERE m.id >= :first AND m.id < :end AND m.state = :refused AND EXISTS ("
    "  SELECT 1 FROM submission s WHERE s.message_id = m.id AND s.state = :refused AND s.status = :status) AND NOT EXISTS ("
    "  SELECT 1 FROM submission s WHERE s.message_id = m.id AND s.state = :refused AND s.status <> :status)"
)
_COUNT = text(f"SELECT count(*) {_CHOSEN}")
_PAGE = text(f"SELECT m.id {_CHOSEN} ORDER BY m.id LIMIT :limit")


def _values(item: Lane, status: int, first_id: int) -> dict[str, int]:
    return {"first": first_id, "end": item.end_id, "refused": int(State.REFUSED), "status": status}


def count_refused(connection: Connection, item: Lane, status: int) -> int:
    """Return how many messages of a lane the carrier refused for good with this command status and no other."""
    return int(connection.execute(_COUNT, _values(item, status, item.first_id)).scalar_one())


def refusing_codes(connection: Connection, item: Lane) -> dict[int, int]:
    """Return command status → parts refused for good, most frequent first."""
    query = text(
        "SELECT status, count(*) AS parts FROM submission WHERE message_id >= :low AND message_id < :high AND state = :refused "
        "AND status IS NOT NULL GROUP BY status ORDER BY parts DESC, status"
    )
    bounds = {"low": item.id << LANE_SHIFT, "high": (item.id + 1) << LANE_SHIFT, "refused": int(State.REFUSED)}
    return {int(row.status): int(row.parts) for row in connection.execute(query, bounds)}


def requeue(connection: Connection, item: Lane, status: int, first_id: int, limit: int, now_ms: int) -> list[int]:
    """Let up to `limit` of those messages, from `first_id` on, wait for another try, due now; return their ids.

    Only their refused parts are tried again; parts accepted or unknown stay as they are.
    """
    ids = list(connection.execute(_PAGE, _values(item, status, first_id) | {"limit": limit}).scalars())
    reopen(connection, ids)
    messages.defer(connection, [(now_ms, message_id) for message_id in ids])
    return ids


def reopen(connection: Connection, ids: Sequence[int]) -> None:
    """Make the refused parts of these messages such as are tried again."""
    execute_many(
        connection,
        "UPDATE submission SET state = ?, reason = CASE WHEN status IS NULL THEN reason ELSE ? END "
        "WHERE message_id = ? AND state = ?",
        [(int(State.RETRY), REQUEUED, message_id, int(State.REFUSED)) for message_id in ids],
    )


def all_refused(connection: Connection, item: Lane) -> list[int]:
    """Return the messages of a lane that the carrier refused for good, whatever the code."""
    query = text("SELECT m.id FROM message m WHERE m.id >= :first AND m.id < :end AND m.state = :refused ORDER BY m.id")
    return list(connection.execute(query, {"first": item.first_id, "end": item.end_id, "refused": int(State.REFUSED)}).scalars())


def count_requeue(connection: Connection, campaign_id: int) -> None:
    """Remember that refused messages of a campaign were let to be tried again: the note beside the database tells it (I18)."""
    connection.execute(update(campaign).where(campaign.c.id == campaign_id).values(requeues=campaign.c.requeues + 1))
