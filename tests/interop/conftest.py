"""What every test here needs: the texts, an ESME of ours, a carrier of ours, and a tap that sees what crosses the wire between two.

The tap cuts and reads PDUs by itself, with `struct` and nothing of ours, so that neither side is the witness of its own conduct.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest

from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.link.simulator import SimulatorTotals, serve
from broadcaster.link.temperament import SpanMs, Temperament
from broadcaster.model import CarrierCard, CarrierCode, Endpoint, Secret
from broadcaster.rules.wire import submit_templates
from broadcaster.smpp import Session, Timers

PATIENCE_S: Final = 20.0
HOST: Final = "127.0.0.1"
CAMPAIGN: Final = 201
SENDER: Final = "SKHCN-QNG"
VALID_MINUTES: Final = 90

GSM_ONE: Final = "CANH BAO: khong chuyen tien cho nguoi la qua dien thoai. Goi {113} [gio nao cung duoc] ~ phi 0 €"
GSM_THREE: Final = " ".join(
    f"({number}) Cong an khong lam viec qua dien thoai, khong hoi ma OTP, khong doi {number}00 € tien bao lanh."
    for number in range(1, 5)
)
UCS2_ONE: Final = "Cảnh báo: kẻ xấu giả danh công an gọi điện đe dọa. Đừng chuyển tiền!"
UCS2_THREE: Final = (
    "Cảnh báo lừa đảo 🚨: đối tượng xấu giả danh cán bộ ngân hàng, yêu cầu đọc mã OTP hoặc cài ứng dụng lạ. "
    "Tuyệt đối không làm theo 🙏, gọi 113 hoặc công an xã, phường gần nhất để được giúp đỡ kịp thời."
)

# SMPP 3.4, table 5-1, written down once more so that ours is not asked.
SUBMIT_SM: Final = 0x04
DELIVER_SM: Final = 0x05
UNBIND: Final = 0x06
BIND_TRANSCEIVER: Final = 0x09
ENQUIRE_LINK: Final = 0x15
GENERIC_NACK: Final = 0x80000000
ANSWER: Final = 0x80000000
BINDS: Final = (0x01, 0x02, 0x09)


class Pdu(NamedTuple):
    """One PDU as it crossed the wire."""

    sender: str
    """``esme`` or ``smsc``."""
    command: int
    status: int
    sequence: int
    body: bytes

    @property
    def octets(self) -> bytes:
        """The whole PDU."""
        return struct.pack(">IIII", 16 + len(self.body), self.command, self.status, self.sequence) + self.body


class Tap:
    """A relay between an ESME and an SMS centre that notes every PDU and changes none."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.pdus: list[Pdu] = []
        self._smsc_port = port
        self._changed = asyncio.Event()
        self._lines: set[asyncio.Task[None]] = set()

    def seen(self, sender: str, command: int) -> list[Pdu]:
        """Return what `sender` sent of one command."""
        return [pdu for pdu in self.pdus if (pdu.sender, pdu.command) == (sender, command)]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something that the wire brings."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_both_asked(self, *askers: str) -> None:
        """Wait until each of `askers` has sent an enquire_link and got its answer."""
        other = {"esme": "smsc", "smsc": "esme"}
        await self.until(lambda: all(self.seen(other[asker], ENQUIRE_LINK | ANSWER) for asker in askers))

    def check(self, *, refused: AbstractSet[int] = frozenset(), unanswered: AbstractSet[int] = frozenset()) -> None:
        """Assert that the bind came first, that each request was answered once and with status 0, and that the ESME unbound.

        Responses to the commands in `refused` may have any status, those to the commands in `unanswered` may be missing.
        """
        assert self.pdus[0].command in BINDS
        assert not [pdu for pdu in self.pdus if pdu.command == GENERIC_NACK]
        assert {pdu.status for pdu in self.pdus if pdu.command & ~ANSWER not in refused} == {0}
        asked = {"esme": Counter[tuple[int, int]](), "smsc": Counter[tuple[int, int]]()}
        answered = {"esme": Counter[tuple[int, int]](), "smsc": Counter[tuple[int, int]]()}
        for pdu in self.pdus:
            if pdu.command & ANSWER:
                answered[pdu.sender][pdu.command & ~ANSWER, pdu.sequence] += 1
            else:
                asked[pdu.sender][pdu.command, pdu.sequence] += 1
        # An enquire_link may be under way when the line is closed.
        pending = (asked["smsc"] - answered["esme"]) + (asked["esme"] - answered["smsc"])
        assert {command for command, _ in pending} <= {ENQUIRE_LINK} | unanswered
        assert not (answered["esme"] - asked["smsc"]) + (answered["smsc"] - asked["esme"])
        assert len(self.seen("esme", UNBIND)) == 1

    async def take_line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until both sides have closed it (called by asyncio)."""
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        writers = [writer]
        try:
            smsc_reader, smsc_writer = await asyncio.open_connection(HOST, self._smsc_port)
            writers.append(smsc_writer)
            await asyncio.gather(self._relay("esme", reader, smsc_writer), self._relay("smsc", smsc_reader, writer))
        finally:
            self._lines.discard(task)
            for one in writers:
                one.close()
                with contextlib.suppress(ConnectionError):
                    await one.wait_closed()

    async def _relay(self, sender: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                held += data
                while len(held) >= 16 and len(held) >= (length := struct.unpack_from(">I", held)[0]):
                    self.pdus.append(Pdu(sender, *struct.unpack_from(">III", held, 4), held[16:length]))
                    held = held[length:]
                self._changed.set()
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def cut(self) -> None:
        """End what relays are left."""
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)


@contextlib.asynccontextmanager
async def tap(port: int) -> AsyncIterator[Tap]:
    """Put a tap before the SMS centre that listens on `port`."""
    line = Tap(port)
    server = await asyncio.start_server(line.take_line, HOST, 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        await line.cut()


class Esme:
    """Our client with a plain loop above it: it submits while there is room and acknowledges what comes."""

    def __init__(self, card: CarrierCard) -> None:
        self.card = card
        self.sent: list[SimpleNamespace] = []
        """Each part that was submitted: number, part, parts, text, reference; then its answer: status, message_id."""
        self.inbound: list[Any] = []
        self.states: list[LinkState] = []
        self._queue: list[tuple[Any, SimpleNamespace]] = []
        self._changed = asyncio.Event()
        self.client = Client(
            card,
            on_answer=self._on_answer,
            on_unanswered=self._on_unanswered,
            on_inbound=self._on_inbound,
            on_state=self._on_state,
        )

    def broadcast(self, number: str, text: str, reference: int | None = None) -> None:
        """Submit one text to one number, cut and coded as the product does."""
        templates = submit_templates(text, self.card, sender=SENDER, campaign=CAMPAIGN, valid_minutes=VALID_MINUTES)
        for index, template in enumerate(templates, 1):
            part = SimpleNamespace(number=number, text=text, part=index, parts=len(templates), reference=reference)
            part.status = part.message_id = None
            self.sent.append(part)
            self._queue.append((template, part))
        self._fill()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_answered(self) -> None:
        """Wait for the response to each part."""
        await self.until(lambda: all(part.status is not None for part in self.sent))

    def _fill(self) -> None:
        for _ in range(min(self.client.room, len(self._queue))):
            template, part = self._queue.pop(0)
            self.client.submit(template, part.number.encode(), part, part.reference)
        self.client.flush()
        self._changed.set()

    def _on_answer(self, answers: list[tuple[Any, int, str | None]]) -> None:
        for part, status, message_id in answers:
            part.status, part.message_id = status, message_id
        self._fill()

    def _on_unanswered(self, contexts: list[object], reason: str) -> None:
        raise AssertionError(f"{len(contexts)} submits without an answer: {reason}")

    def _on_inbound(self, inbounds: list[Inbound]) -> None:
        self.inbound += [inbound.body for inbound in inbounds]
        self.client.acknowledge_all(inbounds)
        self._changed.set()

    def _on_state(self, state: LinkState, reason: str) -> None:
        self.states.append(state)
        self._fill()


@contextlib.asynccontextmanager
async def esme(card: CarrierCard, port: int) -> AsyncIterator[Esme]:
    """Run our client against `port`, asking after the link every half second."""
    one = Esme(dataclasses.replace(card, endpoint=Endpoint(HOST, port), enquire_link_s=0.5))
    running = asyncio.create_task(one.client.run())
    try:
        yield one
        await one.client.stop(PATIENCE_S)
        assert one.states == [LinkState.CONNECTING, LinkState.BOUND, LinkState.STOPPED]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Carrier:
    """Our simulated carrier, running; its totals are there once it has stopped."""

    def __init__(self, port: int, ledger: Path) -> None:
        self.port = port
        self.ledger = ledger
        self.totals = SimulatorTotals()


@contextlib.asynccontextmanager
async def carrier(card: CarrierCard, ledger: Path, **mood: Any) -> AsyncIterator[Carrier]:
    """Run a simulated carrier whose receipts are quick and whose subscribers all text back."""
    quick = {"receipt_delay_ms": SpanMs(0, 20), "reply_share": 1.0, "reply_delay_ms": SpanMs(20, 60)}
    temperament = Temperament(**quick | mood)
    stop = asyncio.Event()
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(card, temperament, ledger, port=0, ready=listening.set_result, stop=stop))
    await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    running = Carrier(listening.result(), ledger)
    try:
        yield running
    finally:
        stop.set()
        running.totals = await serving


@pytest.fixture
def card(cards: dict[CarrierCode, CarrierCard]) -> CarrierCard:
    """A rehearsal card with the shortest secrets the standard allows for."""
    return dataclasses.replace(cards[CarrierCode("viettel")], window=10, password=Secret("mat-khau"), system_id="dien-tap")


@pytest.fixture
def asking_smsc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let our side of a simulated carrier ask after the link every half second, as it otherwise does every half minute."""
    monkeypatch.setitem(Session.__init__.__kwdefaults__, "timers", Timers(enquire_link_s=0.5))


def numbers(count: int) -> list[str]:
    """Return so many different test numbers."""
    return [f"849{index:08d}" for index in range(count)]


def tool(name: str) -> str:
    """Return where a foreign program is; that it is missing is a failure and never a reason to pass over the test."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    found = found or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; run `make interop` as root, or install it")
    return found


@pytest.fixture
def rig() -> SimpleNamespace:
    """Hand the tools above to tests, which cannot import a conftest."""
    return SimpleNamespace(
        carrier=carrier,
        esme=esme,
        numbers=numbers,
        tap=tap,
        tool=tool,
        patience_s=PATIENCE_S,
        host=HOST,
        sender=SENDER,
        campaign=CAMPAIGN,
        gsm_one=GSM_ONE,
        gsm_three=GSM_THREE,
        ucs2_one=UCS2_ONE,
        ucs2_three=UCS2_THREE,
        texts=(GSM_ONE, GSM_THREE, UCS2_ONE, UCS2_THREE),
    )
