"""A simulated carrier: one SMPP server that behaves as its card and temperament say, and keeps the ledger of what reached it.

Everything goes in batches. What one read brings is judged and put on the ledger's next batch; once that is durable its responses
leave, and its receipts are put on the wheel. Receipts and subscribers' messages wait in one outbox of the account, go to whichever
sessions have room, and come back into it when a session ends before they were acknowledged.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from broadcaster.errors import CarrierError
from broadcaster.lang import Said
from broadcaster.link.ledger import Ledger
from broadcaster.link.part import UCS2, Part, read_part
from broadcaster.link.pump import Pump
from broadcaster.link.temperament import ReceiptBy, Temperament, draw, spell_id
from broadcaster.link.wheel import Wheel
from broadcaster.model import TIMEZONE, CarrierCard
from broadcaster.smpp import (
    BindRequested,
    BindResp,
    CancelSmResp,
    DataSmResp,
    Delivered,
    DeliverSm,
    DeliverSmResp,
    Event,
    Quarantined,
    QuerySm,
    QuerySmResp,
    ReceiptState,
    Requested,
    Responded,
    Role,
    Session,
    SessionState,
    SubmitSm,
    SubmitSmResp,
    Submitted,
    Tag,
    TimedOut,
    format_receipt,
)

DELIVER_WINDOW: Final = 500
GATHER_S: Final = 0.01
BATCH_ROWS: Final = 500
TICK_S: Final = 0.005
RETRY_DELIVERY_S: Final = 1.0
LATE_RESPONSE_S: Final = 0.1
"""How far a response follows a receipt that is sent ahead of it."""

_OK: Final = 0
_BAD_COMMAND: Final = 0x03
_CANCEL_FAILED: Final = 0x11
_QUERY_FAILED: Final = 0x67
_BAD_PASSWORD: Final = 0x0E
_BAD_SYSTEM_ID: Final = 0x0F
_THROTTLED: Final = 0x58
_TRY_AGAIN: Final = frozenset({0x08, 0x14, 0x64})
_RECEIPT: Final = 0x04
_TAKES_DELIVERIES: Final = frozenset({SessionState.BOUND_RX, SessionState.BOUND_TRX})
_ZONE: Final = ZoneInfo(TIMEZONE)
_REPLIES: Final = (("TC", 0, b"TC"), ("Từ chối", UCS2, "Từ chối".encode("utf-16-be")), ("tc.", 0, b"tc."))
_OUTCOMES: Final = {
    ReceiptState.DELIVERED: ("DELIVRD", b"\x02", "000"),
    ReceiptState.EXPIRED: ("EXPIRED", b"\x03", "001"),
    ReceiptState.UNDELIVERABLE: ("UNDELIV", b"\x05", "027"),
}


@dataclass(slots=True)
class SimulatorTotals:
    """What a simulated carrier saw, in submits, receipts and messages; `acknowledged` counts receipts and messages together."""

    binds: int = 0
    refused_binds: int = 0
    submits: int = 0
    accepted: int = 0
    refused: int = 0
    throttled: int = 0
    receipts: int = 0
    replies: int = 0
    acknowledged: int = 0


class _Taken(NamedTuple):
    """A judged submit on its way to its response and its receipt."""

    link: Pump
    sequence: int
    status: int
    number: int
    body: SubmitSm
    part: Part
    outcome: ReceiptState
    submitted_at: dt.datetime
    answer_due: float | None
    receipt_dues: tuple[float, ...]
    reply: DeliverSm | None
    reply_due: float


class _Owed(NamedTuple):
    """A receipt or a subscriber's message that the client has not acknowledged yet."""

    event: str
    row: str
    """The end of its ledger line, from ``dst`` on, without ``acked``."""
    body: DeliverSm


