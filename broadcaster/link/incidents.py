"""What a script lets befall a simulated carrier's links: storms, unbinds, cuts, silences, restarts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from broadcaster.link.fate import Owed
from broadcaster.link.faults import Fault
from broadcaster.link.pump import Pump
from broadcaster.link.receipts import message
from broadcaster.link.wire import Wire
from broadcaster.model import CarrierCard
from broadcaster.smpp import DeliverSm, EnquireLink, Outbind, SessionState, SubmitSm, Unbind, encode

BY_OURSELVES: Final = object()
"""The context of what the carrier asks for itself."""
MOST_KNOWN: Final = 10_000

_BOUND: Final = frozenset({SessionState.BOUND_TX, SessionState.BOUND_RX, SessionState.BOUND_TRX})
_ENQUIRIES_FROM: Final = 0x3000_0000
_STRANGER: Final = SubmitSm("", "84900000000")


class Incidents:
    """Bring faults upon links.

    `owe` takes what is to be delivered, `restart` how many submits to forget and how many seconds to stay down.
    """

    def __init__(self, owe: Callable[[list[Owed]], None], restart: Callable[[int, float], None]) -> None:
        self._owe = owe
        self._restart = restart
        self._known: deque[SubmitSm] = deque(maxlen=MOST_KNOWN)

    def note(self, body: SubmitSm) -> None:
        """Remember a subscriber who may text back."""
        self._known.append(body)

    def befall(self, link: Pump, fault: Fault, now: float) -> None:
        """Let one fault of the link strike."""
        match fault.kind:
            case "mo_storm":
                known = list(self._known) or [_STRANGER]
                self._owe([message(known[at % len(known)], fault["text"]) for at in range(fault["count"])])
            case "restart":
                self._restart(fault["forget"], fault["down_s"])
            case "unbind_now" if link.session.state in _BOUND:
                link.session.request(Unbind(), BY_OURSELVES, now)
                link.flush()
            case "enquire_flood" if link.session.state in _BOUND:
                link.write(b"".join(encode(EnquireLink(), _ENQUIRIES_FROM + at) for at in range(fault["count"])))
            case _ if isinstance(link, Wire):
                _cut(link, fault)
            case _:
                pass


def _cut(link: Wire, fault: Fault) -> None:
    match fault.kind:
        case "rst_after":
            link.cut_after(octets=fault["octets"])
        case "fin_after":
            link.cut_after(pdus=fault["pdus"])
        case "half_open":
            link.fall_silent(deaf=True)
        case "stop_reading":
            link.stop_reading()
            asyncio.get_running_loop().call_later(fault["for_s"], link.read_on)


def meet(link: Pump, fault: Fault, card: CarrierCard, now: float) -> None:
    """Let a fault strike a connection that has just been opened."""
    if fault.kind == "outbind":
        link.session.request(Outbind(card.system_id, card.password.reveal()), None, now)
    elif isinstance(link, Wire):
        link.fall_silent(deaf=False)


def ahead_of_bind_resp(fault: Fault, card: CarrierCard) -> bytes:
    """Return the PDU that some carriers send before they answer the bind (docs/delivery.md F31)."""
    if fault["form"] == "enquire_link":
        return encode(EnquireLink(), _ENQUIRIES_FROM)
    return encode(DeliverSm("84900000000", card.system_id, b"id:0 stat:ENROUTE", esm_class=0x04), 1)
