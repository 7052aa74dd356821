"""Faults of docs/delivery.md, part 4: what a carrier's answers make of a part, a link and a campaign."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections import Counter

import pytest
from structlog.testing import capture_logs

from broadcaster.link.client import LinkState
from broadcaster.model import State
from broadcaster.smpp import Command, SubmitSmResp, UnbindResp, encode

A_DAY = dt.timedelta(days=1)


@pytest.fixture
def card(card):
    return dataclasses.replace(card, throttle_pause_s=0.02, retry_after_s=(30, 120, 600), queue_full_after_s=(60, 180, 600))


async def sending(desk, rig, card, mood, ledger, people, until, *, body="Canh bao lua dao"):
    """Send one campaign to one simulated carrier until `until` holds; return the carrier."""
    job = desk.enlist(card, people, body)
    async with rig.carrier(card, mood, ledger) as carrier, desk.working(carrier.card, jobs=[job]):
        await desk.until(lambda: until(desk))
        desk.pace_tps = desk.senders[0].account.limiter.rate_tps(desk.monotonic_ns())
    return carrier


def all_in(state, count):
    return lambda desk: desk.count(state) == count


def statuses(desk):
    return Counter(row.status for row in desk.submissions() if row.status is not None)


def test_f50_throttling_pauses_the_bind_and_costs_no_try(desk, card, rig, tmp_path):
    """What was throttled goes ahead of the rest, the pace is halved, and nothing is refused on a card that allows no second try."""
    people = rig.subscribers(60)
    card = dataclasses.replace(card, tps=1000, retry_after_s=(), window=20)
    mood = rig.mood(rig.fault("throttle", at=[*range(1, 21), 40, 41]))
    carrier = asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, all_in(State.DELIVERED, 60)))
    assert statuses(desk) == {0: 60, 0x58: 22}
    assert desk.pace_tps < 980 / 2 + 1
    rows = rig.rows(carrier.ledger, "submit")
    throttled = {row.dst for row in rows[:20]}
    taken = [row.dst for row in rows if row.status == 0]
    assert throttled <= set(taken[: 20 + card.window])
    assert len(taken) == len(set(taken)) == 60


def test_f51_a_full_queue_is_its_subscribers_own(desk, card, rig, tmp_path):
    people = rig.subscribers(100)
    mood = rig.mood(rig.fault("queue_full", numbers=0.1))
    until = lambda desk: desk.count(State.DELIVERED) + desk.count(State.RETRY) == 100  # noqa: E731
    carrier = asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, until))
    full = {row.dst for row in rig.rows(carrier.ledger, "submit") if row.status == 0x14}
    assert 2 < len(full) < 20
    assert desk.count(State.RETRY) == len(full)
    assert desk.halted() is None
    assert statuses(desk) == {0: 100 - len(full), 0x14: len(full)}


def test_f51_it_is_tried_again_after_each_of_the_cards_waits(desk, card, rig, tmp_path):
    """60, 180, 600 s, not the waits after a system error. Nothing is sent before its time."""
    people = rig.subscribers(3)
    mood = rig.mood(rig.fault("queue_full", per="all"))
    job = desk.enlist(card, people)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            await desk.until(lambda: desk.count(State.RETRY) == 3)
            for tries, passed_s in ((1, 59), (2, 61), (2, 61 + 179), (3, 61 + 181), (4, 61 + 181 + 601)):
                desk.shift = dt.timedelta(seconds=passed_s)
                await desk.until(lambda tries=tries: len(desk.submissions()) >= 3 * tries)
                assert len(desk.submissions()) == 3 * tries
            await desk.until(lambda: desk.count(State.REFUSED) == 3)

    asyncio.run(scenario())
    assert statuses(desk) == {0x14: 12}


def test_f51_full_queues_above_the_cards_share_are_throttling(desk, card, rig, tmp_path):
    """The whole gateway is full: the account slows, every row waits, and none loses a try."""
    people = rig.subscribers(60)
    card = dataclasses.replace(card, tps=2000, window=60, retry_after_s=(), queue_full_after_s=(30,))
    mood = rig.mood(rig.fault("queue_full", per="all", at=[*range(1, 61)]))
    job = desk.enlist(card, people)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            await desk.until(lambda: desk.count(State.RETRY) == 60)
            slowed = desk.senders[0].account.limiter.rate_tps(desk.monotonic_ns())
            desk.shift = dt.timedelta(seconds=31)
            await desk.until(lambda: desk.count(State.DELIVERED) == 60)
            return slowed

    assert asyncio.run(scenario()) < 1960 / 2 + 1
    assert statuses(desk) == {0x14: 60, 0: 60}
    assert desk.halted() is None
    # The first nineteen could still be subscribers' own; of the others none counts as a try.
    assert Counter(row.reason for row in desk.submissions() if row.status == 0x14) == {None: 19, "link": 41}


@pytest.mark.parametrize("status", [0x08, 0x64, 0x45])
def test_f52_a_passing_trouble_is_tried_three_times_more(desk, card, rig, tmp_path, status):
    people = rig.subscribers(2)
    mood = rig.mood(rig.fault("vendor_status", status=status))
    job = desk.enlist(card, people)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            for tries in (1, 2, 3, 4):
                await desk.until(lambda tries=tries: len(desk.submissions()) == 2 * tries)
                desk.shift = tries * A_DAY
            await desk.until(lambda: desk.count(State.REFUSED) == 2)

    asyncio.run(scenario())
    assert statuses(desk) == {status: 8}


def test_f52_a_breaker_stops_a_carrier_in_trouble(desk, card, rig, tmp_path):
    people = rig.subscribers(600)
    mood = rig.mood(rig.fault("syserr", share=0.3), seed=6)
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, lambda desk: desk.halted()))
    assert "RSYSERR" in desk.halted()
    assert len(desk.submissions()) < 500
    assert desk.count(State.REFUSED) == 0


def test_f52_a_bind_in_trouble_rests_and_people_are_told(desk, card, rig, tmp_path):
    """More than a fifth of the last 200: nothing is written for the card's first wait, then it goes on by itself."""
    people = rig.subscribers(150)
    shares = {"refused_first_percent": 100, "refused_recent_percent": 100, "temporary_recent_percent": 20}
    card = dataclasses.replace(card, window=10, retry_after_s=(2, 120, 600), **shares)
    mood = rig.mood(rig.fault("vendor_status", status=0x64, at=[*range(20, 120, 3)]))
    job = desk.enlist(card, people)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            with capture_logs() as lines:
                await desk.until(lambda: any(line["event"] == "bind-rests" for line in lines))
                rested = len(rig.rows(tmp_path / "so.jsonl", "submit"))
                assert [line["seconds"] for line in lines if line["event"] == "bind-rests"] == [2]
            assert 40 <= rested <= 120
            await desk.until(lambda: len(rig.rows(tmp_path / "so.jsonl", "submit")) >= 150)
            desk.shift = A_DAY / 24
            await desk.until(lambda: desk.count(State.DELIVERED) == 150)

    asyncio.run(scenario())
    assert desk.halted() is None


