"""The GSM 7-bit default alphabet with its extension table (3GPP TS 23.038, 6.2.1), one septet in each octet as SMPP carries it."""

from __future__ import annotations

from typing import Final, Literal

Alphabet = Literal["gsm", "latin1", "ascii"]
"""In what the octets of a plain text are read: the default alphabet itself, or a character set that an SMSC turns into it (F62)."""

ESCAPE: Final = 0x1B

_DEFAULT: Final = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
_EXTENSION: Final = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"}

_CODES: Final = {char: bytes([code]) for code, char in enumerate(_DEFAULT) if code != ESCAPE} | {
    char: bytes([ESCAPE, code]) for code, char in _EXTENSION.items()
}


_LAST: Final = {"gsm": 0x10FFFF, "latin1": 0xFF, "ascii": 0x7F}


def is_gsm(text: str, alphabet: Alphabet = "gsm") -> bool:
    """Tell whether handsets show every character of `text` in seven bits, and an SMSC that reads `alphabet` gets them there."""
    last = _LAST[alphabet]
    return all(char in _CODES and ord(char) <= last for char in text)


def not_gsm(text: str, alphabet: Alphabet = "gsm") -> list[tuple[int, str]]:
    """Return (index, character) of everything in `text` that `is_gsm` objects to."""
    return [(index, char) for index, char in enumerate(text) if not is_gsm(char, alphabet)]


def is_extended(char: str) -> bool:
    """Tell whether `char` is in the extension table and so takes two septets."""
    return len(_CODES.get(char, b"")) > 1


def septets(text: str) -> int:
    """Return how many septets `text` takes. Raises `UnicodeEncodeError` as `encode` does."""
    return len(encode(text))


def encode(text: str, alphabet: Alphabet = "gsm") -> bytes:
    """Return `text` with one septet, or one character of another `alphabet`, in each octet.

    Raises `UnicodeEncodeError` at the first character that `is_gsm` objects to.
    """
    if not is_gsm(text, alphabet):
        index, _ = not_gsm(text, alphabet)[0]
        raise UnicodeEncodeError("gsm0338", text, index, index + 1, f"not in the GSM 7-bit default alphabet as {alphabet}")
    return b"".join([_CODES[char] for char in text]) if alphabet == "gsm" else text.encode("latin-1")


def decode(data: bytes) -> str:
    """Return the text of unpacked septets. Raises `UnicodeDecodeError` at an octet above 0x7F.

    As TS 23.038 6.2.1.1 asks of a receiver, an escaped code without a character shows its default-table character, and an
    escape before an escape or at the end shows a space.
    """
    chars: list[str] = []
    escaped = False
    for index, code in enumerate(data):
        if code > 0x7F:
            raise UnicodeDecodeError("gsm0338", data, index, index + 1, "septet above 0x7F")
        if code == ESCAPE and not escaped:
            escaped = True
            continue
        if escaped:
            chars.append(" " if code == ESCAPE else _EXTENSION.get(code, _DEFAULT[code]))
        else:
            chars.append(_DEFAULT[code])
        escaped = False
    if escaped:
        chars.append(" ")
    return "".join(chars)
