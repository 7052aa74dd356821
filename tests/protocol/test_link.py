"""The client against the simulated carrier, over real sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import stat
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broadcaster.errors import CarrierError
from broadcaster.lang import Said
from broadcaster.link.backoff import Backoff, Ending
from broadcaster.link.client import LinkState
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.link.temperament import IdForm, ReceiptBy, SpanMs, Temperament
from broadcaster.model import CarrierCard, Endpoint, Secret
from broadcaster.smpp import (
    CancelSmResp,
    Command,
    EnquireLink,
    EnquireLinkResp,
    LocalProtocolError,
    content,
    encode,
    normal_id,
    parse_receipt,
)

DIGEST = hashlib.sha256(b"CANH BAO lua dao").hexdigest()


def rows(path: Path, event: str) -> list[LedgerRow]:
    return [row for row in read_ledger(path) if row.event == event]


def receipts_of(sender: Any) -> list[Any]:
    return [receipt for inbound in sender.inbound if (receipt := parse_receipt(inbound.body)) is not None]


def test_every_message_is_answered_and_gets_its_receipt(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    numbers = rig.numbers(300)

    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(numbers)
            await sender.until(lambda: len(sender.inbound) == 300)
            assert sender.client.outstanding == 0
            await sender.client.stop(1.0)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert sender.unanswered == {}
    assert {status for status, _ in sender.answers.values()} == {0}
    by_id = {message_id: number for number, (_, message_id) in sender.answers.items()}
    assert len(by_id) == 300
    assert sorted(receipt.message_id for receipt in receipts_of(sender)) == sorted(by_id)
    assert [state for state, _ in sender.states] == [LinkState.CONNECTING, LinkState.BOUND, LinkState.STOPPED]
    assert carrier.totals.accepted == carrier.totals.receipts == carrier.totals.acknowledged == 300
    submits = rows(carrier.ledger, "submit")
    assert {row.id: row.dst for row in submits} == by_id
    assert {(row.src, row.part, row.parts, row.ref, row.sha, row.status) for row in submits} == {("CANHBAO", 1, 1, None, DIGEST, 0)}
    assert {(row.id, row.dst, row.stat, row.acked) for row in rows(carrier.ledger, "receipt")} == {
        (row.id, row.dst, "DELIVRD", True) for row in submits
    }
    assert stat.S_IMODE(carrier.ledger.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("response", "receipt", "by", "form"),
    [
        (IdForm.HEX, IdForm.DECIMAL, ReceiptBy.BOTH, ("hex", "dec")),
        (IdForm.PADDED, IdForm.DECIMAL, ReceiptBy.TEXT, ("dec", "dec")),
        (IdForm.UUID, IdForm.UUID, ReceiptBy.TLV, ("raw", "raw")),
    ],
)
def test_ids_meet_again_through_each_dialect(
    response: IdForm, receipt: IdForm, by: ReceiptBy, form: tuple[Any, Any], card: CarrierCard, rig: SimpleNamespace, tmp_path: Path
) -> None:
    mood = dataclasses.replace(rig.calm, response_id=response, receipt_id=receipt, receipt_by=by, undeliverable_share=0.3)

    async def scenario() -> Any:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(40))
            await sender.until(lambda: len(sender.inbound) == 40)
            return sender

    sender = asyncio.run(scenario())
    answered = {normal_id(message_id, form[0]) for _, message_id in sender.answers.values()}
    received = {normal_id(one.message_id, form[1]) for one in receipts_of(sender)}
    assert answered == received
    assert len(received) == 40
    assert {str(one.state) for one in receipts_of(sender)} == {"delivered", "undeliverable"}


def test_bad_password_is_tried_exactly_twice(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier:
            wrong = dataclasses.replace(carrier.card, password=Secret("sai"))
            async with rig.sender(wrong) as sender:
                await sender.until(lambda: sender.count(LinkState.STOPPED))
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert carrier.totals.refused_binds == 2
    assert [state for state, _ in sender.states] == [
        LinkState.CONNECTING,
        LinkState.REFUSED,
        LinkState.CONNECTING,
        LinkState.REFUSED,
        LinkState.STOPPED,
    ]
    assert "RINVPASWD" in sender.states[1][1]
    assert not any("sai" in reason.split() for _, reason in sender.states)


def test_other_refusals_of_the_bind_are_tried_again(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> Any:
        mood = Temperament(refuse_bind_status=0x05)
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            await sender.until(lambda: sender.count(LinkState.REFUSED) == 4)
            assert not sender.client.bound
            assert sender.client.room == 0
            with pytest.raises(LocalProtocolError):
                sender.client.submit(rig.template, b"84900000001", None)
            return sender

    sender = asyncio.run(scenario())
    assert sender.count(LinkState.BOUND) == 0
    assert "RALYBND" in sender.states[1][1]


def test_nobody_there_says_so(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> Any:
        async with rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier:
            gone = carrier.card
        async with rig.sender(gone) as sender:
            await sender.until(lambda: sender.count(LinkState.LOST) == 2)
            return sender

    sender = asyncio.run(scenario())
    assert sender.states[0][0] is LinkState.CONNECTING
    assert sender.states[1][1].startswith("127.0.0.1:")
    assert sender.states[1][1].endswith("từ chối kết nối")


def test_loss_names_the_unanswered_and_the_rest_goes_on(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """F37: what the carrier took but did not answer is uncertain; nothing else is lost, nothing is sent twice."""
    numbers = rig.numbers(200)
    mood = dataclasses.replace(rig.calm, disconnect_after=75, response_delay_ms=SpanMs(1, 5))

    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(numbers)
            await sender.until(lambda: len(sender.answers) + len(sender.unanswered) == 200)
            await sender.client.stop(1.0)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert sender.count(LinkState.BOUND) == 2
    assert sender.count(LinkState.LOST) == 1
    assert 1 <= len(sender.unanswered) <= card.window
    assert sender.answers.keys() | sender.unanswered.keys() == set(numbers)
    assert not sender.answers.keys() & sender.unanswered.keys()
    taken = [row.dst for row in rows(carrier.ledger, "submit")]
    assert len(taken) == len(set(taken))
    assert set(taken) >= sender.answers.keys()


def test_an_answer_that_never_comes_frees_its_slot(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """F34: single losses are reported and the session stays."""
    mood = dataclasses.replace(rig.calm, drop_response_share=0.01, seed=3)
    quick = dataclasses.replace(card, response_timeout_s=0.3)

    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(quick, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(100))
            await sender.until(lambda: len(sender.answers) + len(sender.unanswered) == 100)
            assert sender.client.bound
            await sender.client.stop(1.0)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    withheld = {row.dst for row in rows(carrier.ledger, "submit") if not row.answered}
    assert 1 <= len(withheld) <= 2
    assert sender.unanswered.keys() == withheld
    assert sender.count(LinkState.LOST) == 0


def test_a_carrier_that_stops_answering_is_left(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """F34: three expiries in a row end the session."""
    mood = dataclasses.replace(rig.calm, drop_response_share=1.0)
    quick = dataclasses.replace(card, response_timeout_s=0.1)

    async def scenario() -> Any:
        async with rig.carrier(quick, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(10))
            await sender.until(lambda: sender.count(LinkState.LOST))
            return sender

    sender = asyncio.run(scenario())
    assert len(sender.unanswered) == 10
    lost = next(reason for state, reason in sender.states if state is LinkState.LOST)
    assert lost == "không có trả lời trong 0.1 giây"


def test_unacknowledged_receipts_come_again(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> tuple[Any, Any, Any]:
        async with rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier:
            async with rig.sender(carrier.card, acknowledge=False) as deaf:
                deaf.submit(rig.numbers(30))
                await deaf.until(lambda: len(deaf.inbound) == 30)
                deaf.client.acknowledge_all(deaf.inbound[:10])
                await deaf.client.stop(0.0)
            async with rig.sender(carrier.card) as hearing:
                await hearing.until(lambda: len(hearing.inbound) == 20)
                hearing.client.acknowledge_all(deaf.inbound)  # of an earlier session: passed over
                await hearing.client.stop(1.0)
        return deaf, hearing, carrier

    deaf, hearing, carrier = asyncio.run(scenario())
    first = [receipt.message_id for receipt in receipts_of(deaf)]
    assert sorted(receipt.message_id for receipt in receipts_of(hearing)) == sorted(first[10:])
    assert carrier.totals.acknowledged == 30
    assert all(row.acked for row in rows(carrier.ledger, "receipt"))


def test_receipts_left_unacknowledged_are_on_the_ledger_as_such(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> Any:
        async with (
            rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier,
            rig.sender(carrier.card, acknowledge=False) as deaf,
        ):
            deaf.submit(rig.numbers(5))
            await deaf.until(lambda: len(deaf.inbound) == 5)
        return carrier

    carrier = asyncio.run(scenario())
    assert [row.acked for row in rows(carrier.ledger, "receipt")] == [False] * 5


def test_a_receipt_refused_for_now_comes_again_later(
    card: CarrierCard, rig: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T4: when our store fails we answer RX_T_APPN, and the carrier keeps it."""
    monkeypatch.setattr("broadcaster.link.simulator.RETRY_DELIVERY_S", 0.02)

    async def scenario() -> tuple[Any, Any]:
        async with (
            rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier,
            rig.sender(carrier.card, acknowledge=False) as sender,
        ):
            sender.submit(rig.numbers(1))
            await sender.until(lambda: len(sender.inbound) == 1)
            sender.client.acknowledge(sender.inbound[0], 0x64)
            await sender.until(lambda: len(sender.inbound) == 2)
            sender.client.acknowledge(sender.inbound[1])
            await sender.client.stop(1.0)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    first, second = receipts_of(sender)
    assert first.message_id == second.message_id
    assert [row.acked for row in rows(carrier.ledger, "receipt")] == [True]


