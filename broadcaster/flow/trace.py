"""One message's whole story, in the order of time: where the subscriber came from, each lease and attempt, answers, receipts, orders.

A look at one person's messages is itself on record: it leaves an audit entry, without the number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select

from broadcaster.errors import NotFoundError
from broadcaster.flow.uncertain import message_reference
from broadcaster.lang import Said
from broadcaster.model import DropReason, Exclusion, State
from broadcaster.rules.numbers import NumberPlan, mask
from broadcaster.store import audit
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, Lane, campaigns, find_campaign, lanes
from broadcaster.store.engine import Store
from broadcaster.store.schema import (
    EXCLUDED_FROM,
    LANE_SHIFT,
    campaign_roster,
    cell,
    lease,
    message,
    receipt,
    refusal,
    reply,
    roster,
    submission,
    subscriber,
)
from broadcaster.store.vault import Vault

TRACE: Final = "message-trace"
_REFERENCE: Final = re.compile(r"([1-9]\d{0,9}):([1-9]\d{0,9})", re.ASCII)
_EVERYWHERE: Final = frozenset({"stop-all", "stop-lift"})


class Event(NamedTuple):
    """Something that happened to the message, or to what it hung on; `detail` is plain JSON and holds no number and no text."""

    at_ms: int
    kind: str
    """``seen``, ``roster``, ``order`` (a person's or the service's), ``lease``, ``lease-end``, ``written``, ``answer``, ``receipt``,
    ``refusal`` or ``reply``."""
    detail: Mapping[str, Any]


class Story(NamedTuple):
    message: str
    """Lane and position: ``3:17``."""
    campaign: str
    number: str
    """Masked."""
    carrier: str
    area_code: str
    state: State
    exclusion: Exclusion | None
    """Why the subscriber gets no message, if so."""
    events: list[Event]


def trace(
    store: Store, vault: Vault, auditor: Auditor, asked: str, *, campaign: str | None, plan: NumberPlan, now_ms: int
) -> list[Story]:
    """Return the stories of one message (``3:17``), or of every message to a number, the oldest campaign first.

    Raises `NotFoundError` when `asked` is neither, or there is no such message.
    """
    with store.read() as connection:
        wanted = [find_campaign(connection, campaign)] if campaign else campaigns(connection)
        by_lane = {lane.id: (found, lane) for found in wanted for lane in lanes(connection, found.id)}
        rows = _rows(connection, asked, vault, plan, sorted(by_lane))
        if not rows:
            raise NotFoundError(Said("Không có tin nào như thế.", "There is no such message."))
        orders = list(audit.entries(connection))
        numbers = vault.recall([row.token for row in rows])
        stories = []
        for row, number in zip(rows, numbers, strict=True):
            found, lane = by_lane[row.id >> LANE_SHIFT]
            events = [
                *_origin(connection, found, row.token),
                *_orders(orders, found, lane, now_ms),
                *_leases(connection, row.id),
                *_attempts(connection, row, found, lane),
                *_refusals(connection, row.token),
            ]
            stories.append(
                Story(
                    message_reference(row.id),
                    found.name,
                    mask(number),
                    lane.carrier,
                    row.area_code,
                    State(row.state),
                    Exclusion(row.exclusion) if row.exclusion else None,
                    sorted(events, key=lambda event: event.at_ms),
                )
            )
    with store.write() as connection:
        detail = {"messages": [story.message for story in stories], "by_number": not _REFERENCE.fullmatch(asked)}
        auditor.record(connection, TRACE, "message", detail)
    return stories


def _rows(connection: Connection, asked: str, vault: Vault, plan: NumberPlan, lane_ids: Sequence[int]) -> Sequence[Row[Any]]:
    query = select(message).order_by(message.c.id)
    if found := _REFERENCE.fullmatch(asked):
        lane_id, position = int(found[1]), int(found[2])
        if lane_id not in lane_ids or position >= EXCLUDED_FROM << 1:
            return []
        return connection.execute(query.where(message.c.id == lane_id << LANE_SHIFT | position)).all()
    number = plan.normalise(asked)
    if isinstance(number, DropReason):
        raise NotFoundError(
            Said("Không phải mã tin (như 3:17) và không phải số di động.", "This is neither a message (such as 3:17) nor a number."),
            Said("mã tin có trong: broadcaster campaign uncertain list", "find messages with: broadcaster campaign uncertain list"),
        )
    token = vault.token(number)
    rows: list[Row[Any]] = []
    for lane_id in lane_ids:
        inside = (message.c.id >= lane_id << LANE_SHIFT) & (message.c.id < (lane_id + 1) << LANE_SHIFT)
        rows += connection.execute(query.where(inside, message.c.token == token))
    return rows


def _origin(connection: Connection, found: Campaign, token: bytes) -> Iterator[Event]:
    """Yield where the campaign's rosters have the subscriber; the cell itself is nobody's business here, only its commune."""
    rows = connection.execute(
        select(roster, subscriber.c.seen_s, cell.c.area_code)
        .join(campaign_roster, campaign_roster.c.roster_id == roster.c.id)
        .join(subscriber, subscriber.c.roster_id == roster.c.id)
        .outerjoin(cell, cell.c.id == subscriber.c.cell_id)
        .where(campaign_roster.c.campaign_id == found.id, subscriber.c.token == token)
    )
    for row in rows:
        yield Event(row.seen_s * 1000, "seen", {"carrier": row.carrier, "area": row.area_code})
        yield Event(row.observed_ms, "roster", {"carrier": row.carrier, "roster": row.id, "file": row.file_name})


def _orders(entries: Sequence[audit.Entry], found: Campaign, lane: Lane, now_ms: int) -> Iterator[Event]:
    """Yield what people and the service did to the campaign, to its carrier's account, or to everything while it could send."""
    until_ms = found.finished_ms or now_ms
    for entry in entries:
        wider = entry.subject == lane.carrier or entry.action in _EVERYWHERE
        if entry.subject == found.name or (wider and found.submitted_ms <= entry.at_ms <= until_ms):
            if entry.detail.get("carrier", lane.carrier) != lane.carrier:
                continue
            kept = {key: entry.detail[key] for key in ("reason", "tps", "code") if entry.detail.get(key) is not None}
            yield Event(entry.at_ms, "order", {"action": entry.action, "by": entry.detail.get("by", entry.actor), **kept})


