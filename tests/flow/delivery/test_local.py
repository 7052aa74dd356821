"""How the service moves campaigns along: started on time or not at all, cancelled for good, closed to the last message."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from types import SimpleNamespace

import pytest

from broadcaster.flow import enlist
from broadcaster.model import CampaignState, State
from broadcaster.service.local import Campaigns
from broadcaster.store.campaigns import change_campaign
from broadcaster.store.times import to_ms


class Board:
    """The campaigns of one process, beside a sender."""

    def __init__(self, field, stage):
        self.field, self.stage = field, stage
        self.planned = {}
        self.campaigns = Campaigns(
            SimpleNamespace(store=field.store, auditor=field.auditor),
            stage.writer,
            {"viettel": stage.sender},
            now=field.clock.now,
            planned=lambda times: setattr(self, "planned", dict(times)),
        )

    async def beat(self, times: int = 2):
        """Do what the service does each second, and let it come to its end."""
        for _ in range(times):
            self.campaigns.look()
            self.campaigns.close_what_is_over()
            await self.campaigns._closing
            await asyncio.gather(*self.campaigns._enlisting.values())
            await self.stage.calm()


def play(field, scene, *, state="running", **values):
    """Run a scene with the campaign in `state`, and nothing assigned to the sender but by the board."""
    sets = "".join(f", {name} = {value}" for name, value in values.items())
    field.sql(f"UPDATE campaign SET state = '{state}'{sets}")
    field.job, job = dict, field.job
    try:
        field.play(lambda stage: scene(Board(field, stage), stage))
    finally:
        field.job = job


def in_s(field, seconds: float) -> int:
    return to_ms(field.clock.now() + dt.timedelta(seconds=seconds))


def test_it_starts_at_its_time_and_not_before(field):
    field.warn(4)

    async def scene(board, stage):
        await board.beat()
        assert field.campaign().state is CampaignState.SCHEDULED
        assert list(board.planned) == ["dien-tap"]
        assert not board.campaigns.idle
        field.clock.pass_s(60)
        await board.beat()
        assert field.campaign().state is CampaignState.RUNNING
        assert field.campaign().started_ms == to_ms(field.clock.now())
        await stage.answer_everything()
        await board.beat(3)
        assert field.campaign().state is CampaignState.FINISHED
        assert board.campaigns.idle

    play(field, scene, state="scheduled", started_ms="NULL", planned_ms=in_s(field, 60))
    assert field.audited("start") == 2  # one of them is the scene's own
    assert set(field.states().values()) == {State.ACCEPTED}


def test_it_expires_when_it_could_not_start_in_the_signed_time(field):
    field.warn(4, start_within_h=1)

    async def scene(board, stage):
        await board.beat()
        assert field.campaign().state is CampaignState.EXPIRED
        assert board.campaigns.idle

    play(field, scene, state="scheduled", started_ms="NULL", planned_ms=in_s(field, -3601))
    assert field.link.log == []


@pytest.mark.parametrize("state", ["scheduled", "running"])
def test_content_that_is_no_order_is_halted(field, state):
    field.warn(4)

    async def scene(board, stage):
        await board.beat(3)
        assert field.campaign().state is CampaignState.HALTED
        assert set(field.states().values()) == {State.CANCELLED}

    play(field, scene, state=state, content_json="'{}'")
    assert field.link.log == []
    assert field.audited("halt") == 1


def test_a_cancellation_while_the_messages_are_written_out_stands(field, monkeypatch):
    field.warn(4)
    steps_taken = []

    def steps(_store, campaign):
        def cancel(connection):
            steps_taken.append("first")
            change_campaign(connection, campaign.id, CampaignState.CANCELLED)

        yield cancel
        yield lambda connection: change_campaign(connection, campaign.id, campaign.state, enlisted=True)

    monkeypatch.setattr(enlist, "steps", steps)

    async def scene(board, stage):
        await board.beat(3)
        assert field.campaign().state is CampaignState.CANCELLED
        assert steps_taken == ["first"]

    play(field, scene, state="scheduled", started_ms="NULL", enlisted="0", planned_ms=in_s(field, 0))
    assert field.link.log == []
    assert set(field.states().values()) == {State.CANCELLED}


@pytest.mark.parametrize("state", ["cancelled", "halted"])
def test_what_ended_early_is_closed_to_the_last_message_before_it_is_idle(field, state):
    field.warn(30)

    async def scene(board, stage):
        await board.beat(1)
        assert stage.link.flights
        field.sql(f"UPDATE campaign SET state = '{state}'")
        await board.beat(1)
        assert not board.campaigns.idle
        await stage.answer_everything()
        await board.beat(3)
        assert board.campaigns.idle

    play(field, scene)
    assert Counter(field.states().values()) == {State.ACCEPTED: 4, State.CANCELLED: 26}
    assert field.open_leases() == 0
    assert field.tallied() == 30


def test_what_is_over_lapses_and_finishes(field):
    field.warn(30, deadline_h=1)

    async def scene(board, stage):
        await board.beat(1)
        field.clock.pass_s(3600)
        await stage.answer_everything()
        await board.beat(4)
        assert field.campaign().state is CampaignState.FINISHED

    play(field, scene)
    assert Counter(field.states().values()) == {State.ACCEPTED: 4, State.LAPSED: 26}
    assert field.failing() == set()


def test_a_receipt_for_the_part_that_went_out_opens_no_cancelled_message(field):
    field.warn(1, text_of_body="CANH BAO LUA DAO " * 26, card={"window": 3})

    async def scene(board, stage):
        await board.beat(1)
        await stage.answer(0, 0x14, 0)
        field.sql("UPDATE campaign SET state = 'cancelled'")
        await board.beat(3)
        assert field.states() == {1: State.CANCELLED}
        from broadcaster.store import messages

        await stage.writer.submit(lambda connection: messages.fold(connection, {field.lane.first_id}))
        assert field.states() == {1: State.CANCELLED}
        assert board.campaigns.idle

    play(field, scene)
    assert field.tallied() == 1


def test_a_pause_takes_the_lane_away_and_a_resume_gives_it_back(field):
    field.warn(12)

    async def scene(board, stage):
        await board.beat(1)
        field.sql("UPDATE campaign SET state = 'paused'")
        await board.beat(1)
        await stage.answer_everything()
        assert len(stage.link.log) == 4
        assert not board.campaigns.idle
        field.sql("UPDATE campaign SET state = 'running'")
        await board.beat(1)
        await stage.answer_everything()
        assert len(stage.link.log) == 12

    play(field, scene)


def test_a_failing_store_is_said_and_lived_through(field, monkeypatch):
    field.warn(4)

    async def scene(board, stage):
        def broken(*_args):
            from broadcaster.errors import StoreError
            from broadcaster.lang import Said

            raise StoreError(Said("hỏng", "broken"))

        with monkeypatch.context() as patch:
            patch.setattr(field.store, "read", broken)
            board.campaigns.close_what_is_over()
            await board.campaigns._closing
        await board.beat(1)
        await stage.answer_everything()
        await board.beat(2)
        assert field.campaign().state is CampaignState.FINISHED

    play(field, scene)
