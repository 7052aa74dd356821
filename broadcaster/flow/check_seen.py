"""What one check of a carrier's connection saw: plain values for `check_report` to judge."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from enum import StrEnum

from broadcaster.lang import Said
from broadcaster.link.backoff import Ending
from broadcaster.model import Endpoint, Msisdn
from broadcaster.rules.dialect import SeenReceipt
from broadcaster.rules.numbers import mask


class Cause(StrEnum):
    """Why a connection failed, in words that programs compare."""

    NAME_UNKNOWN = "name-unknown"
    CERTIFICATE = "certificate"
    TLS = "tls"
    CONNECTION_REFUSED = "connection-refused"
    UNREACHABLE = "unreachable"
    NO_ANSWER = "no-answer"
    """Nobody answers the connection or the bind."""
    CREDENTIALS = "credentials"
    ALREADY_BOUND = "already-bound"
    BIND_REFUSED = "bind-refused"
    LOST = "lost"
    """It was bound, and ended."""
    SILENT = "silent"
    """It was bound, and a request was not answered."""


_BY_ENDING = {
    Ending.CREDENTIALS: Cause.CREDENTIALS,
    Ending.ALREADY_BOUND: Cause.ALREADY_BOUND,
    Ending.REFUSED: Cause.BIND_REFUSED,
    Ending.UNREACHABLE: Cause.NO_ANSWER,
    Ending.LOST: Cause.LOST,
}
_BY_ERROR = (
    (socket.gaierror, Cause.NAME_UNKNOWN),
    (ssl.SSLCertVerificationError, Cause.CERTIFICATE),
    (ssl.SSLError, Cause.TLS),
    (ConnectionRefusedError, Cause.CONNECTION_REFUSED),
)


def cause_of(ending: Ending, error: OSError | None) -> Cause:
    """Name why a connection ended, or did not come about; `error` is what the system said, if anything."""
    if error is None:
        return _BY_ENDING[ending]
    return next((cause for kind, cause in _BY_ERROR if isinstance(error, kind)), Cause.UNREACHABLE)


@dataclass(slots=True, eq=False)
class SentPart:
    """One part of a test text, and what the carrier said to it."""

    text: str
    part: int
    parts: int
    number: Msisdn
    step_tps: int | None
    """The rate that was being tried; None for the test texts themselves."""
    reference: int | None = None
    """Its user_message_reference."""
    sent_s: float = 0.0
    answered_s: float | None = None
    status: int | None = None
    smsc_id: str | None = None

    def __repr__(self) -> str:
        return f"SentPart({self.text} {self.part}/{self.parts} to {mask(self.number)}, status={self.status})"

    @property
    def accepted(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the check could not go on."""

    stage: str
    """``connect``, ``bind``, ``enquire``, ``send`` or ``link``."""
    cause: Cause
    reason: Said
    bind_status: int | None = None


@dataclass(slots=True)
class Seen:
    """Everything one check saw; times are seconds of one clock."""

    peer: str | None = None
    """The name the carrier gave itself; None when it never bound."""
    failure: Failure | None = None
    enquiries_s: list[float] = field(default_factory=list)
    parts: list[SentPart] = field(default_factory=list)
    reference_refused: int | None = None
    """The status that refused a part with user_message_reference; the part went again without."""
    receipts: list[SeenReceipt] = field(default_factory=list)
    strangers: list[SeenReceipt] = field(default_factory=list)
    """Receipts from our test numbers whose ids belong to none of our texts under any rule."""
    left_alone: int = 0
    """Receipts and messages that are not ours and were left with the carrier, each counted once."""
    unreadable: int = 0
    """Receipts of which no id could be read."""
    binds: int | None = None
    """How many connections were bound at once; None when no more than one was tried."""
    bind_refusal: Said | None = None
    """Why there were no more."""
    hosts: dict[Endpoint, Said | None] = field(default_factory=dict)
    """Each further host that was tried, and why it did not bind."""
    cancel_status: int | None = None
    """What the carrier answered to cancel_sm for a text of ours; None when it was not asked, or did not answer."""

    def ids(self) -> list[str]:
        """Return the ids the carrier gave to the parts it took."""
        return [part.smsc_id for part in self.parts if part.accepted and part.smsc_id]
