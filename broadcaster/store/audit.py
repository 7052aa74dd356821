"""The audit chain: who did what, each entry bound to the one before it, written in the same transaction as the change.

An entry's ``mac`` is HMAC-SHA256, under a key kept outside the database, over the previous entry's mac and this entry's canonical
JSON. ``previous`` is unique, so the chain cannot fork. The newest mac is also kept in `installation`, so that entries missing at the
end show.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from broadcaster.store.schema import GENESIS, audit, installation
from broadcaster.store.times import now_ms


class Entry(NamedTuple):
    seq: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    mac: str


def fingerprint(key: bytes) -> str:
    """Return a public name of the key, kept in the database: an entry under a wrong key would break the chain for ever."""
    return hashlib.sha256(b"broadcaster-audit-fingerprint" + key).hexdigest()


class Auditor:
    """Append entries in the name of one actor, at the time that `clock_ms` tells."""

    def __init__(self, key: bytes, actor: str, clock_ms: Callable[[], int] = now_ms) -> None:
        self._key = key
        self.actor = actor
        self._clock_ms = clock_ms

    def record(self, connection: Connection, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Append one entry inside the caller's write transaction. `detail` must be plain JSON and hold no number and no secret."""
        head = connection.execute(select(audit.c.seq, audit.c.mac).order_by(audit.c.seq.desc()).limit(1)).first()
        seq, previous = (head.seq + 1, head.mac) if head else (1, GENESIS)
        entry = Entry(seq, self._clock_ms(), self.actor, action, subject, detail or {}, previous, "")
        row = entry._asdict() | {"mac": _mac(self._key, entry), "detail_json": _canonical(entry.detail)}
        del row["detail"]
        connection.execute(insert(audit).values(row))
        connection.execute(update(installation).values(audit_head=row["mac"]))


def entries(connection: Connection) -> Iterator[Entry]:
    """Yield all entries in order."""
    for row in connection.execute(select(audit).order_by(audit.c.seq)):
        yield Entry(row.seq, row.at_ms, row.actor, row.action, row.subject, json.loads(row.detail_json), row.previous, row.mac)


def first_break(connection: Connection, key: bytes) -> int | None:
    """Return the sequence number of the first entry that does not follow from the one before it, None when the chain holds.

    Where the last entries are missing it is that of the first of them.
    """
    previous, expected = GENESIS, 1
    for entry in entries(connection):
        if entry.seq != expected or entry.previous != previous or not hmac.compare_digest(entry.mac, _mac(key, entry)):
            return entry.seq
        previous, expected = entry.mac, expected + 1
    newest = connection.execute(select(installation.c.audit_head)).scalar()
    return expected if newest is not None and newest != previous else None


def head(connection: Connection) -> str:
    """Return the newest entry's mac, the value that reports print and outsiders can keep."""
    return connection.execute(select(audit.c.mac).order_by(audit.c.seq.desc()).limit(1)).scalar() or GENESIS


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _mac(key: bytes, entry: Entry) -> str:
    body = [entry.seq, entry.at_ms, entry.actor, entry.action, entry.subject, entry.detail, entry.previous]
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
