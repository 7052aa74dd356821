"""How a carrier spells its message ids and writes its receipts, worked out from what it really sent (F02, F06, F07, F11).

Nothing here changes a card: what is found is proposed to a person.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from broadcaster.model import CarrierCard, IdRule
from broadcaster.rules.lifecycle import FINAL_RECEIPTS
from broadcaster.smpp.grammar import Grammar
from broadcaster.smpp.receipt import IdForm, Receipt, ReceiptDialect, ReceiptState, normal_id, receipt_dialect

_FORMS: Final[tuple[IdForm, ...]] = ("raw", "hex")
"""``dec`` is read like ``raw``: only its name says that the digits are decimal."""

_RULES: Final = tuple((response, receipt) for response in _FORMS for receipt in _FORMS)

FINAL_STATES: Final = frozenset(FINAL_RECEIPTS)

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEX: Final = re.compile(r"(?:0x)?[0-9a-f]+", re.IGNORECASE)


class Spelling(StrEnum):
    """What a set of ids looks like."""

    DECIMAL = "decimal"
    PADDED = "padded decimal"
    HEX = "hexadecimal"
    UUID = "uuid"
    OTHER = "other"
    NONE = "none"


class IdDialect(NamedTuple):
    """How ids in receipts meet ids in responses."""

    rule: IdRule
    """What a card should say."""
    responses: Spelling
    receipts: Spelling
    matched: int
    """Distinct ids in receipts that belong to a response under `rule`."""
    believed_matched: int
    """The same under the card's own rule."""
    seen: int
    """Distinct ids in receipts."""
    certain: bool
    """False when nothing matched, or when another rule explains as much and means something else."""

    @property
    def agrees(self) -> bool:
        """Tell whether the card's rule brings together all that can be."""
        return self.matched == self.believed_matched


def dialect_of(card: CarrierCard) -> ReceiptDialect:
    """Return how the card says that its carrier's receipts are to be read."""
    return receipt_dialect(Grammar(card.receipt_form), {word: ReceiptState(state) for word, state in card.receipt_states.items()})


def detect_ids(responses: Sequence[str], receipts: Sequence[str], believed: IdRule) -> IdDialect:
    """Find the rule under which most ids in receipts belong to a response; where several do equally, the card's own is kept."""
    scores = {rule: _matches(responses, receipts, *rule) for rule in _RULES}
    own = (_plain(believed.response), _plain(believed.receipt))
    best = max(_RULES, key=lambda rule: (scores[rule], rule == own))
    spelt = spelling(responses), spelling(receipts)
    rivals = [rule for rule in _RULES if scores[rule] == scores[best] and not _alike(rule, best, responses, receipts)]
    rule = believed if best == own and scores[own] else _named(best, *spelt)
    return IdDialect(rule, *spelt, scores[best], scores[own], len(set(receipts)), scores[best] > 0 and not rivals)


def every_form(message_id: str) -> frozenset[str]:
    """Return what an id may be under any rule; two ids may be one message's when their sets meet."""
    return frozenset(normal_id(message_id, form) for form in _FORMS)


def same_id(one: str, other: str, form: str) -> bool:
    """Tell whether two spellings in one carrier's receipts are one id under a card's `form`."""
    return normal_id(one, _plain(form)) == normal_id(other, _plain(form))


def other_rules(believed: IdRule) -> list[IdRule]:
    """Return every rule that reads ids otherwise than the card's."""
    own = (_plain(believed.response), _plain(believed.receipt))
    return [IdRule(*rule) for rule in _RULES if rule != own]


def stored_id(receipt_id: str, believed: IdRule, rule: IdRule) -> str:
    """Return the id that a message is stored under (by `believed`) if a receipt's, so stored too, is its own when read by `rule`."""
    meant = normal_id(_written(receipt_id, believed.receipt), _plain(rule.receipt))
    return normal_id(_written(meant, rule.response), _plain(believed.response))


def propose(rule: IdRule, believed: IdRule, *, responses: Sequence[str], receipts: Sequence[str], seen: int) -> IdDialect:
    """Name a rule that brought stored ids together, of `seen` distinct receipts that the card's own leaves without a message."""
    spelt = (
        spelling([_written(one, believed.response) for one in responses]),
        spelling([_written(one, believed.receipt) for one in receipts]),
    )
    named = _named((_plain(rule.response), _plain(rule.receipt)), *spelt)
    return IdDialect(named, *spelt, len(receipts), 0, seen, certain=True)


def _written(stored: str, form: str) -> str:
    """Undo `normal_id`: return a spelling that a carrier may have used for a stored id."""
    return f"{int(stored):x}" if form == "hex" and stored.isascii() and stored.isdigit() else stored


