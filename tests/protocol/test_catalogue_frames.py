"""Faults of docs/delivery.md, part 2: framing and malformed PDUs, against the real pump."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import struct
import tracemalloc
from pathlib import Path

import pytest

from broadcaster.link.client import LinkState
from broadcaster.smpp import (
    Bind,
    BindKind,
    BindResp,
    Command,
    DeliverSm,
    EnquireLink,
    GenericNack,
    Quarantined,
    Role,
    Session,
    SessionState,
    SubmitSmResp,
    Submitted,
    SubmitTemplate,
    Tag,
    UnbindResp,
    encode,
)

RECEIPT = b"id:%d sub:001 dlvrd:001 submit date:2603120900 done date:2603120901 stat:DELIVRD err:000 text:"


def receipt(at):
    return encode(DeliverSm("84905000000", "CANHBAO", RECEIPT % at, 1, 1, esm_class=0x04), at)


def header(command, sequence, status=0, length=16):
    return struct.pack(">IIII", length, command, status, sequence)


def wire(rig, bytes_after_bind, heard=None, at_submit=None):
    """Accept the bind, write some bytes, then note and answer what comes: submits with `at_submit(sequence)`, unbinds properly."""

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        writer.write(bytes_after_bind)
        while True:
            command, status, sequence, _ = await rig.read_pdu(reader)
            if heard is not None:
                heard.note(command, status, sequence)
            if command == Command.SUBMIT_SM and at_submit is not None:
                writer.write(at_submit(sequence))
            elif command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))

    return behave


def drive(rig, card, behave, until=lambda _sender: True, numbers=(), heard=None, least=0, **options):
    """Run a client until `until` holds and the carrier has heard `least` PDUs."""

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable, **options) as sender:
            sender.submit(list(numbers))
            await sender.until(lambda: until(sender))
            if heard is not None:
                await heard.until(lambda: len(heard) >= least)
            states = list(sender.states)
        sender.states = states
        return sender

    return asyncio.run(scenario())


def lost(sender):
    return [reason for state, reason in sender.states if state is LinkState.LOST]


def test_f20_bytes_that_drip_are_put_together(card, rig, tmp_path):
    mood = rig.mood(rig.fault("byte_drip", ms=0.2, share=0.3))

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(20))
            await sender.until(lambda: len(sender.answers) == len(sender.inbound) == 20)
            await sender.client.stop(rig.patience_s)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert sender.count(LinkState.LOST) == 0
    assert {row.dst: row.id for row in rig.rows(carrier.ledger, "submit")} == {dst: each[1] for dst, each in sender.answers.items()}
    assert carrier.totals.acknowledged == 20


def test_f20_a_pdu_that_stops_in_its_middle_ends_the_link(card, rig):
    behave = wire(rig, receipt(7) + receipt(8)[:30])
    timers = rig.timers(pdu_read_timeout_s=0.05)
    sender = drive(rig, card, behave, lambda sender: sender.count(LinkState.BOUND) == 2, timers=timers)
    assert "a PDU stopped in its middle" in lost(sender)[0]
    assert sender.inbound[0].body.short_message == RECEIPT % 7


@pytest.mark.parametrize("count", [1, 2, 17, 200])
def test_f21_every_pdu_of_a_segment_counts(card, rig, count):
    behave = wire(rig, b"".join(receipt(at) for at in range(1, count + 1)))
    sender = drive(rig, card, behave, lambda sender: len(sender.inbound) == count)
    assert [inbound.sequence for inbound in sender.inbound] == list(range(1, count + 1))


def test_f21_a_carrier_that_gathers_its_answers_is_understood(card, rig, tmp_path):
    async def scenario():
        mood = rig.mood(rig.fault("coalesce", ms=30))
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(150))
            await sender.until(lambda: len(sender.answers) == len(sender.inbound) == 150)
            return sender

    assert asyncio.run(scenario()).unanswered == {}


BAD_LENGTHS = [*range(16), 65_537, 70_000, 1 << 20, 1 << 24, 1 << 28, 1 << 30, 0x7FFF_FFFF, 1 << 31, 0xFFFF_FFFF, 0x4854_5450,
               0x4745_5420, 0x1603_0100, 0x5353_482D, 0x3030_3030]  # fmt: skip


def resident_octets():
    """What the process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_f22_a_length_that_cannot_be_ends_the_link_and_costs_no_memory(card, rig):
    """Among them "HTTP", "GET ", a TLS hello and "SSH-": wrong ports."""
    assert len(BAD_LENGTHS) == 30
    lengths = iter(BAD_LENGTHS)
    nacked = []

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        await rig.read_pdu(reader)
        writer.write(header(Command.DELIVER_SM, 1, length=next(lengths, 0)) + b"\0" * 64)
        while True:
            command, status, sequence, _ = await rig.read_pdu(reader)
            if command != Command.SUBMIT_SM:
                nacked.append((command, status, sequence))

    async def scenario():
        narrow = dataclasses.replace(card, window=5)
        async with rig.peer(behave, narrow) as reachable, rig.sender(reachable) as sender:
            sender.queue = rig.numbers(200)
            resident = resident_octets()
            tracemalloc.start()
            await sender.until(lambda: sender.count(LinkState.LOST) >= 30)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return sender, peak, resident_octets() - resident

    sender, peak, growth = asyncio.run(scenario())
    assert all("command_length" in reason for reason in lost(sender)[:30])
    assert set(nacked[:30]) == {(Command.GENERIC_NACK, 0x02, 0)}
    assert len(sender.unanswered) >= 30
    assert not sender.answers
    # The window's own messages are all that may be held; a length from the wire would be megabytes.
    assert peak < 1 << 20
    assert growth < 1 << 20


