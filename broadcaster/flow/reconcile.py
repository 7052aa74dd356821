"""Our records against a carrier's own ledger, message by message.

Every submission that the ledger holds must be one of ours with the same answer, and the other way round; only what we named uncertain
may be there or not. Numbers are compared in memory and never shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from broadcaster.flow.judgement import readable_order
from broadcaster.flow.settle import FINAL, UNPARSED
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCard, DropReason, State
from broadcaster.rules.numbers import NumberPlan
from broadcaster.rules.refusal import Kind, read_reply
from broadcaster.rules.wire import cut
from broadcaster.smpp.receipt import ReceiptState, normal_id
from broadcaster.store.campaigns import campaigns, lanes
from broadcaster.store.schema import LANE_SHIFT, lane, message, opt_out, receipt, reply, submission
from broadcaster.store.vault import Vault

ROWS_AT_ONCE = 10_000
REFUSAL_GRACE_NS = 2_000_000_000
STAT = {"DELIVRD": "DELIVERED", "UNDELIV": "UNDELIVERABLE", "EXPIRED": "EXPIRED", "DELETED": "DELETED", "REJECTD": "REJECTED"}
"""The words of a text receipt (SMPP 3.4, appendix B) and the states they name."""


class Comparison(NamedTuple):
    """What differs between one carrier's ledger and our records; all counts, in parts unless said."""

    submits: int
    receipts: int
    replies: int
    missing_there: int
    """We recorded an answer that the carrier's ledger does not hold."""
    missing_here: int
    """The carrier took or refused a part that we have no record of."""
    unsigned: int
    """Parts whose text is no part of any campaign's signed text."""
    uncertain_taken: int
    """Parts we named uncertain that the carrier did take."""
    uncertain_not_taken: int
    receipts_not_kept: int
    """Receipts we acknowledged that do not show in our records, or show another outcome."""
    refusals_not_kept: int
    """Refusals we acknowledged that are not in force."""
    sent_after_refusal: int
    """First parts that reached the carrier later than two seconds after we had acknowledged the subscriber's refusal."""
    replies_not_kept: int
    """How many more replies we acknowledged than we keep."""
    unacknowledged: int
    """Receipts and replies that the carrier was left with, because we never acknowledged them."""


class _Ours(NamedTuple):
    key: tuple[int, str]
    state: int
    status: int | None
    smsc_id: str | None
    written: bool


class _Theirs:
    """What the ledger holds, by number: answers by text, receipts by id, refusals that we acknowledged."""

    def __init__(self, card: CarrierCard, plan: NumberPlan, texts: Collection[str], overriding: Collection[str]) -> None:
        self._card = card
        self._plan = plan
        self._texts = texts
        self._overriding = overriding
        self.taken: dict[tuple[int, str], list[tuple[int, str | None]]] = {}
        self.receipts: dict[tuple[int, str], list[tuple[str, bool]]] = {}
        self.refusing: dict[int, int] = {}
        self.totals: Counter[str] = Counter()

    def note(self, row: LedgerRow) -> None:
        self.totals[row.event] += 1
        self.totals["unacknowledged"] += row.acked is False
        number = self._plan.normalise(row.dst)
        if isinstance(number, DropReason):
            self.totals["missing_here"] += 1
        elif row.event == "submit":
            self._note_submit(row, number)
        elif row.event == "receipt" and row.id:
            found = normal_id(row.id, self._card.ids.receipt)  # type: ignore[arg-type]
            self.receipts.setdefault((number, found), []).append((row.stat or "", bool(row.acked)))
        elif row.event == "mo" and row.acked:
            self.totals["replies_acked"] += 1
            match read_reply(row.text or "").kind:
                case Kind.REFUSE:
                    self.refusing.setdefault(number, row.t)
                case Kind.ACCEPT:
                    self.refusing.pop(number, None)

    def _note_submit(self, row: LedgerRow, number: int) -> None:
        sha = row.sha or ""
        self.totals["unsigned"] += sha not in self._texts
        if row.part == 1 and sha not in self._overriding:
            self.totals["late"] += row.t > self.refusing.get(number, row.t) + REFUSAL_GRACE_NS
        answer = (row.status or 0, normal_id(row.id, self._card.ids.response) if row.id else None)  # type: ignore[arg-type]
        self.taken.setdefault((number, sha), []).append(answer)


