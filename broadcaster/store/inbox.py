"""The inbox of subscribers' texts, read: scam reports, and what is known already of a file of texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from broadcaster.rules.refusal import Kind
from broadcaster.store.schema import refusal, reply

_AT_ONCE = 500


class Report(NamedTuple):
    """One report of a scam; `carrier` is the link it came by, `token` None when the sender's number is none."""

    id: int
    carrier: str
    token: bytes | None
    content: str
    at_ms: int


def reports(connection: Connection, from_ms: int, to_ms: int, limit: int | None = None) -> list[Report]:
    """Return the reports that came during [from_ms, to_ms), newest first, each once however often it was sent."""
    first = select(func.min(reply.c.id)).where(reply.c.kind == Kind.REPORT.value, reply.c.at_ms >= from_ms, reply.c.at_ms < to_ms)
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


def newest_words(connection: Connection, tokens: Collection[bytes]) -> dict[bytes, int]:
    """Return when (ms) each of these numbers last refused or withdrew."""
    found: dict[bytes, int] = {}
    every = sorted(tokens)
    for start in range(0, len(every), _AT_ONCE):
        some = every[start : start + _AT_ONCE]
        query = select(refusal.c.token, func.max(refusal.c.at_ms)).where(refusal.c.token.in_(some)).group_by(refusal.c.token)
        found |= {token: int(at_ms) for token, at_ms in connection.execute(query)}
    return found
