"""Stage 3: the audience rule becomes people: counted for a plan, written out as messages once a campaign is scheduled."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.lang import Said
from broadcaster.model import CarrierCode, MessageClass, Order, RosterId
from broadcaster.rules.lifecycle import ENDED
from broadcaster.rules.order import order_from_json
from broadcaster.store import audience, messages
from broadcaster.store.areas import Outlined, find_outlined, outlined_of
from broadcaster.store.campaigns import (
    Campaign,
    Lane,
    change_campaign,
    change_lane,
    find_campaign,
    insert_lane,
    lanes,
    refuse_second_remainder,
    roster_ids,
)
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster, count_subscribers, newest_rosters, rosters
from broadcaster.store.times import from_ms, to_ms


class Earlier(NamedTuple):
    """The campaign whose remainder is to be reached: its digest, and the moment as of which somebody counts as not reached."""

    name: str
    digest: str
    until_ms: int


class Audience(NamedTuple):
    """The rosters an order's audience comes from, and the audience counted by carrier, commune and exclusion (0 is none)."""

    rosters: list[Roster]
    counts: list[audience.Count]
    earlier: Earlier | None = None
    """Set for a remainder; part of what is signed."""
    outlined: Outlined | None = None
    """The cells inside the order's circles and polygons, if it has any; part of what is signed."""

    @property
    def recipients(self) -> int:
        """How many subscribers will get a message."""
        return sum(item.messages for item in self.counts if not item.exclusion)


def count(store: Store, order: Order, now: dt.datetime, progress: Callable[[int, int], None] | None = None) -> Audience:
    """Count the audience from each carrier's newest roster, or from an earlier campaign; `progress` gets (slices done, in all).

    Raises `RefusedError` when a carrier has no roster, or none young enough, or the earlier campaign has not ended or has a remainder
    already; `NotFoundError` when there is no such campaign.
    """
    totals: Counter[tuple[str, str, int]] = Counter()
    approximate: Counter[tuple[str, str, int]] = Counter()
    if order.audience.remainder_of is not None:
        messages.fold_up(store)
    with store.read() as connection:
        earlier = _earlier(connection, order, now)
        used = _rosters(connection, order, now) if earlier is None else _rosters_of(connection, order, earlier, now)
        ids = [item.id for item in used]
        outlined = _outlined(connection, order)
        rule = _rule(connection, order, ids, earlier, outlined)
        audience.prepare(connection, rule)
        slices = list(audience.slices(rule, count_subscribers(connection, ids)))
        for number, (low, high) in enumerate(slices, 1):
            for item in audience.count(connection, rule, low, high):
                totals[item.carrier, item.area_code, item.exclusion] += item.messages
                approximate[item.carrier, item.area_code, item.exclusion] += item.approximate
            if progress:
                progress(number, len(slices))
    counts = [audience.Count(*key, number, approximate[key]) for key, number in sorted(totals.items())]
    return Audience(used, counts, earlier, outlined)


def _outlined(connection: Connection, order: Order) -> Outlined | None:
    asked = order.audience
    if not (asked.circles or asked.polygons):
        return None
    found = find_outlined(connection, asked.carriers, asked.circles, asked.polygons)
    if not found.ids:
        raise RefusedError(
            Said("Trong vòng tròn, đa giác của lệnh không có cell nào.", "No cell stands inside the order's circles and polygons."),
            Said(
                "Kiểm tra tọa độ, hoặc nhập danh mục cell: broadcaster cell import",
                "Check the places, or run: broadcaster cell import",
            ),
        )
    return found


def _earlier(connection: Connection, order: Order, now: dt.datetime) -> Earlier | None:
    name = order.audience.remainder_of
    if name is None:
        return None
    first = find_campaign(connection, name)
    if first.name != name:
        raise NotFoundError(Said(f"Không có chiến dịch «{name}».", f"There is no campaign “{name}”."))
    waiting = sum(messages.open_count(connection, item.id) for item in lanes(connection, first.id))
    if first.state not in ENDED or waiting:
        raise RefusedError(
            Said(f"Chiến dịch «{name}» chưa kết thúc hẳn.", f"Campaign “{name}” has not ended, or is still being settled."),
            Said("Chờ dịch vụ khép lại chiến dịch ấy.", "Wait until the service has closed it."),
        )
    refuse_second_remainder(connection, name)
    return Earlier(name, first.digest, to_ms(now))


def _rosters_of(connection: Connection, order: Order, earlier: Earlier, now: dt.datetime) -> list[Roster]:
    """Return the rosters behind the earlier campaign, as far as the order goes to their carriers."""
    ids = set(roster_ids(connection, find_campaign(connection, earlier.name).id))
    used = {item.carrier: item for item in rosters(connection) if item.id in ids and item.carrier in order.audience.carriers}
    _check_age(used, order, now)
    return [used[code] for code in sorted(used)]


