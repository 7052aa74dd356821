"""Parts whose fate is unknown, and what may become of them later: an answer, evidence, another try, or a person's last word.

The attempt itself keeps its row. `submission.resolved` says how its state came about: ``late answer``, ``receipt``, ``released`` and
``policy`` (both: to be sent again, at the risk of a second copy) or ``settled`` (unknown for good).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store import messages, receipts
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import execute_many
from broadcaster.store.messages import Outcome
from broadcaster.store.schema import LANE_SHIFT
from broadcaster.store.states import choose, fold_chosen

LATE_ANSWER = "late answer"
RECEIPT = "receipt"
RELEASED = "released"
POLICY = "policy"
SETTLED = "settled"

MOST_COPIES = 2
"""How often the policy sends one part again: a carrier that takes everything and never answers must not flood a phone."""

_OPEN_STILL = "(state = 20 OR (state = 1 AND resolved IN ('released', 'policy')))"
"""Unknown, or given back as unknown and not known since: what an answer may still settle. Spelt out, for the partial index."""

_UNSETTLED = "state = 20 AND resolved IS NULL"
_UNDECIDED = (
    f"m.state = {State.UNCERTAIN:d} AND EXISTS (SELECT 1 FROM submission s WHERE s.message_id = m.id "  # noqa: S608  a constant
    "AND s.state = 20 AND s.resolved IS NULL)"
)
"""A message `m` that waits on an unknown part which nobody has settled."""

_RESOLVE = (
    "UPDATE submission SET state = CASE WHEN state = 1 AND ? < 20 AND EXISTS ("  # noqa: S608  a constant
    "  SELECT 1 FROM message m WHERE m.id = submission.message_id AND m.not_before_ms IS NULL) THEN 1 ELSE ? END, "
    "status = ?, smsc_id = ?, raw_id = ?, answered_ms = ?, resolved = ? "
    f"WHERE message_id = ? AND part = ? AND attempt = ? AND {_OPEN_STILL}"
)
"""A refusal of the first copy does not end the message while the second is under way: that one's answer will."""


def resolve(connection: Connection, outcomes: Sequence[Outcome]) -> int:
    """Settle unknown attempts by the carrier's late answers (F39, T3); return how many were still unknown.

    An answer for an attempt that is known already changes nothing, so recording it twice is harmless. A late refusal is final: the
    part is certainly not with the carrier, and `campaign requeue` can send it again.
    """
    rows = [
        (
            item.state,
            max(item.state, int(State.REFUSED)),
            item.status,
            item.smsc_id,
            item.raw_id,
            item.answered_ms,
            LATE_ANSWER,
            item.message_id,
            item.part,
            item.attempt,
        )
        for item in outcomes
    ]
    settled = execute_many(connection, _RESOLVE, rows)
    if settled:
        choose(connection, {item.message_id for item in outcomes})
        receipts.settle_waiting(connection)
        fold_chosen(connection)
    return settled


def release(connection: Connection, message_ids: Iterable[int], now_ms: int, *, resolved: str = RELEASED) -> int:
    """Set messages that wait on an unknown part to be sent again, now; return how many.

    Only their unknown parts are sent again; those attempts are recorded with `dup_risk`. A message whose other parts are refused for
    good, or that was settled, stays as it is.
    """
    unknown = _unknown(connection, message_ids)
    execute_many(
        connection,
        f"UPDATE submission SET state = ?, resolved = ? WHERE message_id = ? AND {_UNSETTLED}",  # noqa: S608  a constant
        [(int(State.RETRY), resolved, message_id) for message_id in unknown],
    )
    messages.defer(connection, [(now_ms, message_id) for message_id in unknown])
    return len(unknown)


def settle(connection: Connection, message_ids: Iterable[int]) -> int:
    """Leave messages that wait on an unknown part as they are, for good; return how many."""
    unknown = _unknown(connection, message_ids)
    execute_many(
        connection,
        f"UPDATE submission SET resolved = ? WHERE message_id = ? AND {_UNSETTLED}",  # noqa: S608  a constant
        [(SETTLED, message_id) for message_id in unknown],
    )
    return len(unknown)


def waiting(connection: Connection, lane_id: int, before_ms: int, limit: int) -> list[int]:
    """Return up to `limit` messages of a lane that wait on a part unknown since `before_ms` or longer, and not settled.

    One that the policy has sent again `MOST_COPIES` times already is not among them.
    """
    query = text(
        "SELECT DISTINCT s.message_id FROM submission s CROSS JOIN message m WHERE s.state = 20 AND s.message_id >= :low "
        "AND s.message_id < :high AND s.answered_ms <= :before AND s.resolved IS NULL AND m.id = s.message_id "
        "AND m.state = :uncertain AND (SELECT count(*) FROM submission e "
        "  WHERE e.message_id = s.message_id AND e.part = s.part AND e.resolved = :policy) < :most "
        "ORDER BY s.message_id LIMIT :limit"
    )
    bounds = {"low": lane_id << LANE_SHIFT, "high": (lane_id + 1) << LANE_SHIFT, "before": before_ms, "limit": limit}
    rule = {"uncertain": int(State.UNCERTAIN), "policy": POLICY, "most": MOST_COPIES}
    return list(connection.execute(query, bounds | rule).scalars())


def retry(connection: Connection, lane_id: int, before_ms: int, now_ms: int, limit: int) -> int:
    """Carry out ``at-least-once``: give back up to `limit` messages unknown since `before_ms` or longer; return how many."""
    return release(connection, waiting(connection, lane_id, before_ms, limit), now_ms, resolved=POLICY)


def undecided(connection: Connection, every: Sequence[Lane]) -> int:
    """Return how many messages of these lanes wait on an unknown part that nobody has settled."""
    query = text(f"SELECT count(*) FROM message m WHERE m.id >= :first AND m.id < :end AND {_UNDECIDED}")  # noqa: S608  a constant
    return sum(int(connection.execute(query, {"first": lane.first_id, "end": lane.end_id}).scalar_one()) for lane in every)


def undecided_after(connection: Connection, every: Sequence[Lane], last_id: int, limit: int) -> list[int]:
    """Return the next `limit` of those messages behind an id, of one lane after the other."""
    query = text(
        f"SELECT m.id FROM message m WHERE m.id >= :first AND m.id < :end AND {_UNDECIDED} ORDER BY m.id LIMIT :limit"  # noqa: S608
    )
    ids: list[int] = []
    for lane in every:
        bounds = {"first": max(last_id + 1, lane.first_id), "end": lane.end_id}
        ids += connection.execute(query, bounds | {"limit": limit - len(ids)}).scalars()
    return ids


def _unknown(connection: Connection, message_ids: Iterable[int]) -> list[int]:
    """Return those of the messages whose state is unknown and not settled by a person."""
    choose(connection, message_ids)
    query = text(
        f"SELECT m.id FROM scratch CROSS JOIN message m WHERE m.id = scratch.id AND {_UNDECIDED} ORDER BY m.id"  # noqa: S608
    )
    return list(connection.execute(query).scalars())
