"""What is held about one number, told to the person it belongs to."""

from __future__ import annotations

import json

import pytest

from broadcaster.errors import ConfigurationError, NotFoundError
from broadcaster.files.prefixes import read_plan
from broadcaster.flow import hold, subject
from broadcaster.model import Msisdn, State
from broadcaster.rules.basis import Basis
from broadcaster.store import audit
from broadcaster.store.holds import HoldScope, holds, holds_on
from broadcaster.store.refusals import Refusal, Reply, record_refusals, record_replies
from broadcaster.store.times import to_ms

NAME, CARRIER, AREA, FIRST_NUMBER = "dien-tap", "viettel", "21025", 84_961_000_000
FIRST = Msisdn(FIRST_NUMBER)
STRANGER = Msisdn(FIRST_NUMBER + 999)


def show(field, number=FIRST):
    return subject.show(field.store, field.vault, field.auditor, number)


def entries(field):
    with field.store.read() as connection:
        return list(audit.entries(connection))


def put(field, scope, what, **more):
    document = more.pop("document", Basis("15/QĐ-CSĐT", field.clock.now().date()))
    plan = read_plan()
    now = field.clock.now()
    return hold.place_hold(
        field.store, field.auditor, field.vault, plan, scope, what, document=document, reason="điều tra", now=now, **more
    )


def test_who_was_sent_a_text_learns_which_when_and_what_became_of_it(field) -> None:
    field.warn(3)

    async def scene(stage) -> None:
        await stage.answer_everything()

    field.play(scene)
    held = show(field)
    (found,) = held.targetings
    assert (found.campaign, found.carrier, found.area_code, found.state) == (NAME, CARRIER, AREA, State.ACCEPTED)
    assert found.exclusion is None
    assert found.sent_ms is not None
    assert found.planned_ms is not None
    assert found.planned_ms <= found.sent_ms <= to_ms(field.clock.now())
    assert (held.listings, held.refusals, held.texts, held.refuses_now) == ([], [], [], False)


def test_refusals_and_texts_are_all_told(field) -> None:
    field.warn(2)
    token = field.token(2)
    with field.store.write() as connection:
        record_refusals(connection, [Refusal(token, True, "reply", "TC", 5), Refusal(token, False, "cli", "đơn 7", 9)])
        record_replies(connection, [Reply(CARRIER, token, "refuse", "TC", 5), Reply(CARRIER, None, "other", "x", 6)])
    held = show(field, Msisdn(FIRST_NUMBER + 1))
    assert [(item.at_ms, item.refuses, item.evidence) for item in held.refusals] == [(5, True, "TC"), (9, False, "đơn 7")]
    assert [(item.at_ms, item.kind) for item in held.texts] == [(5, "refuse")]
    assert held.refuses_now is False
    field.refuse(2)
    assert show(field, Msisdn(FIRST_NUMBER + 1)).refuses_now is True


def test_a_stranger_is_told_that_nothing_is_held_and_the_look_is_on_record(field) -> None:
    field.warn(1)
    before = len(entries(field))
    assert show(field, STRANGER) == ([], [], [], False, [], None, 0)
    entry = entries(field)[-1]
    assert len(entries(field)) == before + 1
    assert (entry.action, entry.subject) == ("subscriber-show", "subscriber")
    assert dict(entry.detail) == {"rosters": 0, "messages": 0, "refusals": 0}


def test_what_is_no_number_is_not_repeated(field) -> None:
    with pytest.raises(NotFoundError) as caught:
        subject.number_of("0961000000999999", read_plan())
    assert "0961" not in str(caught.value) + str(caught.value.hint)


def test_a_hold_covers_its_number_and_those_of_its_campaign(field) -> None:
    field.warn(2)
    own = put(field, HoldScope.NUMBER, f"0{FIRST_NUMBER % 10**9}")
    of_campaign = put(field, HoldScope.CAMPAIGN, NAME)
    with field.store.read() as connection:
        assert holds_on(connection, field.token(1)) == [own, of_campaign]
        assert holds_on(connection, field.token(2)) == [of_campaign]
        assert holds_on(connection, field.vault.token(STRANGER)) == []
    hold.lift_hold(field.store, field.auditor, of_campaign, reason="xong", now=field.clock.now())
    with field.store.read() as connection:
        assert holds_on(connection, field.token(1)) == [own]
        assert holds_on(connection, field.token(2)) == []
        kept = holds(connection)
    assert [(item.id, item.release_reason) for item in kept] == [(own, None), (of_campaign, "xong")]
    said = [(entry.action, entry.subject, dict(entry.detail)) for entry in entries(field)][-3:]
    day = field.clock.now().date().isoformat()
    about = {"document": "15/QĐ-CSĐT", "date": day, "reason": "điều tra"}
    assert said == [
        ("hold-add", f"hold {own}", {"scope": "number", **about}),
        ("hold-add", f"hold {of_campaign}", {"scope": "campaign", "of": "1", **about}),
        ("hold-release", f"hold {of_campaign}", {"reason": "xong"}),
    ]
    assert str(FIRST_NUMBER)[2:] not in json.dumps(said)


def test_a_hold_needs_something_to_hold_and_a_document(field) -> None:
    field.warn(1)
    for scope, what in (
        (HoldScope.CAMPAIGN, "khong-co"),
        (HoldScope.ROSTER, "1"),
        (HoldScope.ROSTER, "x"),
        (HoldScope.NUMBER, "113"),
    ):
        with pytest.raises(NotFoundError):
            put(field, scope, what)
    with pytest.raises(ConfigurationError):
        put(field, HoldScope.CAMPAIGN, NAME, document=Basis("công văn", field.clock.now().date()))
    with field.store.read() as connection:
        assert holds(connection) == []


def test_a_hold_is_released_once(field) -> None:
    field.warn(1)
    made = put(field, HoldScope.CAMPAIGN, NAME)
    hold.lift_hold(field.store, field.auditor, made, reason="xong", now=field.clock.now())
    for one in (made, made + 1):
        with pytest.raises(NotFoundError):
            hold.lift_hold(field.store, field.auditor, one, reason="xong", now=field.clock.now())
