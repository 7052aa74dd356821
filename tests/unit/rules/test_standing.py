"""A standing approval lets exactly the signed texts out, where and until when it says, and counts only from an approver."""

import datetime as dt
from dataclasses import replace

import pytest

from broadcaster.model import Environment
from broadcaster.rules import approval as orders
from broadcaster.rules.standing import StandingApproval, digest, digests, objections

TEXTS = {"accented-1": "Tin thử", "unaccented-1": "Tin thu"}
TODAY = dt.date(2026, 3, 12)


@pytest.fixture
def signed(keys, now):
    approval = StandingApproval(Environment.REHEARSAL, "SKHCN-QNG", digests(TEXTS), TODAY, 40, "truong-phong", now)
    return replace(approval, signature=orders.sign(keys["truong-phong"], digest(approval)))


def judged(approval, people, *, texts=TEXTS, environment=Environment.REHEARSAL, today=TODAY):
    return [said.en for said in objections(approval, texts, environment, people.values(), today)]


def test_an_approvers_signature_holds_on_its_last_day(signed, people):
    assert judged(signed, people) == []


@pytest.mark.parametrize(
    "change",
    [
        {"sender": "KHAC"},
        {"daily": 41},
        {"until": TODAY + dt.timedelta(days=1)},
        {"texts": digests(TEXTS | {"unaccented-1": "Tin khac"})},
        {"person": "pho-giam-doc"},
        {"environment": Environment.LIVE},
        {"signature": bytes(64)},
    ],
)
def test_every_field_is_signed(signed, people, change):
    assert any("signature does not verify" in reason for reason in judged(replace(signed, **change), people))


def test_it_ends_and_stays_in_its_environment(signed, people):
    assert judged(signed, people, today=TODAY + dt.timedelta(days=1)) == ["it ended on 2026-03-12"]
    assert judged(signed, people, environment=Environment.LIVE) == ["it is for rehearsal, not for live"]


@pytest.mark.parametrize("texts", [{}, {"accented-1": "Tin thử"}, TEXTS | {"more": "x"}, TEXTS | {"accented-1": "Tin thử."}])
def test_it_covers_exactly_what_was_rendered(signed, people, texts):
    assert judged(signed, people, texts=texts) == ["the test texts are no longer those that were signed"]


@pytest.mark.parametrize("person", ["van-thu", "chuyen-vien", "truc-ban", "thanh-tra"])
def test_only_an_approver_counts(signed, people, keys, person):
    approval = replace(signed, person=person)
    assert judged(replace(approval, signature=orders.sign(keys[person], digest(approval))), people)


def test_a_stranger_or_the_signature_of_an_order_counts_for_nothing(signed, people, keys):
    assert judged(signed, {name: person for name, person in people.items() if name != "truong-phong"})
    as_order = orders.digest({"kind": "carrier-check"})
    assert judged(replace(signed, signature=orders.sign(keys["truong-phong"], as_order)), people)
