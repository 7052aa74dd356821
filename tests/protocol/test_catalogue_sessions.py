"""Faults of docs/delivery.md, part 3: what befalls a session, against the real pump with short timers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import shutil
import socket
import ssl

import pytest

from broadcaster.flow.evidence import EVIDENCE_AFTER_MS, weigh
from broadcaster.link.backoff import Backoff, Ending, Pace
from broadcaster.link.certificates import Authority, context_of
from broadcaster.link.client import LinkState
from broadcaster.link.script import SpanMs
from broadcaster.model import Endpoint, State
from broadcaster.smpp import (
    BindKind,
    BindResp,
    Command,
    DeliverSm,
    EnquireLink,
    GenericNack,
    Outbind,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    encode,
)
from broadcaster.store.times import to_ms

RECEIPT = encode(DeliverSm("84905000000", "CANHBAO", b"id:1 stat:DELIVRD", 1, 1, esm_class=0x04), 9)


def lost(sender):
    return [reason for state, reason in sender.states if state is LinkState.LOST]


async def against(rig, card, mood, ledger, count, until, **options):
    """Send to a simulated carrier until something holds, then leave."""
    async with rig.carrier(card, mood, ledger) as carrier, rig.sender(carrier.card, **options) as sender:
        sender.submit(rig.numbers(count))
        await sender.until(lambda: until(sender))
        sender.seen = list(sender.states)
    return sender, carrier


def settled(sender, count):
    return len(sender.answers) + len(sender.unanswered) == count


# F30


@pytest.mark.parametrize("status", [0x0E, 0x0F, 0x53])
def test_f30_wrong_credentials_are_tried_exactly_twice(card, rig, tmp_path, status):
    mood = rig.mood(rig.fault("bind_error", status=status))
    until = lambda sender: sender.count(LinkState.STOPPED)  # noqa: E731
    sender, carrier = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 0, until))
    assert carrier.totals.refused_binds == 2
    assert "không thử lại" in sender.states[-1][1]


@pytest.mark.parametrize("status", [0x05, 0x08, 0x0D, 0x0400])
def test_f30_other_refusals_are_tried_again_and_are_no_bind(card, rig, tmp_path, status):
    mood = rig.mood(rig.fault("bind_error", status=status, times=3))
    until = lambda sender: sender.count(LinkState.BOUND)  # noqa: E731
    sender, carrier = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 0, until))
    assert (carrier.totals.refused_binds, carrier.totals.binds) == (3, 1)
    states = [state for state, _ in sender.seen]
    assert states == [LinkState.CONNECTING, LinkState.REFUSED] * 3 + [LinkState.CONNECTING, LinkState.BOUND]


@pytest.mark.parametrize("ending", [Ending.ALREADY_BOUND, Ending.REFUSED, Ending.UNREACHABLE, Ending.LOST])
def test_f30_nobody_is_dialled_more_than_twelve_times_a_minute(ending):
    """With the waits as they ship, whatever the chance."""
    backoff = Backoff()
    for chance in (0.0, 0.5, 0.999):
        at, starts = 0.0, 0
        for streak in itertools.count(1):
            if at >= 60:
                break
            starts += 1
            at += backoff.wait_s(ending, streak, 0.0, chance)
        assert starts <= 12
    waits = [backoff.wait_s(Ending.ALREADY_BOUND, streak, 10.0, 0.5) for streak in (1, 2, 3, 4)]
    assert waits == [30.0, 60.0, 120.0, 120.0]


# F31


def test_f31_a_bind_that_is_not_answered_is_given_up(card, rig, tmp_path):
    mood = rig.mood(rig.fault("bind_silence", times=2))
    until = lambda sender: sender.count(LinkState.BOUND)  # noqa: E731
    options = {"timers": rig.timers(bind_timeout_s=0.05)}
    sender, _ = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 0, until, **options))
    assert lost(sender) == ["đầu bên kia im lặng: bind was not answered in time"] * 2


def test_f31_a_carrier_that_accepts_and_says_nothing_is_given_up(card, rig, tmp_path):
    mood = rig.mood(rig.fault("accept_then_silence", at=1))
    until = lambda sender: sender.count(LinkState.BOUND)  # noqa: E731
    options = {"timers": rig.timers(bind_timeout_s=0.05)}
    sender, _ = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 0, until, **options))
    assert len(lost(sender)) == 1


@pytest.mark.parametrize("form", ["deliver_sm", "enquire_link"])
def test_f31_what_comes_ahead_of_bind_resp_is_answered_and_is_no_bind_resp(card, rig, tmp_path, form):
    mood = rig.mood(rig.fault("pre_bind_pdu", form=form), rig.fault("outbind"))
    until = lambda sender: len(sender.answers) == 5 and sender.inbound  # noqa: E731
    sender, _ = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 5, until))
    assert [state for state, _ in sender.seen] == [LinkState.CONNECTING, LinkState.BOUND]
    early = [inbound for inbound in sender.inbound if inbound.body.short_message == b"id:0 stat:ENROUTE"]
    assert len(early) == (form == "deliver_sm")


def test_f31_a_bind_answered_by_generic_nack_is_refused(card, rig):
    async def behave(reader, writer):
        _, _, sequence, _ = await rig.read_pdu(reader)
        writer.write(encode(GenericNack(), sequence, 0x0D))
        await reader.read()

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable) as sender:
            await sender.until(lambda: sender.count(LinkState.REFUSED) == 2)
        return sender

    assert "RBINDFAIL" in asyncio.run(scenario()).states[1][1]


def test_f31_outbind_is_passed_over(card, rig):
    async def behave(reader, writer):
        writer.write(encode(Outbind("smsc", "x"), 1))
        await rig.accept_bind(reader, writer)
        await reader.read()

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable) as sender:
            await sender.until(lambda: sender.count(LinkState.BOUND))

    asyncio.run(scenario())


# F32


@pytest.mark.parametrize("busy", [False, True])
def test_f32_a_dead_path_is_noticed_however_much_we_send(card, rig, tmp_path, busy):
    mood = rig.mood(rig.fault("half_open", at=20) if busy else rig.fault("half_open", from_s=0.01))
    quick = dataclasses.replace(card, enquire_link_s=0.1, window=1000)
    until = lambda sender: sender.count(LinkState.LOST)  # noqa: E731
    options = {"timers": rig.timers(enquire_response_s=0.05)}
    count = 900 if busy else 0
    sender, _ = asyncio.run(against(rig, quick, mood, tmp_path / "so.jsonl", count, until, **options))
    assert lost(sender)[0] == "đầu bên kia im lặng: two enquire_links in a row were not answered"
    assert bool(sender.unanswered) is busy
    assert not sender.answers.keys() & sender.unanswered.keys()


def test_f32_a_carrier_that_reads_no_more_is_noticed(card, rig, tmp_path):
    """Its window closes on us: our bytes pile up, and no answer comes."""
    mood = rig.mood(rig.fault("stop_reading", at=10), rig.fault("no_enquire_resp"))
    quick = dataclasses.replace(card, enquire_link_s=0.1)
    until = lambda sender: sender.count(LinkState.LOST)  # noqa: E731
    options = {"timers": rig.timers(enquire_response_s=0.05)}
    asyncio.run(against(rig, quick, mood, tmp_path / "so.jsonl", 500, until, **options))


# F33


def test_f33_a_slow_carrier_gets_its_window_and_no_more_and_hinders_nobody(card, rig, tmp_path):
    heard = []
    slow_card = dataclasses.replace(card, window=10)
    go_on = asyncio.Event()

    async def slow(reader, writer):
        await rig.accept_bind(reader, writer)
        while True:
            command, _, sequence, _ = await rig.read_pdu(reader)
            if command == Command.SUBMIT_SM:
                heard.append(sequence)
                if len(heard) % 10 == 0:
                    await go_on.wait()
                    writer.write(b"".join(encode(SubmitSmResp(str(each)), each) for each in heard[-10:]))

    async def scenario():
        async with (
            rig.peer(slow, slow_card) as slow_one,
            rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier,
            rig.sender(slow_one) as waiting,
            rig.sender(carrier.card) as other,
        ):
            waiting.submit(rig.numbers(40))
            other.submit(rig.numbers(300))
            await other.until(lambda: len(other.answers) == 300)
            assert not waiting.answers
            assert len(heard) <= 10
            assert waiting.client.room == 0
            go_on.set()
            await waiting.until(lambda: len(waiting.answers) == 40)
        return waiting

    waiting = asyncio.run(scenario())
    assert waiting.unanswered == {}


def test_f33_slow_answers_are_waited_for(card, rig, tmp_path):
    mood = rig.mood(rig.fault("delay_resp", ms=[100, 300]))
    sender, _ = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 100, lambda sender: len(sender.answers) == 100))
    assert sender.unanswered == {}


# F34


def test_f34_one_answer_that_never_comes_costs_one_slot(card, rig, tmp_path):
    mood = rig.mood(rig.fault("drop_resp", at=[7, 60]))
    quick = dataclasses.replace(card, response_timeout_s=0.2)
    sender, carrier = asyncio.run(against(rig, quick, mood, tmp_path / "so.jsonl", 120, lambda sender: settled(sender, 120)))
    assert sender.unanswered.keys() == {rig.numbers(120)[6], rig.numbers(120)[59]}
    assert {row.dst for row in rig.rows(carrier.ledger, "submit") if not row.answered} == sender.unanswered.keys()
    assert lost(sender) == []


@pytest.mark.parametrize("window", [4, 50])
def test_f34_many_answers_that_never_come_end_the_link(card, rig, tmp_path, window):
    mood = rig.mood(rig.fault("drop_resp", after_n=5, times=10))
    quick = dataclasses.replace(card, response_timeout_s=0.1, window=window)
    until = lambda sender: settled(sender, 60) and sender.count(LinkState.BOUND) >= 2  # noqa: E731
    sender, _ = asyncio.run(against(rig, quick, mood, tmp_path / "so.jsonl", 60, until))
    assert lost(sender)[0] == "không có trả lời trong 0.1 giây"


# F35


def test_f35_the_carriers_unbind_is_answered_and_what_is_not_sent_stays(card, rig, tmp_path):
    mood = rig.mood(rig.fault("unbind_now", at=60), rig.fault("delay_resp", ms=[20, 40]))
    sender, carrier = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 200, lambda sender: settled(sender, 200)))
    assert "nhà mạng đã kết thúc phiên" in lost(sender)
    assert sender.count(LinkState.BOUND) == 2
    assert len(sender.unanswered) <= card.window
    taken = [row.dst for row in rig.rows(carrier.ledger, "submit")]
    assert len(taken) == len(set(taken))
    assert set(taken) >= sender.answers.keys()


def test_f35_answers_after_the_carriers_unbind_still_count(card, rig):
    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        sequences = [(await rig.read_pdu(reader))[2] for _ in range(10)]
        writer.write(encode(Unbind(), 77))
        assert (await rig.read_pdu(reader))[:3] == (Command.UNBIND_RESP, 0, 77)
        writer.write(b"".join(encode(SubmitSmResp(str(each)), each) for each in sequences) + RECEIPT)
        await reader.read()

    async def scenario():
        async with rig.peer(behave, dataclasses.replace(card, window=10)) as reachable, rig.sender(reachable) as sender:
            sender.submit(rig.numbers(30))
            await sender.until(lambda: len(sender.answers) == 10 and lost(sender))
        return sender

    assert asyncio.run(scenario()).answers.keys() == set(rig.numbers(10))


# F36


def test_f36_receipts_are_taken_until_our_unbind_is_answered(card, rig):
    heard = rig.heard()

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        while True:
            command, status, sequence, _ = await rig.read_pdu(reader)
            heard.note(command, status, sequence)
            if command == Command.UNBIND:
                writer.write(RECEIPT)
                heard.note(*(await rig.read_pdu(reader))[:3])
                writer.write(encode(UnbindResp(), sequence))

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable) as sender:
            await sender.until(lambda: sender.client.bound)
            await sender.client.stop(rig.patience_s)
        return sender

    sender = asyncio.run(scenario())
    assert [command for command, _, _ in heard] == [Command.UNBIND, Command.DELIVER_SM_RESP]
    assert sender.states[-1] == (LinkState.STOPPED, "đã dừng theo yêu cầu")


def test_f36_stopping_waits_for_answers_and_sends_no_more(card, rig, tmp_path):
    async def scenario():
        mood = rig.mood(rig.fault("delay_resp", ms=[50, 80]))
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            await sender.until(lambda: sender.client.bound)
            sender.submit(rig.numbers(80))
            await sender.client.stop(rig.patience_s)
        return sender

    sender = asyncio.run(scenario())
    assert (len(sender.answers), len(sender.queue), sender.unanswered) == (card.window, 80 - card.window, {})


# F37


@pytest.mark.parametrize("forget", [0, 7, 1000])
def test_f37_a_restart_leaves_uncertain_what_was_not_answered(card, rig, tmp_path, forget):
    """The ledger knows which: nobody gets it twice, and nothing answered is missing there."""
    mood = rig.mood(rig.fault("restart", at=75, forget=forget, down_s=0.02), rig.fault("delay_resp", ms=[5, 10]))
    sender, carrier = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 200, lambda sender: settled(sender, 200)))
    taken = [row.dst for row in rig.rows(carrier.ledger, "submit")]
    assert len(taken) == len(set(taken))
    assert set(taken) >= sender.answers.keys()
    assert 1 <= len(sender.unanswered) <= card.window
    forgotten = sender.unanswered.keys() - set(taken)
    assert forgotten or not forget


@pytest.mark.parametrize("forget", [0, 1000])
def test_f37_receipts_say_what_became_of_the_uncertain(desk, card, rig, tmp_path, forget):
    """What the carrier had taken is known by its receipts, under ids we were never told; what it had forgotten stays uncertain."""
    people = rig.subscribers(200)
    job = desk.enlist(card, people)
    mood = rig.mood(
        rig.fault("restart", at=75, forget=forget, down_s=0.02),
        rig.fault("delay_resp", ms=[5, 10]),
        receipt_delay_ms=SpanMs(50, 100),
    )

    def taken():
        return {int(row.dst) for row in rig.rows(tmp_path / "so.jsonl", "submit")}

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            await desk.until(lambda: desk.count(State.READY) + desk.count(State.ACCEPTED) == 0)
            # A receipt whose acknowledgement went down with the link comes twice.
            await desk.until(lambda: len({row.token for row in desk.receipts()}) == len(taken()))
            missing = desk.count(State.UNCERTAIN)
            with desk.store.write() as connection:
                known = weigh(connection, card, to_ms(desk.now()) + EVIDENCE_AFTER_MS)
            return missing, known

    missing, known = asyncio.run(scenario())
    # What was leased ahead when the link broke was given back, and written at its next try.
    rows = [row for row in desk.submissions() if row.reason != "released"]
    numbers = dict(zip([row.message_id for row in rows], people, strict=True))
    states = {numbers[row.message_id]: (State(row.state), row.resolved) for row in rows}
    assert 0 < missing <= card.window
    assert {number for number, (state, _) in states.items() if state is State.DELIVERED} == taken()
    assert {number for number, (state, _) in states.items() if state is State.UNCERTAIN} == set(people) - taken()
    assert list(states.values()).count((State.DELIVERED, "receipt")) == known == missing - len(set(people) - taken())
    assert known if not forget else missing > known


# F38


def test_f38_a_reset_after_any_octet_leaves_one_account_of_each_message(card, rig):
    """The response is cut after 0, 1, 2 … octets: the message is uncertain, and never sent again."""
    whole = len(encode(SubmitSmResp("12345678"), 1))
    lengths = iter(range(whole))
    submits = []

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        while True:
            command, _, sequence, body = await rig.read_pdu(reader)
            if command != Command.SUBMIT_SM:
                return
            submits.append(body)
            octets = next(lengths, None)
            writer.write(encode(SubmitSmResp("12345678"), sequence)[:octets])
            if octets is not None:
                writer.transport.abort()
                return

    async def scenario():
        narrow = dataclasses.replace(card, window=1)
        async with rig.peer(behave, narrow) as reachable, rig.sender(reachable) as sender:
            sender.submit(rig.numbers(whole + 5))
            await sender.until(lambda: settled(sender, whole + 5))
        return sender

    sender = asyncio.run(scenario())
    assert len(submits) == len(set(submits)) == whole + 5
    assert sender.unanswered.keys() == set(rig.numbers(whole))
    assert sender.answers.keys() == set(rig.numbers(whole + 5)[whole:])


def test_f38_a_reset_after_any_octet_of_our_own_submit_leaves_that_part_unknown(card, rig):
    """The carrier has read 1, 2, 3 … octets of it, up to all: nobody knows what it made of them, and that socket is dead."""
    heard: list[bytes] = []

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        # The first one is read whole, and tells how long they are.
        head = await reader.readexactly(4) if not heard else b""
        octets = len(heard) if heard else int.from_bytes(head) - 4
        if heard and octets == len(heard[0]):
            while True:
                command, _, sequence, _ = await rig.read_pdu(reader)
                if command == Command.SUBMIT_SM:
                    writer.write(encode(SubmitSmResp("12345678"), sequence))
        heard.append(head + await reader.readexactly(octets))
        writer.transport.abort()

    async def scenario():
        narrow = dataclasses.replace(card, window=1)
        async with rig.peer(behave, narrow) as reachable, rig.sender(reachable) as sender:
            sender.submit(rig.numbers(1))
            await sender.until(lambda: len(sender.unanswered) == 1)
            sender.submit(rig.numbers(len(heard[0]) + 5)[1:])
            await sender.until(lambda: settled(sender, len(heard[0]) + 5))
        return sender

    sender = asyncio.run(scenario())
    whole = len(heard[0])
    assert [len(piece) for piece in heard] == [whole, *range(1, whole)]
    # Each connection began with its own submit, with the sequence number that follows its bind: nothing was continued or repeated.
    assert all(piece[:12] == heard[0][: min(12, len(piece))] for piece in heard)
    numbers = rig.numbers(whole + 5)
    assert sender.unanswered.keys() == set(numbers[:whole])
    assert sender.answers.keys() == set(numbers[whole:])


@pytest.mark.parametrize("fault", ["rst_after", "fin_after"])
def test_f38_a_cut_within_the_carriers_answers(card, rig, tmp_path, fault):
    keys = {"rst_after": {"octets": 333}, "fin_after": {"pdus": 9}}[fault]
    mood = rig.mood(rig.fault(fault, at=[30, 110], **keys))
    sender, carrier = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 200, lambda sender: settled(sender, 200)))
    assert len(lost(sender)) == 2
    assert not sender.answers.keys() & sender.unanswered.keys()
    taken = [row.dst for row in rig.rows(carrier.ledger, "submit")]
    assert len(taken) == len(set(taken))
    assert set(taken) >= sender.answers.keys()


# F39


def test_f39_of_two_answers_the_first_counts(card, rig):
    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        while True:
            command, _, sequence, _ = await rig.read_pdu(reader)
            if command == Command.SUBMIT_SM:
                first, second = encode(SubmitSmResp(f"a{sequence}"), sequence), encode(SubmitSmResp("b"), sequence, 0x08)
                writer.write(first + second + encode(SubmitSmResp("c"), 5_000_000))

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable) as sender:
            sender.submit(rig.numbers(20))
            await sender.until(lambda: len(sender.answers) == 20)
        return sender

    sender = asyncio.run(scenario())
    assert {status for status, _ in sender.answers.values()} == {0}
    assert {message_id[0] for _, message_id in sender.answers.values()} == {"a"}
    assert lost(sender) == []


def test_f39_an_answer_after_its_time_is_told_once(card, rig, tmp_path):
    """What was reported as unanswered is known after all; that a flow takes note of it is the flow's own business."""
    late = []
    told = asyncio.Event()

    def on_late(answers):
        late.extend(answers)
        if len(late) == 2:
            told.set()

    async def scenario():
        mood = rig.mood(rig.fault("delay_resp", at=[3, 9], ms=[400, 400]))
        quick = dataclasses.replace(card, response_timeout_s=0.1)
        async with rig.carrier(quick, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card, on_late=on_late) as sender:
            sender.submit(rig.numbers(20))
            async with asyncio.timeout(rig.patience_s):
                await told.wait()
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    ids = {row.dst: row.id for row in rig.rows(carrier.ledger, "submit")}
    assert {number: message_id for number, _, message_id in late} == {number: ids[number] for number in sender.unanswered}
    assert sender.unanswered.keys() == {rig.numbers(20)[2], rig.numbers(20)[8]}
    assert lost(sender) == []


