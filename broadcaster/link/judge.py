"""What a simulated carrier decides about each submit_sm: whether it is taken, how it is answered, which receipts follow."""

from __future__ import annotations

import random
import time
from collections import deque
from typing import Final

from broadcaster.link.fate import Fate, Owed, bend
from broadcaster.link.faults import Fault, Faults, Occasion
from broadcaster.link.part import read_part
from broadcaster.link.receipts import message, number_quoted, quoted, receipt
from broadcaster.link.temperament import Lot, Temperament, draw, spell_id
from broadcaster.model import CarrierCard
from broadcaster.smpp import ReceiptState, SubmitSm, Tag

OK: Final = 0
THROTTLED: Final = 0x58
LATE_RESPONSE_S: Final = 0.1
"""How far a response follows a receipt that is sent ahead of it."""

_BAD_DESTINATION: Final = 0x0B
_PARAMETER_REFUSED: Final = 0xC1
_QUEUE_FULL: Final = 0x14
_SYSTEM_ERROR: Final = 0x08
_RECEIPT_ASKED: Final = 0x03
_REPLIES: Final = ("TC", "Từ chối", "tc.")
_WITHHELD: Final = ',"answered":false'
_MOST_REMEMBERED: Final = 100_000
_NO_LOT: Final = Lot(1.0, 1.0, 1.0)