def test_f53_a_bad_number_is_final_for_its_row_alone(desk, card, rig, tmp_path):
    people = rig.subscribers(200)
    mood = rig.mood(refuse_share=0.04, refuse_status=0x0B)
    until = lambda desk: desk.count(State.DELIVERED) + desk.count(State.REFUSED) == 200  # noqa: E731
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, until))
    assert 1 <= desk.count(State.REFUSED) <= 20
    assert desk.halted() is None
    assert statuses(desk)[0x0B] == desk.count(State.REFUSED)


@pytest.mark.parametrize("status", [0x0B, 0x01, 0x0A, 0x65, 0x66])
def test_f53_a_code_that_refuses_everybody_stops_the_carrier(desk, card, rig, tmp_path, status):
    """A wrong sender or type of number burns a window's worth of rows, not a million."""
    people = rig.subscribers(400)
    card = dataclasses.replace(card, window=10)
    mood = rig.mood(rig.fault("vendor_status", status=status))
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, lambda desk: desk.halted()))
    assert len(rig.rows(tmp_path / "so.jsonl", "submit")) <= 40
    assert desk.count(State.READY) + desk.count(State.RETRY) >= 360


@pytest.mark.parametrize(("one_in", "halts"), [(25, False), (16, True)])
def test_f53_more_than_a_twentieth_of_a_thousand_stops_the_carrier(desk, card, rig, tmp_path, one_in, halts):
    """4 % bad numbers are borne through 1,200 messages; 6.25 % stop the carrier at the fifty-first."""
    people = rig.subscribers(1200)
    desk.patience_s = 50.0
    mood = rig.mood(rig.fault("vendor_status", status=0x0B, at=[*range(one_in, 5000, one_in)]))
    until = lambda desk: desk.halted() or desk.count(State.DELIVERED) + desk.count(State.REFUSED) == 1200  # noqa: E731
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, until))
    assert bool(desk.halted()) is halts
    assert desk.count(State.REFUSED) <= (51 + card.window // one_in + 1 if halts else 1200 // one_in)
    assert len(rig.rows(tmp_path / "so.jsonl", "submit")) <= (51 * one_in + card.window if halts else 1200)


@pytest.mark.parametrize("status", [0x61, 0x62, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4])
def test_f54_a_fault_of_our_card_stops_the_carrier_and_burns_no_row(desk, card, rig, tmp_path, status):
    people = rig.subscribers(200)
    card = dataclasses.replace(card, window=10)
    mood = rig.mood(rig.fault("vendor_status", status=status))
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, lambda desk: desk.halted()))
    assert len(rig.rows(tmp_path / "so.jsonl", "submit")) <= card.window
    assert desk.count(State.REFUSED) == 0


