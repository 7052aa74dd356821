"""Windows, starts, deadlines and validity, whatever the host's time zone."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.model import Audience, DailyWindow, Environment, MessageClass, Order, UnknownPolicy, Variant
from broadcaster.rules import windows
from broadcaster.rules.order import parse_window

DAY = DailyWindow(dt.time(7), dt.time(22))
ALL_DAY = DailyWindow(dt.time(0), dt.time(0))
EVENING = DailyWindow(dt.time(18, 30), dt.time(0))
HOUR = dt.timedelta(hours=1)
EPOCH = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
instants = st.timedeltas(dt.timedelta(0), dt.timedelta(days=5000)).map(lambda since: EPOCH + since)
any_window = st.sampled_from([DAY, ALL_DAY, EVENING, DailyWindow(dt.time(0), dt.time(6))])


def vietnam(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}+07:00").astimezone(dt.UTC)


def an_order(window: DailyWindow = DAY, start_within_h: int = 24, deadline_h: int = 48, validity_h: int = 6) -> Order:
    return Order(
        name="canh-bao",
        title="Cảnh báo",
        environment=Environment.REHEARSAL,
        message_class=MessageClass.ADVISORY,
        instruction="01/CV",
        template="gia-danh",
        variant=Variant.UNACCENTED,
        values={},
        sender="SKHCN",
        audience=Audience((), (), 720, 72, 1000),
        window=window,
        start=None,
        start_within_h=start_within_h,
        deadline_h=deadline_h,
        validity_h=validity_h,
        override_refusals=False,
        unknown_policy=UnknownPolicy.AT_MOST_ONCE,
    )


@pytest.mark.parametrize(
    ("window", "at", "is_open"),
    [
        (DAY, "2026-11-23T06:59:59.999999", False),
        (DAY, "2026-11-23T07:00:00", True),
        (DAY, "2026-11-23T21:59:59.999999", True),
        (DAY, "2026-11-23T22:00:00", False),
        (ALL_DAY, "2026-11-23T00:00:00", True),
        (ALL_DAY, "2026-11-23T23:59:59.999999", True),
        (EVENING, "2026-11-23T18:29:59", False),
        (EVENING, "2026-11-23T23:59:59.999999", True),
        (EVENING, "2026-11-24T00:00:00", False),
    ],
)
def test_a_window_opens_at_its_first_instant_and_closes_before_its_last(window: DailyWindow, at: str, is_open: bool) -> None:
    assert windows.is_open(window, vietnam(at)) is is_open


@pytest.mark.parametrize(
    ("window", "at", "opens", "closes"),
    [
        (DAY, "2026-11-23T05:00", "2026-11-23T07:00", "2026-11-23T22:00"),
        (DAY, "2026-11-23T12:34", "2026-11-23T12:34", "2026-11-23T22:00"),
        (DAY, "2026-11-23T22:00", "2026-11-24T07:00", "2026-11-24T22:00"),
        (DAY, "2026-12-31T23:30", "2027-01-01T07:00", "2027-01-01T22:00"),
        (EVENING, "2026-11-23T10:00", "2026-11-23T18:30", "2026-11-24T00:00"),
    ],
)
def test_the_next_window_is_found(window: DailyWindow, at: str, opens: str, closes: str) -> None:
    assert windows.next_open(window, vietnam(at)) == vietnam(opens)
    assert windows.closes_at(window, vietnam(at)) == vietnam(closes)


def test_the_whole_day_never_closes() -> None:
    at = vietnam("2026-11-23T23:59")
    assert windows.closes_at(ALL_DAY, at) is None
    assert windows.next_open(ALL_DAY, at) == at


@given(any_window, instants)
def test_the_next_opening_is_open_and_nothing_before_it_is(window: DailyWindow, at: dt.datetime) -> None:
    opens = windows.next_open(window, at)
    assert at <= opens < at + dt.timedelta(days=1)
    assert opens.tzinfo is dt.UTC
    assert windows.is_open(window, opens)
    assert (opens == at) == windows.is_open(window, at)
    if opens > at:
        assert not windows.is_open(window, opens - dt.timedelta(microseconds=1))
    closes = windows.closes_at(window, at)
    if closes is not None:
        assert not windows.is_open(window, closes)
        assert windows.is_open(window, closes - dt.timedelta(microseconds=1))


@contextmanager
def host_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@given(any_window, instants)
def test_the_hosts_time_zone_changes_nothing(window: DailyWindow, at: dt.datetime) -> None:
    answers = set()
    order = an_order(window)
    for zone in ("UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Ho_Chi_Minh"):
        with host_zone(zone):
            opens = windows.next_open(window, at)
            answers.add(
                (
                    windows.is_open(window, at),
                    windows.closes_at(window, at),
                    opens,
                    windows.may_start(order, at, at),
                    windows.sending_allowed(order, at, at + 47 * HOUR),
                )
            )
    assert len(answers) == 1


@given(any_window, instants, st.sampled_from([-11, -5, 0, 7, 10.5, 14]))
def test_the_zone_in_which_an_instant_is_written_changes_nothing(window: DailyWindow, at: dt.datetime, offset_h: float) -> None:
    elsewhere = at.astimezone(dt.timezone(dt.timedelta(hours=offset_h)))
    assert windows.is_open(window, elsewhere) == windows.is_open(window, at)
    assert windows.next_open(window, elsewhere) == windows.next_open(window, at)
    assert windows.next_open(window, elsewhere).tzinfo is dt.UTC


def test_an_instant_without_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="time zone"):
        windows.is_open(DAY, dt.datetime(2026, 11, 23, 12))  # noqa: DTZ001


@pytest.mark.parametrize("window", [DailyWindow(dt.time(22), dt.time(7)), DailyWindow(dt.time(8), dt.time(8))])
def test_a_window_across_midnight_is_an_error(window: DailyWindow) -> None:
    with pytest.raises(ValueError, match="midnight"):
        windows.is_open(window, vietnam("2026-11-23T12:00"))


@pytest.mark.parametrize(
    ("now", "may", "void"),
    [
        ("2026-11-23T19:59:59", False, False),
        ("2026-11-23T20:00", True, False),
        ("2026-11-23T22:00", False, False),
        ("2026-11-24T07:00", True, False),
        ("2026-11-24T08:00", True, False),
        ("2026-11-24T08:00:01", False, True),
    ],
)
def test_a_campaign_starts_when_due_open_and_not_too_late(now: str, may: bool, void: bool) -> None:
    order = an_order(start_within_h=12)
    starts_at = vietnam("2026-11-23T20:00")
    assert windows.may_start(order, starts_at, vietnam(now)) is may
    assert windows.start_is_void(order, starts_at, vietnam(now)) is void


@pytest.mark.parametrize(
    ("now", "sending"),
    [
        ("2026-11-23T20:00", "open"),
        ("2026-11-23T22:00", "closed"),
        ("2026-11-24T19:59:59", "open"),
        ("2026-11-24T20:00", "over"),
        ("2026-11-24T23:00", "over"),
    ],
)
def test_sending_is_open_closed_or_over(now: str, sending: str) -> None:
    assert windows.sending_allowed(an_order(deadline_h=24), vietnam("2026-11-23T20:00"), vietnam(now)) == sending


@pytest.mark.parametrize(
    ("window", "hours", "inside"),
    [
        ("08:00-20:00", "07:00-22:00", True),
        ("07:00-22:00", "07:00-22:00", True),
        ("06:59-20:00", "07:00-22:00", False),
        ("08:00-22:01", "07:00-22:00", False),
        ("08:00-24:00", "07:00-22:00", False),
        ("all-day", "07:00-22:00", False),
    ],
)
def test_lies_within(window: str, hours: str, *, inside: bool) -> None:
    assert windows.lies_within(parse_window(window), parse_window(hours)) is inside
