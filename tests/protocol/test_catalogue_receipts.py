"""Faults of docs/delivery.md, part 1: correlation and receipts. Real pump, real SMPP over the loopback, real database."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import itertools
import random
from collections import Counter

import pytest
import structlog

from broadcaster.flow.idwatch import IdWatch
from broadcaster.link.backoff import Pace
from broadcaster.link.faults import RECEIPT_FORMS
from broadcaster.link.script import IdForm, SpanMs
from broadcaster.link.temperament import ReceiptBy
from broadcaster.model import CarrierCode, IdRule, State
from broadcaster.smpp import (
    Command,
    DeliverSm,
    ReceiptState,
    SubmitSmResp,
    Tag,
    UnbindResp,
    classify,
    encode,
    parse_receipt,
)

LONG = "Canh bao: " + "lua dao qua dien thoai, khong chuyen tien. " * 8
NOW_DATES = "submit date:2603120900 done date:2603120901"


def text_receipt(message_id, stat="DELIVRD", **fields):
    octets = f"id:{message_id} sub:001 dlvrd:001 {NOW_DATES} stat:{stat} err:000 text:".encode()
    return DeliverSm("84905000000", "CANHBAO", octets, 1, 1, esm_class=0x04)._replace(**fields)


async def campaign(desk, rig, card, mood, ledger, people, *, body="Canh bao lua dao", until=None, binds=1, name="thu"):
    """Send one campaign to one simulated carrier and wait until `until` holds; return the ledger's rows."""
    job = desk.enlist(card, people, body, name)
    async with rig.carrier(card, mood, ledger) as carrier, desk.working(carrier.card, jobs=[job], binds=binds):
        await desk.until(until or (lambda: desk.count(State.DELIVERED) == len(people)))
    return carrier


def answering(rig, then):
    """Be a carrier that accepts everything, then writes what `then(message_id, destination)` returns for each message."""
    ids = itertools.count(1)

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        while True:
            command, _, sequence, body = await rig.read_pdu(reader)
            if command == Command.SUBMIT_SM:
                message_id = next(ids)
                number = body[body.index(b"849") :].partition(b"\0")[0].decode()
                writer.write(encode(SubmitSmResp(str(message_id)), sequence))
                for at, pdu in enumerate(then(message_id, number)):
                    writer.write(encode(pdu, 1000 * message_id + at))
            elif command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))

    return behave


async def hand_written(desk, rig, card, then, people, until):
    job = desk.enlist(card, people)
    async with rig.peer(answering(rig, then), card) as reachable, desk.working(reachable, jobs=[job]):
        await desk.until(until)


def test_f01_receipts_ahead_of_their_responses_are_all_matched(desk, card, rig, tmp_path):
    mood = rig.mood(rig.fault("dlr_before_resp", share=0.3, ms=[0, 500]))
    people = rig.subscribers(200)
    carrier = asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people))
    assert desk.messages() == {State.DELIVERED: 200}
    assert desk.orphans() == 0
    assert len(desk.receipts()) == 200
    assert all(row.acked for row in rig.rows(carrier.ledger, "receipt"))


FORMATS = [
    (IdForm.DECIMAL, IdForm.DECIMAL, ReceiptBy.BOTH, IdRule("raw", "raw")),
    (IdForm.HEX, IdForm.DECIMAL, ReceiptBy.TLV, IdRule("hex", "dec")),
    (IdForm.UPPER, IdForm.HEX, ReceiptBy.TEXT, IdRule("raw", "raw")),
    (IdForm.DECIMAL, IdForm.UPPER, ReceiptBy.BOTH, IdRule("dec", "hex")),
    (IdForm.PADDED, IdForm.DECIMAL, ReceiptBy.TEXT, IdRule("dec", "dec")),
    (IdForm.UUID, IdForm.UUID, ReceiptBy.TLV, IdRule("raw", "raw")),
]


@pytest.mark.parametrize(("response", "in_receipt", "by", "rule"), FORMATS)
def test_f02_each_dialect_of_ids_meets_under_its_rule(desk, card, rig, tmp_path, response, in_receipt, by, rule):
    mood = rig.mood(response_id=response, receipt_id=in_receipt, receipt_by=by, first_number=0x0A8B9E19)
    card = dataclasses.replace(card, ids=rule)
    asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", rig.subscribers(1000)))
    assert desk.messages() == {State.DELIVERED: 1000}
    assert desk.orphans() == 0


