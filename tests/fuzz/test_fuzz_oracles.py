"""Two other implementations agree with us, octet for octet and field for field, on 10,000 generated valid PDUs.

smpp34's codec knows submit_sm and deliver_sm; smpplib is asked about what it reads soundly (S3–S7 name what it does not:
strings without NUL, integer parameters of another width, parameters that it expects in other PDUs only).
"""

from __future__ import annotations

import random
import string
from types import SimpleNamespace
from typing import Any

import pytest
import smpp34
from smpplib import smpp as smpplib

from broadcaster.smpp import (
    Bind,
    BindKind,
    BindResp,
    Body,
    DataSm,
    DeliverSm,
    DeliverTemplate,
    EnquireLink,
    QuerySm,
    QuerySmResp,
    SubmitSm,
    SubmitSmResp,
    SubmitTemplate,
    Tag,
    Unbind,
    decode,
    encode,
    tlv_int,
    tlv_text,
)

PDUS = 10_000
"""For each of the two, over all the tests here."""
HEADER_OCTETS = 16
FIRST_VENDOR_TAG, LAST_VENDOR_TAG = 0x1400, 0x3FFF
TIMES = ("", "000001000000000R", "250725090000028+", "260101120000000-")
PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
OURS_TO_SMPPLIB = {"source": "source_addr", "destination": "destination_addr", "source_ton": "source_addr_ton"}
OURS_TO_SMPPLIB |= {"source_npi": "source_addr_npi", "dest_ton": "dest_addr_ton", "dest_npi": "dest_addr_npi"}
OCTETS = ("source_ton", "source_npi", "dest_ton", "dest_npi", "esm_class", "protocol_id", "priority_flag", "registered_delivery")
OCTETS += ("replace_if_present_flag", "data_coding", "sm_default_msg_id")


class Generator:
    """Make valid values, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def text(self, most: int, least: int = 0) -> str:
        return "".join(self.rng.choices(PRINTABLE, k=self.rng.randint(least, most)))

    def octet(self) -> int:
        return self.rng.randrange(256)

    def sequence(self) -> int:
        return self.rng.randint(1, 0x7FFFFFFF)

    def short_message(self, kind: type[SubmitSm | DeliverSm], tlvs: dict[int, bytes]) -> Any:
        rng = self.rng
        fields = {name: self.octet() for name in OCTETS}
        texts = {"schedule_delivery_time": rng.choice(TIMES), "validity_period": rng.choice(TIMES), "service_type": self.text(5)}
        return kind(self.text(20), self.text(20, 1), rng.randbytes(rng.randrange(255)), **fields, **texts, tlvs=tlvs)

    def any_tlvs(self) -> dict[int, bytes]:
        return {self.rng.randrange(0x10000): self.rng.randbytes(self.rng.randrange(40)) for _ in range(self.rng.randrange(4))}

    def known_tlvs(self) -> dict[int, bytes]:
        """Return parameters that smpplib reads soundly in a deliver_sm."""
        rng = self.rng
        every = {
            Tag.RECEIPTED_MESSAGE_ID: self.text(30, 1).encode() + b"\0",
            Tag.MESSAGE_STATE: rng.randbytes(1),
            Tag.USER_MESSAGE_REFERENCE: rng.randbytes(2),
            Tag.NETWORK_ERROR_CODE: rng.randbytes(3),
            Tag.MESSAGE_PAYLOAD: rng.randbytes(rng.randrange(1, 200)),
            rng.randint(FIRST_VENDOR_TAG, LAST_VENDOR_TAG): rng.randbytes(rng.randrange(9)),
        }
        return {tag: value for tag, value in every.items() if rng.random() < 0.5}

    def other(self) -> Body:
        """Return one of the other PDUs that smpplib knows."""
        rng = self.rng
        kind = rng.choice(list(BindKind))
        address = (self.text(20), self.octet(), self.octet())
        return rng.choice(
            [
                Bind(kind, self.text(15), self.text(8), self.text(12), 0x34, self.octet(), self.octet(), self.text(40)),
                BindResp(kind, self.text(15, 1), {Tag.SC_INTERFACE_VERSION: rng.randbytes(1)}),
                SubmitSmResp(self.text(64, 1)),
                QuerySm(self.text(64, 1), *address),
                QuerySmResp(self.text(64, 1), rng.choice(TIMES), self.octet(), self.octet()),
                DataSm(self.text(20), self.text(20), esm_class=self.octet(), tlvs=self.known_tlvs()),
                EnquireLink(),
                Unbind(),
            ]
        )


def smpplib_reads(pdu: bytes) -> Any:
    client = SimpleNamespace(sequence=0, next_sequence=lambda: 1)
    return smpplib.parse_pdu(pdu, client=client, allow_unknown_opt_params=True)


def plain(value: Any) -> Any:
    """Bring smpplib's values to ours: octets are text, a missing text is an empty one."""
    if value is None:
        return ""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def smpp34_writes(body: SubmitSm | DeliverSm, sequence: int) -> bytes:
    same = {name: getattr(body, name) for name in (*OCTETS[4:], "schedule_delivery_time", "validity_period", "service_type")}
    kinds = {f"{end}_addr_{kind}": getattr(body, f"{end}_{kind}") for end in ("source", "dest") for kind in ("ton", "npi")}
    tlvs = [smpp34.Tlv(tag, value) for tag, value in body.tlvs.items()]
    kind = smpp34.SubmitSm if isinstance(body, SubmitSm) else smpp34.DeliverSm
    return kind(body.source, body.destination, body.short_message, **same, **kinds, tlvs=tlvs, sequence_number=sequence).encode()


