"""A simulated carrier: one SMPP server that behaves as its card and temperament say, and keeps the ledger of what reached it.

Everything goes in batches. What one read brings is judged and put on the ledger's next batch; once that is durable its responses
leave, and its receipts are put on the wheel. Receipts and subscribers' messages wait in one outbox of the account, go to whichever
sessions have room, and come back into it when a session ends before they were acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broadcaster.errors import CarrierError
from broadcaster.lang import Said
from broadcaster.link.judge import OK, THROTTLED, Fate, Judge, Owed
from broadcaster.link.ledger import Ledger
from broadcaster.link.pump import Pump
from broadcaster.link.temperament import Temperament
from broadcaster.link.wheel import Wheel
from broadcaster.model import CarrierCard
from broadcaster.smpp import (
    BindRequested,
    BindResp,
    CancelSmResp,
    DataSmResp,
    Delivered,
    DeliverSmResp,
    Event,
    Quarantined,
    QuerySm,
    QuerySmResp,
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

_BAD_COMMAND: Final = 0x03
_BAD_PASSWORD: Final = 0x0E
_BAD_SYSTEM_ID: Final = 0x0F
_CANCEL_FAILED: Final = 0x11
_QUERY_FAILED: Final = 0x67
_TRY_AGAIN: Final = frozenset({0x08, 0x14, 0x64})
_TAKES_DELIVERIES: Final = frozenset({SessionState.BOUND_RX, SessionState.BOUND_TRX})
_STOPPED: Final = Said(vi="nhà mạng giả lập dừng", en="the simulated carrier stops")


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
        self._judge = Judge(temperament, clock())
        self._disconnect_at = temperament.disconnect_after
        self._sessions: dict[Pump, int] = {}
        self._session_count = 0
        self._rows: list[str] = []
        self._judged: list[tuple[Pump, Fate]] = []
        self._some_rows = asyncio.Event()
        self._many_rows = asyncio.Event()
        self._stopping = False
        self._answers: Wheel[tuple[Pump, Fate]] = Wheel(TICK_S)
        self._receipts: Wheel[Fate] = Wheel(TICK_S)
        self._owed_later: Wheel[Owed] = Wheel(TICK_S)
        self._outbox: deque[Owed] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due = 0.0

    def connect(self) -> Pump:
        """Return the protocol of a new connection."""
        return Pump(Session(Role.SMSC, window=DELIVER_WINDOW), self._clock, self._on_events, self._on_end, self._on_open)

    async def keep_ledger(self) -> None:
        """Write batch after batch, and let what belongs to each go on, until `stop`."""
        loop = asyncio.get_running_loop()
        while not self._stopping or self._rows:
            await self._some_rows.wait()
            if len(self._rows) < BATCH_ROWS:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._many_rows.wait(), GATHER_S)
            rows, judged = self._rows, self._judged
            self._rows, self._judged = [], []
            self._some_rows.clear()
            self._many_rows.clear()
            if rows:
                await loop.run_in_executor(None, self._ledger.write, rows)
            self._release(judged)

    def stop(self) -> None:
        """Cut every connection, and put on the ledger what was never acknowledged; `keep_ledger` then ends."""
        self._stopping = True
        if self._alarm is not None:
            self._alarm.cancel()
        for link in self._sessions:
            link.abort(_STOPPED)
            self._outbox.extend(link.session.close())
        wall_ns = time.time_ns()
        owed = [*self._outbox, *self._owed_later.rest()]
        owed += [self._judge.receipt(fate, wall_ns // 10**9) for fate in self._receipts.rest()]
        self._rows += [one.ledger_row(wall_ns, acknowledged=False) for one in owed]
        self._some_rows.set()
        self._many_rows.set()

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
                self._note_delivery(event, wall_ns)
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
        bind, card, status = event.body, self._card, OK
        if self._temperament.refuse_bind_status is not None:
            status = self._temperament.refuse_bind_status
        elif bind.system_id != card.system_id:
            status = _BAD_SYSTEM_ID
        elif bind.password != card.password.reveal():
            status = _BAD_PASSWORD
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
            fate = judge.judge(sequence, body, now, wall_s)
            totals.submits += 1
            if fate.status == OK:
                totals.accepted += 1
            elif fate.status == THROTTLED:
                totals.throttled += 1
            else:
                totals.refused += 1
            self._judged.append((link, fate))
            self._rows.append(judge.submit_row(fate, session, wall_ns))

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
            if fate.reply is not None:
                self._owed_later.add(fate.reply_due, fate.reply)
        self._push()

    def _answer(self, link: Pump, fate: Fate) -> None:
        link.respond(fate.sequence, SubmitSmResp(self._judge.response_id(fate)), fate.status)

    def _note_delivery(self, event: Responded, wall_ns: int) -> None:
        owed: Owed = event.context
        if event.status in _TRY_AGAIN:
            self._owed_later.add(self._clock() + RETRY_DELIVERY_S, owed)
            return
        acknowledged = event.status == OK and isinstance(event.body, DeliverSmResp)
        self.totals.acknowledged += acknowledged
        self._rows.append(owed.ledger_row(wall_ns, acknowledged=acknowledged))

    def _push(self) -> None:
        """Send what is due and may go, write it out, and set the alarm for what comes next."""
        if self._stopping:
            return
        now = self._clock()
        for pair in self._answers.take(now):
            self._answer(*pair)
        due = self._receipts.take(now)
        if due:
            wall_s = int(time.time())
            self._outbox.extend([self._judge.receipt(fate, wall_s) for fate in due])
        self._outbox.extend(self._owed_later.take(now))
        for link in self._sessions:
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
        finally:
            server.close()
            stopping.cancel()
            simulator.stop()
            await keeping
        return simulator.totals


def _decline(link: Pump, event: Requested | Delivered | Quarantined) -> None:
    """Say no to what else an SMS centre may be asked: query_sm, cancel_sm, data_sm."""
    if not isinstance(event, Requested):
        link.respond(event.sequence, DataSmResp(), _BAD_COMMAND)
    elif isinstance(event.body, QuerySm):
        link.respond(event.sequence, QuerySmResp(event.body.message_id), _QUERY_FAILED)
    else:
        link.respond(event.sequence, CancelSmResp(), _CANCEL_FAILED)
