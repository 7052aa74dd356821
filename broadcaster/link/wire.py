"""The simulated carrier's end of a connection when its script spoils bytes: dripped, held back, mutilated, cut off, swallowed."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from broadcaster.lang import Said
from broadcaster.link.fate import Fate
from broadcaster.link.faults import Fault, Faults, Occasion
from broadcaster.link.pump import Pump
from broadcaster.smpp import Command, Event, GenericNack, Session, encode

_HEADER_OCTETS: Final = 16
_LENGTH: Final = struct.Struct(">I")
_RESET_LINGER: Final = struct.pack("ii", 1, 0)
_OTHER_SEQUENCES: Final = 0x4000_0000
_CUT: Final = Said(vi="nhà mạng giả lập ngắt kết nối", en="the simulated carrier disconnects")


class Wire(Pump):
    """A pump whose writing the script's faults spoil."""

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float],
        on_events: Callable[[Pump, list[Event]], None],
        on_end: Callable[[Pump, list[Any], Said], None],
        on_open: Callable[[Pump], None],
        *,
        faults: Faults,
        chances: random.Random,
    ) -> None:
        super().__init__(session, clock, on_events, on_end, on_open)
        self._faults = faults
        self._spoils = faults.has(Occasion.WRITE, Occasion.ENQUIRE)
        self._chances = chances
        self._mute = False
        self._octets_left: int | None = None
        self._pdus_left: int | None = None
        self._later: deque[tuple[float, bytes]] = deque()
        self._next: asyncio.TimerHandle | None = None

    def fall_silent(self, *, deaf: bool) -> None:
        """Write nothing any more; if `deaf`, read nothing either, as when a path is lost without a word."""
        self._mute = True
        if deaf:
            self.stop_reading()

    def stop_reading(self) -> None:
        """Let the peer's bytes pile up, until its window is full."""
        if isinstance(self._transport, asyncio.Transport):
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self.open and self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def cut_after(self, *, octets: int | None = None, pdus: int | None = None) -> None:
        """Reset the connection once so many more octets, or close it once so many more PDUs, were written."""
        self._octets_left, self._pdus_left = octets, pdus
        self.flush()
        self._cut_if_spent()

    def _put(self, data: bytes) -> None:
        if self._mute:
            return
        cutting = self._octets_left is not None or self._pdus_left is not None
        if not self._spoils and not cutting and not self._later:
            super()._put(data)
            return
        for pdu in _pdus(data):
            if self.open:
                self._put_one(pdu)
                self._cut_if_spent()

    def _put_one(self, pdu: bytes) -> None:
        now = self._clock()
        if pdu[4:8] == _ENQUIRE_ANSWER and self._faults.strike(Occasion.ENQUIRE, now):
            return
        pace_s, whole_s = 0.0, 0.0
        for fault in self._faults.strike(Occasion.WRITE, now):
            match fault.kind:
                case "mutate_pdu":
                    pdu = self._mutated(pdu, fault["octets"])
                case "bad_length":
                    pdu = _LENGTH.pack(fault["value"]) + pdu[4:]
                case "byte_drip":
                    pace_s = fault["ms"] / 1000
                case _:
                    whole_s = fault["ms"] / 1000
        if self._octets_left is not None:
            pdu = pdu[: self._octets_left]
            self._octets_left -= len(pdu)
        if self._pdus_left is not None:
            self._pdus_left -= 1
        if pace_s:
            self._later.extend((pace_s, pdu[at : at + 1]) for at in range(len(pdu)))
        elif whole_s or self._later:
            self._later.append((0.0 if self._later else whole_s, pdu))
        else:
            super()._put(pdu)
        self._drain()

    def _cut_if_spent(self) -> None:
        if self._octets_left == 0:
            self.reset()
        elif self._pdus_left is not None and self._pdus_left <= 0:
            self._pdus_left = None
            self.close(_CUT)

    def reset(self) -> None:
        """Abort so that the peer gets a RST, even with nothing unread."""
        self._octets_left = None
        if self.open and self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_LINGER)
        self.abort(_CUT)

    def _drain(self) -> None:
        """Write what waits no longer, in one piece, and set the time of the next."""
        if self._next is not None or not self._later:
            return
        self._next = asyncio.get_running_loop().call_later(self._later[0][0], self._ring_wire)

    def _ring_wire(self) -> None:
        self._next = None
        piece = self._later.popleft()[1]
        while self._later and not self._later[0][0]:
            piece += self._later.popleft()[1]
        if self.open and not self._mute:
            super()._put(piece)
        self._drain()

    def _mutated(self, pdu: bytes, octets: int) -> bytes:
        """Change some octets of a PDU's body; one without a body stays."""
        if len(pdu) == _HEADER_OCTETS:
            return pdu
        mutilated = bytearray(pdu)
        for _ in range(octets):
            mutilated[self._chances.randrange(_HEADER_OCTETS, len(pdu))] = self._chances.randrange(256)
        return bytes(mutilated)


_ENQUIRE_ANSWER: Final = _LENGTH.pack(Command.ENQUIRE_LINK_RESP)


def _pdus(data: bytes) -> Iterator[bytes]:
    """Yield the PDUs of what a session wrote; what does not add up comes as it is."""
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data.ljust(at + 4, b"\0"), at)
        if not _HEADER_OCTETS <= length <= len(data) - at:
            length = len(data) - at
        yield data[at : at + length]
        at += length


def odd_response(fate: Fate) -> bytes:
    """Return the response, or responses, of a submit whose fate is odd."""
    odd, sequence, status, command = fate.oddities, fate.sequence, fate.status, Command.SUBMIT_SM_RESP
    if (nack := odd.get("generic_nack")) is not None:
        return encode(GenericNack(), 0 if nack["sequence"] == "zero" else sequence, status)
    message_id = fate.message_id
    if (empty := odd.get("empty_id")) is not None:
        message_id = "" if empty["form"] == "empty" else None
    octets = b"" if message_id is None else message_id.encode() + b"\0"
    if _without_nul(odd.get("id_format")):
        octets = octets.removesuffix(b"\0")
    if "wrong_seq" in odd:
        sequence = (sequence + _OTHER_SEQUENCES) & 0x7FFF_FFFF
    if "wrong_type" in odd:
        command = Command.QUERY_SM_RESP
    head = struct.pack(">IIII", _HEADER_OCTETS + len(octets), command, status, sequence)
    return (head + octets) * (2 if "dup_resp" in odd else 1)


def _without_nul(form: Fault | None) -> bool:
    return form is not None and form["form"] == "no_nul"
