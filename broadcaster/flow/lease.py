"""The last gate before bytes (protocol step T1): a lease is only given on what was signed, now, to those who have not refused.

Everything is checked inside the transaction that makes the lease durable, against what the database holds at that moment, so an edit
by any road, SQL included, stops the sending.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import StoreError
from broadcaster.flow.judgement import judgement, readable_order
from broadcaster.lang import Said
from broadcaster.model import CampaignState, Environment, MessageClass, Order, Person
from broadcaster.rules import approval as rule
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import Action, move
from broadcaster.store import messages
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, Lane, approvals, change_campaign, find_campaign, lanes, move_on
from broadcaster.store.control import sending_stopped
from broadcaster.store.messages import Leased
from broadcaster.store.times import from_ms, to_ms
from broadcaster.store.vault import Vault

CACHED_JUDGEMENTS = 64
LEASE_LIFE = dt.timedelta(minutes=5)
"""What a lease has not got written by then is given back, so that no message waits in memory past its window or validity."""


class Denied(Enum):
    """Why no lease was given."""

    NOTHING_DUE = "nothing is due"
    NOT_RUNNING = "the campaign or this carrier's part of it is not running"
    STOPPED = "everything is stopped, or this carrier is paused"
    CLOSED = "the window is closed, or closes too soon"
    OVER = "the deadline has passed"
    NOT_APPROVED = "what is stored is not what was signed"


class Grant(NamedTuple):
    """One lease: its messages, and the signed text and sender they carry."""

    lease_id: int
    lane_id: int
    campaign_id: int
    campaign: str
    text: str
    parts: int
    sender: str
    valid_minutes: int
    until: dt.datetime
    """What is not written by then must be given back."""
    overrides_refusals: bool
    messages: Sequence[Leased]
    numbers: Sequence[int]
    """The number of each message."""
    receipt_part: int = 0
    """The part that gets a receipt; 0 when each does."""


class Gate:
    """Give leases. `people` returns the register of those who may sign, as it stands now."""

    def __init__(
        self, people: Callable[[], Mapping[str, Person]], auditor: Auditor, vault: Vault, environment: Environment, epoch: int
    ) -> None:
        self._people = people
        self.auditor = auditor
        self._vault = vault
        self._environment = environment
        self._epoch = epoch
        self._judged: dict[object, bool] = {}
        self._last_read: tuple[object, Order | None, bytes] = (None, None, b"")

    def take(self, connection: Connection, campaign: str, lane_id: int, limit: int, now: dt.datetime) -> Grant | Denied:
        """Lease up to `limit` messages of a lane: second tries that are due first, then the next that were never sent.

        A campaign whose stored content is not covered by enough valid signatures, or whose messages were tampered with, is halted on
        the spot, with an audit entry.
        """
        found = find_campaign(connection, campaign)
        every = lanes(connection, found.id)
        item = next((lane for lane in every if lane.id == lane_id), None)
        if item is None or item.halted or found.state is not CampaignState.RUNNING or found.started_ms is None:
            return Denied.NOT_RUNNING
        if sending_stopped(connection, item.carrier):
            return Denied.STOPPED
        order, content = self._read(found)
        if order is None or not self._approved(connection, found, order, content, item, every):
            return self._halt(connection, found, now)
        match windows.sending_allowed(order, from_ms(found.started_ms), now):
            case "closed":
                return Denied.CLOSED
            case "over":
                return Denied.OVER
        until = min(now + LEASE_LIFE, from_ms(found.started_ms) + dt.timedelta(hours=order.deadline_h))
        minutes = _valid_minutes(order, now, until)
        if minutes < 1:
            return Denied.CLOSED
        try:
            with connection.begin_nested():
                leased = self._lease(connection, item, limit, to_ms(now), urgent=order.message_class is MessageClass.URGENT)
                if leased is None:
                    return Denied.NOTHING_DUE
                numbers = self._vault.reveal([each.token for each in leased[1]])
        except StoreError:
            return self._halt(connection, found, now)
        return Grant(
            leased[0],
            lane_id,
            found.id,
            found.name,
            item.body,
            item.parts,
            order.sender,
            minutes,
            until,
            order.override_refusals,
            leased[1],
            numbers,
            item.receipt_part,
        )

    def _lease(
        self, connection: Connection, item: Lane, limit: int, now_ms: int, *, urgent: bool = False
    ) -> tuple[int, list[Leased]] | None:
        if due := messages.due_ids(connection, item.id, now_ms, limit):
            if not item.first_id <= min(due) <= max(due) < item.end_id:
                raise StoreError(Said("Một người bị loại đã thành người nhận.", "Somebody excluded was made a recipient."))
            return messages.open_list(connection, item.id, self._epoch, due, item.parts, now_ms, urgent=urgent)
        if item.next_position > item.messages:
            return None
        last = min(item.next_position + limit - 1, item.messages)
        move_on(connection, item.id, last + 1)
        return messages.open_range(connection, item.id, self._epoch, item.next_position, last, item.parts, now_ms, urgent=urgent)

    def _read(self, found: Campaign) -> tuple[Order | None, bytes]:
        """Return the stored order and its canonical form; the same stored text (store/campaigns.py) is taken apart once."""
        if self._last_read[0] is not found.content:
            order = readable_order(found)
            self._last_read = (found.content, order, b"" if order is None else rule.canonical(found.content))
        return self._last_read[1:]

    def _approved(
        self, connection: Connection, found: Campaign, order: Order, content: bytes, item: Lane, every: Sequence[Lane]
    ) -> bool:
        bodies = {body["carrier"]: body for body in found.content["bodies"]}
        body = bodies.get(item.carrier)
        if body is None or (body["text"], body["parts"], body.get("receipt_part", 0)) != (item.body, item.parts, item.receipt_part):
            return False
        if sum(lane.messages for lane in every) > order.audience.max_recipients:
            return False
        if order.environment is not self._environment or not started_in_time(found, order):
            return False
        people = self._people()
        stored = content, tuple((each.person, each.signature) for each in approvals(connection, found.id))
        key = (stored, found.submitted_by, frozenset(people.values()))
        if key not in self._judged:
            verdict = judgement(connection, found, people)
            self._judged = {**self._judged, key: verdict.ok} if len(self._judged) < CACHED_JUDGEMENTS else {key: verdict.ok}
        return self._judged[key]

    def _halt(self, connection: Connection, found: Campaign, now: dt.datetime) -> Denied:
        reason = Said("nội dung lưu trữ khác nội dung đã ký", "what is stored is not what was signed")
        state = move(found.state, Action.HALT)
        change_campaign(connection, found.id, state, reason=str(reason), finished_ms=to_ms(now))
        self.auditor.record(connection, Action.HALT, found.name, {"reason": reason.en})
        return Denied.NOT_APPROVED


def started_in_time(found: Campaign, order: Order) -> bool:
    """Tell whether the campaign was planned for the signed start, if there is one, and started in the time its approvals name."""
    if found.planned_ms is None or found.started_ms is None:
        return False
    planned = from_ms(found.planned_ms)
    if order.start and abs(planned - order.start) > dt.timedelta(hours=order.start_within_h):
        return False
    return not windows.start_is_void(order, planned, from_ms(found.started_ms))


def _valid_minutes(order: Order, now: dt.datetime, until: dt.datetime) -> int:
    """Return how long the carrier may try a message written at `until` or sooner, so that no phone rings after the window."""
    closes = windows.closes_at(order.window, now)
    minutes = order.validity_h * 60
    return minutes if closes is None else min(minutes, (closes - until) // dt.timedelta(minutes=1))
