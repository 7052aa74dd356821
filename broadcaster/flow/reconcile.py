"""Our records against a carrier's own ledger, message by message.

Every submission that the ledger holds must be one of ours with the same answer, and the other way round; only what we named uncertain
may be there or not. Numbers are compared in memory and never shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from broadcaster.flow.invariant import Check
from broadcaster.flow.judgement import readable_order
from broadcaster.flow.settle import UNPARSED
from broadcaster.lang import Said
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCard, DropReason, State
from broadcaster.rules.lifecycle import FINAL_RECEIPTS
from broadcaster.rules.numbers import NumberPlan
from broadcaster.rules.refusal import Kind, read_reply
from broadcaster.rules.wire import part_reference, pieces
from broadcaster.smpp.receipt import ReceiptState, normal_id
from broadcaster.store.campaigns import campaigns, lanes
from broadcaster.store.receipts import in_doubt
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
    wrong_references: int
    """Parts of long texts whose number that ties them is not the one of this subscriber and campaign (F60)."""
    uncertain_taken: int
    """Parts we named uncertain that the carrier did take."""
    uncertain_not_taken: int
    receipts_not_kept: int
    """Receipts we acknowledged that do not show in our records, or show another outcome."""
    refusals_not_kept: int
    """Refusals we acknowledged that are not in force."""
    sent_after_refusal: int
    """Texts begun at the carrier later than two seconds after we had acknowledged the subscriber's refusal."""
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
    reference: int | None
    """What ties the parts of this subscriber's text together."""

    @property
    def nameless(self) -> bool:
        """Whether the carrier took the part, but gave it no id that could be read (F28)."""
        return self.status == 0 and not self.smsc_id


class _Answer(NamedTuple):
    """What the carrier answered to one submit_sm, and the number that tied its part to the others."""

    status: int
    smsc_id: str | None
    reference: int | None


class _Theirs:
    """What the ledger holds, by number: answers by text, receipts by id, refusals that we acknowledged."""

    def __init__(self, card: CarrierCard, plan: NumberPlan, texts: Collection[str], overriding: Collection[str]) -> None:
        self._card = card
        self._plan = plan
        self._texts = texts
        self._overriding = overriding
        self.taken: dict[tuple[int, str], list[_Answer]] = {}
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
        if row.part == 1 and sha not in self._overriding and row.t > self.refusing.get(number, row.t) + REFUSAL_GRACE_NS:
            self.totals["late"] += not self._has_begun(number, sha, row.ref)
        smsc_id = normal_id(row.id, self._card.ids.response) if row.id else None  # type: ignore[arg-type]
        self.taken.setdefault((number, sha), []).append(_Answer(row.status or 0, smsc_id, row.ref))

    def _has_begun(self, number: int, first_sha: str, reference: int | None) -> bool:
        """Tell whether the carrier had taken another part of this text before its first one: then the rest must follow (T2)."""
        others = (self.taken.get((number, sha), []) for sha in self._texts if sha != first_sha)
        return reference is not None and any(
            answer.status == 0 and answer.reference == reference for answers in others for answer in answers
        )

    def strike(self, ours: _Ours) -> None:
        """Strike the answer to our attempt off, and count what comes of it."""
        struck = _strike(self.taken, ours)
        known = ours.status is not None
        found, missing = ("found", "missing_there") if known else ("uncertain_taken", "uncertain_not_taken")
        self.totals[missing if struck is None else found] += 1
        self.totals["wrong_references"] += struck is not None and struck.reference not in {None, ours.reference}


def compare(connection: Connection, card: CarrierCard, vault: Vault, plan: NumberPlan, ledger: Path) -> Comparison:
    """Compare everything we ever sent to this carrier with its ledger. Raises `InvalidFileError` for a damaged ledger."""
    signed = _signed_parts(connection, card)
    overriding = {sha for lane_id in _overriding(connection) for sha in signed.get(lane_id, [])}
    theirs = _Theirs(card, plan, {sha for shas in signed.values() for sha in shas}, overriding)
    for row in read_ledger(ledger):
        theirs.note(row)
    totals = theirs.totals
    nameless: list[_Ours] = []
    unknown: list[_Ours] = []
    doubtful = in_doubt(connection, card.code)
    left_alone = set(zip(vault.recall([row.token for row in doubtful]), (row.smsc_id for row in doubtful), strict=True))
    for ours in _submissions(connection, card, vault, signed):
        if ours.smsc_id:
            found = theirs.receipts.pop((ours.key[0], ours.smsc_id), [])
            # A receipt that fits two parts is nobody's (F03).
            alone = ours.state == State.ACCEPTED and (ours.key[0], ours.smsc_id) in left_alone
            totals["receipts_not_kept"] += not alone and not _agrees(ours.state, found)
        if ours.status is not None and not ours.nameless:
            theirs.strike(ours)
        elif ours.nameless:
            nameless.append(ours)
        elif ours.written:
            unknown.append(ours)
    # Only when every answer we know has found its own can the rest be one whose id we could not read (F28), then an unknown one.
    for ours in (*nameless, *unknown):
        theirs.strike(ours)
    return Comparison(
        submits=totals["submit"],
        receipts=totals["receipt"],
        replies=totals["mo"],
        missing_there=totals["missing_there"],
        missing_here=totals["missing_here"] + sum(map(len, theirs.taken.values())),
        unsigned=totals["unsigned"],
        unacknowledged=totals["unacknowledged"],
        wrong_references=totals["wrong_references"],
        uncertain_taken=totals["uncertain_taken"],
        uncertain_not_taken=totals["uncertain_not_taken"],
        receipts_not_kept=totals["receipts_not_kept"]
        + _not_stored(connection, card, theirs.receipts, {ours.key[0] for ours in (*nameless, *unknown)}),
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
    return {row.id: [hashlib.sha256(part.encode()).hexdigest() for part in pieces(row.body, card)] for row in rows}


def _submissions(connection: Connection, card: CarrierCard, vault: Vault, signed: Mapping[int, list[str]]) -> Iterator[_Ours]:
    columns = (submission, message.c.token)
    query = select(*columns).join(message, message.c.id == submission.c.message_id).where(submission.c.carrier == card.code)
    campaign_of = {row.id: row.campaign_id for row in connection.execute(select(lane.c.id, lane.c.campaign_id))}
    for rows in connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE)).partitions():
        numbers = vault.recall([row.token for row in rows])
        for row, number in zip(rows, numbers, strict=True):
            shas = signed.get(row.message_id >> LANE_SHIFT, [])
            sha = shas[row.part - 1] if 0 < row.part <= len(shas) else ""
            written = row.sent_ns is not None or row.state == State.UNCERTAIN or row.resolved is not None
            reference = part_reference(row.token, campaign_of.get(row.message_id >> LANE_SHIFT, 0), card)
            yield _Ours((number, sha), row.state, row.status, row.smsc_id, written, reference)


