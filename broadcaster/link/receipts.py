"""What a simulated carrier sends by itself: receipts in every form that carriers have for them, and subscribers' messages."""

from __future__ import annotations

import datetime as dt
import json
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from broadcaster.link.fate import Fate, Owed
from broadcaster.link.part import UCS2
from broadcaster.link.temperament import ReceiptBy, Temperament, spell_id
from broadcaster.model import TIMEZONE
from broadcaster.smpp import DataSm, DeliverSm, ReceiptState, SubmitSm, Tag, format_receipt
from broadcaster.smpp.fields import Tlvs
from broadcaster.smpp.grammar import GRAMMARS, Grammar
from broadcaster.smpp.requests import MOST_SHORT_MESSAGE
from broadcaster.text import gsm

_RECEIPT: Final = 0x04
_ZONE: Final = ZoneInfo(TIMEZONE)
_MINUTE_S: Final = 60
_ERRORS: Final = {
    ReceiptState.DELIVERED: "000",
    ReceiptState.EXPIRED: "001",
    ReceiptState.UNDELIVERABLE: "027",
}
_NUMBERS: Final = {state: bytes((number,)) for number, state in enumerate(ReceiptState)}


def receipt(mood: Temperament, fate: Fate, wall_s: int, state: ReceiptState, grammar: str = Grammar.SMPP) -> Owed:
    """Write a receipt of an accepted submit, done at `wall_s` (Unix time), in the grammar that the card names."""
    body, odd = fate.body, fate.oddities
    message_id = spell_id(mood.receipt_id, fate.number)
    submitted_s = fate.wall_s
    if "clock_skew" in odd:
        shift_s = int(odd["clock_skew"]["s"])
        submitted_s, wall_s = submitted_s + shift_s, wall_s + shift_s
    text = b""
    if mood.receipt_by is not ReceiptBy.TLV:
        rest = _after_id(state, submitted_s // _MINUTE_S, wall_s // _MINUTE_S, fate.part.beginning)
        common = f"id:{message_id}{rest}"
        text = (_values(common) if grammar == Grammar.COMMA else common).encode("ascii")
    tlvs: Tlvs = {}
    if mood.receipt_by is not ReceiptBy.TEXT:
        tlvs = {Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0", Tag.MESSAGE_STATE: _NUMBERS[state]}
        reference = body.tlvs.get(Tag.USER_MESSAGE_REFERENCE)
        if reference is not None and "umr_echo" not in odd:
            tlvs = {**tlvs, Tag.USER_MESSAGE_REFERENCE: reference}
    row = f'"id":"{message_id}","dst":{number_quoted(body.destination)},"stat":"{_WORDS[state]}"'
    plain = back(body, text, esm_class=_RECEIPT, tlvs=tlvs)
    return Owed("receipt", row, _odd_receipt(plain, fate, message_id, wall_s) if odd else plain, _shunned(fate))


def _values(common: str) -> str:
    """Write a receipt of the common form in the comma grammar: the same values, without their names."""
    return ",".join(value or "" for value in GRAMMARS[Grammar.SMPP].read(common))


def message(body: SubmitSm, text: str) -> Owed:
    """Write what the subscriber who got `body` texts back."""
    sent = back(body, gsm.encode(text)) if gsm.is_gsm(text) else back(body, text.encode("utf-16-be"), data_coding=UCS2)
    return Owed("mo", f'"dst":{number_quoted(body.destination)},"text":{quoted(text)}', sent)


def back(body: SubmitSm, octets: bytes, *, esm_class: int = 0, data_coding: int = 0, tlvs: Tlvs | None = None) -> DeliverSm:
    """Return a deliver_sm that goes the way back."""
    return DeliverSm(
        body.destination,
        body.source,
        octets,
        body.dest_ton,
        body.dest_npi,
        body.source_ton,
        body.source_npi,
        esm_class,
        data_coding=data_coding,
        tlvs=tlvs or {},
    )


def _shunned(fate: Fate) -> int:
    return fate.session if "dlr_other_bind" in fate.oddities else 0


def _odd_receipt(plain: DeliverSm, fate: Fate, message_id: str, wall_s: int) -> DeliverSm | DataSm:
    odd, body = fate.oddities, plain
    if "dlr_grammar" in odd:
        form = odd["dlr_grammar"]["form"]
        text = _in_form(form, plain.short_message.decode("ascii"), message_id, fate, wall_s)
        long = len(text) > MOST_SHORT_MESSAGE
        body = body._replace(
            short_message=b"" if long else text,
            data_coding=UCS2 if form == "ucs2" else 0,
            tlvs={Tag.MESSAGE_PAYLOAD: text} if long else {},
        )
    if "dlr_as_mo" in odd:
        body = body._replace(esm_class=0)
    if "dlr_data_sm" not in odd:
        return body
    tlvs = dict(body.tlvs)
    if body.short_message:
        tlvs[Tag.MESSAGE_PAYLOAD] = body.short_message
    return DataSm(
        body.source,
        body.destination,
        body.source_ton,
        body.source_npi,
        body.dest_ton,
        body.dest_npi,
        esm_class=body.esm_class,
        data_coding=body.data_coding,
        tlvs=tlvs,
    )


def _in_form(form: str, common: str, message_id: str, fate: Fate, wall_s: int) -> bytes:
    """Write a receipt as some carriers do (docs/delivery.md F07); `common` is the form of appendix B."""
    word, error = _WORDS[fate.outcome], _ERRORS.get(fate.outcome, "000")
    submitted, done = _local(fate.wall_s), _local(wall_s)
    match form:
        case "short":
            return f"id:{message_id} stat:{word}".encode()
        case "swapped":
            return f"stat:{word} err:{error} id:{message_id} done date:{done:%y%m%d%H%M} sub:001".encode()
        case "unix":
            dates = f"submit date:{fate.wall_s} done date:{wall_s}"
            return f"id:{message_id} sub:001 dlvrd:001 {dates} stat:{word} err:0000 Text:".encode()
        case "seconds":
            dates = f"submit date:{submitted:%y%m%d%H%M%S} done date:{done:%Y%m%d%H%M%S}"
            return f"id:{message_id} sub:001 dlvrd:001 {dates} stat:{word} err:{error} text:".encode()
        case "comma":
            return f"id={message_id},sub=001,dlvrd=001,submit date={submitted:%y%m%d%H%M},stat={word},err={error}".encode()
        case "capitals":
            return common.replace("id:", "ID:").replace("stat:", "STAT:").replace("err:", "ERR:").encode()
        case "ucs2":
            return common.encode("utf-16-be")
        case _:
            return b"\xff\x01 khong doc duoc"


@lru_cache(maxsize=4096)
def _after_id(state: ReceiptState, submitted_min: int, done_min: int, beginning: str) -> str:
    """Return what follows the id in a text receipt; times are minutes of Unix time. Few differ within a minute."""
    submitted, done = _local(submitted_min * _MINUTE_S), _local(done_min * _MINUTE_S)
    text = beginning.encode("ascii", "replace").decode()
    return format_receipt("0", state, submitted, done, error=_ERRORS.get(state, "000"), text=text).removeprefix("id:0")


def _local(wall_s: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall_s, _ZONE)


@lru_cache(maxsize=64)
def quoted(text: str) -> str:
    """Quote a text that recurs, as JSON."""
    return json.dumps(text, ensure_ascii=False)


def number_quoted(number: str) -> str:
    """Quote a phone number as JSON; nearly all are plain digits."""
    return f'"{number}"' if number.isdigit() else json.dumps(number)


_WORDS: Final = {state: _after_id(state, 0, 0, "").partition("stat:")[2].partition(" ")[0] for state in ReceiptState}
"""The word of a text receipt for each state."""
