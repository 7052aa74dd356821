"""The spliced submit_sm is octet for octet the one built as a whole."""

from __future__ import annotations

import struct

import pytest
import smpp34
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.smpp import LocalProtocolError, SubmitSm, SubmitTemplate, Tag, encode

TEMPLATE = SubmitTemplate.build(source="CATINH", short_message=b"Canh bao", source_ton=5)


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    st.text("ABC", max_size=5),
    st.binary(max_size=140),
    st.text("0123456789", min_size=1, max_size=20),
    st.integers(1, 0x7FFFFFFF),
    st.none() | st.integers(0, 0xFFFF),
)
def test_a_spliced_pdu_is_the_whole_pdu(
    source: str, service_type: str, message: bytes, destination: str, sequence: int, reference: int | None
) -> None:
    whole = SubmitSm(
        source,
        destination,
        message,
        source_ton=5,
        dest_ton=1,
        dest_npi=1,
        esm_class=0x40,
        data_coding=8,
        registered_delivery=1,
        validity_period="000000010000000R",
        service_type=service_type,
        tlvs={0x1400: b"v"} if reference is None else {0x1400: b"v", Tag.USER_MESSAGE_REFERENCE: struct.pack(">H", reference)},
    )
    template = SubmitTemplate.build(
        source=source,
        short_message=message,
        source_ton=5,
        esm_class=0x40,
        data_coding=8,
        validity_period="000000010000000R",
        service_type=service_type,
        tlvs={0x1400: b"v"},
    )
    assert template.splice(sequence, destination.encode(), reference) == encode(whole, sequence)


def test_the_oracle_reads_a_spliced_pdu() -> None:
    read = smpp34.decode(TEMPLATE.splice(0x7FFFFFFF, b"84901234567", 513))
    assert isinstance(read, smpp34.SubmitSm)
    assert (read.sequence_number, read.destination_addr, read.short_message) == (0x7FFFFFFF, "84901234567", b"Canh bao")
    assert [(tlv.tag, tlv.as_int()) for tlv in read.tlvs] == [(smpp34.TLV_USER_MESSAGE_REFERENCE, 513)]


@pytest.mark.parametrize("destination", [b"", b"1" * 21, b"849\x000123"])
def test_a_destination_that_does_not_fit_is_refused(destination: bytes) -> None:
    with pytest.raises(LocalProtocolError, match=r"^destination"):
        TEMPLATE.splice(1, destination)


@pytest.mark.parametrize("reference", [-1, 0x10000])
def test_a_reference_that_does_not_fit_is_refused(reference: int) -> None:
    with pytest.raises(LocalProtocolError, match=r"^reference"):
        TEMPLATE.splice(1, b"84901234567", reference)


def test_a_template_has_one_reference_at_most() -> None:
    template = SubmitTemplate.build(source="S", short_message=b"", tlvs={Tag.USER_MESSAGE_REFERENCE: b"\0\1"})
    with pytest.raises(LocalProtocolError, match="has one already"):
        template.splice(1, b"84901234567", 2)


def test_a_template_has_no_destination() -> None:
    with pytest.raises(LocalProtocolError, match=r"^destination"):
        SubmitTemplate(SubmitSm("S", "84901234567"))
