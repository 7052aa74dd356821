"""Kannel's bearerbox, the gateway most carriers' partners run, against our simulated carrier.

A bearerbox and a smsbox run as processes of their own with all their ports on the loopback. Texts go in by the smsbox's HTTP
interface; receipts and subscribers' messages come out as HTTP requests to the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import smpp34

from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCard
from broadcaster.text import gsm

pytestmark = pytest.mark.interop

SUBMIT_SM = 0x04
DELIVERED, ACCEPTED_BY_SMSC = 1, 8
START_TRIES, START_PAUSE_S = 200, 0.05

CONFIGURATION = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = loopback
smsbox-port = {boxes}
smsbox-interface = 127.0.0.1
box-allow-ip = "127.0.0.1"
box-deny-ip = "*.*.*.*"
dlr-storage = internal
log-file = "{directory}/bearerbox.log"
log-level = 0

group = smsc
smsc = smpp
smsc-id = thu
host = 127.0.0.1
port = {port}
transceiver-mode = true
smsc-username = "{system_id}"
smsc-password = "{password}"
system-type = ""
interface-version = 34
source-addr-autodetect = true
dest-addr-ton = 1
dest-addr-npi = 1
enquire-link-interval = 1
max-pending-submits = 10
reconnect-delay = 1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {boxes}
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
log-file = "{directory}/smsbox.log"
log-level = 0

group = sendsms-user
username = kannel
password = loopback
concatenation = true
max-messages = 4

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{http}/mo?from=%p&to=%P&coding=%c&charset=%C&text=%b"
catch-all = true
max-messages = 0
"""


class Requests:
    """An HTTP server that notes what is asked of it and answers with nothing."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self._changed = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request (called by asyncio)."""
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode("ascii")
        path, _, query = target.partition("?")
        fields = (pair.partition("=") for pair in query.split("&"))
        # Octets, not characters: a UCS-2 text is in UTF-16.
        self.seen.append((path, {name: urllib.parse.unquote_plus(value, "latin-1") for name, _, value in fields}))
        self._changed.set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def of(self, path: str) -> list[dict[str, str]]:
        return [fields for seen, fields in self.seen if seen == path]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


