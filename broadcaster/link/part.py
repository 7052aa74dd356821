"""What a submit_sm carries, as the simulated carrier's ledger records it: which part of what, and the digest of its text."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from broadcaster.smpp import SubmitSm, Tag
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


def read_part(body: SubmitSm) -> Part:
    """Read the part in `body`, whichever way its text travels."""
    octets = body.short_message or body.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    part, parts, ref = 1, 1, None
    if body.esm_class & USER_DATA_HEADER and octets:
        end = 1 + octets[0]
        part, parts, ref = _place(octets[1:end])
        octets = octets[end:]
    sha, beginning = _digest(body.data_coding, octets)
    return Part(part, parts, ref, sha, beginning)


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
def _digest(data_coding: int, octets: bytes) -> tuple[str, str]:
    """Return the digest and the beginning of a text. A campaign has few texts, so this is nearly always a look-up."""
    try:
        text = octets.decode("utf-16-be") if data_coding == UCS2 else gsm.decode(octets)
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), text[:RECEIPT_TEXT_CHARACTERS]
