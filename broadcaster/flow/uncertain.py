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
from broadcaster.flow import slices
from broadcaster.flow.judgement import readable_order
from broadcaster.flow.slices import SENDING, carry_on, refuse_other_number
from broadcaster.lang import Said
from broadcaster.model import CampaignState, UnknownPolicy
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
    numbers = vault.recall([row.token for row in found_rows])
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
        return Decided(found, unknown.undecided(connection, every))


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
    messages.fold_up(store)
    with store.write() as connection:
        messages.fold_all(connection)
        found, every = _lanes(connection, reference, carrier)
        count = unknown.undecided(connection, every)
        if not count:
            raise RefusedError(Said("Không có tin chưa rõ nào chờ quyết định.", "No uncertain message waits for a decision."))
        refuse_other_number(count, expect, Said("tin chưa rõ chờ quyết định", "uncertain messages wait for a decision"))
        judge(connection, found)
        auditor.record(
            connection, action, found.name, {"reason": reason, "messages": count} | ({"carrier": carrier} if carrier else {})
        )
        # At once: a campaign that has nothing left to send would be finished by the service before the first slice.
        ids = unknown.undecided_after(connection, every, 0, slices.SLICE)
        decide(connection, ids)

    def slice_after(connection: Connection, last_id: int) -> list[int]:
        ids = unknown.undecided_after(connection, every, last_id, slices.SLICE)
        decide(connection, ids)
        return ids

    done = carry_on(store, str(found.id), ids, slice_after, while_in=SENDING if action == RELEASE else frozenset(CampaignState))
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
