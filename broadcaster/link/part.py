"""What a submit_sm carries, as the simulated carrier's ledger records it: which part of what, and the digest of its text."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from broadcaster.smpp import SubmitSm, Tag
from broadcaster.smpp.fields import Tlvs, tlv_int
from broadcaster.text import gsm

USER_DATA_HEADER: Final = 0x40
UCS2: Final = 8
RECEIPT_TEXT_CHARACTERS: Final = 20

_CONCATENATED_8: Final = 0x00
_CONCATENATED_16: Final = 0x08


class Part(NamedTuple):
    """One part of a text; `ref` is None when the text is whole."""

    part: int
    parts: int
    ref: int | None
    sha: str
    """SHA-256 of the text in UTF-8."""
    beginning: str
    """What a receipt repeats of it."""


def read_part(body: SubmitSm, ucs2_data_coding: int = UCS2, alphabet: gsm.Alphabet = "gsm") -> Part:
    """Read the part in `body`, whichever way its text travels; what is not UCS-2 is read in `alphabet`."""
    octets = body.short_message or body.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    part, parts, ref = _segment(body.tlvs) if body.tlvs else (1, 1, None)
    if body.esm_class & USER_DATA_HEADER and octets:
        end = 1 + octets[0]
        part, parts, ref = _place(octets[1:end])
        octets = octets[end:]
    sha, beginning = _digest(octets, "utf-16-be" if body.data_coding == ucs2_data_coding else alphabet)
    return Part(part, parts, ref, sha, beginning)


def _segment(tlvs: Tlvs) -> tuple[int, int, int | None]:
    """Return (part, parts, reference) from the parameters of segmentation (SMPP 3.4, 5.3.2.22 to 24)."""
    ref, total, part = (tlv_int(tlvs, tag) for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM))
    return (1, 1, None) if ref is None or total is None or part is None else (part, total, ref)


def _place(header: bytes) -> tuple[int, int, int | None]:
    """Return (part, parts, reference) from the elements of a user data header (3GPP TS 23.040, 9.2.3.24)."""
    at = 0
    while at + 2 <= len(header):
        element, length = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + length]
        if element == _CONCATENATED_8 and len(value) == 3:
            return value[2], value[1], value[0]
        if element == _CONCATENATED_16 and len(value) == 4:
            return value[3], value[2], int.from_bytes(value[:2], "big")
        at += 2 + length
    return 1, 1, None


@lru_cache(maxsize=4096)
def _digest(octets: bytes, coding: str) -> tuple[str, str]:
    """Return the digest and the beginning of a text. A campaign has few texts, so this is nearly always a look-up."""
    try:
        text = gsm.decode(octets) if coding == "gsm" else octets.decode(coding)
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), text[:RECEIPT_TEXT_CHARACTERS]