VENDOR = struct.pack(">HH", 0x1400, 3) + b"abc"
BROKEN_RESPONSES = {
    "no NUL": b"12345678",
    "truncated parameter": b"123\0\x00\x1e\x00\xff\x01",
    "two octets too many": b"123\0\x00\x1e",
    "vendor parameter": b"123\0" + VENDOR,
    "repeated parameter": b"123\0" + VENDOR + VENDOR,
}


@pytest.mark.parametrize("kind", BROKEN_RESPONSES)
def test_f23_a_broken_response_still_settles_its_submit(card, rig, kind):
    octets = BROKEN_RESPONSES[kind]

    def answer(sequence):
        return header(Command.SUBMIT_SM_RESP, sequence, length=16 + len(octets)) + octets

    sender = drive(rig, card, wire(rig, b"", at_submit=answer), lambda sender: len(sender.answers) == 3, rig.numbers(3))
    assert set(sender.answers.values()) == {(0, None if kind == "no NUL" else "123")}
    assert sender.count(LinkState.LOST) == 0


def deliver(octets):
    return header(Command.DELIVER_SM, 5, length=16 + len(octets)) + octets


WHOLE = encode(DeliverSm("84905000000", "CANHBAO", RECEIPT % 5, 1, 1, esm_class=0x04), 5)[16:]
BROKEN_DELIVERIES = {
    "empty": b"",
    "no NUL": b"a" * 40,
    "sm_length beyond the body": WHOLE[:-5],
    "truncated parameter": WHOLE + struct.pack(">HH", 0x1E, 200) + b"1",
    "half a parameter": WHOLE + b"\x00",
}


@pytest.mark.parametrize("kind", BROKEN_DELIVERIES)
def test_f23_a_broken_delivery_is_kept_and_answered(card, rig, kind):
    heard = rig.heard()
    behave = wire(rig, deliver(BROKEN_DELIVERIES[kind]) + receipt(6), heard)
    sender = drive(rig, card, behave, lambda sender: len(sender.inbound) == 2, heard=heard, least=2)
    broken, whole = sender.inbound
    assert isinstance(broken.body, Quarantined)
    assert broken.body.raw == BROKEN_DELIVERIES[kind]
    assert whole.sequence == 6
    assert heard[:2] == [(Command.DELIVER_SM_RESP, 0x65, 5), (Command.DELIVER_SM_RESP, 0, 6)]


@pytest.mark.parametrize(
    "parameters",
    [VENDOR, VENDOR + VENDOR, struct.pack(">HHH", Tag.MESSAGE_STATE, 2, 2), struct.pack(">HH", 0x3FFF, 0)],
)
def test_f23_strange_parameters_break_nothing(card, rig, parameters):
    behave = wire(rig, deliver(WHOLE + parameters))
    sender = drive(rig, card, behave, lambda sender: sender.inbound)
    assert sender.inbound[0].body.short_message == RECEIPT % 5


def test_f23_a_carrier_that_mutilates_bodies_loses_nobody(card, rig, tmp_path):
    """Whatever its octets become, each response settles its submit and each delivery is answered: framing holds."""
    mood = rig.mood(rig.fault("mutate_pdu", share=0.5, octets=3))

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(300))
            await sender.until(lambda: len(sender.answers) == 300 and len(sender.inbound) >= 300)
            assert sender.client.bound
        return sender

    sender = asyncio.run(scenario())
    assert sender.unanswered == {}
    assert {status for status, _ in sender.answers.values()} == {0}


UNKNOWN_REQUESTS = [0x0000_0000, 0x0000_000A, 0x0000_000C, 0x0000_000D, 0x0000_0010, 0x0000_0016, 0x0000_0101, 0x0000_0112,
                    0x0001_0200, 0x7FFF_FFFF]  # fmt: skip
UNKNOWN_RESPONSES = [command | 0x8000_0000 for command in UNKNOWN_REQUESTS if command]


