"""cancel_sm (SMPP 3.4, 4.9) between the client and the simulated carrier, over real sockets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from broadcaster.link.ledger import read_ledger
from broadcaster.link.temperament import IdForm, SpanMs
from broadcaster.model import CarrierCard
from broadcaster.smpp import ReceiptState, parse_receipt

CANCEL_FAILED = 0x11
SOURCE = "CANHBAO"


def states_of(sender: Any) -> list[ReceiptState]:
    return [receipt.state for inbound in sender.inbound if (receipt := parse_receipt(inbound.body)) is not None]


def play(rig: SimpleNamespace, card: CarrierCard, tmp_path: Path, *, delay_ms: int, scene: Any, **mood: Any) -> Any:
    temperament = replace(rig.calm, receipt_delay_ms=SpanMs(delay_ms, delay_ms), **mood)

    async def scenario() -> Any:
        async with rig.carrier(card, temperament, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            (number,) = rig.numbers(1)
            sender.submit([number])
            await sender.until(lambda: len(sender.answers) == 1)
            (_, smsc_id) = sender.answers[number]
            found = await scene(sender, smsc_id, number)
            await sender.client.stop(1.0)
            return found

    return asyncio.run(scenario())


def test_what_the_carrier_still_holds_is_dropped_and_its_receipt_says_so(
    card: CarrierCard, rig: SimpleNamespace, tmp_path: Path
) -> None:
    async def scene(sender: Any, smsc_id: str, number: str) -> Any:
        status = await sender.client.request_cancel(smsc_id, SOURCE, number)
        await sender.until(lambda: len(sender.inbound) == 1)
        return status, await sender.client.request_cancel(smsc_id, SOURCE, number), states_of(sender)

    found = play(rig, replace(card, cancels=True), tmp_path, delay_ms=600_000, scene=scene, response_id=IdForm.UPPER)
    assert found == (0, CANCEL_FAILED, [ReceiptState.DELETED])
    # Not even the carrier's own closing of its books speaks of another receipt.
    assert [(row.stat, row.acked) for row in read_ledger(tmp_path / "so.jsonl") if row.event == "receipt"] == [("DELETED", True)]


def test_what_has_gone_out_is_not_dropped(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scene(sender: Any, smsc_id: str, number: str) -> Any:
        await sender.until(lambda: len(sender.inbound) == 1)
        return await sender.client.request_cancel(smsc_id, SOURCE, number), states_of(sender)

    assert play(rig, replace(card, cancels=True), tmp_path, delay_ms=0, scene=scene) == (CANCEL_FAILED, [ReceiptState.DELIVERED])


def test_neither_another_subscribers_nor_at_a_carrier_that_cannot(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    async def scene(sender: Any, smsc_id: str, number: str) -> Any:
        return await sender.client.request_cancel(smsc_id, SOURCE, number)

    async def other(sender: Any, smsc_id: str, number: str) -> Any:
        return await sender.client.request_cancel(smsc_id, SOURCE, number[:-1] + "x")

    assert play(rig, replace(card, cancels=True), tmp_path, delay_ms=600_000, scene=other) == CANCEL_FAILED
    assert play(rig, card, tmp_path, delay_ms=600_000, scene=scene) == CANCEL_FAILED
