"""A card for a carrier on the loopback, a client that notes everything, and a simulated carrier on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.account import Account
from broadcaster.flow.lease import Denied, Gate, Grant
from broadcaster.flow.send import Sender as FlowSender
from broadcaster.flow.settle import Inbox
from broadcaster.flow.underway import Job
from broadcaster.link.backoff import Backoff, Pace
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.link.faults import fault
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.link.script import SpanMs
from broadcaster.link.simulator import SimulatorTotals, serve
from broadcaster.link.temperament import Temperament
from broadcaster.model import CarrierCard, CarrierCode, Endpoint, Environment, IdRule, Secret, State
from broadcaster.rules.wire import pieces, receipt_part
from broadcaster.service.line import Line
from broadcaster.smpp import BindKind, BindResp, SubmitTemplate, Timers, encode
from broadcaster.store import campaigns, receipts
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store, append
from broadcaster.store.messages import fold_all
from broadcaster.store.receipt_faults import faults_by_carrier
from broadcaster.store.schema import LANE_SHIFT, installation, lane, message, opt_out, receipt, reply, submission
from broadcaster.store.times import SYSTEM, to_ms
from broadcaster.store.vault import Vault
from broadcaster.store.writer import Writer

PATIENCE_S = 30.0
LIFE_S = 60.0
"""So long a simulated carrier may be needed."""
QUICK = Backoff(first_s=0.01, longest_s=0.05, spacing_s=0.01, already_bound_s=(0.01, 0.02, 0.03))
TEMPLATE = SubmitTemplate.build(source="CANHBAO", source_ton=5, source_npi=0, short_message=b"CANH BAO lua dao")
CALM = Temperament(receipt_delay_ms=SpanMs(0, 10), reply_delay_ms=SpanMs(0, 10))


@pytest.fixture
def card() -> CarrierCard:
    return CarrierCard(
        code=CarrierCode("thu"),
        name="Thử",
        environment=Environment.REHEARSAL,
        mnc="99",
        endpoint=Endpoint("127.0.0.1", 1),
        system_id="dien-tap",
        password=Secret("mat-khau"),
        system_type="",
        tls=False,
        tps=None,
        window=50,
        max_parts=3,
        allow_unicode=True,
        forbidden="",
        source_ton=5,
        source_npi=0,
        destination_ton=1,
        destination_npi=1,
        long_text="udh8",
        ids=IdRule(),
        receipt_means="handset",
        status_verdicts={},
        enquire_link_s=30.0,
        response_timeout_s=10.0,
        throttle_pause_s=1.0,
        retry_after_s=(1,),
        receipt_timeout_h=72,
    )


class Carrier:
    """A running simulated carrier."""

    def __init__(self, card: CarrierCard, ledger: Path, stop: asyncio.Event) -> None:
        self.card = card
        self.ledger = ledger
        self.stop = stop
        self.totals = SimulatorTotals()


@contextlib.asynccontextmanager
async def carrier(card: CarrierCard, temperament: Temperament, ledger: Path, port: int = 0) -> AsyncIterator[Carrier]:
    """Run a simulated carrier; its card names the port it listens on; its totals are there once it has stopped."""
    stop = asyncio.Event()
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(card, temperament, ledger, port=port, ready=listening.set_result, stop=stop))
    async with asyncio.timeout(LIFE_S):
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        running = Carrier(dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", listening.result())), ledger, stop)
        try:
            yield running
        finally:
            stop.set()
            running.totals = await serving


class Sender:
    """A client with a plain loop above it: submit while there is room, acknowledge what comes unless told not to."""

    def __init__(self, card: CarrierCard, *, acknowledge: bool = True, **options: Any) -> None:
        self.acknowledge = acknowledge
        self.states: list[tuple[LinkState, str]] = []
        self.answers: dict[str, tuple[int, str | None]] = {}
        self.unanswered: dict[str, str] = {}
        self.inbound: list[Inbound] = []
        self.queue: list[str] = []
        self._changed = asyncio.Event()
        self.client = Client(
            card,
            on_answer=self._on_answer,
            on_unanswered=self._on_unanswered,
            on_inbound=self._on_inbound,
            on_state=self._on_state,
            **{"backoff": QUICK, **options},
        )

    def submit(self, numbers: list[str]) -> None:
        self.queue += numbers
        self._fill()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def count(self, state: LinkState) -> int:
        return sum(1 for seen, _ in self.states if seen is state)

    def _fill(self) -> None:
        for _ in range(min(self.client.room, len(self.queue))):
            number = self.queue.pop(0)
            self.client.submit(TEMPLATE, number.encode(), number)
        self.client.flush()
        self._changed.set()

    def _on_answer(self, answers: list[tuple[object, int, str | None]]) -> None:
        self.answers |= {str(number): (status, message_id) for number, status, message_id in answers}
        self._fill()

    def _on_unanswered(self, contexts: list[object], reason: str) -> None:
        self.unanswered |= {str(number): reason for number in contexts}
        self._changed.set()

    def _on_inbound(self, inbounds: list[Inbound]) -> None:
        self.inbound += inbounds
        if self.acknowledge:
            self.client.acknowledge_all(inbounds)
        self._changed.set()

    def _on_state(self, state: LinkState, reason: str) -> None:
        self.states.append((state, reason))
        self._fill()


@contextlib.asynccontextmanager
async def sender(card: CarrierCard, *, acknowledge: bool = True, **options: Any) -> AsyncIterator[Sender]:
    """Run a client until the end of the block."""
    one = Sender(card, acknowledge=acknowledge, **options)
    running = asyncio.create_task(one.client.run())
    try:
        yield one
    finally:
        await one.client.stop(0.0)
        await running


def numbers(count: int) -> list[str]:
    """Return so many different test numbers."""
    return [f"849{index:08d}" for index in range(count)]


def subscribers(count: int) -> list[int]:
    """Return so many numbers of the national plan."""
    return [84_905_000_000 + index for index in range(count)]


def calm(*faults: Any, **fields: Any) -> Temperament:
    """Return a carrier whose receipts come soon, with these faults."""
    return dataclasses.replace(CALM, faults=faults, **fields)


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(
    behave: Peer, card: CarrierCard, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[CarrierCard]:
    """Listen as a hand-written carrier; yield the card that leads to it."""
    ended: list[asyncio.StreamWriter] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(guarded, host, 0, ssl=context)
    async with server:
        yield dataclasses.replace(card, endpoint=Endpoint(host, server.sockets[0].getsockname()[1]))
        for writer in ended:
            writer.transport.abort()


class Heard(list[tuple[int, int, int]]):
    """What a hand-written carrier heard: (command, status, sequence) of each PDU."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def note(self, command: int, status: int, sequence: int) -> None:
        self.append((command, status, sequence))
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def read_pdu(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """Read one PDU: command, status, sequence, body."""
    head = await reader.readexactly(16)
    length, command, status, sequence = (int.from_bytes(head[at : at + 4], "big") for at in (0, 4, 8, 12))
    return command, status, sequence, await reader.readexactly(length - 16)


async def accept_bind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the bind that must come first."""
    _, _, sequence, _ = await read_pdu(reader)
    writer.write(encode(BindResp(BindKind.TRANSCEIVER, "peer"), sequence))


class OpenGate(Gate):
    """The real leases without the approval: what is signed is not this test's business."""

    def take(self, connection: Connection, campaign: str, lane_id: int, limit: int, now: dt.datetime) -> Grant | Denied:
        found = campaigns.find_campaign(connection, campaign)
        item = next(one for one in campaigns.lanes(connection, found.id) if one.id == lane_id)
        if item.halted:
            return Denied.NOT_RUNNING
        taken = self._lease(connection, item, limit, to_ms(now))
        if taken is None:
            return Denied.NOTHING_DUE
        lease_id, leased = taken
        return Grant(
            lease_id=lease_id,
            lane_id=lane_id,
            campaign_id=found.id,
            campaign=found.name,
            text=item.body,
            parts=item.parts,
            sender="CANHBAO",
            valid_minutes=60,
            until=now + dt.timedelta(minutes=5),
            overrides_refusals=False,
            messages=leased,
            numbers=self._vault.reveal([each.token for each in leased]),
            receipt_part=item.receipt_part,
        )


class NotingWriter(Writer):
    """A writer that tells when something was committed."""

    def __init__(self, store: Store, changed: asyncio.Event) -> None:
        super().__init__(store)
        self._changed = changed

    def submit(self, work: Any) -> Any:
        future = super().submit(work)
        future.add_done_callback(lambda _done: self._changed.set())
        return future


class Desk:
    """What the service holds for one campaign: a real database, and for each card a real sender and inbox over real links."""

    def __init__(self, store: Store, vault: Vault, auditor: Auditor) -> None:
        self.store = store
        self.vault = vault
        self.refused: set[bytes] = set()
        self.shift = dt.timedelta()
        self.senders: list[FlowSender] = []
        self.inboxes: list[Inbox] = []
        self.clients: list[Client] = []
        self.states: list[tuple[LinkState, str]] = []
        self.reasons: list[str] = []
        self.auditor = auditor
        self.patience_s = PATIENCE_S
        self.backoff = QUICK
        self._gate = OpenGate(dict, auditor, vault, Environment.REHEARSAL, 1)
        self._changed = asyncio.Event()
        with store.write() as connection:
            if connection.execute(select(installation.c.id)).first() is None:
                named = {"vault_fingerprint": vault.fingerprint, "audit_fingerprint": "-"}
                connection.execute(insert(installation).values(id=1, environment="rehearsal", created_ms=0, epoch=1, **named))

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.shift

    monotonic = staticmethod(SYSTEM.monotonic)
    monotonic_ns = staticmethod(SYSTEM.monotonic_ns)

    def enlist(self, card: CarrierCard, people: Sequence[int], body: str = "Canh bao lua dao", name: str = "thu") -> Job:
        """Write a campaign's lane out."""
        with self.store.write() as connection:
            campaign_id = campaigns.insert_campaign(
                connection,
                name=name,
                content_json=json.dumps({}),
                digest="",
                recipients=len(people),
                submitted_by="thu",
                submitted_ms=1,
                roster_ids=[],
            )
            parts = len(pieces(body, card))
            campaigns.insert_lane(connection, campaign_id, card.code, body, parts, receipt_part=receipt_part(card, parts))
            item = campaigns.lanes(connection, campaign_id)[0]
            base = item.id << LANE_SHIFT
            tokens = self.vault.tokens(people)
            rows = [(base + at, token, "21025", int(State.READY), 0) for at, token in enumerate(tokens, 1)]
            append(connection, message, ("id", "token", "area_code", "state", "exclusion"), rows)
            campaigns.change_lane(connection, item.id, messages=len(people))
            connection.execute(
                text("INSERT INTO tally (lane_id, area_code, state, exclusion, messages) VALUES (:lane, '21025', 0, 0, :count)"),
                {"lane": item.id, "count": len(people)},
            )
        return Job(item.id, name, parts, None, False)

    @contextlib.asynccontextmanager
    async def working(self, *cards: CarrierCard, jobs: Sequence[Job] = (), binds: int = 1) -> AsyncIterator[Desk]:
        """Serve the cards (one job each); all but the first of several binds of a card only take receipts."""
        self._changed = asyncio.Event()
        self.senders, self.inboxes, self.clients = [], [], []
        self.writer = self.make_writer(self._changed)
        running = []
        for at, card in enumerate(cards):
            sender, clients = self._line(card, binds)
            running += [asyncio.create_task(client.run()) for client in clients]
            if at < len(jobs):
                sender.account.assign({jobs[at].lane_id: jobs[at]})
        try:
            yield self
        finally:
            for sender in self.senders:
                sender.account.prepare_stop()
            await asyncio.gather(*(client.stop(1.0) for client in self.clients))
            await asyncio.gather(*running)
            for sender in self.senders:
                await sender.stop()
            await self.writer.close()

    def make_writer(self, changed: asyncio.Event) -> Writer:
        return NotingWriter(self.store, changed)

    def _line(self, card: CarrierCard, binds: int) -> tuple[FlowSender, list[Client]]:
        clients: list[Client] = []

        def acknowledge(inbounds: Sequence[Inbound], status: int) -> None:
            for client in clients:
                client.acknowledge_all(inbounds, status)
            self._changed.set()

        def on_state(state: LinkState, reason: str) -> None:
            self.states.append((state, reason))
            if state is LinkState.BOUND:
                sender.pump()
            self._changed.set()

        def on_unanswered(flights: list[Any], reason: str) -> None:
            self.reasons.append(reason)
            sender.on_unanswered(flights, reason)

        clients += [
            Client(
                card,
                on_answer=lambda answers: sender.on_answer(answers),  # noqa: PLW0108 - made below
                on_unanswered=on_unanswered,
                on_inbound=lambda inbounds: inbox.on_inbound(inbounds),  # noqa: PLW0108
                on_late=lambda answers: sender.on_late(answers),  # noqa: PLW0108
                on_state=on_state,
                backoff=self.backoff,
                clock=self.monotonic,
            )
            for _ in range(binds)
        ]
        sender = FlowSender(Account(card, writer=self.writer, gate=self._gate, refused=self.refused, clock=self), clients[0])
        inbox = Inbox(
            card,
            writer=self.writer,
            vault=self.vault,
            plan=read_plan(),
            refused=self.refused,
            acknowledge=acknowledge,
            now=self.now,
        )
        self.senders.append(sender)
        self.inboxes.append(inbox)
        self.clients += clients
        return sender, clients

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(self.patience_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def count(self, state: State) -> int:
        """How many messages are in a state."""
        return self.messages()[state]

    def messages(self) -> Counter[State]:
        with self.store.write() as connection:
            fold_all(connection)
        with self.store.read() as connection:
            rows = connection.execute(select(message.c.state, func.count()).group_by(message.c.state))
            return Counter({State(state): count for state, count in rows})

    def tallies(self) -> Counter[State]:
        with self.store.read() as connection:
            rows = connection.execute(text("SELECT state, sum(messages) FROM tally GROUP BY state"))
            return Counter({State(state): count for state, count in rows if count})

    def submissions(self) -> list[Any]:
        with self.store.read() as connection:
            key = submission.c.message_id, submission.c.part, submission.c.attempt
            return list(connection.execute(select(submission).order_by(*key)))

    def by_id(self) -> dict[str, int]:
        """Which number each stored message id belongs to."""
        with self.store.read() as connection:
            columns = (submission.c.smsc_id, message.c.token)
            query = select(*columns).join(message, message.c.id == submission.c.message_id).where(submission.c.smsc_id.is_not(None))
            rows = list(connection.execute(query))
        return dict(zip((row.smsc_id for row in rows), self.vault.reveal([row.token for row in rows]), strict=True))

    def receipts(self) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(select(receipt).order_by(receipt.c.id)))

    def replies(self) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(select(reply).order_by(reply.c.id)))

    def orphans(self) -> int:
        with self.store.read() as connection:
            return receipts.unmatched(connection)

    def receipt_faults(self) -> dict[str, dict[str, int]]:
        with self.store.read() as connection:
            return faults_by_carrier(connection)

    def refusing(self) -> set[int]:
        with self.store.read() as connection:
            return set(self.vault.reveal(connection.execute(select(opt_out.c.token)).scalars()))

    def halted(self) -> str | None:
        with self.store.read() as connection:
            found: str | None = connection.execute(select(lane.c.halted)).scalars().first()
            return found