# Under these wrong rules every id of these carriers is read as some other id, of this campaign's or of nobody's.
WRONG = [(*FORMATS[1][:3], IdRule("raw", "raw")), (*FORMATS[3][:3], IdRule("raw", "dec")), (*FORMATS[4][:3], IdRule("hex", "dec"))]


@pytest.mark.parametrize(("response", "in_receipt", "by", "rule"), WRONG)
def test_f02_a_wrong_rule_attributes_nothing_to_anybody_and_raises_the_alarm(
    desk, card, rig, tmp_path, response, in_receipt, by, rule
):
    """Half of a thousand are delivered and half are not: whatever is credited to the wrong person would show."""
    mood = rig.mood(response_id=response, receipt_id=in_receipt, receipt_by=by, first_number=10_000_000, undeliverable_share=0.5)
    card = dataclasses.replace(card, ids=rule)
    people = rig.subscribers(1000)
    until = lambda: len(desk.receipts()) == 1000 and desk.count(State.READY) == 0  # noqa: E731
    asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, until=until))
    assert desk.messages() == {State.ACCEPTED: 1000}
    assert desk.orphans() == 1000
    with structlog.testing.capture_logs() as logs, desk.store.read() as connection:
        proposed = IdWatch(card).judge(connection)
    assert [line["event"] for line in logs] == ["id-rule"]
    assert proposed is not None
    assert proposed.matched == proposed.seen > 20


def test_f03_two_carriers_that_give_the_same_ids_are_kept_apart(desk, card, rig, tmp_path):
    cards = [dataclasses.replace(card, code=CarrierCode(code)) for code in ("mot", "hai")]
    good, bad = rig.subscribers(80)[:40], rig.subscribers(80)[40:]
    moods = [rig.mood(first_number=1000), rig.mood(first_number=1000, undeliverable_share=1.0)]

    async def scenario():
        jobs = [desk.enlist(cards[0], good, name="mot"), desk.enlist(cards[1], bad, name="hai")]
        async with (
            rig.carrier(cards[0], moods[0], tmp_path / "1.jsonl") as first,
            rig.carrier(cards[1], moods[1], tmp_path / "2.jsonl") as second,
            desk.working(first.card, second.card, jobs=jobs),
        ):
            await desk.until(lambda: desk.count(State.DELIVERED) + desk.count(State.UNDELIVERABLE) == 80)

    asyncio.run(scenario())
    states = {row.carrier: set() for row in desk.submissions()}
    for row in desk.submissions():
        states[row.carrier].add(row.state)
    assert states == {"mot": {State.DELIVERED}, "hai": {State.UNDELIVERABLE}}
    assert {row.smsc_id for row in desk.submissions() if row.carrier == "mot"} == {
        row.smsc_id for row in desk.submissions() if row.carrier == "hai"
    }


def test_f03_ids_used_again_belong_to_the_number_they_were_given_for(desk, card, rig, tmp_path):
    mood = rig.mood(rig.fault("id_reuse", count=10), undeliverable_share=0.5)
    people = rig.subscribers(50)
    job_done = lambda: desk.count(State.DELIVERED) + desk.count(State.UNDELIVERABLE) == 50  # noqa: E731
    carrier = asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, until=job_done))
    assert len({row.smsc_id for row in desk.submissions()}) == 10
    stats = {int(row.dst): row.stat for row in rig.rows(carrier.ledger, "receipt")}
    words = {State.DELIVERED: "DELIVRD", State.UNDELIVERABLE: "UNDELIV"}
    numbers = dict(zip((row.message_id for row in desk.submissions()), people, strict=True))
    assert {numbers[row.message_id]: words[State(row.state)] for row in desk.submissions()} == stats


def test_f03_a_carrier_whose_ids_wrap_at_ten_thousand(desk, card, rig, tmp_path):
    """Two thousand ids are given twice; no receipt of the second round moves anybody of the first, or the other way round."""
    mood = rig.mood(rig.fault("id_reuse", count=10_000), undeliverable_share=0.5, receipt_delay_ms=SpanMs(0, 3000))
    people = rig.subscribers(12_000)
    card = dataclasses.replace(card, window=500)
    desk.patience_s = 60.0
    carrier = asyncio.run(
        campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, until=lambda: len(desk.receipts()) == 12_000)
    )
    assert desk.count(State.ACCEPTED) == desk.orphans() == 0
    said = {int(row.dst): row.stat for row in rig.rows(carrier.ledger, "receipt")}
    words = {State.DELIVERED: "DELIVRD", State.UNDELIVERABLE: "UNDELIV"}
    rows = desk.submissions()
    assert len({row.smsc_id for row in rows}) == 10_000
    numbers = dict(zip((row.message_id for row in rows), people, strict=True))
    assert {numbers[row.message_id]: words[State(row.state)] for row in rows} == said


