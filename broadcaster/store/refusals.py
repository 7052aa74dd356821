"""The `refusal` log, the `opt_out` set it adds up to, its second durable place, and the `reply` inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select, text

from broadcaster.rules.refusal import Scope
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import append, execute_many
from broadcaster.store.journal import Journal, JournalError, entry_of
from broadcaster.store.schema import opt_out, refusal, reply

_AT_ONCE: Final = 500
FROM_REPLY: Final = "reply"
"""The `source` of a refusal that was texted: the text is in the inbox."""
FROM_JOURNAL: Final = "journal"
"""The `source` of one that was texted, too, but which the database had forgotten with its text."""


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


_STANDING = "SELECT token, scope FROM refusal WHERE refuses AND id IN (SELECT max(id) FROM refusal GROUP BY token)"
_UNLOGGED = text(f"SELECT count(*) FROM (SELECT token, scope FROM opt_out EXCEPT {_STANDING}) AS unlogged")  # noqa: S608  a constant
_NOT_IN_FORCE = text(f"SELECT count(*) FROM ({_STANDING} EXCEPT SELECT token, scope FROM opt_out) AS missing")  # noqa: S608  a constant
_WITHOUT_REPLY = text(
    "SELECT count(*) FROM (SELECT token, at_ms FROM refusal WHERE source = 'reply' EXCEPT SELECT token, at_ms FROM reply) AS lost"
)


class Contradictions(NamedTuple):
    """Where the three tables, which are only ever written together, do not say the same; counts of numbers, `replies` of texts."""

    unlogged: int
    """In the set, though the log's newest entry is no refusal, or one of another scope."""
    not_in_force: int
    """Not in the set, or not with its scope, though the log's newest entry is a refusal."""
    replies: int
    """Log entries by a reply that is not in the inbox."""


def contradictions(connection: Connection) -> Contradictions:
    """Compare log, set and inbox."""
    return Contradictions(*(int(connection.execute(query).scalar_one()) for query in (_UNLOGGED, _NOT_IN_FORCE, _WITHOUT_REPLY)))


def record_refusals(connection: Connection, refusals: Sequence[Refusal], journal: Journal | None = None) -> None:
    """Append to the log and bring the set in line, in the caller's transaction; repeating a refusal changes nothing.

    Of several entries for one number the last one counts; a refusal never narrows one that stands, but is recorded as wide as that.
    The journal has them before the transaction ends: one that
    then fails leaves entries there which a replay puts into force, and nobody minds a refusal that came a moment early. Raises
    `StoreError` when the journal cannot be written.
    """
    widened = _widen(connection, refusals)
    if journal is not None:
        journal.append([_entry(item) for item in widened])
    _apply(connection, widened)


def _widen(connection: Connection, refusals: Sequence[Refusal]) -> list[Refusal]:
    """Return the entries, each refusal at least as wide as what its number refuses at that moment."""
    if all(item.scope == Scope.ALL for item in refusals):
        return list(refusals)
    standing = standing_scopes(connection, [item.token for item in refusals])
    widened = []
    for item in refusals:
        scope = max(item.scope, standing.get(item.token, 0)) if item.refuses else item.scope
        standing[item.token] = scope if item.refuses else 0
        widened.append(item._replace(scope=scope))
    return widened


def standing_scopes(connection: Connection, tokens: Sequence[bytes]) -> dict[bytes, int]:
    """Return how much each of these numbers refuses now; who refuses nothing is not in it."""
    found: dict[bytes, int] = {}
    for start in range(0, len(tokens), _AT_ONCE):
        some = tokens[start : start + _AT_ONCE]
        rows = connection.execute(select(opt_out.c.token, opt_out.c.scope).where(opt_out.c.token.in_(some)))
        found |= {token: int(scope) for token, scope in rows}
    return found


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


class Compared(NamedTuple):
    """What the log and the journal do not both hold, in order; `damaged` are the lines of the journal that cannot be used."""

    entries: int
    """Good lines of the journal."""
    forgotten: list[Refusal]
    """Only in the journal, and no older than what the log knows of the same number: what was said later stands."""
    unwritten: list[Refusal]
    """Only in the log."""
    damaged: list[int]
    unwritable: JournalError | None = None
    """Why what is only in the log could not be written."""


def compare(connection: Connection, journal: Journal) -> Compared:
    """Compare the log with the journal; quick when both are as long and end alike. Raises `StoreError` when it cannot be read."""
    found = journal.read()
    newest = refusals(connection, 1)
    length = int(connection.execute(select(func.count()).select_from(refusal)).scalar_one())
    if len(found.bodies) == length and [_name(item) for item in _read_lines(found.bodies[-1:])[0]] == [
        _name(item) for item in newest
    ]:
        return Compared(length, [], [], found.damaged)
    written, unusable = _read_lines(found.bodies)
    logged = [_refusal(row) for row in connection.execute(select(refusal).order_by(refusal.c.id))]
    last_ms: dict[bytes, int] = {}
    for item in logged:
        last_ms[item.token] = max(item.at_ms, last_ms.get(item.token, 0))
    known, safe = {_name(item) for item in logged}, {_name(item) for item in written}
    return Compared(
        len(written),
        [item for item in written if _name(item) not in known and item.at_ms >= last_ms.get(item.token, 0)],
        [item for item in logged if _name(item) not in safe],
        sorted(found.damaged + unusable),
    )


def reconcile(connection: Connection, auditor: Auditor, journal: Journal) -> Compared:
    """Put into force what only the journal knows, and write into it what only the log knows, in the caller's transaction.

    Again changes nothing. Returns what was found; anything found is audited. A text whose refusal comes back is not in the inbox: the
    log names the journal as its source. Raises `StoreError` when the journal cannot be read.
    """
    found = compare(connection, journal)
    try:
        journal.append([_entry(item) for item in found.unwritten])
    except JournalError as error:
        # What the journal knows comes into force all the same.
        found = found._replace(unwritable=error)
    back = [item._replace(source=FROM_JOURNAL) if item.source == FROM_REPLY else item for item in found.forgotten]
    _apply(connection, _widen(connection, back))
    if found.forgotten or found.unwritten or found.damaged:
        detail = {"restored": len(found.forgotten), "written": len(found.unwritten), "damaged_lines": found.damaged}
        auditor.record(connection, "refusals-reconcile", journal.path.name, detail)
    return found


def _name(item: Refusal) -> tuple[bytes, int, bool]:
    return item.token, item.at_ms, bool(item.refuses)


def _read_lines(bodies: Sequence[tuple[int, bytes]]) -> tuple[list[Refusal], list[int]]:
    """Return the entries, and the lines that hold none of this program's."""
    found, unusable = [], []
    for number, body in bodies:
        try:
            entry = entry_of(body)
            found.append(Refusal(**entry | {"token": bytes.fromhex(entry["token"])}))
        except (ValueError, TypeError, KeyError):
            unusable.append(number)
    return found, unusable


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