class Simulator:
    """Be one carrier's SMS centre; `serve` runs it."""

    def __init__(
        self, card: CarrierCard, temperament: Temperament, ledger: Ledger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.totals = SimulatorTotals()
        self._card = card
        self._temperament = temperament
        self._ledger = ledger
        self._clock = clock
        self._started = clock()
        self._random = random.Random(temperament.seed)  # noqa: S311 - choices must repeat with the seed
        # Numbers go on from the clock, so that a restarted carrier repeats none.
        self._number = time.time_ns() // 1000
        self._sessions: dict[Pump, int] = {}
        self._session_count = 0
        self._disconnect_at = temperament.disconnect_after
        self._accepted_times: deque[float] = deque()
        self._replied: set[str] = set()
        self._rows: list[str] = []
        self._taken: list[_Taken] = []
        self._some_rows = asyncio.Event()
        self._many_rows = asyncio.Event()
        self._answers: Wheel[_Taken] = Wheel(TICK_S)
        self._receipts: Wheel[_Taken] = Wheel(TICK_S)
        self._owed_later: Wheel[_Owed] = Wheel(TICK_S)
        self._outbox: deque[_Owed] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due = 0.0

    def connect(self) -> Pump:
        """Return the protocol of a new connection."""
        return Pump(Session(Role.SMSC, window=DELIVER_WINDOW), self._clock, self._on_events, self._on_end, self._on_open)

    async def keep_ledger(self) -> None:
        """Write batch after batch, and let what belongs to each go on, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._some_rows.wait()
            if len(self._rows) < BATCH_ROWS:
                try:
                    await asyncio.wait_for(self._many_rows.wait(), GATHER_S)
                except TimeoutError:
                    pass
            rows, taken = self._swap()
            await loop.run_in_executor(None, self._ledger.write, rows)
            self._release(taken)

    def finish(self) -> None:
        """Cut every connection, and put on the ledger what was never acknowledged."""
        if self._alarm is not None:
            self._alarm.cancel()
        for link in list(self._sessions):
            link.abort(Said(vi="nhà mạng giả lập dừng", en="the simulated carrier stops"))
            self._outbox.extend(context for context in link.session.close())
        rows, _ = self._swap()
        wall_ns = time.time_ns()
        self._outbox.extend(self._owed_receipt(taken) for taken in self._receipts.rest())
        self._outbox.extend(self._owed_later.rest())
        rows += [_end_row(wall_ns, owed, acknowledged=False) for owed in self._outbox]
        self._outbox.clear()
        if rows:
            self._ledger.write(rows)

    def _swap(self) -> tuple[list[str], list[_Taken]]:
        batch = self._rows, self._taken
        self._rows, self._taken = [], []
        self._some_rows.clear()
        self._many_rows.clear()
        return batch

    def _on_open(self, link: Pump) -> None:
        self._session_count += 1
        self._sessions[link] = self._session_count

    def _on_end(self, link: Pump, contexts: list[Any], _reason: Said) -> None:
        self._sessions.pop(link, None)
        self._outbox.extendleft(reversed(contexts))
        self._push()

    def _on_events(self, link: Pump, events: list[Event]) -> None:
        submits: list[Submitted] = []
        wall_ns = time.time_ns()
        for event in events:
            if isinstance(event, Submitted):
                submits.append(event)
            elif isinstance(event, Responded):
                self._note_delivery(wall_ns, event)
            elif isinstance(event, TimedOut):
                self._outbox.append(event.context)
            elif isinstance(event, BindRequested):
                self._judge_bind(link, event)
            elif isinstance(event, Requested | Delivered | Quarantined):
                _decline(link, event)
        if submits:
            self._take_submits(link, submits, wall_ns)
        if self._rows:
            self._some_rows.set()
            if len(self._rows) >= BATCH_ROWS:
                self._many_rows.set()
        self._push()

    def _judge_bind(self, link: Pump, event: BindRequested) -> None:
        bind, card, status = event.body, self._card, _OK
        if self._temperament.refuse_bind_status is not None:
            status = self._temperament.refuse_bind_status
        elif bind.system_id != card.system_id:
            status = _BAD_SYSTEM_ID
        elif bind.password != card.password.reveal():
            status = _BAD_PASSWORD
        self.totals.binds += status == _OK
        self.totals.refused_binds += status != _OK
        link.session.respond(event.sequence, BindResp(bind.kind, card.code[:15]), status)

    def _take_submits(self, link: Pump, submits: list[Submitted], wall_ns: int) -> None:
        now, session = self._clock(), self._sessions[link]
        submitted_at = dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, _ZONE)
        for sequence, body in submits:
            if self._disconnect_at is not None and self.totals.submits >= self._disconnect_at:
                self._disconnect_at = None
                link.abort(Said(vi="nhà mạng giả lập ngắt kết nối", en="the simulated carrier disconnects"))
                return
            taken = self._judge(link, sequence, body, now, submitted_at)
            self._taken.append(taken)
            self._rows.append(self._submit_row(taken, session, wall_ns))

    def _judge(self, link: Pump, sequence: int, body: SubmitSm, now: float, submitted_at: dt.datetime) -> _Taken:
        mood, chance = self._temperament, self._random.random
        lot = draw(mood.seed, body.destination)
        part = read_part(body)
        status = self._status(lot.refuse, now)
        answer_due: float | None = now + mood.response_delay_ms.at(chance())
        self.totals.submits += 1
        if status != _OK:
            return _Taken(link, sequence, status, 0, body, part, ReceiptState.REJECTED, submitted_at, answer_due, (), None, 0.0)
        self.totals.accepted += 1
        self._number += 1
        outcome = ReceiptState.DELIVERED
        if lot.outcome < mood.undeliverable_share + mood.expired_share:
            outcome = ReceiptState.UNDELIVERABLE if lot.outcome < mood.undeliverable_share else ReceiptState.EXPIRED
        reached = (answer_due or now) + mood.receipt_delay_ms.at(chance())
        receipt_dues: tuple[float, ...] = (reached,)
        if chance() < mood.before_response_share:
            receipt_dues, answer_due = (now,), max(answer_due or now, now + LATE_RESPONSE_S)
        if not body.registered_delivery & 0x03 or chance() < mood.missing_share:
            receipt_dues = ()
        elif chance() < mood.duplicate_share:
            receipt_dues += (reached + mood.receipt_delay_ms.at(chance()),)
        if chance() < mood.drop_response_share:
            answer_due = None
        reply = None
        if lot.reply < mood.reply_share and outcome is ReceiptState.DELIVERED and part.part == part.parts:
            reply = self._reply(body, lot.reply / mood.reply_share)
        reply_due = reached + mood.reply_delay_ms.at(chance()) if reply else 0.0
        return _Taken(
            link, sequence, _OK, self._number, body, part, outcome, submitted_at, answer_due, receipt_dues, reply, reply_due
        )  # fmt: skip

    def _status(self, refuse_chance: float, now: float) -> int:
        mood = self._temperament
        if refuse_chance < mood.refuse_share:
            self.totals.refused += 1
            return mood.refuse_status
        if mood.throttle_tps is None:
            return _OK
        times = self._accepted_times
        while times and times[0] <= now - 1:
            times.popleft()
        every_s, for_s = mood.throttle_every_s, mood.throttle_for_s
        throttling = not every_s or (now - self._started) % every_s >= every_s - for_s
        if throttling and len(times) >= mood.throttle_tps:
            self.totals.throttled += 1
            return _THROTTLED
        times.append(now)
        return _OK

    def _reply(self, body: SubmitSm, which: float) -> DeliverSm | None:
        """Return what the subscriber texts back; each does so once."""
        if body.destination in self._replied:
            return None
        self._replied.add(body.destination)
        _, data_coding, octets = _REPLIES[int(which * len(_REPLIES))]
        return DeliverSm(
            body.destination,
            body.source,
            octets,
            body.dest_ton,
            body.dest_npi,
            body.source_ton,
            body.source_npi,
            data_coding=data_coding,
        )

    def _submit_row(self, taken: _Taken, session: int, wall_ns: int) -> str:
        part, body = taken.part, taken.body
        message_id = f'"{spell_id(self._temperament.response_id, taken.number)}"' if taken.status == _OK else "null"
        ref = "null" if part.ref is None else part.ref
        answered = "" if taken.answer_due is not None else ',"answered":false'
        return (
            f'{{"t":{wall_ns},"e":"submit","session":{session},"seq":{taken.sequence},"src":{_quoted(body.source)},'
            f'"dst":{_number_quoted(body.destination)},"part":{part.part},"parts":{part.parts},"ref":{ref},"sha":"{part.sha}",'
            f'"status":{taken.status},"id":{message_id}{answered}}}'
        )

    def _release(self, batch: list[_Taken]) -> None:
        """Let a durable batch go on: answer it, and schedule its receipts and replies."""
        now = self._clock()
        for taken in batch:
            if taken.answer_due is not None:
                if taken.answer_due <= now:
                    self._answer(taken)
                else:
                    self._answers.add(taken.answer_due, taken)
            for due in taken.receipt_dues:
                self._receipts.add(due, taken)
            if taken.reply is not None:
                text = next(text for text, _, octets in _REPLIES if octets == taken.reply.short_message)
                row = f'"dst":{_number_quoted(taken.body.destination)},"text":{_quoted(text)}'
                self._owed_later.add(taken.reply_due, _Owed("mo", row, taken.reply))
        self._push()

    def _answer(self, taken: _Taken) -> None:
        if taken.link.open:
            message_id = spell_id(self._temperament.response_id, taken.number) if taken.status == _OK else None
            taken.link.session.respond(taken.sequence, SubmitSmResp(message_id), taken.status)

    def _owed_receipt(self, taken: _Taken) -> _Owed:
        by, body = self._temperament.receipt_by, taken.body
        message_id = spell_id(self._temperament.receipt_id, taken.number)
        word, state, error = _OUTCOMES[taken.outcome]
        text, tlvs = b"", {}
        if by is not ReceiptBy.TLV:
            done_at = dt.datetime.now(_ZONE)
            beginning = taken.part.beginning.encode("ascii", "replace").decode()
            text = format_receipt(
                message_id, taken.outcome, taken.submitted_at, done_at, error=error, text=beginning
            ).encode("ascii")  # fmt: skip
        if by is not ReceiptBy.TEXT:
            tlvs = {Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0", Tag.MESSAGE_STATE: state}
            reference = body.tlvs.get(Tag.USER_MESSAGE_REFERENCE)
            if reference is not None:
                tlvs[Tag.USER_MESSAGE_REFERENCE] = reference
        receipt = DeliverSm(
            body.destination, body.source, text, body.dest_ton, body.dest_npi, body.source_ton, body.source_npi, _RECEIPT, tlvs=tlvs
        )
        return _Owed("receipt", f'"id":"{message_id}","dst":{_number_quoted(body.destination)},"stat":"{word}"', receipt)

    def _note_delivery(self, wall_ns: int, event: Responded) -> None:
        owed: _Owed = event.context
        if event.status in _TRY_AGAIN:
            self._owed_later.add(self._clock() + RETRY_DELIVERY_S, owed)
            return
        acknowledged = event.status == _OK and isinstance(event.body, DeliverSmResp)
        self.totals.acknowledged += acknowledged
        self._rows.append(_end_row(wall_ns, owed, acknowledged=acknowledged))

    def _push(self) -> None:
        """Send what is due and may go, write it out, and set the alarm for what comes next."""
        now = self._clock()
        for taken in self._answers.take(now):
            self._answer(taken)
        self._outbox.extend(map(self._owed_receipt, self._receipts.take(now)))
        self._outbox.extend(self._owed_later.take(now))
        for link in list(self._sessions):
            if self._outbox and link.open and link.writable and link.session.state in _TAKES_DELIVERIES:
                self._deliver(link, now)
            link.flush()
        self._set_alarm(now)

    def _deliver(self, link: Pump, now: float) -> None:
        outbox, totals = self._outbox, self.totals
        for _ in range(min(link.session.room, len(outbox))):
            owed = outbox.popleft()
            link.session.request(owed.body, owed, now)
            if owed.event == "mo":
                totals.replies += 1
            else:
                totals.receipts += 1

    def _set_alarm(self, now: float) -> None:
        dues = [due for due in (self._answers.next_due(), self._receipts.next_due(), self._owed_later.next_due()) if due is not None]
        if not dues:
            return
        due = min(dues)
        if self._alarm is not None:
            if self._alarm_due <= due:
                return
            self._alarm.cancel()
        self._alarm_due = due
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, due - now), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._push()


async def serve(
    card: CarrierCard,
    temperament: Temperament,
    ledger_path: Path,
    *,
    host: str = "127.0.0.1",
    port: int,
    ready: Callable[[int], None] | None = None,
    stop: asyncio.Event,
) -> SimulatorTotals:
    """Be the carrier of `card` on `port` (0: any free one) until `stop` is set; return what was seen.

    `ready` is called with the port once it listens. Raises CarrierError when it cannot listen, ConfigurationError when the ledger
    cannot be opened.
    """
    with Ledger(ledger_path) as ledger:
        simulator = Simulator(card, temperament, ledger)
        try:
            server = await asyncio.get_running_loop().create_server(simulator.connect, host, port)
        except OSError as error:
            raise CarrierError(
                Said(vi=f"không mở được cổng {host}:{port}: {error.strerror}", en=f"cannot listen on {host}:{port}: {error.strerror}")
            ) from error
        if ready is not None:
            ready(server.sockets[0].getsockname()[1])
        keeping = asyncio.create_task(simulator.keep_ledger())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                await keeping
        finally:
            server.close()
            keeping.cancel()
            stopping.cancel()
            await asyncio.gather(keeping, stopping, return_exceptions=True)
            simulator.finish()
        return simulator.totals


def _decline(link: Pump, event: Requested | Delivered | Quarantined) -> None:
    """Say no to what an SMS centre may be asked besides: query_sm, cancel_sm, data_sm."""
    if isinstance(event, Requested):
        asked = event.body
        if isinstance(asked, QuerySm):
            link.session.respond(event.sequence, QuerySmResp(asked.message_id), _QUERY_FAILED)
        else:
            link.session.respond(event.sequence, CancelSmResp(), _CANCEL_FAILED)
    else:
        link.session.respond(event.sequence, DataSmResp(), _BAD_COMMAND)


def _end_row(wall_ns: int, owed: _Owed, *, acknowledged: bool) -> str:
    return f'{{"t":{wall_ns},"e":"{owed.event}",{owed.row},"acked":{"true" if acknowledged else "false"}}}'


@lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number_quoted(number: str) -> str:
    return f'"{number}"' if number.isdigit() else json.dumps(number)
