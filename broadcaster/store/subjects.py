"""Everything the database holds about one number."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from broadcaster.model import Exclusion, State
from broadcaster.store.refusals import Refusal
from broadcaster.store.schema import (
    LANE_SHIFT,
    campaign,
    cell,
    lane,
    message,
    opt_out,
    port,
    receipt,
    refusal,
    reply,
    roster,
    submission,
    subscriber,
)


class Listing(NamedTuple):
    """The number in one roster; `area_code` is the commune of the cell it was last seen in."""

    roster_id: int
    carrier: str
    file_name: str
    legal_basis: str
    requested_on: str
    observed_ms: int
    area_code: str | None
    seen_ms: int


class Targeting(NamedTuple):
    """One message to the number, or the reason why a campaign left it out; `sent_ms` is None while nothing was written."""

    message_id: int
    campaign: str
    carrier: str
    area_code: str
    state: State
    exclusion: Exclusion | None
    planned_ms: int | None
    sent_ms: int | None
    receipt_ms: int | None


class Texted(NamedTuple):
    """One text that came from the number."""

    at_ms: int
    kind: str


class Held(NamedTuple):
    listings: list[Listing]
    targetings: list[Targeting]
    refusals: list[Refusal]
    """Every refusal and withdrawal, oldest first."""
    refuses_now: bool
    texts: list[Texted]
    ported_to: str | None
    unmatched_receipts: int


def held_of(connection: Connection, token: bytes) -> Held:
    """Return what is stored about a number; one pass over the messages."""
    refusals = connection.execute(select(refusal).where(refusal.c.token == token).order_by(refusal.c.id))
    texts = connection.execute(select(reply.c.at_ms, reply.c.kind).where(reply.c.token == token).order_by(reply.c.id))
    unmatched = select(func.count()).select_from(receipt).where(receipt.c.token == token, receipt.c.matched.is_(False))
    return Held(
        _listings(connection, token),
        _targetings(connection, token),
        [Refusal(row.token, row.refuses, row.source, row.evidence, row.at_ms, row.scope) for row in refusals],
        connection.execute(select(opt_out.c.token).where(opt_out.c.token == token)).first() is not None,
        [Texted(*row) for row in texts],
        connection.execute(select(port.c.carrier).where(port.c.token == token)).scalar(),
        int(connection.execute(unmatched).scalar_one()),
    )


def _listings(connection: Connection, token: bytes) -> list[Listing]:
    query = (
        select(roster, cell.c.area_code, subscriber.c.seen_s)
        .join(subscriber, subscriber.c.roster_id == roster.c.id)
        .outerjoin(cell, cell.c.id == subscriber.c.cell_id)
        .where(subscriber.c.token == token)
        .order_by(roster.c.id)
    )
    return [
        Listing(
            row.id, row.carrier, row.file_name, row.legal_basis, row.requested_on, row.observed_ms, row.area_code, row.seen_s * 1000
        )
        for row in connection.execute(query)
    ]


def _targetings(connection: Connection, token: bytes) -> list[Targeting]:
    lanes = {
        row.id: row
        for row in connection.execute(
            select(lane.c.id, lane.c.carrier, campaign.c.name, campaign.c.planned_ms).join(
                campaign, campaign.c.id == lane.c.campaign_id
            )
        )
    }
    found = []
    for row in connection.execute(select(message).where(message.c.token == token).order_by(message.c.id)).all():
        of = lanes[row.id >> LANE_SHIFT]
        times = connection.execute(
            select(func.min(submission.c.sent_ns), func.max(submission.c.receipt_ms)).where(submission.c.message_id == row.id)
        ).one()
        found.append(
            Targeting(
                row.id,
                of.name,
                of.carrier,
                row.area_code,
                State(row.state),
                Exclusion(row.exclusion) if row.exclusion else None,
                of.planned_ms,
                None if times[0] is None else times[0] // 1_000_000,
                times[1],
            )
        )
    return found
