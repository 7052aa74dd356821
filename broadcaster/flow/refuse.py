"""Refusals that a person records, and what every refusal has in common: in force at once, durable in two places."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import ConfigurationError
from broadcaster.lang import Said
from broadcaster.model import Msisdn
from broadcaster.rules.numbers import holds_number
from broadcaster.rules.refusal import Kind, Scope, read_reply
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.journal import Journal
from broadcaster.store.refusals import Refusal, Reply, record_refusals, record_replies, standing_scopes
from broadcaster.store.reply_parts import ReplyPart, keep_parts, overdue_parts
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault

PART_WAIT_MS: Final = 120_000
"""How long a part of a longer text waits for the others, before it is read by itself."""


def kept_text(vault: Vault, kind: Kind, said: str) -> str:
    """Return the text as the inbox keeps it: sealed, for it may name anybody's number, unless it is nothing but a command."""
    return said if kind in {Kind.REFUSE, Kind.ACCEPT} else vault.seal_text(said)


class Heard(NamedTuple):
    """What subscribers' texts come to: rows of the inbox, and the refusals and withdrawals among them."""

    replies: list[Reply]
    refusals: list[Refusal]

    def hear(self, vault: Vault, carrier: str, token: bytes | None, said: str, at_ms: int) -> None:
        """Read one whole text; a refusal counts only when the number it came from is one."""
        reply = read_reply(said)
        self.replies.append(Reply(carrier, token, reply.kind.value, kept_text(vault, reply.kind, said), at_ms))
        if token is not None and reply.kind in {Kind.REFUSE, Kind.ACCEPT}:
            self.refusals.append(Refusal(token, reply.kind is Kind.REFUSE, "reply", f"{carrier}: {reply.matched}", at_ms))


def record_heard(
    connection: Connection, vault: Vault, heard: Heard, parts: Sequence[ReplyPart], journal: Journal | None
) -> list[Refusal]:
    """Store texts and parts of texts, and put into force what they say; return the refusals and withdrawals, in order.

    Raises `StoreError`; then nothing of it may be acknowledged.
    """
    every = heard
    if parts:
        every = _read_each(vault, keep_parts(connection, parts))
        every = Heard([*heard.replies, *every.replies], [*heard.refusals, *every.refusals])
    record_refusals(connection, every.refusals, journal)
    record_replies(connection, every.replies)
    return every.refusals


def read_overdue_parts(connection: Connection, vault: Vault, now_ms: int, journal: Journal | None) -> int:
    """Read the parts whose other parts did not come, each by itself, and put into force what they say; return how many."""
    parts = overdue_parts(connection, now_ms - PART_WAIT_MS)
    record_heard(connection, vault, _read_each(vault, parts), (), journal)
    return len(parts)


def _read_each(vault: Vault, texts: Iterable[ReplyPart]) -> Heard:
    heard = Heard([], [])
    for text in texts:
        heard.hear(vault, text.carrier, text.token, vault.open_text(text.content), text.at_ms)
    return heard


class Recorded(NamedTuple):
    """How many numbers were recorded, and for how many of them that changed nothing; the log has what proves it all the same."""

    numbers: int
    unchanged: int


def refuse(
    store: Store,
    auditor: Auditor,
    vault: Vault,
    numbers: Sequence[Msisdn],
    *,
    refuses: bool,
    source: str,
    evidence: str,
    now: dt.datetime,
    scope: Scope = Scope.ALL,
    journal: Journal | None = None,
) -> Recorded:
    """Record that these numbers refuse warnings (or take them again); in force as soon as this returns.

    Raises `ConfigurationError` when the evidence holds a phone number, `StoreError` when the journal cannot be written.
    """
    if holds_number(evidence):
        raise ConfigurationError(
            Said(
                "Trong bằng chứng có dãy từ 9 chữ số trở lên, có thể là số máy.",
                "A row of nine digits or more stands in the evidence; it may be a phone number.",
            ),
            Said("Bỏ số máy, chỉ ghi số và ngày của văn bản.", "Leave the phone number out; give the document's number and date."),
        )
    tokens = vault.tokens(list(dict.fromkeys(numbers)))
    rows = [Refusal(token, refuses, source, evidence, to_ms(now), scope) for token in tokens]
    with store.write() as connection:
        standing = standing_scopes(connection, tokens)
        record_refusals(connection, rows, journal)
        auditor.record(
            connection,
            "refusal" if refuses else "refusal-withdrawn",
            source,
            {"numbers": len(rows), "evidence": evidence, "scope": scope.name.lower()},
        )
    return Recorded(len(rows), sum(standing.get(token, 0) >= scope if refuses else token not in standing for token in tokens))
