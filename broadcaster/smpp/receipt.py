"""Delivery receipts: telling them from messages, reading every form carriers write, writing the common one (SMPP 3.4, appendix B)."""

from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from broadcaster.smpp.bodies import DataSm, DeliverSm
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import Tag, Tlvs, tlv_int, tlv_text

IdForm: TypeAlias = Literal["raw", "hex", "dec"]


class ReceiptState(StrEnum):
    """message_state (5.2.28, with SCHEDULED and SKIPPED of version 5.0)."""

    SCHEDULED = "scheduled"
    ENROUTE = "enroute"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    DELETED = "deleted"
    UNDELIVERABLE = "undeliverable"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    SKIPPED = "skipped"


class Receipt(NamedTuple):
    """One receipt; what the carrier left out is None."""

    message_id: str
    state: ReceiptState
    stat: str | None
    """The carrier's own word for the state, for its own table (F14)."""
    error: str | None
    submit_date: str | None
    """As written; `receipt_time` reads it."""
    done_date: str | None
    sub: int | None
    dlvrd: int | None
    text: str | None
    text_id: str | None
    """The id in the text, which may contradict the id of the optional parameter (F06)."""
    raw: str

    def __repr__(self) -> str:
        return f"Receipt(message_id={self.message_id!r}, state={self.state!r}, error={self.error!r}, done_date={self.done_date!r})"


_BY_NUMBER: Final = dict(enumerate(ReceiptState))

_BY_WORD: Final = {
    "SCHEDULED": ReceiptState.SCHEDULED,
    "ENROUTE": ReceiptState.ENROUTE,
    "BUFFRED": ReceiptState.ENROUTE,
    "BUFFERED": ReceiptState.ENROUTE,
    "DELIVRD": ReceiptState.DELIVERED,
    "DELIVERED": ReceiptState.DELIVERED,
    "EXPIRED": ReceiptState.EXPIRED,
    "DELETED": ReceiptState.DELETED,
    "UNDELIV": ReceiptState.UNDELIVERABLE,
    "UNDELIVERED": ReceiptState.UNDELIVERABLE,
    "UNDELIVERABLE": ReceiptState.UNDELIVERABLE,
    "FAILED": ReceiptState.UNDELIVERABLE,
    "ACCEPTD": ReceiptState.ACCEPTED,
    "ACCEPTED": ReceiptState.ACCEPTED,
    "UNKNOWN": ReceiptState.UNKNOWN,
    "REJECTD": ReceiptState.REJECTED,
    "REJECTED": ReceiptState.REJECTED,
    "SKIPPED": ReceiptState.SKIPPED,
    **{str(number): state for number, state in _BY_NUMBER.items()},
}

_WORDS: Final = {
    ReceiptState.DELIVERED: "DELIVRD",
    ReceiptState.UNDELIVERABLE: "UNDELIV",
    ReceiptState.ACCEPTED: "ACCEPTD",
    ReceiptState.REJECTED: "REJECTD",
}

_RECEIPT_BITS: Final = 0x3C
_UDH_BIT: Final = 0x40
_UCS2: Final = 8
_EDGES: Final = " \t\r\n\0,;|\"'"

_LOOKS_LIKE_RECEIPT: Final = re.compile(r"\s*id:\s*\S.*\bstat:", re.IGNORECASE | re.DOTALL)

# The form of appendix B in one match; every other form goes the slower way of the scanner below.
_COMMON: Final = re.compile(
    r"id:(\S+) sub:([0-9]{1,9}) dlvrd:([0-9]{1,9}) submit date:([0-9]+) done date:([0-9]+) stat:([A-Za-z]+) err:(\w+)"
    r"(?: [Tt]ext:(.*))?",
    re.DOTALL,
)

_FIELD: Final = re.compile(
    r"""(?<![a-z])(?:
        ((?:msg|message)?[ _-]?id) | (sub) | (dlvrd) | (submit[ _]?date) | (done[ _]?date)
        | (stat(?:us)?) | (err(?:or)?(?:[ _]?code)?) | (text)
    )\s*[:=]""",
    re.IGNORECASE | re.VERBOSE,
)

_Fields: TypeAlias = tuple[str | None, ...]
"""id, sub, dlvrd, submit date, done date, stat, err, text."""

_FIELDS: Final = 8
_ID, _STAT, _TEXT = 0, 5, 7
_DATES: Final = frozenset({3, 4})


_DATE_FORMS: Final = {10: ("%y%m%d%H%M",), 12: ("%y%m%d%H%M%S", "%Y%m%d%H%M"), 14: ("%Y%m%d%H%M%S",)}
_ISO_FORMS: Final = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S")
_UNIX_SCALES: Final = {10: 1, 13: 1000}
_MOST_ID_CHARACTERS: Final = 80
_HEX_ID: Final = re.compile(r"(?:0x)?[0-9a-f]{1,64}")


def classify(deliver: DeliverSm | DataSm) -> Literal["receipt", "message"]:
    """Tell a receipt from a subscriber's message (F08): by esm_class (5.2.12), by receipted_message_id (5.3.2.12), or by form."""
    if deliver.esm_class & _RECEIPT_BITS or Tag.RECEIPTED_MESSAGE_ID in deliver.tlvs:
        return "receipt"
    return "receipt" if _LOOKS_LIKE_RECEIPT.match(content(deliver)) else "message"


