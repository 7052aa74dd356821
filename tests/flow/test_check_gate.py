"""What stands before a check: a valid signature over exactly these texts, the day's cap kept by the audit chain, the entry itself."""

import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy import update

from broadcaster.errors import RefusedError
from broadcaster.flow.check_gate import judge_standing, plan, require_room, reserve, sign_standing, texts_on
from broadcaster.model import DailyWindow, Environment, Msisdn
from broadcaster.store.audit import entries, first_break
from broadcaster.store.schema import audit

TEXTS = {"accented-1": "Tin thử", "unaccented-1": "Tin thu"}
NUMBERS = (Msisdn(84_961_000_001), Msisdn(84_961_000_002))


@pytest.fixture
def approval(keys, people, now):
    return sign_standing(TEXTS, **signing(keys, people, now))


def signing(keys, people, now, **changes):
    return {
        "person": people["truong-phong"],
        "key": keys["truong-phong"],
        "environment": Environment.REHEARSAL,
        "sender": "SKHCN-QNG",
        "until": now.date() + dt.timedelta(days=30),
        "daily": 10,
        "now": now,
    } | changes


@pytest.fixture
def errand(cards, now):
    return plan(replace(cards["viettel"], test_numbers=NUMBERS), "SKHCN-QNG", TEXTS, with_tps=False, now=now)


def test_a_signed_approval_holds(approval, people, now):
    assert judge_standing(approval, TEXTS, Environment.REHEARSAL, people.values(), now) is approval


def test_without_one_or_with_one_that_does_not_hold_nothing_goes_out(approval, people, now):
    with pytest.raises(RefusedError, match="chưa có"):
        judge_standing(None, TEXTS, Environment.REHEARSAL, people.values(), now)
    with pytest.raises(RefusedError) as caught:
        judge_standing(approval, TEXTS | {"accented-1": "x"}, Environment.LIVE, people.values(), now + dt.timedelta(days=31))
    assert all(part in caught.value.message.en for part in ("it ended on", "not for live", "no longer those"))


def test_the_last_day_is_local_and_whole(approval, people):
    last = dt.datetime.combine(approval.until, dt.time(16, 59), dt.UTC)
    judge_standing(approval, TEXTS, Environment.REHEARSAL, people.values(), last)
    with pytest.raises(RefusedError, match="hết hạn"):
        judge_standing(approval, TEXTS, Environment.REHEARSAL, people.values(), last + dt.timedelta(minutes=1))


@pytest.mark.parametrize(
    "changes",
    [
        {"until": dt.date(2026, 3, 11)},
        {"until": dt.date(2027, 3, 14)},
        {"sender": "tên quá dài, có dấu"},
    ],
)
def test_what_nobody_may_sign(keys, people, now, changes):
    with pytest.raises(RefusedError):
        sign_standing(TEXTS, **signing(keys, people, now, **changes))


def test_a_key_that_is_not_the_persons_is_no_signature(keys, people, now):
    made = sign_standing(TEXTS, **signing(keys, people, now, key=keys["van-thu"]))
    with pytest.raises(RefusedError, match="chữ ký không đúng"):
        judge_standing(made, TEXTS, Environment.REHEARSAL, people.values(), now)


def test_the_audit_chain_keeps_the_count_of_the_day(store, auditor, audit_key, approval, errand):
    today = dt.datetime.now(dt.UTC)
    assert errand.count == 4
    first = reserve(store, auditor, audit_key, approval, errand, today)
    second = reserve(store, auditor, audit_key, approval, errand, today)
    assert second > first
    with store.read() as connection:
        assert texts_on(connection, today) == 8
        assert texts_on(connection, today + dt.timedelta(days=1)) == 0
        found = list(entries(connection))
        assert first_break(connection, audit_key) is None
    with pytest.raises(RefusedError, match="hôm nay đã gửi 8"):
        reserve(store, auditor, audit_key, approval, errand, today)
    assert [(entry.action, entry.subject) for entry in found] == [("carrier-check", "viettel")] * 2
    assert found[0].detail["texts"] == 4
    assert "961000001" not in str(found)
    with store.read() as connection:
        assert len(list(entries(connection))) == 2


def test_nothing_is_tried_while_the_carrier_is_closed(errand, now):
    nightly = DailyWindow(dt.time(9), dt.time(11))
    with pytest.raises(RefusedError, match="không nhận tin đến 11:00 12-03-2026"):
        plan(replace(errand.card, closed=(nightly,)), "SKHCN-QNG", TEXTS, with_tps=False, now=now)
    mended = replace(errand.card, maintenance=((now, now + dt.timedelta(hours=1)),))
    with pytest.raises(RefusedError, match="đến 11:00"):
        plan(mended, "SKHCN-QNG", TEXTS, with_tps=False, now=now)
    assert plan(mended, "SKHCN-QNG", TEXTS, with_tps=False, now=now + dt.timedelta(hours=1)).count == errand.count


def test_the_contracts_rate_is_not_tried_at_an_hour_that_allows_less(errand, now):
    slow = replace(errand.card, tps=40, hourly_tps=((DailyWindow(dt.time(9), dt.time(11)), 3),))
    with pytest.raises(RefusedError, match="chỉ cho 3 phần/s"):
        plan(slow, "SKHCN-QNG", TEXTS, with_tps=True, now=now)
    assert plan(slow, "SKHCN-QNG", TEXTS, with_tps=False, now=now).tps == 3
    later = now + dt.timedelta(hours=1)
    assert plan(slow, "SKHCN-QNG", TEXTS, with_tps=True, now=later).steps_tps == (10, 20, 30, 40)


def test_the_climb_counts_against_the_cap_too(store, audit_key, approval, errand, now):
    fast = plan(replace(errand.card, tps=4), "SKHCN-QNG", TEXTS, with_tps=True, now=now)
    assert fast.count == 4 + 1 + 2 + 3 + 4
    with store.read() as connection, pytest.raises(RefusedError, match="cần gửi 14"):
        require_room(connection, audit_key, approval, fast, now)


def test_a_chain_that_was_tampered_with_lets_nothing_out(store, auditor, audit_key, approval, errand, now):
    reserve(store, auditor, audit_key, approval, errand, now)
    with store.write() as connection:
        connection.execute(update(audit).values(detail_json='{"texts":0}'))
    with store.read() as connection, pytest.raises(RefusedError, match="nhật ký bị sửa"):
        require_room(connection, audit_key, approval, errand, now)