@pytest.mark.parametrize("refused", [False, True])
def test_f39_a_late_answer_settles_the_uncertain(desk, card, rig, tmp_path, refused):
    """Taken or refused, it is known after all, and nobody is sent the text again."""
    people = rig.subscribers(20)
    quick = dataclasses.replace(card, response_timeout_s=0.5)
    job = desk.enlist(quick, people)
    answer = [rig.fault("vendor_status", status=0x08, at=[3, 9])] if refused else []
    mood = rig.mood(rig.fault("delay_resp", at=[3, 9], ms=[2000, 2000]), *answer)
    seen = []

    async def scenario():
        async with rig.carrier(quick, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job]):
            await desk.until(lambda: desk.count(State.UNCERTAIN) == 2)
            seen.append([row.resolved for row in desk.submissions() if row.state == State.UNCERTAIN])
            await desk.until(lambda: desk.count(State.DELIVERED) + desk.count(State.REFUSED) == 20)

    asyncio.run(scenario())
    assert seen == [[None, None]]
    assert desk.messages() == ({State.DELIVERED: 18, State.REFUSED: 2} if refused else {State.DELIVERED: 20})
    resolved = [row for row in desk.submissions() if row.resolved == "late answer"]
    ids = {row.dst: row.id for row in rig.rows(tmp_path / "so.jsonl", "submit")}
    assert [row.smsc_id for row in resolved] == [ids[str(people[at])] for at in (2, 8)]
    assert len(rig.rows(tmp_path / "so.jsonl", "submit")) == 20


