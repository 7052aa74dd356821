"""Stage 6: what carriers send back, receipts and subscribers' replies, becomes durable, and only then is acknowledged."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection

from broadcaster.flow.idwatch import IdWatch
from broadcaster.flow.refuse import Heard, record_heard
from broadcaster.link.client import Inbound
from broadcaster.model import CarrierCard, DropReason, Msisdn
from broadcaster.rules.dialect import dialect_of
from broadcaster.rules.lifecycle import FINAL_RECEIPTS
from broadcaster.rules.numbers import NumberPlan
from broadcaster.rules.refusal import Kind, read_reply
from broadcaster.smpp.bodies import DataSm, DeliverSm
from broadcaster.smpp.concatenation import place_of
from broadcaster.smpp.events import Quarantined
from broadcaster.smpp.fields import Tag, Tlvs, tlv_int
from broadcaster.smpp.receipt import ReceiptState, classify, content, normal_id, own_spelling, parse_receipt
from broadcaster.store import receipt_faults, receipts
from broadcaster.store.journal import Journal, JournalError
from broadcaster.store.receipts import Received
from broadcaster.store.refusals import Refusal, Reply
from broadcaster.store.reply_parts import ReplyPart
from broadcaster.store.times import SYSTEM, to_ms
from broadcaster.store.vault import Vault
from broadcaster.store.writer import Writer

STORE_FAILED: Final = 0x64
"""ESME_RX_T_APPN: the carrier keeps it and sends it again."""

NATIONAL_TON: Final = 2
"""SMPP 3.4, 5.2.5."""
MOST_ERROR: Final = 16
MOST_STAT: Final = 16
MOST_DATE: Final = 20
MOST_REFERENCE: Final = 0xFFFF
MOST_REPLY_PARTS: Final = 10
"""A text in more parts is no reply: its parts are not waited for."""
_MEANING: Final = {
    state: (state.name, None if FINAL_RECEIPTS.get(state) is None else int(FINAL_RECEIPTS[state])) for state in ReceiptState
}
"""What is stored of a receipt's state: its name, and the state of the part that it proves for good."""
UNPARSED: Final = "UNPARSED"
"""The `stat` of a receipt that could not be read."""
ACK_LATE_S: Final = 1.0
"""A carrier that waits longer for its acknowledgements sends everything again, or nothing more (F16)."""

log = structlog.get_logger("settle")


class _Read(NamedTuple):
    """What a batch holds, ready to store: receipts, subscribers' texts, and parts of longer ones."""

    received: list[Received]
    heard: Heard
    parts: list[ReplyPart]
    faults: Counter[str]
    """What was wrong with the receipts, by kind (store/receipt_faults.py)."""