def one_id_for_all(rig, people, receipts):
    """Be a carrier that gives every message the id 7, and writes `receipts` receipts for the first of `people` once asked to."""
    told = asyncio.Event()

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        writing = asyncio.create_task(write(writer))
        while True:
            command, _, sequence, _ = await rig.read_pdu(reader)
            if command == Command.SUBMIT_SM:
                writer.write(encode(SubmitSmResp("7"), sequence))
            elif command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))
                writing.cancel()

    async def write(writer):
        await told.wait()
        for at in range(1, receipts + 1):
            writer.write(encode(text_receipt(7, source=str(people[0])), at))

    return behave, told


def test_f03_what_fits_two_messages_is_left_unmatched_and_counted(desk, card, rig):
    people = rig.subscribers(1)
    jobs = [desk.enlist(card, people, name=name) for name in ("mot", "hai")]
    behave, told = one_id_for_all(rig, people, receipts=2)

    async def scenario():
        async with rig.peer(behave, card) as reachable, desk.working(reachable):
            desk.senders[0].account.assign({job.lane_id: job for job in jobs})
            await desk.until(lambda: desk.count(State.ACCEPTED) == 2)
            told.set()
            await desk.until(lambda: len(desk.receipts()) == 2)

    asyncio.run(scenario())
    assert desk.messages() == {State.ACCEPTED: 2}
    assert desk.orphans() == 2
    assert desk.receipt_faults() == {card.code: {"two_candidates": 2}}


@pytest.mark.parametrize(("days", "credited"), [(6, False), (8, True)])
def test_f03_an_id_given_again_after_seven_days_belongs_to_the_new_message(desk, make_store, card, rig, days, credited):
    """The first message never had a receipt; six days later it might still be meant, eight days later it is not."""
    people = rig.subscribers(1)

    async def first():
        behave, _ = one_id_for_all(rig, people, receipts=0)
        async with rig.peer(behave, card) as reachable, desk.working(reachable, jobs=[desk.enlist(card, people, name="mot")]):
            await desk.until(lambda: desk.count(State.ACCEPTED) == 1)

    async def second():
        behave, told = one_id_for_all(rig, people, receipts=1)
        async with rig.peer(behave, card) as reachable, later.working(reachable, jobs=[later.enlist(card, people, name="hai")]):
            await later.until(lambda: later.count(State.ACCEPTED) == 2)
            told.set()
            await later.until(lambda: len(later.receipts()) == 1)

    asyncio.run(first())
    later = type(desk)(make_store(), desk.vault, desk.auditor)
    later.shift = dt.timedelta(days=days)
    asyncio.run(second())
    assert later.messages() == ({State.ACCEPTED: 1, State.DELIVERED: 1} if credited else {State.ACCEPTED: 2})
    assert next(row.state for row in later.submissions()) == State.ACCEPTED
    assert later.orphans() == (not credited)


def test_f04_receipts_of_three_sending_binds_come_round_robin(desk, card, rig, monkeypatch):
    """The service's own line: three binds that all send; the carrier deals every receipt to the next bind."""
    monkeypatch.setattr("broadcaster.service.line.Pace", lambda _spacing_s: Pace(0.0))
    card = dataclasses.replace(card, binds=3, window=20)
    people = rig.subscribers(600)
    ids, binds, sent, acknowledged = itertools.count(1), [], Counter(), Counter()
    all_bound = asyncio.Event()

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        mine = len(binds)
        binds.append(writer)
        if len(binds) == 3:
            all_bound.set()
        while True:
            command, _, sequence, body = await rig.read_pdu(reader)
            if command == Command.SUBMIT_SM:
                message_id = next(ids)
                number = body[body.index(b"849") :].partition(b"\0")[0].decode()
                sent[mine] += 1
                writer.write(encode(SubmitSmResp(str(message_id)), sequence))
                binds[message_id % len(binds)].write(encode(text_receipt(message_id, source=number), message_id))
            elif command == Command.DELIVER_SM_RESP:
                acknowledged[mine] += 1
            elif command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))

    async def scenario():
        job = desk.enlist(card, people)
        async with rig.peer(behave, card) as reachable, rig.line(desk, reachable) as line:
            async with asyncio.timeout(rig.patience_s):
                await all_bound.wait()
            line.account.assign({job.lane_id: job})
            await desk.until(lambda: desk.count(State.DELIVERED) == 600)

    asyncio.run(scenario())
    assert min(sent[bind] for bind in range(3)) > 50
    assert [acknowledged[bind] for bind in range(3)] == [200, 200, 200]
    assert desk.orphans() == 0


