"""How one text becomes submit_sm for one carrier: cut by its card, coded, tied together, addressed.

The reference that ties the parts of a long text is the campaign's number, so it is the same for every part and every further attempt,
and no subscriber sees it again for 256 (8 bits) or 65,536 (16 bits) campaigns.
"""

from __future__ import annotations

from typing import Literal

from broadcaster.model import CarrierCard
from broadcaster.smpp.submit import SubmitTemplate
from broadcaster.text.segment import Coding, Segments, payload, segment, udh

_UDH_INDICATOR = 0x40
_DATA_CODING = {Coding.GSM: 0x00, Coding.UCS2: 0x08}
_RECEIPT_WANTED = 0x01


def reference_bits(card: CarrierCard) -> Literal[8, 16]:
    """Return the size of the reference in this carrier's user data headers."""
    return 16 if card.long_text == "udh16" else 8


def cut(text: str, card: CarrierCard) -> Segments:
    """Cut the text as it will travel to this carrier."""
    return segment(text, reference_bits=reference_bits(card))


def validity(minutes: int) -> str:
    """Return a relative validity period (SMPP 3.4, 7.1.1.2), empty for none."""
    if minutes <= 0:
        return ""
    days, rest = divmod(minutes, 24 * 60)
    return f"0000{min(days, 99):02d}{rest // 60:02d}{rest % 60:02d}00000R"


def submit_templates(text: str, card: CarrierCard, *, sender: str, campaign: int, valid_minutes: int) -> list[SubmitTemplate]:
    """Build one prebuilt submit_sm per part, in order.

    Raises `LocalProtocolError` when a field of the card or the sender does not fit its place.
    """
    segments = cut(text, card)
    bits = reference_bits(card)
    total = len(segments.parts)
    header = 0 if total == 1 else _UDH_INDICATOR
    return [
        SubmitTemplate.build(
            source=sender,
            short_message=(udh(campaign % (1 << bits), total, index, bits) if header else b"") + payload(part, segments.coding),
            source_ton=card.source_ton,
            source_npi=card.source_npi,
            dest_ton=card.destination_ton,
            dest_npi=card.destination_npi,
            esm_class=header,
            data_coding=_DATA_CODING[segments.coding],
            registered_delivery=0 if card.receipt_means == "none" else _RECEIPT_WANTED,
            validity_period=validity(valid_minutes),
        )
        for index, part in enumerate(segments.parts, 1)
    ]