@contextlib.asynccontextmanager
async def box(program: str, configuration: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of Kannel's processes, and end it as its operator would."""
    process = await asyncio.create_subprocess_exec(
        program, str(configuration), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_listening(port: int, process: asyncio.subprocess.Process) -> None:
    for _ in range(START_TRIES):
        assert process.returncode is None, "Kannel ended by itself; see its log"
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(START_PAUSE_S)
    pytest.fail(f"nothing listens on port {port}")


def send(sendsms: int, http: int, sender: str, number: str, text: str) -> str:
    """Hand one text to the smsbox, receipts wanted; return what it says."""
    coding = 0 if gsm.is_gsm(text) else 2
    receipt_url = f"http://127.0.0.1:{http}/dlr?to={number}&type=%d&text=%A&id=%F"
    fields = {"username": "kannel", "password": "loopback", "from": sender, "to": number, "text": text, "charset": "UTF-8"}
    query = urllib.parse.urlencode({**fields, "coding": coding, "dlr-mask": DELIVERED | ACCEPTED_BY_SMSC, "dlr-url": receipt_url})
    with urllib.request.urlopen(f"http://127.0.0.1:{sendsms}/cgi-bin/sendsms?{query}", timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.usefixtures("asking_smsc")
def test_bearerbox_and_our_carrier_understand_each_other(card: CarrierCard, rig: SimpleNamespace, tmp_path: Path) -> None:
    bearerbox, smsbox = rig.tool("bearerbox"), rig.tool("smsbox")
    numbers = rig.numbers(len(rig.texts))
    admin, boxes, sendsms = free_ports(3)
    requests = Requests()

    async def scenario() -> tuple[Any, Any]:
        async with rig.carrier(card, tmp_path / "so.jsonl") as carrier, rig.tap(carrier.port) as line:
            server = await asyncio.start_server(requests.take, "127.0.0.1", 0)
            http = server.sockets[0].getsockname()[1]
            configuration = tmp_path / "kannel.conf"
            configuration.write_text(
                CONFIGURATION.format(
                    admin=admin,
                    boxes=boxes,
                    sendsms=sendsms,
                    http=http,
                    port=line.port,
                    directory=tmp_path,
                    system_id=card.system_id,
                    password=card.password.reveal(),
                )
            )
            async with server, box(bearerbox, configuration) as gateway:
                await until_listening(boxes, gateway)
                async with box(smsbox, configuration) as gate:
                    await until_listening(sendsms, gate)
                    for number, text in zip(numbers, rig.texts, strict=True):
                        assert (await asyncio.to_thread(send, sendsms, http, rig.sender, number, text)).startswith("0: Accepted")
                    await requests.until(
                        lambda: len(requests.of("/dlr")) == 2 * len(numbers) and len(requests.of("/mo")) == len(numbers)
                    )
                    await line.until_both_asked("esme", "smsc")
        line.check()
        return carrier, line

    carrier, line = asyncio.run(scenario())
    rows = list(read_ledger(carrier.ledger))
    submits = [row for row in rows if row.event == "submit"]
    assert len(submits) == 8
    for number, text in zip(numbers, rig.texts, strict=True):
        check_text(text, [row for row in submits if row.dst == number], submits_on(line, number), rig.sender)
    check_receipts(requests.of("/dlr"), {row.dst: row.id for row in reversed(submits)})
    assert {(row.id, row.acked) for row in rows if row.event == "receipt"} == {(row.id, True) for row in submits if row.part == 1}
    texts_back = [(row.dst, row.text) for row in rows if row.event == "mo"]
    assert {number for number, _ in texts_back} == set(numbers)
    assert sorted((request["from"], message_of(request)) for request in requests.of("/mo")) == sorted(
        (f"+{number}", text) for number, text in texts_back
    )
    assert {request["to"] for request in requests.of("/mo")} == {rig.sender}
    assert carrier.totals.acknowledged == 2 * len(numbers)


def submits_on(line: Any, number: str) -> list[smpp34.SubmitSm]:
    """Read the submits to one number off the wire, with a codec that is neither Kannel's nor ours."""
    submits = [smpp34.decode(pdu.octets) for pdu in line.seen("esme", SUBMIT_SM)]
    return [submit for submit in submits if submit.destination_addr == number]


def check_text(text: str, rows: list[LedgerRow], submits: list[smpp34.SubmitSm], sender: str) -> None:
    """Our carrier read what Kannel cut, in order and under one reference.

    Kannel sets the two mode bits of esm_class (store and forward), and more_messages_to_send on all parts but the last.
    """
    long = len(rows) > 1
    parts = [submit.short_message[6:] if long else submit.short_message for submit in submits]
    texts = [gsm.decode(part) if gsm.is_gsm(text) else part.decode("utf-16-be") for part in parts]
    assert "".join(texts) == text
    assert [(row.src, row.part, row.parts, row.status, row.sha) for row in rows] == [
        (sender, part, len(parts), 0, hashlib.sha256(one.encode()).hexdigest()) for part, one in enumerate(texts, 1)
    ]
    assert {row.ref for row in rows} == {submits[0].short_message[3] if long else None}
    assert {submit.esm_class for submit in submits} == {0x43 if long else 0x03}
    more = [[tlv.as_int() for tlv in submit.tlvs if tlv.tag == smpp34.TLV_MORE_MESSAGES_TO_SEND] for submit in submits]
    assert more == [[1]] * (len(parts) - 1) + [[]]


def check_receipts(requests: list[dict[str, str]], first_ids: dict[str, str | None]) -> None:
    """Kannel passed on one acceptance and one delivery for each text; of a long one it asks for the receipt of the first part."""
    for kind, wanted in ((ACCEPTED_BY_SMSC, "ACK/"), (DELIVERED, " stat:DELIVRD err:000 text:")):
        passed_on = [request for request in requests if request["type"] == str(kind)]
        assert sorted((request["to"], request["id"]) for request in passed_on) == sorted(first_ids.items())
        assert all(wanted in request["text"] for request in passed_on)


def message_of(request: dict[str, str]) -> str:
    """Read a subscriber's message from the octets that Kannel passed on."""
    return request["text"].encode("latin-1").decode(request["charset"])