def test_f04_receipts_come_by_any_bind_of_the_account(desk, card, rig, tmp_path):
    mood = rig.mood(rig.fault("dlr_other_bind"))
    people = rig.subscribers(120)
    job = desk.enlist(card, people)
    taken = Counter()

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier:
            async with desk.working(carrier.card, binds=3):
                for client in desk.clients:
                    client._on_inbound = counting(client._on_inbound, taken, client)
                await desk.until(lambda: sum(client.bound for client in desk.clients) == 3)
                desk.senders[0].account.assign({job.lane_id: job})
                await desk.until(lambda: desk.count(State.DELIVERED) == 120)
            return carrier

    carrier = asyncio.run(scenario())
    assert taken[desk.clients[0]] == 0
    assert sum(taken.values()) == 120
    assert len({row.session for row in rig.rows(carrier.ledger, "submit")}) == 1
    assert all(row.acked for row in rig.rows(carrier.ledger, "receipt"))
    assert desk.orphans() == 0


def counting(pass_on, taken, client):
    def count(inbounds):
        taken[client] += len(inbounds)
        pass_on(inbounds)

    return count


@pytest.mark.parametrize("after", [dt.timedelta(hours=1), dt.timedelta(days=6)])
def test_f05_receipts_long_after_our_restart_find_their_messages(desk, make_store, card, rig, tmp_path, after):
    people = rig.subscribers(30)
    mood = rig.mood(rig.fault("dlr_late", after_s=after.total_seconds()))
    carrier = asyncio.run(
        campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, until=lambda: desk.count(State.ACCEPTED) == 30)
    )
    later = type(desk)(make_store(), desk.vault, desk.auditor)
    later.shift = after
    owed = [(row.id, row.dst) for row in rig.rows(carrier.ledger, "receipt")]
    assert len(owed) == 30

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        for at, (message_id, number) in enumerate(owed, 1):
            writer.write(encode(text_receipt(message_id, source=number), at))
        while True:
            command, _, sequence, _ = await rig.read_pdu(reader)
            if command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))

    async def scenario():
        async with rig.peer(behave, card) as reachable, later.working(reachable):
            await later.until(lambda: later.count(State.DELIVERED) == 30)

    asyncio.run(scenario())
    assert later.tallies() == {State.DELIVERED: 30}


@pytest.mark.parametrize("variant", ["tlv", "text", "conflict"])
def test_f06_the_parameter_names_the_message_ahead_of_the_text(desk, card, rig, variant):
    def receipts(message_id, number):
        named = {Tag.RECEIPTED_MESSAGE_ID: b"%d\0" % message_id, Tag.MESSAGE_STATE: b"\2"}
        if variant == "tlv":
            return [DeliverSm(number, "CANHBAO", b"", 1, 1, esm_class=0x04, tlvs=named)]
        if variant == "text":
            return [text_receipt(message_id, source=number)]
        return [text_receipt(message_id + 1, stat="UNDELIV", source=number, tlvs=named)]

    asyncio.run(hand_written(desk, rig, card, receipts, rig.subscribers(5), lambda: desk.count(State.DELIVERED) == 5))
    assert desk.orphans() == 0
    assert desk.receipt_faults() == ({card.code: {"dlr_id_conflict": 5}} if variant == "conflict" else {})