def spelling(ids: Sequence[str]) -> Spelling:
    """Name what the ids look like; the odd one decides."""
    if not ids:
        return Spelling.NONE
    if all(_UUID.fullmatch(one) for one in ids):
        return Spelling.UUID
    if all(one.isascii() and one.isdigit() for one in ids):
        return Spelling.PADDED if any(len(one) > 1 and one[0] == "0" for one in ids) else Spelling.DECIMAL
    return Spelling.HEX if all(_HEX.fullmatch(one) for one in ids) else Spelling.OTHER


def _plain(form: str) -> IdForm:
    return "hex" if form == "hex" else "raw"


def _matches(responses: Sequence[str], receipts: Sequence[str], response_form: IdForm, receipt_form: IdForm) -> int:
    known = {normal_id(one, response_form) for one in responses}
    return len({one for one in receipts if normal_id(one, receipt_form) in known})


def _alike(one: tuple[IdForm, IdForm], other: tuple[IdForm, IdForm], *ids: Sequence[str]) -> bool:
    """Tell whether two rules mean the same: both read either side in one way, or they differ only about ids that cannot be hex."""
    if one[0] == one[1] and other[0] == other[1]:
        return True
    sides = zip(one, other, ids, strict=True)
    return all(mine == its or not any(map(_HEX.fullmatch, side)) for mine, its, side in sides)


def _named(rule: tuple[IdForm, IdForm], responses: Spelling, receipts: Spelling) -> IdRule:
    """Give the rule the words of a card: what is not hexadecimal is decimal where only digits were seen, else raw."""
    if rule == ("hex", "hex"):
        return IdRule("hex", "hex")
    names = []
    for form, spelt in zip(rule, (responses, receipts), strict=True):
        decimal = spelt in (Spelling.DECIMAL, Spelling.PADDED)
        names.append("hex" if form == "hex" else "dec" if decimal else "raw")
    return IdRule(*names)


class SeenReceipt(NamedTuple):
    """One receipt as it came."""

    receipt: Receipt
    tlv_id: str | None
    """receipted_message_id; None when the optional parameter is absent."""
    marked: bool
    """esm_class says that it is a receipt."""
    by_data_sm: bool
    at_s: float
    """When it came, on the clock of the sending."""
    reference: int | None = None
    """user_message_reference, where it was repeated."""


class Where(StrEnum):
    """Where receipts name their message."""

    TLV = "tlv"
    TEXT = "text"
    BOTH = "both"
    MIXED = "mixed"
    NONE = "none"


class ReceiptForm(NamedTuple):
    """What the receipts of one carrier have in common."""

    where: Where
    states: dict[str, int]
    """How often each state was reported, in the words of smpp.receipt."""
    words: tuple[str, ...]
    """The carrier's own words for them, where the text has any."""
    dates: tuple[str, ...]
    """Shapes of done dates: ``10 digits``."""
    unmarked: int
    """Receipts whose esm_class does not say so."""
    by_data_sm: int
    conflicts: int
    """Receipts whose two ids differ even when brought to one form."""
    repeated: int
    """Final receipts beyond the first for one id."""
    intermediate: int


def receipt_form(seen: Sequence[SeenReceipt], rule: IdRule) -> ReceiptForm:
    """Describe the receipts; `rule` says when two ids are one."""
    form = _plain(rule.receipt)
    places = {_where(one) for one in seen}
    finals = Counter(normal_id(one.receipt.message_id, form) for one in seen if one.receipt.state in FINAL_STATES)
    texts = [(one.tlv_id, one.receipt.text_id) for one in seen if one.tlv_id and one.receipt.text_id]
    return ReceiptForm(
        where=Where.NONE if not places else places.pop() if len(places) == 1 else Where.MIXED,
        states=dict(Counter(str(one.receipt.state) for one in seen)),
        words=tuple(sorted({one.receipt.stat for one in seen if one.receipt.stat})),
        dates=tuple(sorted({_date_shape(one.receipt.done_date) for one in seen if one.receipt.done_date})),
        unmarked=sum(not one.marked for one in seen),
        by_data_sm=sum(one.by_data_sm for one in seen),
        conflicts=sum(every_form(tlv_id).isdisjoint(every_form(text_id)) for tlv_id, text_id in texts),
        repeated=sum(count - 1 for count in finals.values()),
        intermediate=sum(one.receipt.state not in FINAL_STATES for one in seen),
    )


def _where(one: SeenReceipt) -> Where:
    if one.tlv_id and one.receipt.text_id:
        return Where.BOTH
    return Where.TLV if one.tlv_id else Where.TEXT


def _date_shape(text: str) -> str:
    return f"{len(text)} digits" if text.isdecimal() else re.sub(r"\d", "9", text)
