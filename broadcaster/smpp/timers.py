"""Timers (SMPP 3.4, 2.9) as values, driven by the `now` that the owner passes in (monotonic seconds)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Timers:
    """How long to wait for what, in seconds; `math.inf` switches a timer off."""

    enquire_link_s: float = 30.0
    """Send enquire_link when nothing was received for so long, however much is being sent (2.9 enquire_link_timer, 4.11; F32)."""
    enquire_response_s: float = 10.0
    """Count an enquire_link as unanswered when nothing at all was received for so long after it; two in a row are a dead link."""
    response_timeout_s: float = 60.0
    """Give up on the answer to a request (2.9 response_timer; F33, F34)."""
    bind_timeout_s: float = 15.0
    """Give up on bind_resp (ESME) or on the bind (SMSC) (2.9 session_init_timer; F31)."""
    pdu_read_timeout_s: float = 10.0
    """Give up on the rest of a PDU when no octet of it came for so long (F20)."""


class Due(Enum):
    """What the passing of time asks for; the value is the reason given for a dead link."""

    ENQUIRE = "enquire_link is due"
    BIND_OVERDUE = "bind was not answered in time"
    PDU_STALLED = "a PDU stopped in its middle"
    SILENT = "two enquire_links in a row were not answered"


MOST_UNANSWERED = 2


class Watch:
    """Follow when the peer was last heard, and say what is due."""

    __slots__ = ("_bind_by", "_bound", "_enquiry_by", "_heard_at", "_partial", "_timers", "_unanswered")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._heard_at = math.inf
        self._partial = False
        self._bind_by = math.inf
        self._bound = False
        self._enquiry_by: float | None = None
        self._unanswered = 0

    @property
    def awaiting_bind(self) -> bool:
        """Tell whether the bind timer runs."""
        return self._bind_by < math.inf

    def await_bind(self, now: float) -> None:
        """Start the bind timer."""
        self._bind_by = now + self._timers.bind_timeout_s

    def bind_settled(self, *, bound: bool) -> None:
        """Stop the bind timer; once bound, silence is watched."""
        self._bind_by = math.inf
        self._bound = bound

    def unbinding(self) -> None:
        """Stop watching for silence: nothing may be asked any more."""
        self._bound = False

    def heard(self, now: float, *, partial: bool) -> None:
        """Note that octets came; `partial` tells whether they end within a PDU."""
        self._heard_at = now
        self._partial = partial
        self._enquiry_by = None
        self._unanswered = 0

    def enquired(self, now: float) -> None:
        """Note that an enquire_link was sent."""
        self._enquiry_by = now + self._timers.enquire_response_s

    def due(self, now: float) -> Due | None:
        """Say what is due, the worst first."""
        if now >= self._bind_by:
            return Due.BIND_OVERDUE
        if self._partial and now >= self._heard_at + self._timers.pdu_read_timeout_s:
            return Due.PDU_STALLED
        if not self._bound or now < self._silence_by():
            return None
        if self._enquiry_by is not None:
            self._unanswered += 1
            if self._unanswered == MOST_UNANSWERED:
                return Due.SILENT
        return Due.ENQUIRE

    def next_deadline(self) -> float:
        """Tell when something is due next; infinity when nothing is."""
        stalled_at = self._heard_at + self._timers.pdu_read_timeout_s if self._partial else math.inf
        return min(self._bind_by, stalled_at, self._silence_by() if self._bound else math.inf)

    def _silence_by(self) -> float:
        return self._heard_at + self._timers.enquire_link_s if self._enquiry_by is None else self._enquiry_by
