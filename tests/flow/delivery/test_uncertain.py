"""What nobody can know, in the operator's hands; one message's story; and orders to stop, held against the times of writing."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.files.prefixes import read_plan
from broadcaster.flow import admit, control, slices, uncertain
from broadcaster.flow.trace import trace
from broadcaster.model import CampaignState, State, UnknownPolicy
from broadcaster.rules.lifecycle import Action, move
from broadcaster.store import messages
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import change_campaign, find_campaign, insert_campaign, lanes
from broadcaster.store.times import to_ms

TWO_PARTS = "CANH BAO LUA DAO " * 12


@pytest.fixture
def doubtful(field):
    """Four messages of two parts; of the second and third, one part each was never answered."""

    def make(policy=UnknownPolicy.OPERATOR):
        field.warn(4, text_of_body=TWO_PARTS, unknown_policy=policy)

        async def scene(stage):
            while stage.link.flights:
                flight = stage.link.flights[0]
                if (flight.message.id & 0xFFFF, flight.part) in {(2, 2), (3, 1)} and flight.attempt == 1:
                    stage.link.flights.popleft()
                    stage.sender.on_unanswered([flight], "no answer")
                else:
                    stage.link.answer(0)
                await stage.calm()

        field.play(scene)
        return field

    return make


def release(field, expect, **more):
    values = {"carrier": None, "reason": "kiểm tra", "now": field.clock.now()} | more
    return uncertain.release(field.store, field.auditor, "dien-tap", expect=expect, **values)


def test_each_uncertain_part_is_listed_without_its_number(doubtful):
    field = doubtful()
    found, doubts = uncertain.listed(field.store, field.vault, "dien-tap")
    assert found.name == "dien-tap"
    assert [(item.message, item.part, item.attempt) for item in doubts] == [("1:2", 2, 1), ("1:3", 1, 1)]
    first = doubts[0]
    assert (first.number, first.carrier, first.epoch, first.reason, first.settled) == (
        "8496****001",
        "viettel",
        1,
        "no answer",
        False,
    )
    assert first.sent_ms is not None
    assert first.sent_ms <= first.since_ms
    assert uncertain.listed(field.store, field.vault, "dien-tap", "viettel")[1] == doubts
    with pytest.raises(NotFoundError, match="gmobile"):
        uncertain.listed(field.store, field.vault, "dien-tap", "gmobile")


def test_a_release_sends_only_the_unknown_parts_again_and_says_so(doubtful):
    field = doubtful()
    assert uncertain.waiting(field.store, "dien-tap").messages == 2
    done = release(field, 2)
    assert (done.messages, done.campaign.state) == (2, CampaignState.RUNNING)
    before = len(field.link.log)

    async def again(stage):
        await stage.answer_everything()
        await stage.calm()

    field.play(again)
    assert sorted(field.link.written()[before:]) == [(2, 2, 2), (3, 1, 2)]
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.sql("SELECT count(*) FROM submission WHERE dup_risk")[0][0] == 2
    assert field.audited("uncertain-release") == 1
    (check,) = (check for check in field.verify() if check.id == "I3")
    assert check.ok
    assert "on record: 2" in check.said.en
    field.sql("UPDATE submission SET dup_risk = false WHERE attempt = 2 AND part = 1")
    assert "I3" in field.failing()


def test_the_wrong_number_changes_nothing(doubtful):
    field = doubtful()
    for expect in (0, 1, 3):
        with pytest.raises(RefusedError, match="2 tin"):
            release(field, expect)
    assert field.audited("uncertain-release") == 0
    assert uncertain.waiting(field.store, "dien-tap").messages == 2


@pytest.mark.parametrize("policy", [UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.AT_LEAST_ONCE])
def test_only_an_order_that_leaves_it_to_the_operator_is_released(doubtful, policy):
    field = doubtful(policy)
    with pytest.raises(RefusedError, match=policy.value):
        release(field, 2)
    assert field.states()[2] is State.UNCERTAIN


def test_nothing_is_released_past_the_deadline_or_after_a_cancellation(doubtful):
    field = doubtful()
    now = field.clock.now()
    field.clock.pass_s(field.order.deadline_h * 3600)
    with pytest.raises(RefusedError, match="hạn chót"):
        release(field, 2)
    admit.cancel(field.store, field.auditor, "dien-tap", reason="x", now=now)
    with pytest.raises(RefusedError, match="đã hủy"):
        release(field, 2, now=now)
    assert field.states()[2] is State.UNCERTAIN


def test_a_finished_campaign_is_paused_by_a_release(doubtful):
    field = doubtful()
    field.sql("UPDATE campaign SET state = 'finished', finished_ms = 5")
    with field.store.write() as connection:
        field.auditor.record(connection, "finish", "dien-tap")
    done = release(field, 2)
    assert (done.campaign.state, done.campaign.finished_ms) == (CampaignState.PAUSED, None)
    assert "I15" not in field.failing()


def between(field, monkeypatch, act):
    """Have `act` done with a transaction of its own before each of the flow's, but for the first two: the fold and the decision."""
    real, begun = field.store.write, []

    @contextmanager
    def write():
        if len(begun) > 1:
            with real() as connection:
                act(connection)
        begun.append(True)
        with real() as connection:
            yield connection

    monkeypatch.setattr(field.store, "write", write)


