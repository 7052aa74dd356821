"""What a simulated carrier decides about each submit_sm, and what it writes about it: its ledger row, its receipt, the reply."""

from __future__ import annotations

import datetime as dt
import json
import random
import time
from collections import deque
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from broadcaster.link.part import UCS2, Part, read_part
from broadcaster.link.temperament import ReceiptBy, Temperament, draw, spell_id
from broadcaster.model import TIMEZONE
from broadcaster.smpp import DeliverSm, ReceiptState, SubmitSm, Tag, format_receipt

OK: Final = 0
THROTTLED: Final = 0x58
LATE_RESPONSE_S: Final = 0.1
"""How far a response follows a receipt that is sent ahead of it."""

_RECEIPT: Final = 0x04
_RECEIPT_ASKED: Final = 0x03
_ZONE: Final = ZoneInfo(TIMEZONE)
_REPLIES: Final = (("TC", 0, b"TC"), ("Từ chối", UCS2, "Từ chối".encode("utf-16-be")), ("tc.", 0, b"tc."))
_WITHHELD: Final = ',"answered":false'
_OUTCOMES: Final = {
    ReceiptState.DELIVERED: ("DELIVRD", b"\x02", "000"),
    ReceiptState.EXPIRED: ("EXPIRED", b"\x03", "001"),
    ReceiptState.UNDELIVERABLE: ("UNDELIV", b"\x05", "027"),
}


class Owed(NamedTuple):
    """A receipt or a subscriber's message that the client has not acknowledged yet."""

    event: str
    row: str
    """The middle of its ledger row, between ``e`` and ``acked``."""
    body: DeliverSm

    def ledger_row(self, wall_ns: int, *, acknowledged: bool) -> str:
        """Return the row that says how it ended."""
        return f'{{"t":{wall_ns},"e":"{self.event}",{self.row},"acked":{"true" if acknowledged else "false"}}}'


class Fate(NamedTuple):
    """What becomes of one submit; times are of the simulator's clock."""

    sequence: int
    body: SubmitSm
    part: Part
    status: int
    wall_s: int
    """The second in which it came, Unix time."""
    number: int = 0
    answer_due: float | None = None
    """None when the response is withheld."""
    receipt_dues: tuple[float, ...] = ()
    outcome: ReceiptState = ReceiptState.REJECTED
    reply: Owed | None = None
    reply_due: float = 0.0


