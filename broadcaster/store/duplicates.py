"""Confirmed duplicates: parts of which the carrier has taken two copies, as later answers and receipts proved (F39).

Nothing is marked when they come about: each attempt keeps its own outcome, and these say it. A copy that may be a second one carries
`submission.dup_risk` from the start; here are those of which the first one is known to have been taken as well.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store.schema import LANE_SHIFT

_CONFIRMED = text(
    "SELECT count(*) FROM submission s WHERE s.message_id >= :low AND s.message_id < :high AND s.dup_risk AND s.state >= :accepted "
    "AND EXISTS (SELECT 1 FROM submission e WHERE e.message_id = s.message_id AND e.part = s.part "
    "  AND e.attempt < s.attempt AND e.state >= :accepted)"
)


def confirmed_duplicates(connection: Connection, lane_id: int) -> int:
    """Return how many copies of a lane's parts a carrier took though it had one already."""
    bounds = {"low": lane_id << LANE_SHIFT, "high": (lane_id + 1) << LANE_SHIFT}
    return int(connection.execute(_CONFIRMED, bounds | {"accepted": int(State.ACCEPTED)}).scalar_one())
