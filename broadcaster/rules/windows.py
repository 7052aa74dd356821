"""When sending is allowed: the daily window in Vietnam's time, the start's limit, the deadline, the end of validity.

Every instant goes in and comes out as an aware UTC datetime; the host's own time zone plays no part.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal
from zoneinfo import ZoneInfo

from broadcaster.model import TIMEZONE, DailyWindow, Order

_ZONE: Final = ZoneInfo(TIMEZONE)
_DAY: Final = dt.timedelta(days=1)

Sending = Literal["open", "closed", "over"]


def _local(at: dt.datetime) -> dt.datetime:
    if at.tzinfo is None:
        raise ValueError("an instant without time zone")
    return at.astimezone(_ZONE)


def _span(window: DailyWindow, day: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """Return the UTC instants at which the window of that local day opens and closes."""
    closing_day = day + _DAY if window.closes == dt.time(0) else day
    opens = dt.datetime.combine(day, window.opens, _ZONE).astimezone(dt.UTC)
    closes = dt.datetime.combine(closing_day, window.closes, _ZONE).astimezone(dt.UTC)
    if opens >= closes:
        raise ValueError(f"a window cannot span midnight: {window.opens:%H:%M}-{window.closes:%H:%M}")
    return opens, closes


def is_open(window: DailyWindow, at: dt.datetime) -> bool:
    """Tell whether sending is allowed at this instant; the closing instant itself is outside."""
    opens, closes = _span(window, _local(at).date())
    return opens <= at < closes


def lies_within(window: DailyWindow, hours: DailyWindow) -> bool:
    """Tell whether every instant of `window` is also inside `hours`."""
    day = dt.date(2000, 1, 1)
    (opens, closes), (earliest, latest) = _span(window, day), _span(hours, day)
    return earliest <= opens and closes <= latest


def closes_at(window: DailyWindow, at: dt.datetime) -> dt.datetime | None:
    """Return when the window that is open, or opens next, closes; None for a window that never does."""
    if window.all_day:
        return None
    return _span(window, _local(next_open(window, at)).date())[1]


def next_open(window: DailyWindow, at: dt.datetime) -> dt.datetime:
    """Return the first instant, not before `at`, at which sending is allowed: `at` itself inside the window."""
    day = _local(at).date()
    opens, closes = _span(window, day)
    if at >= closes:
        opens, _ = _span(window, day + _DAY)
    return max(opens, at.astimezone(dt.UTC))


def local_day(at: dt.datetime) -> dt.date:
    """Return Vietnam's day."""
    return _local(at).date()


def next_day(at: dt.datetime) -> dt.datetime:
    """Return when Vietnam's next day begins."""
    return dt.datetime.combine(local_day(at) + _DAY, dt.time(0), _ZONE).astimezone(dt.UTC)


def start_is_void(order: Order, starts_at: dt.datetime, now: dt.datetime) -> bool:
    """Tell whether the campaign has missed the time by which its approval says it must have started."""
    return now > starts_at + dt.timedelta(hours=order.start_within_h)


def may_start(order: Order, starts_at: dt.datetime, now: dt.datetime) -> bool:
    """Tell whether the campaign may start now: due, not too late, and inside its window."""
    return now >= starts_at and not start_is_void(order, starts_at, now) and is_open(order.window, now)


def sending_allowed(order: Order, started_at: dt.datetime, now: dt.datetime) -> Sending:
    """Tell whether first attempts may be written now: ``open``, ``closed`` for the night, or ``over`` for good."""
    if now >= started_at + dt.timedelta(hours=order.deadline_h):
        return "over"
    return "open" if is_open(order.window, now) else "closed"
