"""When each carrier will be done, through the daily windows and the carrier's own terms, at the pace the limiter keeps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from broadcaster.model import CarrierCard, CarrierCode, DailyWindow
from broadcaster.rules import windows
from broadcaster.rules.terms import closed_until, quota_left, steady_until, tps_now

PACE_PERCENT: Final = 98
"""Share of the contract rate that is planned with; the limiter's own pace (rules/throttle.py)."""

ASSUMED_TPS: Final = 20_000
"""Parts per second taken for a carrier without a contract rate: an assumption, see `assumed`."""

HORIZON: Final = dt.timedelta(days=366)
"""What would take longer is not reckoned with to the end: orders live for hours."""

_PART: Final = 100_000_000
"""One part, in what a rate of one percent of a part per second gets done in a microsecond: all sums stay whole."""
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def assumed(tps: Mapping[CarrierCode, int | None]) -> frozenset[CarrierCode]:
    """Return the carriers whose prediction rests on `ASSUMED_TPS`."""
    return frozenset(carrier for carrier, rate in tps.items() if rate is None)


def predict(
    parts_per_carrier: Mapping[CarrierCode, int],
    tps: Mapping[CarrierCode, int | None],
    window: DailyWindow,
    starts_at: dt.datetime,
    cards: Mapping[CarrierCode, CarrierCard],
) -> Mapping[CarrierCode, dt.datetime]:
    """Return when, in UTC, each carrier's last part is written, as `finish` does, by accounts that no quota has lost anything of yet.

    KeyError when a carrier has no rate or no card; ValueError when a rate is not positive.
    """
    return {carrier: finish(parts, tps[carrier], window, starts_at, cards[carrier]) for carrier, parts in parts_per_carrier.items()}


def finish(
    parts: int,
    tps: int | None,
    window: DailyWindow,
    starts_at: dt.datetime,
    card: CarrierCard | None = None,
    used_parts: tuple[int, int] = (0, 0),
) -> dt.datetime:
    """Return when, in UTC, the last of these parts is written, sending only while the window is open and the card's terms allow.

    `tps` lowers the rate further. `used_parts` is what the account had before, on the day and in the month of `starts_at`. Never
    later than `HORIZON`. ValueError when a rate is not positive.
    """
    if tps is not None and tps <= 0:
        raise ValueError(f"a rate must be positive: {tps}")
    left, at = parts * _PART, windows.next_open(window, starts_at)
    today, month = (used * _PART for used in used_parts)
    while at < starts_at + HORIZON:
        shut = closed_until(card, at) if card else None
        until = _steady_until(window, at, card)
        room = None if card is None else quota_left(card, -(-today // _PART), -(-month // _PART))
        if shut is None and room != 0:
            speed = _speed(card, tps, at)
            able = speed * ((until - at) // _MICROSECOND)
            done = min(left, able if room is None else min(able, room * _PART))
            if done == left:
                return at + -(-left // speed) * _MICROSECOND
            left, today, month = left - done, today + done, month + done
        after = windows.next_open(window, shut or until)
        day, next_day = windows.local_day(at), windows.local_day(after)
        today = today if next_day == day else 0
        month = month if next_day.replace(day=1) == day.replace(day=1) else 0
        at = after
    return starts_at + HORIZON


def fits(finishes: Mapping[CarrierCode, dt.datetime], deadline: dt.datetime) -> bool:
    """Tell whether every carrier is done by the deadline."""
    return all(finish <= deadline for finish in finishes.values())


def _speed(card: CarrierCard | None, tps: int | None, at: dt.datetime) -> int:
    """Return how many parts a second are planned with, in percent of one."""
    rates = [rate for rate in (tps, tps_now(card, at) if card else None) if rate is not None]
    return min(rates) * PACE_PERCENT if rates else ASSUMED_TPS * 100


def _steady_until(window: DailyWindow, at: dt.datetime, card: CarrierCard | None) -> dt.datetime:
    ends = (windows.closes_at(window, at), steady_until(card, at) if card else None, at + HORIZON)
    return min(end for end in ends if end is not None)