@pytest.mark.parametrize("kind", [SubmitSm, DeliverSm])
def test_smpp34_writes_what_we_write_and_reads_what_we_read(kind: type[SubmitSm | DeliverSm]) -> None:
    make = Generator(34)
    for _ in range(PDUS // 2):
        body, sequence = make.short_message(kind, make.any_tlvs()), make.sequence()
        pdu = encode(body, sequence)
        assert pdu == smpp34_writes(body, sequence)
        theirs: Any = smpp34.decode(pdu)
        ours = decode(body.command, pdu[HEADER_OCTETS:])
        assert ours == body
        assert (theirs.command_id, theirs.sequence_number) == (body.command, sequence)
        for name, value in ours._asdict().items():  # type: ignore[union-attr]
            if name == "tlvs":
                assert {tlv.tag: tlv.value for tlv in theirs.tlvs} == value
            else:
                their_name = {**OURS_TO_SMPPLIB}.get(name, name)
                assert getattr(theirs, their_name) == value, name


def test_smpp34_writes_what_we_splice() -> None:
    make = Generator(35)
    for _ in range(PDUS // 2):
        body = make.short_message(SubmitSm, make.known_tlvs())
        reference = body.tlvs.pop(Tag.USER_MESSAGE_REFERENCE, None)
        sequence = make.sequence()
        template = SubmitTemplate(body._replace(destination="", tlvs=dict(body.tlvs)))
        spliced = template.splice(
            sequence, body.destination.encode(), None if reference is None else int.from_bytes(reference, "big")
        )
        if reference is not None:
            body.tlvs[Tag.USER_MESSAGE_REFERENCE] = reference
        assert spliced == smpp34_writes(body, sequence)
        delivery = DeliverSm(*body)
        blank = DeliverTemplate(delivery._replace(source="", destination="", short_message=b"", tlvs={}))
        parts = (delivery.source.encode(), delivery.destination.encode(), delivery.short_message, delivery.tlvs)
        assert blank.splice(sequence, *parts) == smpp34_writes(delivery, sequence)


def test_smpplib_reads_deliver_sm_as_we_do() -> None:
    make = Generator(22)
    for _ in range(PDUS // 2):
        body, sequence = make.short_message(DeliverSm, make.known_tlvs()), make.sequence()
        pdu = encode(body, sequence)
        theirs = smpplib_reads(pdu)
        ours = decode(body.command, pdu[HEADER_OCTETS:])
        assert isinstance(ours, DeliverSm)
        assert (theirs.command, theirs.sequence) == ("deliver_sm", sequence)
        assert (theirs.short_message or b"") == ours.short_message
        for name in (*OCTETS, "source", "destination", "validity_period", "schedule_delivery_time", "service_type"):
            assert plain(getattr(theirs, OURS_TO_SMPPLIB.get(name, name))) == getattr(ours, name), name
        for tag in Tag:
            if tag in ours.tlvs:
                their_value = getattr(theirs, tag.name.lower())
                if tag is Tag.RECEIPTED_MESSAGE_ID:
                    assert plain(their_value) == tlv_text(ours.tlvs, tag)
                elif isinstance(their_value, int):
                    assert their_value == tlv_int(ours.tlvs, tag)
                else:
                    assert their_value == ours.tlvs[tag]


def test_smpplib_reads_the_other_pdus_as_we_do() -> None:
    make = Generator(23)
    seen = set()
    for _ in range(PDUS // 2):
        body, sequence = make.other(), make.sequence()
        pdu = encode(body, sequence)
        theirs = smpplib_reads(pdu)
        assert decode(body.command, pdu[HEADER_OCTETS:]) == body
        assert (theirs.command, theirs.sequence, theirs.status) == (body.command.name.lower(), sequence, 0)  # type: ignore[union-attr]
        for name in getattr(body, "__slots__", ()):
            if name not in ("kind", "tlvs"):
                assert plain(getattr(theirs, OURS_TO_SMPPLIB.get(name, name))) == getattr(body, name), (body, name)
        seen.add(theirs.command)
    assert len(seen) == 12