def _leases(connection: Connection, message_id: int) -> Iterator[Event]:
    covering = select(lease).where(lease.c.first_id <= message_id, lease.c.last_id >= message_id)
    for row in connection.execute(covering.where(lease.c.lane_id == message_id >> LANE_SHIFT)):
        if row.message_ids is None or message_id in json.loads(row.message_ids):
            yield Event(row.opened_ms, "lease", {"lease": row.id, "epoch": row.epoch})
            if row.closed_ms is not None:
                yield Event(row.closed_ms, "lease-end", {"lease": row.id, "crashed": bool(row.crashed)})


def _attempts(connection: Connection, row: Row[Any], found: Campaign, lane: Lane) -> Iterator[Event]:
    attempts = connection.execute(select(submission).where(submission.c.message_id == row.id)).all()
    taken = [(item.part, item.attempt) for item in attempts if item.state >= State.ACCEPTED]
    for item in attempts:
        which = {"part": item.part, "parts": lane.parts, "attempt": item.attempt, "lease": item.lease_id}
        if item.sent_ns is not None:
            yield Event(item.sent_ns // 1_000_000, "written", which | {"dup_risk": bool(item.dup_risk)})
        said = {"state": State(item.state).name.lower(), "status": item.status, "smsc_id": item.raw_id or item.smsc_id}
        # The carrier has taken another copy of the part as well, whichever answer came first (F39).
        twice = (item.part, item.attempt) in taken and sum(part == item.part for part, _ in taken) > 1
        known = {"reason": item.reason, "resolved": item.resolved, "confirmed_duplicate": twice}
        yield Event(item.answered_ms, "answer", which | said | known)
    ids = {item.smsc_id for item in attempts if item.smsc_id}
    # A receipt for another campaign's message to the same number has another id, and is matched.
    inbox = select(receipt).where(
        receipt.c.carrier == lane.carrier, receipt.c.token == row.token, receipt.c.received_ms >= found.submitted_ms
    )
    for item in connection.execute(inbox):
        if item.smsc_id in ids or not item.matched:
            known = {"smsc_id": item.raw_id or item.smsc_id, "stat": item.stat, "error": item.error, "matched": bool(item.matched)}
            yield Event(item.received_ms, "receipt", known)


def _refusals(connection: Connection, token: bytes) -> Iterator[Event]:
    for row in connection.execute(select(refusal).where(refusal.c.token == token)):
        yield Event(row.at_ms, "refusal", {"refuses": bool(row.refuses), "source": row.source})
    for row in connection.execute(select(reply).where(reply.c.token == token)):
        yield Event(row.at_ms, "reply", {"kind": row.kind})
