"""A person asks what is held about their number, or wants it erased. Both are on record, without the number.

Erasing takes the number out of rosters, messages, receipts and texts. Messages keep their outcome, so all totals stay; refusals stay
with their evidence, since without them the person would be warned again.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.lang import Said
from broadcaster.model import DropReason, Msisdn
from broadcaster.rules.numbers import NumberPlan
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.erasure import FORGET, Erased, clear_wal, erasable, erase, unfinished
from broadcaster.store.holds import holds_on
from broadcaster.store.subjects import Held, held_of
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault


def number_of(asked: str, plan: NumberPlan) -> Msisdn:
    """Return the number that was typed. Raises `NotFoundError`, which does not repeat it."""
    number = plan.normalise(asked)
    if isinstance(number, DropReason):
        raise NotFoundError(
            Said("Đây không phải số di động Việt Nam.", "This is not a Vietnamese mobile number."),
            Said("ghi như 0912 345 678 hoặc 84912345678", "write it as 0912 345 678 or 84912345678"),
        )
    return number


def show(store: Store, vault: Vault, auditor: Auditor, number: Msisdn) -> Held:
    """Return everything that is held about a number; that somebody looked goes into the audit chain."""
    with store.read() as connection:
        held = held_of(connection, vault.token(number))
    with store.write() as connection:
        detail = {"rosters": len(held.listings), "messages": len(held.targetings), "refusals": len(held.refusals)}
        auditor.record(connection, "subscriber-show", "subscriber", detail)
    return held


class Forgotten(NamedTuple):
    """What was erased, whether a refusal is kept, and whether the database's log is free of it, too."""

    erased: Erased
    refusals_kept: int
    log_cleared: bool


def forget(
    store: Store, vault: Vault, auditor: Auditor, number: Msisdn, *, reason: str, now: dt.datetime, dry_run: bool = False
) -> Forgotten:
    """Erase a number everywhere but in its refusals.

    Raises `RefusedError` under a legal hold, or while a campaign that has the number, or a roster with it, may still send.
    """
    token = vault.token(number)
    if dry_run:
        with store.read() as connection:
            kept = _require_free(connection, token, now)
            return Forgotten(erasable(connection, token), kept, log_cleared=False)
    with store.write() as connection:
        kept = _require_free(connection, token, now)
        erased = erase(connection, vault, token)
        detail = {
            "rosters": [item._asdict() for item in erased.rosters],
            "messages": erased.messages,
            "receipts": erased.receipts,
            "texts": erased.texts,
            "refusals_kept": kept,
            "reason": reason,
        }
        auditor.record(connection, FORGET, "subscriber", detail)
    return Forgotten(erased, kept, clear_wal(store))


def _require_free(connection: Connection, token: bytes, now: dt.datetime) -> int:
    """Return how many refusals stay; raise `RefusedError` when the number must stay, too."""
    if held := holds_on(connection, token):
        which = ", ".join(map(str, held))
        raise RefusedError(
            Said(f"Số này đang có lệnh giữ: {which}.", f"A legal hold covers this number: {which}."),
            Said("xem: broadcaster hold list", "see: broadcaster hold list"),
        )
    if names := unfinished(connection, token, to_ms(now)):
        which = ", ".join(names)
        raise RefusedError(
            Said(f"Số này thuộc chiến dịch chưa xong: {which}.", f"The number belongs to campaigns that are not over: {which}."),
            Said("đợi qua hạn chót của chiến dịch rồi chạy lại", "wait until the campaign's deadline has passed"),
        )
    return len(held_of(connection, token).refusals)