def finish_what_has_nothing_left(connection):
    found = find_campaign(connection, "dien-tap")
    if not any(messages.open_count(connection, lane.id) for lane in lanes(connection, found.id)):
        change_campaign(connection, found.id, move(found.state, Action.FINISH), finished_ms=6)


def test_a_release_leaves_the_service_no_moment_to_finish_the_campaign(doubtful, monkeypatch):
    field = doubtful()
    field.sql("UPDATE campaign SET state = 'finished', finished_ms = 5")
    monkeypatch.setattr(slices, "SLICE", 1)
    between(field, monkeypatch, finish_what_has_nothing_left)
    done = release(field, 2)
    assert (done.messages, done.campaign.state) == (2, CampaignState.PAUSED)
    assert uncertain.waiting(field.store, "dien-tap").messages == 0


def test_a_campaign_that_ends_between_two_slices_is_released_no_further(doubtful, monkeypatch):
    field = doubtful()
    monkeypatch.setattr(slices, "SLICE", 1)
    between(field, monkeypatch, lambda connection: change_campaign(connection, 1, CampaignState.HALTED))
    assert release(field, 2).messages == 1
    assert field.states()[3] is State.UNCERTAIN


def test_nothing_is_released_while_a_remainder_stands(doubtful):
    field = doubtful()
    content = json.dumps({"order": {"audience": {"remainder_of": "dien-tap"}}})
    with field.store.write() as connection:
        insert_campaign(
            connection,
            name="con-lai",
            content_json=content,
            digest="-",
            recipients=1,
            submitted_by="x",
            submitted_ms=1,
            roster_ids=[],
        )
    with pytest.raises(RefusedError, match="con-lai"):
        release(field, 2)
    assert field.audited("uncertain-release") == 0
    assert field.states()[2] is State.UNCERTAIN


def test_what_is_settled_stays_uncertain_and_is_never_released(doubtful):
    field = doubtful(UnknownPolicy.AT_MOST_ONCE)
    done = uncertain.settle(field.store, field.auditor, "dien-tap", carrier="viettel", expect=2, reason="đã xem")
    assert done.messages == 2
    assert [item.settled for item in uncertain.listed(field.store, field.vault, "dien-tap")[1]] == [True, True]
    assert field.states()[2] is State.UNCERTAIN
    assert uncertain.waiting(field.store, "dien-tap").messages == 0
    with pytest.raises(RefusedError):
        uncertain.settle(field.store, field.auditor, "dien-tap", carrier=None, expect=0, reason="x")
    assert field.audited("uncertain-settle") == 1


def tell(field, asked, campaign=None):
    now_ms = to_ms(field.clock.now())
    return trace(field.store, field.vault, field.auditor, asked, campaign=campaign, plan=read_plan(), now_ms=now_ms)


def test_a_message_s_story_is_told_in_order(doubtful):
    field = doubtful()
    (story,) = tell(field, "1:2")
    assert (story.message, story.campaign, story.number, story.carrier) == ("1:2", "dien-tap", "8496****001", "viettel")
    assert story.state is State.UNCERTAIN
    told = [event for event in story.events if event.kind not in {"order", "lease-end"}]
    assert [(event.kind, event.detail.get("part")) for event in told if event.detail.get("part") != 1] == [
        ("lease", None),
        ("written", 2),
        ("answer", 2),
    ]
    assert told[-1].detail["reason"] == "no answer"
    assert {event.detail["action"] for event in story.events if event.kind == "order"} >= {"submit", "approve", "start"}
    assert [event.at_ms for event in story.events] == sorted(event.at_ms for event in story.events)


