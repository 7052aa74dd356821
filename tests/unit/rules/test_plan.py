"""Predicted finishes."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.files.carriers import read_card
from broadcaster.model import CarrierCard, CarrierCode, DailyWindow
from broadcaster.rules import plan, windows
from broadcaster.rules.plan import HORIZON, assumed, fits, predict

DAY = DailyWindow(dt.time(7), dt.time(22))
ALL_DAY = DailyWindow(dt.time(0), dt.time(0))
VIETTEL, GMOBILE = CarrierCode("viettel"), CarrierCode("gmobile")
PLAIN = replace(read_card(Path(__file__).parents[3] / "carriers" / "rehearsal" / "viettel.toml", {}), tps=None)
CARDS = {VIETTEL: PLAIN, GMOBILE: PLAIN}


def vietnam(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}+07:00").astimezone(dt.UTC)


def finish(parts: int, tps: int | None, window: DailyWindow, starts_at: dt.datetime) -> dt.datetime:
    return plan.finish(parts, tps, window, starts_at)


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
    finishes = predict({VIETTEL: 1_132_000 * 4, GMOBILE: 20_000}, {VIETTEL: 50, GMOBILE: 50}, DAY, starts_at, CARDS)
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
        predict({VIETTEL: 1}, {}, DAY, vietnam("2026-11-23T07:00"), CARDS)
    with pytest.raises(KeyError):
        predict({VIETTEL: 1}, {VIETTEL: 1}, DAY, vietnam("2026-11-23T07:00"), {})
    with pytest.raises(ValueError, match="positive"):
        finish(1, 0, DAY, vietnam("2026-11-23T07:00"))


def hours(opens: int, closes: int) -> DailyWindow:
    return DailyWindow(dt.time(opens), dt.time(closes % 24))


def terms(**values: object) -> CarrierCard:
    return replace(PLAIN, **values)  # type: ignore[arg-type]


HOUR = 98 * 3600
"""Parts that an account of 100 a second gets in an hour."""


@pytest.mark.parametrize(
    ("parts", "card", "at"),
    [
        (HOUR * 2, terms(tps=100, hourly_tps=((hours(9, 12), 50),)), "2026-11-23T11:00"),
        (HOUR * 3, terms(tps=100, hourly_tps=((hours(9, 12), 50),)), "2026-11-23T12:30"),
        (HOUR, terms(hourly_tps=((hours(0, 24), 100),)), "2026-11-23T09:00"),
        (HOUR, terms(tps=100, closed=(hours(7, 10), hours(10, 11))), "2026-11-23T12:00"),
        (HOUR * 2, terms(tps=100, closed=(hours(9, 10),)), "2026-11-23T11:00"),
        (HOUR, terms(tps=100, closed=(hours(8, 24),)), "2026-11-24T08:00"),
        (HOUR, terms(tps=100, maintenance=((vietnam("2026-11-23T08:30"), vietnam("2026-11-23T09:30")),)), "2026-11-23T10:00"),
        (HOUR * 2, terms(tps=100, parts_per_day=HOUR), "2026-11-24T08:00"),
        (HOUR * 3, terms(tps=100, parts_per_month=HOUR * 2), "2026-12-01T08:00"),
        (HOUR, terms(tps=100, parts_per_day=0), "2027-11-24T08:00"),
    ],
)
def test_the_carrier_s_terms_are_kept_to(parts: int, card: CarrierCard, at: str) -> None:
    starts_at = vietnam("2026-11-23T08:00")
    assert plan.finish(parts, None, DAY, starts_at, card) == vietnam(at)
    assert predict({VIETTEL: parts}, {VIETTEL: None}, DAY, starts_at, {VIETTEL: card}) == {VIETTEL: vietnam(at)}


def test_a_new_day_s_quota_is_there_at_midnight() -> None:
    card = terms(tps=100, parts_per_day=HOUR)
    assert plan.finish(HOUR * 2, None, ALL_DAY, vietnam("2026-11-23T20:00"), card) == vietnam("2026-11-24T01:00")


def test_the_order_s_ceiling_is_kept_to_in_every_hour() -> None:
    card = terms(tps=100, hourly_tps=((hours(9, 12), 25),))
    assert plan.finish(HOUR, 50, DAY, vietnam("2026-11-23T08:00"), card) == vietnam("2026-11-23T11:00")


@pytest.mark.parametrize(
    ("used", "at"), [((HOUR, HOUR), "2026-11-24T08:00"), ((0, HOUR), "2026-11-23T09:00"), ((0, 3 * HOUR), "2026-12-01T08:00")]
)
def test_what_the_account_had_before_counts_on_its_own_day_and_in_its_own_month(used: tuple[int, int], at: str) -> None:
    card = terms(tps=100, parts_per_day=HOUR, parts_per_month=3 * HOUR)
    assert plan.finish(HOUR, None, DAY, vietnam("2026-11-23T08:00"), card, used) == vietnam(at)


def test_a_carrier_that_never_opens_is_never_done() -> None:
    starts_at = vietnam("2026-11-23T08:00")
    assert plan.finish(1, None, DAY, starts_at, terms(closed=(ALL_DAY,))) == starts_at + HORIZON