def test_f24_unknown_requests_are_refused_and_unknown_responses_passed_over(card, rig):
    heard = rig.heard()
    pdus = b"".join(header(command, 100 + at) for at, command in enumerate(UNKNOWN_REQUESTS + UNKNOWN_RESPONSES))
    drive(rig, card, wire(rig, pdus + receipt(7), heard), heard=heard, least=len(UNKNOWN_REQUESTS) + 1)
    expected = [(Command.GENERIC_NACK, 0x03, 100 + at) for at in range(len(UNKNOWN_REQUESTS))]
    assert heard[: len(expected) + 1] == [*expected, (Command.DELIVER_SM_RESP, 0, 7)]


def test_f25_a_nack_of_our_number_refuses_that_submit(card, rig):
    def nack(sequence):
        return encode(GenericNack(), sequence, 0x08)

    sender = drive(rig, card, wire(rig, b"", at_submit=nack), lambda sender: len(sender.answers) == 5, rig.numbers(5))
    assert set(sender.answers.values()) == {(0x08, None)}
    assert sender.count(LinkState.LOST) == 0


def test_f25_a_nack_of_nobody_leaves_the_window_to_its_timers(card, rig, tmp_path):
    mood = rig.mood(rig.fault("generic_nack", sequence="zero", at=3))
    quick = dataclasses.replace(card, response_timeout_s=0.3)

    async def scenario():
        async with rig.carrier(quick, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(10))
            await sender.until(lambda: len(sender.answers) + len(sender.unanswered) == 10)
            assert sender.client.bound
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert list(sender.unanswered) == [rig.numbers(10)[2]]
    assert [row.dst for row in rig.rows(carrier.ledger, "submit") if not row.answered] == list(sender.unanswered)


def test_f26_sequence_numbers_wrap_and_none_is_given_twice():
    esme, smsc = (Session(role, window=40, first_sequence=0x7FFF_FFF0) for role in Role)
    for session in (esme, smsc):
        session.tick(0.0)
    esme.bind(Bind(BindKind.TRANSCEIVER, "a", "b"), 0.0)
    (asked,) = smsc.receive(esme.outgoing(), 0.0)
    smsc.respond(asked.sequence, BindResp(BindKind.TRANSCEIVER))
    esme.receive(smsc.outgoing(), 0.0)
    template = SubmitTemplate.build(source="CANHBAO", short_message=b"x")
    stuck = [esme.submit(template, b"84900000000", at, 0.0) for at in range(5)]
    esme.request(EnquireLink(), "alive", 0.0)
    rest = [esme.submit(template, b"84900000000", at, 0.0) for at in range(5, 40)]
    assert len({*stuck, *rest}) == 40
    assert max(stuck) <= 0x7FFF_FFFF
    assert 1 in rest
    events = [event for event in smsc.receive(esme.outgoing(), 0.0) if isinstance(event, Submitted)]
    for event in reversed(events):
        smsc.respond(event.sequence, SubmitSmResp(str(event.sequence)))
    contexts = [event.context for event in esme.receive(smsc.outgoing(), 0.0)]
    assert [context for context in contexts if context != "alive"] == list(reversed(range(40)))
    assert esme.state is SessionState.BOUND_TRX


@pytest.mark.parametrize("sequence", [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_f26_the_peers_numbers_are_echoed_whatever_they_are(card, rig, sequence):
    heard = rig.heard()
    pdu = encode(DeliverSm("84905000000", "CANHBAO", b"TC", 1, 1), sequence) + header(Command.ENQUIRE_LINK, sequence)
    drive(rig, card, wire(rig, pdu, heard), heard=heard, least=2)
    assert set(heard[:2]) == {(Command.ENQUIRE_LINK_RESP, 0, sequence), (Command.DELIVER_SM_RESP, 0, sequence)}


def test_f27_a_response_of_another_kind_ends_the_link(card, rig, tmp_path):
    mood = rig.mood(rig.fault("wrong_type", at=5))

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(20))
            await sender.until(lambda: len(sender.answers) + len(sender.unanswered) == 20 and sender.count(LinkState.LOST))
        return sender

    sender = asyncio.run(scenario())
    assert "(F27)" in lost(sender)[0]
    assert rig.numbers(20)[4] in sender.unanswered
    assert not sender.answers.keys() & sender.unanswered.keys()


@pytest.mark.parametrize("form", ["empty", "missing"])
def test_f28_accepted_without_an_id_is_accepted(card, rig, tmp_path, form):
    mood = rig.mood(rig.fault("empty_id", form=form, share=0.2), seed=4)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(100))
            await sender.until(lambda: len(sender.answers) == 100)
        return sender

    sender = asyncio.run(scenario())
    assert {status for status, _ in sender.answers.values()} == {0}
    assert 5 < sum(message_id is None for _, message_id in sender.answers.values()) < 40
    assert sender.unanswered == {}
