"""deliver_sm (SMPP 3.4, 4.6.1) built once per kind; per message only numbers, text and optional parameters are spliced in."""

from __future__ import annotations

from typing import Final

from broadcaster.smpp.bodies import Command, DeliverSm
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import NO_TLVS, Tlvs, write_tlvs
from broadcaster.smpp.pdu import HEADER, encode
from broadcaster.smpp.requests import HEADER_OCTETS, MOST_ADDRESS

_DELIVER_SM: Final = int(Command.DELIVER_SM)
_LENGTHS: Final = [bytes((length,)) for length in range(256)]


class DeliverTemplate:
    """A deliver_sm that lacks its sequence number, addresses, text and optional parameters."""

    __slots__ = ("_between", "_closing", "_fixed_octets", "_opening")

    def __init__(self, deliver: DeliverSm) -> None:
        """Lay out the fixed parts; addresses, text and tlvs of `deliver` must be empty. Raises LocalProtocolError."""
        if deliver.source or deliver.destination or deliver.short_message or deliver.tlvs:
            raise LocalProtocolError("a template has no addresses, no text and no optional parameters")
        body = encode(deliver, 0)[HEADER_OCTETS:]
        source_at = len(deliver.service_type) + 1 + 2
        destination_at = source_at + 1 + 2
        self._opening = body[:source_at]
        self._between = body[source_at:destination_at]
        self._closing = body[destination_at:-1]
        self._fixed_octets = HEADER_OCTETS + len(body)

    def splice(self, sequence: int, source: bytes, destination: bytes, short_message: bytes, tlvs: Tlvs = NO_TLVS) -> bytes:
        """Return one complete PDU.

        Raises LocalProtocolError when an address is longer than 20 octets or has a NUL, when the text is longer than 255 octets, or
        when an optional parameter does not fit.
        """
        if len(source) > MOST_ADDRESS or 0 in source or len(destination) > MOST_ADDRESS or 0 in destination:
            raise LocalProtocolError("addresses: at most 20 octets without NUL fit")
        size = len(short_message)
        if size >= len(_LENGTHS):
            raise LocalProtocolError(f"short_message: {size} octets, at most {len(_LENGTHS) - 1} fit")
        optional = write_tlvs(tlvs) if tlvs else b""
        length = self._fixed_octets + len(source) + len(destination) + size + len(optional)
        return b"".join(
            (
                HEADER.pack(length, _DELIVER_SM, 0, sequence),
                self._opening,
                source,
                self._between,
                destination,
                self._closing,
                _LENGTHS[size],
                short_message,
                optional,
            )
        )
