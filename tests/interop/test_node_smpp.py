"""Our client against the server of node-smpp, which decodes every text itself: GSM 03.38, UCS-2 and user data headers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broadcaster.model import CarrierCard
from broadcaster.smpp import ReceiptState, Tag, classify, content, parse_receipt

pytestmark = pytest.mark.interop

NODE_DIRECTORY = Path(__file__).parent / "node"
MO_UCS2 = "Từ chối nhận tin cảnh báo 🙅"
MO_PARTS = ("TC va xin cam on ", "rat nhieu")
MO_REFERENCE = 42


class Smsc:
    """The process that runs node/server.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.port = 0
        self.reports: list[dict[str, Any]] = []
        self._process = process
        self._changed = asyncio.Event()

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.reports.append(json.loads(line))
            self._changed.set()

    def order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def seen(self, kind: str) -> list[Any]:
        return [report[kind] for report in self.reports if kind in report]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def smsc(node: str) -> AsyncIterator[Smsc]:
    process = await asyncio.create_subprocess_exec(
        node, str(NODE_DIRECTORY / "server.js"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    one = Smsc(process)
    reading = asyncio.create_task(one.read())
    try:
        await one.until(lambda: one.seen("port") or process.returncode is not None)
        one.port = one.seen("port")[0]
        yield one
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(20):
            await process.wait()
            await reading


def test_our_client_and_its_server_understand_each_other(card: CarrierCard, rig: SimpleNamespace) -> None:
    node = rig.tool("node")
    if not (NODE_DIRECTORY / "node_modules" / "smpp").is_dir():
        pytest.fail("node-smpp is not installed; run `make interop`")
    numbers = rig.numbers(len(rig.texts))

    async def scenario() -> tuple[Any, Any]:
        async with smsc(node) as server, rig.tap(server.port) as line, rig.esme(card, line.port) as our:
            for reference, (number, text) in enumerate(zip(numbers, rig.texts, strict=True), 1000):
                our.broadcast(number, text, reference)
            await our.until(lambda: len(our.inbound) == len(our.sent) == 8)
            way_back = {"source_addr": numbers[0], "destination_addr": rig.sender, "source_addr_ton": 1, "source_addr_npi": 1}
            server.order(deliver={**way_back, "text": MO_UCS2, "data_coding": 8})
            for index, text in enumerate(MO_PARTS, 1):
                header = bytes([5, 0, 3, MO_REFERENCE, len(MO_PARTS), index]).hex()
                server.order(deliver={**way_back, "text": text, "data_coding": 0, "udh": header})
            server.order(enquire=True)
            await server.until(lambda: server.seen("answered") and len(server.seen("delivered")) == 11)
            await line.until_both_asked("esme", "smsc")
            await our.client.stop(rig.patience_s)
            await server.until(lambda: server.seen("unbound"))
        line.check()
        return server, our

    server, our = asyncio.run(scenario())
    assert server.seen("error") == []
    assert server.seen("bind") == [{"system_id": card.system_id, "password": card.password.reveal(), "version": 0x34}]
    check_submits(server.seen("submit"), our, rig)
    assert server.seen("enquired")
    assert set(server.seen("answered") + server.seen("delivered")) == {0}
    check_inbound(our, rig)


def check_submits(submits: list[dict[str, Any]], our: Any, rig: SimpleNamespace) -> None:
    """What node-smpp read is what was meant, in the order in which it was submitted."""
    assert len(submits) == len(our.sent) == 8
    assert [submit["destination"] for submit in submits] == [part.number for part in our.sent]
    for reference, text in enumerate(rig.texts, 1000):
        parts = [submit for submit, part in zip(submits, our.sent, strict=True) if part.text == text]
        assert "".join(submit["text"] for submit in parts) == text
        assert {submit["data_coding"] for submit in parts} == {8 if "ả" in text else 0}
        assert {submit["reference"] for submit in parts} == {reference}
        elements = [[bytes([0, 3, rig.campaign, len(parts), part]).hex()] for part in range(1, len(parts) + 1)]
        assert [submit["udh"] for submit in parts] == (elements if len(parts) > 1 else [[]])
        assert {submit["esm_class"] for submit in parts} == {0x40 if len(parts) > 1 else 0}
    fixed = ("source", "source_ton", "source_npi", "dest_ton", "dest_npi", "registered_delivery")
    assert {tuple(submit[name] for name in fixed) for submit in submits} == {(rig.sender, 5, 0, 1, 1, 1)}
    assert all(abs(submit["validity_s"] - 90 * 60) <= 5 for submit in submits)


def check_inbound(our: Any, rig: SimpleNamespace) -> None:
    """What node-smpp wrote is what we read."""
    by_id = {part.message_id: part for part in our.sent}
    assert {part.status for part in our.sent} == {0}
    assert len(by_id) == 8
    receipts, messages = our.inbound[:8], our.inbound[8:]
    for one in receipts:
        receipt = parse_receipt(one)
        assert receipt is not None
        assert by_id.pop(receipt.message_id).number == one.source
        assert receipt.state is ReceiptState.DELIVERED
        assert one.tlvs[Tag.MESSAGE_STATE] == b"\x02"
    assert [classify(one) for one in messages] == ["message"] * 3
    assert [content(one) for one in messages] == [MO_UCS2, *MO_PARTS]
    assert {(one.source, one.source_ton, one.destination) for one in our.inbound[8:]} == {("84900000000", 1, rig.sender)}
    assert [one.short_message[:6] for one in messages[1:]] == [bytes([5, 0, 3, MO_REFERENCE, 2, part]) for part in (1, 2)]
