"""What nobody can know, in a person's hands: listed, sent again by the operator's decision, or left unknown for good.

Nothing is sent again here that the signed order does not leave to the operator; window, deadline, signatures and refusals are judged
anew at the lease.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select, text

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.flow.judgement import readable_order
from broadcaster.lang import Said
from broadcaster.model import CampaignState, State, UnknownPolicy
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import Action, move
from broadcaster.rules.numbers import mask
from broadcaster.store import messages, unknown
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, Lane, change_campaign, find_campaign, lanes, refuse_second_remainder
from broadcaster.store.engine import Store
from broadcaster.store.schema import LANE_SHIFT, lease, message, submission
from broadcaster.store.times import from_ms, to_ms
from broadcaster.store.vault import Vault

RELEASE: Final = "uncertain-release"
SETTLE: Final = "uncertain-settle"
SLICE: Final = 5_000
"""Messages per transaction, so that a service beside it gets its turn."""

_WAITING = (
    "FROM message m WHERE m.id >= :first AND m.id < :end AND m.state = :uncertain AND EXISTS ("
    "  SELECT 1 FROM submission s WHERE s.message_id = m.id AND s.state = 20 AND s.resolved IS NULL)"
)
_COUNT = text(f"SELECT count(*) {_WAITING}")
_PAGE = text(f"SELECT m.id {_WAITING} ORDER BY m.id LIMIT :limit")


class Doubt(NamedTuple):
    """One attempt of which nobody can know whether the carrier has it."""

    message: str
    """Lane and position, as `message trace` takes it."""
    number: str
    """Masked."""
    carrier: str
    area_code: str
    part: int
    attempt: int
    sent_ms: int | None
    """When it was written; None when even that is not known."""
    since_ms: int
    """When it was given up as unknown."""
    lease_id: int
    epoch: int
    """The start of the service that held the lease."""
    reason: str
    settled: bool
    """Whether a person has left it so for good."""


class Decided(NamedTuple):
    """How many messages a decision is about, and how their campaign stands."""

    campaign: Campaign
    messages: int


def listed(store: Store, vault: Vault, reference: str, carrier: str | None = None) -> tuple[Campaign, list[Doubt]]:
    """Return a campaign's uncertain attempts, in the order of their messages. Raises `NotFoundError`."""
    found_rows = []
    with store.read() as connection:
        found, every = _lanes(connection, reference, carrier)
        for lane in every:
            rows = connection.execute(
                select(submission, message.c.token, message.c.area_code, lease.c.epoch)
                .join(message, message.c.id == submission.c.message_id)
                .outerjoin(lease, lease.c.id == submission.c.lease_id)
                .where(submission.c.message_id >= lane.first_id, submission.c.message_id < lane.end_id)
                .where(text("submission.state = 20"))
                .order_by(submission.c.message_id, submission.c.part, submission.c.attempt)
            )
            found_rows += list(rows)
    numbers = vault.reveal([row.token for row in found_rows])
    doubts = [
        Doubt(
            message_reference(row.message_id),
            mask(number),
            row.carrier,
            row.area_code,
            row.part,
            row.attempt,
            None if row.sent_ns is None else row.sent_ns // 1_000_000,
            row.answered_ms,
            row.lease_id,
            row.epoch or 0,
            row.reason or "",
            row.resolved == unknown.SETTLED,
        )
        for row, number in zip(found_rows, numbers, strict=True)
    ]
    return found, doubts


def message_reference(message_id: int) -> str:
    """Return the short form of a message's id: ``3:17`` is position 17 of lane 3."""
    return f"{message_id >> LANE_SHIFT}:{message_id & ((1 << LANE_SHIFT) - 1)}"


def waiting(store: Store, reference: str, carrier: str | None = None) -> Decided:
    """Return how many uncertain messages wait for a decision. Raises `NotFoundError`."""
    with store.read() as connection:
        found, every = _lanes(connection, reference, carrier)
        return Decided(found, _count(connection, every))


