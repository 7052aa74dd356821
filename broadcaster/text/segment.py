"""Cut a text into the parts that fit one short message each (3GPP TS 23.040, 9.2.3.24.1 and .8)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from broadcaster.text.fold import nfc
from broadcaster.text.gsm import Alphabet, encode, is_extended, is_gsm

ReferenceBits = Literal[8, 16]

_ZERO_WIDTH_JOINER: Final = "\u200d"


class Coding(StrEnum):
    """How the characters of a text travel. One character outside GSM makes the whole text UCS-2."""

    GSM = "gsm"
    UCS2 = "ucs2"


@dataclass(frozen=True, slots=True)
class Segments:
    """A text as it will travel. Units are septets under GSM, UTF-16 code units under UCS-2."""

    coding: Coding
    parts: tuple[str, ...]
    units: int
    """Of the whole text, headers not counted."""
    room_left: int
    """Units that still fit without one part more."""


def capacity(coding: Coding, *, alone: bool, reference_bits: ReferenceBits = 8) -> int:
    """Return how many units one part holds: alone, or behind the header that ties several parts together."""
    match coding, alone:
        case Coding.GSM, True:
            return 160
        case Coding.GSM, False:
            return 153 if reference_bits == 8 else 152
        case _, True:
            return 70
        case _:
            return 67 if reference_bits == 8 else 66


def segment(text: str, *, reference_bits: ReferenceBits = 8, alphabet: Alphabet = "gsm") -> Segments:
    """Bring `text` to NFC and cut it into parts; joined together, the parts are that text again.

    What `alphabet` cannot carry to the SMSC makes the text UCS-2; units are those of the air interface all the same.

    No cut falls inside a GSM escape, a surrogate pair, or a letter and its combining marks (unless one letter alone
    overflows a part). An empty text is one empty part.
    """
    text = nfc(text)
    coding = Coding.GSM if is_gsm(text, alphabet) else Coding.UCS2
    units = count_units(text, coding)
    whole = capacity(coding, alone=True)
    if units <= whole:
        return Segments(coding, (text,), units, whole - units)
    each = capacity(coding, alone=False, reference_bits=reference_bits)
    parts = tuple(_fill(text, coding, each))
    return Segments(coding, parts, units, each - count_units(parts[-1], coding))


def count_units(text: str, coding: Coding) -> int:
    """Return the units `text` takes under `coding`; a character outside GSM counts as one septet."""
    if coding is Coding.GSM:
        return len(text) + sum(map(is_extended, text))
    return len(text) + sum(char > "\uffff" for char in text)


def payload(part: str, coding: Coding, alphabet: Alphabet = "gsm") -> bytes:
    """Return the octets of one part as a submit_sm carries them, without header.

    Raises `UnicodeEncodeError` when `part` cannot travel under `coding` (outside GSM, or half a surrogate pair).
    """
    return encode(part, alphabet) if coding is Coding.GSM else part.encode("utf-16-be")


def udh(reference: int, total: int, index: int, bits: ReferenceBits = 8) -> bytes:
    """Return the header that ties part `index` (from 1) of `total` to the others with the same `reference`.

    Raises `ValueError` when a number does not fit its octets.
    """
    if not 0 <= reference < 1 << bits:
        raise ValueError(f"reference {reference} does not fit {bits} bits")
    if not 1 <= index <= total <= 255:
        raise ValueError(f"no part {index} of {total}")
    if bits == 8:
        return bytes([5, 0x00, 3, reference, total, index])
    return bytes([6, 0x08, 4, reference >> 8, reference & 0xFF, total, index])


def _fill(text: str, coding: Coding, each: int) -> Iterator[str]:
    part, used = "", 0
    for cluster in _clusters(text):
        needed = count_units(cluster, coding)
        # Only a letter that overflows a whole part may be cut, and then between its code points.
        pieces = [cluster] if needed <= each else list(cluster)
        for piece in pieces:
            needed = count_units(piece, coding)
            if used + needed > each:
                yield part
                part, used = "", 0
            part += piece
            used += needed
    yield part


def _clusters(text: str) -> Iterator[str]:
    """Yield letters with what hangs on them: combining marks, joined emoji, skin tones, the second half of a flag."""
    start = 0
    for index in range(1, len(text)):
        if not _hangs_on(text, start, index):
            yield text[start:index]
            start = index
    if text:
        yield text[start:]


def _hangs_on(text: str, start: int, index: int) -> bool:
    char, before = text[index], text[index - 1]
    if unicodedata.category(char) in {"Mn", "Mc", "Me"} or _ZERO_WIDTH_JOINER in (char, before):
        return True
    if "\U0001f3fb" <= char <= "\U0001f3ff":
        return True
    return _is_flag_letter(char) and _is_flag_letter(before) and index - start == 1


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
