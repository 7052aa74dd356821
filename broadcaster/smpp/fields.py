"""The small things PDUs are made of: C-strings, one-octet integers, optional parameters (TLVs), masked addresses."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from broadcaster.smpp.errors import FieldError, LocalProtocolError

Tlvs = Mapping[int, bytes]

NO_TLVS: Final[Tlvs] = MappingProxyType({})

_TLV_HEAD: Final = struct.Struct(">HH")
_SHORTEST_MASKED_ADDRESS: Final = 8


class Tag(IntEnum):
    """Optional parameters that this package reads or writes by name (SMPP 3.4, 5.3.2)."""

    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427


def masked(address: str) -> str:
    """Hide the middle of a phone number; leave a short code or a brandname as it is."""
    if len(address) < _SHORTEST_MASKED_ADDRESS or not any(map(str.isdigit, address)):
        return address
    return f"{address[:4]}****{address[-3:]}"


def read_tlvs(body: bytes, at: int) -> dict[int, bytes]:
    """Read optional parameters (3.2.4.1) from `at` to the end.

    Unknown tags and odd lengths are kept as they are; the first of a repeated tag wins.
    Raises FieldError when a parameter ends beyond the body (S7).
    """
    tlvs: dict[int, bytes] = {}
    end = len(body)
    while at < end:
        if end - at < _TLV_HEAD.size:
            raise FieldError(f"{end - at} octets left where an optional parameter should begin")
        tag, length = _TLV_HEAD.unpack_from(body, at)
        at += _TLV_HEAD.size
        if at + length > end:
            raise FieldError(f"optional parameter 0x{tag:04X} of {length} octets ends beyond the body")
        tlvs.setdefault(tag, body[at : at + length])
        at += length
    return tlvs


def write_tlvs(tlvs: Tlvs) -> bytes:
    """Write optional parameters (3.2.4.1) in the order of the mapping. Raises LocalProtocolError on a tag or length above 65,535."""
    try:
        return b"".join([_TLV_HEAD.pack(tag, len(value)) + value for tag, value in tlvs.items()])
    except struct.error as error:
        raise LocalProtocolError(f"optional parameter does not fit: {error}") from None


def tlv_int(tlvs: Tlvs, tag: int) -> int | None:
    """Read an integer parameter (5.3.2) of whatever width the peer chose (S6); None when absent or empty."""
    value = tlvs.get(tag)
    return int.from_bytes(value, "big") if value else None


def tlv_text(tlvs: Tlvs, tag: int) -> str | None:
    """Read a C-string parameter (5.3.2), with or without its closing NUL (S4); None when absent."""
    value = tlvs.get(tag)
    return None if value is None else value.split(b"\0", 1)[0].decode("latin-1")


class Cursor:
    """Read fields one after another from a PDU body; every shortage is a FieldError (S3)."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def text(self) -> str:
        """Read a C-octet string (3.1) without its NUL, as Latin-1 so that no octet is lost."""
        end = self.body.find(0, self.at)
        if end < 0:
            raise FieldError(f"string at octet {self.at} has no closing NUL")
        text = self.body[self.at : end].decode("latin-1")
        self.at = end + 1
        return text

    def octet(self) -> int:
        """Read an integer of one octet (3.1)."""
        if self.at >= len(self.body):
            raise FieldError(f"body ends at octet {self.at} where an integer should be")
        self.at += 1
        return self.body[self.at - 1]

    def tlvs(self) -> dict[int, bytes]:
        """Read what is left as optional parameters."""
        tlvs = read_tlvs(self.body, self.at)
        self.at = len(self.body)
        return tlvs


def checked_text(name: str, value: str, most: int) -> str:
    """Return `value` if it fits a C-octet string (3.1) of at most `most` characters; LocalProtocolError otherwise (S21)."""
    if len(value) > most:
        raise LocalProtocolError(f"{name}: {len(value)} characters, at most {most} fit")
    if not value.isascii() or "\0" in value:
        raise LocalProtocolError(f"{name}: only ASCII without NUL fits")
    return value


def checked_int(name: str, value: int, most: int = 0xFF) -> int:
    """Return `value` if it lies within 0..`most`; LocalProtocolError otherwise (S22)."""
    if not 0 <= value <= most:
        raise LocalProtocolError(f"{name}: {value} is not within 0..{most}")
    return value


def c_string(name: str, value: str, most: int) -> bytes:
    """Write a checked C-octet string (3.1) with its NUL."""
    return checked_text(name, value, most).encode("ascii") + b"\0"
