"""The proof after the fact: the invariants of delivery checked on the database and, given ledgers, against the carriers' truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.judgement import judgement
from broadcaster.flow.reconcile import Comparison, compare
from broadcaster.lang import Said
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, Order, Person, State
from broadcaster.rules import windows
from broadcaster.rules.order import order_from_json
from broadcaster.store.audit import first_break
from broadcaster.store.campaigns import Campaign, Lane, find_campaign, lanes
from broadcaster.store.engine import Store
from broadcaster.store.schema import LANE_SHIFT, lease, message, submission, tally
from broadcaster.store.times import from_ms
from broadcaster.store.vault import Vault

SECOND_NS = 1_000_000_000
OPT_OUT_GRACE_MS = 2_000


class Check(NamedTuple):
    """One invariant (docs/delivery.md): whether it holds, what was looked at, and what differs."""

    id: str
    ok: bool
    said: Said
    details: list[Said]


def verify(
    store: Store,
    vault: Vault,
    audit_key: bytes,
    reference: str,
    *,
    cards: Mapping[CarrierCode, CarrierCard],
    people: Mapping[str, Person],
    ledgers: Mapping[CarrierCode, Path],
) -> list[Check]:
    """Check one campaign. Raises `NotFoundError`, and `InvalidFileError` for a ledger that cannot be read."""
    with store.read() as connection:
        found = find_campaign(connection, reference)
        every = lanes(connection, found.id)
        order = order_from_json(found.content["order"])
        checks = [
            _conservation(connection, every),
            _nobody_forgotten(connection, found, every),
            _no_silent_duplicate(connection, every),
            _uncertain_named(connection, every),
            _refusals_obeyed(connection, every, order),
            _approved(connection, found, every, people),
            *(_rate(connection, lane, cards[lane.carrier]) for lane in every if lane.carrier in cards),
            _inside_window(connection, every, order),
            _audit(connection, audit_key),
        ]
        for code, path in sorted(ledgers.items()):
            checks.append(_ledger(cards[code], compare(connection, cards[code], vault, read_plan(), path)))
    return checks


def _span(lane: Lane) -> tuple[int, int]:
    return lane.id << LANE_SHIFT, (lane.id + 1) << LANE_SHIFT


def _conservation(connection: Connection, every: list[Lane]) -> Check:
    """I1: every subscriber of the audience is in exactly one state, and the summaries say the same."""
    details: list[Said] = []
    total = 0
    for lane in every:
        low, high = _span(lane)
        rows = connection.execute(
            select(message.c.state, func.count()).where(message.c.id >= low, message.c.id < high).group_by(message.c.state)
        )
        counted = {row[0]: row[1] for row in rows}
        summed = select(tally.c.state, func.sum(tally.c.messages)).where(tally.c.lane_id == lane.id).group_by(tally.c.state)
        tallied = {row[0]: int(row[1]) for row in connection.execute(summed) if row[1]}
        if counted != tallied or sum(counted.values()) != lane.messages + lane.excluded:
            details.append(Said(f"{lane.carrier}: tổng hợp khác từng tin", f"{lane.carrier}: summaries differ from messages"))
        total += sum(counted.values())
    twice = connection.execute(
        text(
            "SELECT count(*) FROM (SELECT token FROM message m JOIN lane l ON l.id = m.id >> :shift "
            "WHERE l.campaign_id = :campaign AND m.exclusion = 0 GROUP BY token HAVING count(*) > 1) AS twice"
        ),
        {"shift": LANE_SHIFT, "campaign": every[0].campaign_id if every else 0},
    ).scalar_one()
    if twice:
        details.append(Said(f"{twice} thuê bao có hai tin", f"{twice} subscribers have two messages"))
    said = Said(f"Cộng đủ {total} thuê bao, mỗi thuê bao một trạng thái", f"All {total} subscribers add up, each in one state")
    return Check("I1", not details, said, details)


def _nobody_forgotten(connection: Connection, found: Campaign, every: list[Lane]) -> Check:
    """I2: a finished campaign leaves nobody waiting and no lease open."""
    ids = [lane.id for lane in every]
    waiting = connection.execute(
        select(func.coalesce(func.sum(tally.c.messages), 0)).where(
            tally.c.lane_id.in_(ids), tally.c.state.in_([int(State.READY), int(State.RETRY)])
        )
    ).scalar_one()
    leases = connection.execute(select(func.count()).where(lease.c.lane_id.in_(ids), lease.c.closed_ms.is_(None))).scalar_one()
    done = found.state in {CampaignState.FINISHED, CampaignState.CANCELLED, CampaignState.HALTED, CampaignState.EXPIRED}
    details = []
    if done and (waiting or leases):
        details.append(
            Said(f"còn {waiting} tin và {leases} phiếu nhận dở dang", f"{waiting} messages and {leases} leases are left open")
        )
    said = Said(f"Không ai bị bỏ quên (đang chờ: {waiting})", f"Nobody is forgotten (waiting: {waiting})")
    return Check("I2", not details, said, details)


def _no_silent_duplicate(connection: Connection, every: list[Lane]) -> Check:
    """I3: no part was accepted twice, and none was written again while its fate was unknown."""
    twice = 0
    for lane in every:
        low, high = _span(lane)
        query = text(
            "SELECT count(*) FROM (SELECT message_id FROM submission WHERE message_id >= :low AND message_id < :high "
            "AND state >= :uncertain GROUP BY message_id, part HAVING count(*) > 1) AS twice"
        )
        twice += connection.execute(query, {"low": low, "high": high, "uncertain": int(State.UNCERTAIN)}).scalar_one()
    details = [Said(f"{twice} phần đã gửi hai lần", f"{twice} parts were sent twice")] if twice else []
    return Check("I3", not twice, Said("Không phần nào được nhận hai lần", "No part was taken twice"), details)


def _uncertain_named(connection: Connection, every: list[Lane]) -> Check:
    """I6: every uncertain part names the lease it was under and why."""
    total = unnamed = 0
    for lane in every:
        low, high = _span(lane)
        inside = (submission.c.message_id >= low) & (submission.c.message_id < high) & (submission.c.state == int(State.UNCERTAIN))
        total += connection.execute(select(func.count()).where(inside)).scalar_one()
        unnamed += connection.execute(
            select(func.count()).where(inside, submission.c.reason.is_(None) | submission.c.lease_id.is_(None))
        ).scalar_one()
    details = [Said(f"{unnamed} phần không rõ lý do", f"{unnamed} parts have no reason")] if unnamed else []
    return Check(
        "I6", not unnamed, Said(f"Phần chưa rõ kết quả đều có tên: {total}", f"Uncertain parts are all named: {total}"), details
    )


def _refusals_obeyed(connection: Connection, every: list[Lane], order: Order) -> Check:
    """I7: no first part was written to anybody later than two seconds after their refusal took effect."""
    if order.override_refusals:
        return Check("I7", True, Said("Lệnh đã ký cho phép gửi cả người từ chối", "The signed order overrides refusals"), [])
    late = 0
    for lane in every:
        low, high = _span(lane)
        query = text(
            "SELECT count(*) FROM submission s JOIN message m ON m.id = s.message_id JOIN opt_out o ON o.token = m.token "
            "WHERE s.message_id >= :low AND s.message_id < :high AND s.part = 1 AND s.sent_ns / 1000000 > o.since_ms + :grace"
        )
        late += connection.execute(query, {"low": low, "high": high, "grace": OPT_OUT_GRACE_MS}).scalar_one()
    details = [Said(f"{late} tin gửi sau khi đã từ chối", f"{late} messages were sent after a refusal")] if late else []
    return Check("I7", not late, Said("Mọi từ chối đều được tuân thủ", "Every refusal was obeyed"), details)


def _approved(connection: Connection, found: Campaign, every: list[Lane], people: Mapping[str, Person]) -> Check:
    """I8: the signatures cover what is stored, and every lane carries the signed text."""
    verdict = judgement(connection, found, people)
    details = list(verdict.missing)
    bodies = {body["carrier"]: body["text"] for body in found.content["bodies"]}
    details += [
        Said(f"{lane.carrier}: nội dung khác bản đã ký", f"{lane.carrier}: the text is not the signed one")
        for lane in every
        if bodies.get(lane.carrier) != lane.body
    ]
    names = ", ".join(verdict.valid)
    return Check("I8", not details, Said(f"Đúng nội dung đã ký bởi: {names}", f"Exactly what was signed by: {names}"), details)


def _rate(connection: Connection, lane: Lane, card: CarrierCard) -> Check:
    """I9: no half-open second of our writer's log holds more parts than the carrier allows."""
    low, high = _span(lane)
    query = (
        select(submission.c.sent_ns)
        .where(submission.c.message_id >= low, submission.c.message_id < high, submission.c.sent_ns.is_not(None))
        .order_by(submission.c.sent_ns)
    )
    recent: deque[int] = deque()
    most = 0
    for (sent_ns,) in connection.execution_options(yield_per=10_000).execute(query):
        recent.append(sent_ns)
        while recent[0] <= sent_ns - SECOND_NS:
            recent.popleft()
        most = max(most, len(recent))
    limit = card.tps
    details = []
    if limit is not None and most > limit:
        details.append(Said(f"{most} phần trong một giây, giới hạn {limit}", f"{most} parts in one second, the limit is {limit}"))
    shown = str(limit) if limit is not None else "∞"
    said = Said(f"{card.name}: cao nhất {most} phần/giây, giới hạn {shown}", f"{card.name}: at most {most} parts/s, limit {shown}")
    return Check("I9", not details, said, details)


