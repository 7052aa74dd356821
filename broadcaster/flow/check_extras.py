"""What a check found out beyond the test texts themselves: references, scope of receipts, further connections, cancel_sm."""

from __future__ import annotations

from typing import Any, Final

from broadcaster.flow.check_seen import Seen
from broadcaster.flow.check_words import Finding
from broadcaster.lang import Said
from broadcaster.model import CarrierCard
from broadcaster.rules.dialect import FINAL_STATES, every_form
from broadcaster.smpp.status import RINVCMDID, describe

_NOT_KNOWN: Final = frozenset({RINVCMDID})
"""Answers to cancel_sm that say the carrier has no such operation; any other is about the text it names, which had arrived."""

_SCOPES: Final = {
    "all": Said("mọi phần", "every part"),
    "first": Said("phần đầu", "the first part"),
    "last": Said("phần cuối", "the last part"),
}


def findings(card: CarrierCard, seen: Seen) -> list[Finding]:
    """Return what is to be said of them, each only where it was tried."""
    found = [_reference(card, seen), _scope(card, seen), _binds(card, seen), _hosts(seen), _cancels(card, seen)]
    return [item for item in found if item is not None]


def document(seen: Seen) -> dict[str, Any]:
    """Return them as plain JSON values; None is what was not found out."""
    return {
        "user_message_reference": repeats_references(seen),
        "receipt_scope": receipt_scope(seen),
        "binds": seen.binds,
        "hosts": {str(host): None if why is None else str(why) for host, why in seen.hosts.items()},
        "cancels": cancels(seen),
    }


def final_states(seen: Seen) -> dict[str, str]:
    """Return the state each of our ids ended in, under every form the id may have."""
    return {
        form: str(one.receipt.state)
        for one in seen.receipts
        if one.receipt.state in FINAL_STATES
        for form in every_form(one.receipt.message_id)
    }


def parts_with_receipt(seen: Seen) -> frozenset[int]:
    """Return which places of long texts got their final receipt (docs/delivery.md F11)."""
    final = final_states(seen)
    return frozenset(part.part for part in seen.parts if part.parts > 1 and final.keys() & every_form(part.smsc_id or ""))


def receipt_scope(seen: Seen) -> str | None:
    """Return for which parts of long texts the carrier writes receipts, in a card's words; None where none of these fits."""
    long = {(part.text, part.number): part.parts for part in seen.parts if part.parts > 1 and part.accepted}
    places = parts_with_receipt(seen)
    if not long or not places:
        return None
    last = max(long.values())
    return {frozenset(range(1, last + 1)): "all", frozenset({1}): "first", frozenset({last}): "last"}.get(places)


def repeats_references(seen: Seen) -> bool | None:
    """Tell whether receipts repeat user_message_reference; None without a receipt of the part that had one."""
    if seen.reference_refused is not None:
        return False
    part = next((part for part in seen.parts if part.reference is not None and part.accepted and part.smsc_id), None)
    if part is None:
        return None
    ours = every_form(part.smsc_id or "")
    found = [one.reference for one in seen.receipts if every_form(one.receipt.message_id) & ours]
    return part.reference in found if found else None


def cancels(seen: Seen) -> bool | None:
    """Tell whether the carrier knows cancel_sm; None when it did not say."""
    return None if seen.cancel_status is None else seen.cancel_status not in _NOT_KNOWN


def _reference(card: CarrierCard, seen: Seen) -> Finding | None:
    repeats = repeats_references(seen)
    if repeats is None:
        return None
    if seen.reference_refused is not None:
        status = describe(seen.reference_refused)
        said = Said(
            f"nhà mạng từ chối user_message_reference ({status}), nhận tin khi không có tham số này",
            f"the carrier refuses user_message_reference ({status}) and takes the text without it",
        )
    elif repeats:
        said = Said("biên nhận nhắc lại user_message_reference", "receipts repeat user_message_reference")
    else:
        said = Said("biên nhận không nhắc lại user_message_reference", "receipts do not repeat user_message_reference")
    return Finding("reference", ok=repeats or not card.user_message_reference, said=said)


def _scope(card: CarrierCard, seen: Seen) -> Finding | None:
    found = receipt_scope(seen)
    if found is None:
        return None
    there, written = _SCOPES[found], _SCOPES[card.receipt_scope]
    said = Said(
        f"tin nhiều phần có biên nhận cho {there.vi}; thẻ ghi {written.vi}",
        f"long texts get receipts for {there.en}; the card says {written.en}",
    )
    return Finding("receipt-scope", ok=found in ("all", card.receipt_scope), said=said)


def _binds(card: CarrierCard, seen: Seen) -> Finding | None:
    if seen.binds is None:
        return None
    said = Said(f"mở được {seen.binds} trên {card.binds} kết nối cùng lúc", f"{seen.binds} of {card.binds} connections held at once")
    return Finding("binds", ok=seen.binds == card.binds, said=said, details=() if seen.bind_refusal is None else (seen.bind_refusal,))


def _hosts(seen: Seen) -> Finding | None:
    if not seen.hosts:
        return None
    good = sum(why is None for why in seen.hosts.values())
    total = len(seen.hosts)
    said = Said(f"{good} trên {total} máy dự phòng đăng nhập được", f"{good} of {total} alternate hosts can be bound to")
    details = tuple(Said(f"{host}: {why.vi}", f"{host}: {why.en}") for host, why in seen.hosts.items() if why is not None)
    return Finding("hosts", ok=good == total, said=said, details=details)


def _cancels(card: CarrierCard, seen: Seen) -> Finding | None:
    known = cancels(seen)
    if known is None:
        return None
    said = Said("nhà mạng hiểu cancel_sm", "the carrier knows cancel_sm")
    if not known:
        said = Said("nhà mạng không có cancel_sm", "the carrier does not know cancel_sm")
    return Finding("cancel", ok=known or not card.cancels, said=said)
