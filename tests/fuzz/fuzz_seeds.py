"""Good PDUs, good receipts and good replies to start from, and what may never happen whatever is made of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from datetime import UTC
from typing import Final

from broadcaster.rules.refusal import read_reply
from broadcaster.smpp import (
    AlertNotification,
    Bind,
    BindKind,
    BindRequested,
    BindResp,
    Body,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    Delivered,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    Event,
    FieldError,
    GenericNack,
    LinkDead,
    LocalProtocolError,
    Outbind,
    PeerUnbound,
    Quarantined,
    QuerySm,
    QuerySmResp,
    RemoteProtocolError,
    Requested,
    Role,
    Session,
    SessionState,
    SubmitSm,
    SubmitSmResp,
    Submitted,
    SubmitTemplate,
    Tag,
    Unbind,
    UnbindResp,
    Unknown,
    classify,
    content,
    decode,
    encode,
    normal_id,
    parse_receipt,
    receipt_time,
)

_DATES: Final = "submit date:2507250900 done date:2507250901"
RECEIPT_TEXTS: Final = (
    f"id:1234567890 sub:001 dlvrd:001 {_DATES} stat:DELIVRD err:000 text:CANH BAO",
    f"id:0A1B2C3D sub:001 dlvrd:000 {_DATES} stat:UNDELIV err:0E5 Text:",
    "id:6e2b9c1e-0f4d-4c39-9d6e-8f0a1b2c3d4e stat:EXPIRED err:027 done date:20250725090112",
    "ID:77,SUB:1,DLVRD:0,SUBMIT DATE:1753434000,DONE DATE:1753434060,STAT:REJECTD,ERR:-1,TEXT:x",
    "msgid=77;status=DELIVERED;error_code=0;done_date=2025-07-25T09:01:12",
    "stat:ACCEPTD id:77 text:id:99 stat:DELIVRD",
)
REPLIES: Final = ("TC", "Từ chối", "STOP", "HUY TC gửi 8088", "t.c", "soạn TC QNG gửi 8088", "V 0912345678 lừa đảo", "đúng", "đừng")

_KINDS: Final = tuple(BindKind)
_TLVS: Final = {
    Tag.RECEIPTED_MESSAGE_ID: b"1d305b4c\0",
    Tag.MESSAGE_STATE: b"\2",
    Tag.NETWORK_ERROR_CODE: b"\3\0\x1b",
    0x1400: b"vendor",
}
_ACCENTED: Final = "Cảnh báo lừa đảo".encode("utf-16-be")
_PART: Final = b"\5\0\3\7\2\1" + _ACCENTED


def _bodies() -> list[Body]:
    numbers = ("84901234567", "CANHBAO")
    return [
        *(Bind(kind, "dien-tap", "mat-khau", "SMPP", address_range="^84") for kind in _KINDS),
        *(BindResp(kind, "smsc", {Tag.SC_INTERFACE_VERSION: b"\x34"}) for kind in _KINDS),
        Outbind("smsc", "mat-khau"),
        *(DeliverSm(*numbers, text.encode(), 1, 1, 5, 0, 4) for text in RECEIPT_TEXTS),
        *(DeliverSm(*numbers, text.encode("utf-16-be"), 1, 1, 5, 0, 4, data_coding=8) for text in RECEIPT_TEXTS[:2]),
        DeliverSm(*numbers, b"", 1, 1, 5, 0, 4, tlvs=_TLVS),
        DeliverSm(*numbers, b"", esm_class=4, tlvs={Tag.MESSAGE_PAYLOAD: RECEIPT_TEXTS[0].encode(), **_TLVS}),
        *(DeliverSm(*numbers, text.encode("utf-16-be"), data_coding=8) for text in REPLIES[:4]),
        DeliverSm(*numbers, _PART, esm_class=0x40, data_coding=8),
        DeliverSm(
            *numbers, RECEIPT_TEXTS[0].encode(), validity_period="250725090000000+", schedule_delivery_time="0", service_type="CMT"
        ),
        SubmitSm(
            "CANHBAO", "84901234567", _ACCENTED, 5, 0, 1, 1, data_coding=8, registered_delivery=1, validity_period="000001000000000R"
        ),
        SubmitSm("CANHBAO", "84901234567", _PART, 5, 0, 1, 1, 0x40, data_coding=8, tlvs={Tag.USER_MESSAGE_REFERENCE: b"\0\7"}),
        SubmitSm("CANHBAO", "84901234567", tlvs={Tag.MESSAGE_PAYLOAD: _ACCENTED * 20, Tag.SAR_MSG_REF_NUM: b"\0\7"}),
        SubmitSmResp("1d305b4c"),
        SubmitSmResp("1d305b4c", {0x001D: b"why\0"}),
        SubmitSmResp(),
        DeliverSmResp(),
        DataSm(*numbers, esm_class=4, tlvs=_TLVS),
        DataSm(*numbers, data_coding=8, tlvs={Tag.MESSAGE_PAYLOAD: _ACCENTED}),
        DataSmResp("77", {Tag.NETWORK_ERROR_CODE: b"\3\0\1"}),
        QuerySm("1d305b4c", "CANHBAO", 5),
        QuerySmResp("1d305b4c", "250725090000000+", 2, 0),
        CancelSm("1d305b4c", *numbers, service_type="CMT"),
        CancelSm("", *numbers),
        CancelSmResp(),
        Unbind(),
        UnbindResp(),
        EnquireLink(),
        EnquireLinkResp(),
        GenericNack(),
        AlertNotification(*numbers, tlvs={0x0422: b"\0"}),
        Unknown(0x00000007, b"replace_sm\0"),
        Unknown(0x80000021, b"submit_multi_resp\0"),
        Unknown(0x00010200, b"vendor\0"),
    ]


SEEDS: Final = [encode(body, 2 + index, 0x58 if index % 7 == 0 else 0) for index, body in enumerate(_bodies())]

_HEADER_OCTETS: Final = 16
_ODD_LENGTHS: Final = (*range(17), 65_535, 65_536, 65_537, 0x10000000, 0x48545450, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PROBES: Final = 4
_GOOD: Final = 0x00600D00
_PROBE: Final = encode(EnquireLink(), _GOOD)
_TEMPLATE: Final = SubmitTemplate.build(source="CANHBAO", source_ton=5, short_message=b"CANH BAO")
_BIND: Final = Bind(BindKind.TRANSCEIVER, "dien-tap", "mat-khau")


def framed(octets: bytes) -> bytes:
    """Give what may be anything a command_length that fits, so that only its inside is wrong."""
    octets = octets.ljust(_HEADER_OCTETS, b"\0")
    return struct.pack(">I", len(octets)) + octets[4:]


def truncations() -> Iterator[bytes]:
    """Cut every seed at every octet, once with the length it claims and once with the length it has."""
    for seed in SEEDS:
        for end in range(len(seed)):
            yield seed[:end]
            if end >= _HEADER_OCTETS:
                yield framed(seed[:end])


def lengths() -> Iterator[bytes]:
    """Let every seed claim every length up to its own and beyond, and the odd ones of F22."""
    for seed in SEEDS:
        for length in (*range(len(seed) + 40), *_ODD_LENGTHS):
            yield struct.pack(">I", length) + seed[4:]


def mutations(seed: int) -> Iterator[bytes]:
    """Go on for ever with flipped, replaced, removed, repeated, inserted and exchanged octets."""
    rng = random.Random(seed)
    while True:
        octets = bytearray(rng.choice(SEEDS))
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            _mutate(octets, rng)
        yield framed(bytes(octets)) if rng.random() < 0.8 else bytes(octets)


def _mutate(octets: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(octets) + 1)
    end = min(len(octets), at + rng.choice((1, 1, 2, 4, 16, 64)))
    match rng.randrange(7):
        case 0 if at < len(octets):
            octets[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(octets):
            octets[at] = rng.choice((0, 1, 4, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
        case 2:
            del octets[at:end]
        case 3:
            octets[at:at] = octets[at:end]
        case 4:
            octets[at:at] = rng.randbytes(end - at)
        case 5:
            octets[at:end] = bytes(end - at)
        case _:
            other = rng.choice(SEEDS)
            octets[at:] = other[rng.randrange(len(other)) :]


class Victim:
    """A bound session that is fed one bad PDU after another, answers what it is asked, and is replaced when it has died."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.deaths: dict[str, int] = {}
        self.survived = 0
        self._session = self._bound()

    def suffer(self, octets: bytes) -> None:
        """Feed `octets`, then a good enquire_link: it must be answered, or the session be dead for a reason that is told."""
        session = self._session
        if self.role is Role.ESME and session.room:
            session.submit(_TEMPLATE, b"84901234567", "row", 0.0)
        try:
            self._take(session.receive(octets, 0.0))
            if any(self._probe() for _ in range(_PROBES)):
                self._survive()
                return
            # A length that was too great has swallowed them all. Either the last one made it whole, or the rest never comes.
            reasons = [event.reason for event in session.tick(11.0) if isinstance(event, LinkDead)]
            if not reasons:
                assert self._probe()
                self._survive()
                return
            reason = reasons[0]
        except RemoteProtocolError as error:
            self._take(error.before)
            reason = error.reason.translate(_NO_DIGITS)
        assert session.state is SessionState.CLOSED
        self._die(reason)

    def _probe(self) -> bool:
        self._session.outgoing()
        self._take(self._session.receive(_PROBE, 0.0))
        return _answered(self._session.outgoing())

    def _survive(self) -> None:
        self.survived += 1
        assert not self._session._asked, "what was answered is still remembered"
        if self._session.state is not SessionState.BOUND_TRX:
            self._die("unbound")

    def _die(self, reason: str) -> None:
        assert reason
        self.deaths[reason] = self.deaths.get(reason, 0) + 1
        self._session.close()
        self._session = self._bound()

    def _take(self, events: list[Event]) -> None:
        """Do with each event what an owner does."""
        for event in events:
            repr(event)
            if isinstance(event, Delivered):
                read_message(event.body)
                if isinstance(event.body, DataSm):
                    self._respond(event.sequence, DataSmResp(), 0)
                elif self._session.state is not SessionState.CLOSED:
                    self._session.acknowledge([event.sequence])
            elif isinstance(event, Quarantined):
                self._respond(event.sequence, DeliverSmResp() if event.command == 5 else DataSmResp(), 0x65)
            elif isinstance(event, Submitted):
                self._respond(event.sequence, SubmitSmResp("77"), 0)
            elif isinstance(event, BindRequested | Requested):
                self._respond(event.sequence, GenericNack(), 0x03)
            elif isinstance(event, PeerUnbound):
                assert self._session.state in (SessionState.UNBINDING, SessionState.CLOSED)

    def _respond(self, sequence: int, body: Body, status: int) -> None:
        if self._session.state is not SessionState.CLOSED:
            self._session.respond(sequence, body, status)

    def _bound(self) -> Session:
        esme, smsc = Session(Role.ESME), Session(Role.SMSC)
        esme.bind(_BIND, 0.0)
        smsc.receive(esme.outgoing(), 0.0)
        smsc.respond(1, BindResp(_BIND.kind, "smsc"))
        esme.receive(smsc.outgoing(), 0.0)
        return esme if self.role is Role.ESME else smsc


