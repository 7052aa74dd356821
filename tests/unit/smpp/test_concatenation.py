"""Which part of a longer text a deliver_sm is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.smpp.bodies import DeliverSm
from broadcaster.smpp.concatenation import Place, place_of

UDH = 0x40


def with_header(header: bytes, text: bytes = b"TC", esm_class: int = UDH) -> DeliverSm:
    return DeliverSm("84905000001", "8066", bytes([len(header)]) + header + text, esm_class=esm_class)


def with_parameters(reference: int, parts: int, part: int, *, octets: int = 2) -> DeliverSm:
    tlvs = {0x020C: reference.to_bytes(octets, "big"), 0x020E: bytes([parts]), 0x020F: bytes([part])}
    return DeliverSm("84905000001", "8066", b"TC", tlvs=tlvs)


@given(st.integers(0, 255), st.integers(2, 255), st.data())
def test_all_three_ways_say_the_same(reference: int, parts: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(1, parts))
    ports = b"\x05\x04\x00\x00\x00\x00"
    place = Place(reference, parts, part)
    assert place_of(with_header(bytes([0, 3, reference, parts, part]))) == place
    assert place_of(with_header(ports + bytes([8, 4, 0, reference, parts, part]))) == place
    assert place_of(with_parameters(reference, parts, part)) == place
    assert place_of(with_parameters(reference, parts, part, octets=8)) == place


@pytest.mark.parametrize(
    "deliver",
    [
        DeliverSm("84905000001", "8066", b"\x05\x00\x03\x07\x02\x01TC"),
        with_header(b"\x00\x03\x07\x01\x01"),
        with_header(b"\x00\x03\x07\x02\x03"),
        with_header(b"\x00\x03\x07\x02\x00"),
        with_header(b"\x00\x03\x07\x02", b""),
        with_header(b"\x00"),
        DeliverSm("84905000001", "8066", b"", esm_class=UDH),
        with_parameters(7, 2, 0),
        with_parameters(1 << 16, 2, 1, octets=4),
        DeliverSm("84905000001", "8066", b"TC", tlvs={0x020C: b"\x00\x07", 0x020E: b"\x02"}),
    ],
)
def test_what_makes_no_sense_is_a_whole_text(deliver: DeliverSm) -> None:
    assert place_of(deliver) is None


@given(st.binary(max_size=40))
def test_no_header_raises(octets: bytes) -> None:
    found = place_of(DeliverSm("84905000001", "8066", octets, esm_class=UDH))
    assert found is None or 1 <= found.part <= found.parts
