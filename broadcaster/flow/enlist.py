"""Stage 3: the audience rule becomes people: counted for a plan, written out as messages once a campaign is scheduled."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import Order, RosterId
from broadcaster.rules.order import order_from_json
from broadcaster.store import audience
from broadcaster.store.campaigns import Campaign, Lane, change_campaign, change_lane, find_campaign, insert_lane, lanes, roster_ids
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster, count_subscribers, newest_rosters
from broadcaster.store.times import from_ms


class Audience(NamedTuple):
    """The rosters an order's audience comes from, and the audience counted by carrier, commune and exclusion (0 is none)."""

    rosters: list[Roster]
    counts: list[audience.Count]

    @property
    def recipients(self) -> int:
        """How many subscribers will get a message."""
        return sum(item.messages for item in self.counts if not item.exclusion)


def count(store: Store, order: Order, now: dt.datetime, progress: Callable[[int, int], None] | None = None) -> Audience:
    """Count the audience from each carrier's newest roster; `progress` gets (slices done, slices in all).

    Raises `RefusedError` when a carrier has no roster, or none young enough.
    """
    totals: Counter[tuple[str, str, int]] = Counter()
    with store.read() as connection:
        rosters = _rosters(connection, order, now)
        ids = [item.id for item in rosters]
        rule = _rule(order, ids)
        audience.prepare(connection, rule)
        slices = list(audience.token_slices(count_subscribers(connection, ids)))
        for number, (low, high) in enumerate(slices, 1):
            for item in audience.count(connection, rule, low, high):
                totals[item.carrier, item.area_code, item.exclusion] += item.messages
            if progress:
                progress(number, len(slices))
    return Audience(rosters, [audience.Count(*key, number) for key, number in sorted(totals.items())])


def _rosters(connection: Connection, order: Order, now: dt.datetime) -> list[Roster]:
    newest = newest_rosters(connection)
    missing = [code for code in order.audience.carriers if code not in newest]
    if missing:
        names = ", ".join(missing)
        raise RefusedError(
            Said(f"Chưa có danh sách thuê bao của: {names}", f"There is no roster of: {names}"),
            Said("Nhập bằng: broadcaster roster import", "Import one with: broadcaster roster import"),
        )
    limit = now - dt.timedelta(hours=order.audience.roster_max_age_h)
    old = [code for code in order.audience.carriers if from_ms(newest[code].observed_ms) < limit]
    if old:
        names, hours = ", ".join(old), order.audience.roster_max_age_h
        raise RefusedError(
            Said(f"Danh sách thuê bao cũ hơn {hours} giờ: {names}", f"Rosters older than {hours} h: {names}"),
            Said("Xin nhà mạng xuất lại rồi nhập.", "Ask the carrier for a new export and import it."),
        )
    return [newest[code] for code in order.audience.carriers]


def _rule(order: Order, ids: list[RosterId]) -> audience.Rule:
    return audience.Rule(ids, order.audience.communes, order.audience.active_within_h, not order.override_refusals)


def steps(store: Store, campaign: Campaign) -> Iterator[Callable[[Connection], None]]:
    """Yield the pieces of work that write a scheduled campaign's messages out, each for one short write transaction, in order.

    The first pieces clear what an enlisting that was cut off left behind; the last one marks the campaign enlisted.
    """
    order = order_from_json(campaign.content["order"])
    with store.read() as connection:
        ids = roster_ids(connection, campaign.id)
        subscribers = count_subscribers(connection, ids)
        leftovers = lanes(connection, campaign.id)
    rule = _rule(order, ids)
    for item in leftovers:
        for _ in range(0, item.messages + item.excluded + 1, audience.DISCARD_ROWS):
            yield partial(_discard, item=item)
    if not leftovers:
        yield partial(_open_lanes, campaign=campaign)
    for low, high in audience.token_slices(subscribers):
        yield partial(_enlist, campaign=campaign, rule=rule, low=low, high=high)
    yield partial(_mark_enlisted, campaign=campaign)


def _discard(connection: Connection, item: Lane) -> None:
    if audience.discard(connection, item):
        change_lane(connection, item.id, messages=0, excluded=0)


def _open_lanes(connection: Connection, campaign: Campaign) -> None:
    for body in campaign.content["bodies"]:
        insert_lane(connection, campaign.id, body["carrier"], body["text"], body["parts"])


def _mark_enlisted(connection: Connection, campaign: Campaign) -> None:
    # The state as it is now: somebody may have cancelled it meanwhile.
    change_campaign(connection, campaign.id, find_campaign(connection, str(campaign.id)).state, enlisted=True)


def _enlist(connection: Connection, campaign: Campaign, rule: audience.Rule, low: bytes, high: bytes) -> None:
    audience.prepare(connection, rule)
    existing = lanes(connection, campaign.id)
    for lane_id, (send, skip) in audience.enlist(connection, rule, existing, low, high).items():
        item = next(lane for lane in existing if lane.id == lane_id)
        change_lane(connection, lane_id, messages=item.messages + send, excluded=item.excluded + skip)
