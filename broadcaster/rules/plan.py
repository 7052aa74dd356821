"""When each carrier will be done, through the daily windows, at the pace the limiter keeps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from broadcaster.model import CarrierCode, DailyWindow
from broadcaster.rules import windows

PACE_PERCENT: Final = 98
"""Share of the contract rate that is planned with; the limiter's own pace (rules/throttle.py)."""

ASSUMED_TPS: Final = 20_000
"""Parts per second taken for a carrier without a contract rate: an assumption, see `assumed`."""


def assumed(tps: Mapping[CarrierCode, int | None]) -> frozenset[CarrierCode]:
    """Return the carriers whose prediction rests on `ASSUMED_TPS`."""
    return frozenset(carrier for carrier, rate in tps.items() if rate is None)


def predict(
    parts_per_carrier: Mapping[CarrierCode, int],
    tps: Mapping[CarrierCode, int | None],
    window: DailyWindow,
    starts_at: dt.datetime,
) -> Mapping[CarrierCode, dt.datetime]:
    """Return when, in UTC, each carrier's last part is written, sending only while the window is open.

    KeyError when a carrier has no rate; ValueError when a rate is not positive.
    """
    return {carrier: _finish(_sending_time(parts, tps[carrier]), window, starts_at) for carrier, parts in parts_per_carrier.items()}


def fits(finishes: Mapping[CarrierCode, dt.datetime], deadline: dt.datetime) -> bool:
    """Tell whether every carrier is done by the deadline."""
    return all(finish <= deadline for finish in finishes.values())


def _sending_time(parts: int, tps: int | None) -> dt.timedelta:
    if tps is None:
        return dt.timedelta(microseconds=-(-parts * 1_000_000 // ASSUMED_TPS))
    if tps <= 0:
        raise ValueError(f"a rate must be positive: {tps}")
    return dt.timedelta(microseconds=-(-parts * 100_000_000 // (tps * PACE_PERCENT)))


def _finish(needed: dt.timedelta, window: DailyWindow, starts_at: dt.datetime) -> dt.datetime:
    at = windows.next_open(window, starts_at)
    while (closes := windows.closes_at(window, at)) is not None and at + needed > closes:
        needed -= closes - at
        at = windows.next_open(window, closes)
    return at + needed