@pytest.mark.parametrize("esm_class", [0x00, 0x04])
def test_f07_a_foreign_grammar_is_read_where_the_card_names_it(desk, card, rig, esm_class):
    def positional(message_id, number):
        octets = f"{message_id},001,001,2603120900,2603120901,UNDELIV,027,Canh bao, lua dao".encode()
        return [DeliverSm(number, "CANHBAO", octets, 1, 1, esm_class=esm_class)]

    card = dataclasses.replace(card, receipt_form="comma")
    asyncio.run(hand_written(desk, rig, card, positional, rig.subscribers(5), lambda: desk.count(State.UNDELIVERABLE) == 5))
    assert {(row.error, row.submit_date) for row in desk.receipts()} == {("027", "2603120900")}
    assert desk.orphans() == 0


@pytest.mark.parametrize("by", [ReceiptBy.TEXT, ReceiptBy.BOTH])
def test_f07_a_simulated_carrier_writes_as_its_card_says(desk, card, rig, tmp_path, by):
    card = dataclasses.replace(card, receipt_form="comma")
    mood = rig.mood(receipt_by=by, undeliverable_share=0.5)
    done = lambda: desk.count(State.DELIVERED) + desk.count(State.UNDELIVERABLE) == 30  # noqa: E731
    asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", rig.subscribers(30), until=done))
    assert {row.error for row in desk.receipts()} == {"000", "027"}
    assert desk.receipt_faults() == {}
    assert desk.orphans() == 0


def test_f07_a_foreign_grammar_on_no_card_is_kept_and_counted(desk, card, rig):
    def positional(message_id, number):
        return [DeliverSm(number, "CANHBAO", b"%d,001,001,2603120900,2603120901,DELIVRD,000" % message_id, 1, 1, esm_class=0x04)]

    asyncio.run(hand_written(desk, rig, card, positional, rig.subscribers(5), lambda: len(desk.receipts()) == 5))
    assert {row.stat for row in desk.receipts()} == {"UNPARSED"}
    assert desk.receipt_faults() == {card.code: {"unparsed": 5}}
    assert desk.messages() == {State.ACCEPTED: 5}


@pytest.mark.parametrize("form", RECEIPT_FORMS)
def test_f07_every_spelling_is_read_or_kept_and_always_acknowledged(desk, card, rig, tmp_path, form):
    mood = rig.mood(rig.fault("dlr_grammar", form=form), undeliverable_share=0.3)
    people = rig.subscribers(30)
    carrier = asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, until=lambda: len(desk.receipts()) == 30))
    assert all(row.acked for row in rig.rows(carrier.ledger, "receipt"))
    if form == "nonsense":
        assert {row.stat for row in desk.receipts()} == {"UNPARSED"}
        assert desk.messages() == {State.ACCEPTED: 30}
        return
    expected = Counter(row.stat for row in rig.rows(carrier.ledger, "receipt"))
    assert len(expected) == 2
    assert desk.messages() == {State.DELIVERED: expected["DELIVRD"], State.UNDELIVERABLE: expected["UNDELIV"]}