def _strike(taken: dict[tuple[int, str], list[_Answer]], ours: _Ours) -> _Answer | None:
    """Strike our attempt's answer off the ledger's list, for one of unknown answer any, if need be; None when it is not there."""
    answers = taken.get(ours.key, [])
    if ours.status is None:
        fitting = sorted(answers, key=lambda answer: answer.smsc_id != ours.smsc_id)
    elif ours.nameless:
        fitting = [answer for answer in answers if answer.status == 0]
    else:
        fitting = [answer for answer in answers if (answer.status, answer.smsc_id) == (ours.status, ours.smsc_id)]
    if not fitting:
        return None
    answers.remove(fitting[0])
    return fitting[0]


def _agrees(state: int, found: list[tuple[str, bool]]) -> bool:
    """Tell whether our state follows from the receipts the carrier sent: acknowledged final ones count, one not acknowledged may."""
    finals = [(FINAL_RECEIPTS.get(ReceiptState[STAT[stat]]), acked) for stat, acked in found if stat in STAT]
    if any(acked for _, acked in finals):
        return state in {final for final, _ in finals}
    return state in {State.ACCEPTED, *(final for final, _ in finals)}


def _not_stored(
    connection: Connection, card: CarrierCard, left: Mapping[tuple[int, str], list[tuple[str, bool]]], nameless: Collection[int]
) -> int:
    """Count acknowledged final receipts that found no submission, though they should have, or are not in the inbox either.

    Only the receipt of a part whose answer we never got, or could not read the id of, may be left.
    """
    acknowledged = [key for key, found in left.items() if any(acked and stat in STAT for stat, acked in found)]
    missing = sum(number not in nameless for number, _ in acknowledged)
    ids = sorted({smsc_id for number, smsc_id in acknowledged if number in nameless})
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


_DIFFERENCES: list[tuple[Callable[[Comparison], int], Said]] = [
    (
        lambda found: found.missing_there,
        Said("phần ta ghi đã được trả lời nhưng sổ nhà mạng không có", "parts answered here, not in the ledger"),
    ),
    (
        lambda found: found.missing_here,
        Said("phần có trong sổ nhà mạng nhưng ta không ghi", "parts in the ledger that we have no record of"),
    ),
    (lambda found: found.unsigned, Said("phần có nội dung không ai ký", "parts with a text nobody signed")),
    (
        lambda found: found.wrong_references,
        Said("phần mang số ghép khác số của thuê bao ấy", "parts tied by another number than that subscriber's"),
    ),
    (
        lambda found: found.receipts_not_kept,
        Said("biên nhận đã xác nhận mà kết quả của ta khác", "acknowledged receipts that we show otherwise"),
    ),
    (
        lambda found: found.refusals_not_kept,
        Said("lời từ chối đã xác nhận mà chưa có hiệu lực", "acknowledged refusals not in force"),
    ),
    (
        lambda found: found.replies_not_kept,
        Said("tin đến đã xác nhận mà ta không còn giữ", "acknowledged replies that we do not keep"),
    ),
    (
        lambda found: found.sent_after_refusal,
        Said("tin gửi sau khi thuê bao đã nhắn từ chối", "messages sent after the subscriber had texted a refusal"),
    ),
    (
        lambda found: found.unacknowledged,
        Said(
            "biên nhận và tin đến mà nhà mạng còn giữ vì ta chưa xác nhận",
            "receipts and replies the carrier still holds, never acknowledged",
        ),
    ),
]


def ledger_check(card: CarrierCard, found: Comparison) -> Check:
    """I5, I11, I14: our records and the carrier's ledger agree, message by message."""
    details = [Said(f"{number} {what.vi}", f"{number} {what.en}") for get, what in _DIFFERENCES if (number := get(found))]
    unknown = found.uncertain_taken + found.uncertain_not_taken
    said = Said(
        f"{card.name}: khớp sổ nhà mạng: {found.submits} phần, {found.receipts} biên nhận, {found.replies} tin đến; "
        f"chưa rõ {unknown} (nhà mạng đã nhận {found.uncertain_taken})",
        f"{card.name}: agrees with the ledger: {found.submits} parts, {found.receipts} receipts, {found.replies} replies; "
        f"uncertain {unknown} (taken by the carrier: {found.uncertain_taken})",
    )
    return Check("I5", not details, said, details)