def release(
    store: Store, auditor: Auditor, reference: str, *, carrier: str | None, expect: int, reason: str, now: dt.datetime
) -> Decided:
    """Let the uncertain messages be sent again, each at the risk of a second copy; `expect` is the number the operator typed.

    A running campaign sends them at once, a paused one when it is resumed; a finished one is paused first. Raises `NotFoundError`;
    `RefusedError` when the signed order leaves it not to the operator, past the deadline, in another state, while a
    campaign to its remainder stands, or for a wrong number.
    """

    def judge(connection: Connection, found: Campaign) -> None:
        order = readable_order(found)
        if order is None or order.unknown_policy is not UnknownPolicy.OPERATOR:
            policy = "?" if order is None else order.unknown_policy
            raise RefusedError(
                Said(
                    f"Lệnh đã ký ghi unknown_policy = {policy}: tin chưa rõ không do người vận hành gửi lại.",
                    f"The signed order says unknown_policy = {policy}: it is not for the operator to send again.",
                )
            )
        if found.started_ms is None or windows.sending_allowed(order, from_ms(found.started_ms), now) == "over":
            raise RefusedError(
                Said("Đã quá hạn chót đã ký; không thể gửi lại.", "The signed deadline has passed; nothing can be sent again.")
            )
        # Its people would get the warning twice.
        refuse_second_remainder(connection, found.name)
        after = move(found.state, Action.REQUEUE)
        if after is not found.state:
            change_campaign(connection, found.id, after, finished_ms=None, reason=reason)
            auditor.record(connection, Action.REQUEUE, found.name, {"reason": reason, "by": RELEASE})

    def decide(connection: Connection, ids: Sequence[int]) -> None:
        unknown.release(connection, ids, to_ms(now))

    return _decide(store, auditor, reference, carrier, expect, RELEASE, reason, judge, decide)


def settle(store: Store, auditor: Auditor, reference: str, *, carrier: str | None, expect: int, reason: str) -> Decided:
    """Leave the uncertain messages unknown for good: no receipt changes them any more, only an answer in the same session.

    Raises `NotFoundError`, `RefusedError` for a wrong number.
    """

    def decide(connection: Connection, ids: Sequence[int]) -> None:
        unknown.settle(connection, ids)

    return _decide(store, auditor, reference, carrier, expect, SETTLE, reason, lambda _connection, _found: None, decide)


def _decide(
    store: Store,
    auditor: Auditor,
    reference: str,
    carrier: str | None,
    expect: int,
    action: str,
    reason: str,
    judge: Callable[[Connection, Campaign], None],
    decide: Callable[[Connection, Sequence[int]], None],
) -> Decided:
    """Carry a decision out in slices; the first one checks it, too, and writes the audit entry."""
    with store.write() as connection:
        messages.fold_all(connection)
        found, every = _lanes(connection, reference, carrier)
        count = _count(connection, every)
        if count != expect or not count:
            raise RefusedError(
                Said(
                    f"Đang có {count} tin chưa rõ chờ quyết định, không phải {expect}; chưa có gì thay đổi.",
                    f"{count} uncertain messages wait for a decision, not {expect}; nothing has changed.",
                )
            )
        judge(connection, found)
        auditor.record(
            connection, action, found.name, {"reason": reason, "messages": count} | ({"carrier": carrier} if carrier else {})
        )
        # At once: a campaign that has nothing left to send would be finished by the service before the first slice.
        ids = _page(connection, every, 0)
        decide(connection, ids)
    done = len(ids)
    while len(ids) == SLICE:
        with store.write() as connection:
            state = find_campaign(connection, str(found.id)).state
            if action == RELEASE and state not in {CampaignState.RUNNING, CampaignState.PAUSED}:
                break
            ids = _page(connection, every, ids[-1] + 1)
            decide(connection, ids)
        done += len(ids)
    with store.read() as connection:
        return Decided(find_campaign(connection, str(found.id)), done)


def _lanes(connection: Connection, reference: str, carrier: str | None) -> tuple[Campaign, list[Lane]]:
    found = find_campaign(connection, reference)
    every = [lane for lane in lanes(connection, found.id) if carrier in {None, lane.carrier}]
    if carrier is not None and not every:
        raise NotFoundError(
            Said(
                f"chiến dịch «{found.name}» không gửi qua nhà mạng “{carrier}”", f"campaign “{found.name}” has no carrier “{carrier}”"
            )
        )
    return found, every


def _count(connection: Connection, every: Sequence[Lane]) -> int:
    values = [{"first": lane.first_id, "end": lane.end_id, "uncertain": int(State.UNCERTAIN)} for lane in every]
    return sum(int(connection.execute(_COUNT, each).scalar_one()) for each in values)


def _page(connection: Connection, every: Sequence[Lane], first_id: int) -> list[int]:
    """Return the next slice of waiting messages, of one lane after the other."""
    ids: list[int] = []
    for lane in every:
        values = {"first": max(first_id, lane.first_id), "end": lane.end_id, "uncertain": int(State.UNCERTAIN)}
        ids += connection.execute(_PAGE, values | {"limit": SLICE - len(ids)}).scalars()
    return ids