class Judge:
    """Decide as the temperament says; the same seed and the same submits bring the same decisions."""

    def __init__(self, temperament: Temperament, faults: Faults, now: float, card: CarrierCard) -> None:
        self._temperament = temperament
        self._ucs2_data_coding, self._alphabet = card.ucs2_data_coding, card.gsm_alphabet
        self._grammar = card.receipt_form
        self._faults = faults
        self._faulty = faults.has(Occasion.SUBMIT)
        self._drawn = any(
            (temperament.refuse_share, temperament.reply_share, temperament.undeliverable_share, temperament.expired_share)
        )
        self._started = now
        self._random = random.Random(temperament.seed)  # noqa: S311 - choices must repeat with the seed
        # Numbers go on from the wall clock unless the script says otherwise, so that a restarted carrier repeats none.
        self._first = self._number = time.time_ns() // 1000 if temperament.first_number is None else temperament.first_number - 1
        self._accepted_times: deque[float] = deque()
        self._fault_accepted_times: deque[float] = deque()
        self._replied: set[str] = set()
        self._seen: dict[tuple[str, str, int], float] = {}

    def judge(self, sequence: int, body: SubmitSm, session: int, now: float, wall_s: int) -> Fate:
        """Decide about one submit that came by `session`."""
        mood, chance = self._temperament, self._random.random
        lot = draw(mood.seed, body.destination) if self._drawn else _NO_LOT
        part = read_part(body, self._ucs2_data_coding, self._alphabet)
        struck = self._faults.strike(Occasion.SUBMIT, now) if self._faulty else ()
        status = self._status(lot.refuse, now)
        answer_at = now + mood.response_delay_ms.at(chance())
        for fault in struck:
            status = status or self._refusal(fault, body, part.sha, now)
        fate = Fate(sequence, body, part, status, session, wall_s, answer_due=answer_at)
        if status == OK:
            fate = self._accept(fate, lot, now, answer_at)
        for fault in struck:
            fate = bend(fate, fault, now, chance())
            if fault.kind in _NUMBERED and fate.status == OK:
                fate = self._renumbered(fate, fault)
        if struck and (nack := fate.oddities.get("generic_nack")) is not None:
            fate = fate._replace(status=nack["status"], message_id=None, receipt_dues=(), passing=(), reply=None)
        return fate

    def submit_row(self, fate: Fate, wall_ns: int) -> str:
        """Return the ledger row of one submit (ledger.py says what is in it)."""
        part, body = fate.part, fate.body
        message_id = "null" if fate.message_id is None else f'"{fate.message_id}"'
        return (
            f'{{"t":{wall_ns},"e":"submit","session":{fate.session},"seq":{fate.sequence},"src":{quoted(body.source)},'
            f'"dst":{number_quoted(body.destination)},"part":{part.part},"parts":{part.parts},'
            f'"ref":{"null" if part.ref is None else part.ref},"sha":"{part.sha}","status":{fate.status},'
            f'"id":{message_id}{_WITHHELD if fate.unanswered else ""}}}'
        )

    def receipt(self, fate: Fate, wall_s: int, state: ReceiptState | None = None) -> Owed:
        """Write a receipt of an accepted submit, the final one unless a `state` is given."""
        return receipt(self._temperament, fate, wall_s, state or fate.outcome, self._grammar)

    def _accept(self, fate: Fate, lot: Lot, now: float, answer_at: float) -> Fate:
        mood, chance, body, part = self._temperament, self._random.random, fate.body, fate.part
        self._number += 1
        outcome = ReceiptState.DELIVERED
        if lot.outcome < mood.undeliverable_share + mood.expired_share:
            outcome = ReceiptState.UNDELIVERABLE if lot.outcome < mood.undeliverable_share else ReceiptState.EXPIRED
        reached = answer_at + mood.receipt_delay_ms.at(chance())
        dues: tuple[float, ...] = (reached,)
        if chance() < mood.before_response_share:
            dues, answer_at = (now,), max(answer_at, now + LATE_RESPONSE_S)
        if not body.registered_delivery & _RECEIPT_ASKED or chance() < mood.missing_share:
            dues = ()
        elif chance() < mood.duplicate_share:
            dues += (reached + mood.receipt_delay_ms.at(chance()),)
        answer_due = None if chance() < mood.drop_response_share else answer_at
        reply = None
        if lot.reply < mood.reply_share and outcome is ReceiptState.DELIVERED and part.part == part.parts:
            reply = self._reply(body, lot.reply / mood.reply_share)
        reply_due = reached + mood.reply_delay_ms.at(chance()) if reply else 0.0
        return Fate(
            fate.sequence,
            body,
            part,
            OK,
            fate.session,
            fate.wall_s,
            spell_id(mood.response_id, self._number),
            self._number,
            answer_due,
            dues,
            outcome,
            (),
            reply,
            reply_due,
        )

    def _status(self, refuse_chance: float, now: float) -> int:
        mood = self._temperament
        if refuse_chance < mood.refuse_share:
            return mood.refuse_status
        if mood.throttle_tps is None:
            return OK
        every_s, for_s = mood.throttle_every_s, mood.throttle_for_s
        throttling = not every_s or (now - self._started) % every_s >= every_s - for_s
        return _throttled(self._accepted_times, mood.throttle_tps if throttling else None, now)

    def _refusal(self, fault: Fault, body: SubmitSm, sha: str, now: float) -> int:
        """Return the status with which a fault refuses this submit, OK when it is of another kind."""
        match fault.kind:
            case "throttle":
                return _throttled(self._fault_accepted_times, fault["tps"], now)
            case "queue_full":
                return _QUEUE_FULL if fault["per"] == "all" or self._is_full(fault, body) else OK
            case "syserr":
                return _SYSTEM_ERROR
            case "invdst":
                return _BAD_DESTINATION
            case "vendor_status":
                return int(fault["status"])
            case "dedup_check":
                return self._repeated(fault, (body.source + body.destination, sha, body.esm_class), now)
            case "umr_echo" if fault["form"] == "reject" and Tag.USER_MESSAGE_REFERENCE in body.tlvs:
                return _PARAMETER_REFUSED
            case _:
                return OK

    def _is_full(self, fault: Fault, body: SubmitSm) -> bool:
        """Whose queue is full is a property of the number: always the same ones."""
        return draw(self._temperament.seed, f"queue/{body.destination}").refuse < float(fault["numbers"])

    def _repeated(self, fault: Fault, key: tuple[str, str, int], now: float) -> int:
        before = self._seen.pop(key, None)
        self._seen[key] = now
        if len(self._seen) > _MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return int(fault["status"]) if before is not None and now - before < fault["within_s"] else OK

    def _renumbered(self, fate: Fate, fault: Fault) -> Fate:
        """Spell the id of the response otherwise, or give the number of an earlier message again."""
        if fault.kind == "id_reuse":
            number = self._first + (fate.number - self._first - 1) % fault["count"] + 1
            return fate._replace(number=number, message_id=spell_id(self._temperament.response_id, number))
        form = fault["form"]
        return fate if form == "no_nul" else fate._replace(message_id=spell_id(form, fate.number))

    def _reply(self, body: SubmitSm, which: float) -> Owed | None:
        """Return what the subscriber texts back; each does so once."""
        if body.destination in self._replied:
            return None
        self._replied.add(body.destination)
        return message(body, _REPLIES[int(which * len(_REPLIES))])


def _throttled(times: deque[float], tps: int | None, now: float) -> int:
    """Return RTHROTTLED when the last second holds `tps` submits already; note this one otherwise."""
    while times and times[0] <= now - 1:
        times.popleft()
    if tps is not None and len(times) >= tps:
        return THROTTLED
    times.append(now)
    return OK


_NUMBERED: Final = frozenset({"id_reuse", "id_format"})
