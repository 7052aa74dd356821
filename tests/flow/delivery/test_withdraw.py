"""What a carrier still holds of a campaign that was ended is asked back, once, and the audit chain says what came of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from broadcaster.flow import admit, control
from broadcaster.model import IdRule, State
from broadcaster.service.local import Campaigns
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.store.times import to_ms

GONE = 0x11
"""ESME_RCANCELFAIL."""


class Board:
    """The campaigns of one process, with a link that answers cancel_sm as told."""

    def __init__(self, field, stage, answers=lambda _smsc_id: 0):
        self.field, self.stage = field, stage
        self.asked = []
        self.answers = answers
        stage.link.request_cancel = self.request_cancel
        here = SimpleNamespace(store=field.store, auditor=field.auditor, vault=field.vault)
        self.campaigns = Campaigns(here, stage.writer, {"viettel": stage.account}, now=field.clock.now, planned=lambda _times: None)

    async def request_cancel(self, smsc_id, source, destination):
        self.asked.append((smsc_id, source, destination))
        status = self.answers(smsc_id)
        if isinstance(status, Exception):
            raise status
        return status

    async def beat(self, times=2):
        for _ in range(times):
            self.campaigns.look()
            self.campaigns.close_what_is_over()
            await self.campaigns._closing
            for task in self.campaigns._withdrawals.tasks:
                self.field.clock.pass_s(1)
                await asyncio.wait_for(task, 20)
            await self.stage.calm()

    def ids(self):
        return [smsc_id for smsc_id, _, _ in self.asked]


def cancel(field):
    admit.cancel(field.store, field.auditor, "dien-tap", reason="sai", now=field.clock.now())


def stop(field):
    control.stop_all(field.store, field.auditor, reason="sai", now=field.clock.now())


def halt(field):
    field.sql("UPDATE campaign SET state = 'halted', finished_ms = :now", now=to_ms(field.clock.now()))


def recorded(field):
    return [json.loads(row[0]) for row in field.sql("SELECT detail_json FROM audit WHERE action = 'withdraw'")]


@pytest.mark.parametrize("end", [cancel, stop, halt])
def test_what_the_carrier_accepted_is_asked_back_with_its_number_and_sender(field, end):
    field.warn(3, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0, 0x0B, 0)
        end(field)
        await board.beat(3)
        assert board.asked == [("id1", "SKHCN-QNG", "84961000000"), ("id3", "SKHCN-QNG", "84961000002")]

    field.play(scene)
    assert recorded(field) == [{"carrier": "viettel", "dropped": 2, "refused": 0, "unanswered": 0}]
    assert field.states()[1] is State.ACCEPTED  # only a receipt says otherwise


@pytest.mark.parametrize("ending", [None, lambda field: field.sql("UPDATE campaign SET state = 'paused'")])
def test_nothing_is_asked_back_of_what_nobody_ended(field, ending):
    field.warn(3, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0, 0, 0)
        if ending:
            ending(field)
        await board.beat(3)
        assert board.asked == []

    field.play(scene)


def test_a_carrier_that_cannot_is_not_asked(field):
    field.warn(3)

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0, 0, 0)
        cancel(field)
        await board.beat(3)
        assert board.asked == []

    field.play(scene)
    assert recorded(field) == []


def test_what_has_its_receipt_is_not_asked_back(field):
    field.warn(2, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0, 0)
        field.sql("UPDATE submission SET state = 50 WHERE smsc_id = 'id1'")
        cancel(field)
        await board.beat(3)
        assert board.ids() == ["id2"]

    field.play(scene)


def test_answers_that_come_after_the_order_are_asked_back_too_and_nothing_twice(field):
    field.warn(4, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0, 0)
        field.clock.pass_s(1)
        cancel(field)
        await board.beat(2)
        assert board.ids() == ["id1", "id2"]
        field.clock.pass_s(1)
        await stage.answer(0, 0)
        await board.beat(3)
        assert board.ids() == ["id1", "id2", "id3", "id4"]

    field.play(scene)
    assert [entry["dropped"] for entry in recorded(field)] == [4]


def test_refusals_and_silence_are_counted(field):
    field.warn(3, card={"cancels": True})
    answers = {"id1": 0, "id2": GONE, "id3": None}

    async def scene(stage):
        board = Board(field, stage, answers.get)
        await stage.answer(0, 0, 0)
        cancel(field)
        await board.beat(2)

    field.play(scene)
    assert recorded(field) == [{"carrier": "viettel", "dropped": 1, "refused": 1, "unanswered": 1}]


@pytest.mark.parametrize("silence", [None, LocalProtocolError("not bound")])
def test_a_carrier_that_does_not_answer_is_asked_again_later(field, silence):
    field.warn(2, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage, lambda _smsc_id: silence)
        await stage.answer(0, 0)
        cancel(field)
        await board.beat(2)
        assert recorded(field) == []
        board.asked.clear()
        board.answers = lambda _smsc_id: 0
        await board.beat(1)
        assert board.ids() == ["id1", "id2"]

    field.play(scene)
    assert len(recorded(field)) == 1


def test_after_a_restart_what_was_asked_back_is_not_asked_again(field):
    field.warn(2, card={"cancels": True})

    async def scene(stage):
        await stage.answer(0, 0)
        cancel(field)
        await Board(field, stage).beat(2)
        second = Board(field, stage)
        await second.beat(2)
        assert second.asked == []

    field.play(scene)
    assert len(recorded(field)) == 1


def test_what_ended_a_day_ago_is_left_alone(field):
    field.warn(2, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0, 0)
        cancel(field)
        field.clock.pass_s(24 * 3600)
        await board.beat(2)
        assert board.asked == []

    field.play(scene)


def test_pages_follow_each_other_to_the_last_part(field):
    field.warn(5, text_of_body="CANH BAO LUA DAO " * 26, card={"cancels": True, "window": 4})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer_everything()
        cancel(field)
        await board.beat(2)
        assert sorted(board.ids()) == sorted(f"id{number}" for number in range(1, 16))

    field.play(scene)


@pytest.mark.parametrize(("rule", "spelt"), [(IdRule("hex", "dec"), "001a2F"), (IdRule("raw", "raw"), "00Ab-1F")])
def test_an_id_goes_back_in_the_carriers_own_spelling(field, rule, spelt):
    field.warn(1, card={"cancels": True, "ids": rule})

    async def scene(stage):
        board = Board(field, stage)
        stage.sender.on_answer([(stage.link.flights.popleft(), 0, spelt)])
        await stage.calm()
        cancel(field)
        await board.beat(2)
        assert board.ids() == [spelt]

    field.play(scene)


def test_a_resume_ends_the_asking(field):
    field.warn(1, card={"cancels": True})

    async def scene(stage):
        board = Board(field, stage)
        await stage.answer(0)
        stop(field)
        never = asyncio.get_running_loop().create_future()

        async def wait(*_):
            await never

        stage.link.request_cancel = wait
        board.campaigns.look()
        board.campaigns.close_what_is_over()
        await board.campaigns._closing
        (task,) = board.campaigns._withdrawals.tasks
        control.lift_stop(field.store, field.auditor, reason="xong")
        board.campaigns.look()
        board.campaigns.close_what_is_over()
        await board.campaigns._closing
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()

    field.play(scene)
