"""What a carrier refused for good is tried again, when a person says that the cause is mended: inside what was signed, or not at all.

A refusal is certain, so nobody gets a warning twice by this. Window, deadline, signatures, refusals of subscribers and everything
else are judged anew at the lease, as for any second try.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.flow import slices
from broadcaster.flow.judgement import readable_order
from broadcaster.flow.slices import SENDING, carry_on, refuse_other_number
from broadcaster.lang import Said
from broadcaster.model import CampaignState
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import Action, move
from broadcaster.smpp.status import describe
from broadcaster.store import messages, refused
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, Lane, change_campaign, find_campaign, lanes, refuse_second_remainder
from broadcaster.store.engine import Store
from broadcaster.store.times import from_ms, to_ms

SHOWN_CODES: Final = 5


class Requeued(NamedTuple):
    """How many messages wait for another try, and how their campaign stands now."""

    campaign: Campaign
    messages: int


def preview(store: Store, reference: str, carrier: str, status: int, *, now: dt.datetime) -> Requeued:
    """Return what `requeue` would do, without doing it. Raises as `requeue` does."""
    with store.read() as connection:
        found, _, _, count = _judged(connection, reference, carrier, status, now)
    return Requeued(found, count)


def requeue(
    store: Store,
    auditor: Auditor,
    reference: str,
    carrier: str,
    status: int,
    *,
    reason: str,
    now: dt.datetime,
    expect: int | None = None,
) -> Requeued:
    """Let the messages that `carrier` refused for good with this command status, and with no other, be tried again.

    A running campaign sends them at once, a paused one when it is resumed; a finished one is paused first. `expect` is the number
    that the operator typed. Raises `NotFoundError` for a campaign or carrier that is not there, `RefusedError` past the deadline, in
    another state, while a campaign to its remainder stands, when nobody was so refused, or for a wrong number.
    """
    messages.fold_up(store)
    with store.write() as connection:
        messages.fold_all(connection)
        found, after, item, count = _judged(connection, reference, carrier, status, now)
        if expect is not None:
            refuse_other_number(count, expect, Said("tin bị từ chối hẳn với mã này", "messages were refused for good with this code"))
        change_campaign(connection, found.id, after, finished_ms=None, reason=reason)
        detail = {"carrier": carrier, "code": describe(status), "messages": count, "reason": reason}
        auditor.record(connection, Action.REQUEUE, found.name, detail)
        refused.count_requeue(connection, found.id)
        ids = refused.requeue(connection, item, status, item.first_id, slices.SLICE, to_ms(now))

    def slice_after(connection: Connection, last_id: int) -> list[int]:
        return refused.requeue(connection, item, status, last_id + 1, slices.SLICE, to_ms(now))

    done = carry_on(store, reference, ids, slice_after, while_in=SENDING)
    with store.read() as connection:
        return Requeued(find_campaign(connection, reference), done)


def _judged(
    connection: Connection, reference: str, carrier: str, status: int, now: dt.datetime
) -> tuple[Campaign, CampaignState, Lane, int]:
    """Return the campaign, its state afterwards, the lane and how many messages it is about."""
    found = find_campaign(connection, reference)
    after = move(found.state, Action.REQUEUE)
    # Its people would get the warning twice.
    refuse_second_remainder(connection, found.name)
    item = next((lane for lane in lanes(connection, found.id) if lane.carrier == carrier), None)
    if item is None:
        raise NotFoundError(
            Said(
                f"chiến dịch «{found.name}» không gửi qua nhà mạng “{carrier}”", f"campaign “{found.name}” has no carrier “{carrier}”"
            )
        )
    order = readable_order(found)
    started_ms = found.started_ms
    if order is None or started_ms is None or windows.sending_allowed(order, from_ms(started_ms), now) == "over":
        raise RefusedError(
            Said("Đã quá hạn chót đã ký; không thể gửi lại.", "The signed deadline has passed; nothing can be sent again."),
            Said("cần một lệnh mới: broadcaster campaign remainder", "it takes a new order: broadcaster campaign remainder"),
        )
    count = refused.count_refused(connection, item, status)
    if not count:
        raise RefusedError(*_nobody(carrier, status, refused.refusing_codes(connection, item)))
    return found, after, item, count


def _nobody(carrier: str, status: int, codes: dict[int, int]) -> tuple[Said, Said]:
    name = describe(status)
    known = ", ".join(f"0x{code:02X}: {parts}" for code, parts in list(codes.items())[:SHOWN_CODES])
    return (
        Said(f"Không có tin nào bị {carrier} từ chối hẳn với mã {name}.", f"{carrier} refused no message for good with {name}."),
        Said(f"mã đã từ chối (số phần): {known or 'không có'}", f"codes that refused (parts): {known or 'none'}"),
    )