@pytest.mark.parametrize("fault", ["dup_resp", "wrong_seq"])
def test_f39_answers_to_nobody_end_no_link(card, rig, tmp_path, fault):
    mood = rig.mood(rig.fault(fault, at=[3, 9]))
    quick = dataclasses.replace(card, response_timeout_s=0.2)
    sender, _ = asyncio.run(against(rig, quick, mood, tmp_path / "so.jsonl", 50, lambda sender: settled(sender, 50)))
    assert len(sender.unanswered) == (2 if fault == "wrong_seq" else 0)
    assert lost(sender) == []


# F40


def test_f40_a_storm_of_enquire_links_is_answered_in_silence(card, rig, caplog):
    heard = rig.heard()

    async def behave(reader, writer):
        writer.write(encode(EnquireLink(), 1))
        await rig.accept_bind(reader, writer)
        writer.write(b"".join(encode(EnquireLink(), at) for at in range(2, 1001)))
        while True:
            heard.note(*(await rig.read_pdu(reader))[:3])

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable) as sender:
            await heard.until(lambda: len(heard) == 1000)
            assert lost(sender) == []

    asyncio.run(scenario())
    assert heard[:1000] == [(Command.ENQUIRE_LINK_RESP, 0, sequence) for sequence in range(1, 1001)]
    assert not caplog.records


