"""The `hold` table: what nothing may be erased of, by which document, until a person releases it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import Connection, insert, select, text, update

from broadcaster.store.schema import hold


class HoldScope(StrEnum):
    """What a legal hold is about."""

    CAMPAIGN = "campaign"
    ROSTER = "roster"
    NUMBER = "number"


class Hold(NamedTuple):
    """One hold; `subject_id` is the campaign's or roster's, `token` the number's; `documented_on` is an ISO date."""

    id: int
    scope: HoldScope
    subject_id: int | None
    token: bytes | None
    document: str
    documented_on: str
    reason: str
    added_by: str
    added_ms: int
    released_by: str | None
    released_ms: int | None
    release_reason: str | None


_ON_NUMBER: Final = text(
    "SELECT h.id FROM hold h WHERE h.released_ms IS NULL AND ("
    " h.token = :token"
    " OR (h.scope = 'roster' AND EXISTS (SELECT 1 FROM subscriber s WHERE s.roster_id = h.subject_id AND s.token = :token))"
    " OR (h.scope = 'campaign' AND (EXISTS (SELECT 1 FROM lane l JOIN message m ON m.id >= (l.id << 32) AND m.id < ((l.id + 1) << 32)"
    "   WHERE l.campaign_id = h.subject_id AND m.token = :token)"
    "  OR EXISTS (SELECT 1 FROM campaign_roster c JOIN subscriber s ON s.roster_id = c.roster_id"
    "   WHERE c.campaign_id = h.subject_id AND s.token = :token)))) ORDER BY h.id"
)


def add_hold(
    connection: Connection,
    scope: HoldScope,
    *,
    subject_id: int | None,
    token: bytes | None,
    document: str,
    documented_on: str,
    reason: str,
    added_by: str,
    added_ms: int,
) -> int:
    """Store a hold; return its id."""
    values = {
        "scope": scope.value,
        "subject_id": subject_id,
        "token": token,
        "document": document,
        "documented_on": documented_on,
        "reason": reason,
        "added_by": added_by,
        "added_ms": added_ms,
    }
    return int(connection.execute(insert(hold).values(values)).inserted_primary_key[0])  # type: ignore[index]


def release_hold(connection: Connection, hold_id: int, *, reason: str, released_by: str, released_ms: int) -> bool:
    """End a hold; return False when there is none with this id that is in force."""
    values = {"released_by": released_by, "released_ms": released_ms, "release_reason": reason}
    changed = connection.execute(update(hold).where(hold.c.id == hold_id, hold.c.released_ms.is_(None)).values(values))
    return bool(changed.rowcount)


def holds(connection: Connection) -> list[Hold]:
    """Return every hold there ever was, oldest first."""
    rows = connection.execute(select(hold).order_by(hold.c.id)).mappings()
    return [Hold(**{**row, "scope": HoldScope(row["scope"])}) for row in rows]


def holds_on(connection: Connection, token: bytes) -> list[int]:
    """Return the ids of the holds in force that cover a number: its own, and those of rosters and campaigns it is in."""
    return list(connection.execute(_ON_NUMBER, {"token": token}).scalars())