_NO_DIGITS: Final = str.maketrans("", "", "0123456789ABCDEFx")


def _answered(outgoing: bytes) -> bool:
    """Tell whether the probe was answered: served, or refused once the peer had unbound."""
    return any(outgoing.endswith(struct.pack(">IIII", 16, 0x80000015, status, _GOOD)) for status in (0x00, 0x04))


def read_body(octets: bytes) -> None:
    """Decode the body of a PDU; only FieldError may come of it, and what was read can be written if it fits."""
    if len(octets) < _HEADER_OCTETS:
        return
    (command,) = struct.unpack_from(">I", octets, 4)
    try:
        body = decode(command, octets[_HEADER_OCTETS:])
    except FieldError:
        return
    repr(body)
    try:
        again = encode(body, 1)
    except LocalProtocolError:
        return
    assert decode(command, again[_HEADER_OCTETS:]) == body


def read_message(body: DeliverSm | DataSm) -> None:
    """Read a receipt, its times and its id, and a subscriber's reply; no error at all may come of it."""
    classify(body)
    receipt = parse_receipt(body)
    if receipt is not None:
        repr(receipt)
        receipt_time(receipt.submit_date, UTC)
        receipt_time(receipt.done_date, UTC)
        assert len(normal_id(receipt.message_id)) <= 80
        assert len(normal_id(receipt.message_id, "hex")) <= 80
    reply = read_reply(content(body))
    repr(reply)
