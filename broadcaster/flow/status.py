"""Where a campaign stands, read from the summaries: cheap at any size, and never behind by more than one commit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from broadcaster.flow.judgement import judgement, readable_order
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, Person, State
from broadcaster.rules.approval import Judgement
from broadcaster.rules.plan import finish
from broadcaster.rules.terms import Quota, closed_until, quota_used
from broadcaster.store import usage
from broadcaster.store.campaigns import Campaign, Lane, find_campaign, lanes, remainder_of, remainders
from broadcaster.store.control import AccountOrder, Stop, account_orders, standing_stop
from broadcaster.store.engine import Store, service_running
from broadcaster.store.links import LinkRow, links
from broadcaster.store.receipts import newest_id
from broadcaster.store.schema import tally
from broadcaster.store.times import from_ms, to_ms

LINK_STALE_MS = 5_000
"""A link state older than this says nothing of now."""

_SENT = frozenset(state for state in State if state >= State.REFUSED)
_FAILED = frozenset({State.EXPIRED, State.DELETED, State.UNDELIVERABLE, State.REJECTED})


class Progress(NamedTuple):
    """One carrier's part of a campaign, in messages; `left` are not yet decided.

    `rate_tps`, and `finish_ms` predicted from the limit, are None unless the campaign is running and a running service sends it;
    there is no `finish_ms` either when the carrier is halted or the signed deadline comes first.
    """

    carrier: CarrierCode
    link: str
    reason: str
    messages: int
    parts: int
    excluded: int
    sent: int
    accepted: int
    delivered: int
    failed: int
    refused: int
    uncertain: int
    suppressed: int
    closed: int
    left: int
    rate_tps: float | None
    limit_tps: int | None
    finish_ms: int | None
    halted: str | None
    paused: str | None = None
    """Why a person paused this carrier's account; None when it is not paused."""
    closed_until_ms: int | None = None
    """Until when the carrier's card lets nothing be sent; None when it is open now."""
    quota_used: Quota | None = None
    """Which of the card's quotas has no room for another of these messages."""


class Status(NamedTuple):
    """A campaign with its signatures and its progress by carrier; `receipts` grows with every receipt of any campaign."""

    campaign: Campaign
    approvals: Judgement
    carriers: list[Progress]
    refused_since_planning: int
    receipts: int
    service_running: bool
    stop: Stop | None = None
    """The stop of everything, when there is one."""
    remainder_of: str | None = None
    """The campaign whose remainder this one is."""
    remainders: tuple[Campaign, ...] = ()
    """The campaigns to those whom this one did not reach, oldest first."""


def fresh(row: LinkRow, now: dt.datetime) -> bool:
    """Tell whether the service wrote this row so lately that it speaks of now."""
    return to_ms(now) - row.seen_ms < LINK_STALE_MS


def service_alive(store: Store, rows: Mapping[str, LinkRow], now: dt.datetime) -> bool:
    """Tell whether a service runs: by its lock on SQLite's file, elsewhere by what it wrote of its links lately."""
    if store.path is not None:
        return service_running(store.path)
    return any(fresh(row, now) for row in rows.values())


def status(
    store: Store, reference: str, *, cards: Mapping[CarrierCode, CarrierCard], people: Mapping[str, Person], now: dt.datetime
) -> Status:
    """Return the status of the campaign with this number or name. Raises `NotFoundError`."""
    with store.read() as connection:
        found = find_campaign(connection, reference)
        rows = links(connection)
        alive = service_alive(store, rows, now)
        current = {carrier: row for carrier, row in rows.items() if alive and fresh(row, now)}
        stop, accounts = standing_stop(connection), account_orders(connection)
        sends = alive and stop is None and found.state is CampaignState.RUNNING
        progress = [
            _progress(connection, found, lane, cards, current, accounts.get(lane.carrier), now, sends=sends)
            for lane in lanes(connection, found.id)
        ]
        return Status(
            found,
            judgement(connection, found, people),
            progress,
            sum(item.suppressed for item in progress),
            newest_id(connection),
            alive,
            stop,
            remainder_of(found),
            tuple(remainders(connection, found.name)),
        )


def _progress(
    connection: Connection,
    found: Campaign,
    lane: Lane,
    cards: Mapping[CarrierCode, CarrierCard],
    rows: Mapping[str, LinkRow],
    account: AccountOrder | None,
    now: dt.datetime,
    *,
    sends: bool,
) -> Progress:
    """Return one lane's progress; `rows` are the links of which the service spoke lately, `sends` when it sends this campaign."""
    paused = account.reason if account and account.paused else None
    sends = sends and paused is None
    counted: dict[State, int] = {}
    for state, messages in connection.execute(select(tally.c.state, tally.c.messages).where(tally.c.lane_id == lane.id)):
        counted[State(state)] = counted.get(State(state), 0) + messages
    left = counted.get(State.READY, 0) + counted.get(State.RETRY, 0)
    order = readable_order(found)
    card = cards.get(lane.carrier)
    ordered = order.max_tps.get(lane.carrier) if order else None
    ceilings = (card.tps if card else None, ordered, account.tps if account else None)
    limit = min((tps for tps in ceilings if tps is not None), default=None)
    row = rows.get(lane.carrier)
    used = usage.used(connection, lane.carrier, now)
    predicted = None
    if sends and left and order and found.started_ms is not None and not lane.halted:
        predicted = finish(left * lane.parts, limit, order.window, now, card, (used.today_parts, used.month_parts))
        if predicted > from_ms(found.started_ms) + dt.timedelta(hours=order.deadline_h):
            predicted = None
    shut = closed_until(card, now) if card else None
    return Progress(
        lane.carrier,
        row.state if row else "down",
        row.reason if row else "",
        lane.messages,
        lane.parts,
        counted.get(State.EXCLUDED, 0),
        sum(counted.get(state, 0) for state in _SENT),
        counted.get(State.ACCEPTED, 0),
        counted.get(State.DELIVERED, 0),
        sum(counted.get(state, 0) for state in _FAILED),
        counted.get(State.REFUSED, 0),
        counted.get(State.UNCERTAIN, 0),
        counted.get(State.SUPPRESSED, 0),
        counted.get(State.CANCELLED, 0) + counted.get(State.LAPSED, 0),
        left,
        row.rate_tps if row and sends else None,
        limit,
        to_ms(predicted) if predicted else None,
        lane.halted,
        paused,
        to_ms(shut) if shut else None,
        quota_used(card, used.today_parts, used.month_parts, lane.parts) if card else None,
    )