@pytest.mark.parametrize(("at", "refused"), [([30, 60], 0), ([30, 60, 101, 102], 2)])
def test_f55_an_unknown_code_is_final_after_one_more_try(desk, card, rig, tmp_path, at, refused):
    people = rig.subscribers(100)
    mood = rig.mood(rig.fault("vendor_status", status=0x0417, at=at))
    job = desk.enlist(card, people)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            await desk.until(lambda: desk.count(State.DELIVERED) + desk.count(State.RETRY) == 100)
            assert desk.count(State.RETRY) == 2
            desk.shift = dt.timedelta(seconds=31)
            await desk.until(lambda: not desk.count(State.RETRY) and desk.count(State.DELIVERED) + desk.count(State.REFUSED) == 100)

    asyncio.run(scenario())
    assert desk.count(State.REFUSED) == refused
    assert statuses(desk) == {0: 100 - refused, 0x0417: 2 + refused}
    assert desk.halted() is None


def test_f55_a_carriers_own_table_says_what_its_codes_mean(desk, card, rig, tmp_path):
    people = rig.subscribers(50)
    card = dataclasses.replace(card, status_verdicts={0x0417: "throttled"})
    mood = rig.mood(rig.fault("vendor_status", status=0x0417, at=[10, 20]))
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, all_in(State.DELIVERED, 50)))
    assert statuses(desk) == {0: 50, 0x0417: 2}


def test_f55_an_out_of_quota_code_nobody_knows_stops_the_carrier(desk, card, rig, tmp_path):
    people = rig.subscribers(1500)
    card = dataclasses.replace(card, window=10)
    mood = rig.mood(rig.fault("vendor_status", status=0x0499, after_n=500))
    carrier = asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, lambda desk: desk.halted()))
    assert "0x499" in desk.halted()
    assert 500 < len(rig.rows(carrier.ledger, "submit")) < 800


