"""What a carrier's contract allows at an instant: rates of the hour, closures, quotas."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.files.carriers import read_card
from broadcaster.model import CarrierCard, DailyWindow
from broadcaster.rules.terms import closed_until, quota_left, quota_used, tps_now

CARD = read_card(Path(__file__).parents[3] / "carriers" / "rehearsal" / "viettel.toml", {})
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
EVENING, NIGHT = DailyWindow(dt.time(20), dt.time(0)), DailyWindow(dt.time(22), dt.time(0))
SMALL_HOURS = DailyWindow(dt.time(0), dt.time(3))
ALL_DAY = DailyWindow(dt.time(0), dt.time(0))


def local(hour: int, minute: int = 0, second: int = 0, day: int = 10) -> dt.datetime:
    """Return an instant of Vietnam's time in UTC."""
    return dt.datetime(2026, 12, day, hour, minute, second, tzinfo=ZONE).astimezone(dt.UTC)


def card(**terms: object) -> CarrierCard:
    return replace(CARD, tps=500, **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at", "tps"),
    [
        (local(19, 59, 59), 500),
        (local(20), 200),
        (local(21, 59, 59), 200),
        (local(22), 50),
        (local(23, 59, 59), 50),
        (local(0, day=11), 500),
    ],
)
def test_the_lowest_rate_of_the_hour_counts(at: dt.datetime, tps: int) -> None:
    assert tps_now(card(hourly_tps=((NIGHT, 50), (EVENING, 200))), at) == tps


def test_an_hourly_rate_never_raises_the_contract() -> None:
    assert tps_now(replace(CARD, tps=40, hourly_tps=((ALL_DAY, 50),)), local(12)) == 40


def test_without_limits_there_is_none_and_an_hourly_rate_is_one() -> None:
    assert tps_now(replace(CARD, tps=None), local(12)) is None
    assert tps_now(replace(CARD, tps=None, hourly_tps=((NIGHT, 7),)), local(23)) == 7


def test_a_carrier_that_never_closes_is_open() -> None:
    assert closed_until(CARD, local(3)) is None


@pytest.mark.parametrize(
    ("at", "until"),
    [
        (local(21, 59, 59), None),
        (local(22), local(3, day=11)),
        (local(0, day=11), local(3, day=11)),
        (local(2, 59, 59), local(3)),
        (local(3), None),
    ],
)
def test_closed_hours_that_touch_are_one_closure(at: dt.datetime, until: dt.datetime | None) -> None:
    assert closed_until(card(closed=(NIGHT, SMALL_HOURS)), at) == until


def test_maintenance_and_closed_hours_are_one_closure() -> None:
    busy = card(closed=(SMALL_HOURS,), maintenance=((local(21), local(1, day=11)), (local(3, day=11), local(5, day=11))))
    assert closed_until(busy, local(20, 59, 59)) is None
    assert closed_until(busy, local(21)) == local(5, day=11)
    assert closed_until(busy, local(5, day=11)) is None


def test_a_carrier_closed_around_the_clock_is_asked_again_tomorrow() -> None:
    until = closed_until(card(closed=(ALL_DAY,)), local(12))
    assert until is not None
    assert until > local(12)


@given(
    st.lists(st.tuples(st.integers(0, 22), st.integers(1, 23)).filter(lambda pair: pair[0] < pair[1]), max_size=3),
    st.integers(0, 24 * 60 - 1),
)
def test_whenever_it_is_closed_it_opens_at_the_instant_named(hours: list[tuple[int, int]], minute: int) -> None:
    windows = tuple(DailyWindow(dt.time(opens), dt.time(closes)) for opens, closes in hours)
    at = local(0) + dt.timedelta(minutes=minute)
    until = closed_until(card(closed=windows), at)
    assert (until is not None) == any(opens * 60 <= minute < closes * 60 for opens, closes in hours)
    if until is not None:
        assert closed_until(card(closed=windows), until) is None
        assert closed_until(card(closed=windows), until - dt.timedelta(seconds=1)) == until


@pytest.mark.parametrize(
    ("day", "month", "used", "left"),
    [
        (None, None, (10**9, 10**9), None),
        (100, None, (99, 5000), 1),
        (100, None, (100, 0), 0),
        (100, None, (101, 0), 0),
        (None, 1000, (0, 400), 600),
        (100, 1000, (20, 950), 50),
        (100, 1000, (90, 500), 10),
    ],
)
def test_the_tighter_quota_counts(day: int | None, month: int | None, used: tuple[int, int], left: int | None) -> None:
    assert quota_left(card(parts_per_day=day, parts_per_month=month), *used) == left


@pytest.mark.parametrize(
    ("day", "month", "used", "parts", "found"),
    [
        (None, None, (99, 99), 1, None),
        (10, None, (9, 9), 1, None),
        (10, None, (10, 10), 1, "day"),
        (10, None, (9, 9), 2, "day"),
        (None, 30, (1, 30), 1, "month"),
        (None, 30, (1, 29), 1, None),
        (10, 30, (10, 30), 1, "month"),
    ],
)
def test_a_quota_without_room_for_a_message_is_named(
    day: int | None, month: int | None, used: tuple[int, int], parts: int, found: str | None
) -> None:
    assert quota_used(card(parts_per_day=day, parts_per_month=month), *used, parts) == found
