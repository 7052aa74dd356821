"""How one text becomes submit_sm for one carrier: cut by its card, coded, tied together, addressed (docs/delivery.md F60–F62)."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Any, Final, Literal

from broadcaster.model import CarrierCard, Variant
from broadcaster.smpp.fields import NO_TLVS, Tag, Tlvs
from broadcaster.smpp.submit import SubmitTemplate
from broadcaster.text.lint import TextRules
from broadcaster.text.segment import Coding, Segments, payload, segment, udh

_UDH_INDICATOR: Final = 0x40
_RECEIPT_WANTED: Final = 0x01


def reference_bits(card: CarrierCard) -> Literal[8, 16]:
    """Return the size of the number that ties parts together on their way to a handset.

    Where the SMSC writes the headers itself (``sar``, ``payload``) the larger one is assumed, since it leaves less room.
    """
    return 8 if card.long_text == "udh8" else 16


def cut(text: str, card: CarrierCard) -> Segments:
    """Cut the text as it will reach handsets of this carrier; `pieces` is what travels to the carrier."""
    return _segment(text, reference_bits=reference_bits(card), alphabet=card.gsm_alphabet)


def pieces(text: str, card: CarrierCard) -> tuple[str, ...]:
    """Return the text of each submit_sm, in order: every part by itself, or the whole where the card says ``payload``."""
    parts = cut(text, card).parts
    return ("".join(parts),) if card.long_text == "payload" else parts


def text_rules(card: CarrierCard, variant: Variant, *, rehearsal: bool, footer: str | None) -> TextRules:
    """Return what a text for this carrier is held against."""
    return TextRules(
        variant,
        rehearsal,
        footer,
        max_parts=card.max_parts,
        forbidden=card.forbidden,
        allow_unicode=card.allow_unicode,
        reference_bits=reference_bits(card),
        alphabet=card.gsm_alphabet,
    )


def receipt_part(card: CarrierCard, parts: int) -> int:
    """Return the one of `parts` submit_sm that gets a receipt, 0 when each does (F11)."""
    if parts == 1 or card.receipt_scope == "all":
        return 0
    return 1 if card.receipt_scope == "first" else parts


def part_reference(token: bytes, campaign: int, card: CarrierCard) -> int | None:
    """Return the number that ties the parts of one subscriber's text together; None where the card ties none.

    It is the same for every part and every further attempt, and no subscriber sees it again for 256 (8 bits) or 65,536 (16 bits)
    campaigns (F60, I14). Texts of one part have no place for it.
    """
    if card.long_text == "payload":
        return None
    return (int.from_bytes(token[:2], "big") + campaign) % (1 << reference_bits(card))


def validity(minutes: int) -> str:
    """Return a relative validity period (SMPP 3.4, 7.1.1.2), empty for none."""
    if minutes <= 0:
        return ""
    days, rest = divmod(minutes, 24 * 60)
    return f"0000{min(days, 99):02d}{rest // 60:02d}{rest % 60:02d}00000R"


def absolute_time(at: dt.datetime, utc_offset_min: int) -> str:
    """Return an absolute time (SMPP 3.4, 7.1.1.1) on a clock so many minutes ahead of UTC, tenths of a second dropped."""
    local = at.astimezone(dt.timezone(dt.timedelta(minutes=utc_offset_min)))
    return f"{local:%y%m%d%H%M%S}0{abs(utc_offset_min) // 15:02d}{'-' if utc_offset_min < 0 else '+'}"


def submit_templates(
    text: str,
    card: CarrierCard,
    *,
    sender: str,
    campaign: int,
    valid_minutes: int,
    at: dt.datetime | None = None,
    receipted: int | None = None,
) -> list[SubmitTemplate]:
    """Build one prebuilt submit_sm per part, in order, tied by the campaign's number until `part_reference` is spliced in.

    `at` is the instant from which an absolute validity counts, `receipted` the part that gets a receipt (0: each), if it was settled
    before the card said what it says now. Raises `LocalProtocolError` when a field of the card or the sender
    does not fit its place, `ValueError` when the card writes absolute times and `at` is not given.
    """
    segments, each = cut(text, card), pieces(text, card)
    coding, total = segments.coding, len(each)
    long = len(segments.parts) > 1
    wanted = receipt_part(card, total) if receipted is None else receipted
    period = _period(card, valid_minutes, at)
    made = []
    for index, part in enumerate(each, 1):
        octets = payload(part, coding, card.gsm_alphabet)
        esm_class, short_message, tlvs = _tied(octets, card, campaign, index, total) if long else (0, octets, NO_TLVS)
        asked = card.receipt_means != "none" and wanted in (0, index)
        made.append(
            _build(
                source=sender,
                short_message=short_message,
                source_ton=card.source_ton,
                source_npi=card.source_npi,
                dest_ton=card.destination_ton,
                dest_npi=card.destination_npi,
                esm_class=esm_class,
                data_coding=card.gsm_data_coding if coding is Coding.GSM else card.ucs2_data_coding,
                registered_delivery=_RECEIPT_WANTED if asked else 0,
                validity_period=period,
                tlvs=tuple(tlvs.items()),
            )
        )
    return made


# A campaign's lanes have few texts, and every lease asks for theirs anew.
_segment = lru_cache(maxsize=256)(segment)


@lru_cache(maxsize=256)
def _build(*, tlvs: tuple[tuple[int, bytes], ...], **fields: Any) -> SubmitTemplate:
    return SubmitTemplate.build(tlvs=dict(tlvs), **fields)


def _tied(octets: bytes, card: CarrierCard, campaign: int, index: int, total: int) -> tuple[int, bytes, Tlvs]:
    """Return esm_class, short_message and TLVs of piece `index` of the `total` of a long text."""
    bits = reference_bits(card)
    reference = campaign % (1 << bits)
    match card.long_text:
        case "payload":
            return 0, b"", {int(Tag.MESSAGE_PAYLOAD): octets}
        case "sar":
            tlvs: dict[int, bytes] = {
                Tag.SAR_MSG_REF_NUM: reference.to_bytes(2, "big"),
                Tag.SAR_TOTAL_SEGMENTS: bytes([total]),
                Tag.SAR_SEGMENT_SEQNUM: bytes([index]),
            }
            return 0, octets, tlvs
        case _:
            return _UDH_INDICATOR, udh(reference, total, index, bits) + octets, NO_TLVS


def _period(card: CarrierCard, minutes: int, at: dt.datetime | None) -> str:
    if card.validity_form == "none" or minutes <= 0:
        return ""
    if card.validity_form == "relative":
        return validity(minutes)
    if at is None:
        raise ValueError("an absolute validity needs the time from which it counts")
    return absolute_time(at + dt.timedelta(minutes=minutes), card.smsc_utc_offset_min)
