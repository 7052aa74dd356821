"""What subscribers texted: the file of a reply number without a link taken in, and scam reports handed to the police."""

from __future__ import annotations

import csv
import datetime as dt
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from broadcaster.errors import ConfigurationError, RefusedError
from broadcaster.files.replies import REPLY_CODE, Text
from broadcaster.flow.refuse import kept_text
from broadcaster.lang import Said
from broadcaster.model import TIMEZONE, Person, Role
from broadcaster.rules.numbers import holds_number
from broadcaster.rules.refusal import Kind, read_reply
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.inbox import FROM_FILE, Report, known_texts, newest_words
from broadcaster.store.journal import Journal
from broadcaster.store.refusals import Refusal, Reply, record_refusals, record_replies
from broadcaster.store.times import from_ms, to_ms
from broadcaster.store.vault import Vault

SLICE_TEXTS: Final = 2_000
EXPORTERS: Final = frozenset({Role.CONTENT_AUTHORITY, Role.DUTY_OFFICER})
"""Who may have whole numbers in their hands: the police, and the duty officer."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Taken(NamedTuple):
    """What a file of texts came to: `repeated` were in the inbox before, `overtaken` is how many commands a later one had undone."""

    texts: int
    repeated: int
    refused: int
    withdrawn: int
    reports: int
    overtaken: int
    unclear: int
    """Texts that are none of these: somebody must read them."""


def classify_texts(texts: Sequence[Text]) -> Taken:
    """Return what these texts ask for, without a look at what is known of them already."""
    kinds = Counter(read_reply(text.content).kind for text in texts)
    return Taken(len(texts), 0, kinds[Kind.REFUSE], kinds[Kind.ACCEPT], kinds[Kind.REPORT], 0, kinds[Kind.OTHER])


def take_texts(
    store: Store, auditor: Auditor, vault: Vault, texts: Iterable[Text], *, journal: Journal, file: str, now: dt.datetime
) -> Taken:
    """Store the texts and put into force what they say, from now on; taking the same file again changes nothing.

    Raises `StoreError` when the journal cannot be written.
    """
    ordered = sorted(texts, key=lambda text: text.at)
    total = Taken(0, 0, 0, 0, 0, 0, 0)
    for start in range(0, len(ordered), SLICE_TEXTS):
        some = ordered[start : start + SLICE_TEXTS]
        tokens = vault.tokens([text.number for text in some])
        with store.write() as connection:
            found = _take(connection, vault, list(zip(tokens, some, strict=True)), journal, to_ms(now))
            total = Taken(*(sum(pair) for pair in zip(total, found, strict=True)))
            if start + SLICE_TEXTS >= len(ordered):
                auditor.record(connection, "replies-import", file, total._asdict())
    return total


def _take(connection: Connection, vault: Vault, texts: Sequence[tuple[bytes, Text]], journal: Journal, now_ms: int) -> Taken:
    known = known_texts(connection, REPLY_CODE, to_ms(texts[0][1].at), to_ms(texts[-1][1].at))
    said_ms = newest_words(connection, {token for token, _ in texts}, now_ms)
    replies: list[Reply] = []
    refusals: list[Refusal] = []
    overtaken = reports = unclear = 0
    for token, text in texts:
        at_ms = to_ms(text.at)
        reply = read_reply(text.content)
        content = kept_text(vault, reply.kind, text.content)
        if (token, at_ms, content) in known:
            continue
        known.add((token, at_ms, content))
        replies.append(Reply(REPLY_CODE, token, reply.kind.value, content, at_ms))
        reports += reply.kind is Kind.REPORT
        unclear += reply.kind is Kind.OTHER
        if reply.kind not in {Kind.REFUSE, Kind.ACCEPT}:
            continue
        if at_ms < said_ms.get(token, 0):
            overtaken += 1
            continue
        # In force from now on: nobody was told to stop any sooner.
        refusals.append(Refusal(token, reply.kind is Kind.REFUSE, FROM_FILE, f"{REPLY_CODE}: {reply.matched}", now_ms))
    record_refusals(connection, refusals, journal)
    record_replies(connection, replies)
    refused = sum(item.refuses for item in refusals)
    return Taken(len(texts), len(texts) - len(replies), refused, len(refusals) - refused, reports, overtaken, unclear)


def require_exporter(person: Person, key: Ed25519PrivateKey, reason: str) -> None:
    """Raise `RefusedError` unless this person may export whole numbers and holds their key, `ConfigurationError` for a bad reason."""
    if not person.roles & EXPORTERS:
        roles = ", ".join(sorted(EXPORTERS))
        raise RefusedError(
            Said(
                f"{person.name} không được xuất số máy đầy đủ; cần vai trò: {roles}",
                f"{person.name} may not export whole numbers; roles that may: {roles}",
            )
        )
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    if public != person.public_key:
        raise RefusedError(Said(f"Khóa này không phải của {person.name}.", f"This key is not {person.name}'s."))
    if not reason.strip() or holds_number(reason):
        raise ConfigurationError(
            Said(
                "Lý do phải có và không được chứa số máy; ghi số và ngày của văn bản yêu cầu.",
                "There must be a reason without a phone number; give the number and date of the written request.",
            )
        )


def occupied(path: Path) -> ConfigurationError:
    """Return the error that there is such a file already."""
    return ConfigurationError(
        Said(f"{path}: đã có tệp này; không ghi đè.", f"{path}: there is such a file already; it is not written over."),
        Said("ghi tên tệp khác", "give another name"),
    )


def export_reports(path: Path, reports: Sequence[Report], vault: Vault) -> None:
    """Write the reports as CSV with whole numbers and Vietnam's time, mode 0600.

    A cell that a spreadsheet would calculate is made plain text.
    Raises `ConfigurationError` when there is such a file already, or it cannot be written.
    """
    zone = ZoneInfo(TIMEZONE)
    numbers = iter(vault.reveal([report.token for report in reports if report.token is not None]))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "received_at", "channel", "number", "text"])
            for report in reports:
                number = "" if report.token is None else str(next(numbers))
                text = vault.open_text(report.content)
                plain = f"'{text}" if text.startswith(_FORMULA) else text
                rows.writerow(
                    [report.id, from_ms(report.at_ms).astimezone(zone).isoformat(timespec="seconds"), report.carrier, number, plain]
                )
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise occupied(path) from error
    except OSError as error:
        raise ConfigurationError(
            Said(f"không ghi được {path}: {error.strerror}", f"cannot write {path}: {error.strerror}")
        ) from error