def test_f40_a_simulated_storm_disturbs_no_sending(card, rig, tmp_path):
    mood = rig.mood(rig.fault("enquire_flood", at=[10, 50], count=1000))
    sender, _ = asyncio.run(against(rig, card, mood, tmp_path / "so.jsonl", 200, lambda sender: len(sender.answers) == 200))
    assert lost(sender) == []


# F41


def test_f41_binds_of_one_account_do_not_all_connect_at_once(card, rig):
    starts = []
    eighth = asyncio.Event()

    async def behave(reader, writer):
        starts.append(asyncio.get_running_loop().time())
        if len(starts) == 8:
            eighth.set()
        await rig.accept_bind(reader, writer)
        if len(starts) <= 4:
            writer.transport.abort()
        await reader.read()

    async def scenario():
        pace = Pace(0.05)
        async with rig.peer(behave, card) as reachable, contextlib.AsyncExitStack() as binds:
            for _ in range(4):
                await binds.enter_async_context(rig.sender(reachable, pace=pace))
            async with asyncio.timeout(rig.patience_s):
                await eighth.wait()

    asyncio.run(scenario())
    gaps = [later - sooner for sooner, later in itertools.pairwise(starts)]
    assert len(gaps) == 7
    # The listener's own loop may be late by a little; never by nearly a whole spacing.
    assert sum(gaps) >= 0.05 * len(gaps) * 0.9


