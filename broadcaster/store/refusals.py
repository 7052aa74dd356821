"""The `refusal` log, the `opt_out` set it adds up to, and the `reply` inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from broadcaster.store.engine import append, execute_many
from broadcaster.store.schema import opt_out, refusal, reply


class Refusal(NamedTuple):
    """One refusal, or its withdrawal (`refuses` False), with where it came from and what proves it."""

    token: bytes
    refuses: bool
    source: str
    evidence: str
    at_ms: int


class Reply(NamedTuple):
    """One text a subscriber sent us; `kind` is the reading of rules/refusal.py."""

    carrier: str
    token: bytes | None
    kind: str
    content: str
    at_ms: int


_STANDING = "SELECT token FROM refusal WHERE refuses AND id IN (SELECT max(id) FROM refusal GROUP BY token)"
_UNLOGGED = text(f"SELECT count(*) FROM (SELECT token FROM opt_out EXCEPT {_STANDING}) AS unlogged")  # noqa: S608  a constant
_NOT_IN_FORCE = text(f"SELECT count(*) FROM ({_STANDING} EXCEPT SELECT token FROM opt_out) AS missing")  # noqa: S608  a constant
_WITHOUT_REPLY = text(
    "SELECT count(*) FROM (SELECT token, at_ms FROM refusal WHERE source = 'reply' EXCEPT SELECT token, at_ms FROM reply) AS lost"
)


class Contradictions(NamedTuple):
    """Where the three tables, which are only ever written together, do not say the same; counts of numbers, `replies` of texts."""

    unlogged: int
    """In the set, though the log's newest entry is no refusal."""
    not_in_force: int
    """Not in the set, though the log's newest entry is a refusal."""
    replies: int
    """Log entries by a reply that is not in the inbox."""


def contradictions(connection: Connection) -> Contradictions:
    """Compare log, set and inbox."""
    return Contradictions(*(int(connection.execute(query).scalar_one()) for query in (_UNLOGGED, _NOT_IN_FORCE, _WITHOUT_REPLY)))


def record_refusals(connection: Connection, refusals: Sequence[Refusal]) -> None:
    """Append to the log and bring the set in line, in the caller's transaction; repeating a refusal changes nothing.

    Of several entries for one number the last one counts.
    """
    append(connection, refusal, Refusal._fields, refusals)
    last = {item.token: item for item in refusals}.values()
    append(
        connection,
        opt_out,
        ("token", "since_ms"),
        [(item.token, item.at_ms) for item in last if item.refuses],
        or_ignore=True,
    )
    execute_many(connection, "DELETE FROM opt_out WHERE token = ?", [(item.token,) for item in last if not item.refuses])


def record_replies(connection: Connection, replies: Sequence[Reply]) -> None:
    """Append to the inbox."""
    append(connection, reply, Reply._fields, replies)


def refusals_after(connection: Connection, last_id: int) -> tuple[int, list[tuple[bytes, bool]]]:
    """Return the newest log id and the (token, refuses) entries behind `last_id`, in order."""
    rows = connection.execute(
        select(refusal.c.id, refusal.c.token, refusal.c.refuses).where(refusal.c.id > last_id).order_by(refusal.c.id)
    ).all()
    return (rows[-1].id if rows else last_id), [(row.token, row.refuses) for row in rows]


def newest_refusal_id(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(refusal.c.id), 0))).scalar_one())


def count_refusing(connection: Connection) -> int:
    """Return how many numbers are refusing now."""
    return int(connection.execute(select(func.count()).select_from(opt_out)).scalar_one())


def refusals(connection: Connection, limit: int) -> list[Refusal]:
    """Return the newest log entries first."""
    rows = connection.execute(select(refusal).order_by(refusal.c.id.desc()).limit(limit))
    return [Refusal(row.token, row.refuses, row.source, row.evidence, row.at_ms) for row in rows]


def replies_between(connection: Connection, from_ms: int, to_ms: int) -> dict[tuple[str, str], int]:
    """Return (carrier, kind) → how many texts came in during [from_ms, to_ms)."""
    query = (
        select(reply.c.carrier, reply.c.kind, func.count())
        .where(reply.c.at_ms >= from_ms, reply.c.at_ms < to_ms)
        .group_by(reply.c.carrier, reply.c.kind)
    )
    return {(carrier, kind): count for carrier, kind, count in connection.execute(query)}
