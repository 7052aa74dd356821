"""What people order across all campaigns: everything stopped, or one carrier's account paused, slowed, let go on (protocol step T6).

Each is one transaction with its audit entry. The last gate before bytes (flow/lease.py) looks at them inside each lease's
transaction, and the service within a tenth of a second; both after a restart as well.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import CampaignState, CarrierCard
from broadcaster.rules.lifecycle import Action, move
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import change_campaign
from broadcaster.store.control import (
    AccountOrder,
    Stop,
    account_orders,
    campaigns_at,
    put_account_order,
    put_stop,
    standing_stop,
)
from broadcaster.store.engine import Store
from broadcaster.store.times import to_ms

STOP_ALL: Final = "stop-all"
LIFT_STOP: Final = "stop-lift"
PAUSE_CARRIER: Final = "carrier-pause"
RESUME_CARRIER: Final = "carrier-resume"
SET_RATE: Final = "carrier-rate"

_CONCERNED: Final = (CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.SCHEDULED)


class Standing(NamedTuple):
    """The stop in force, if any, and the names of the campaigns that one concerns."""

    stop: Stop | None
    running: list[str]
    paused: list[str]
    scheduled: list[str]


def standing(store: Store) -> Standing:
    """Return how everything stands now."""
    with store.read() as connection:
        return _standing(connection)


def _standing(connection: Connection) -> Standing:
    by_state = ([name for _, name in campaigns_at(connection, state)] for state in _CONCERNED)
    return Standing(standing_stop(connection), *by_state)


def stop_all(store: Store, auditor: Auditor, *, reason: str, now: dt.datetime) -> Standing:
    """Stop everything in one transaction: no lease and no start any more, every running campaign paused.

    Ordered again, it stays in force since its first time; the new reason is in the audit chain alone.
    """
    with store.write() as connection:
        put_stop(connection, standing_stop(connection) or Stop(to_ms(now), reason))
        running = campaigns_at(connection, CampaignState.RUNNING)
        auditor.record(connection, STOP_ALL, "service", {"reason": reason, "campaigns": [name for _, name in running]})
        for campaign_id, name in running:
            change_campaign(connection, campaign_id, move(CampaignState.RUNNING, Action.PAUSE), reason=reason)
            auditor.record(connection, Action.PAUSE, name, {"reason": reason, "by": STOP_ALL})
        return _standing(connection)


def lift_stop(store: Store, auditor: Auditor, *, reason: str) -> Standing:
    """Let campaigns start and be resumed again; those that were paused stay so. Raises `RefusedError` when nothing is stopped."""
    with store.write() as connection:
        if standing_stop(connection) is None:
            raise RefusedError(Said("Không có lệnh dừng toàn bộ nào đang có hiệu lực.", "Nothing is stopped."))
        put_stop(connection, None)
        auditor.record(connection, LIFT_STOP, "service", {"reason": reason})
        return _standing(connection)


def pause_carrier(store: Store, auditor: Auditor, card: CarrierCard, *, reason: str, now: dt.datetime) -> AccountOrder:
    """Lease nothing more to this carrier, of whatever campaign. Raises `RefusedError` when it is paused already."""
    return _order(store, auditor, card, PAUSE_CARRIER, reason, now)


def resume_carrier(store: Store, auditor: Auditor, card: CarrierCard, *, reason: str, now: dt.datetime) -> AccountOrder:
    """Let a paused carrier go on, at the rate that was ordered for it. Raises `RefusedError` when it is not paused."""
    return _order(store, auditor, card, RESUME_CARRIER, reason, now)


def set_rate(store: Store, auditor: Auditor, card: CarrierCard, tps: int | None, *, reason: str, now: dt.datetime) -> AccountOrder:
    """Send to this carrier at most `tps` parts per second over all campaigns; None goes back to the contract's rate.

    Raises `RefusedError` for less than 1, or more than the card's.
    """
    if tps is not None and (tps < 1 or (card.tps is not None and tps > card.tps)):
        allowed = Said(f"từ 1 đến {card.tps}", f"1 to {card.tps}") if card.tps else Said("ít nhất là 1", "at least 1")
        raise RefusedError(
            Said(
                f"Tốc độ {tps} phần/giây không được phép cho {card.code}: {allowed.vi}.",
                f"{tps} parts/s is not allowed for {card.code}: {allowed.en}.",
            ),
            Said("muốn ngừng gửi: broadcaster carrier pause", "to send nothing at all: broadcaster carrier pause"),
        )
    return _order(store, auditor, card, SET_RATE, reason, now, tps)


def _order(
    store: Store, auditor: Auditor, card: CarrierCard, action: str, reason: str, now: dt.datetime, tps: int | None = None
) -> AccountOrder:
    detail: dict[str, object] = {"reason": reason}
    with store.write() as connection:
        before = account_orders(connection).get(card.code) or AccountOrder(card.code, False, None, "", "", 0)
        if action == SET_RATE:
            after = before._replace(tps=tps)
            detail["tps"] = tps
        else:
            after = before._replace(paused=action == PAUSE_CARRIER)
            if after.paused == before.paused:
                stands = (
                    Said("đã tạm dừng từ trước", "is paused already") if before.paused else Said("không tạm dừng", "is not paused")
                )
                raise RefusedError(Said(f"{card.code} {stands.vi}.", f"{card.code} {stands.en}."))
        after = after._replace(reason=reason, changed_by=auditor.actor, changed_ms=to_ms(now))
        put_account_order(connection, after)
        auditor.record(connection, action, card.code, detail)
    return after
