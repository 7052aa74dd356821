"""submit_sm (SMPP 3.4, 4.4.1) built once per body part; only sequence number, destination and references are spliced in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from broadcaster.smpp.bodies import Command, SubmitSm
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import NO_TLVS, Tag, Tlvs
from broadcaster.smpp.requests import HEADER_OCTETS, MOST_ADDRESS, build

_HEAD: Final = struct.Struct(">III")
_TLV_HEAD_OCTETS: Final = 4
_REFERENCE_OCTETS: Final = 6
_REFERENCE_TAG: Final = int(Tag.USER_MESSAGE_REFERENCE)
_USER_DATA_HEADER: Final = 0x40
_CONCATENATED: Final = {(0x00, 3): 1, (0x08, 4): 2}
"""Element and its length → octets of the reference that begins it (3GPP TS 23.040, 9.2.3.24.1 and 9.2.3.24.8)."""


class SubmitTemplate:
    """A submit_sm (4.4.1) that lacks only its sequence number and destination."""

    __slots__ = ("_has_reference", "_heads", "_heads_with_reference", "_part_reference", "_prefix", "_suffix")

    def __init__(self, submit: SubmitSm) -> None:
        """Build the fixed parts with smpplib; the destination of `submit` must be empty. Raises LocalProtocolError."""
        if submit.destination:
            raise LocalProtocolError("destination: a template has none")
        body = build(submit)
        at = len(submit.service_type) + 1 + 2 + len(submit.source) + 1 + 2
        self._prefix = body[:at]
        self._suffix = body[at:]
        self._heads = _heads(len(self._prefix), len(self._suffix), 0)
        self._heads_with_reference = _heads(len(self._prefix), len(self._suffix), _REFERENCE_OCTETS)
        self._has_reference = Tag.USER_MESSAGE_REFERENCE in submit.tlvs
        self._part_reference = _find_part_reference(submit, self._suffix)

    @classmethod
    def build(
        cls,
        *,
        source: str,
        short_message: bytes,
        source_ton: int = 0,
        source_npi: int = 0,
        dest_ton: int = 1,
        dest_npi: int = 1,
        esm_class: int = 0,
        data_coding: int = 0,
        registered_delivery: int = 1,
        validity_period: str = "",
        service_type: str = "",
        tlvs: Tlvs = NO_TLVS,
    ) -> SubmitTemplate:
        """Build a template from its fields. Raises LocalProtocolError when one does not fit."""
        return cls(
            SubmitSm(
                source=source,
                destination="",
                short_message=short_message,
                source_ton=source_ton,
                source_npi=source_npi,
                dest_ton=dest_ton,
                dest_npi=dest_npi,
                esm_class=esm_class,
                validity_period=validity_period,
                registered_delivery=registered_delivery,
                data_coding=data_coding,
                service_type=service_type,
                tlvs=tlvs,
            )
        )

    def splice(self, sequence: int, destination: bytes, reference: int | None = None, part_reference: int | None = None) -> bytes:
        """Return one complete PDU.

        `reference` (0..65535) becomes user_message_reference (5.3.2.17). `part_reference` replaces the number that ties the parts of
        one text together, wherever the template has it: in a concatenation element of 8 or 16 bits at the head of short_message
        (TS 23.040, 9.2.3.24.1 and .8) or in sar_msg_ref_num (5.3.2.22) (F60). Raises LocalProtocolError when the destination is not
        1 to 20 octets without NUL, or when a reference does not fit.
        """
        size = len(destination)
        if not 0 < size <= MOST_ADDRESS or 0 in destination:
            raise LocalProtocolError("destination: 1 to 20 octets without NUL fit")
        suffix = self._suffix if part_reference is None else self._tied(part_reference)
        if reference is None:
            head, pack = self._heads[size]
            return pack(head, sequence, self._prefix, destination, suffix)
        if self._has_reference or not 0 <= reference <= 0xFFFF:
            raise LocalProtocolError(f"reference: {reference} is not within 0..65535, or the template has one already")
        head, pack = self._heads_with_reference[size]
        return pack(head, sequence, self._prefix, destination, suffix, _REFERENCE_TAG, 2, reference)

    def _tied(self, part_reference: int) -> bytes:
        """Return the suffix with another number in it."""
        if self._part_reference is None:
            raise LocalProtocolError("part_reference: the template ties no parts together")
        at, octets = self._part_reference
        if not 0 <= part_reference < 1 << 8 * octets:
            raise LocalProtocolError(f"part_reference: {part_reference} does not fit into {octets} octets")
        return self._suffix[:at] + part_reference.to_bytes(octets, "big") + self._suffix[at + octets :]


Submit: TypeAlias = tuple[SubmitTemplate, bytes, Any, int | None, int | None]
"""One submit_sm to send: template, destination, whose it is, and the references of `SubmitTemplate.splice`."""


def _heads(prefix_octets: int, suffix_octets: int, reference_octets: int) -> list[tuple[bytes, Callable[..., bytes]]]:
    """Return, for each length of a destination, the beginning of the header and how the whole is laid out."""
    least = HEADER_OCTETS + prefix_octets + suffix_octets + reference_octets
    tlv = "HHH" if reference_octets else ""
    return [
        (
            _HEAD.pack(least + size, Command.SUBMIT_SM, 0),
            struct.Struct(f">{_HEAD.size}sI{prefix_octets}s{size}s{suffix_octets}s{tlv}").pack,
        )
        for size in range(MOST_ADDRESS + 1)
    ]


def _find_part_reference(submit: SubmitSm, suffix: bytes) -> tuple[int, int] | None:
    """Find where in `suffix` the number stands that ties parts together, and its octets."""
    tlvs_at = len(suffix) - sum(_TLV_HEAD_OCTETS + len(value) for value in submit.tlvs.values())
    if submit.esm_class & _USER_DATA_HEADER and submit.short_message:
        header = submit.short_message[: 1 + submit.short_message[0]]
        at = 1
        while at + 2 <= len(header):
            octets = _CONCATENATED.get((header[at], header[at + 1]))
            if octets is not None:
                return tlvs_at - len(submit.short_message) + at + 2, octets
            at += 2 + header[at + 1]
    at = tlvs_at
    for tag, value in submit.tlvs.items():
        at += _TLV_HEAD_OCTETS
        if tag == Tag.SAR_MSG_REF_NUM and len(value) == 2:
            return at, 2
        at += len(value)
    return None