def content(deliver: DeliverSm | DataSm) -> str:
    """Decode the text: UCS-2 by data_coding (5.2.19) or its look, else Latin-1; user data header and closing NULs removed."""
    octets = deliver.short_message or deliver.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    if not octets:
        return ""
    if deliver.esm_class & _UDH_BIT:
        octets = octets[octets[0] + 1 :]
    claimed = deliver.data_coding == _UCS2 and octets[:3].lower() != b"id:"
    if claimed or octets[:1] == b"\0":
        return octets.decode("utf-16-be", "replace").rstrip("\0")
    return octets.decode("latin-1").rstrip("\0")


def parse_receipt(deliver: DeliverSm | DataSm) -> Receipt | None:
    """Read a receipt (appendix B), optional parameters ahead of the text; None when it names no message (F06, F07)."""
    raw = content(deliver)
    tlvs = deliver.tlvs
    common = _COMMON.fullmatch(raw)
    fields: _Fields = common.groups() if common else _scan(raw)
    text_id, sub, dlvrd, submit_date, done_date, stat, error, text = fields
    state = _BY_WORD.get(stat) or _BY_WORD.get(stat.upper(), ReceiptState.UNKNOWN) if stat else ReceiptState.UNKNOWN
    message_id = text_id
    if tlvs:
        message_id = tlv_text(tlvs, Tag.RECEIPTED_MESSAGE_ID) or text_id
        number = tlv_int(tlvs, Tag.MESSAGE_STATE)
        if number is not None:
            state = _BY_NUMBER.get(number, ReceiptState.UNKNOWN)
        error = error or _network_error(tlvs)
    if not message_id:
        return None
    counts = _count(sub), _count(dlvrd)
    # A named tuple's own constructor takes twice as long.
    return tuple.__new__(Receipt, (message_id, state, stat, error, submit_date, done_date, *counts, text, text_id, raw))


def receipt_time(raw: str | None, zone: dt.tzinfo) -> dt.datetime | None:
    """Read a receipt's date as an aware time; None when unreadable.

    `zone` is the SMSC's own, for YYMMDDhhmm, YYMMDDhhmmss, YYYYMMDDhhmm, YYYYMMDDhhmmss and ISO dates, tried in this order; a ten- or
    thirteen-digit number that is none of them counts seconds or milliseconds since 1970.
    """
    if raw is None:
        return None
    for form in _DATE_FORMS.get(len(raw), ()) if raw.isdecimal() else _ISO_FORMS:
        try:
            return dt.datetime.strptime(raw, form).replace(tzinfo=zone)
        except ValueError:
            continue
    scale = _UNIX_SCALES.get(len(raw)) if raw.isdecimal() else None
    return None if scale is None else dt.datetime.fromtimestamp(int(raw) / scale, zone)


def normal_id(raw: str, form: IdForm = "raw") -> str:
    """Bring the spellings of one message id (5.2.23) together (F02).

    NULs, blanks, leading zeros and case go; hexadecimal and decimal meet in decimal digits. An id that is not of its carrier's usual
    form is treated as raw, and cut at 80 characters: SMPP allows 64 octets, whose hexadecimal makes 78 decimal digits.
    """
    plain = raw.strip(_EDGES).casefold()
    if form == "hex" and _HEX_ID.fullmatch(plain):
        return str(int(plain, 16))
    return (plain.lstrip("0") or plain[:1])[:_MOST_ID_CHARACTERS]


def format_receipt(
    message_id: str,
    state: ReceiptState,
    submit_date: dt.datetime,
    done_date: dt.datetime,
    *,
    sub: int = 1,
    dlvrd: int | None = None,
    error: str = "000",
    text: str = "",
) -> str:
    """Write the common text form (appendix B), dates as YYMMDDhhmm in the zone they carry, text cut to 20 characters.

    `dlvrd` defaults to `sub` for a delivered message and to 0 otherwise. Raises LocalProtocolError when an id or error has a blank.
    """
    if not message_id or not error or any(map(str.isspace, message_id + error)):
        raise LocalProtocolError("message_id and error: one word without blanks fits")
    if dlvrd is None:
        dlvrd = sub if state is ReceiptState.DELIVERED else 0
    return (
        f"id:{message_id} sub:{sub:03d} dlvrd:{dlvrd:03d} submit date:{submit_date:%y%m%d%H%M} done date:{done_date:%y%m%d%H%M} "
        f"stat:{_WORDS.get(state, state.name)} err:{error} text:{text[:20]}"
    )


def _scan(raw: str) -> _Fields:
    """Find the fields in whatever order and spelling; the first of a repeated field wins."""
    found: list[str | None] = [None] * _FIELDS
    marks = list(_FIELD.finditer(raw))
    ends = [*(mark.start() for mark in marks[1:]), len(raw)]
    for mark, end in zip(marks, ends, strict=False):
        which = (mark.lastindex or 1) - 1
        if found[which] is not None:
            continue
        if which == _TEXT and found[_ID] is not None and found[_STAT] is not None:
            # The subscriber's copy of our text may hold anything, "id:" included.
            found[_TEXT] = raw[mark.end() :]
            break
        value = raw[mark.end() : end].strip(_EDGES)
        if which not in _DATES and which != _TEXT:
            value = _first_word(value)
        found[which] = value or None
    return tuple(found)


def _first_word(value: str) -> str:
    words = re.split(r"[\s,;|]", value, maxsplit=1)
    return words[0].strip(_EDGES)


@lru_cache(maxsize=64)
def _count(digits: str | None) -> int | None:
    return int(digits) if digits is not None and digits.isdecimal() and len(digits) < len("4294967296") else None


def _network_error(tlvs: Tlvs) -> str | None:
    """Read network_error_code: one octet for the network, two for its code (5.3.2.31)."""
    value = tlvs.get(Tag.NETWORK_ERROR_CODE, b"")
    return str(int.from_bytes(value[1:], "big")) if len(value) > 1 else None