class Judge:
    """Decide as the temperament says; the same seed and the same submits bring the same decisions."""

    def __init__(self, temperament: Temperament, now: float) -> None:
        self._temperament = temperament
        self._started = now
        self._random = random.Random(temperament.seed)  # noqa: S311 - choices must repeat with the seed
        # Numbers go on from the wall clock, so that a restarted carrier repeats none.
        self._number = time.time_ns() // 1000
        self._accepted_times: deque[float] = deque()
        self._replied: set[str] = set()

    def judge(self, sequence: int, body: SubmitSm, now: float, wall_s: int) -> Fate:
        """Decide about one submit."""
        mood, chance = self._temperament, self._random.random
        lot = draw(mood.seed, body.destination)
        part = read_part(body)
        status = self._status(lot.refuse, now)
        answer_at = now + mood.response_delay_ms.at(chance())
        if status != OK:
            return Fate(sequence, body, part, status, wall_s, answer_due=answer_at)
        self._number += 1
        outcome = ReceiptState.DELIVERED
        if lot.outcome < mood.undeliverable_share + mood.expired_share:
            outcome = ReceiptState.UNDELIVERABLE if lot.outcome < mood.undeliverable_share else ReceiptState.EXPIRED
        reached = answer_at + mood.receipt_delay_ms.at(chance())
        receipt_dues: tuple[float, ...] = (reached,)
        if chance() < mood.before_response_share:
            receipt_dues, answer_at = (now,), max(answer_at, now + LATE_RESPONSE_S)
        if not body.registered_delivery & _RECEIPT_ASKED or chance() < mood.missing_share:
            receipt_dues = ()
        elif chance() < mood.duplicate_share:
            receipt_dues += (reached + mood.receipt_delay_ms.at(chance()),)
        answer_due = None if chance() < mood.drop_response_share else answer_at
        reply = None
        if lot.reply < mood.reply_share and outcome is ReceiptState.DELIVERED and part.part == part.parts:
            reply = self._reply(body, lot.reply / mood.reply_share)
        reply_due = reached + mood.reply_delay_ms.at(chance()) if reply else 0.0
        return Fate(sequence, body, part, OK, wall_s, self._number, answer_due, receipt_dues, outcome, reply, reply_due)

    def response_id(self, fate: Fate) -> str | None:
        """Spell the message id for the response; None when there is none."""
        return spell_id(self._temperament.response_id, fate.number) if fate.status == OK else None

    def submit_row(self, fate: Fate, session: int, wall_ns: int) -> str:
        """Return the ledger row of one submit (ledger.py says what is in it)."""
        part, body, message_id = fate.part, fate.body, self.response_id(fate)
        return (
            f'{{"t":{wall_ns},"e":"submit","session":{session},"seq":{fate.sequence},"src":{_quoted(body.source)},'
            f'"dst":{_number_quoted(body.destination)},"part":{part.part},"parts":{part.parts},'
            f'"ref":{"null" if part.ref is None else part.ref},"sha":"{part.sha}","status":{fate.status},'
            f'"id":{"null" if message_id is None else _in_quotes(message_id)}'
            f"{_WITHHELD if fate.answer_due is None else ''}}}"
        )

    def receipt(self, fate: Fate, wall_s: int) -> Owed:
        """Write the receipt of an accepted submit, done at `wall_s`."""
        by, body = self._temperament.receipt_by, fate.body
        message_id = spell_id(self._temperament.receipt_id, fate.number)
        word, state, error = _OUTCOMES[fate.outcome]
        text = b""
        tlvs: dict[int, bytes] = {}
        if by is not ReceiptBy.TLV:
            submitted_at, done_at = _local(fate.wall_s), _local(wall_s)
            beginning = fate.part.beginning.encode("ascii", "replace").decode()
            text = format_receipt(message_id, fate.outcome, submitted_at, done_at, error=error, text=beginning).encode("ascii")
        if by is not ReceiptBy.TEXT:
            tlvs = {Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0", Tag.MESSAGE_STATE: state}
            reference = body.tlvs.get(Tag.USER_MESSAGE_REFERENCE)
            if reference is not None:
                tlvs[Tag.USER_MESSAGE_REFERENCE] = reference
        row = f'"id":"{message_id}","dst":{_number_quoted(body.destination)},"stat":"{word}"'
        return Owed("receipt", row, _answering(body, text, esm_class=_RECEIPT, tlvs=tlvs))

    def _status(self, refuse_chance: float, now: float) -> int:
        mood = self._temperament
        if refuse_chance < mood.refuse_share:
            return mood.refuse_status
        if mood.throttle_tps is None:
            return OK
        times = self._accepted_times
        while times and times[0] <= now - 1:
            times.popleft()
        every_s, for_s = mood.throttle_every_s, mood.throttle_for_s
        throttling = not every_s or (now - self._started) % every_s >= every_s - for_s
        if throttling and len(times) >= mood.throttle_tps:
            return THROTTLED
        times.append(now)
        return OK

    def _reply(self, body: SubmitSm, which: float) -> Owed | None:
        """Return what the subscriber texts back; each does so once."""
        if body.destination in self._replied:
            return None
        self._replied.add(body.destination)
        text, data_coding, octets = _REPLIES[int(which * len(_REPLIES))]
        row = f'"dst":{_number_quoted(body.destination)},"text":{_quoted(text)}'
        return Owed("mo", row, _answering(body, octets, data_coding=data_coding))


def _answering(
    body: SubmitSm, octets: bytes, *, esm_class: int = 0, data_coding: int = 0, tlvs: dict[int, bytes] | None = None
) -> DeliverSm:
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


@lru_cache(maxsize=1024)
def _local(wall_s: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall_s, _ZONE)


@lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _in_quotes(text: str) -> str:
    return f'"{text}"'


def _number_quoted(number: str) -> str:
    return _in_quotes(number) if number.isdigit() else json.dumps(number)
