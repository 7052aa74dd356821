"""Figures of the delivery that is under way, cheap enough to be asked for every few seconds: they read summaries and ends only."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from broadcaster.model import CampaignState, State
from broadcaster.store.receipt_faults import faults_by_carrier
from broadcaster.store.receipts import unmatched
from broadcaster.store.schema import account, campaign, installation, lane, receipt, tally
from broadcaster.store.sidecar import OPEN

NEWEST = 10
"""Over how many leases the lag is the mean."""


class Gauges(NamedTuple):
    """How the delivery stands.

    `messages` of open campaigns by (carrier, state); receipts that found no part, and those stored but not yet in the totals; leases
    whose outcomes are not in the totals either; accounts paused by a person; seconds between the carriers' answers and the newest
    receipts, by carrier.
    """

    messages: dict[tuple[str, State], int]
    unmatched: int
    unfolded_receipts: int
    unfolded_leases: int
    paused: dict[str, bool]
    receipt_lag_s: dict[str, float]
    receipt_faults: dict[str, dict[str, int]]
    """Carrier → kind of fault → receipts (store/receipt_faults.py)."""


def uncertain_now(connection: Connection) -> int:
    """Return how many messages of open campaigns are uncertain."""
    return sum(count for (_, state), count in _messages(connection).items() if state is State.UNCERTAIN)


def gauges(connection: Connection) -> Gauges:
    """Return the figures as they stand."""
    newest = int(connection.execute(select(func.coalesce(func.max(receipt.c.id), 0))).scalar_one())
    folded = int(connection.execute(select(func.coalesce(func.max(installation.c.receipts_folded), 0))).scalar_one())
    return Gauges(
        _messages(connection),
        unmatched(connection),
        newest - folded,
        int(connection.execute(text("SELECT count(*) FROM lease WHERE NOT folded")).scalar_one()),
        {row.carrier: bool(row.paused) for row in connection.execute(select(account.c.carrier, account.c.paused))},
        _lag_s(connection),
        faults_by_carrier(connection),
    )


def totals_of_campaigns(
    connection: Connection, states: Collection[CampaignState], names: Collection[str]
) -> dict[str, tuple[CampaignState, dict[State, int]]]:
    """Return where campaigns in these states, or with these names, stand, and their messages by state, exclusions left out."""
    query = (
        select(campaign.c.name, campaign.c.state, tally.c.state, func.sum(tally.c.messages))
        .join(lane, lane.c.campaign_id == campaign.c.id)
        .join(tally, tally.c.lane_id == lane.c.id)
        .where(campaign.c.state.in_([state.value for state in states]) | campaign.c.name.in_(list(names)))
        .where(tally.c.state != int(State.EXCLUDED))
        .group_by(campaign.c.name, campaign.c.state, tally.c.state)
    )
    found: dict[str, tuple[CampaignState, dict[State, int]]] = {}
    for name, state, kept, messages in connection.execute(query):
        found.setdefault(name, (CampaignState(state), {}))[1][State(kept)] = int(messages)
    return found


def _messages(connection: Connection) -> dict[tuple[str, State], int]:
    query = (
        select(lane.c.carrier, tally.c.state, func.sum(tally.c.messages))
        .join(lane, lane.c.campaign_id == campaign.c.id)
        .join(tally, tally.c.lane_id == lane.c.id)
        .where(campaign.c.state.in_([state.value for state in OPEN]))
        .group_by(lane.c.carrier, tally.c.state)
    )
    return {(row[0], State(row[1])): int(row[2]) for row in connection.execute(query)}


def _lag_s(connection: Connection) -> dict[str, float]:
    """Return carrier → seconds from answer to receipt, over the newest leases; a receipt has no link to its part but the id."""
    query = text(
        "SELECT s.carrier, avg(s.receipt_ms - s.answered_ms) FROM ("
        "  SELECT first_id, last_id FROM lease WHERE message_ids IS NULL ORDER BY id DESC LIMIT :leases) AS l "
        "CROSS JOIN submission s WHERE s.message_id BETWEEN l.first_id AND l.last_id AND s.receipt_ms IS NOT NULL GROUP BY s.carrier"
    )
    return {row[0]: max(0.0, float(row[1]) / 1000) for row in connection.execute(query, {"leases": NEWEST})}
