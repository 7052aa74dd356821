"""A campaign between our client and our simulated carrier, captured on the loopback and read by tshark's SMPP dissector."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.link.temperament import SpanMs
from broadcaster.model import CarrierCard
from broadcaster.smpp import Tag

pytestmark = pytest.mark.interop

UNBIND_RESP = bytes.fromhex("00000010 80000006 00000000")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
DELIVERED = b"\x02"
TRIES, PAUSE_S = 200, 0.05


@contextlib.asynccontextmanager
async def capture(tshark: str, port: int, file: Path) -> AsyncIterator[None]:
    """Capture what crosses `port` until the last PDU of a session has been written to `file`."""
    process = await asyncio.create_subprocess_exec(
        tshark,
        "-i",
        "lo",
        "-f",
        f"tcp port {port}",
        "-w",
        str(file),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    heard = b""
    try:
        async with asyncio.timeout(20):
            while b"Capture started" not in heard:
                line = await process.stderr.readline()
                heard += line
                assert line, f"tshark cannot capture on the loopback (it needs root): {heard.decode()}"
        yield
        for _ in range(TRIES):
            if UNBIND_RESP in await asyncio.to_thread(file.read_bytes):
                break
            await asyncio.sleep(PAUSE_S)
        else:
            pytest.fail("the capture has no unbind_resp")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            await process.communicate()


async def dissect(tshark: str, port: int, file: Path) -> ET.Element:
    process = await asyncio.create_subprocess_exec(
        tshark,
        "-r",
        str(file),
        "-d",
        f"tcp.port=={port},smpp",
        "-o",
        "smpp.decode_sms_over_smpp:GSM 7-bit",
        "-T",
        "pdml",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return ET.fromstring(CONTROL.sub("?", out.decode("utf-8", "replace")))


class Pdu:
    """One PDU as tshark reads it: its fields as shown, and as octets."""

    def __init__(self, proto: ET.Element) -> None:
        self._fields: dict[str, ET.Element] = {}
        self.take(proto)

    def take(self, proto: ET.Element) -> None:
        self._fields |= {field.get("name", ""): field for field in proto.iter("field")}

    def shown(self, name: str) -> str | None:
        field = self._fields.get(name)
        return None if field is None else field.get("show")

    def number(self, name: str) -> int | None:
        shown = self.shown(name)
        return None if shown is None else int(float(shown)) if "." in shown else int(shown, 0)

    def octets(self, name: str) -> bytes:
        return bytes.fromhex(self._fields[name].get("value", ""))


def pdus_of(packets: ET.Element) -> list[Pdu]:
    """Return the PDUs in order; what the dissector for user data headers says belongs to the PDU ahead of it."""
    pdus: list[Pdu] = []
    for proto in packets.iter("proto"):
        if proto.get("name") == "smpp":
            pdus.append(Pdu(proto))
        elif proto.get("name") == "gsm_sms_ud":
            pdus[-1].take(proto)
    return pdus


def complaints(packets: ET.Element) -> list[str | None]:
    """Return what tshark finds wrong or worth a remark, but for TCP's own remarks on opening, closing and the like."""
    found = []
    for proto in packets.iter("proto"):
        if proto.get("name") == "_ws.malformed":
            found.append(proto.get("showname"))
        elif proto.get("name") != "tcp":
            found += [field.get("showname") for field in proto.iter("field") if field.get("name") == "_ws.expert"]
    return found


