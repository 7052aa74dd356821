"""Predicted finishes."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.model import CarrierCode, DailyWindow
from broadcaster.rules import windows
from broadcaster.rules.plan import assumed, fits, predict

DAY = DailyWindow(dt.time(7), dt.time(22))
ALL_DAY = DailyWindow(dt.time(0), dt.time(0))
VIETTEL, GMOBILE = CarrierCode("viettel"), CarrierCode("gmobile")


def vietnam(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}+07:00").astimezone(dt.UTC)


def finish(parts: int, tps: int | None, window: DailyWindow, starts_at: dt.datetime) -> dt.datetime:
    return predict({VIETTEL: parts}, {VIETTEL: tps}, window, starts_at)[VIETTEL]


@pytest.mark.parametrize(
    ("parts", "tps", "window", "starts_at", "at"),
    [
        (98 * 60, 100, ALL_DAY, "2026-11-23T23:59:30", "2026-11-24T00:00:30"),
        (0, 100, DAY, "2026-11-23T08:00", "2026-11-23T08:00"),
        (0, 100, DAY, "2026-11-23T23:00", "2026-11-24T07:00"),
        (49 * 3600, 50, DAY, "2026-11-23T21:30", "2026-11-24T07:30"),
        (49 * 3600, 50, DAY, "2026-11-23T21:00", "2026-11-23T22:00"),
        (49 * 3600 * 40, 50, DAY, "2026-11-23T07:00", "2026-11-25T17:00"),
        (49 * 3600, 50, DAY, "2026-11-23T05:00", "2026-11-23T08:00"),
        (20_000 * 60, None, ALL_DAY, "2026-11-23T12:00", "2026-11-23T12:01"),
    ],
)
def test_finishes_are_carried_through_the_windows(parts: int, tps: int | None, window: DailyWindow, starts_at: str, at: str) -> None:
    assert finish(parts, tps, window, vietnam(starts_at)) == vietnam(at)


def test_the_whole_of_viettel_in_four_parts_at_fifty_does_not_fit_a_day() -> None:
    starts_at = vietnam("2026-11-23T07:00")
    finishes = predict({VIETTEL: 1_132_000 * 4, GMOBILE: 20_000}, {VIETTEL: 50, GMOBILE: 50}, DAY, starts_at)
    assert finishes[VIETTEL] > vietnam("2026-11-24T07:00")
    assert finishes[GMOBILE] < vietnam("2026-11-23T08:00")
    assert not fits(finishes, starts_at + dt.timedelta(hours=24))
    assert fits(finishes, finishes[VIETTEL])


@given(
    st.integers(0, 5_000_000),
    st.integers(1, 2_000),
    st.sampled_from([DAY, ALL_DAY, DailyWindow(dt.time(18, 30), dt.time(0))]),
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=1000)),
)
def test_a_finish_is_within_a_window_and_never_earlier_for_more(
    parts: int, tps: int, window: DailyWindow, since: dt.timedelta
) -> None:
    starts_at = vietnam("2025-01-01T00:00") + since
    at = finish(parts, tps, window, starts_at)
    assert at - starts_at >= dt.timedelta(seconds=int(parts / (0.98 * tps)))
    assert at == windows.next_open(window, starts_at) or windows.is_open(window, at - dt.timedelta(microseconds=1))
    assert finish(parts + 1_000, tps, window, starts_at) > at
    assert finish(parts, tps + 1, window, starts_at) <= at


def test_a_finish_is_rounded_up() -> None:
    starts_at = vietnam("2026-11-23T07:00")
    assert finish(1, 3, ALL_DAY, starts_at) - starts_at == dt.timedelta(microseconds=340_137)


def test_rates_that_are_not_contracts_are_marked() -> None:
    assert assumed({VIETTEL: 50, GMOBILE: None}) == {GMOBILE}


def test_a_missing_or_senseless_rate_is_an_error() -> None:
    with pytest.raises(KeyError):
        predict({VIETTEL: 1}, {}, DAY, vietnam("2026-11-23T07:00"))
    with pytest.raises(ValueError, match="positive"):
        finish(1, 0, DAY, vietnam("2026-11-23T07:00"))