def test_f41_waits_after_an_outage_differ_by_chance():
    waits = [Backoff().wait_s(Ending.LOST, 6, 10.0, chance / 10) for chance in range(10)]
    assert len(set(waits)) == 10
    assert max(waits) < 60


# F42


REASONS = {
    "expired": "đã hết hạn",
    "wrong_host": "cấp cho máy chủ khác",
    "self_signed": "CA",
    "old_version": "TLS",
    "none": "TLS",
}


def trusting(card, ca, **fields):
    return dataclasses.replace(card, tls=True, tls_ca=ca, **fields)


@pytest.mark.parametrize("form", REASONS)
def test_f42_a_bad_certificate_is_refused_and_the_reason_named(card, rig, tmp_path, form):
    async def scenario():
        mood = rig.mood(rig.fault("tls_bad", form=form))
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier:
            endpoint = Endpoint("localhost", carrier.card.endpoint.port)
            async with rig.sender(trusting(card, tmp_path / "so.ca.pem", endpoint=endpoint)) as sender:
                await sender.until(lambda: sender.count(LinkState.LOST) == 2)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert all(REASONS[form] in reason and "localhost" in reason for reason in lost(sender)[:2]), lost(sender)
    assert carrier.totals.binds == carrier.totals.refused_binds == 0
    assert sender.count(LinkState.BOUND) == 0


