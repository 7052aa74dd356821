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

from broadcaster.flow.judgement import judgement
from broadcaster.lang import Said
from broadcaster.model import CampaignState, Order, Person
from broadcaster.rules import approval as rule
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import Action, move
from broadcaster.rules.order import order_from_json
from broadcaster.store import messages
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, Lane, approvals, change_campaign, change_lane, find_campaign, lanes
from broadcaster.store.messages import Leased
from broadcaster.store.times import from_ms, to_ms

CACHED_JUDGEMENTS = 64


class Denied(Enum):
    """Why no lease was given."""

    NOTHING_DUE = "nothing is due"
    NOT_RUNNING = "the campaign or this carrier's part of it is not running"
    CLOSED = "the window is closed"
    OVER = "the deadline has passed"
    NOT_APPROVED = "what is stored is not what was signed"


class Grant(NamedTuple):
    """One lease: its messages, and the signed text and sender they carry."""

    lease_id: int
    lane_id: int
    campaign_id: int
    campaign: str
    text: str
    sender: str
    valid_minutes: int
    messages: Sequence[Leased]


class Gate:
    """Give leases. `people` returns the register of those who may sign, as it stands now."""

    def __init__(self, people: Callable[[], Mapping[str, Person]], auditor: Auditor, epoch: int) -> None:
        self._people = people
        self.auditor = auditor
        self._epoch = epoch
        self._judged: dict[object, bool] = {}

    def take(self, connection: Connection, campaign: str, lane_id: int, limit: int, now: dt.datetime) -> Grant | Denied:
        """Lease up to `limit` messages of a lane: second tries that are due first, then the next that were never sent.

        A campaign whose stored content is not covered by enough valid signatures is halted on the spot, with an audit entry.
        """
        found = find_campaign(connection, campaign)
        every = lanes(connection, found.id)
        item = next(lane for lane in every if lane.id == lane_id)
        if found.state is not CampaignState.RUNNING or found.started_ms is None or item.halted:
            return Denied.NOT_RUNNING
        order = order_from_json(found.content["order"])
        if not self._approved(connection, found, order, item, every):
            self._halt(connection, found, now)
            return Denied.NOT_APPROVED
        match windows.sending_allowed(order, from_ms(found.started_ms), now):
            case "closed":
                return Denied.CLOSED
            case "over":
                return Denied.OVER
        taken = self._lease(connection, item, limit, to_ms(now))
        if taken is None:
            return Denied.NOTHING_DUE
        minutes = int((windows.validity_end(order, now) - now).total_seconds()) // 60
        return Grant(taken[0], lane_id, found.id, found.name, item.body, order.sender, minutes, taken[1])

    def _lease(self, connection: Connection, item: Lane, limit: int, now_ms: int) -> tuple[int, list[Leased]] | None:
        if due := messages.due_ids(connection, item.id, now_ms, limit):
            return messages.open_list(connection, item.id, self._epoch, due, item.parts, now_ms)
        if item.next_position > item.messages:
            return None
        last = min(item.next_position + limit - 1, item.messages)
        change_lane(connection, item.id, next_position=last + 1)
        return messages.open_range(connection, item.id, self._epoch, item.next_position, last, item.parts, now_ms)

    def _approved(self, connection: Connection, found: Campaign, order: Order, item: Lane, every: Sequence[Lane]) -> bool:
        bodies = {body["carrier"]: body for body in found.content["bodies"]}
        body = bodies.get(item.carrier)
        if body is None or (body["text"], body["parts"]) != (item.body, item.parts):
            return False
        if sum(lane.messages for lane in every) > order.audience.max_recipients:
            return False
        people = self._people()
        stored = rule.canonical(found.content), tuple((each.person, each.signature) for each in approvals(connection, found.id))
        key = (stored, found.submitted_by, frozenset(people.values()))
        if key not in self._judged:
            verdict = judgement(connection, found, people)
            self._judged = {**self._judged, key: verdict.ok} if len(self._judged) < CACHED_JUDGEMENTS else {key: verdict.ok}
        return self._judged[key]

    def _halt(self, connection: Connection, found: Campaign, now: dt.datetime) -> None:
        reason = Said("nội dung lưu trữ khác nội dung đã ký", "what is stored is not what was signed")
        state = move(found.state, Action.HALT)
        change_campaign(connection, found.id, state, reason=str(reason), finished_ms=to_ms(now))
        self.auditor.record(connection, Action.HALT, found.name, {"reason": reason.en})