UDH = b"\x05\x00\x03\x2a\x01\x01"
CONTENTS = {
    "receipt": f"id:1 sub:001 dlvrd:001 {NOW_DATES} stat:DELIVRD err:000 text:".encode(),
    "question": b"Day la tin that a?",
    "named": b"",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("esm_class", [0x00, 0x04, 0x40, 0x44])
def test_f08_a_receipt_is_known_by_any_of_three_signs(esm_class, content, desk, card, rig):
    """esm_class bits, the id parameter or the text's form; a user data header hides none of them."""
    octets = (UDH if esm_class & 0x40 else b"") + CONTENTS[content]
    tlvs = {Tag.RECEIPTED_MESSAGE_ID: b"1\0", Tag.MESSAGE_STATE: b"\2"} if content == "named" else {}
    body = DeliverSm("84905000000", "CANHBAO", octets, 1, 1, esm_class=esm_class, tlvs=tlvs)
    is_receipt = content != "question" or bool(esm_class & 0x3C)
    assert (classify(body) == "receipt") is is_receipt

    def then(_message_id, number):
        return [body._replace(source=number)]

    done = (lambda: len(desk.receipts()) == 1) if is_receipt else (lambda: len(desk.replies()) == 1)
    asyncio.run(hand_written(desk, rig, card, counted_from_one(then), rig.subscribers(1), done))
    if content != "question":
        assert desk.messages() == {State.DELIVERED: 1}


def counted_from_one(then):
    """Whatever ids the carrier gives, the fixture's receipts name message 1."""

    def renamed(message_id, number):
        pdus = []
        for pdu in then(message_id, number):
            tlvs = {**pdu.tlvs, Tag.RECEIPTED_MESSAGE_ID: b"%d\0" % message_id} if pdu.tlvs else pdu.tlvs
            pdus.append(pdu._replace(short_message=pdu.short_message.replace(b"id:1 ", b"id:%d " % message_id), tlvs=tlvs))
        return pdus

    return renamed


def test_f08_a_refusal_flagged_as_a_receipt_is_obeyed(desk, card, rig):
    def then(_message_id, number):
        return [DeliverSm(number, "CANHBAO", b"TC", 1, 1, esm_class=0x04)]

    done = lambda: desk.receipts() or desk.replies()  # noqa: E731
    asyncio.run(hand_written(desk, rig, card, then, rig.subscribers(1), done))
    assert desk.refusing() == set(rig.subscribers(1))


def test_f08_a_refusal_flagged_as_a_receipt_of_a_known_message_is_obeyed_and_the_receipt_kept(desk, card, rig):
    def then(message_id, number):
        named = {Tag.RECEIPTED_MESSAGE_ID: b"%d\0" % message_id, Tag.MESSAGE_STATE: b"\2"}
        return [DeliverSm(number, "CANHBAO", b"TC", 1, 1, esm_class=0x04, tlvs=named)]

    asyncio.run(hand_written(desk, rig, card, then, rig.subscribers(1), lambda: desk.receipts() and desk.replies()))
    assert desk.refusing() == set(rig.subscribers(1))
    assert desk.messages() == {State.DELIVERED: 1}


def test_f09_no_history_moves_a_final_state(desk, card, rig):
    shuffle = random.Random(9).shuffle
    first_final = {}

    def history(message_id, number):
        stats = ["ENROUTE", "ACCEPTD", "BUFFRED", "DELIVRD", "UNDELIV", "EXPIRED"]
        shuffle(stats)
        first_final[int(number)] = next(stat for stat in stats if stat in {"DELIVRD", "UNDELIV", "EXPIRED"})
        return [text_receipt(message_id, stat, source=number) for stat in stats]

    people = rig.subscribers(1000)
    asyncio.run(hand_written(desk, rig, card, history, people, lambda: len(desk.receipts()) == 6000))
    expected = Counter(first_final.values())
    assert len(expected) == 3
    assert desk.messages() == {
        State.DELIVERED: expected["DELIVRD"],
        State.UNDELIVERABLE: expected["UNDELIV"],
        State.EXPIRED: expected["EXPIRED"],
    }
    assert desk.tallies() == desk.messages()


def test_f10_receipts_said_again_and_again_count_once(desk, card, rig, tmp_path):
    mood = rig.mood(rig.fault("dlr_dup", count=50, share=0.05))
    people = rig.subscribers(200)
    carrier = asyncio.run(
        campaign(
            desk,
            rig,
            card,
            mood,
            tmp_path / "so.jsonl",
            people,
            until=lambda: desk.count(State.DELIVERED) == 200 and len(desk.receipts()) > 200,
        )
    )
    assert desk.tallies() == {State.DELIVERED: 200}
    sent = rig.rows(carrier.ledger, "receipt")
    assert len(sent) > 300
    assert sum(row.acked for row in sent) == len(desk.receipts())


@pytest.mark.parametrize("carrier_sends", ["all", "first", "last"])
def test_f11_a_message_is_delivered_when_every_part_is(desk, card, rig, tmp_path, carrier_sends):
    faults = [] if carrier_sends == "all" else [rig.fault("dlr_first_part_only", part=carrier_sends)]
    people = rig.subscribers(30)
    parts = desk.enlist(card, [], LONG, "do").parts
    assert parts == 3
    wanted = State.DELIVERED if carrier_sends == "all" else State.ACCEPTED
    receipts = 90 if carrier_sends == "all" else 30
    asyncio.run(
        campaign(
            desk,
            rig,
            card,
            rig.mood(*faults),
            tmp_path / "so.jsonl",
            people,
            body=LONG,
            until=lambda: len(desk.receipts()) == receipts and desk.count(wanted) == 30,
        )
    )
    delivered = Counter(row.part for row in desk.submissions() if row.state == State.DELIVERED)
    assert delivered == {"all": {1: 30, 2: 30, 3: 30}, "first": {1: 30}, "last": {3: 30}}[carrier_sends]


@pytest.mark.parametrize("undeliverable", [0.0, 0.4])
@pytest.mark.parametrize("scope", ["all", "first", "last"])
def test_f11_of_a_carrier_whose_card_says_so_one_receipt_settles_the_whole(desk, card, rig, tmp_path, scope, undeliverable):
    """Three types of carrier: receipts are asked for the parts in the card's scope, and the message stands by them."""
    card = dataclasses.replace(card, receipt_scope=scope)
    people = rig.subscribers(60)
    until = lambda: desk.count(State.DELIVERED) + desk.count(State.UNDELIVERABLE) == 60  # noqa: E731
    mood = rig.mood(undeliverable_share=undeliverable)
    carrier = asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, body=LONG, until=until))
    said = rig.rows(carrier.ledger, "receipt")
    parts = {row.id: row.part for row in rig.rows(carrier.ledger, "submit")}
    asked = {"all": {1, 2, 3}, "first": {1}, "last": {3}}[scope]
    assert {parts[row.id] for row in said} == asked
    assert len(said) == 60 * len(asked)
    failed = {row.dst for row in said if row.stat == "UNDELIV"}
    assert bool(failed) is bool(undeliverable)
    assert desk.count(State.UNDELIVERABLE) == len(failed)
    assert desk.tallies() == desk.messages()