@pytest.mark.usefixtures("asking_smsc")
def test_the_dissector_reads_what_we_meant(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    tshark = rig.tool("tshark")
    numbers = rig.numbers(12)
    # Long enough for the link to be asked after before the subscribers text back.
    mood = {"reply_delay_ms": SpanMs(900, 1000), "undeliverable_share": 0.2}

    async def scenario() -> Any:
        file = tmp_path / "lo.pcapng"
        async with (
            rig.carrier(card, tmp_path / "so.jsonl", **mood) as carrier,
            capture(tshark, carrier.port, file),
            rig.esme(card, carrier.port) as our,
        ):
            for index, number in enumerate(numbers):
                our.broadcast(number, rig.texts[index % 4], 1000 + index)
            await our.until(lambda: len(receipts_of(our)) == len(our.sent))
            delivered = {one.source for one in receipts_of(our) if one.tlvs[Tag.MESSAGE_STATE] == DELIVERED}
            await our.until(lambda: len(our.inbound) == len(our.sent) + len(delivered))
        return carrier, our, await dissect(tshark, carrier.port, file)

    carrier, our, packets = asyncio.run(scenario())
    assert complaints(packets) == []
    pdus = pdus_of(packets)
    kinds = Counter(pdu.number("smpp.command_id") for pdu in pdus)
    submits, deliveries = len(our.sent), len(our.inbound)
    assert submits == 24
    assert kinds.pop(0x15) == kinds.pop(0x80000015) >= 1
    assert kinds == {
        0x09: 1, 0x80000009: 1, 0x04: submits, 0x80000004: submits, 0x05: deliveries, 0x80000005: deliveries, 0x06: 1, 0x80000006: 1
    }  # fmt: skip
    assert {pdu.number("smpp.command_status") for pdu in pdus} == {None, 0}
    check_submits([pdu for pdu in pdus if pdu.number("smpp.command_id") == 0x04], our, rig)
    answers = {
        pdu.number("smpp.sequence_number"): pdu.shown("smpp.message_id")
        for pdu in pdus
        if pdu.number("smpp.command_id") == 0x80000004
    }
    asked = [pdu.number("smpp.sequence_number") for pdu in pdus if pdu.number("smpp.command_id") == 0x04]
    assert [answers[sequence] for sequence in asked] == [part.message_id for part in our.sent]
    rows = list(read_ledger(carrier.ledger))
    assert [row.id for row in rows if row.event == "submit"] == [part.message_id for part in our.sent]
    check_deliveries([pdu for pdu in pdus if pdu.number("smpp.command_id") == 0x05], rows, rig.sender)


def receipts_of(our: Any) -> list[Any]:
    return [one for one in our.inbound if Tag.MESSAGE_STATE in one.tlvs]


def check_submits(submits: list[Pdu], our: Any, rig: SimpleNamespace) -> None:
    """Every field of every submit, in the order in which they were submitted."""
    texts: dict[str, str] = {}
    for pdu, part in zip(submits, our.sent, strict=True):
        ucs2, long = "ả" in part.text, part.parts > 1
        assert (pdu.shown("smpp.source_addr"), pdu.number("smpp.source_addr_ton"), pdu.number("smpp.source_addr_npi")) == (
            rig.sender,
            5,
            0,
        )
        assert (pdu.number("smpp.dest_addr_ton"), pdu.number("smpp.dest_addr_npi")) == (1, 1)
        assert pdu.shown("smpp.destination_addr") == part.number
        assert pdu.number("smpp.data_coding") == (8 if ucs2 else 0)
        assert pdu.number("smpp.esm.submit.features") == (1 if long else 0)
        assert pdu.number("smpp.esm.submit.msg_mode") == pdu.number("smpp.esm.submit.msg_type") == 0
        assert pdu.number("smpp.regdel.receipt") == 1
        assert pdu.number("smpp.validity_period_r") == 90 * 60
        assert pdu.number("smpp.user_message_reference") == part.reference
        header = [pdu.number(f"gsm_sms.udh.mm.{name}") for name in ("msg_id", "msg_parts", "msg_part")]
        assert header == ([rig.campaign, part.parts, part.part] if long else [None, None, None])
        octets = pdu.octets("smpp.message")[6 if long else 0 :]
        text = octets.decode("utf-16-be") if ucs2 else pdu.shown("smpp.message_text")
        assert text is not None
        # tshark reads UCS-2 as that and not as UTF-16, so it shows no character beyond it.
        if not any(char > "\uffff" for char in text):
            assert pdu.shown("smpp.message_text") == text
        texts[part.number] = texts.get(part.number, "") + text
    assert texts == {part.number: part.text for part in our.sent}


def check_deliveries(deliveries: list[Pdu], rows: list[LedgerRow], sender: str) -> None:
    """Receipts and subscribers' messages are those of the carrier's ledger."""
    assert {pdu.shown("smpp.destination_addr") for pdu in deliveries} == {sender}
    receipts = [pdu for pdu in deliveries if pdu.number("smpp.esm.submit.msg_type") == 1]
    states = {"DELIVRD": 2, "UNDELIV": 5}
    wanted = Counter((row.id, row.dst, states[row.stat or ""]) for row in rows if row.event == "receipt")
    assert {state for _, _, state in wanted} == {2, 5}
    assert wanted == Counter(
        (pdu.shown("smpp.receipted_message_id"), pdu.shown("smpp.source_addr"), pdu.number("smpp.message_state")) for pdu in receipts
    )
    assert all(str(pdu.shown("smpp.message_text")).startswith(f"id:{pdu.shown('smpp.receipted_message_id')} ") for pdu in receipts)
    messages = [pdu for pdu in deliveries if pdu.number("smpp.esm.submit.msg_type") == 0]
    assert Counter((pdu.shown("smpp.source_addr"), pdu.shown("smpp.message_text")) for pdu in messages) == Counter(
        (row.dst, row.text) for row in rows if row.event == "mo"
    )
    assert {pdu.number("smpp.data_coding") for pdu in messages} == {0, 8}


def test_a_malformed_pdu_would_have_been_seen(rig: SimpleNamespace, tmp_path: Path) -> None:
    """The check above can fail: here a submit_sm ends within its short_message."""
    tshark, file = rig.tool("tshark"), tmp_path / "lo.pcapng"
    body = b"\0\5\0CANHBAO\0\1\01" + b"84900000001\0" + bytes(3) + bytes(2) + bytes([1, 0, 0, 0, 100]) + b"short"
    broken = (16 + len(body)).to_bytes(4, "big") + bytes.fromhex("00000004 00000000 00000001") + body

    async def scenario() -> ET.Element:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(len(broken))
            writer.write(UNBIND_RESP + bytes(4))
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, capture(tshark, port, file):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(broken)
            assert await reader.read()
            writer.close()
            await writer.wait_closed()
        return await dissect(tshark, port, file)

    assert complaints(asyncio.run(scenario()))
