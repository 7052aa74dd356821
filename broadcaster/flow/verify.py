"""The proof after the fact: the invariants of delivery checked on the database and, given ledgers, against the carriers' truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.invariant import Check as Check  # noqa: PLC0414  what this module is asked for
from broadcaster.flow.judgement import judgement, readable_order
from broadcaster.flow.reconcile import compare, ledger_check
from broadcaster.flow.verify_orders import orders_obeyed
from broadcaster.flow.verify_people import people_signed_for
from broadcaster.lang import Said
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, MessageClass, Order, Person, State, UnknownPolicy
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import MOVES, Action
from broadcaster.store import messages
from broadcaster.store.audit import Entry, entries, first_break
from broadcaster.store.campaigns import Campaign, Lane, find_campaign, lanes
from broadcaster.store.duplicates import confirmed_duplicates
from broadcaster.store.engine import Store
from broadcaster.store.receipts import unfounded
from broadcaster.store.refusals import contradictions
from broadcaster.store.schema import LANE_SHIFT, lease, message, submission, tally
from broadcaster.store.times import from_ms
from broadcaster.store.vault import Vault

SECOND_NS = 1_000_000_000
OPT_OUT_GRACE_MS = 2_000
_ACTIONS = frozenset(action.value for action in Action)


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
    """Check one campaign. Raises `NotFoundError`, and `InvalidFileError` for a ledger that cannot be read.

    Where the stored content is no order any more, what follows from the order is not checked: I8 says so.
    """
    messages.fold_up(store)
    with store.read() as connection:
        found = find_campaign(connection, reference)
        every = lanes(connection, found.id)
        order = readable_order(found)
        log = list(entries(connection))
        checks = [
            _conservation(connection, every),
            _nobody_forgotten(connection, found, every),
            _no_silent_duplicate(connection, every, order),
            _uncertain_named(connection, every),
            _approved(connection, found, every, order, people),
            people_signed_for(connection, vault, found, every, log),
            _kept(connection, every),
            orders_obeyed(connection, found, every, log),
            _audit(connection, audit_key, found, log),
        ]
        if order is not None:
            checks += [
                _refusals_obeyed(connection, every, order),
                *(_rate(connection, lane, cards[lane.carrier], order) for lane in every if lane.carrier in cards),
                _inside_window(connection, found, every, order),
            ]
        for code, path in sorted(ledgers.items()):
            checks.append(ledger_check(cards[code], compare(connection, cards[code], vault, read_plan(), path)))
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
        if astray := _astray(connection, lane):
            details.append(
                Said(
                    f"{lane.carrier}: {astray} tin có trạng thái khác kết quả các phần",
                    f"{lane.carrier}: {astray} messages do not stand where their parts' outcomes put them",
                )
            )
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


def _astray(connection: Connection, lane: Lane) -> int:
    """Count messages whose state does not follow from the outcomes of their parts, and outcomes of messages that are not there."""
    low, high = _span(lane)
    values = {"low": low, "high": high, "parts": lane.parts, "retry": int(State.RETRY), "ready": int(State.READY)}
    values |= {"cancelled": int(State.CANCELLED), "lapsed": int(State.LAPSED), "excluded": int(State.EXCLUDED)}
    values |= {"spoken": lane.receipt_part, "accepted": int(State.ACCEPTED), "delivered": int(State.DELIVERED)}
    with_outcomes = text(
        # Where one receipt speaks for all parts (F11), the others follow it once they are accepted.
        "SELECT count(*) FROM (SELECT message_id, count(*) AS parts, max(part) AS last, "
        "  min(CASE WHEN :spoken > 0 AND part <> :spoken AND state = :accepted THEN :delivered ELSE state END) AS state FROM ("
        "  SELECT message_id, part, max(state) AS state FROM submission WHERE message_id >= :low AND message_id < :high "
        "  GROUP BY message_id, part) AS best GROUP BY message_id) AS worst "
        "LEFT JOIN message m ON m.id = worst.message_id WHERE m.id IS NULL OR worst.last > :parts OR NOT ("
        "  CASE WHEN worst.parts < :parts THEN m.state = :ready ELSE m.state = worst.state "
        "  OR (worst.state = :retry AND m.state IN (:cancelled, :lapsed)) END)"
    )
    without = text(
        "SELECT count(*) FROM message m WHERE m.id >= :low AND m.id < :high "
        "AND m.state NOT IN (:excluded, :ready, :cancelled, :lapsed) "
        "AND NOT EXISTS (SELECT 1 FROM submission s WHERE s.message_id = m.id)"
    )
    return sum(int(connection.execute(query, values).scalar_one()) for query in (with_outcomes, without))


def _stuck(connection: Connection, lane: Lane) -> int:
    """Count messages that nothing will ever take up again: leased once, given back to nobody, under no open lease."""
    if connection.execute(select(func.count()).where(lease.c.lane_id == lane.id, lease.c.closed_ms.is_(None))).scalar_one():
        return 0
    low, high = lane.first_id, lane.first_id + lane.next_position - 1
    lost = (message.c.state == int(State.READY)) | ((message.c.state == int(State.RETRY)) & message.c.not_before_ms.is_(None))
    return int(connection.execute(select(func.count()).where(message.c.id >= low, message.c.id < high, lost)).scalar_one())


def _nobody_forgotten(connection: Connection, found: Campaign, every: list[Lane]) -> Check:
    """I2: a campaign leaves nobody behind, and one that has ended leaves nobody waiting and no lease open."""
    ids = [lane.id for lane in every]
    waiting = connection.execute(
        select(func.coalesce(func.sum(tally.c.messages), 0)).where(
            tally.c.lane_id.in_(ids), tally.c.state.in_([int(State.READY), int(State.RETRY)])
        )
    ).scalar_one()
    leases = connection.execute(select(func.count()).where(lease.c.lane_id.in_(ids), lease.c.closed_ms.is_(None))).scalar_one()
    done = found.state in {CampaignState.FINISHED, CampaignState.CANCELLED, CampaignState.HALTED, CampaignState.EXPIRED}
    details: list[Said] = []
    if done and (waiting or leases):
        details.append(
            Said(f"còn {waiting} tin và {leases} phiếu nhận dở dang", f"{waiting} messages and {leases} leases are left open")
        )
    if stuck := sum(_stuck(connection, lane) for lane in every):
        details.append(Said(f"{stuck} tin không ai nhận gửi nữa", f"{stuck} messages that nothing will take up again"))
    said = Said(f"Không ai bị bỏ quên (đang chờ: {waiting})", f"Nobody is forgotten (waiting: {waiting})")
    return Check("I2", not details, said, details)


_SILENT = text(
    "SELECT count(*) FROM submission s WHERE s.message_id >= :low AND s.message_id < :high AND s.attempt > 1 "
    "AND (s.sent_ns IS NOT NULL OR s.state >= :uncertain) AND EXISTS ("
    "  SELECT 1 FROM submission e WHERE e.message_id = s.message_id AND e.part = s.part AND e.attempt < s.attempt "
    "  AND (e.state >= :uncertain OR e.resolved IN ('released', 'policy')) AND (NOT s.dup_risk OR e.resolved IS NULL))"
)


def _no_silent_duplicate(connection: Connection, every: list[Lane], order: Order | None) -> Check:
    """I3: no part of which the carrier has, or may have, an attempt was written again, but by policy or a person, and on record."""
    silent = risky = confirmed = 0
    for lane in every:
        low, high = _span(lane)
        silent += connection.execute(_SILENT, {"low": low, "high": high, "uncertain": int(State.UNCERTAIN)}).scalar_one()
        marked = (submission.c.message_id >= low) & (submission.c.message_id < high) & submission.c.dup_risk
        risky += connection.execute(select(func.count()).where(marked)).scalar_one()
        confirmed += confirmed_duplicates(connection, lane.id)
    details = [Said(f"{silent} phần đã gửi hai lần", f"{silent} parts were sent twice")] if silent else []
    if risky and order is not None and order.unknown_policy is UnknownPolicy.AT_MOST_ONCE:
        details.append(
            Said(f"{risky} phần gửi lại dù lệnh đã ký không cho", f"{risky} parts were sent again against the signed policy")
        )
    said = Said(
        f"Không phần nào âm thầm gửi hai lần (gửi lại có ghi nhận: {risky}; nhà mạng nhận cả hai: {confirmed})",
        f"No part was silently sent twice (sent again on record: {risky}; confirmed duplicates: {confirmed})",
    )
    return Check("I3", not details, said, details)


def _uncertain_named(connection: Connection, every: list[Lane]) -> Check:
    """I6: every uncertain part names the lease it was under and why."""
    total = unnamed = 0
    for lane in every:
        low, high = _span(lane)
        inside = (submission.c.message_id >= low) & (submission.c.message_id < high) & (submission.c.state == int(State.UNCERTAIN))
        total += connection.execute(select(func.count()).where(inside)).scalar_one()
        unnamed += connection.execute(
            select(func.count()).where(
                inside,
                submission.c.reason.is_(None) | submission.c.lease_id.not_in(select(lease.c.id).where(lease.c.lane_id == lane.id)),
            )
        ).scalar_one()
    details = [Said(f"{unnamed} phần không rõ lý do", f"{unnamed} parts have no reason or no lease")] if unnamed else []
    return Check(
        "I6", not unnamed, Said(f"Phần chưa rõ kết quả đều có tên: {total}", f"Uncertain parts are all named: {total}"), details
    )


def _refusals_obeyed(connection: Connection, every: list[Lane], order: Order) -> Check:
    """I7: nobody's message was begun later than two seconds after their refusal took effect.

    It was begun when a part of it was written that the carrier took, or may have taken, or had not answered yet.
    """
    if order.override_refusals:
        return Check("I7", True, Said("Lệnh đã ký cho phép gửi cả người từ chối", "The signed order overrides refusals"), [])
    late = 0
    for lane in every:
        low, high = _span(lane)
        query = text(
            "SELECT count(DISTINCT s.message_id) FROM submission s JOIN message m ON m.id = s.message_id "
            "JOIN opt_out o ON o.token = m.token AND o.scope > :urgent WHERE s.message_id >= :low AND s.message_id < :high "
            "AND s.sent_ns / 1000000 > o.since_ms + :grace AND NOT EXISTS ("
            "  SELECT 1 FROM submission b WHERE b.message_id = s.message_id "
            "  AND coalesce(b.sent_ns, b.answered_ms * 1000000) < s.sent_ns "
            "  AND (b.state >= :uncertain OR b.answered_ms >= s.sent_ns / 1000000))"
        )
        values = {
            "low": low,
            "high": high,
            "grace": OPT_OUT_GRACE_MS,
            "uncertain": int(State.UNCERTAIN),
            "urgent": int(order.message_class is MessageClass.URGENT),
        }
        late += connection.execute(query, values).scalar_one()
    details = [Said(f"{late} tin gửi sau khi đã từ chối", f"{late} messages were sent after a refusal")] if late else []
    return Check("I7", not late, Said("Mọi từ chối đều được tuân thủ", "Every refusal was obeyed"), details)


def _kept(connection: Connection, every: list[Lane]) -> Check:
    """I11: every outcome by receipt, and every refusal in force, has the record it came from, and the other way round."""
    details = [
        Said(f"{lane.carrier}: {number} kết quả không còn biên nhận", f"{lane.carrier}: {number} outcomes whose receipt is gone")
        for lane in every
        if (number := unfounded(connection, lane))
    ]
    found = contradictions(connection)
    details += [
        said
        for number, said in (
            (
                found.unlogged,
                Said(
                    f"{found.unlogged} số đang từ chối mà nhật ký từ chối không ghi",
                    f"{found.unlogged} numbers refuse, and the log of refusals does not say so",
                ),
            ),
            (
                found.not_in_force,
                Said(f"{found.not_in_force} lời từ chối không có hiệu lực", f"{found.not_in_force} refusals are not in force"),
            ),
            (
                found.replies,
                Said(f"{found.replies} lời từ chối mất tin trả lời", f"{found.replies} refusals whose reply is gone"),
            ),
        )
        if number
    ]
    said = Said("Biên nhận và lời từ chối đều còn bản gốc", "Receipts and refusals are all on record")
    return Check("I11", not details, said, details)


def _approved(connection: Connection, found: Campaign, every: list[Lane], order: Order | None, people: Mapping[str, Person]) -> Check:
    """I8: the signatures cover what is stored, every lane carries the signed text, and no more people get it than were signed for."""
    verdict = judgement(connection, found, people)
    details = list(verdict.missing)
    if order is not None:
        bodies = {body["carrier"]: (body["text"], body["parts"]) for body in found.content["bodies"]}
        details += [
            Said(f"{lane.carrier}: nội dung khác bản đã ký", f"{lane.carrier}: the text is not the signed one")
            for lane in every
            if bodies.get(lane.carrier) != (lane.body, lane.parts)
        ]
        if (recipients := sum(lane.messages for lane in every)) > (most := order.audience.max_recipients):
            details.append(Said(f"{recipients} người nhận, chỉ ký cho {most}", f"{recipients} recipients, signed for {most}"))
    names = ", ".join(verdict.valid)
    return Check("I8", not details, Said(f"Đúng nội dung đã ký bởi: {names}", f"Exactly what was signed by: {names}"), details)


def _rate(connection: Connection, lane: Lane, card: CarrierCard, order: Order) -> Check:
    """I9: in no half-open second did we write more parts than the carrier allows the account, or the order this campaign."""
    low, high = _span(lane)
    first, last = connection.execute(
        select(func.min(submission.c.sent_ns), func.max(submission.c.sent_ns)).where(
            submission.c.message_id >= low, submission.c.message_id < high
        )
    ).one()
    query = (
        select(submission.c.sent_ns, submission.c.message_id)
        .where(submission.c.carrier == lane.carrier, submission.c.sent_ns.between((first or 0) - SECOND_NS, (last or 0) + SECOND_NS))
        .order_by(submission.c.sent_ns)
    )
    account, campaign = _Second(), _Second()
    for sent_ns, message_id in connection.execute(query.execution_options(yield_per=10_000)):
        account.note(sent_ns)
        if low <= message_id < high:
            campaign.note(sent_ns)
    details = [
        Said(f"{second.most} phần trong một giây, {vi} {limit}", f"{second.most} parts in one second, {en} {limit}")
        for second, limit, vi, en in (
            (account, card.tps, "nhà mạng cho", "the carrier allows"),
            (campaign, order.max_tps.get(lane.carrier), "lệnh cho", "the order allows"),
        )
        if limit is not None and second.most > limit
    ]
    limit = min((tps for tps in (card.tps, order.max_tps.get(lane.carrier)) if tps is not None), default=None)
    shown = str(limit) if limit is not None else "∞"
    said = Said(
        f"{card.name}: cao nhất {account.most} phần/giây, giới hạn {shown}",
        f"{card.name}: at most {account.most} parts/s, limit {shown}",
    )
    return Check("I9", not details, said, details)


class _Second:
    """The most events in any half-open second; they come in order."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque()
        self.most = 0

    def note(self, at_ns: int) -> None:
        recent = self._recent
        recent.append(at_ns)
        while recent[0] <= at_ns - SECOND_NS:
            recent.popleft()
        self.most = max(self.most, len(recent))