def test_f12_each_part_gets_the_id_of_its_own_response(desk, card, rig, tmp_path):
    mood = rig.mood(rig.fault("reorder_resp", ms=[0, 60]))
    people = rig.subscribers(40)
    carrier = asyncio.run(campaign(desk, rig, card, mood, tmp_path / "so.jsonl", people, body=LONG))
    numbers = dict(zip(sorted({row.message_id for row in desk.submissions()}), people, strict=True))
    ours = {(str(numbers[row.message_id]), row.part): row.smsc_id for row in desk.submissions()}
    theirs = {(row.dst, row.part): row.id for row in rig.rows(carrier.ledger, "submit")}
    assert ours == theirs
    assert len(theirs) == 120


def test_f13_receipts_by_data_sm_are_read_and_answered(desk, card, rig, tmp_path):
    people = rig.subscribers(40)
    carrier = asyncio.run(campaign(desk, rig, card, rig.mood(rig.fault("dlr_data_sm")), tmp_path / "so.jsonl", people))
    assert desk.messages() == {State.DELIVERED: 40}
    assert all(row.acked for row in rig.rows(carrier.ledger, "receipt"))
    assert carrier.totals.acknowledged == 40


@pytest.mark.parametrize(("stat", "error"), [("UNKNOWN", "000"), ("FOOBAR", "A1B"), ("9", "0x7F")])
def test_f14_a_state_nobody_knows_is_not_final(desk, card, rig, stat, error):
    def then(message_id, number):
        strange = text_receipt(message_id, stat, source=number)
        return [strange._replace(short_message=strange.short_message.replace(b"err:000", b"err:" + error.encode()))]

    asyncio.run(hand_written(desk, rig, card, then, rig.subscribers(3), lambda: len(desk.receipts()) == 3))
    assert desk.messages() == {State.ACCEPTED: 3}
    assert {(row.state, row.stat, row.error) for row in desk.receipts()} == {(None, stat if stat != "9" else "SKIPPED", error)}
    assert desk.receipt_faults() == ({} if stat == "9" else {card.code: {"unknown_state": 3}})
    assert parse_receipt(text_receipt(1, stat)).state in {ReceiptState.UNKNOWN, ReceiptState.SKIPPED}


OWN_WORDS = {"HETHAN": "expired", "200": "delivered", "err:045": "rejected", "ACCEPTD": "delivered", "BLOCKED": "unknown"}


