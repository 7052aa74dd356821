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


@pytest.mark.parametrize("destination", ["1", "1" * 20])
def test_destinations_of_every_length_fit(destination: str) -> None:
    read = smpp34.decode(TEMPLATE.splice(1, destination.encode()))
    assert isinstance(read, smpp34.SubmitSm)
    assert (read.destination_addr, read.short_message) == (destination, b"Canh bao")


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


def concatenated(element: bytes) -> bytes:
    return bytes((len(element),)) + element + b"text"


PORTS = b"\x05\x04\x0b\x84\x23\xf0"


@pytest.mark.parametrize(
    ("short_message", "esm_class", "tlvs", "changed", "changed_tlvs", "most"),
    [
        (concatenated(b"\0\3\7\2\1"), 0x40, {}, concatenated(b"\0\3\xab\2\1"), {}, 0xFF),
        (concatenated(b"\x08\4\0\7\2\1"), 0x40, {0x1400: b"v"}, concatenated(b"\x08\4\0\xab\2\1"), {0x1400: b"v"}, 0xFFFF),
        (concatenated(PORTS + b"\0\3\7\2\1"), 0x40, {}, concatenated(PORTS + b"\0\3\xab\2\1"), {}, 0xFF),
        (b"text", 0, {0x1400: b"v", Tag.SAR_MSG_REF_NUM: b"\0\7"}, b"text", {0x1400: b"v", Tag.SAR_MSG_REF_NUM: b"\0\xab"}, 0xFFFF),
        (concatenated(PORTS), 0x40, {Tag.SAR_MSG_REF_NUM: b"\0\7"}, concatenated(PORTS), {Tag.SAR_MSG_REF_NUM: b"\0\xab"}, 0xFFFF),
    ],
    ids=["8-bit", "16-bit", "8-bit after ports", "SAR", "SAR beside ports"],
)
@pytest.mark.parametrize("reference", [None, 513])
def test_f60_the_number_that_ties_parts_together_is_spliced(
    short_message: bytes,
    esm_class: int,
    tlvs: dict[int, bytes],
    changed: bytes,
    changed_tlvs: dict[int, bytes],
    most: int,
    reference: int | None,
) -> None:
    def whole(message: bytes, optional: dict[int, bytes], destination: str) -> SubmitSm:
        return SubmitSm("CATINH", destination, message, dest_ton=1, esm_class=esm_class, tlvs=optional)

    template = SubmitTemplate(whole(short_message, tlvs, ""))
    own = {} if reference is None else {Tag.USER_MESSAGE_REFERENCE: struct.pack(">H", reference)}
    assert template.splice(3, b"84901234567", reference) == encode(whole(short_message, tlvs | own, "84901234567"), 3)
    assert template.splice(3, b"84901234567", reference, 0xAB) == encode(whole(changed, changed_tlvs | own, "84901234567"), 3)
    for number in (-1, most + 1):
        with pytest.raises(LocalProtocolError, match=r"^part_reference: .* does not fit"):
            template.splice(3, b"84901234567", reference, number)


@pytest.mark.parametrize(
    ("short_message", "esm_class", "tlvs"),
    [
        (b"\5\0\3\7\2\1", 0, {}),
        (b"", 0x40, {}),
        (concatenated(PORTS), 0x40, {}),
        (b"\1\0", 0x40, {}),
        (b"", 0, {Tag.SAR_MSG_REF_NUM: b"\7", 0x1400: b"v"}),
    ],
)
def test_f60_a_template_without_parts_takes_no_such_number(short_message: bytes, esm_class: int, tlvs: dict[int, bytes]) -> None:
    template = SubmitTemplate(SubmitSm("CATINH", "", short_message, esm_class=esm_class, tlvs=tlvs))
    with pytest.raises(LocalProtocolError, match="ties no parts together"):
        template.splice(1, b"84901234567", part_reference=1)
