"""The client of aiosmpplib against our simulated carrier.

Long texts go both ways that it knows: whole, as message_payload, and cut by itself behind user data headers. In aiosmpplib 0.7.4 the
third way, parts tied by SAR parameters, ends its sender with an UnboundLocalError (`encoding` in `ESME._dequeue_messages`), and its
cutting counts a character of the GSM extension table as one septet, so that a part may hold more than a handset takes; our carrier,
which is no handset, reads it all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiosmpplib
import pytest
from aiosmpplib.broker import SimpleBroker
from aiosmpplib.protocol import EnquireLink, EnquireLinkResp
from aiosmpplib.state import NPI, TON
from aiosmpplib.utils import split_sms_udh

from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCard
from broadcaster.text import gsm

UDH_INDICATOR = 0x40
DELIVER_SM_RESP = 0x80000005


class Hook(aiosmpplib.AbstractHook):
    """Note what comes in."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._changed = asyncio.Event()

    async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        """Nothing to do."""

    async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        self.heard.append(smpp_message)
        self._changed.set()

    async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
        raise error

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.heard if type(one) is kind]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def esme(card: CarrierCard, port: int) -> AsyncIterator[tuple[aiosmpplib.AbstractBroker, Hook]]:
    hook, broker = Hook(), SimpleBroker()
    one = aiosmpplib.ESME(
        "127.0.0.1",
        port,
        card.system_id,
        card.password.reveal(),
        enquire_link_interval=60.0,
        hook=hook,
        broker=broker,
        log_level="CRITICAL",
    )
    running = asyncio.create_task(one.start())
    try:
        yield broker, hook
        # It forgets its connection when it stops, without closing it.
        connection = one._writer
        await one.stop()
        connection.close()
        await connection.wait_closed()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def submit(number: str, sender: str, text: str, **fields: Any) -> aiosmpplib.SubmitSm:
    return aiosmpplib.SubmitSm(
        short_message=text,
        source=aiosmpplib.PhoneNumber(sender, TON.ALPHANUMERIC, NPI.UNKNOWN),
        destination=aiosmpplib.PhoneNumber(number, TON.INTERNATIONAL, NPI.ISDN),
        registered_delivery=1,
        log_id=number,
        **fields,
    )


def cut(text: str) -> list[str]:
    """Cut a text with its own function and read the parts with our decoders."""
    if gsm.is_gsm(text):
        return [gsm.decode(part[6:]) for part in split_sms_udh(text, "gsm0338", 0)]
    return [part[6:].decode("utf-16-be") for part in split_sms_udh(text, "ucs2", 0)]


@pytest.mark.usefixtures("asking_smsc")
def test_its_client_and_our_carrier_understand_each_other(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    numbers = rig.numbers(6)
    long_texts = (rig.gsm_three, rig.ucs2_three)
    messages = [submit(number, rig.sender, text) for number, text in zip(numbers[:4], rig.texts, strict=True)]
    for number, text in zip(numbers[4:], long_texts, strict=True):
        messages.append(submit(number, rig.sender, text, esm_class=UDH_INDICATOR, auto_message_payload=False))

    async def scenario() -> tuple[Any, Hook]:
        async with (
            rig.carrier(card, tmp_path / "so.jsonl") as carrier,
            rig.tap(carrier.port) as line,
            esme(card, line.port) as (broker, hook),
        ):
            for message in messages:
                await broker.enqueue(message)
            await line.until(lambda: len(line.seen("esme", DELIVER_SM_RESP)) == 10 + 6)
            await broker.enqueue(EnquireLink())
            await line.until_both_asked("esme", "smsc")
            await hook.until(lambda: hook.of(EnquireLinkResp))
        line.check()
        return carrier, hook

    carrier, hook = asyncio.run(scenario())
    rows = list(read_ledger(carrier.ledger))
    submits = [row for row in rows if row.event == "submit"]
    check_submits(submits, numbers, rig)
    responses = {response.log_id: response.message_id for response in hook.of(aiosmpplib.SubmitSmResp)}
    ids = {row.dst: row.id for row in submits}
    assert list(responses) == numbers
    assert [responses[number] for number in numbers[:4]] == [ids[number] for number in numbers[:4]]
    received = hook.of(aiosmpplib.DeliverSm)
    receipts = [one.parse_receipt() | {"from": one.source.number, "log_id": one.log_id} for one in received if one.is_receipt()]
    assert sorted((receipt["from"], receipt["log_id"]) for receipt in receipts) == [(number, number) for number in numbers]
    assert {receipt["id"] for receipt in receipts} <= {row.id for row in submits}
    assert {receipt["id"] for receipt in receipts if receipt["from"] in numbers[:4]} == {ids[number] for number in numbers[:4]}
    assert {(receipt["stat"], receipt["err"], receipt["dlvrd"]) for receipt in receipts} == {("DELIVRD", 0, 1)}
    texts_back = {(one.source.number, one.short_message) for one in received if not one.is_receipt()}
    assert texts_back == {(row.dst, row.text) for row in rows if row.event == "mo"}
    assert {number for number, _ in texts_back} == set(numbers)
    assert carrier.totals.acknowledged == len(submits) + len(texts_back)


def check_submits(submits: list[LedgerRow], numbers: list[str], rig: SimpleNamespace) -> None:
    """Our carrier read whole texts from short_message and message_payload, and parts in order under one reference each."""
    digest = {text: hashlib.sha256(text.encode()).hexdigest() for text in rig.texts}
    wanted = [(number, 1, 1, digest[text]) for number, text in zip(numbers[:4], rig.texts, strict=True)]
    for number, text in zip(numbers[4:], (rig.gsm_three, rig.ucs2_three), strict=True):
        parts = cut(text)
        assert "".join(parts) == text
        wanted += [(number, part, 3, hashlib.sha256(one.encode()).hexdigest()) for part, one in enumerate(parts, 1)]
    assert [(row.dst, row.part, row.parts, row.sha) for row in submits] == wanted
    assert {(row.src, row.status) for row in submits} == {(rig.sender, 0)}
    assert {row.ref for row in submits[:4]} == {None}
    assert len({(row.dst, row.ref) for row in submits[4:]}) == len({row.ref for row in submits[4:]}) == 2