def _inside_window(connection: Connection, every: list[Lane], order: Order) -> Check:
    """I10: every part was first written inside the signed window."""
    outside = 0
    for lane in every:
        low, high = _span(lane)
        minutes = text(
            "SELECT sent_ns / 60000000000 AS minute, count(*) FROM submission WHERE message_id >= :low AND message_id < :high "
            "AND part = 1 AND sent_ns IS NOT NULL GROUP BY 1"
        )
        for minute, count in connection.execute(minutes, {"low": low, "high": high}):
            outside += 0 if windows.is_open(order.window, from_ms(minute * 60_000)) else count
    details = [Said(f"{outside} tin ngoài khung giờ", f"{outside} messages outside the window")] if outside else []
    return Check("I10", not outside, Said("Chỉ gửi trong khung giờ đã ký", "Sent only inside the signed window"), details)


def _audit(connection: Connection, key: bytes) -> Check:
    """I15: the audit chain is whole."""
    broken = first_break(connection, key)
    details = [Said(f"đứt tại mục {broken}", f"broken at entry {broken}")] if broken is not None else []
    return Check("I15", not details, Said("Chuỗi nhật ký kiểm toán nguyên vẹn", "The audit chain is whole"), details)


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
        lambda found: found.receipts_not_kept,
        Said("biên nhận đã xác nhận mà kết quả của ta khác", "acknowledged receipts that we show otherwise"),
    ),
    (
        lambda found: found.refusals_not_kept,
        Said("lời từ chối đã xác nhận mà chưa có hiệu lực", "acknowledged refusals not in force"),
    ),
]


def _ledger(card: CarrierCard, found: Comparison) -> Check:
    """I5, I11: our records and the carrier's ledger agree, message by message."""
    details = [Said(f"{number} {what.vi}", f"{number} {what.en}") for get, what in _DIFFERENCES if (number := get(found))]
    unknown = found.uncertain_taken + found.uncertain_not_taken
    said = Said(
        f"{card.name}: khớp sổ nhà mạng: {found.submits} phần, {found.receipts} biên nhận, {found.replies} tin đến; "
        f"chưa rõ {unknown} (nhà mạng đã nhận {found.uncertain_taken})",
        f"{card.name}: agrees with the ledger: {found.submits} parts, {found.receipts} receipts, {found.replies} replies; "
        f"uncertain {unknown} (taken by the carrier: {found.uncertain_taken})",
    )
    return Check("I5", not details, said, details)
