"""submit_sm built once per body part; per message only sequence number, destination and reference are spliced in."""

from __future__ import annotations

import struct
from typing import Final

from broadcaster.smpp.bodies import Command, SubmitSm
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import NO_TLVS, Tag, Tlvs
from broadcaster.smpp.requests import HEADER_OCTETS, MOST_ADDRESS, build

_HEAD: Final = struct.Struct(">III")
_SEQUENCE: Final = struct.Struct(">I")
_REFERENCE: Final = struct.Struct(">HHH")


_REFERENCE_TAG: Final = int(Tag.USER_MESSAGE_REFERENCE)


class SubmitTemplate:
    """A submit_sm that lacks only its sequence number and destination."""

    __slots__ = ("_has_reference", "_heads", "_heads_with_reference", "_prefix", "_suffix")

    def __init__(self, submit: SubmitSm) -> None:
        """Build the fixed parts with smpplib; the destination of `submit` must be empty. Raises LocalProtocolError."""
        if submit.destination:
            raise LocalProtocolError("destination: a template has none")
        body = build(submit)
        at = len(submit.service_type) + 1 + 2 + len(submit.source) + 1 + 2
        self._prefix = body[:at]
        self._suffix = body[at:]
        self._heads = _heads(len(body))
        self._heads_with_reference = _heads(len(body) + _REFERENCE.size)
        self._has_reference = Tag.USER_MESSAGE_REFERENCE in submit.tlvs

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

    def splice(self, sequence: int, destination: bytes, reference: int | None = None) -> bytes:
        """Return one complete PDU; `reference` (0..65535) becomes user_message_reference (5.3.2.17).

        Raises LocalProtocolError when the destination is not 1 to 20 octets without NUL, or the reference does not fit.
        """
        size = len(destination)
        if not 0 < size <= MOST_ADDRESS or b"\0" in destination:
            raise LocalProtocolError("destination: 1 to 20 octets without NUL fit")
        if reference is None:
            return self._heads[size] + _SEQUENCE.pack(sequence) + self._prefix + destination + self._suffix
        if self._has_reference or not 0 <= reference <= 0xFFFF:
            raise LocalProtocolError(f"reference: {reference} is not within 0..65535, or the template has one already")
        tlv = _REFERENCE.pack(_REFERENCE_TAG, 2, reference)
        return self._heads_with_reference[size] + _SEQUENCE.pack(sequence) + self._prefix + destination + self._suffix + tlv


def _heads(body_octets: int) -> list[bytes]:
    least = HEADER_OCTETS + body_octets
    return [_HEAD.pack(least + size, Command.SUBMIT_SM, 0) for size in range(MOST_ADDRESS + 1)]
