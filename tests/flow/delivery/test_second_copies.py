"""Second copies of what is unknown: what their ends, late answers and receipts may say, and what they may not."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from broadcaster.files.prefixes import read_plan
from broadcaster.flow import admit, uncertain
from broadcaster.flow.evidence import EVIDENCE_AFTER_MS, weigh
from broadcaster.flow.report import review
from broadcaster.flow.trace import trace
from broadcaster.model import State, UnknownPolicy
from broadcaster.review import html
from broadcaster.service.app import Service
from broadcaster.store import messages, receipts, unknown
from broadcaster.store.campaigns import change_lane, insert_campaign, insert_lane, lanes
from broadcaster.store.duplicates import confirmed_duplicates
from broadcaster.store.engine import append
from broadcaster.store.messages import Outcome
from broadcaster.store.receipts import Received
from broadcaster.store.schema import message
from broadcaster.store.times import to_ms

TWO = "CANH BAO " * 20
"""A text of two parts."""


def rows(field):
    columns = "message_id & 65535, part, attempt, state, lease_id"
    return [tuple(row) for row in field.sql(f"SELECT {columns} FROM submission ORDER BY 1, 2, 3")]


def send_again(field):
    """Carry out at-least-once."""
    with field.store.write() as connection:
        messages.fold_all(connection)
        now_ms = to_ms(field.clock.now())
        return unknown.retry(connection, field.lane.id, now_ms + 10, now_ms, 100)


def receive(field, smsc_id):
    """Take a receipt for the first subscriber."""
    now_ms = to_ms(field.clock.now())
    with field.store.write() as connection:
        received = Received("viettel", smsc_id, field.token(1), "DELIVRD", int(State.DELIVERED), None, now_ms)
        receipts.record_receipts(connection, [received])
        messages.fold_all(connection)


def weigh_later(field):
    with field.store.write() as connection:
        receipts.match(connection)
        return weigh(connection, field.card, to_ms(field.clock.now()) + EVIDENCE_AFTER_MS)


def another_message(field, name):
    """Write another campaign's message to the first subscriber, and return its id."""
    with field.store.write() as connection:
        campaign_id = insert_campaign(
            connection,
            name=name,
            content_json=json.dumps({}),
            digest="",
            recipients=1,
            submitted_by="",
            submitted_ms=1,
            roster_ids=[],
        )
        lane_id = insert_lane(connection, campaign_id, field.card.code, "x", 1)
        change_lane(connection, lane_id, messages=1, next_position=2)
        written = (lane_id << 32) + 1
        append(connection, message, ("id", "token", "area_code", "state", "exclusion"), [(written, field.token(1), "21025", 0, 0)])
    return written


def duplicates(field):
    with field.store.read() as connection:
        return confirmed_duplicates(connection, field.lane.id)


async def lose(stage):
    """Let the oldest part on its way go unanswered for good, and return it."""
    flight = stage.link.flights.popleft()
    stage.sender.on_unanswered([flight], "silence")
    await stage.calm()
    return flight


async def lose_and_send_again(stage, field):
    flight = await lose(stage)
    assert send_again(field) == 1
    await stage.wait_s(2)
    return flight


def test_a_late_answer_is_read_by_the_card(field):
    field.warn(1, card={"status_verdicts": {0x400: "accepted"}})

    async def scene(stage):
        flight = await lose(stage)
        stage.sender.on_late([(flight, 0x400, None)])
        await stage.calm()

    field.play(scene)
    assert field.states()[1] is State.ACCEPTED


