"""One SMPP session of either role, without I/O, clock or thread: bytes in, events and bytes out."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any, Final, cast

from broadcaster.smpp.bodies import (
    RESPONSE_BIT,
    Bind,
    BindResp,
    Body,
    CancelSm,
    Command,
    DataSm,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    GenericNack,
    QuerySm,
    SubmitSm,
    UnbindResp,
    Unknown,
)
from broadcaster.smpp.deliver import DeliverTemplate
from broadcaster.smpp.errors import FieldError, LocalProtocolError, RemoteProtocolError
from broadcaster.smpp.events import (
    Answered,
    BindRefused,
    BindRequested,
    Bound,
    Delivered,
    Event,
    Ignored,
    Late,
    LinkDead,
    PeerUnbound,
    Quarantined,
    Requested,
    Responded,
    Submitted,
    TimedOut,
)
from broadcaster.smpp.fields import NO_TLVS, Tlvs
from broadcaster.smpp.frame import Frame, Framer
from broadcaster.smpp.pdu import decode, decode_short_message, encode, header
from broadcaster.smpp.requests import HEADER_OCTETS
from broadcaster.smpp.states import BOUND, BOUND_BY, RECEIVES, SENDS, SPOKEN, UNANSWERED, Role, SessionState
from broadcaster.smpp.status import RALYBND, RBINDFAIL, RINVBNDSTS, RINVCMDID, RINVCMDLEN, ROK, RUNKNOWNERR
from broadcaster.smpp.submit import Submit, SubmitTemplate
from broadcaster.smpp.timers import Due, Timers, Watch
from broadcaster.smpp.window import Entry, Window

# Looked up once, because every PDU is compared with them.
_SUBMIT_SM_RESP: Final = int(Command.SUBMIT_SM_RESP)
_SUBMIT_SM: Final = int(Command.SUBMIT_SM)
_DELIVER_SM: Final = int(Command.DELIVER_SM)
_DELIVER_SM_RESP: Final = int(Command.DELIVER_SM_RESP)
_DELIVERED: Final = DeliverSmResp()
_DELIVER_SM_RESP_OCTETS: Final = 17
_PACK_DELIVER_SM_RESP: Final = struct.Struct(">IIIIx").pack
_ONE_DELIVER_SM: Final = (_DELIVER_SM,)
_COMMANDS: Final = frozenset(map(int, Command))
_BIND_RESPS: Final = frozenset(command | RESPONSE_BIT for command in BOUND_BY)
_NO_SLOT: Final = frozenset({Command.ENQUIRE_LINK, Command.UNBIND})
_MOST_ID_OCTETS: Final = 255
_DEFAULT_TIMERS: Final = Timers()


class _Own:
    """Mark a request that the session sent by itself, so that its owner hears nothing of the answer."""


_OWN: Final = _Own()

# A named tuple's own constructor takes twice as long, and these two are made a hundred thousand times a second.
_new: Final = tuple.__new__


class Session:
    """Follow one connection from its opening to its end; make a fresh one for the next (S11).

    `now` is monotonic, in seconds. Call `tick` once after connecting, so that timers start. After every call write what `outgoing()`
    returns.
    """

    def __init__(self, role: Role, *, window: int = 10, timers: Timers = _DEFAULT_TIMERS, first_sequence: int = 1) -> None:
        self.role = role
        self._timers = timers
        self._window = Window(window, first_sequence)
        self._framer = Framer()
        self._watch = Watch(timers)
        self._out: list[bytes] = []
        # Requests of the peer that wait for `respond`. A peer may repeat a number (F26), hence several commands under one.
        self._asked: dict[int, tuple[int, ...]] = {}
        self._bind_asked = False
        self._enter(SessionState.OPEN)

    @property
    def state(self) -> SessionState:
        """Tell where the session stands."""
        return self._state

    @property
    def room(self) -> int:
        """Tell how many more requests the window takes."""
        return self._window.room

    @property
    def outstanding(self) -> int:
        """Tell how many windowed requests wait for their answers."""
        return self._window.outstanding

    def bind(self, bind: Bind, now: float) -> None:
        """Ask the SMSC to bind us (4.1); Bound, BindRefused or LinkDead follows. Raises LocalProtocolError."""
        self._must_send(bind.command)
        if self._watch.awaiting_bind:
            raise LocalProtocolError("a bind waits for its answer already")
        sequence = self._window.reserve()
        self._out.append(encode(bind, sequence))
        self._window.put(sequence, bind.command | RESPONSE_BIT, _OWN, math.inf, control=True)
        self._watch.await_bind(now)

    def submit(
        self,
        template: SubmitTemplate,
        destination: bytes,
        context: object,
        now: float,
        reference: int | None = None,
        part_reference: int | None = None,
    ) -> int:
        """Send one submit_sm (4.4.1); Answered follows with `context`, or TimedOut and perhaps Late. Returns the sequence number.

        The references are those of `SubmitTemplate.splice`. Raises LocalProtocolError when not bound to transmit, when the window is
        full, or when destination or references do not fit.
        """
        window = self._window
        if _SUBMIT_SM not in self._may_send or len(window.slots) >= window.size:
            self._must_send(_SUBMIT_SM)
            self._must_have_room()
        sequence = window.reserve()
        self._out.append(template.splice(sequence, destination, reference, part_reference))
        window.slots[sequence] = (_SUBMIT_SM_RESP, context, now + self._timers.response_timeout_s)
        return sequence

    def submit_all(self, submits: Iterable[Submit], now: float) -> None:
        """Send many submit_sm, each as `submit` does; when one raises LocalProtocolError those before it are sent."""
        self._must_send(_SUBMIT_SM)
        window, put = self._window, self._out.append
        slots, size, reserve, deadline = window.slots, window.size, window.reserve, now + self._timers.response_timeout_s
        for template, destination, context, reference, part_reference in submits:
            if len(slots) >= size:
                self._must_have_room()
            sequence = reserve()
            put(template.splice(sequence, destination, reference, part_reference))
            slots[sequence] = (_SUBMIT_SM_RESP, context, deadline)

    def deliver(
        self,
        template: DeliverTemplate,
        source: bytes,
        destination: bytes,
        short_message: bytes,
        context: object,
        now: float,
        tlvs: Tlvs = NO_TLVS,
    ) -> int:
        """SMSC role: send one deliver_sm (4.6.1); Responded or TimedOut follows with `context`. Returns the sequence number.

        Raises LocalProtocolError when not bound to receive, when the window is full, or when a field does not fit.
        """
        self._must_send(_DELIVER_SM)
        self._must_have_room()
        sequence = self._window.reserve()
        self._out.append(template.splice(sequence, source, destination, short_message, tlvs))
        self._window.put(sequence, _DELIVER_SM_RESP, context, now + self._timers.response_timeout_s)
        return sequence

    def request(self, body: Body, context: object, now: float) -> int:
        """Send another request: enquire_link, unbind, query_sm, cancel_sm, data_sm; as SMSC deliver_sm. Returns the sequence number.

        Responded or TimedOut follows with `context` (Answered for submit_sm; nothing for alert_notification and outbind, which have
        no answer). enquire_link and unbind take no window slot. After unbind the state is UNBINDING and, once answered, CLOSED.
        Raises LocalProtocolError when illegal in this state, when the window is full, or when a field does not fit.
        """
        if isinstance(body, Bind):
            raise LocalProtocolError("a bind is sent by `bind`")
        self._must_send(body.command)
        control = body.command in _NO_SLOT
        answered = body.command not in UNANSWERED
        if answered and not control:
            self._must_have_room()
        sequence = self._window.reserve()
        self._out.append(encode(body, sequence))
        if answered:
            deadline = now + self._timers.response_timeout_s
            self._window.put(sequence, body.command | RESPONSE_BIT, context, deadline, control=control)
        if body.command == Command.UNBIND:
            self._enter(SessionState.UNBINDING)
        return sequence

    def acknowledge(self, sequences: Iterable[int], status: int = ROK) -> None:
        """Answer deliver_sm (4.6.2), many at once.

        Raises LocalProtocolError at the first number under which none waits; those after it stay unanswered.
        """
        if self._state is SessionState.CLOSED:
            raise LocalProtocolError("the session is closed")
        asked, out = self._asked, self._out
        for sequence in sequences:
            if asked.get(sequence) is _ONE_DELIVER_SM:
                del asked[sequence]
                out.append(_PACK_DELIVER_SM_RESP(_DELIVER_SM_RESP_OCTETS, _DELIVER_SM_RESP, status, sequence))
            else:
                self.respond(sequence, _DELIVERED, status)

    def respond(self, sequence: int, body: Body, status: int = ROK) -> None:
        """Answer a request of the peer under its own sequence number (5.1.4), if need be with GenericNack (4.3).

        Raises LocalProtocolError when no request of that kind waits under `sequence`, or when a field does not fit.
        """
        if self._state is SessionState.CLOSED:
            raise LocalProtocolError("the session is closed")
        asked = self._asked.get(sequence, ())
        nack = isinstance(body, GenericNack)
        request = asked[0] if nack and asked else body.command & ~RESPONSE_BIT
        if request not in asked:
            raise LocalProtocolError(f"no request under {sequence} waits for {type(body).__name__}")
        self._out.append(encode(body, sequence, status))
        left = list(asked)
        left.remove(request)
        if left:
            self._asked[sequence] = tuple(left)
        else:
            del self._asked[sequence]
        if request in BOUND_BY:
            bound = status == ROK and not nack
            self._bind_asked = False
            self._watch.bind_settled(bound=bound)
            if bound:
                self._enter(BOUND_BY[request])

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the wire and return what they mean.

        A length beyond bounds and an unknown command are answered with generic_nack (4.3), enquire_link (4.11) and unbind (4.2) with
        their responses, and a request that table 2-1 forbids in this state with RINVBNDSTS (5.1.3).
        Raises RemoteProtocolError, with the events ahead of the break in its `before`; the session is then CLOSED, and `outgoing()`
        may still hold a generic_nack to flush. Bytes after the end are ignored.
        """
        events: list[Event] = []
        if self._state is SessionState.CLOSED or not data:
            return events
        reason = None
        try:
            frames = self._framer.feed(data)
        except RemoteProtocolError as error:
            frames, reason = error.before, error.reason
        self._watch.heard(now, partial=self._framer.partial)
        try:
            self._take_all(frames, events)
        except RemoteProtocolError as error:
            self._enter(SessionState.CLOSED)
            raise RemoteProtocolError(error.reason, events) from None
        if reason is not None:
            self._answer(Command.GENERIC_NACK, 0, RINVCMDLEN)
            self._enter(SessionState.CLOSED)
            raise RemoteProtocolError(reason, events)
        return events

    def tick(self, now: float) -> list[Event]:
        """Let time pass (2.9): TimedOut for late answers, LinkDead for a silent peer; may put an enquire_link into `outgoing()`."""
        if self._state is SessionState.CLOSED:
            return []
        events: list[Event] = [TimedOut(context) for context in self._window.expire(now) if context is not _OWN]
        self._await_bind(now)
        due = self._watch.due(now)
        if due is Due.ENQUIRE:
            sequence = self._window.reserve()
            self._out.append(encode(EnquireLink(), sequence))
            self._window.put(sequence, Command.ENQUIRE_LINK_RESP, _OWN, now + self._timers.response_timeout_s, control=True)
            self._watch.enquired(now)
        elif due is not None:
            self._enter(SessionState.CLOSED)
            events.append(LinkDead(due.value))
        return events

    def next_deadline(self) -> float | None:
        """Tell when `tick` must be called at the latest, None when nothing is timed."""
        if self._state is SessionState.CLOSED:
            return None
        deadline = min(self._window.next_deadline(), self._watch.next_deadline())
        return None if deadline == math.inf else deadline

    def outgoing(self) -> bytes:
        """Take the bytes that must be written now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def close(self) -> list[Any]:
        """Note that the connection is gone; return the contexts of all requests left unanswered."""
        self._enter(SessionState.CLOSED)
        return [context for context in self._window.drain() if context is not _OWN]

    def _enter(self, state: SessionState) -> None:
        self._state = state
        self._may_send = SENDS[self.role][state]
        self._serves = RECEIVES[self.role][state]
        if state not in BOUND:
            self._watch.unbinding()

    def _await_bind(self, now: float) -> None:
        """An SMSC waits for the bind from the first tick on, until it is asked for one."""
        idle = not self._bind_asked and not self._watch.awaiting_bind
        if self.role is Role.SMSC and self._state is SessionState.OPEN and idle:
            self._watch.await_bind(now)

    def _must_send(self, command: int) -> None:
        if command not in self._may_send:
            raise LocalProtocolError(f"{self.role.name} may not send command 0x{command:08X} when {self._state.value}")

    def _must_have_room(self) -> None:
        if not self._window.room:
            raise LocalProtocolError(f"the window of {self._window.size} is full")

    def _answer(self, command: int, sequence: int, status: int) -> None:
        self._out.append(header(HEADER_OCTETS, command, status, sequence))

    def _take_all(self, frames: list[Frame], events: list[Event]) -> None:
        window, asked = self._window, self._asked
        slots = window.slots
        for frame in frames:
            command, status, sequence, body = frame
            if command == _SUBMIT_SM_RESP:
                entry = slots.pop(sequence, None) or window.take(sequence)
                if entry is not None and entry[0] == _SUBMIT_SM_RESP:
                    events.append(_new(Answered, (entry[1], status, _message_id(body))))
                else:
                    self._take_response(frame, entry, events)
            elif command == _DELIVER_SM and command in self._serves:
                try:
                    events.append(_new(Delivered, (sequence, decode_short_message(DeliverSm, body))))
                except FieldError as error:
                    events.append(Quarantined(sequence, body, str(error), command))
                asked[sequence] = (*asked[sequence], command) if sequence in asked else _ONE_DELIVER_SM
            elif command not in _COMMANDS:
                self._take_unknown(frame, events)
            elif command & RESPONSE_BIT:
                self._take_response(frame, window.take(sequence), events)
            else:
                self._take_request(frame, events)
            if self._state is SessionState.CLOSED:
                break

    def _take_unknown(self, frame: Frame, events: list[Event]) -> None:
        """F24: an unknown request is refused, an unknown response only noted."""
        command, _, sequence, _ = frame
        if command & RESPONSE_BIT:
            events.append(Ignored(*frame))
        else:
            self._answer(Command.GENERIC_NACK, sequence, RINVCMDID)

    def _take_response(self, frame: Frame, entry: Entry | None, events: list[Event]) -> None:
        command, status, sequence, body = frame
        if entry is None:
            self._take_unawaited(frame, events)
            return
        expected, context, _ = entry
        if command == Command.GENERIC_NACK:
            self._take_nack(expected, context, status, events)
            return
        if command != expected:
            # The request is unanswered all the same: `close` must still return it.
            self._window.put(sequence, *entry, control=True)
            raise RemoteProtocolError(f"response 0x{command:08X} where 0x{expected:08X} was due (F27)")
        if command in _BIND_RESPS:
            self._take_bind_resp(command, status, body, events)
            return
        if context is not _OWN:
            events.append(Responded(context, _decode_response(command, body), status))
        if command == Command.UNBIND_RESP:
            self._enter(SessionState.CLOSED)

    def _take_unawaited(self, frame: Frame, events: list[Event]) -> None:
        """F39: what comes after its time still tells what became of a submit_sm; anything else is only noted."""
        command, status, sequence, body = frame
        nack = command == Command.GENERIC_NACK
        entry = self._window.recall(sequence, _SUBMIT_SM_RESP) if nack or command == _SUBMIT_SM_RESP else None
        if entry is None:
            events.append(Ignored(*frame))
        elif nack:
            events.append(Late(entry[1], status or RUNKNOWNERR, None))
        else:
            events.append(Late(entry[1], status, _message_id(body)))

    def _take_nack(self, expected: int, context: Any, status: int, events: list[Event]) -> None:
        # A nack that claims success is no acceptance.
        if expected in _BIND_RESPS:
            self._watch.bind_settled(bound=False)
            events.append(BindRefused(status or RBINDFAIL))
        elif expected == _SUBMIT_SM_RESP:
            events.append(Answered(context, status or RUNKNOWNERR, None))
        elif context is not _OWN:
            events.append(Responded(context, GenericNack(), status or RUNKNOWNERR))

    def _take_bind_resp(self, command: int, status: int, body: bytes, events: list[Event]) -> None:
        self._watch.bind_settled(bound=status == ROK)
        if status != ROK:
            events.append(BindRefused(status))
            return
        self._enter(BOUND_BY[command & ~RESPONSE_BIT])
        answer = _decode_response(command, body)
        events.append(Bound(answer.system_id if isinstance(answer, BindResp) else ""))

    def _wait_for_respond(self, sequence: int, command: int) -> None:
        asked = self._asked.get(sequence)
        self._asked[sequence] = (command,) if asked is None else (*asked, command)

    def _refuse(self, command: int, sequence: int) -> None:
        if command not in SPOKEN[self.role]:
            self._answer(Command.GENERIC_NACK, sequence, RINVCMDID)
        else:
            self._answer(command | RESPONSE_BIT, sequence, RALYBND if command in BOUND_BY else RINVBNDSTS)

    def _take_request(self, frame: Frame, events: list[Event]) -> None:
        command, _, sequence, octets = frame
        if command in UNANSWERED:
            events.append(Ignored(*frame))
            return
        if command not in self._serves or (command in BOUND_BY and self._bind_asked):
            self._refuse(command, sequence)
            return
        if command == Command.ENQUIRE_LINK:
            self._answer(Command.ENQUIRE_LINK_RESP, sequence, ROK)
            return
        if command == Command.UNBIND:
            self._out.append(encode(UnbindResp(), sequence))
            self._enter(SessionState.UNBINDING)
            events.append(PeerUnbound())
            return
        try:
            events.append(self._event_of(sequence, decode(command, octets)))
        except FieldError as error:
            self._take_broken(frame, str(error), events)
        else:
            self._wait_for_respond(sequence, command)

    def _take_broken(self, frame: Frame, reason: str, events: list[Event]) -> None:
        command, _, sequence, octets = frame
        if command == Command.DATA_SM:
            events.append(Quarantined(sequence, octets, reason, command))
            self._wait_for_respond(sequence, command)
        else:
            self._answer(command | RESPONSE_BIT, sequence, RINVCMDLEN)

    def _event_of(self, sequence: int, body: Body) -> Event:
        match body:
            case SubmitSm():
                return Submitted(sequence, body)
            case QuerySm() | CancelSm():
                return Requested(sequence, body)
            case Bind():
                self._bind_asked = True
                self._watch.bind_settled(bound=False)
                return BindRequested(sequence, body)
            case _:
                return Delivered(sequence, cast("DataSm", body))


def _message_id(body: bytes) -> str | None:
    """Read the id of a submit_sm_resp; None when there is none or it cannot be trusted (F23, F28, S3)."""
    end = body.find(0)
    return body[:end].decode("latin-1") if 0 < end <= _MOST_ID_OCTETS else None


def _decode_response(command: int, octets: bytes) -> Body:
    """Read a response whose header alone settles the request: an unreadable body is none (F23)."""
    try:
        return decode(command, octets)
    except FieldError:
        return Unknown(command, octets)
