"""How the service moves campaigns along: started on time or not at all, cancelled for good, closed to the last message."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from types import SimpleNamespace

import pytest

from broadcaster.flow import control, enlist, requeue
from broadcaster.model import CampaignState, State, UnknownPolicy
from broadcaster.rules.lifecycle import Action
from broadcaster.service import local
from broadcaster.service.local import Campaigns
from broadcaster.store.campaigns import change_campaign, find_campaign
from broadcaster.store.control import Stop, put_stop
from broadcaster.store.times import to_ms


class Board:
    """The campaigns of one process, beside a sender."""

    def __init__(self, field, stage):
        self.field, self.stage = field, stage
        self.planned = {}
        self.campaigns = Campaigns(
            SimpleNamespace(store=field.store, auditor=field.auditor),
            stage.writer,
            {"viettel": stage.account},
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

    play(field, scene, state="scheduled", started_ms="NULL", enlisted="false", planned_ms=in_s(field, 0))
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


def stop_all(field):
    control.stop_all(field.store, field.auditor, reason="tin sai", now=field.clock.now())


def test_a_stop_gives_back_what_was_not_begun_within_one_look(field):
    """I12: by the link's own log nothing is written after the look that follows the command, a tenth of a second later at most."""
    field.warn(30, card={"tps": 2})

    async def scene(board, stage):
        await board.beat(1)
        await stage.wait_s(1.1)
        before = len(stage.link.log)
        assert 0 < before < 8
        stop_all(field)
        board.campaigns.look()
        await stage.calm()
        await stage.answer_everything()
        for _ in range(20):
            await stage.wait_s(1)
        assert len(stage.link.log) == before
        assert stage.account.backlog == 0

    play(field, scene)
    assert field.open_leases() == 0
    assert field.tallied() == 30


def test_a_stop_holds_even_over_a_campaign_that_runs(field):
    """However it came to run: by SQL, say."""
    field.warn(30, card={"tps": 2})

    async def scene(board, stage):
        await board.beat(1)
        before = len(stage.link.log)
        field.sql("UPDATE installation SET stopped_ms = 1")
        board.campaigns.look()
        for _ in range(5):
            await stage.wait_s(1)
        assert len(stage.link.log) == before

    play(field, scene)


def test_nothing_starts_while_stopped_and_it_starts_after_the_lift(field):
    field.warn(4)

    async def scene(board, stage):
        stop_all(field)
        await board.beat()
        assert field.campaign().state is CampaignState.SCHEDULED
        control.lift_stop(field.store, field.auditor, reason="xong")
        await board.beat()
        assert field.campaign().state is CampaignState.RUNNING

    play(field, scene, state="scheduled", started_ms="NULL", planned_ms=in_s(field, 0))


def test_a_start_that_was_on_its_way_when_everything_was_stopped_does_not_happen(field):
    field.warn(4)

    async def scene(board, stage):
        board.campaigns.look()  # asks for the start; the writer carries it out after the stop below
        assert field.campaign().state is CampaignState.SCHEDULED
        await stage.calm()
        assert field.campaign().state is CampaignState.SCHEDULED

    def begin(board, stage):
        submit = stage.writer.submit

        def late(work):
            def after_the_stop(connection):
                put_stop(connection, Stop(1, "x"))
                return work(connection)

            return submit(after_the_stop)

        stage.writer.submit = late
        return scene(board, stage)

    play(field, begin, state="scheduled", started_ms="NULL", planned_ms=in_s(field, 0))
    assert field.audited("start") == 1  # the scene's own


def test_a_paused_carrier_is_handed_nothing_and_its_rate_orders_are(field):
    field.warn(30, card={"tps": 100}, max_tps={"viettel": 60})

    def act(order, *arguments):
        order(field.store, field.auditor, field.card, *arguments, reason="thử", now=field.clock.now())

    async def scene(board, stage):
        await board.beat(1)
        assert stage.account.limit_tps == 60
        act(control.set_rate, 40)
        board.campaigns.look()
        assert stage.account.limit_tps == 40
        act(control.set_rate, 80)
        board.campaigns.look()
        assert stage.account.limit_tps == 60
        act(control.pause_carrier)
        board.campaigns.look()
        await stage.answer_everything()
        written = len(stage.link.log)
        await stage.wait_s(5)
        assert len(stage.link.log) == written < 30
        act(control.resume_carrier)
        board.campaigns.look()
        await stage.calm()
        for _ in range(60):
            await stage.wait_s(1)
            await stage.answer_everything()
        assert len(stage.link.log) == 30

    play(field, scene)


