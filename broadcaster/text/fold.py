"""Vietnamese letters without their accents."""

from __future__ import annotations

import unicodedata
from typing import Final

_STROKES: Final = str.maketrans("đĐ", "dD")
_MARKS: Final = dict.fromkeys(map(ord, "\u0300\u0301\u0302\u0303\u0306\u0309\u031b\u0323"))
"""Grave, acute, circumflex, tilde, breve, hook above, horn, dot below: all the marks Vietnamese has."""


def nfc(text: str) -> str:
    """Return `text` with every accented letter as one character (NFC)."""
    return unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """Return `text` in NFC without Vietnamese accents, however they were typed; everything else stays.

    The letter đ has no decomposition in Unicode and is replaced by name.
    """
    bare = unicodedata.normalize("NFD", text).translate(_MARKS)
    return nfc(bare).translate(_STROKES)


def fold_key(text: str) -> str:
    """Return the form under which two spellings of one name are equal: no accents, no case, single spaces."""
    return " ".join(fold(text).casefold().split())