@pytest.mark.parametrize(
    ("stat", "error", "tlv", "state"),
    [
        ("HetHan", "000", None, State.EXPIRED),
        ("FOOBAR", "45", None, State.REJECTED),
        ("UNDELIV", "045", None, State.REJECTED),
        ("UNDELIV", "046", None, State.UNDELIVERABLE),
        ("ACCEPTD", "000", None, State.DELIVERED),
        ("BLOCKED", "000", None, None),
        ("NOBODYS", "000", None, None),
        ("200", "000", None, State.DELIVERED),
        ("NOBODYS", "000", b"\xc8", State.DELIVERED),
        ("HETHAN", "000", b"\xc8", State.EXPIRED),
    ],
)
def test_f14_the_card_says_what_a_carriers_own_words_and_codes_mean(desk, card, rig, stat, error, tlv, state):
    def then(message_id, number):
        own = text_receipt(message_id, stat, source=number, tlvs={Tag.MESSAGE_STATE: tlv} if tlv else {})
        return [own._replace(short_message=own.short_message.replace(b"err:000", b"err:" + error.encode()))]

    card = dataclasses.replace(card, receipt_states=OWN_WORDS)
    asyncio.run(hand_written(desk, rig, card, then, rig.subscribers(2), lambda: len(desk.receipts()) == 2))
    assert desk.messages() == {state or State.ACCEPTED: 2}
    assert {(row.state, row.stat, row.error) for row in desk.receipts()} == {(state and int(state), stat, error)}
    assert desk.orphans() == 0


def test_f15_a_storm_of_refusals_is_obeyed_while_sending_goes_on(desk, card, rig, tmp_path):
    storm = rig.fault("mo_storm", count=2000, text="Từ chối", at=50)
    people = rig.subscribers(300)
    carrier = asyncio.run(
        campaign(
            desk,
            rig,
            card,
            rig.mood(storm),
            tmp_path / "so.jsonl",
            people,
            until=lambda: desk.count(State.DELIVERED) == 300 and len(desk.replies()) == 2000,
        )
    )
    assert all(row.acked for row in rig.rows(carrier.ledger, "mo"))
    refusing = {int(row.dst) for row in rig.rows(carrier.ledger, "mo")}
    assert desk.refusing() == refusing == set(people[: len(refusing)])
    assert {row.kind for row in desk.replies()} == {"refuse"}


def test_f15_who_has_refused_gets_nothing_more(desk, card, rig, tmp_path):
    people = rig.subscribers(40)
    mood = rig.mood(reply_share=1.0)
    first = asyncio.run(
        campaign(
            desk,
            rig,
            card,
            mood,
            tmp_path / "1.jsonl",
            people[:20],
            until=lambda: len(desk.refusing()) == 20 and desk.count(State.DELIVERED) == 20,
        )
    )
    second = asyncio.run(
        campaign(
            desk,
            rig,
            card,
            mood,
            tmp_path / "2.jsonl",
            people,
            name="hai",
            until=lambda: desk.count(State.SUPPRESSED) == 20 and desk.count(State.DELIVERED) == 40,
        )
    )
    assert {int(row.dst) for row in rig.rows(first.ledger, "submit")} == set(people[:20])
    assert {int(row.dst) for row in rig.rows(second.ledger, "submit")} == set(people[20:])


def test_f16_a_stuck_store_stops_no_reading(card, rig):
    """5,000 receipts are read off the wire, and the link answers for itself, though none can be stored yet."""
    answered = asyncio.Event()
    acknowledged = []

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        receipts = b"".join(encode(text_receipt(at), at) for at in range(1, 5001))
        writer.write(receipts + b"\0\0\0\x10\0\0\0\x15\0\0\0\0\0\0\x20\0")
        while True:
            command, _, sequence, _ = await rig.read_pdu(reader)
            acknowledged.append(command == Command.DELIVER_SM_RESP)
            if (command, sequence) == (Command.ENQUIRE_LINK_RESP, 0x2000):
                answered.set()

    async def scenario():
        async with rig.peer(behave, card) as reachable, rig.sender(reachable, acknowledge=False) as sender:
            await sender.until(lambda: len(sender.inbound) == 5000)
            async with asyncio.timeout(rig.patience_s):
                await answered.wait()
            assert sender.client.bound
            assert not any(acknowledged)

    asyncio.run(scenario())


SPELLINGS = {
    "international": (lambda number: number, 1),
    "plus": (lambda number: "+" + number, 1),
    "national": (lambda number: "0" + number[2:], 2),
    "bare": (lambda number: number[2:], 2),
}


@pytest.mark.parametrize("spelling", ["international", "plus", "national", "bare"])
def test_f17_a_number_is_the_same_however_it_is_written(desk, card, rig, spelling):
    spell, ton = SPELLINGS[spelling]

    def then(message_id, number):
        return [text_receipt(message_id, source=spell(number), source_ton=ton)]

    asyncio.run(hand_written(desk, rig, card, then, rig.subscribers(5), lambda: len(desk.receipts()) == 5))
    assert desk.messages() == {State.DELIVERED: 5}
