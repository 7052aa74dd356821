"""One number erased from everything but its refusals, and the commitments of the rosters that lose it."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, text, update

from broadcaster.errors import StoreError
from broadcaster.rules.lifecycle import ENDED
from broadcaster.store.engine import Store
from broadcaster.store.schema import message, port, receipt, refusal, reply, reply_part, roster, subscriber
from broadcaster.store.vault import Vault, commitment, forgotten_token

FORGET: Final = "subscriber-forget"
"""The audit entry of an erasure; its `rosters` are those of `Erased`."""
ROWS_AT_ONCE: Final = 50_000
LOG_WAIT_MS: Final = 300

_UNFINISHED: Final = text(
    "SELECT c.name, c.state, c.deadline_ms FROM campaign c WHERE"
    " EXISTS (SELECT 1 FROM lane l JOIN message m ON m.id >= (l.id << 32) AND m.id < ((l.id + 1) << 32)"
    "  WHERE l.campaign_id = c.id AND m.token = :token)"
    " OR EXISTS (SELECT 1 FROM campaign_roster r JOIN subscriber s ON s.roster_id = r.roster_id"
    "  WHERE r.campaign_id = c.id AND s.token = :token) ORDER BY c.id"
)


class Shrunk(NamedTuple):
    """A roster that lost the number: its commitment before and after. `was` is computed, not what the roster says of itself."""

    roster: int
    was: str | None
    now: str | None


class Erased(NamedTuple):
    """How many rows lost the number."""

    rosters: list[Shrunk]
    messages: int
    receipts: int
    texts: int


def unfinished(connection: Connection, token: bytes, now_ms: int) -> list[str]:
    """Return the campaigns with a message to the number, or a roster it is in, that may send now or after a requeue."""
    ended = {state.value for state in ENDED}
    return [
        row.name
        for row in connection.execute(_UNFINISHED, {"token": token})
        if row.state not in ended or (row.deadline_ms or 0) > now_ms
    ]


def stored_commitment(connection: Connection, vault: Vault, roster_id: int, salt: bytes) -> str | None:
    """Compute a roster's commitment from the subscribers that are stored; None when one of them was altered."""
    numbers: list[int] = []
    query = select(subscriber.c.token).where(subscriber.c.roster_id == roster_id).execution_options(yield_per=ROWS_AT_ONCE)
    with connection.execute(query) as rows:
        try:
            for tokens in rows.scalars().partitions():
                numbers += vault.reveal(tokens)
        except StoreError:
            return None
    return commitment(numbers, salt)


def erasable(connection: Connection, token: bytes) -> Erased:
    """Count what `erase` would change; the commitments are not computed."""
    in_rosters = connection.execute(select(subscriber.c.roster_id).where(subscriber.c.token == token)).scalars()
    counts = [
        int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())
        for table, where in ((message, [message.c.token == token]), (receipt, [receipt.c.token == token]), (reply, _texts_of(token)))
    ]
    return Erased([Shrunk(key, None, None) for key in in_rosters], *counts)


def erase(connection: Connection, vault: Vault, token: bytes) -> Erased:
    """Take a number out of rosters, messages, receipts, ports and texts; refusals and the replies that prove them stay."""
    shrunk = []
    query = select(roster.c.id, roster.c.salt).join(subscriber, subscriber.c.roster_id == roster.c.id)
    for row in connection.execute(query.where(subscriber.c.token == token).order_by(roster.c.id)).all():
        was = stored_commitment(connection, vault, row.id, row.salt)
        connection.execute(delete(subscriber).where(subscriber.c.roster_id == row.id, subscriber.c.token == token))
        now = stored_commitment(connection, vault, row.id, row.salt)
        # One that was not what it said of itself must not become it by this.
        connection.execute(update(roster).where(roster.c.id == row.id, roster.c.commitment == was).values(commitment=now))
        shrunk.append(Shrunk(row.id, was, now))
    ids = connection.execute(select(message.c.id).where(message.c.token == token)).scalars().all()
    for key in ids:
        connection.execute(update(message).where(message.c.id == key).values(token=forgotten_token(key)))
    receipts = connection.execute(update(receipt).where(receipt.c.token == token).values(token=None)).rowcount
    texts = connection.execute(update(reply).where(*_texts_of(token)).values(token=None)).rowcount
    for table in (port, reply_part):
        connection.execute(delete(table).where(table.c.token == token))
    return Erased(shrunk, len(ids), receipts, texts)


def _texts_of(token: bytes) -> list[ColumnElement[bool]]:
    proof = select(refusal.c.id).where(refusal.c.token == reply.c.token, refusal.c.at_ms == reply.c.at_ms)
    return [reply.c.token == token, ~proof.exists()]


def clear_wal(store: Store) -> bool:
    """Carry SQLite's write-ahead log into the database and cut it to nothing; return False when somebody was in the way.

    What is deleted is overwritten (`secure_delete`), so afterwards no file of the database holds it. PostgreSQL recycles its log by
    itself: False.
    """
    if not store.sqlite:
        return False
    connection = store.engine.raw_connection()
    try:
        cursor = connection.cursor()
        usual = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        # It keeps all writers out while it waits for readers.
        cursor.execute(f"PRAGMA busy_timeout={LOG_WAIT_MS}")
        row = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={usual}")
        cursor.close()
    finally:
        connection.close()
    return row is not None and not row[0]