def test_f42_a_server_that_says_it_knows_no_newer_tls_is_quoted(card, rig):
    async def behave(reader, writer):
        await reader.read(1)
        writer.write(bytes.fromhex("15030100020246"))
        await writer.drain()
        await reader.read()

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(dataclasses.replace(reachable, tls=True)) as sender:
            await sender.until(lambda: sender.count(LinkState.LOST))
        return sender

    assert "TLS 1.2" in lost(asyncio.run(scenario()))[0]


def test_f42_a_good_certificate_of_the_pinned_authority_is_accepted(card, rig, tmp_path):
    async def scenario():
        secure = dataclasses.replace(card, tls=True)
        async with rig.carrier(secure, rig.calm, tmp_path / "so.jsonl") as carrier:
            endpoint = Endpoint("localhost", carrier.card.endpoint.port)
            async with rig.sender(trusting(card, tmp_path / "so.ca.pem", endpoint=endpoint)) as sender:
                sender.submit(rig.numbers(50))
                await sender.until(lambda: len(sender.answers) == len(sender.inbound) == 50)
            async with rig.sender(dataclasses.replace(carrier.card, endpoint=endpoint)) as unpinned:
                await unpinned.until(lambda: unpinned.count(LinkState.LOST))
        return sender, unpinned

    sender, unpinned = asyncio.run(scenario())
    assert sender.count(LinkState.LOST) == 0
    assert "CA" in lost(unpinned)[0]