@pytest.mark.parametrize("status", [0x0B, 0x11, 0x45, 0x0417, 0xFFFF])
@pytest.mark.parametrize(("first_percent", "halts"), [(30, True), (100, False)])
def test_f55_any_code_above_the_cards_share_of_the_first_twenty_stops_it(desk, card, rig, tmp_path, status, first_percent, halts):
    """Two of every five are refused, with a code that is known or not: the share is the card's to say."""
    people = rig.subscribers(40)
    card = dataclasses.replace(card, window=1, refused_first_percent=first_percent, refused_recent_percent=100)
    mood = rig.mood(rig.fault("vendor_status", status=status, at=[at for at in range(1, 200) if at % 5 in {2, 4}]))
    until = lambda desk: desk.halted() or desk.count(State.READY) == 0  # noqa: E731
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, until))
    assert bool(desk.halted()) is halts
    if halts:
        assert 10 <= len(rig.rows(tmp_path / "so.jsonl", "submit")) <= 21
        assert desk.count(State.READY) >= 19


def test_f55_refusals_are_told_by_their_codes(desk, card, rig, tmp_path):
    people = rig.subscribers(60)
    card = dataclasses.replace(card, retry_after_s=(), window=5)
    mood = rig.mood(rig.fault("vendor_status", status=0x0417, at=[30, 40]), rig.fault("vendor_status", status=0x0500, at=[50]))
    until = lambda desk: desk.count(State.DELIVERED) + desk.count(State.REFUSED) == 60  # noqa: E731
    asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, until))
    assert statuses(desk) == {0: 57, 0x0417: 2, 0x0500: 1}


def test_f56_a_session_that_is_not_bound_is_bound_anew(desk, card, rig, tmp_path, monkeypatch):
    monkeypatch.setattr("broadcaster.flow.send.REBIND_HOLD_NS", 50_000_000)
    people = rig.subscribers(80)
    card = dataclasses.replace(card, retry_after_s=())
    mood = rig.mood(rig.fault("vendor_status", status=0x04, at=30))

    def until(desk):
        return desk.count(State.DELIVERED) + desk.count(State.UNCERTAIN) == 80

    carrier = asyncio.run(sending(desk, rig, card, mood, tmp_path / "so.jsonl", people, until))
    assert Counter(state for state, _ in desk.states)[LinkState.BOUND] == 2
    assert "nhà mạng nói phiên chưa đăng nhập" in [reason for _, reason in desk.states]
    refused = next(row.dst for row in rig.rows(carrier.ledger, "submit") if row.status == 0x04)
    taken = [row.dst for row in rig.rows(carrier.ledger, "submit") if row.status == 0]
    assert taken.count(refused) == 1
    assert len(taken) == len(set(taken))


def test_f57_no_more_wait_for_answers_than_the_card_allows(desk, card, rig):
    card = dataclasses.replace(card, window=7)
    people = rig.subscribers(50)
    heard = rig.heard()
    go_on = asyncio.Event()

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        waiting = []
        while True:
            command, status, sequence, _ = await rig.read_pdu(reader)
            if command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))
                continue
            heard.note(command, status, sequence)
            waiting.append(sequence)
            if len(waiting) == 7:
                await go_on.wait()
            if go_on.is_set():
                writer.write(b"".join(encode(SubmitSmResp(str(each)), each) for each in waiting))
                waiting.clear()

    async def scenario():
        job = desk.enlist(card, people)
        async with rig.peer(behave, card) as reachable, desk.working(reachable, jobs=[job]):
            await heard.until(lambda: len(heard) == 7)
            assert desk.clients[0].outstanding == 7
            assert desk.clients[0].room == 0
            go_on.set()
            await desk.until(lambda: desk.count(State.ACCEPTED) == 50)

    asyncio.run(scenario())
    assert len(heard) == 50