def _inside_window(connection: Connection, found: Campaign, every: list[Lane], order: Order) -> Check:
    """I10: every message was begun inside the signed window, after the start and before the deadline."""
    outside = 0
    started_ms = found.started_ms or 0
    over_ms = started_ms + order.deadline_h * 3_600_000
    for lane in every:
        low, high = _span(lane)
        minutes = text(
            "SELECT sent_ns / 60000000000 AS minute, min(sent_ns), max(sent_ns), count(*) FROM submission "
            "WHERE message_id >= :low AND message_id < :high AND part = 1 AND sent_ns IS NOT NULL GROUP BY 1"
        )
        for minute, first_ns, last_ns, count in connection.execute(minutes, {"low": low, "high": high}):
            in_time = started_ms <= first_ns // 1_000_000 and last_ns // 1_000_000 < over_ms
            outside += 0 if in_time and windows.is_open(order.window, from_ms(minute * 60_000)) else count
    details = [Said(f"{outside} tin ngoài khung giờ", f"{outside} messages outside the window")] if outside else []
    return Check("I10", not outside, Said("Chỉ gửi trong khung giờ đã ký", "Sent only inside the signed window"), details)


def _audit(connection: Connection, key: bytes, found: Campaign, log: Sequence[Entry]) -> Check:
    """I15: the audit chain is whole, and the campaign stands where its entries put it."""
    broken = first_break(connection, key)
    details = [Said(f"đứt tại mục {broken}", f"broken at entry {broken}")] if broken is not None else []
    actions = [
        Action(entry.action)
        for entry in log
        if entry.subject == found.name and entry.action in _ACTIONS and entry.detail.get("enough", True)
    ]
    if _replay(actions) is not found.state:
        details.append(Said("trạng thái chiến dịch không theo nhật ký", "the campaign's state does not follow from the entries"))
    return Check("I15", not details, Said("Chuỗi nhật ký kiểm toán nguyên vẹn", "The audit chain is whole"), details)


def _replay(actions: Iterable[Action]) -> CampaignState | None:
    """Return the state these actions lead to, None when one of them was not allowed."""
    state: CampaignState | None = None
    for action in actions:
        state = MOVES.get((state, action))
        if state is None:
            return None
    return state