def test_f42_the_name_is_told_to_the_server_and_a_missing_close_notify_is_an_end_like_any_other(card, rig, tmp_path):
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    context = context_of(authority.server())
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        await writer.drain()
        # Below TLS, so that no close_notify leaves.
        writer.transport.abort()

    async def scenario():
        trusted = trusting(card, tmp_path / "ca.pem")
        async with rig.peer(behave, trusted, "localhost", context) as reachable, rig.sender(reachable) as sender:
            await sender.until(lambda: sender.count(LinkState.LOST) == 2)
        return sender

    sender = asyncio.run(scenario())
    assert set(names) == {"localhost"}
    assert sender.count(LinkState.BOUND) >= 1


def test_f42_a_ca_file_that_cannot_be_used_says_so(card, rig, tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")

    async def scenario():
        async with rig.sender(trusting(card, tmp_path / "ca.pem")) as sender:
            await sender.until(lambda: sender.count(LinkState.LOST))
        return sender

    assert "không dùng được tệp CA" in lost(asyncio.run(scenario()))[0]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program as the server")
def test_f42_a_renegotiation_is_refused_and_named(card, rig, tmp_path):
    """TLS 1.2 lets a server ask for another handshake in the middle, with another certificate for all we would notice."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "server.pem").write_bytes(authority.server())
    (tmp_path / "server.pem").chmod(0o600)

    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = await asyncio.create_subprocess_exec(
            *("openssl", "s_server", "-tls1_2", "-accept", str(port), "-cert", "server.pem", "-key", "server.pem"),
            cwd=tmp_path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(rig.patience_s):
                while not (await server.stdout.readline()).startswith(b"ACCEPT"):
                    pass
                trusted = trusting(card, tmp_path / "ca.pem", endpoint=Endpoint("localhost", port))
                async with rig.sender(trusted) as sender:
                    while b"dien-tap" not in await server.stdout.read(4096):
                        pass
                    server.stdin.write(encode(BindResp(BindKind.TRANSCEIVER, "peer"), 1))
                    await sender.until(lambda: sender.count(LinkState.BOUND))
                    # The program's own command for a new handshake, at the beginning of a line.
                    server.stdin.write(b"R\n")
                    await sender.until(lambda: sender.count(LinkState.LOST))
        finally:
            server.kill()
            await server.wait()
        return sender

    assert "thương lượng lại" in lost(asyncio.run(scenario()))[0]


def test_f42_nothing_older_than_tls_12_is_offered(card, tmp_path):
    from broadcaster.link.tls import client_context

    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    context = client_context(trusting(card, tmp_path / "ca.pem"))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
