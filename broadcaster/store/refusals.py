"""The `refusal` log, the `opt_out` set it adds up to, its second durable place, and the `reply` inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text

from broadcaster.rules.refusal import Scope
from broadcaster.store.engine import append, execute_many
from broadcaster.store.journal import Journal
from broadcaster.store.schema import opt_out, refusal, reply


class Refusal(NamedTuple):
    """One refusal, or its withdrawal (`refuses` False), with where it came from and what proves it."""

    token: bytes
    refuses: bool
    source: str
    evidence: str
    at_ms: int
    scope: int = Scope.ALL


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


def record_refusals(connection: Connection, refusals: Sequence[Refusal], journal: Journal | None = None) -> None:
    """Append to the log and bring the set in line, in the caller's transaction; repeating a refusal changes nothing.

    Of several entries for one number the last one counts, with its scope. The journal has them before the transaction ends: one that
    then fails leaves entries there which a replay puts into force, and nobody minds a refusal that came a moment early. Raises
    `StoreError` when the journal cannot be written.
    """
    if journal is not None:
        journal.append([_entry(item) for item in refusals])
    _apply(connection, refusals)


def _apply(connection: Connection, refusals: Sequence[Refusal]) -> None:
    append(connection, refusal, Refusal._fields, refusals)
    last = {item.token: item for item in refusals}.values()
    append(
        connection,
        opt_out,
        ("token", "since_ms", "scope"),
        [(item.token, item.at_ms, int(item.scope)) for item in last if item.refuses],
        or_ignore=True,
    )
    # Who widens a refusal is not late for what went out under the narrower one.
    execute_many(
        connection,
        "UPDATE opt_out SET since_ms = CASE WHEN scope < ? THEN ? ELSE since_ms END, scope = ? WHERE token = ? AND scope <> ?",
        [(int(item.scope), item.at_ms, int(item.scope), item.token, int(item.scope)) for item in last if item.refuses],
    )
    execute_many(connection, "DELETE FROM opt_out WHERE token = ?", [(item.token,) for item in last if not item.refuses])


def record_replies(connection: Connection, replies: Sequence[Reply]) -> None:
    """Append to the inbox."""
    append(connection, reply, Reply._fields, replies)


def _entry(item: Refusal) -> dict[str, Any]:
    return item._asdict() | {"token": item.token.hex(), "scope": int(item.scope)}


class Replayed(NamedTuple):
    """What a replay found: entries of the journal, and how many of them this database had forgotten and has taken up."""

    entries: int
    restored: int


def replay_refusals(connection: Connection, journal: Journal) -> Replayed:
    """Put the refusals and withdrawals that only the journal knows into force, in the caller's transaction; again changes nothing.

    One that is older than what this database knows of the same number is passed over: what was said later stands. Raises `StoreError`
    for a journal that is damaged or cannot be read.
    """
    known: set[tuple[bytes, int, bool]] = set()
    newest: dict[bytes, int] = {}
    for row in connection.execute(select(refusal.c.token, refusal.c.at_ms, refusal.c.refuses)):
        known.add((row.token, row.at_ms, bool(row.refuses)))
        newest[row.token] = max(row.at_ms, newest.get(row.token, 0))
    count, forgotten = 0, []
    for entry in journal.entries():
        count += 1
        item = Refusal(**dict(entry) | {"token": bytes.fromhex(entry["token"])})
        if (item.token, item.at_ms, item.refuses) not in known and item.at_ms >= newest.get(item.token, 0):
            forgotten.append(item)
    _apply(connection, forgotten)
    return Replayed(count, len(forgotten))


def refusals_after(connection: Connection, last_id: int) -> tuple[int, list[Refusal]]:
    """Return the newest log id and the entries behind `last_id`, in order."""
    rows = connection.execute(select(refusal).where(refusal.c.id > last_id).order_by(refusal.c.id)).all()
    return (rows[-1].id if rows else last_id), [_refusal(row) for row in rows]


def newest_refusal_id(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(refusal.c.id), 0))).scalar_one())


def count_refusing(connection: Connection) -> int:
    """Return how many numbers are refusing now."""
    return int(connection.execute(select(func.count()).select_from(opt_out)).scalar_one())


def refusals(connection: Connection, limit: int) -> list[Refusal]:
    """Return the newest log entries first."""
    rows = connection.execute(select(refusal).order_by(refusal.c.id.desc()).limit(limit))
    return [_refusal(row) for row in rows]


def _refusal(row: Any) -> Refusal:
    return Refusal(row.token, row.refuses, row.source, row.evidence, row.at_ms, row.scope)


def replies_between(connection: Connection, from_ms: int, to_ms: int) -> dict[tuple[str, str], int]:
    """Return (carrier, kind) → how many texts came in during [from_ms, to_ms)."""
    query = (
        select(reply.c.carrier, reply.c.kind, func.count())
        .where(reply.c.at_ms >= from_ms, reply.c.at_ms < to_ms)
        .group_by(reply.c.carrier, reply.c.kind)
    )
    return {(carrier, kind): count for carrier, kind, count in connection.execute(query)}