def _rosters(connection: Connection, order: Order, now: dt.datetime) -> list[Roster]:
    newest = newest_rosters(connection)
    missing = [code for code in order.audience.carriers if code not in newest]
    if missing:
        names = ", ".join(missing)
        raise RefusedError(
            Said(f"Chưa có danh sách thuê bao của: {names}", f"There is no roster of: {names}"),
            Said("Nhập bằng: broadcaster roster import", "Import one with: broadcaster roster import"),
        )
    used = {code: newest[code] for code in order.audience.carriers}
    _check_age(used, order, now)
    return list(used.values())


def _check_age(used: Mapping[CarrierCode, Roster], order: Order, now: dt.datetime) -> None:
    limit = now - dt.timedelta(hours=order.audience.roster_max_age_h)
    if old := [code for code, item in used.items() if from_ms(item.observed_ms) < limit]:
        names, hours = ", ".join(old), order.audience.roster_max_age_h
        raise RefusedError(
            Said(f"Danh sách thuê bao cũ hơn {hours} giờ: {names}", f"Rosters older than {hours} h: {names}"),
            Said("Xin nhà mạng xuất lại rồi nhập.", "Ask the carrier for a new export and import it.")
            if order.audience.remainder_of is None
            else Said("Nếu vẫn gửi, sửa audience.roster_max_age_h.", "To send nevertheless, change audience.roster_max_age_h."),
        )


def _rule(
    connection: Connection, order: Order, ids: list[RosterId], earlier: Earlier | None, outlined: Outlined | None
) -> audience.Rule:
    remainder = None
    if earlier is not None:
        first = lanes(connection, find_campaign(connection, earlier.name).id)
        remainder = audience.Remainder([item for item in first if item.carrier in order.audience.carriers], earlier.until_ms)
    asked = order.audience
    cells = outlined.ids if outlined else ()
    urgent = order.message_class is MessageClass.URGENT
    return audience.Rule(ids, asked.communes, asked.active_within_h, not order.override_refusals, remainder, urgent, cells)


def steps(store: Store, campaign: Campaign) -> Iterator[Callable[[Connection], None]]:
    """Yield the pieces of work that write a scheduled campaign's messages out, each for one short write transaction, in order.

    The first pieces clear what an enlisting that was cut off left behind; the last one marks the campaign enlisted.
    """
    order = order_from_json(campaign.content["order"])
    signed = campaign.content.get("earlier")
    with store.read() as connection:
        ids = roster_ids(connection, campaign.id)
        subscribers = count_subscribers(connection, ids)
        leftovers = lanes(connection, campaign.id)
        rule = _rule(connection, order, ids, Earlier(**signed) if signed else None, _kept(connection, campaign))
    for item in leftovers:
        for _ in range(0, item.messages + item.excluded + 1, audience.DISCARD_ROWS):
            yield partial(_discard, item=item)
    if not leftovers:
        yield partial(_open_lanes, campaign=campaign)
    for low, high in audience.slices(rule, subscribers):
        yield partial(_enlist, campaign=campaign, rule=rule, low=low, high=high)
    yield partial(_mark_enlisted, campaign=campaign)


def _kept(connection: Connection, campaign: Campaign) -> Outlined | None:
    signed = campaign.content.get("outlined")
    if signed is None:
        return None
    kept = outlined_of(connection, campaign.id)
    if kept.digest != signed["digest"]:
        raise RefusedError(
            Said(
                f"«{campaign.name}»: các cell trong vùng không còn là những cell đã ký.",
                f"“{campaign.name}”: the cells inside its outlines are not the signed ones any more.",
            )
        )
    return kept


def _discard(connection: Connection, item: Lane) -> None:
    if audience.discard(connection, item):
        change_lane(connection, item.id, messages=0, excluded=0)


def _open_lanes(connection: Connection, campaign: Campaign) -> None:
    for body in campaign.content["bodies"]:
        insert_lane(connection, campaign.id, body["carrier"], body["text"], body["parts"], body.get("receipt_part", 0))


def _mark_enlisted(connection: Connection, campaign: Campaign) -> None:
    # The state as it is now: somebody may have cancelled it meanwhile.
    change_campaign(connection, campaign.id, find_campaign(connection, str(campaign.id)).state, enlisted=True)


def _enlist(connection: Connection, campaign: Campaign, rule: audience.Rule, low: bytes | int, high: bytes | int) -> None:
    audience.prepare(connection, rule)
    existing = lanes(connection, campaign.id)
    for lane_id, (send, skip) in audience.enlist(connection, rule, existing, low, high).items():
        item = next(lane for lane in existing if lane.id == lane_id)
        change_lane(connection, lane_id, messages=item.messages + send, excluded=item.excluded + skip)