@contextlib.asynccontextmanager
async def service_line(desk: Desk, card: CarrierCard) -> AsyncIterator[Line]:
    """Run a carrier's whole line as the service does, with the desk's database and gate."""
    desk._changed = asyncio.Event()
    desk.writer = desk.make_writer(desk._changed)
    account = Account(card, writer=desk.writer, gate=desk._gate, refused=desk.refused, clock=desk)
    line = Line(account, desk.vault)
    running = line.start()
    try:
        yield line
    finally:
        await line.finish(1.0)
        await line.unbind()
        await asyncio.gather(*running)
        await line.settle()
        await desk.writer.close()


@pytest.fixture
def desk(store: Store, vault: Vault, auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose waits are short."""
    monkeypatch.setattr("broadcaster.flow.account.START_HOLD_NS", 0)
    monkeypatch.setattr("broadcaster.flow.send.IDLE_POLL_S", 0.02)
    return Desk(store, vault, auditor)


def ledger_rows(path: Path, event: str) -> list[LedgerRow]:
    """Return the ledger's rows of one kind."""
    return [row for row in read_ledger(path) if row.event == event]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Hand the tools above to tests, which cannot import a conftest; peers that never answer an unbind are not waited for."""
    monkeypatch.setattr("broadcaster.link.client.UNBIND_TIMEOUT_S", 0.2)
    return SimpleNamespace(
        carrier=carrier,
        sender=sender,
        line=service_line,
        numbers=numbers,
        subscribers=subscribers,
        calm=CALM,
        mood=calm,
        fault=fault,
        peer=peer,
        heard=Heard,
        read_pdu=read_pdu,
        accept_bind=accept_bind,
        rows=ledger_rows,
        template=TEMPLATE,
        patience_s=PATIENCE_S,
        quick=QUICK,
        pace=Pace,
        timers=Timers,
    )
