"""Put together the text that reaches the wire: rehearsal mark, body, refusal footer."""

from __future__ import annotations

from typing import Final, NamedTuple

from broadcaster.model import Variant
from broadcaster.text.fold import nfc


class Spellings(NamedTuple):
    """One Vietnamese text in both spellings."""

    accented: str
    unaccented: str

    def of(self, variant: Variant) -> str:
        return self.accented if variant is Variant.ACCENTED else self.unaccented


REHEARSAL_MARK: Final = Spellings("DIỄN TẬP: ", "DIEN TAP: ")
_REFUSAL: Final = Spellings("Từ chối: TC gửi ", "Tu choi: TC gui ")


def compose(body: str, *, variant: Variant, rehearsal: bool, footer: str | None) -> str:
    """Return mark (in rehearsal), `body` and `footer` as one text in NFC."""
    mark = REHEARSAL_MARK.of(variant) if rehearsal else ""
    return nfc(f"{mark}{body} {footer}" if footer else f"{mark}{body}")


def footer_for(variant: Variant, reply_number: str | None, alternative: Spellings | None = None) -> str | None:
    """Return the sentence that says how to refuse further warnings.

    With `reply_number` (3 to 8 digits) a reply with TC refuses; without one, `alternative` tells the other way, or there is none.
    Raises `ValueError` when the number is not one.
    """
    if reply_number is None:
        return alternative.of(variant) if alternative else None
    if not (reply_number.isascii() and reply_number.isdigit() and 3 <= len(reply_number) <= 8):
        raise ValueError("a reply number has 3 to 8 digits")
    return _REFUSAL.of(variant) + reply_number