def compare(connection: Connection, card: CarrierCard, vault: Vault, plan: NumberPlan, ledger: Path) -> Comparison:
    """Compare everything we ever sent to this carrier with its ledger. Raises `InvalidFileError` for a damaged ledger."""
    signed = _signed_parts(connection, card)
    overriding = {sha for lane_id in _overriding(connection) for sha in signed.get(lane_id, [])}
    theirs = _Theirs(card, plan, {sha for shas in signed.values() for sha in shas}, overriding)
    for row in read_ledger(ledger):
        theirs.note(row)
    taken, totals = theirs.taken, theirs.totals
    unknown: list[tuple[int, str]] = []
    for ours in _submissions(connection, card, vault, signed):
        if ours.smsc_id:
            totals["receipts_not_kept"] += not _agrees(ours.state, theirs.receipts.pop((ours.key[0], ours.smsc_id), []))
        if ours.status is not None:
            totals["missing_there"] += not _strike(taken, ours.key, (ours.status, ours.smsc_id))
        elif ours.written:
            unknown.append(ours.key)
    for key in unknown:
        totals["uncertain_taken" if taken.get(key) and _strike(taken, key, taken[key][0]) else "uncertain_not_taken"] += 1
    return Comparison(
        submits=totals["submit"],
        receipts=totals["receipt"],
        replies=totals["mo"],
        missing_there=totals["missing_there"],
        missing_here=totals["missing_here"] + sum(map(len, taken.values())),
        unsigned=totals["unsigned"],
        unacknowledged=totals["unacknowledged"],
        uncertain_taken=totals["uncertain_taken"],
        uncertain_not_taken=totals["uncertain_not_taken"],
        receipts_not_kept=totals["receipts_not_kept"] + _not_stored(connection, card, theirs.receipts, {key[0] for key in unknown}),
        refusals_not_kept=_not_in_force(connection, vault, list(theirs.refusing)),
        sent_after_refusal=totals["late"],
        replies_not_kept=max(0, totals["replies_acked"] - _replies_kept(connection, card)),
    )


def _overriding(connection: Connection) -> list[int]:
    """Return the lanes of campaigns whose signed order goes to those who refused, too."""
    orders = {item.id: readable_order(item) for item in campaigns(connection)}
    override = {campaign_id for campaign_id, order in orders.items() if order is not None and order.override_refusals}
    return [item.id for item in lanes(connection, *override)]


def _signed_parts(connection: Connection, card: CarrierCard) -> dict[int, list[str]]:
    """Return lane id → SHA-256 of the text of each part."""
    rows = connection.execute(select(lane.c.id, lane.c.body).where(lane.c.carrier == card.code))
    return {row.id: [hashlib.sha256(part.encode()).hexdigest() for part in cut(row.body, card).parts] for row in rows}


def _submissions(connection: Connection, card: CarrierCard, vault: Vault, signed: Mapping[int, list[str]]) -> Iterator[_Ours]:
    columns = (submission, message.c.token)
    query = select(*columns).join(message, message.c.id == submission.c.message_id).where(submission.c.carrier == card.code)
    for rows in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query).partitions():
        numbers = vault.reveal([row.token for row in rows])
        for row, number in zip(rows, numbers, strict=True):
            shas = signed.get(row.message_id >> LANE_SHIFT, [])
            sha = shas[row.part - 1] if 0 < row.part <= len(shas) else ""
            written = row.sent_ns is not None or row.state == State.UNCERTAIN
            yield _Ours((number, sha), row.state, row.status, row.smsc_id, written)


def _strike(taken: dict[tuple[int, str], list[tuple[int, str | None]]], key: tuple[int, str], answer: tuple[int, str | None]) -> bool:
    """Strike one answer off the ledger's list; False when it is not there."""
    answers = taken.get(key)
    if not answers or answer not in answers:
        return False
    answers.remove(answer)
    return True


def _agrees(state: int, found: list[tuple[str, bool]]) -> bool:
    """Tell whether our state follows from the receipts the carrier sent: acknowledged final ones count, one not acknowledged may."""
    finals = [(FINAL.get(ReceiptState[STAT[stat]]), acked) for stat, acked in found if stat in STAT]
    if any(acked for _, acked in finals):
        return state in {final for final, _ in finals}
    return state in {State.ACCEPTED, *(final for final, _ in finals)}


def _not_stored(
    connection: Connection, card: CarrierCard, left: Mapping[tuple[int, str], list[tuple[str, bool]]], uncertain: Collection[int]
) -> int:
    """Count acknowledged final receipts that found no submission, though they should have, or are not in the inbox either.

    Only the receipt of a part whose answer we never got, so that we do not know its id, may be left.
    """
    acknowledged = [key for key, found in left.items() if any(acked and stat in STAT for stat, acked in found)]
    missing = sum(number not in uncertain for number, _ in acknowledged)
    ids = sorted({smsc_id for number, smsc_id in acknowledged if number in uncertain})
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        query = select(receipt.c.smsc_id).where(receipt.c.carrier == card.code, receipt.c.smsc_id.in_(some)).distinct()
        missing += len(some) - len(connection.execute(query).scalars().all())
    return missing


def _replies_kept(connection: Connection, card: CarrierCard) -> int:
    """Count what came in that was no receipt we could read: a text flagged as one may lie in the other inbox."""
    replies = select(func.count()).where(reply.c.carrier == card.code)
    unread = select(func.count()).where(receipt.c.carrier == card.code, receipt.c.stat == UNPARSED)
    return sum(int(connection.execute(query).scalar_one()) for query in (replies, unread))


def _not_in_force(connection: Connection, vault: Vault, numbers: list[int]) -> int:
    missing = 0
    for start in range(0, len(numbers), 500):
        tokens = set(vault.tokens(numbers[start : start + 500]))
        found = connection.execute(select(opt_out.c.token).where(opt_out.c.token.in_(tokens))).scalars().all()
        missing += len(tokens) - len(found)
    return missing
