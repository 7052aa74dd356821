"""Receipts as evidence: what a carrier reports on can only have been accepted (protocol step T5).

A receipt that fits no known id settles an unknown part of the same number at the same carrier when it names the part by
user_message_reference, or when exactly one such part is unknown and no other part of that message awaits a receipt; and never
against what it says about its time.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Connection

from broadcaster.model import CarrierCard
from broadcaster.smpp.receipt import receipt_time
from broadcaster.store import evidence
from broadcaster.store.evidence import Doubtful, Orphan
from broadcaster.store.times import to_ms

EVIDENCE_AFTER_MS: Final = 120_000
"""A younger receipt may still meet its own response (F01), or a late answer settle the part."""
CLOCK_SLACK_MS: Final = 600_000
"""How far a carrier's clock may be from ours, and how coarse its dates."""
AT_ONCE: Final = 20_000
REFERENCES: Final = 1 << 16

log = structlog.get_logger("settle")


def weigh(connection: Connection, card: CarrierCard, now_ms: int) -> int:
    """Settle what receipts prove about a carrier's unknown parts; return how many."""
    parts = evidence.doubtful(connection, card.code, AT_ONCE)
    found = evidence.orphans(connection, card.code, now_ms - EVIDENCE_AFTER_MS, AT_ONCE) if parts else []
    if not found:
        return 0
    by_token: defaultdict[bytes, list[Doubtful]] = defaultdict(list)
    for part in parts:
        by_token[part.token].append(part)
    zone = dt.timezone(dt.timedelta(minutes=card.smsc_utc_offset_min))
    pairs: dict[Doubtful, Orphan] = {}
    for orphan in found:
        meant = _only(orphan, by_token[orphan.token], zone)
        if meant is not None and not evidence.known(connection, card.code, orphan, meant):
            pairs.setdefault(meant, orphan)
    settled = evidence.accept(connection, [(orphan, meant) for meant, orphan in pairs.items()])
    if settled:
        log.info("known-by-receipt", carrier=card.code, parts=settled)
    return settled


def _only(orphan: Orphan, parts: Sequence[Doubtful], zone: dt.tzinfo) -> Doubtful | None:
    """Return the one part that the receipt can be about, None when there is none or more than one."""
    if orphan.reference is not None:
        parts = [part for part in parts if (part.message_id + part.part) % REFERENCES == orphan.reference]
    elif not all(part.alone for part in parts):
        return None
    return parts[0] if len(parts) == 1 and not parts[0].decided and _fits_in_time(orphan, parts[0], zone) else None


def _fits_in_time(orphan: Orphan, part: Doubtful, zone: dt.tzinfo) -> bool:
    """Tell whether the carrier can have taken the part when it says it took it."""
    if orphan.received_ms < part.leased_ms:
        return False
    submitted = receipt_time(orphan.submit_date, zone)
    return submitted is None or part.leased_ms - CLOCK_SLACK_MS <= to_ms(submitted) <= part.answered_ms + CLOCK_SLACK_MS
