"""What a session tells its owner. Events are named tuples, in the order in which things happened on the wire."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from broadcaster.smpp.bodies import Bind, Body, CancelSm, DataSm, DeliverSm, QuerySm, SubmitSm


class Bound(NamedTuple):
    """Our bind was accepted (4.1); `system_id` is the name the SMSC gave itself."""

    system_id: str


class BindRefused(NamedTuple):
    """Our bind was refused (4.1, 5.1.3) with `status` (F30, F31)."""

    status: int


class Answered(NamedTuple):
    """A submit_sm was answered (4.4.2); `message_id` is None when absent or unreadable, even with status 0 (F23, F28)."""

    context: Any
    status: int
    message_id: str | None


class Late(NamedTuple):
    """A submit_sm was answered after its TimedOut: what was uncertain is no more (F39); told once, and fields as in Answered.

    An answer that comes once the connection is gone can come no more: a sequence number means nothing in the next session (5.1.4).
    """

    context: Any
    status: int
    message_id: str | None


class Responded(NamedTuple):
    """Another request of ours was answered; `body` is GenericNack when that is what came, Unknown when it cannot be read."""

    context: Any
    body: Body
    status: int


class TimedOut(NamedTuple):
    """No answer came in time (2.9 response_timer); the window slot is free again (F34)."""

    context: Any


class Delivered(NamedTuple):
    """A receipt or a subscriber's message (4.6, 4.7): `respond(sequence, DeliverSmResp() or DataSmResp())` once it is durable."""

    sequence: int
    body: DeliverSm | DataSm


class Quarantined(NamedTuple):
    """A deliver_sm or data_sm that cannot be read: store `raw`, then respond as to Delivered with RX_P_APPN (F23).

    `command` says which of the two it was, so which response is due.
    """

    sequence: int
    raw: bytes
    reason: str
    command: int

    def __repr__(self) -> str:
        return f"Quarantined(sequence={self.sequence}, octets={len(self.raw)}, reason={self.reason!r})"


class BindRequested(NamedTuple):
    """SMSC role: an ESME asks to bind: `respond(sequence, BindResp(body.kind, system_id), status)`; status 0 binds the session."""

    sequence: int
    body: Bind


class Submitted(NamedTuple):
    """SMSC role: a message to accept or refuse: `respond(sequence, SubmitSmResp(message_id), status)`."""

    sequence: int
    body: SubmitSm


class Requested(NamedTuple):
    """SMSC role: a query_sm or cancel_sm to answer."""

    sequence: int
    body: QuerySm | CancelSm


class PeerUnbound(NamedTuple):
    """The peer unbound (4.2) and has its answer; nothing may be sent any more, answers may still arrive (F35)."""


class LinkDead(NamedTuple):
    """The peer is silent beyond its timers (2.9): close the connection (F20, F31, F32)."""

    reason: str


class Ignored(NamedTuple):
    """A PDU that asks nothing of us and answers nothing we wait for, its body untouched.

    Unknown, repeated or unasked responses (F24, F39), generic_nack with sequence 0 (F25), alert_notification, outbind.
    """

    command: int
    status: int
    sequence: int
    body: bytes

    def __repr__(self) -> str:
        return f"Ignored(command=0x{self.command:08X}, status=0x{self.status:X}, sequence={self.sequence}, octets={len(self.body)})"


Event: TypeAlias = (
    Bound | BindRefused | Answered | Late | Responded | TimedOut | Delivered | Quarantined | BindRequested | Submitted | Requested
    | PeerUnbound | LinkDead | Ignored
)  # fmt: skip
