"""What a carrier refused for good is sent again on a person's word: only that, only inside what was signed."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from sqlalchemy import text

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.flow import admit, requeue, slices
from broadcaster.model import CampaignState, State
from broadcaster.store.campaigns import change_campaign, insert_campaign
from broadcaster.store.refusals import Refusal, record_refusals

NO_ROUTE = 0x0B
TOO_LONG = 0x01
LONG = "CANH BAO LUA DAO " * 26
"""Three parts."""


def order(field, code=NO_ROUTE, carrier="viettel"):
    return requeue.requeue(field.store, field.auditor, "dien-tap", carrier, code, reason="đã sửa định tuyến", now=field.clock.now())


def stand(field, state, **values):
    """Let the campaign stand so, by the audit chain as well."""
    with field.store.write() as connection:
        change_campaign(connection, field.campaign().id, state, **values)
        field.auditor.record(connection, {"finished": "finish", "paused": "pause"}[state], "dien-tap")


def send_again(field, stage):
    async def play():
        for _ in range(6):
            await stage.wait_s(2)
            await stage.answer_everything()

    return play()


def test_the_refused_are_sent_again_and_nobody_else(field):
    field.warn(4)

    async def scene(stage):
        await stage.answer(0, NO_ROUTE, TOO_LONG, NO_ROUTE)
        assert order(field).messages == 2
        assert Counter(field.states().values()) == {State.ACCEPTED: 1, State.RETRY: 2, State.REFUSED: 1}
        assert field.tallied() == 4
        await send_again(field, stage)

    field.play(scene)
    assert field.link.written() == [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (2, 1, 2), (4, 1, 2)]
    assert field.states() == {1: State.ACCEPTED, 2: State.ACCEPTED, 3: State.REFUSED, 4: State.ACCEPTED}
    assert field.sql("SELECT status, reason FROM submission WHERE state = 1") == [(NO_ROUTE, "requeued")] * 2
    assert field.audited("requeue") == 1
    assert field.failing() == set()


def test_what_is_refused_again_is_refused(field):
    field.warn(1)

    async def scene(stage):
        await stage.answer(NO_ROUTE)
        order(field)
        await stage.wait_s(2)
        await stage.answer(NO_ROUTE)

    field.play(scene)
    assert field.states() == {1: State.REFUSED}
    assert field.failing() == set()


def test_parts_accepted_or_unknown_are_not_sent_again(field):
    field.warn(2, text_of_body=LONG, card={"window": 6})

    async def scene(stage):
        await stage.answer(0, NO_ROUTE, 0)
        stage.link.lose()  # the second message is unknown in all its parts
        await stage.calm()
        stage.link.bound = True
        assert order(field).messages == 1
        await send_again(field, stage)

    field.play(scene)
    assert field.link.written()[6:] == [(1, 2, 2)]
    assert field.states() == {1: State.ACCEPTED, 2: State.UNCERTAIN}


def test_the_parts_given_up_because_another_was_refused_are_sent_with_it(field):
    field.warn(1, text_of_body=LONG, card={"window": 3, "tps": 1})

    async def scene(stage):
        await stage.answer(NO_ROUTE)
        assert order(field).messages == 1
        await send_again(field, stage)

    field.play(scene)
    assert field.link.written() == [(1, 1, 1), (1, 1, 2), (1, 2, 2), (1, 3, 2)]
    assert field.states() == {1: State.ACCEPTED}


def test_a_message_refused_for_another_cause_as_well_stays_refused(field):
    field.warn(1, text_of_body=LONG, card={"window": 3})

    async def scene(stage):
        await stage.answer(NO_ROUTE, TOO_LONG, NO_ROUTE)
        with pytest.raises(RefusedError) as caught:
            order(field)
        assert "0x0B: 2, 0x01: 1" in caught.value.hint.en

    field.play(scene)


def test_who_has_refused_warnings_since_gets_none(field):
    field.warn(1)

    async def scene(stage):
        await stage.answer(NO_ROUTE)
        with field.store.write() as connection:
            record_refusals(connection, [Refusal(field.token(1), True, "file", "", 0)])
        order(field)
        await send_again(field, stage)

    field.play(scene)
    assert field.states() == {1: State.SUPPRESSED}
    assert len(field.link.log) == 1


def test_a_finished_campaign_waits_for_a_person_to_resume_it(field):
    field.warn(2)

    async def scene(stage):
        await stage.answer(0, NO_ROUTE)
        stand(field, CampaignState.FINISHED, finished_ms=1)
        found = order(field)
        assert (found.messages, found.campaign.state, found.campaign.finished_ms) == (1, CampaignState.PAUSED, None)
        await stage.wait_s(2)
        assert len(stage.link.log) == 2
        admit.resume(field.store, field.auditor, "dien-tap", reason="tiếp", now=field.clock.now())
        await send_again(field, stage)

    field.play(scene)
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.failing() == set()


def test_a_paused_campaign_stays_paused(field):
    field.warn(2)

    async def scene(stage):
        await stage.answer(0, NO_ROUTE)
        stand(field, CampaignState.PAUSED)
        assert order(field).campaign.state is CampaignState.PAUSED

    field.play(scene)


@pytest.mark.parametrize("state", [CampaignState.CANCELLED, CampaignState.HALTED, CampaignState.SCHEDULED])
def test_other_campaigns_refuse(field, state):
    field.warn(1)

    async def scene(stage):
        await stage.answer(NO_ROUTE)
        with field.store.write() as connection:
            change_campaign(connection, field.campaign().id, state)
        with pytest.raises(RefusedError):
            order(field)

    field.play(scene)
    assert field.states() == {1: State.REFUSED}


def test_past_the_deadline_nothing_is_requeued(field):
    field.warn(1, deadline_h=1)

    async def scene(stage):
        await stage.answer(NO_ROUTE)
        field.clock.pass_s(3600)
        with pytest.raises(RefusedError) as caught:
            order(field)
        assert "remainder" in caught.value.hint.en

    field.play(scene)
    assert field.audited("requeue") == 0


@pytest.mark.parametrize(("state", "stands"), [("submitted", True), ("finished", True), ("cancelled", False)])
def test_while_another_campaign_sees_to_the_remainder_nothing_is_requeued(field, state, stands):
    """Its people would get the warning twice."""
    field.warn(1)

    async def scene(stage):
        await stage.answer(NO_ROUTE)
        content = json.dumps({"order": {"audience": {"remainder_of": "dien-tap"}}})
        with field.store.write() as connection:
            values = {"content_json": content, "digest": "-", "recipients": 1, "submitted_by": "x", "submitted_ms": 1}
            insert_campaign(connection, name="con-lai", roster_ids=[], **values)
            connection.execute(text("UPDATE campaign SET state = :state WHERE name = 'con-lai'"), {"state": state})
        if stands:
            with pytest.raises(RefusedError) as caught:
                order(field)
            assert "con-lai" in caught.value.message.vi
        else:
            assert order(field).messages == 1

    field.play(scene)


def test_a_carrier_that_is_not_in_it_is_not_found(field):
    field.warn(1)
    with pytest.raises(NotFoundError):
        order(field, carrier="gmobile")


def test_when_nobody_was_refused_so_the_codes_that_were_are_named(field):
    field.warn(2)

    async def scene(stage):
        await stage.answer(0, NO_ROUTE)
        with pytest.raises(RefusedError) as caught:
            order(field, code=0x400)
        assert "0x0B: 1" in caught.value.hint.vi

    field.play(scene)
    assert field.states()[2] is State.REFUSED


def test_a_preview_counts_and_changes_nothing(field):
    field.warn(2)

    async def scene(stage):
        await stage.answer(0, NO_ROUTE)
        await stage.calm()
        found = requeue.preview(field.store, "dien-tap", "viettel", NO_ROUTE, now=field.clock.now())
        assert found.messages == 1

    field.play(scene)
    assert field.states()[2] is State.REFUSED
    assert field.audited("requeue") == 0


@pytest.mark.parametrize(("expect", "agrees"), [(0, False), (1, False), (2, True), (3, False)])
def test_another_number_than_was_typed_is_refused(field, expect, agrees):
    field.warn(5, card={"window": 5})

    async def scene(stage):
        await stage.answer(NO_ROUTE, 0, 0, NO_ROUTE, 0)

    field.play(scene)

    def order_of():
        return requeue.requeue(
            field.store, field.auditor, "dien-tap", "viettel", NO_ROUTE, reason="x", now=field.clock.now(), expect=expect
        )

    if agrees:
        assert order_of().messages == 2
    else:
        with pytest.raises(RefusedError, match="2"):
            order_of()
    assert Counter(field.states().values())[State.RETRY if agrees else State.REFUSED] == 2
    assert field.audited("requeue") == agrees
    # What a note beside the database tells of an older copy (I18).
    assert field.campaign().requeues == agrees


def test_many_are_requeued_slice_by_slice(field, monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 3)
    field.warn(10, card={"window": 10})

    async def scene(stage):
        await stage.answer(*[NO_ROUTE] * 4, 0, *[NO_ROUTE] * 5)
        assert order(field).messages == 9

    field.play(scene)
    assert Counter(field.states().values()) == {State.RETRY: 9, State.ACCEPTED: 1}
    assert field.tallied() == 10
    assert field.audited("requeue") == 1