def test_stop_waits_for_what_is_outstanding(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """F36: nothing is uncertain after an orderly stop, and no more is submitted."""
    mood = dataclasses.replace(rig.calm, response_delay_ms=SpanMs(50, 100))

    async def scenario() -> Any:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            await sender.until(lambda: sender.client.bound)
            sender.submit(rig.numbers(60))
            assert sender.client.outstanding == card.window
            await sender.client.stop(rig.patience_s)
            assert sender.client.room == 0
            return sender

    sender = asyncio.run(scenario())
    assert len(sender.answers) == card.window
    assert sender.unanswered == {}
    assert len(sender.queue) == 60 - card.window
    assert sender.states[-1] == (LinkState.STOPPED, "đã dừng theo yêu cầu")


def test_stop_gives_up_when_its_time_is_over(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    mood = dataclasses.replace(rig.calm, drop_response_share=1.0)

    async def scenario() -> Any:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            await sender.until(lambda: sender.client.bound)
            sender.submit(rig.numbers(5))
            await sender.client.stop(0.05)
            return sender

    assert asyncio.run(scenario()).unanswered.keys() == set(rig.numbers(5))


def test_stop_while_waiting_to_connect_again_is_at_once(card: CarrierCard, rig: SimpleNamespace) -> None:
    async def scenario() -> Any:
        nowhere = dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", 1))
        async with rig.sender(nowhere, backoff=Backoff(first_s=3600, spacing_s=3600)) as sender:
            await sender.until(lambda: sender.count(LinkState.LOST))
            async with asyncio.timeout(rig.patience_s):
                await sender.client.stop(3600)
            return sender

    assert asyncio.run(scenario()).states[-1][0] is LinkState.STOPPED


def test_refused_numbers_are_always_the_same(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    mood = dataclasses.replace(rig.calm, refuse_share=0.2, refuse_status=0x0B)
    numbers = rig.numbers(100)

    async def once(ledger: Path) -> tuple[Any, Any]:
        async with rig.carrier(card, mood, ledger) as carrier, rig.sender(carrier.card) as sender:
            sender.submit(numbers)
            await sender.until(lambda: len(sender.answers) == 100)
        return sender, carrier

    (first, carrier), (second, _) = asyncio.run(once(tmp_path / "1.jsonl")), asyncio.run(once(tmp_path / "2.jsonl"))
    refused = {number for number, (status, _) in first.answers.items() if status == 0x0B}
    assert 5 < len(refused) < 40
    assert refused == {number for number, (status, _) in second.answers.items() if status == 0x0B}
    assert all(first.answers[number][1] is None for number in refused)
    assert {row.dst for row in rows(carrier.ledger, "submit") if row.status == 0x0B and row.id is None} == refused
    assert carrier.totals.refused == len(refused)


def test_submits_above_the_rate_are_throttled(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    mood = dataclasses.replace(rig.calm, throttle_tps=20)

    async def scenario() -> Any:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(50))
            await sender.until(lambda: len(sender.answers) == 50)
            return sender

    sender = asyncio.run(scenario())
    statuses = [status for status, _ in sender.answers.values()]
    assert set(statuses) == {0, 0x58}
    assert statuses.count(0) >= 20


def test_subscribers_text_back_once(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    mood = dataclasses.replace(rig.calm, reply_share=1.0, missing_share=1.0)
    numbers = rig.numbers(60)

    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(numbers)
            sender.submit(numbers[:10])
            await sender.until(lambda: len(sender.inbound) == 60 and not sender.queue and not sender.client.outstanding)
            await sender.client.stop(1.0)
        return sender, carrier

    sender, carrier = asyncio.run(scenario())
    assert {inbound.body.source for inbound in sender.inbound} == set(numbers)
    assert {content(inbound.body) for inbound in sender.inbound} == {"TC", "Từ chối", "tc."}
    assert {inbound.body.destination for inbound in sender.inbound} == {"CANHBAO"}
    replies = rows(carrier.ledger, "mo")
    assert {(row.dst, row.text) for row in replies} == {(inbound.body.source, content(inbound.body)) for inbound in sender.inbound}
    assert all(row.acked for row in replies)


def test_a_receipt_may_come_first_and_twice(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """F01 and F10."""
    mood = dataclasses.replace(rig.calm, before_response_share=1.0, duplicate_share=1.0, receipt_delay_ms=SpanMs(0, 0))

    async def scenario() -> Any:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(3))
            await sender.until(lambda: len(sender.inbound) >= 3)
            assert sender.answers == {}
            await sender.until(lambda: len(sender.inbound) == 6 and len(sender.answers) == 3)
            return sender

    ids = [receipt.message_id for receipt in receipts_of(asyncio.run(scenario()))]
    assert sorted(ids) == sorted(list(set(ids)) * 2)


def test_no_response_leaves_before_its_row_is_on_the_disk(
    card: CarrierCard, rig: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def slow_fsync(descriptor: int) -> None:
        syncing.set()
        assert go_on.wait(rig.patience_s)

    monkeypatch.setattr("broadcaster.link.ledger.os.fsync", slow_fsync)
    mood = dataclasses.replace(rig.calm, before_response_share=1.0, receipt_delay_ms=SpanMs(0, 0))

    async def scenario() -> Any:
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(rig.numbers(5))
            await asyncio.to_thread(syncing.wait, rig.patience_s)
            for _ in range(200):
                await asyncio.sleep(0)
            assert not sender.answers
            assert not sender.inbound
            go_on.set()
            await sender.until(lambda: len(sender.answers) == len(sender.inbound) == 5)
            return sender

    asyncio.run(scenario())


def test_a_taken_port_is_an_error(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.carrier(card, rig.calm, tmp_path / "1.jsonl") as carrier:
            with pytest.raises(CarrierError):
                async with rig.carrier(card, rig.calm, tmp_path / "2.jsonl", port=carrier.card.endpoint.port):
                    pass

    asyncio.run(scenario())


def test_hosts_of_an_account_are_tried_in_turn(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    """The first host is not there; when the second goes away the first is asked again."""

    async def scenario() -> tuple[Any, str]:
        async with rig.carrier(card, rig.calm, tmp_path / "so.jsonl") as carrier:
            there, gone = carrier.card.endpoint, Endpoint("127.0.0.1", 1)
            both = dataclasses.replace(card, endpoint=gone, alternates=(there,))
            async with rig.sender(both) as sender:
                sender.submit(rig.numbers(20))
                await sender.until(lambda: len(sender.answers) == 20)
                assert sender.client.endpoint == there
                carrier.stop.set()
                await sender.until(lambda: sender.count(LinkState.CONNECTING) >= 4)
        return sender, str(there)

    sender, there = asyncio.run(scenario())
    assert [reason for state, reason in sender.states if state is LinkState.CONNECTING][:4] == [
        "127.0.0.1:1",
        there,
        "127.0.0.1:1",
        there,
    ]


def test_a_client_that_does_not_keep_trying_says_how_it_ended(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scenario(account: CarrierCard) -> Any:
        async with rig.sender(account, keep_trying=False) as sender:
            await sender.until(lambda: sender.count(LinkState.STOPPED))
        return sender

    async def refused() -> Any:
        async with rig.carrier(card, rig.mood(refuse_bind_status=0x0D), tmp_path / "so.jsonl") as carrier:
            return await scenario(carrier.card)

    nobody = asyncio.run(scenario(dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", 1))))
    assert (nobody.client.ending[0], nobody.client.bind_status) == (Ending.UNREACHABLE, None)
    turned_away = asyncio.run(refused())
    assert (turned_away.client.ending[0], turned_away.client.bind_status) == (Ending.REFUSED, 0x0D)
    for sender in (nobody, turned_away):
        assert sender.count(LinkState.CONNECTING) == 1


def test_other_requests_are_answered_or_not_and_end_with_the_link(card: CarrierCard, rig: SimpleNamespace) -> None:
    """enquire_link, and cancel_sm with the card's types of number; a dropped connection answers nothing, and is made anew."""
    asked = []
    third = asyncio.Event()

    async def behave(reader: Any, writer: Any) -> None:
        await rig.accept_bind(reader, writer)
        while True:
            command, _, sequence, body = await rig.read_pdu(reader)
            asked.append((command, body))
            if len(asked) == 3:
                third.set()
            if command == Command.ENQUIRE_LINK:
                writer.write(encode(EnquireLinkResp(), sequence))
            elif len([1 for each, _ in asked if each == Command.CANCEL_SM]) == 1:
                writer.write(encode(CancelSmResp(), sequence, 0x11))

    async def scenario() -> tuple[Any, list[int | None]]:
        async with rig.peer(behave, card) as reachable, rig.sender(reachable) as sender:
            client = sender.client
            with pytest.raises(LocalProtocolError):
                await client.request_cancel("1d", "CANHBAO", "84905000000")
            await sender.until(lambda: client.bound)
            said = [await client.request(EnquireLink()), await client.request_cancel("1d", "CANHBAO", "84905000000")]
            waiting = asyncio.create_task(client.request_cancel("2d", "CANHBAO", "84905000001"))
            await third.wait()
            client.drop(Said(vi="đứng lâu", en="stood still"))
            said.append(await waiting)
            await sender.until(lambda: sender.count(LinkState.BOUND) == 2)
        return sender, said

    sender, said = asyncio.run(scenario())
    assert said == [0, 0x11, None]
    assert sender.unanswered == {}
    assert next(reason for state, reason in sender.states if state is LinkState.LOST) == "đứng lâu"
    assert asked[1][1] == b"\0" + b"1d\0" + b"\5\0CANHBAO\0" + b"\1\x0184905000000\0"
