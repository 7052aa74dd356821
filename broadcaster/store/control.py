"""What people ordered across all campaigns: the stop of everything (`installation`), and each carrier account's pause and rate."""

from __future__ import annotations

import json
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import CampaignId, CampaignState
from broadcaster.store.engine import execute_many
from broadcaster.store.schema import account, audit, campaign, installation

_STOPPED = select(
    installation.c.stopped_ms.is_not(None)
    | select(account.c.carrier).where(account.c.carrier == bindparam("carrier"), account.c.paused).exists()
)
_STOP = select(installation.c.stopped_ms, installation.c.stopped_reason)
_ACCOUNTS = select(account)
"""Built once: these run at every lease, or ten times a second."""


class Stop(NamedTuple):
    """Everything is stopped: nothing is leased and nothing starts until a person lifts it."""

    since_ms: int
    reason: str


class AccountOrder(NamedTuple):
    """A person's orders to one carrier's account; a row of `account`."""

    carrier: str
    paused: bool
    tps: int | None
    """The most parts per second it may get; None leaves it at the contract's rate."""
    reason: str
    changed_by: str
    changed_ms: int


def standing_stop(connection: Connection) -> Stop | None:
    """Return the stop that is in force; None when there is none."""
    row = connection.execute(_STOP).one()
    return None if row.stopped_ms is None else Stop(row.stopped_ms, row.stopped_reason or "")


def put_stop(connection: Connection, stop: Stop | None) -> None:
    """Put a stop in force; lift it with None."""
    values = {"stopped_ms": stop.since_ms, "stopped_reason": stop.reason} if stop else {"stopped_ms": None, "stopped_reason": None}
    connection.execute(update(installation).values(values))


def refuse_while_stopped(connection: Connection) -> None:
    """Raise `RefusedError` while a stop is in force."""
    stop = standing_stop(connection)
    if stop is not None:
        raise RefusedError(
            Said(f"Đã có lệnh dừng toàn bộ: {stop.reason}", f"Everything is stopped: {stop.reason}"),
            Said(
                "gỡ lệnh dừng trước: broadcaster stop-all --lift --reason LÝ_DO",
                "lift the stop first: broadcaster stop-all --lift --reason TEXT",
            ),
        )


def account_orders(connection: Connection) -> dict[str, AccountOrder]:
    """Return the orders by carrier; an account without a row is neither paused nor slowed."""
    return {row.carrier: AccountOrder(**row._asdict()) for row in connection.execute(_ACCOUNTS)}


def put_account_order(connection: Connection, order: AccountOrder) -> None:
    """Replace the orders to one account."""
    execute_many(
        connection,
        "INSERT INTO account (carrier, paused, tps, reason, changed_by, changed_ms) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (carrier) DO UPDATE SET paused = excluded.paused, tps = excluded.tps, reason = excluded.reason, "
        "changed_by = excluded.changed_by, changed_ms = excluded.changed_ms",
        [order],
    )


def sending_stopped(connection: Connection, carrier: str) -> bool:
    """Tell whether nothing may be leased to this carrier now: everything is stopped, or its account is paused."""
    return bool(connection.execute(_STOPPED, {"carrier": carrier}).scalar_one())


def campaigns_at(connection: Connection, state: CampaignState) -> list[tuple[CampaignId, str]]:
    """Return (id, name) of the campaigns in a state; their contents, which may be damaged, are not read: a stop must not fail."""
    query = select(campaign.c.id, campaign.c.name).where(campaign.c.state == state.value).order_by(campaign.c.id)
    return [(CampaignId(row.id), row.name) for row in connection.execute(query)]


def audited_since(connection: Connection, action: str, subject: str, since_ms: int, *, carrier: str) -> bool:
    """Tell whether the audit chain has this action on this subject and carrier since that moment."""
    query = select(audit.c.detail_json).where(audit.c.action == action, audit.c.subject == subject, audit.c.at_ms >= since_ms)
    return any(json.loads(detail).get("carrier") == carrier for detail in connection.execute(query).scalars())