def test_a_duplicate_answer_to_the_second_copy_says_that_the_first_was_taken(field):
    field.warn(1, card={"status_verdicts": {0x402: "duplicate"}}, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        await lose_and_send_again(stage, field)
        stage.link.answer(0x402)
        await stage.calm()

    field.play(scene)
    assert field.states()[1] is State.ACCEPTED


def test_what_was_released_and_never_sent_again_stays_unknown(field):
    field.warn(1, unknown_policy=UnknownPolicy.OPERATOR)
    name = field.campaign().name

    async def scene(stage):
        flight = await lose(stage)
        stage.account.assign({})
        now = field.clock.now()
        done = uncertain.release(field.store, field.auditor, name, carrier=None, expect=1, reason="thử", now=now)
        assert done.messages == 1
        admit.cancel(field.store, field.auditor, name, reason="thử", now=now)
        with field.store.write() as connection:
            messages.close_rest(connection, lanes(connection, field.campaign().id)[0], State.CANCELLED, 100)
        assert field.states()[1] is State.UNCERTAIN
        stage.sender.on_late([(flight, 0, "abc")])
        await stage.calm()

    field.play(scene)
    assert field.states()[1] is State.ACCEPTED


def test_a_refusal_of_the_second_copy_proves_nothing_of_the_first(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        await lose_and_send_again(stage, field)
        stage.link.answer(0x0B)
        await stage.calm()

    field.play(scene)
    assert field.states()[1] is State.UNCERTAIN


def test_a_subscriber_who_refuses_before_the_second_copy_may_have_the_first(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        await lose(stage)
        send_again(field)
        field.refuse(1)
        await stage.wait_s(2)
        assert not stage.link.flights

    field.play(scene)
    assert field.states()[1] is State.UNCERTAIN


def test_a_late_refusal_of_the_first_copy_does_not_end_the_second(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        flight = await lose_and_send_again(stage, field)
        stage.sender.on_late([(flight, 0x0B, None)])
        await stage.calm()
        with field.store.read() as connection:
            assert messages.open_count(connection, field.lane.id) == 1
        await stage.answer(0)

    field.play(scene)
    assert field.states()[1] is State.ACCEPTED
    assert [row[2:4] for row in rows(field)] == [(1, State.RETRY), (2, State.ACCEPTED)]


@pytest.mark.parametrize("answered_first", [False, True])
def test_f39_an_answer_to_the_first_copy_after_the_second_went_is_a_confirmed_duplicate(field, answered_first):
    """Whether the second copy has had its own answer yet, or not."""
    field.warn(2, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        flight = await lose(stage)
        await stage.answer(0)
        assert send_again(field) == 1
        await stage.wait_s(2)
        if answered_first:
            await stage.answer(0)
        stage.sender.on_late([(flight, 0, "first")])
        await stage.calm()
        assert duplicates(field) == answered_first
        if not answered_first:
            await stage.answer(0)

    field.play(scene)
    assert duplicates(field) == 1
    (check,) = (check for check in field.verify() if check.id == "I3")
    assert check.ok
    assert "on record: 1; confirmed duplicates: 1" in check.said.en
    assert field.states() == {1: State.ACCEPTED, 2: State.ACCEPTED}
    now_ms = to_ms(field.clock.now())
    told = {}
    for position in (1, 2):
        (story,) = trace(
            field.store, field.vault, field.auditor, f"{field.lane.id}:{position}", campaign=None, plan=read_plan(), now_ms=now_ms
        )
        told[position] = [event.detail["confirmed_duplicate"] for event in story.events if event.kind == "answer"]
    assert told == {1: [True, True], 2: [False]}
    made = review(field.store, field.campaign().name, cards={field.card.code: field.card}, areas=[], now=field.clock.now())
    assert [carrier.confirmed_duplicates for carrier in made.carriers] == [1]
    assert ">Phần nhận hai bản</th>" in html.render(made)


def test_f39_a_second_copy_is_no_confirmed_duplicate_while_nobody_knows_of_the_first(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        await lose_and_send_again(stage, field)
        await stage.answer(0)

    field.play(scene)
    assert field.sql("SELECT count(*) FROM submission WHERE dup_risk")[0][0] == 1
    assert duplicates(field) == 0


def test_f39_a_first_copy_that_was_refused_is_no_duplicate(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        flight = await lose_and_send_again(stage, field)
        stage.sender.on_late([(flight, 0x0B, None)])
        await stage.answer(0)

    field.play(scene)
    assert duplicates(field) == 0


def test_f03_a_receipt_that_fits_two_messages_proves_nothing_of_a_third(field):
    field.warn(1)

    async def scene(stage):
        await lose(stage)

    field.play(scene)
    now_ms = to_ms(field.clock.now())
    for name in ("hai", "ba"):
        other = another_message(field, name)
        with field.store.write() as connection:
            taken = Outcome(other, 1, 1, 1, field.card.code, int(State.ACCEPTED), 0, "again", now_ms * 10**6, now_ms, None)
            messages.record_outcomes(connection, [taken])
    receive(field, "again")
    assert weigh_later(field) == 0
    assert [row[3] for row in rows(field)] == [State.UNCERTAIN, State.ACCEPTED, State.ACCEPTED]
    receive(field, "unknown")
    assert weigh_later(field) == 1


def test_a_receipt_repeated_long_after_says_nothing_of_another_part(field):
    field.warn(1, text_of_body=TWO)

    async def scene(stage):
        stage.link.answer(0)
        stage.link.lose()
        await stage.calm()

    field.play(scene)
    receive(field, "id1")
    others = (
        "INSERT INTO receipt (carrier, smsc_id, stat, received_ms) WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200001) SELECT 'viettel', 'other' || i, 'x', 1 FROM n"
    )
    with field.store.write() as connection:
        connection.execute(text(others))
        connection.execute(text("UPDATE installation SET receipts_folded = (SELECT max(id) FROM receipt)"))
    receive(field, "id1")
    assert weigh_later(field) == 0
    assert field.states()[1] is State.UNCERTAIN


def test_the_first_copy_s_receipt_says_nothing_of_another_part(field):
    field.warn(1, text_of_body=TWO, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(stage):
        await lose(stage)
        await lose(stage)
        assert send_again(field) == 1
        await stage.wait_s(2)
        stage.link.answer(0)
        await lose(stage)

    field.play(scene)
    receive(field, "id1")
    receive(field, "the-first-copy")
    assert weigh_later(field) == 0
    assert field.states()[1] is State.UNCERTAIN


def test_a_receipt_may_be_about_a_part_that_a_person_settled(field):
    field.warn(1)

    async def scene(stage):
        await lose(stage)

    field.play(scene)
    uncertain.settle(field.store, field.auditor, field.campaign().name, carrier=None, expect=1, reason="thử")
    now_ms = to_ms(field.clock.now())
    other = another_message(field, "hai")
    with field.store.write() as connection:
        lease_id, _ = messages.open_range(connection, other >> 32, 1, 1, 1, 1, now_ms)
        lost = Outcome(other, 1, 1, lease_id, field.card.code, int(State.UNCERTAIN), None, None, now_ms * 10**6, now_ms, "no answer")
        messages.record_outcomes(connection, [lost])
        messages.close_leases(connection, [lease_id], now_ms)
    receive(field, "of-the-first-campaign")
    assert weigh_later(field) == 0


def test_after_a_pause_nothing_that_was_throttled_is_written_again(field):
    field.warn(1, text_of_body=TWO)

    async def scene(stage):
        await stage.answer(0)
        assert len(stage.link.flights) == 1
        stage.account.assign({})
        field.clock.pass_s(0.5)
        stage.account.cut_short({field.lane.id})
        await stage.wait_s(2)
        written = len(stage.link.log)
        await stage.answer(0x58)
        await stage.wait_s(3)
        assert len(stage.link.log) == written

    field.play(scene)


def test_recovery_names_the_lease_under_which_a_part_was_open(field):
    field.warn(2)

    async def scene(stage):
        stage.link.answer(0x14)
        await stage.calm()
        await stage.wait_s(3)

    field.play(scene)
    with field.store.write() as connection:
        while messages.recover(connection, 2, to_ms(field.clock.now()), 100):
            pass
    assert [row for row in rows(field) if row[0] == 1][-1][2:] == (2, State.UNCERTAIN, 2)


def test_what_a_failed_look_did_not_read_is_read_at_the_next(monkeypatch):
    looks: list[str] = []

    class Watch:
        def look(self, _lines):
            looks.append("trusted")

    service = Service.__new__(Service)
    service._watch, service._lines, service._unread = Watch(), [], False
    failures = [RuntimeError("locked")]

    def look():
        if failures:
            raise failures.pop()
        looks.append("read")

    monkeypatch.setattr(service, "_look", look)
    changes = iter([True, False])
    service._see(lambda: next(changes))
    service._see(lambda: next(changes))
    assert looks == ["read", "trusted"]
