"""A simulated carrier: one SMPP server that behaves as its card and temperament say, and keeps the ledger of what reached it.

Everything goes in batches. What one read brings is judged and put on the ledger's next batch; once that is durable its responses
leave, and its receipts are put on the wheel. Receipts and subscribers' messages wait in one outbox of the account, go to whichever
sessions have room, and come back into it when a session ends before they were acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broadcaster.errors import CarrierError
from broadcaster.lang import Said
from broadcaster.link.certificates import Authority, server_context
from broadcaster.link.fate import Fate, Owed
from broadcaster.link.faults import Faults, Occasion
from broadcaster.link.held import Held
from broadcaster.link.incidents import BY_OURSELVES, Incidents, ahead_of_bind_resp, meet
from broadcaster.link.judge import OK, THROTTLED, Judge
from broadcaster.link.ledger import Ledger
from broadcaster.link.outbox import owed_of, send
from broadcaster.link.pump import Pump
from broadcaster.link.script import IdForm
from broadcaster.link.temperament import Temperament
from broadcaster.link.wheel import Wheel
from broadcaster.link.wire import Wire, odd_response
from broadcaster.model import CarrierCard
from broadcaster.smpp import (
    BindRequested,
    BindResp,
    CancelSm,
    CancelSmResp,
    DataSmResp,
    Delivered,
    DeliverSmResp,
    Event,
    GenericNack,
    Quarantined,
    QuerySm,
    QuerySmResp,
    ReceiptState,
    Requested,
    Responded,
    Role,
    Session,
    SessionState,
    SubmitSmResp,
    Submitted,
    TimedOut,
)

DELIVER_WINDOW: Final = 500
GATHER_S: Final = 0.01
BATCH_ROWS: Final = 500
TICK_S: Final = 0.005
RETRY_DELIVERY_S: Final = 1.0
CLOCK_S: Final = 0.02
"""How often faults that strike by the clock are looked at."""

_BAD_COMMAND: Final = 0x03
_BAD_PASSWORD: Final = 0x0E
_BAD_SYSTEM_ID: Final = 0x0F
_CANCEL_FAILED: Final = 0x11
_QUERY_FAILED: Final = 0x67
_TRY_AGAIN: Final = frozenset({0x08, 0x14, 0x64})
_TAKES_DELIVERIES: Final = frozenset({SessionState.BOUND_RX, SessionState.BOUND_TRX})
_STOPPED: Final = Said(vi="nhà mạng giả lập dừng", en="the simulated carrier stops")
_DOWN: Final = Said(vi="nhà mạng giả lập đang khởi động lại", en="the simulated carrier is restarting")


@dataclass(slots=True)
class SimulatorTotals:
    """What a simulated carrier saw and did; `acknowledged` counts receipts and replies together, re-sent ones once."""

    binds: int = 0
    refused_binds: int = 0
    submits: int = 0
    accepted: int = 0
    refused: int = 0
    throttled: int = 0
    receipts: int = 0
    replies: int = 0
    acknowledged: int = 0


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
        self._faults = Faults(temperament.faults, temperament.seed, clock())
        self._link_faults = self._faults.has(Occasion.LINK)
        self._chances = random.Random(f"{temperament.seed}/wire")  # noqa: S311 - choices must repeat with the seed
        self._incidents = Incidents(self._owe, self._restart)
        self._judge = Judge(temperament, self._faults, clock(), card)
        self._disconnect_at = temperament.disconnect_after
        self._down_until = 0.0
        self._sessions: dict[Pump, int] = {}
        self._session_count = 0
        self._rows: list[str] = []
        self._judged: list[tuple[Pump, Fate]] = []
        self._judged_rows: list[str] = []
        self._some_rows = asyncio.Event()
        self._many_rows = asyncio.Event()
        self._stopping = False
        self._answers: Wheel[tuple[Pump, Fate]] = Wheel(TICK_S)
        self._receipts: Wheel[Fate] = Wheel(TICK_S)
        self._owed_later: Wheel[Owed] = Wheel(TICK_S)
        self._outbox: deque[Owed] = deque()
        self._held = Held() if card.cancels else None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due = 0.0

    def connect(self) -> Pump:
        """Return the protocol of a new connection."""
        session = Session(Role.SMSC, window=DELIVER_WINDOW)
        if not self._temperament.faults:
            return Pump(session, self._clock, self._on_events, self._on_end, self._on_open)
        return Wire(session, self._clock, self._on_events, self._on_end, self._on_open, faults=self._faults, chances=self._chances)

    async def keep_ledger(self) -> None:
        """Write batch after batch, and let what belongs to each go on, until `stop`."""
        loop = asyncio.get_running_loop()
        while not self._stopping or self._rows or self._judged_rows:
            await self._some_rows.wait()
            if len(self._rows) + len(self._judged_rows) < BATCH_ROWS:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._many_rows.wait(), GATHER_S)
            rows, judged = self._rows + self._judged_rows, self._judged
            self._rows, self._judged, self._judged_rows = [], [], []
            self._some_rows.clear()
            self._many_rows.clear()
            if rows:
                await loop.run_in_executor(None, self._ledger.write, rows)
            self._release(judged)

    async def strike_by_clock(self) -> None:
        """Let the faults that strike by the clock do so, for ever."""
        while self._faults.by_clock:
            await asyncio.sleep(CLOCK_S)
            now = self._clock()
            for fault in self._faults.strike_by_clock(now) if self._sessions else ():
                for link in list(self._sessions):
                    self._incidents.befall(link, fault, now)
            self._push()

    def stop(self) -> None:
        """Cut every connection, and put on the ledger what was never acknowledged; `keep_ledger` then ends."""
        self._stopping = True
        if self._alarm is not None:
            self._alarm.cancel()
        for link in self._sessions:
            link.abort(_STOPPED)
            self._outbox.extend(owed_of(link.session.close()))
        wall_ns = time.time_ns()
        owed = [*self._outbox, *self._owed_later.rest()]
        left = self._receipts.rest()
        owed += [self._judge.receipt(fate, wall_ns // 10**9) for fate in (self._held.without_dropped(left) if self._held else left)]
        self._rows += [one.ledger_row(wall_ns, acknowledged=False) for one in owed]
        self._some_rows.set()
        self._many_rows.set()

    def _on_open(self, link: Pump) -> None:
        if self._clock() < self._down_until:
            link.abort(_DOWN)
            return
        self._session_count += 1
        self._sessions[link] = self._session_count
        for fault in self._faults.strike(Occasion.CONNECT, self._clock()):
            meet(link, fault, self._card, self._clock())
        link.flush()

    def _on_end(self, link: Pump, contexts: list[Any], _reason: Said) -> None:
        self._sessions.pop(link, None)
        self._outbox.extendleft(reversed(owed_of(contexts)))
        self._push()

    def _on_events(self, link: Pump, events: list[Event]) -> None:
        submits: list[Submitted] = []
        wall_ns = time.time_ns()
        for event in events:
            if isinstance(event, Submitted):
                submits.append(event)
            elif isinstance(event, Responded):
                self._note_delivery(event, wall_ns)
            elif isinstance(event, TimedOut):
                self._outbox.extend(owed_of([event.context]))
            elif isinstance(event, BindRequested):
                self._judge_bind(link, event)
            elif self._held and isinstance(event, Requested) and isinstance(event.body, CancelSm):
                self._cancel(link, event.sequence, self._held.drop(event.body))
            elif isinstance(event, Requested | Delivered | Quarantined):
                _decline(link, event)
        if submits and link in self._sessions:
            self._take_submits(link, submits, wall_ns)
        if self._rows or self._judged_rows:
            self._some_rows.set()
            if len(self._rows) + len(self._judged_rows) >= BATCH_ROWS:
                self._many_rows.set()
        self._push()

    def _judge_bind(self, link: Pump, event: BindRequested) -> None:
        bind, card, status = event.body, self._card, OK
        if self._temperament.refuse_bind_status is not None:
            status = self._temperament.refuse_bind_status
        elif bind.system_id != card.system_id:
            status = _BAD_SYSTEM_ID
        elif bind.password != card.password.reveal():
            status = _BAD_PASSWORD
        struck = {fault.kind: fault for fault in self._faults.strike(Occasion.BIND, self._clock())}
        if "pre_bind_pdu" in struck:
            link.write(ahead_of_bind_resp(struck["pre_bind_pdu"], card))
        if "bind_silence" in struck:
            return
        if "bind_error" in struck:
            status = struck["bind_error"]["status"]
        self.totals.binds += status == OK
        self.totals.refused_binds += status != OK
        link.respond(event.sequence, BindResp(bind.kind, card.code[:15]), status)

    def _take_submits(self, link: Pump, submits: list[Submitted], wall_ns: int) -> None:
        now, session, totals = self._clock(), self._sessions[link], self.totals
        judge, wall_s = self._judge, wall_ns // 10**9
        for sequence, body in submits:
            if self._disconnect_at is not None and totals.submits >= self._disconnect_at:
                self._disconnect_at = None
                link.abort(Said(vi="nhà mạng giả lập ngắt kết nối", en="the simulated carrier disconnects"))
                return
            fate = judge.judge(sequence, body, session, now, wall_s)
            totals.submits += 1
            if fate.status == OK:
                totals.accepted += 1
            elif fate.status == THROTTLED:
                totals.throttled += 1
            else:
                totals.refused += 1
            self._judged.append((link, fate))
            self._judged_rows.append(judge.submit_row(fate, wall_ns))
            if self._link_faults:
                self._incidents.note(body)
                for fault in self._faults.strike(Occasion.LINK, now):
                    self._incidents.befall(link, fault, now)
                if not link.open:
                    return

    def _release(self, batch: list[tuple[Pump, Fate]]) -> None:
        """Let a durable batch go on: answer it, and schedule its receipts and replies."""
        now = self._clock()
        for pair in batch:
            fate = pair[1]
            if fate.answer_due is not None:
                if fate.answer_due <= now:
                    self._answer(*pair)
                else:
                    self._answers.add(fate.answer_due, pair)
            for due in fate.receipt_dues:
                self._receipts.add(due, fate)
            if self._held:
                self._held.keep(fate)
            for due, state in fate.passing:
                self._owed_later.add(due, self._judge.receipt(fate, fate.wall_s, state))
            if fate.reply is not None:
                self._owed_later.add(fate.reply_due, fate.reply)
        self._push()

    def _answer(self, link: Pump, fate: Fate) -> None:
        if not fate.oddities and self._temperament.response_id is not IdForm.LONG:
            link.respond(fate.sequence, SubmitSmResp(fate.message_id), fate.status)
            return
        # What is written instead is no business of the session, which only learns that the request is settled.
        link.flush()
        link.respond(fate.sequence, GenericNack())
        link.session.outgoing()
        link.write(odd_response(fate))

    def _cancel(self, link: Pump, sequence: int, dropped: Fate | None) -> None:
        link.respond(sequence, CancelSmResp(), _CANCEL_FAILED if dropped is None else OK)
        if dropped is not None:
            self._outbox.append(self._judge.receipt(dropped, int(time.time()), ReceiptState.DELETED))

    def _note_delivery(self, event: Responded, wall_ns: int) -> None:
        if event.context is BY_OURSELVES:
            return
        owed: Owed = event.context
        if event.status in _TRY_AGAIN:
            self._owed_later.add(self._clock() + RETRY_DELIVERY_S, owed)
            return
        acknowledged = event.status == OK and isinstance(event.body, DeliverSmResp | DataSmResp)
        self.totals.acknowledged += acknowledged
        self._rows.append(owed.ledger_row(wall_ns, acknowledged=acknowledged))

    def _owe(self, owed: list[Owed]) -> None:
        self._outbox.extend(owed)

    def _restart(self, forget: int, down_s: float) -> None:
        """Reset every connection; the newest submits that are not on the disk yet never came, `forget` of them at most."""
        self._down_until = self._clock() + down_s
        if forget:
            del self._judged[-forget:], self._judged_rows[-forget:]
        for link in list(self._sessions):
            if isinstance(link, Wire):
                link.reset()

    def _push(self) -> None:
        """Send what is due and may go, write it out, and set the alarm for what comes next."""
        if self._stopping:
            return
        now = self._clock()
        for pair in self._answers.take(now):
            self._answer(*pair)
        due = self._receipts.take(now)
        if due:
            wall_s, write = int(time.time()), self._judge.receipt
            self._outbox.extend([write(fate, wall_s) for fate in (self._held.without_dropped(due) if self._held else due)])
        self._outbox.extend(self._owed_later.take(now))
        takers = [link for link in self._sessions if link.open and link.session.state in _TAKES_DELIVERIES]
        for link in takers:
            if self._outbox and link.writable:
                self._deliver(link, now, alone=len(takers) == 1)
        for link in list(self._sessions):
            link.flush()
        self._set_alarm(now)

    def _deliver(self, link: Pump, now: float, *, alone: bool) -> None:
        outbox, totals, number = self._outbox, self.totals, self._sessions[link]
        for _ in range(min(link.session.room, len(outbox))):
            owed = outbox.popleft()
            if owed.shunned == number and not alone:
                outbox.append(owed)
                continue
            send(link.session, owed, now)
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

    `ready` is called with the port once it listens. When the card says so it speaks TLS, under an authority of its own, whose
    certificate it leaves beside the ledger as ``.ca.pem``. Raises CarrierError when it cannot listen, ConfigurationError when the
    ledger cannot be opened.
    """
    with Ledger(ledger_path) as ledger:
        tls = _tls(card, temperament, ledger_path)
        simulator = Simulator(card, temperament, ledger)
        try:
            server = await asyncio.get_running_loop().create_server(simulator.connect, host, port, ssl=tls)
        except OSError as error:
            raise CarrierError(
                Said(vi=f"không mở được cổng {host}:{port}: {error.strerror}", en=f"cannot listen on {host}:{port}: {error.strerror}")
            ) from error
        if ready is not None:
            ready(server.sockets[0].getsockname()[1])
        keeping = asyncio.create_task(simulator.keep_ledger())
        striking = asyncio.create_task(simulator.strike_by_clock())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.close()
            stopping.cancel()
            striking.cancel()
            simulator.stop()
            await keeping
        return simulator.totals


def _tls(card: CarrierCard, temperament: Temperament, ledger_path: Path) -> ssl.SSLContext | None:
    forms = [fault["form"] for fault in temperament.faults if fault.occasion is Occasion.RUN]
    if not card.tls and not forms:
        return None
    authority = Authority()
    ledger_path.with_suffix(".ca.pem").write_bytes(authority.pem)
    return server_context(forms[-1] if forms else "good", authority)


def _decline(link: Pump, event: Requested | Delivered | Quarantined) -> None:
    """Say no to what else an SMS centre may be asked: query_sm, cancel_sm, data_sm."""
    if not isinstance(event, Requested):
        link.respond(event.sequence, DataSmResp(), _BAD_COMMAND)
    elif isinstance(event.body, QuerySm):
        link.respond(event.sequence, QuerySmResp(event.body.message_id), _QUERY_FAILED)
    else:
        link.respond(event.sequence, CancelSmResp(), _CANCEL_FAILED)
