"""The sender against a scripted link: window, rate, order, retries, refusals, control, faults; and nothing ever left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from broadcaster.errors import StoreError
from broadcaster.flow.account import Account
from broadcaster.lang import Said
from broadcaster.model import DailyWindow, State
from broadcaster.store.suspicion import past_of

THROTTLED, QUEUE_FULL, SYSTEM_ERROR, BAD_NUMBER, NOT_BOUND = 0x58, 0x14, 0x08, 0x0B, 0x04
LONG = "CANH BAO LUA DAO " * 26  # three parts


def settled(field, *states: State) -> None:
    """Check that every message stands in one of the states, no lease is open, nothing is lost, and the invariants hold."""
    assert set(field.states().values()) <= set(states)
    assert field.open_leases() == 0
    assert field.tallied() == field.lane.messages
    assert field.failing() == set()


def finish(field) -> None:
    """End the campaign as the service would, so that nothing may be left waiting."""
    field.sql("UPDATE campaign SET state = 'finished'")
    with field.store.write() as connection:
        field.auditor.record(connection, "finish", "dien-tap")


@pytest.mark.parametrize(("text", "window"), [("NGAN", 1), ("NGAN", 4), (LONG, 1), (LONG, 4), (LONG, 7)])
def test_everything_is_sent_once_within_window_and_lease_limits(field, text, window):
    lane = field.warn(30, text_of_body=text, card={"window": window})
    assert lane.parts == (1 if text == "NGAN" else 3)

    async def scene(stage):
        while stage.link.flights:
            assert field.leased_open() <= 2 * max(1, window // lane.parts)
            assert stage.sender.backlog <= 2 * max(window, 1)
            await stage.answer(0)
        assert stage.sender.backlog == 0

    field.play(scene)
    assert field.link.most_outstanding <= window
    assert field.link.most_outstanding == min(window, 30 * lane.parts)
    assert Counter(field.link.written()) == Counter({(at, part, 1): 1 for at in range(1, 31) for part in range(1, lane.parts + 1)})
    finish(field)
    settled(field, State.ACCEPTED)


def test_parts_of_a_message_follow_one_another(field):
    field.warn(10, text_of_body=LONG)
    field.play(lambda stage: stage.answer_everything())
    assert [part for _, part, _ in field.link.written()] == [1, 2, 3] * 10
    assert [at for at, part, _ in field.link.written() if part == 1] == list(range(1, 11))


@pytest.mark.parametrize(("contract", "ordered", "limit"), [(50, None, 50), (50, 20, 20), (None, 30, 30)])
def test_no_second_holds_more_than_card_and_order_allow(field, contract, ordered, limit):
    field.warn(150, card={"tps": contract, "window": 1000}, max_tps={"viettel": ordered} if ordered else {})

    async def scene(stage):
        for _ in range(1500):
            if stage.link.flights:
                await stage.answer_everything()
            await stage.wait_s(0.01)
            if len(stage.link.log) == 150:
                break
        await stage.answer_everything()

    field.play(scene)
    moments = [entry[0] for entry in field.link.log]
    assert len(moments) == 150
    for at in range(len(moments) - limit):
        assert moments[at + limit] - moments[at] >= 1_000_000_000
    # It is not simply slow: the pace is 98 % of the limit.
    assert moments[-1] - moments[0] < 1.1 * 150 / (0.98 * limit) * 1e9
    settled(field, State.ACCEPTED)


def test_nothing_is_written_in_the_second_after_a_start(field):
    field.warn(40, card={"tps": 500})

    async def scene(stage):
        assert stage.sender.backlog
        stage.clock.pass_s(1.0)
        stage.account.pump()
        assert not stage.link.log
        stage.clock.pass_s(0.001)
        stage.account.pump()
        assert stage.link.log
        await stage.stop()

    field.play(scene, past_the_hold=False)


@pytest.mark.parametrize(("before", "after"), [(100, 10), (10, 100), (None, 10), (100, None)])
def test_a_change_of_ceiling_counts_what_the_last_second_took(field, before, after):
    field.warn(400, card={"tps": before, "window": 50})

    async def act(stage, ticks):
        for _ in range(ticks):
            if stage.link.flights:
                stage.link.answer_all()
            await stage.wait_s(0.01)

    async def scene(stage):
        await act(stage, 1 if before is None else 150)
        written = len(stage.link.log)
        stage.account.card = stage.sender.card = replace(field.card, tps=after)
        stage.account.assign(field.job())
        await act(stage, 150)
        moments = [entry[0] for entry in stage.link.log]
        assert len(moments) > written
        for end in range(written, len(moments)):
            in_the_second_before = [each for each in moments[: end + 1] if each > moments[end] - 1_000_000_000]
            assert after is None or len(in_the_second_before) <= after
        await stage.stop()

    field.play(scene)


def test_a_throttled_part_goes_first_again_and_is_no_try(field):
    field.warn(6, text_of_body=LONG, card={"window": 3, "retry_after_s": (2,)})

    async def scene(stage):
        for _ in range(4):
            await stage.answer(THROTTLED, THROTTLED, THROTTLED)
            assert not stage.link.flights  # the whole link pauses
            await stage.wait_s(1.0)
        await stage.answer_everything()

    field.play(scene)
    again = [(1, part, attempt) for attempt in range(1, 6) for part in (1, 2, 3)]
    assert field.link.written()[:15] == again
    settled(field, State.ACCEPTED)


def test_a_pause_is_logged_once(field):
    field.warn(8, card={"window": 4})

    async def scene(stage):
        await stage.answer(THROTTLED, THROTTLED)
        await stage.answer(THROTTLED, THROTTLED)
        await stage.wait_s(1.0)
        await stage.answer(THROTTLED, THROTTLED, THROTTLED, THROTTLED)
        await stage.wait_s(1.0)
        await stage.answer_everything()

    with capture_logs() as lines:
        field.play(scene)
    assert [line["carrier"] for line in lines if line["event"] == "throttled"] == ["viettel", "viettel"]


def test_throttled_messages_keep_their_order(field):
    field.warn(8)

    async def scene(stage):
        await stage.answer(0, THROTTLED, THROTTLED, THROTTLED)
        await stage.wait_s(1.0)
        await stage.answer_everything()

    field.play(scene)
    assert [at for at, _, _ in field.link.written()] == [1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 8]
    settled(field, State.ACCEPTED)


def test_temporary_refusals_wait_as_the_card_says_and_are_final_after(field):
    field.warn(1)

    async def scene(stage):
        await stage.answer(QUEUE_FULL)
        await stage.wait_s(1.9)
        assert not stage.link.flights
        await stage.wait_s(1.2)
        await stage.answer(THROTTLED)  # not counted
        await stage.wait_s(1.0)
        await stage.answer(SYSTEM_ERROR)
        await stage.wait_s(4.9)
        assert not stage.link.flights
        await stage.wait_s(1.2)
        await stage.answer(SYSTEM_ERROR)
        await stage.wait_s(60)
        assert not stage.link.flights

    field.play(scene)
    assert len(field.link.log) == 4
    finish(field)
    settled(field, State.REFUSED)


def test_a_refused_part_drops_the_rest(field):
    field.warn(1, text_of_body=LONG, card={"window": 1})

    async def scene(stage):
        await stage.answer(0)
        await stage.answer(BAD_NUMBER)

    field.play(scene)
    assert field.link.written() == [(1, 1, 1), (1, 2, 1)]
    finish(field)
    settled(field, State.REFUSED)


@pytest.mark.parametrize("answers", [(BAD_NUMBER, QUEUE_FULL, 0), (QUEUE_FULL, BAD_NUMBER, 0), (BAD_NUMBER, THROTTLED, 0)])
def test_what_is_left_of_a_refused_message_is_not_tried_again(field, answers):
    field.warn(1, text_of_body=LONG, card={"window": 3})

    async def scene(stage):
        await stage.answer(*answers)
        await stage.wait_s(60)

    field.play(scene)
    assert len(field.link.log) == 3
    finish(field)
    settled(field, State.REFUSED)


@pytest.mark.parametrize("seed", range(8))
def test_no_mixture_of_outcomes_leaves_a_message_behind(field, seed):
    field.warn(25, text_of_body=LONG, card={"window": 9})
    chance = random.Random(seed)
    codes = [0, 0, 0, 0, THROTTLED, QUEUE_FULL, SYSTEM_ERROR, BAD_NUMBER]

    async def scene(stage):
        for _ in range(600):
            if stage.link.flights:
                count = chance.randint(1, len(stage.link.flights))
                await stage.answer(*chance.choices(codes, k=count))
            if chance.random() < 0.05:
                stage.link.lose()
                await stage.wait_s(chance.random())
                stage.link.bound = True
            stage.account._watch.__init__()  # the alarm has its own test
            await stage.wait_s(chance.random())
            assert stage.sender.backlog <= 2 * 3
            if not stage.sender.backlog and State.RETRY not in field.states().values():
                break

    field.play(scene)
    finish(field)
    settled(field, State.ACCEPTED, State.REFUSED, State.UNCERTAIN)
    attempts = Counter((at, part) for at, part, _ in field.link.written())
    taken = field.sql("SELECT message_id, part FROM submission WHERE state >= 20 GROUP BY 1, 2 HAVING count(*) > 1")
    assert taken == []
    assert max(attempts.values()) > 1


def test_a_refusal_between_lease_and_first_part_is_obeyed(field):
    field.warn(8)

    async def scene(stage):
        field.refused.add(field.token(6))
        await stage.answer_everything()

    field.play(scene)
    assert 6 not in {at for at, _, _ in field.link.written()}
    assert field.states()[6] is State.SUPPRESSED
    finish(field)
    settled(field, State.ACCEPTED, State.SUPPRESSED)


def test_a_refusal_in_the_database_is_obeyed_at_the_lease(field):
    field.warn(8)
    field.refuse(2)
    field.play(lambda stage: stage.answer_everything())
    assert field.states()[2] is State.SUPPRESSED
    finish(field)
    settled(field, State.ACCEPTED, State.SUPPRESSED)


def test_an_order_that_overrides_refusals_reaches_those_who_refused(field):
    field.warn(8, override_refusals=True)
    field.refuse(2)
    field.refused.add(field.token(7))
    field.play(lambda stage: stage.answer_everything())
    settled(field, State.ACCEPTED)


def test_an_order_that_overrides_refusals_is_not_sent_without_the_duty_officer(field):
    field.warn(8, override_refusals=True, duty_officer=False)
    field.play(lambda stage: stage.wait_s(5.0))
    assert field.link.written() == []
    assert set(field.states().values()) == {State.READY}


def test_a_refusal_after_the_first_part_does_not_cut_the_message(field):
    field.warn(2, text_of_body=LONG, card={"window": 1})

    async def scene(stage):
        field.refused |= {field.token(1), field.token(2)}
        await stage.answer_everything()

    field.play(scene)
    assert field.link.written() == [(1, 1, 1), (1, 2, 1), (1, 3, 1)]
    assert field.states() == {1: State.ACCEPTED, 2: State.SUPPRESSED}


def test_a_message_half_sent_is_finished_later_though_its_subscriber_refuses_meanwhile(field):
    field.warn(1, text_of_body=LONG, card={"window": 3})

    async def scene(stage):
        await stage.answer(0, QUEUE_FULL, 0)
        field.refused.add(field.token(1))
        field.refuse(1)
        await stage.wait_s(2.1)
        await stage.answer_everything()

    field.play(scene)
    assert field.link.written()[3:] == [(1, 2, 2)]
    assert field.states() == {1: State.ACCEPTED}


def test_a_part_that_was_given_back_is_no_beginning(field):
    """Throttled before anything was taken, the message is stopped by a refusal or a pause like one never begun."""
    field.warn(2)

    async def scene(stage):
        stage.link.answer(THROTTLED, THROTTLED)
        field.refused.add(field.token(1))
        await stage.wait_s(1.0)
        assert field.link.written() == [(1, 1, 1), (2, 1, 1), (2, 1, 2)]
        stage.link.answer(THROTTLED)
        stage.account.assign({})
        await stage.wait_s(1.0)
        assert not stage.link.flights

    field.play(scene)
    assert field.states() == {1: State.SUPPRESSED, 2: State.RETRY}
    assert field.open_leases() == 0


def test_a_suppressed_message_that_was_given_back_before_does_not_wait_for_ever(field):
    field.warn(8)

    async def scene(stage):
        stage.account.assign({})  # paused: what is leased and not begun is given back
        await stage.answer_everything()
        assert field.states()[6] is State.RETRY
        field.refused.add(field.token(6))
        field.refuse(6)
        stage.account.assign(field.job())
        await stage.calm()
        await stage.answer_everything()

    field.play(scene)
    assert field.states()[6] is State.SUPPRESSED
    finish(field)
    settled(field, State.ACCEPTED, State.SUPPRESSED)


def test_a_pause_finishes_what_was_begun_and_gives_the_rest_back(field):
    field.warn(9, text_of_body=LONG, card={"window": 4})

    async def scene(stage):
        stage.account.assign({})
        await stage.answer_everything()
        assert field.open_leases() == 0
        assert stage.sender.backlog == 0
        # Four parts fitted, so two messages were begun and are whole.
        assert field.link.written() == [(1, 1, 1), (1, 2, 1), (1, 3, 1), (2, 1, 1), (2, 2, 1), (2, 3, 1)]
        stage.account.assign(field.job())
        await stage.calm()
        await stage.answer_everything()

    field.play(scene)
    finish(field)
    settled(field, State.ACCEPTED)


def test_a_lease_that_comes_after_the_pause_is_given_back(field):
    field.warn(9)

    async def scene(stage):
        stage.account.assign({})
        await stage.answer_everything()
        written = len(stage.link.log)
        stage.account.assign(field.job())
        stage.sender._hand_over()
        assert stage.sender._leasing
        stage.account.assign({})
        await stage.calm()
        assert len(stage.link.log) == written
        assert field.open_leases() == 0

    field.play(scene)


def test_a_lane_asleep_wakes_up_for_what_was_set_aside_and_at_a_resume(field):
    field.warn(1)

    async def scene(stage):
        await stage.answer(QUEUE_FULL)
        for _ in range(3):
            await stage.wait_s(1.0)
        assert stage.link.written()[-1] == (1, 1, 2)
        await stage.answer(QUEUE_FULL)
        field.sql("UPDATE campaign SET state = 'paused'")
        await stage.wait_s(10)
        assert len(stage.link.log) == 2
        field.sql("UPDATE campaign SET state = 'running'")
        stage.account.assign({})
        stage.account.assign(field.job())
        await stage.calm()
        assert len(stage.link.log) == 3
        await stage.answer_everything()

    field.play(scene)
    settled(field, State.ACCEPTED)


def test_nothing_waits_in_memory_past_the_window(field):
    """Ten in the morning; the window closes at 10:04, and the link is away until 10:05."""
    field.warn(8, window=DailyWindow(dt.time(8), dt.time(10, 10)), card={"window": 4})

    async def scene(stage):
        stage.link.lose()
        await stage.wait_s(360)
        assert field.open_leases() == 0
        stage.link.bound = True
        await stage.wait_s(60)
        await stage.answer_everything()
        before = len(stage.link.log)
        assert before
        await stage.wait_s(600)
        assert len(stage.link.log) == before

    field.play(scene)
    assert field.failing() == set()


def test_no_lease_is_given_when_a_phone_would_ring_after_the_window(field):
    field.warn(8, window=DailyWindow(dt.time(8), dt.time(10, 5)))
    field.play(lambda stage: stage.calm())
    assert field.link.log == []
    assert set(field.states().values()) == {State.READY}


def test_nothing_is_written_after_the_deadline(field):
    field.warn(20, deadline_h=1)

    async def scene(stage):
        stage.link.lose()
        await stage.wait_s(3600)
        stage.link.bound = True
        await stage.wait_s(1)
        assert len(stage.link.log) == 4
        assert field.open_leases() == 0

    field.play(scene)


def test_outcomes_survive_a_failing_store_and_sending_stops_meanwhile(field, monkeypatch):
    field.warn(40)
    monkeypatch.setattr("broadcaster.flow.outcomes.STORE_RETRY_S", 0.001)
    monkeypatch.setattr("broadcaster.flow.send.STORE_RETRY_S", 0.001)
    broken = True
    real = field.store.write

    def write():
        if broken:
            raise StoreError(Said("đầy đĩa", "disk full"))
        return real()

    async def scene(stage):
        nonlocal broken
        monkeypatch.setattr(field.store, "write", write)
        for _ in range(20):
            if stage.link.flights:
                stage.link.answer_all()
            stage.clock.pass_s(1.0)
            stage.sender.pump()
            await asyncio.sleep(0.002)
        assert len(stage.link.log) <= 8  # two windows, no more
        broken = False
        while stage.sender.backlog or stage.link.flights or len(stage.link.log) < 40:
            if stage.link.flights:
                stage.link.answer_all()
            await asyncio.sleep(0.002)
            stage.clock.pass_s(1.0)
            stage.sender.pump()

    field.play(scene)
    assert Counter(field.link.written()) == Counter({(at, 1, 1): 1 for at in range(1, 41)})
    finish(field)
    settled(field, State.ACCEPTED)


def test_a_lost_link_leaves_only_what_was_written_uncertain(field):
    field.warn(12)

    async def scene(stage):
        stage.link.lose()
        await stage.calm()
        assert Counter(field.states().values())[State.UNCERTAIN] == 4
        await stage.wait_s(5)
        stage.link.bound = True
        stage.sender.pump()
        await stage.calm()
        await stage.answer_everything()

    field.play(scene)
    assert Counter(field.states().values()) == {State.UNCERTAIN: 4, State.ACCEPTED: 8}
    # What was leased and not begun was given back at once, and goes first.
    assert field.link.written() == [
        *((at, 1, 1) for at in range(1, 5)),
        *((at, 1, 2) for at in range(5, 9)),
        *((at, 1, 1) for at in range(9, 13)),
    ]
    finish(field)
    settled(field, State.UNCERTAIN, State.ACCEPTED)


@pytest.mark.parametrize("answered", [(), (0,)])
def test_the_other_parts_follow_when_one_is_uncertain(field, answered):
    field.warn(1, text_of_body=LONG, card={"window": 1})

    async def scene(stage):
        await stage.answer(*answered)
        stage.link.lose()
        field.refused.add(field.token(1))  # half a warning would be worse
        await stage.calm()
        stage.link.bound = True
        stage.sender.pump()
        await stage.answer_everything()

    field.play(scene)
    assert field.link.written() == [(1, 1, 1), (1, 2, 1), (1, 3, 1)]
    finish(field)
    settled(field, State.UNCERTAIN)


def test_an_answer_that_does_not_come_frees_its_place(field):
    field.warn(6)

    async def scene(stage):
        silent = stage.link.flights.popleft()
        stage.sender.on_unanswered([silent], "no answer within 10 s")
        await stage.calm()
        await stage.answer_everything()

    field.play(scene)
    assert Counter(field.states().values()) == {State.UNCERTAIN: 1, State.ACCEPTED: 5}


def test_nothing_is_written_on_a_session_that_is_not_bound(field):
    field.warn(12)

    async def scene(stage):
        stage.link.answer(*[NOT_BOUND] * 4)
        assert not stage.link.flights  # the link closes it in a moment
        stage.link.lose()
        await stage.wait_s(2)
        stage.link.bound = True
        await stage.wait_s(1)
        await stage.answer_everything()

    field.play(scene)
    assert set(field.states().values()) == {State.ACCEPTED}
    assert [at for at, _, _ in field.link.written()] == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("fails_at_first", [False, True])
def test_too_many_refusals_halt_the_lane_and_say_so(field, monkeypatch, fails_at_first):
    field.warn(200, card={"window": 10})
    monkeypatch.setattr("broadcaster.flow.account.STORE_RETRY_S", 0.05)
    real = field.auditor.record
    failures = [StoreError(Said("bận", "busy"))] if fails_at_first else []

    def record(connection, action, *rest):
        if action == "carrier-halt" and failures:
            raise failures.pop()
        real(connection, action, *rest)

    monkeypatch.setattr(field.auditor, "record", record)

    async def scene(stage):
        for _ in range(30):
            if stage.link.flights:
                stage.link.answer_all(BAD_NUMBER)
            stage.account.assign(field.job())  # the service has not seen it yet
            await stage.calm()
            await asyncio.sleep(0.002)
            await stage.wait_s(1)
        assert not stage.link.flights

    field.play(scene)
    assert len(field.link.log) == 10
    assert field.audited("carrier-halt") == 1
    (halted,) = field.sql("SELECT halted FROM lane")[0]
    assert "RINVDSTADR" in halted
    assert field.open_leases() == 0
    assert field.tallied() == 200


@pytest.mark.parametrize("restarts", [(), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("happens", ["nothing", "something is taken", "a person resumes"])
def test_what_halted_the_carrier_halts_a_campaign_that_starts_later_at_its_first_refusal(field, happens, restarts):
    """F54, F55: until the carrier takes something, or a person lets it go on, its cause is taken to stand, restarts or not."""
    field.warn(200, card={"window": 10})

    async def scene(stage):
        account = stage.account

        async def restart(number):
            await stage.calm()
            if number not in restarts:
                return account
            with field.store.read() as connection:
                past = past_of(connection, field.card.code)
            gate, refused = field.gate(), field.refused
            return Account(field.card, writer=stage.writer, gate=gate, refused=refused, clock=field.clock, past=past)

        stage.link.answer_all(BAD_NUMBER)
        account = await restart(1)
        account.assign({})
        (job,) = field.job().values()
        later = job._replace(lane_id=job.lane_id + 1)
        if happens == "a person resumes":
            field.sql("UPDATE lane SET halted = NULL")
            account.assign({job.lane_id: job})
            account.assign({})
        if happens == "something is taken":
            account.note_accepted(1)
        account = await restart(2)
        account.assign({later.lane_id: later})
        account.note_refused(BAD_NUMBER)
        assert account.excess() == (BAD_NUMBER if happens == "nothing" else None)

    field.play(scene)
    assert field.audited("carrier-halt") == 1


def test_a_card_that_cuts_otherwise_than_signed_halts_the_lane_before_a_byte(field):
    field.warn(3, text_of_body="x" * 306)
    field.card = type(field.card)(**{**{name: getattr(field.card, name) for name in field.card.__slots__}, "long_text": "udh16"})
    field.play(lambda stage: stage.calm())
    assert field.link.log == []
    assert "2 were signed" in field.sql("SELECT halted FROM lane")[0][0]
    assert field.sql("SELECT count(*) FROM lease")[0][0] == 0


def test_the_next_lease_is_durable_with_the_outcomes_that_make_room_for_it(field):
    """So the wire never waits for one commit before another is asked for, and at no commit are more than two windows open."""
    field.warn(30, card={"window": 5})

    async def scene(stage):
        assert field.sql("SELECT count(*) FROM lease")[0][0] == 2
        pieces, submit = [], stage.writer.submit
        stage.writer.submit = lambda work: pieces.append(work) or submit(work)
        stage.link.answer_all()
        stage.writer.submit = submit
        assert len(pieces) == 1
        await stage.calm()
        assert field.sql("SELECT count(*) FROM submission") == [(5,)]
        assert field.sql("SELECT count(*) FROM lease") == [(3,)]
        assert field.leased_open() == 10

    field.play(scene)


def test_stopping_settles_everything(field):
    field.warn(30, text_of_body=LONG, card={"window": 5})

    async def scene(stage):
        await stage.answer(0)
        stage.sender._hand_over()
        stage.account.prepare_stop()
        await asyncio.gather(stage.sender.finish(5), answer_slowly(stage))
        await stage.stop()
        assert stage.sender.backlog == 0

    async def answer_slowly(stage):
        while stage.sender._queue or stage.link.flights:
            if stage.link.flights:
                stage.link.answer(0)
            await asyncio.sleep(0)

    field.play(scene)
    written = field.link.written()
    assert len(written) % 3 == 0  # no half warning
    assert State.UNCERTAIN not in field.states().values()
    assert field.open_leases() == 0
    assert field.tallied() == 30
    assert "I2" not in field.failing()


def test_stopping_while_a_lease_is_on_its_way_gives_it_back(field):
    field.warn(30)

    async def scene(stage):
        stage.link.answer_all()
        assert stage.sender._leasing or stage.sender._outcomes.busy
        stage.sender._hand_over()
        await stage.stop()

    field.play(scene)
    assert field.open_leases() == 0


def test_ids_that_are_missing_or_too_long_are_taken_as_they_come(field):
    field.warn(2)

    async def scene(stage):
        first, second = stage.link.flights
        stage.link.flights.clear()
        stage.sender.on_answer([(first, 0, None), (second, 0, "9" * 200)])
        await stage.calm()

    field.play(scene)
    assert [row[0] for row in field.sql("SELECT smsc_id FROM submission ORDER BY message_id")] == [None, "9" * 80]


def test_the_log_keeps_when_each_part_was_written(field):
    field.warn(3, text_of_body=LONG, card={"tps": 10})

    async def scene(stage):
        for _ in range(400):
            if stage.link.flights:
                await stage.answer_everything()
            await stage.wait_s(0.01)

    field.play(scene)
    kept = [row[0] for row in field.sql("SELECT sent_ns FROM submission ORDER BY sent_ns")]
    assert all(later - earlier >= 0 for earlier, later in pairwise(kept))
    assert len(set(kept)) == 9
    settled(field, State.ACCEPTED)
