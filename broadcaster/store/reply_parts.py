"""Parts of subscribers' longer texts, kept until the others have come: a part is acknowledged, so it must outlast a restart (F15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, select

from broadcaster.store.engine import append
from broadcaster.store.schema import reply_part

MOST_KEPT: Final = 10_000
"""Of more parts than these the oldest wait no longer."""


class ReplyPart(NamedTuple):
    """One part of a text; the first four name the text. `content` is sealed (store/vault.py)."""

    carrier: str
    token: bytes
    reference: int
    parts: int
    part: int
    content: str
    at_ms: int


def keep_parts(connection: Connection, parts: Sequence[ReplyPart]) -> list[ReplyPart]:
    """Keep these parts; take out every text that is whole now and return it as its last part with all of the text,
    sealed pieces with spaces between.

    A part that comes again changes nothing.
    """
    append(connection, reply_part, ReplyPart._fields, parts, or_ignore=True)
    whole = []
    for name in dict.fromkeys(part[:4] for part in parts):
        carrier, token, reference, count = name
        columns = reply_part.c
        of_text = (
            (columns.carrier == carrier) & (columns.token == token) & (columns.reference == reference) & (columns.parts == count)
        )
        rows = connection.execute(select(reply_part).where(of_text).order_by(columns.part)).all()
        if len(rows) == count:
            connection.execute(delete(reply_part).where(of_text))
            content = " ".join(row.content for row in rows if row.content)
            whole.append(ReplyPart(*name, count, content, max(row.at_ms for row in rows)))
    return whole


def overdue_parts(connection: Connection, before_ms: int) -> list[ReplyPart]:
    """Take out and return the parts that came before that time, and the oldest of those that are too many."""
    total = int(connection.execute(select(func.count()).select_from(reply_part)).scalar_one())
    if total > MOST_KEPT:
        oldest = select(reply_part.c.at_ms).order_by(reply_part.c.at_ms).offset(total - MOST_KEPT - 1).limit(1)
        before_ms = max(before_ms, int(connection.execute(oldest).scalar_one()) + 1)
    rows = connection.execute(select(reply_part).where(reply_part.c.at_ms < before_ms).order_by(reply_part.c.at_ms)).all()
    connection.execute(delete(reply_part).where(reply_part.c.at_ms < before_ms))
    return [ReplyPart(*row) for row in rows]
