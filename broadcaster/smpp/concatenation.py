"""Which part of a longer text a deliver_sm is, by its user data header (3GPP TS 23.040, 9.2.3.24) or by SAR parameters (5.3.2.22)."""

from __future__ import annotations

from typing import Final, NamedTuple

from broadcaster.smpp.bodies import DataSm, DeliverSm
from broadcaster.smpp.fields import Tag, Tlvs, tlv_int

_UDH_BIT: Final = 0x40
_REFERENCE_8: Final = 0x00
_REFERENCE_16: Final = 0x08
_MOST_REFERENCE: Final = 0xFFFF
"""5.3.2.22. A parameter may be of any width (S6), and no database takes numbers of any size."""


class Place(NamedTuple):
    """Part `part` (from 1) of `parts`, tied to the others by `reference`."""

    reference: int
    parts: int
    part: int


def place_of(deliver: DeliverSm | DataSm) -> Place | None:
    """Return which part it is; None for a text that is whole, or a header that makes no sense."""
    if deliver.esm_class & _UDH_BIT:
        found = _from_header(deliver.short_message or deliver.tlvs.get(Tag.MESSAGE_PAYLOAD, b""))
    else:
        found = _from_parameters(deliver.tlvs)
    if found is None or found.reference > _MOST_REFERENCE:
        return None
    return found if found.parts > 1 and 1 <= found.part <= found.parts else None


def _from_header(octets: bytes) -> Place | None:
    header = octets[1 : octets[0] + 1] if octets else b""
    at = 0
    while at + 2 <= len(header):
        kind, length = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + length]
        if (kind, length, len(value)) == (_REFERENCE_8, 3, 3):
            return Place(value[0], value[1], value[2])
        if (kind, length, len(value)) == (_REFERENCE_16, 4, 4):
            return Place(int.from_bytes(value[:2], "big"), value[2], value[3])
        at += 2 + length
    return None


def _from_parameters(tlvs: Tlvs) -> Place | None:
    reference = tlv_int(tlvs, Tag.SAR_MSG_REF_NUM)
    parts, part = tlv_int(tlvs, Tag.SAR_TOTAL_SEGMENTS), tlv_int(tlvs, Tag.SAR_SEGMENT_SEQNUM)
    return None if reference is None or parts is None or part is None else Place(reference, parts, part)
