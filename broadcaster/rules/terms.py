"""What a carrier's terms allow at an instant: the rate of the hour, closed hours and maintenance, quotas.

Instants are aware UTC datetimes; hours of the day are Vietnam's.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from broadcaster.model import CarrierCard
from broadcaster.rules.windows import closes_at, is_open, next_day, next_open

_DAY = dt.timedelta(days=1)

Quota = Literal["day", "month"]


def tps_now(card: CarrierCard, now: dt.datetime) -> int | None:
    """Return the rate in parts per second that the contract allows at `now`; None is unlimited."""
    lowered = [tps for window, tps in card.hourly_tps if is_open(window, now)]
    return min([*lowered, *([] if card.tps is None else [card.tps])], default=None)


def closed_until(card: CarrierCard, now: dt.datetime) -> dt.datetime | None:
    """Return when a carrier that takes nothing at `now` takes something again; None when it does take now.

    Closed hours and maintenance that follow each other without a gap count as one.
    """
    at = now
    # A card closed around the clock would never open: it is asked again after a day.
    last = max([now, *(end for _, end in card.maintenance)]) + _DAY
    while at < last and (ends := _ends(card, at)):
        at = max(ends)
    return at if at > now else None


def steady_until(card: CarrierCard, now: dt.datetime) -> dt.datetime | None:
    """Return until when, at most, rate, closures and quotas stay as they are at `now`; None when they never change."""
    hours = [window for window, _ in card.hourly_tps] + list(card.closed)
    edges = [closes_at(window, now) if is_open(window, now) else next_open(window, now) for window in hours]
    edges += [edge for times in card.maintenance for edge in times]
    if card.parts_per_day is not None or card.parts_per_month is not None:
        edges.append(next_day(now))
    return min((edge for edge in edges if edge is not None and edge > now), default=None)


def quota_left(card: CarrierCard, today_parts: int, month_parts: int) -> int | None:
    """Return how many more parts the quotas allow after so many today and this month (Vietnam's calendar); None without quotas."""
    quotas = ((card.parts_per_day, today_parts), (card.parts_per_month, month_parts))
    return min((max(0, quota - used) for quota, used in quotas if quota is not None), default=None)


def quota_used(card: CarrierCard, today_parts: int, month_parts: int, message_parts: int = 1) -> Quota | None:
    """Return which quota has no room for another message of so many parts, the longer one of both; None while there is room."""
    if card.parts_per_month is not None and month_parts + message_parts > card.parts_per_month:
        return "month"
    if card.parts_per_day is not None and today_parts + message_parts > card.parts_per_day:
        return "day"
    return None


def _ends(card: CarrierCard, at: dt.datetime) -> list[dt.datetime]:
    """Return when each closure that covers `at` ends."""
    hours = [closes_at(window, at) or at + _DAY for window in card.closed if is_open(window, at)]
    return hours + [end for start, end in card.maintenance if start <= at < end]
