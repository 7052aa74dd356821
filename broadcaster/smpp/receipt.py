"""Delivery receipts: telling them from messages, reading every form carriers write, writing the common one (SMPP 3.4, appendix B)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from broadcaster.smpp.bodies import DataSm, DeliverSm
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import Tag, Tlvs, tlv_int, tlv_text
from broadcaster.smpp.grammar import COMMON, EDGES, GRAMMARS, Grammar, Reading

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
    """The carrier's own word or number for the state, as it came (F14)."""
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
_DECIMAL: Final = re.compile(r"[0-9]+")

_DATE_FORMS: Final = {10: ("%y%m%d%H%M",), 12: ("%y%m%d%H%M%S", "%Y%m%d%H%M"), 14: ("%Y%m%d%H%M%S",)}
_ISO_FORMS: Final = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S")
_UNIX_SCALES: Final = {10: 1, 13: 1000}
_MOST_ID_CHARACTERS: Final = 80
_HEX_ID: Final = re.compile(r"(?:0x)?[0-9a-f]{1,64}")


class ReceiptDialect(NamedTuple):
    """How one carrier's receipts are read: in which grammar, and what its own words, numbers and error codes mean (F07, F14)."""

    reading: Reading
    states: Mapping[str, ReceiptState]


def receipt_dialect(grammar: Grammar, states: Mapping[str, ReceiptState]) -> ReceiptDialect:
    """Return a dialect; keys of `states` are words or numbers of states, and error codes as ``err:045``.

    Case and leading zeros make no difference. What is in `states` goes ahead of the standard: an error code, then a word, then the
    number of message_state.
    """
    return ReceiptDialect(GRAMMARS[grammar], MappingProxyType({state_key(key): state for key, state in states.items()}))


def state_key(written: str) -> str:
    """Bring the spellings of one word, number or ``err:`` code together."""
    kind, colon, code = written.upper().rpartition(":")
    return kind + colon + (code.lstrip("0") or "0" if _DECIMAL.fullmatch(code) else code)


_APPENDIX_B: Final = GRAMMARS[Grammar.SMPP]
STANDARD: Final = receipt_dialect(Grammar.SMPP, {})


def classify(deliver: DeliverSm | DataSm, dialect: ReceiptDialect = STANDARD) -> Literal["receipt", "message"]:
    """Tell a receipt from a subscriber's message (F08): by esm_class (5.2.12), by receipted_message_id (5.3.2.12), or by form."""
    if deliver.esm_class & _RECEIPT_BITS or Tag.RECEIPTED_MESSAGE_ID in deliver.tlvs:
        return "receipt"
    return "receipt" if dialect.reading.looks_like.match(content(deliver)) else "message"


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


def parse_receipt(deliver: DeliverSm | DataSm, dialect: ReceiptDialect = STANDARD) -> Receipt | None:
    """Read a receipt (appendix B), optional parameters ahead of the text; None when it names no message (F06, F07)."""
    raw = content(deliver)
    if "\0" in raw:
        # No database is sure to keep a NUL, and one receipt must not hold up the batch it came with.
        raw = raw.replace("\0", " ")
    tlvs = deliver.tlvs
    if not (tlvs or dialect.states) and (found := _read_common(raw, dialect)) is not None:
        return found
    text_id, sub, dlvrd, submit_date, done_date, stat, error, text = dialect.reading.read(raw)
    state = _BY_WORD.get(stat) or _BY_WORD.get(stat.upper(), ReceiptState.UNKNOWN) if stat else ReceiptState.UNKNOWN
    message_id, number = text_id, None
    if tlvs:
        message_id = tlv_text(tlvs, Tag.RECEIPTED_MESSAGE_ID) or text_id
        number = tlv_int(tlvs, Tag.MESSAGE_STATE)
        if number is not None:
            state = _BY_NUMBER.get(number, ReceiptState.UNKNOWN)
            stat = stat or (None if number in _BY_NUMBER else str(number))
        error = error or _network_error(tlvs)
    if not message_id:
        return None
    if dialect.states:
        state = _own_state(dialect.states, stat, number, error) or state
    counts = _count(sub), _count(dlvrd)
    # A named tuple's own constructor takes twice as long.
    return tuple.__new__(Receipt, (message_id, state, stat, error, submit_date, done_date, *counts, text, text_id, raw))


def _read_common(raw: str, dialect: ReceiptDialect) -> Receipt | None:
    """Read the form of appendix B by what stands behind its id, which thousands of receipts share; None for any other text."""
    if raw[:3] != "id:" or dialect.reading is not _APPENDIX_B:
        return None
    message_id, _, behind = raw[3:].partition(" ")
    fields = _read_behind(behind) if message_id.isalnum() else None
    return None if fields is None else tuple.__new__(Receipt, (message_id, *fields, message_id, raw))


@lru_cache(maxsize=1024)
def _read_behind(behind: str) -> tuple[object, ...] | None:
    """Return the fields of `Receipt` from state to text; None when an id before them would not make the common form."""
    if (common := COMMON.fullmatch(f"id:0 {behind}")) is None:
        return None
    _, sub, dlvrd, submit_date, done_date, stat, error, text = common.groups()
    state = _BY_WORD.get(stat.upper(), ReceiptState.UNKNOWN)
    return state, stat, error, submit_date, done_date, _count(sub), _count(dlvrd), text


def _own_state(states: Mapping[str, ReceiptState], stat: str | None, number: int | None, error: str | None) -> ReceiptState | None:
    """Return what the carrier's own table says of a receipt, None when it says nothing (F14)."""
    own = (error and f"err:{error}", stat, None if number is None else str(number))
    return next((states[key] for written in own if written and (key := state_key(written)) in states), None)


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
    plain = raw.strip(EDGES).casefold()
    if form == "hex" and _HEX_ID.fullmatch(plain):
        return str(int(plain, 16))
    return (plain.lstrip("0") or plain[:1])[:_MOST_ID_CHARACTERS]


def own_spelling(raw: str | None, normal: str | None) -> str | None:
    """Return how the carrier spelt an id where its normal form does not tell (F02), cut as that is; None where it does."""
    return None if raw is None or raw == normal else raw[:_MOST_ID_CHARACTERS]


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


@lru_cache(maxsize=64)
def _count(digits: str | None) -> int | None:
    return int(digits) if digits is not None and digits.isdecimal() and len(digits) < len("4294967296") else None


def _network_error(tlvs: Tlvs) -> str | None:
    """Read network_error_code: one octet for the network, two for its code (5.3.2.31)."""
    value = tlvs.get(Tag.NETWORK_ERROR_CODE, b"")
    return str(int.from_bytes(value[1:], "big")) if len(value) > 1 else None