def test_a_number_finds_its_messages_and_leaves_a_record_without_it(doubtful):
    field = doubtful()
    field.refuse(3)
    (story,) = tell(field, "+84 961 000 002", "dien-tap")
    assert story.message == "1:3"
    assert [event.detail["refuses"] for event in story.events if event.kind == "refusal"] == [True]
    assert field.audited("message-trace") == 1
    ((detail, subject),) = field.sql("SELECT detail_json, subject FROM audit WHERE action = 'message-trace'")
    assert detail == '{"by_number":true,"messages":["1:3"]}'
    assert "0002" not in subject
    assert "I15" not in field.failing()


@pytest.mark.parametrize("asked", ["1:9", "2:1", "0961999999", "abc", "1:", "12"])
def test_there_is_no_such_message(doubtful, asked):
    field = doubtful()
    with pytest.raises(NotFoundError):
        tell(field, asked)
    assert field.audited("message-trace") == 0


def test_receipts_and_second_attempts_are_part_of_the_story(doubtful):
    field = doubtful()
    release(field, 2)
    field.sql(
        "INSERT INTO receipt (carrier, smsc_id, token, stat, received_ms, matched) "
        "SELECT 'viettel', 'stray', token, 'DELIVRD', :at, false FROM message WHERE id & 65535 = 2",
        at=to_ms(field.clock.now()),
    )
    (story,) = tell(field, "1:2")
    (stray,) = (event for event in story.events if event.kind == "receipt")
    assert (stray.detail["smsc_id"], stray.detail["matched"]) == ("stray", False)
    resolved = [event.detail["resolved"] for event in story.events if event.kind == "answer"]
    assert "released" in resolved
    assert "uncertain-release" in {event.detail.get("action") for event in story.events}


ORDERS = {
    "pause": lambda field, auditor, now: admit.pause(field.store, auditor, "dien-tap", reason="x", now=now),
    "cancel": lambda field, auditor, now: admit.cancel(field.store, auditor, "dien-tap", reason="x", now=now),
    "stop-all": lambda field, auditor, now: control.stop_all(field.store, auditor, reason="x", now=now),
    "carrier-pause": lambda field, auditor, now: control.pause_carrier(field.store, auditor, field.card, reason="x", now=now),
}


@pytest.mark.parametrize("stop", ORDERS)
def test_a_message_begun_long_after_an_order_to_stop_is_found(doubtful, audit_key, stop):
    field = doubtful()
    ((written_ns,),) = field.sql("SELECT max(sent_ns) FROM submission WHERE message_id & 65535 = 4 AND part = 1")
    written_ms = written_ns // 1_000_000
    early = Auditor(audit_key, "test", lambda: written_ms - 1_001)
    ORDERS[stop](field, early, field.clock.now())
    assert "I12" in field.failing()


@pytest.mark.parametrize("stop", ORDERS)
def test_one_begun_within_the_second_is_none(doubtful, audit_key, stop):
    field = doubtful()
    ((written_ns,),) = field.sql("SELECT max(sent_ns) FROM submission")
    ORDERS[stop](field, Auditor(audit_key, "test", lambda: written_ns // 1_000_000 - 1_000), field.clock.now())
    assert "I12" not in field.failing()


def test_what_is_sent_after_the_order_to_go_on_is_no_fault(doubtful, audit_key):
    field = doubtful()
    ((first_ns,),) = field.sql("SELECT min(sent_ns) FROM submission")
    start_ms = first_ns // 1_000_000
    now = field.clock.now()
    early = Auditor(audit_key, "test", lambda: start_ms - 9_000)
    control.pause_carrier(field.store, early, field.card, reason="x", now=now)
    assert "I12" in field.failing()
    control.resume_carrier(field.store, Auditor(audit_key, "test", lambda: start_ms - 1), field.card, reason="x", now=now)
    assert "I12" not in field.failing()