class Inbox:
    """Store what one carrier account sends, in batches, and acknowledge it after the commit.

    `acknowledge` answers inbounds with a command status; `refused` is the live set of refusing tokens, which a reply enters at once.
    """

    def __init__(
        self,
        card: CarrierCard,
        *,
        writer: Writer,
        vault: Vault,
        plan: NumberPlan,
        refused: set[bytes],
        acknowledge: Callable[[Sequence[Inbound], int], None],
        now: Callable[[], dt.datetime] = SYSTEM.now,
        ids: IdWatch | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._card = card
        self._writer = writer
        self._vault = vault
        self._plan = plan
        self._refused = refused
        self._acknowledge = acknowledge
        self._now = now
        self._ids = ids or IdWatch(card)
        self._journal = journal
        self._dialect = dialect_of(card)
        self._waiting: list[Inbound] = []
        self._waiting_since_s = 0.0
        self._storing = False
        self._late = False

    def on_inbound(self, inbounds: list[Inbound]) -> None:
        """Take a batch from the link."""
        if not self._waiting:
            self._waiting_since_s = asyncio.get_running_loop().time()
        self._waiting += inbounds
        self._store()

    def _store(self) -> None:
        if self._storing or not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        read = self._read(batch)
        late = asyncio.get_running_loop().call_at(self._waiting_since_s + ACK_LATE_S, self._note_late, len(batch))
        # A refusal counts at once; its withdrawal only when it is durable.
        self._refused.update(item.token for item in read.heard.refusals if item.refuses)

        def settle(connection: Connection) -> list[Refusal]:
            refusals = record_heard(connection, self._vault, read.heard, read.parts, self._journal)
            receipts.record_receipts(connection, read.received)
            receipt_faults.note_faults(connection, {(self._card.code, fault): number for fault, number in read.faults.items()})
            return refusals

        def stored(done: asyncio.Future[list[Refusal]]) -> None:
            self._storing = False
            late.cancel()
            if asyncio.get_running_loop().time() < late.when():
                self._late = False
            else:
                self._note_late(len(batch))
            error = done.exception()
            if error:
                if isinstance(error, JournalError):
                    log.error("journal-failed", reason=str(error))
                log.error(
                    "receipts-not-stored", carrier=self._card.code, error=type(error).__name__, reason=str(error), count=len(batch)
                )
            else:
                for item in done.result():
                    (self._refused.add if item.refuses else self._refused.discard)(item.token)
            self._acknowledge(batch, STORE_FAILED if error else 0)
            self._store()

        self._storing = True
        self._writer.submit(settle).add_done_callback(stored)

    def _note_late(self, count: int) -> None:
        """Say once, until acknowledgements are in time again, that a carrier waits for ours."""
        if not self._late:
            self._late = True
            log.error("ack-late", carrier=self._card.code, count=count + len(self._waiting), seconds=ACK_LATE_S)

    def _read(self, batch: Sequence[Inbound]) -> _Read:
        now_ms = to_ms(self._now())
        code, form = self._card.code, self._card.ids.receipt
        tokens = self._tokens([_sender(inbound.body) for inbound in batch])
        read = _Read([], Heard([], []), [], Counter())
        conflicts, dialect = self._ids.conflicts, self._dialect
        for (_, _, body), token in zip(batch, tokens, strict=True):
            if isinstance(body, Quarantined):
                log.warning("unreadable", carrier=code, reason=body.reason)
                read.heard.replies.append(Reply(code, None, "unreadable", "", now_ms))
            elif (found := parse_receipt(body, dialect) if classify(body, dialect) == "receipt" else None) is not None:
                if conflicts(found):
                    read.faults[receipt_faults.ID_CONFLICT] += 1
                stat, state = _MEANING[found.state]
                if found.state is ReceiptState.UNKNOWN:
                    read.faults[receipt_faults.UNKNOWN_STATE] += 1
                if found.stat and (dialect.states or found.state is ReceiptState.UNKNOWN):
                    stat = found.stat[:MOST_STAT]
                smsc_id = normal_id(found.message_id, form)  # type: ignore[arg-type]
                raw = own_spelling(found.message_id, smsc_id)
                error = found.error[:MOST_ERROR] if found.error else None
                date = found.submit_date[:MOST_DATE] if found.submit_date else None
                # A named tuple's own constructor takes twice as long.
                reference = _reference(body.tlvs) if body.tlvs else None
                fields = (code, smsc_id, token, stat, state, error, now_ms, reference, date, raw)
                read.received.append(tuple.__new__(Received, fields))
                if found.raw and found.text_id is None and read_reply(found.raw).kind is not Kind.OTHER:
                    self._read_message(body, token, now_ms, read)
            elif classify(body, dialect) == "message" or read_reply(content(body)).kind is not Kind.OTHER:
                self._read_message(body, token, now_ms, read)
            else:
                log.warning("receipt-unparsed", carrier=code)
                read.faults[receipt_faults.UNPARSED] += 1
                read.received.append(Received(code, "", token, UNPARSED, None, None, now_ms))
        return read

    def _read_message(self, body: DeliverSm | DataSm, token: bytes | None, now_ms: int, read: _Read) -> None:
        said = content(body).replace("\0", "")
        place = place_of(body)
        if place is None or token is None or place.parts > MOST_REPLY_PARTS:
            read.heard.hear(self._vault, self._card.code, token, said, now_ms)
        else:
            read.parts.append(ReplyPart(self._card.code, token, *place, self._vault.seal_text(said), now_ms))

    def _tokens(self, addresses: list[str]) -> list[bytes | None]:
        """Return a token for each address that is a number of the plan, None for the others."""
        numbers = self._plan.normalise_many(addresses)
        good: list[Msisdn] = [number for number in numbers if not isinstance(number, DropReason)]
        sealed = iter(self._vault.tokens(good))
        return [None if isinstance(number, DropReason) else next(sealed) for number in numbers]


def _reference(tlvs: Tlvs) -> int | None:
    """Return the user_message_reference that the carrier repeats (5.3.2.17); None when there is none, or no sound one."""
    reference = tlv_int(tlvs, Tag.USER_MESSAGE_REFERENCE)
    return reference if reference is not None and reference <= MOST_REFERENCE else None


def _sender(body: DeliverSm | DataSm | Quarantined) -> str:
    """Return the subscriber's address, with the leading zero that the national type of number leaves out (F17)."""
    if isinstance(body, Quarantined):
        return ""
    return f"0{body.source}" if body.source_ton == NATIONAL_TON and not body.source.startswith("0") else body.source
