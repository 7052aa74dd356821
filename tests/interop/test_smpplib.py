"""The client of smpplib against our simulated carrier."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import smpplib.client
import smpplib.command
import smpplib.gsm
import smpplib.smpp

from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCard

UDH_INDICATOR: Final = 0x40
RECEIPT: Final = 0x04


class Esme:
    """A thread's worth of smpplib: submit everything, then read until everything has come back."""

    def __init__(self, card: CarrierCard, port: int, patience_s: float) -> None:
        self.answers: dict[int, str] = {}
        self.receipts: list[Any] = []
        self.messages: list[Any] = []
        self._card = card
        # It reads in the middle of a PDU when its timeout fires between two halves (docs/delivery.md, S1), so none may fire.
        self._client = smpplib.client.Client("127.0.0.1", port, timeout=patience_s, allow_unknown_opt_params=True)
        self._client.set_message_sent_handler(self._on_sent)
        self._client.set_message_received_handler(self._on_received)

    def run(self, numbers: list[str], texts: tuple[str, ...], sender: str) -> None:
        client, submitted = self._client, 0
        client.connect()
        client.bind_transceiver(system_id=self._card.system_id, password=self._card.password.reveal())
        for number, text in zip(numbers, texts, strict=True):
            parts, data_coding, esm_class = smpplib.gsm.make_parts(text)
            for part in parts:
                client.send_message(
                    source_addr_ton=5,
                    source_addr=sender,
                    dest_addr_ton=1,
                    dest_addr_npi=1,
                    destination_addr=number,
                    short_message=part,
                    data_coding=data_coding,
                    esm_class=esm_class,
                    registered_delivery=True,
                )
                submitted += 1
        client.send_pdu(smpplib.smpp.make_pdu("enquire_link", client=client))
        while not (len(self.answers) == len(self.receipts) == submitted and len(self.messages) == len(numbers)):
            client.read_once()
        # One PDU more: the carrier asks after a line that has become quiet. Only then is it sure that what smpplib reads behind its
        # unbind is the answer to it, for it takes whatever comes (S10).
        client.read_once()
        client.unbind()
        client.disconnect()

    def _on_sent(self, pdu: Any, **_: Any) -> None:
        self.answers[pdu.sequence] = pdu.message_id.decode()

    def _on_received(self, pdu: Any, **_: Any) -> int:
        (self.receipts if pdu.esm_class & RECEIPT else self.messages).append(pdu)
        return 0


@pytest.mark.usefixtures("asking_smsc")
def test_its_client_and_our_carrier_understand_each_other(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    numbers = rig.numbers(len(rig.texts))

    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(card, tmp_path / "so.jsonl") as carrier, rig.tap(carrier.port) as line:
            theirs = Esme(card, line.port, rig.patience_s)
            await asyncio.to_thread(theirs.run, numbers, rig.texts, rig.sender)
            await line.until_both_asked("esme", "smsc")
        line.check()
        return carrier, theirs

    carrier, theirs = asyncio.run(scenario())
    rows = list(read_ledger(carrier.ledger))
    submits = [row for row in rows if row.event == "submit"]
    assert list(theirs.answers.values()) == [row.id for row in submits]
    for number, text in zip(numbers, rig.texts, strict=True):
        check_text(text, [row for row in submits if row.dst == number], rig.sender)
    assert {(row.id, row.stat, row.acked) for row in rows if row.event == "receipt"} == {(row.id, "DELIVRD", True) for row in submits}
    check_receipts(theirs, {row.id: row.dst for row in submits}, rig.sender)
    messages = {(row.dst, row.text) for row in rows if row.event == "mo"}
    assert {number for number, _ in messages} == set(numbers)
    assert {(pdu.source_addr.decode(), read(pdu)) for pdu in theirs.messages} == messages
    assert carrier.totals.acknowledged == len(submits) + len(numbers)


def check_text(text: str, rows: list[LedgerRow], sender: str) -> None:
    """Our carrier read the parts that smpplib had made, in order and under one reference."""
    parts, data_coding, _ = smpplib.gsm.make_parts(text)
    assert [(row.src, row.part, row.parts, row.status) for row in rows] == [
        (sender, part, len(parts), 0) for part in range(1, len(parts) + 1)
    ]
    assert len({row.ref for row in rows}) == 1
    assert (rows[0].ref is None) == (len(rows) == 1)
    bare = [part[6:] if len(parts) > 1 else part for part in parts]
    if data_coding == 8:
        texts = [part.decode("utf-16-be") for part in bare]
    else:
        at = 0
        texts = []
        for part in bare:
            characters = len(part) - part.count(b"\x1b")
            texts.append(text[at : at + characters])
            at += characters
    assert "".join(texts) == text
    assert [row.sha for row in rows] == [hashlib.sha256(one.encode()).hexdigest() for one in texts]


def check_receipts(theirs: Esme, numbers_by_id: dict[str | None, str], sender: str) -> None:
    """What smpplib read of each receipt names its message, in the optional parameter and in the text."""
    assert len(theirs.receipts) == len(numbers_by_id)
    for pdu in theirs.receipts:
        message_id = pdu.receipted_message_id.decode()
        assert numbers_by_id.pop(message_id) == pdu.source_addr.decode()
        assert pdu.destination_addr.decode() == sender
        assert pdu.message_state == 2
        assert pdu.short_message.startswith(f"id:{message_id} sub:001 dlvrd:001 submit date:".encode())
        assert b" stat:DELIVRD err:000 text:" in pdu.short_message


def read(pdu: Any) -> str:
    """Read a subscriber's message."""
    octets: bytes = pdu.short_message
    return octets.decode("utf-16-be") if pdu.data_coding == 8 else octets.decode("ascii")