def test_other_parts_of_a_message_begun_are_cut_off_in_time_and_follow_after_the_resume(field, monkeypatch):
    monkeypatch.setattr(local, "FINISH_BEGUN_S", 0.0)
    field.warn(4, text_of_body="CANH BAO LUA DAO " * 26, card={"tps": 1, "window": 3})

    async def scene(board, stage):
        await board.beat(1)
        written = stage.link.written()
        assert written == [(1, 1, 1)]
        stop_all(field)
        board.campaigns.look()
        assert stage.account.backlog  # the begun one keeps its place until its time is up
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await stage.answer_everything()
        for _ in range(5):
            await stage.wait_s(1)
        assert stage.link.written() == written
        control.lift_stop(field.store, field.auditor, reason="xong")
        field.sql("UPDATE campaign SET state = 'running'")
        board.campaigns.look()
        for _ in range(40):
            await stage.wait_s(1)
            await stage.answer_everything()

    play(field, scene)
    assert set(field.states().values()) == {State.ACCEPTED}
    assert Counter((at, part) for at, part, _ in field.link.written()) == {(at, part): 1 for at in range(1, 5) for part in (1, 2, 3)}


def test_a_resume_before_its_time_is_up_cuts_nothing_off(field, monkeypatch):
    monkeypatch.setattr(local, "FINISH_BEGUN_S", 0.0)
    field.warn(4, text_of_body="CANH BAO LUA DAO " * 26, card={"tps": 1, "window": 3})

    async def scene(board, stage):
        await board.beat(1)
        await stage.wait_s(1.1)
        field.sql("UPDATE campaign SET state = 'paused'")
        board.campaigns.look()
        field.sql("UPDATE campaign SET state = 'running'")
        board.campaigns.look()
        await stage.calm()
        for _ in range(3):
            await stage.wait_s(1.1)
        assert stage.link.written()[:3] == [(1, 1, 1), (1, 2, 1), (1, 3, 1)]
        await stage.answer_everything()

    play(field, scene)


def test_a_campaign_whose_refused_are_requeued_meanwhile_is_not_finished(field):
    """The look that found nothing left may be older than a person's order."""
    field.warn(4)

    async def scene(board, stage):
        await board.beat(1)
        await stage.answer(0, 0, 0, 0x0B)
        with field.store.read() as connection:
            seen = find_campaign(connection, "dien-tap")
        found = requeue.requeue(field.store, field.auditor, "dien-tap", "viettel", 0x0B, reason="x", now=field.clock.now())
        assert found.messages == 1
        board.campaigns._move(seen, Action.FINISH, finished_ms=1)
        await stage.calm()
        assert field.campaign().state is CampaignState.RUNNING
        await stage.wait_s(2)
        await stage.answer_everything()
        await board.beat(2)
        assert field.campaign().state is CampaignState.FINISHED

    play(field, scene)
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.failing() == set()


async def lose_and_come_back(stage):
    stage.link.lose()
    await stage.calm()
    stage.link.bound = True


def test_at_least_once_sends_the_unknown_again_after_a_wait_and_finishes_then(field):
    field.warn(3, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(board, stage):
        await board.beat(1)
        await stage.answer(0)
        await lose_and_come_back(stage)
        await board.beat(2)
        await stage.wait_s(100)
        assert field.campaign().state is CampaignState.RUNNING
        assert len(stage.link.log) == 3
        field.clock.pass_s(21)
        await board.beat(2)
        await stage.wait_s(2)
        assert stage.link.written()[3:] == [(2, 1, 2), (3, 1, 2)]
        await stage.answer_everything()
        await board.beat(2)
        assert field.campaign().state is CampaignState.FINISHED

    play(field, scene)
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.sql("SELECT count(*) FROM submission WHERE dup_risk")[0][0] == 2


def test_at_least_once_gives_up_on_a_carrier_that_never_answers(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(board, stage):
        await board.beat(1)
        for _ in range(6):
            await lose_and_come_back(stage)
            field.clock.pass_s(121)
            await board.beat(2)
            await stage.wait_s(2)
        await board.beat(2)
        assert field.campaign().state is CampaignState.FINISHED

    play(field, scene)
    assert field.states() == {1: State.UNCERTAIN}
    assert len(field.link.log) == 3


@pytest.mark.parametrize("policy", [UnknownPolicy.AT_MOST_ONCE, UnknownPolicy.OPERATOR])
def test_other_policies_send_nothing_unknown_again(field, policy):
    field.warn(1, unknown_policy=policy)

    async def scene(board, stage):
        await board.beat(1)
        await lose_and_come_back(stage)
        field.clock.pass_s(121)
        await board.beat(3)
        assert field.campaign().state is CampaignState.FINISHED

    play(field, scene)
    assert len(field.link.log) == 1


def test_a_paused_campaign_keeps_its_unknown_until_it_is_resumed(field):
    field.warn(1, unknown_policy=UnknownPolicy.AT_LEAST_ONCE)

    async def scene(board, stage):
        await board.beat(1)
        await lose_and_come_back(stage)
        field.sql("UPDATE campaign SET state = 'paused'")
        field.clock.pass_s(121)
        await board.beat(3)
        assert field.campaign().state is CampaignState.PAUSED
        assert field.states() == {1: State.UNCERTAIN}
        field.sql("UPDATE campaign SET state = 'running'")
        await board.beat(2)
        await stage.wait_s(2)
        assert len(stage.link.log) == 2
        await stage.answer_everything()

    play(field, scene)
