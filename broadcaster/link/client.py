"""One SMPP bind of one carrier account: connect, bind, pump, and connect again, until told to stop (docs/delivery.md F30–F41)."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from broadcaster.lang import Said
from broadcaster.link.backoff import Backoff, Ending, Pace
from broadcaster.link.pump import Pump
from broadcaster.link.question import Question, answered
from broadcaster.link.reasons import why_no_authority, why_unreachable
from broadcaster.link.silence import Silence
from broadcaster.link.tls import client_context
from broadcaster.model import CarrierCard
from broadcaster.smpp import (
    Answered,
    Bind,
    BindKind,
    BindRefused,
    Body,
    Bound,
    CancelSm,
    Command,
    DataSm,
    DataSmResp,
    Delivered,
    DeliverSm,
    DeliverSmResp,
    Event,
    Late,
    LocalProtocolError,
    PeerUnbound,
    Quarantined,
    Responded,
    Role,
    Session,
    SessionState,
    Submit,
    SubmitTemplate,
    TimedOut,
    Timers,
    Unbind,
    describe,
)

CONNECT_TIMEOUT_S: Final = 10.0
UNBIND_TIMEOUT_S: Final = 5.0
PEER_UNBOUND_WAIT_S: Final = 5.0

_ALREADY_BOUND: Final = 0x05
_BAD_CREDENTIALS: Final = frozenset({0x0E, 0x0F, 0x53})
_NOT_BOUND: Final = 0x04
_CANNOT_READ: Final = 0x65
_UNBIND: Final = object()
_UP: Final = frozenset({SessionState.BOUND_TRX, SessionState.BOUND_RX})
_STOPPED: Final = Said(vi="đã dừng theo yêu cầu", en="stopped as asked")
_LEFT: Final = Said(vi="nhà mạng đã kết thúc phiên", en="the carrier ended the session")

# Counted over all clients of the process, so that an acknowledgement can never reach a session it does not belong to.
_session_numbers = itertools.count(1)


class LinkState(StrEnum):
    """Where a bind stands."""

    CONNECTING = "connecting"
    BOUND = "bound"
    REFUSED = "refused"
    """The carrier answered the bind with a refusal."""
    LOST = "lost"
    """No connection, or not any more; it is tried again."""
    STOPPED = "stopped"
    """Nothing more is tried."""


class Inbound(NamedTuple):
    """A receipt, a subscriber's message, or one that cannot be read, to be acknowledged once it is durable."""

    sequence: int
    session_number: int
    body: DeliverSm | DataSm | Quarantined


