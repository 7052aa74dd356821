"""The inbox of subscribers' texts, read: scam reports, and what is known already of a file of texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from broadcaster.rules.refusal import Kind
from broadcaster.store.schema import refusal, reply

FROM_FILE = "file"
"""The `source` of a refusal out of a file of texts: its time is that of the import, when it came into force."""
_AT_ONCE = 500
_COMMANDS = (Kind.REFUSE.value, Kind.ACCEPT.value)


class Report(NamedTuple):
    """One text that a person must read, a report of a scam or what no rule understood.

    `content` is sealed (store/vault.py), `carrier` is the link it came by, `token` None when the sender's number is none.
    """

    id: int
    carrier: str
    token: bytes | None
    content: str
    at_ms: int


def reports(connection: Connection, from_ms: int, to_ms: int, limit: int | None = None, *, kind: Kind = Kind.REPORT) -> list[Report]:
    """Return the texts of this kind that came during [from_ms, to_ms), newest first, each once however often it was sent."""
    first = select(func.min(reply.c.id)).where(reply.c.kind == kind.value, reply.c.at_ms >= from_ms, reply.c.at_ms < to_ms)
    once = first.group_by(reply.c.token, reply.c.content)
    columns = (reply.c.id, reply.c.carrier, reply.c.token, reply.c.content, reply.c.at_ms)
    query = select(*columns).where(reply.c.id.in_(once)).order_by(reply.c.at_ms.desc(), reply.c.id.desc()).limit(limit)
    return [Report(*row) for row in connection.execute(query)]


def known_texts(connection: Connection, carrier: str, from_ms: int, to_ms: int) -> set[tuple[bytes | None, int, str]]:
    """Return (token, ms, text) of what came by `carrier` during [from_ms, to_ms]."""
    query = select(reply.c.token, reply.c.at_ms, reply.c.content).where(
        reply.c.carrier == carrier, reply.c.at_ms >= from_ms, reply.c.at_ms <= to_ms
    )
    return {(row.token, row.at_ms, row.content) for row in connection.execute(query)}


def newest_words(connection: Connection, tokens: Collection[bytes], now_ms: int) -> dict[bytes, int]:
    """Return when (ms) each of these numbers last refused or withdrew.

    What came by text was said when it was sent, though a file may have brought it into force much later; only where the text itself
    is not known, or is dated later than `now_ms`, does the time of the import stand for it.
    """
    found: dict[bytes, int] = {}
    every = sorted(tokens)
    is_file = refusal.c.source == FROM_FILE
    for start in range(0, len(every), _AT_ONCE):
        some = every[start : start + _AT_ONCE]
        texted = select(reply.c.token, func.max(reply.c.at_ms)).where(reply.c.token.in_(some), reply.c.kind.in_(_COMMANDS))
        texted = texted.where(reply.c.at_ms <= now_ms)
        found |= {token: int(at_ms) for token, at_ms in connection.execute(texted.group_by(reply.c.token))}
        known = frozenset(found)
        recorded = select(refusal.c.token, is_file, func.max(refusal.c.at_ms)).where(refusal.c.token.in_(some))
        for token, from_file, at_ms in connection.execute(recorded.group_by(refusal.c.token, is_file)):
            if not (from_file and token in known):
                found[token] = max(int(at_ms), found.get(token, 0))
    return found