class Client:
    """Hold one bind of the account on `card`.

    `on_answer` gets what the carrier answered, as (context, status, message id); `on_unanswered` the contexts of messages that were
    perhaps written and whose answer will not come any more, and why; `on_inbound` what came from the carrier and must be
    acknowledged; `on_state` each change and its reason in the current language; `on_late` answers that came, in the same session, to
    messages reported as unanswered (F39). They get batches, and run on the loop's thread.

    `timers` are those that the card does not carry; `pace` is shared by all binds of one account, so that an outage is not followed
    by all of them connecting at once (F41). The card's hosts are tried in turn; without `keep_trying` there is one connection only.
    `kind` is what the bind asks for; on one that only receives, nothing can be submitted.
    """

    def __init__(
        self,
        card: CarrierCard,
        *,
        on_answer: Callable[[list[tuple[object, int, str | None]]], None],
        on_unanswered: Callable[[list[object], str], None],
        on_inbound: Callable[[list[Inbound]], None],
        on_state: Callable[[LinkState, str], None],
        on_late: Callable[[list[tuple[object, int, str | None]]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        timers: Timers = Timers(),  # noqa: B008 - frozen
        pace: Pace | None = None,
        keep_trying: bool = True,
        kind: BindKind = BindKind.TRANSCEIVER,
    ) -> None:
        self.ending: tuple[Ending, Said] | None = None
        """How the last connection, or the last try to have one, ended."""
        self.bind_status: int | None = None
        """The command status with which the carrier refused the last bind."""
        self.error: OSError | None = None
        """Why the last connection did not come about, where the system said why."""
        self._card = card
        self._hosts = itertools.cycle(card.endpoints)
        self.endpoint = next(self._hosts)
        """Where the connection leads, or the next one will."""
        self._keep_trying = keep_trying
        self._kind = kind
        self._on_answer = on_answer
        self._on_unanswered = on_unanswered
        self._on_inbound = on_inbound
        self._on_state = on_state
        self._on_late = on_late
        self._clock = clock
        self._backoff = backoff
        self._timers = dataclasses.replace(timers, enquire_link_s=card.enquire_link_s, response_timeout_s=card.response_timeout_s)
        self._pace = pace or Pace(0.0)
        self._pump: Pump | None = None
        self._bound = False
        self._leaving = False
        self._session_number = 0
        self._ended: asyncio.Future[Said] | None = None
        self._unacknowledged = 0
        self._silence = Silence(card.window, card.response_timeout_s)
        self._stop_asked = asyncio.Event()
        self._idle = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()

    @property
    def bound(self) -> bool:
        """Tell whether the carrier has let us in: messages can be submitted now, unless the bind is to receive only."""
        pump = self._pump
        return pump is not None and pump.open and pump.session.state in _UP

    @property
    def room(self) -> int:
        """Tell how many messages can be submitted now: what is left of the window, none while the write buffer is full."""
        pump = self._pump
        if pump is None or not pump.writable or not self.bound or self._stop_asked.is_set():
            return 0
        return pump.session.room

    @property
    def outstanding(self) -> int:
        """Tell how many messages wait for the carrier's answer."""
        return self._pump.session.outstanding if self._pump else 0

    async def run(self) -> None:
        """Stay bound until `stop`, or until the carrier has refused our credentials twice (F30)."""
        self._finished.clear()
        endings: Counter[Ending] = Counter()
        reason = _STOPPED
        try:
            while not self._stop_asked.is_set():
                await _wait_for(self._stop_asked.wait(), self._pace.wait_s(self._clock()))
                if self._stop_asked.is_set():
                    break
                started = self._clock()
                self.ending = ending, why = await self._live_once()
                if self._stop_asked.is_set() or not self._keep_trying:
                    break
                self.endpoint = next(self._hosts)
                if ending is Ending.LOST:
                    lasted_s = self._clock() - started
                    endings = Counter({Ending.LOST: 0 if lasted_s > self._backoff.longest_s else endings[Ending.LOST]})
                endings[ending] += 1
                since_start_s = self._clock() - started
                wait_s = self._backoff.wait_s(ending, endings[ending], since_start_s, random.random())  # noqa: S311 - jitter
                refused = ending in (Ending.CREDENTIALS, Ending.ALREADY_BOUND, Ending.REFUSED)
                self._on_state(LinkState.REFUSED if refused else LinkState.LOST, str(why))
                if wait_s is None:
                    reason = Said(
                        vi=f"{why.vi}; không thử lại cho đến khi sửa cấu hình",
                        en=f"{why.en}; not tried again until the configuration is changed",
                    )
                    break
                await _wait_for(self._stop_asked.wait(), wait_s)
        finally:
            if self._pump is not None:
                self._pump.abort(reason)
            self._finished.set()
            self._on_state(LinkState.STOPPED, str(reason))

    async def stop(self, drain_s: float) -> None:
        """Submit no more, wait up to `drain_s` for what is outstanding, unbind, close; receipts are taken until unbind_resp (F36)."""
        self._stop_asked.set()
        pump, ended = self._pump, self._ended
        if pump is not None and ended is not None and self.bound:
            self._note_idle()
            await _wait_for(self._idle.wait(), drain_s)
            if self.bound:
                pump.session.request(Unbind(), _UNBIND, self._clock())
                pump.flush()
                await _wait_for(asyncio.shield(ended), UNBIND_TIMEOUT_S)
        if pump is not None:
            pump.close(_STOPPED)
        await self._finished.wait()

    def drop(self, reason: Said) -> None:
        """Cut the connection off at once and make it anew: after a standstill nobody knows what the carrier thinks of it (T7)."""
        if self._pump is not None:
            self._pump.abort(reason)

    def submit(
        self,
        template: SubmitTemplate,
        destination: bytes,
        context: object,
        reference: int | None = None,
        part_reference: int | None = None,
    ) -> None:
        """Put one message into the session, references as in `SubmitTemplate.splice`; `flush` must follow.

        Raises LocalProtocolError when there is no room.
        """
        pump = self._pump
        if pump is None or not pump.open:
            raise LocalProtocolError("not bound")
        pump.session.submit(template, destination, context, self._clock(), reference, part_reference)

    def submit_all(self, submits: Sequence[Submit]) -> None:
        """Put many messages into the session, as `submit` does one."""
        pump = self._pump
        if pump is None or not pump.open:
            raise LocalProtocolError("not bound")
        pump.session.submit_all(submits, self._clock())

    async def request(self, body: Body) -> int | None:
        """Send another request, enquire_link or cancel_sm say, and return its answer's command status; None when none comes.

        Raises LocalProtocolError when not bound, when the window is full, or when a field does not fit.
        """
        pump = self._pump
        if pump is None or not pump.open:
            raise LocalProtocolError("not bound")
        question: Question = asyncio.get_running_loop().create_future()
        pump.session.request(body, question, self._clock())
        pump.flush()
        return await question

    async def request_cancel(self, smsc_id: str, source: str, destination: str) -> int | None:
        """Ask the carrier to drop a message that it still holds (4.9.1); as `request`."""
        card = self._card
        tons = (card.source_ton, card.source_npi, card.destination_ton, card.destination_npi)
        return await self.request(CancelSm(smsc_id, source, destination, *tons))

    def flush(self) -> None:
        """Write what was submitted or acknowledged, in one piece."""
        if self._pump is not None:
            self._pump.flush()

    def acknowledge(self, inbound: Inbound, status: int = 0) -> None:
        """Answer one receipt or message; see `acknowledge_all`."""
        self.acknowledge_all((inbound,), status)

    def acknowledge_all(self, inbounds: Sequence[Inbound], status: int = 0) -> None:
        """Answer receipts and messages and write the answers; those of an earlier session are passed over, as they come again."""
        pump = self._pump
        if pump is None or self._leaving:
            return
        delivered: list[int] = []
        for inbound in inbounds:
            sequence, session_number, body = inbound
            if session_number != self._session_number:
                continue
            self._unacknowledged -= 1
            if type(body) is DeliverSm:
                delivered.append(sequence)
            elif isinstance(body, Quarantined):
                response = DeliverSmResp() if body.command == Command.DELIVER_SM else DataSmResp()
                pump.respond(sequence, response, status or _CANNOT_READ)
            else:
                pump.respond(sequence, DataSmResp(), status)
        pump.acknowledge(delivered, status)
        pump.flush()
        self._note_idle()

    async def _live_once(self) -> tuple[Ending, Said]:
        """Connect, bind and pump until the connection ends; return how and why."""
        loop = asyncio.get_running_loop()
        card = dataclasses.replace(self._card, endpoint=self.endpoint)
        self._on_state(LinkState.CONNECTING, str(card.endpoint))
        self._begin_session()
        self._ended = loop.create_future()
        session = Session(Role.ESME, window=card.window, timers=self._timers)
        try:
            context = client_context(card)
        except OSError as error:
            self.error = error
            return Ending.UNREACHABLE, why_no_authority(error, card)
        opening = asyncio.ensure_future(
            loop.create_connection(
                lambda: Pump(session, self._clock, self._on_events, self._on_end, self._ask_to_bind),
                card.endpoint.host,
                card.endpoint.port,
                ssl=context,
                server_hostname=card.endpoint.host if context else None,
            )
        )
        stopping = asyncio.ensure_future(self._stop_asked.wait())
        try:
            await asyncio.wait({opening, stopping}, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                opening.cancel()
                return Ending.UNREACHABLE, Said(vi=f"{card.endpoint} không trả lời", en=f"{card.endpoint} does not answer")
            opening.result()
        except OSError as error:
            self.error = error
            return Ending.UNREACHABLE, why_unreachable(error, card)
        finally:
            stopping.cancel()
            opening.cancel()
        if self._stop_asked.is_set() and self._pump is not None:
            self._pump.close(_STOPPED)
        why = await self._ended
        if self.bind_status is not None:
            return _ending_of(self.bind_status), why
        return (Ending.LOST if self._bound else Ending.UNREACHABLE), why

    def _begin_session(self) -> None:
        self._session_number = next(_session_numbers)
        self._bound = False
        self._leaving = False
        self.bind_status = self.error = None
        self._unacknowledged = 0
        self._silence = Silence(self._card.window, self._card.response_timeout_s)

    def _ask_to_bind(self, pump: Pump) -> None:
        self._pump = pump
        card = self._card
        bind = Bind(self._kind, card.system_id, card.password.reveal(), card.system_type)
        pump.session.bind(bind, self._clock())
        pump.flush()

    def _on_events(self, pump: Pump, events: list[Event]) -> None:
        answers: list[tuple[object, int, str | None]] = []
        expired: list[object] = []
        inbounds: list[Inbound] = []
        late: list[tuple[object, int, str | None]] = []
        session_number, new = self._session_number, tuple.__new__
        for event in events:
            if type(event) is Answered:
                answers.append(event)
            elif type(event) is Delivered:
                # A named tuple's own constructor takes twice as long, and this one is made for every receipt.
                sequence, body = event
                inbounds.append(new(Inbound, (sequence, session_number, body)))
            elif isinstance(event, Quarantined):
                inbounds.append(Inbound(event.sequence, self._session_number, event))
            elif isinstance(event, TimedOut) and event.context is not _UNBIND:
                expired += self._unanswered([event.context])
            elif isinstance(event, Late):
                late.append(event)
            else:
                self._on_session_event(pump, event)
        if late and self._on_late is not None:
            self._on_late(late)
        if answers:
            self._on_answers(pump, answers)
        if inbounds:
            self._unacknowledged += len(inbounds)
            self._on_inbound(inbounds)
        if expired:
            self._on_expired(pump, expired)
        if self._leaving and not pump.session.outstanding:
            pump.close(_LEFT)
        self._note_idle()

    def _on_answers(self, pump: Pump, answers: list[tuple[object, int, str | None]]) -> None:
        self._silence.broken()
        self._on_answer(answers)
        if _NOT_BOUND in {status for _, status, _ in answers}:
            pump.close(Said(vi="nhà mạng nói phiên chưa đăng nhập", en="the carrier says that the session is not bound"))

    def _on_session_event(self, pump: Pump, event: Event) -> None:
        if isinstance(event, Bound):
            self._bound = True
            self._on_state(LinkState.BOUND, event.system_id)
        elif isinstance(event, BindRefused):
            self.bind_status = event.status
            name = describe(event.status)
            pump.close(Said(vi=f"nhà mạng từ chối đăng nhập: {name}", en=f"the carrier refused the bind: {name}"))
        elif isinstance(event, PeerUnbound):
            self._leaving = True
            asyncio.get_running_loop().call_later(PEER_UNBOUND_WAIT_S, pump.close, _LEFT)
        elif (isinstance(event, Responded) and not answered(event.context, event.status)) or isinstance(event, TimedOut):
            pump.close(_STOPPED)

    def _on_expired(self, pump: Pump, contexts: list[object]) -> None:
        """Report answers that did not come; give the session up when that is more than an accident (F34)."""
        timeout_s = self._card.response_timeout_s
        reason = Said(vi=f"không có trả lời trong {timeout_s:g} giây", en=f"no answer within {timeout_s:g} s")
        self._on_unanswered(contexts, str(reason))
        if self._silence.grown(self._clock(), len(contexts)):
            pump.close(reason)

    @staticmethod
    def _unanswered(contexts: list[Any]) -> list[Any]:
        """Return the messages among requests that got no answer; whoever awaits one of the others is told."""
        return [context for context in contexts if context is not _UNBIND and not answered(context, None)]

    def _on_end(self, _pump: Pump, contexts: list[Any], reason: Said) -> None:
        self._pump = None
        if self._leaving:
            reason = _LEFT
        try:
            left = self._unanswered(contexts)
            if left:
                self._on_unanswered(left, str(reason))
        finally:
            self._idle.set()
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(reason)

    def _note_idle(self) -> None:
        if self._stop_asked.is_set() and not self.outstanding and self._unacknowledged <= 0:
            self._idle.set()


async def _wait_for(awaitable: Any, timeout_s: float) -> None:
    """Wait for something or for the time, whichever is first."""
    try:
        await asyncio.wait_for(awaitable, timeout_s)
    except TimeoutError:
        return


def _ending_of(bind_status: int) -> Ending:
    if bind_status in _BAD_CREDENTIALS:
        return Ending.CREDENTIALS
    return Ending.ALREADY_BOUND if bind_status == _ALREADY_BOUND else Ending.REFUSED
