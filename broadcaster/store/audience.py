"""Who is to be warned: rosters × cells × refusals, counted for a plan and written out as messages.

Both walk the tokens in slices, so that no write holds the lock long and memory stays flat. Tokens are ciphertext, so token order is a
fair shuffle of numbers and places: sending in that order never falls on one cell or exchange at once.

A subscriber found in several rosters belongs to the carrier it is known to have moved to, if that one saw it since; else to the one
that saw it last, which is the one that serves it; then to the older roster. The other rows are excluded as duplicates. Someone last
seen outside the chosen communes and cells is no part of the audience. A cell counts for those who were seen there while it was valid;
for others it is a cell that nobody knows.

The audience of a remainder is not looked up in rosters: it is those recipients of an earlier campaign whom it certainly did not
reach, as that stood at a signed moment, so that receipts which come later never make it grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, text

from broadcaster.model import AreaCode, Exclusion, RosterId, State
from broadcaster.rules.tally import NOT_REACHED
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import execute_many
from broadcaster.store.schema import EXCLUDED_FROM, LANE_SHIFT
from broadcaster.store.vault import FIRST_TOKEN

SLICE_ROWS = 5_000
DISCARD_ROWS = 20_000

_AUDIENCE = """
    SELECT token, carrier, coalesce(area_code, '') AS area_code, approximate,
           CASE WHEN pick > 1 THEN :duplicate
                WHEN area_code IS NULL THEN :unknown
                WHEN seen_s < stale_before_s THEN :stale
                WHEN refuses THEN :refused
                ELSE 0 END AS exclusion
    FROM (
        SELECT s.token, r.carrier, s.cell_id, s.seen_s, c.placed = 'nearest' AS approximate,
               CASE WHEN s.seen_s >= coalesce(c.valid_from_s, 0) AND s.seen_s < coalesce(c.valid_to_s, s.seen_s + 1)
                    THEN c.area_code END AS area_code,
               r.observed_ms / 1000 - :active_s AS stale_before_s,
               coalesce(o.scope, 0) > :urgent AND :obey AS refuses,
               row_number() OVER (
                   PARTITION BY s.token
                   ORDER BY CASE WHEN p.carrier = r.carrier AND p.effective_s <= s.seen_s THEN 0 ELSE 1 END,
                            s.seen_s DESC, s.roster_id
               ) AS pick
        FROM subscriber s
        JOIN roster r ON r.id = s.roster_id
        JOIN cell c ON c.id = s.cell_id
        LEFT JOIN opt_out o ON o.token = s.token
        LEFT JOIN port p ON p.token = s.token
        WHERE s.roster_id IN :rosters AND s.token >= :low AND s.token < :high
    ) AS picked
    WHERE area_code IS NULL OR :everywhere OR area_code IN (SELECT code FROM target) OR cell_id IN (SELECT id FROM target_cell)
"""
_NOT_REACHED = """
    SELECT m.token, l.carrier, m.area_code, CASE WHEN coalesce(o.scope, 0) > :urgent AND :obey THEN :refused ELSE 0 END AS exclusion
    FROM message m
    JOIN lane l ON l.id = :lane
    LEFT JOIN opt_out o ON o.token = m.token
    WHERE m.id >= :low AND m.id < :high AND m.state IN :not_reached AND m.token >= :first_token
    AND (:everywhere OR m.area_code IN (SELECT code FROM target))
    AND NOT EXISTS (
        SELECT 1 FROM submission s WHERE s.message_id = m.id AND (s.answered_ms > :until OR s.receipt_ms > :until)
    )
"""
_ROSTERS: BindParameter[Any] = bindparam("rosters", expanding=True)
_STATES: BindParameter[Any] = bindparam("not_reached", [int(state) for state in NOT_REACHED], expanding=True)
_COUNTED = "SELECT carrier, area_code, exclusion, count(*), {} FROM ({}) AS a GROUP BY 1, 2, 3"
_COUNT = text(_COUNTED.format("sum(CASE WHEN approximate THEN 1 ELSE 0 END)", _AUDIENCE)).bindparams(_ROSTERS)
_COUNT_REMAINDER = text(_COUNTED.format("0", _NOT_REACHED)).bindparams(_STATES)
_INTO_SLICE = "INSERT INTO slice (token, carrier, area_code, exclusion)"
_SLICE = text(f"{_INTO_SLICE} SELECT token, carrier, area_code, exclusion FROM ({_AUDIENCE}) AS a").bindparams(_ROSTERS)  # noqa: S608  constants
_SLICE_REMAINDER = text(_INTO_SLICE + _NOT_REACHED).bindparams(_STATES)
_ENLIST = text(
    "INSERT INTO message (id, token, area_code, state, exclusion) "
    "SELECT :base + row_number() OVER (ORDER BY token), token, area_code, :state, exclusion "
    "FROM slice WHERE carrier = :carrier AND (exclusion > 0) = :excluded"
)
_TALLY = text(
    "INSERT INTO tally (lane_id, area_code, state, exclusion, messages) "
    "SELECT :lane, area_code, CASE WHEN exclusion = 0 THEN :ready ELSE :excluded END, exclusion, count(*) "
    "FROM slice WHERE carrier = :carrier GROUP BY area_code, exclusion "
    "ON CONFLICT (lane_id, area_code, state, exclusion) DO UPDATE SET messages = tally.messages + excluded.messages"
)


class Remainder(NamedTuple):
    """The lanes of an earlier campaign, and the moment (ms) as of which somebody counts as not reached."""

    lanes: Sequence[Lane]
    until_ms: int


class Rule(NamedTuple):
    """What the audience query needs of an order; neither `communes` nor `cells` means the whole province."""

    roster_ids: Sequence[RosterId]
    communes: Sequence[AreaCode]
    active_within_h: int
    obey_refusals: bool
    remainder: Remainder | None = None
    """When set, nobody is looked up in the rosters."""
    urgent: bool = False
    """Only those who refuse everything refuse an urgent warning."""
    cells: Sequence[int] = ()
    """Ids of cells whose people are warned too, whatever the commune."""


class Count(NamedTuple):
    carrier: str
    area_code: str
    exclusion: int
    messages: int
    approximate: int = 0
    """How many of these were last seen under a cell that only the nearest commune's centre placed."""


Slice = tuple[bytes, bytes] | tuple[int, int]
"""A range [low, high) of tokens, or of the message ids of one lane."""


def slices(rule: Rule, subscribers: int) -> Iterator[Slice]:
    """Cut what the rule's query looks at into ranges of about `SLICE_ROWS`; `subscribers` is how many its rosters hold."""
    if rule.remainder is None:
        yield from token_slices(subscribers)
        return
    for lane in rule.remainder.lanes:
        for low in range(lane.first_id, lane.end_id, SLICE_ROWS):
            yield low, min(low + SLICE_ROWS, lane.end_id)


def token_slices(subscribers: int) -> Iterator[tuple[bytes, bytes]]:
    """Cut the token space into ranges [low, high) of about `SLICE_ROWS` of `subscribers` each."""
    pieces = min(max(subscribers // SLICE_ROWS, 1), 1 << 16)
    edges = [((1 << 32) * piece // pieces).to_bytes(5, "big")[1:] if piece else b"" for piece in range(pieces)]
    yield from zip(edges, [*edges[1:], b"\xff" * 17], strict=True)


def prepare(connection: Connection, rule: Rule) -> None:
    """Set the communes and cells of the rule aside for `count` and `enlist` on the same connection."""
    connection.execute(text("DELETE FROM target"))
    connection.execute(text("DELETE FROM target_cell"))
    if rule.communes:
        execute_many(connection, "INSERT INTO target VALUES (?)", [(code,) for code in sorted(set(rule.communes))])
    if rule.cells:
        execute_many(connection, "INSERT INTO target_cell VALUES (?)", [(cell_id,) for cell_id in rule.cells])


def count(connection: Connection, rule: Rule, low: bytes | int, high: bytes | int) -> list[Count]:
    """Count the audience of one slice by carrier, commune and exclusion."""
    query = _COUNT if rule.remainder is None else _COUNT_REMAINDER
    return [Count(*row) for row in connection.execute(query, _values(rule, low, high))]


def enlist(
    connection: Connection, rule: Rule, lanes: Sequence[Lane], low: bytes | int, high: bytes | int
) -> dict[int, tuple[int, int]]:
    """Write one slice of the audience as messages behind those its lanes already have.

    Returns lane id → (messages, excluded) added. The caller passes lanes with their current counts and stores the new ones.
    """
    connection.execute(text("DELETE FROM slice"))
    connection.execute(_SLICE if rule.remainder is None else _SLICE_REMAINDER, _values(rule, low, high))
    added = {}
    for item in lanes:
        base = item.id << LANE_SHIFT
        send = {"base": base + item.messages, "carrier": item.carrier, "state": int(State.READY), "excluded": False}
        skip = {"base": base + EXCLUDED_FROM + item.excluded, "carrier": item.carrier, "state": int(State.EXCLUDED), "excluded": True}
        added[item.id] = (connection.execute(_ENLIST, send).rowcount, connection.execute(_ENLIST, skip).rowcount)
        connection.execute(
            _TALLY, {"lane": item.id, "carrier": item.carrier, "ready": int(State.READY), "excluded": int(State.EXCLUDED)}
        )
    return added


def discard(connection: Connection, item: Lane, limit: int = DISCARD_ROWS) -> bool:
    """Remove up to `limit` messages of a lane whose enlisting was cut off, at last its tally; return True when nothing is left."""
    ids = {"low": item.id << LANE_SHIFT, "high": (item.id + 1) << LANE_SHIFT, "limit": limit}
    found = "SELECT id FROM message WHERE id >= :low AND id < :high ORDER BY id LIMIT :limit"
    gone = connection.execute(text(f"DELETE FROM message WHERE id IN ({found})"), ids).rowcount  # noqa: S608  a constant
    if gone < limit:
        connection.execute(text("DELETE FROM tally WHERE lane_id = :lane"), {"lane": item.id})
    return gone < limit


def _values(rule: Rule, low: bytes | int, high: bytes | int) -> dict[str, object]:
    both: dict[str, object] = {
        "low": low,
        "high": high,
        "obey": rule.obey_refusals,
        "urgent": int(rule.urgent),
        "everywhere": not (rule.communes or rule.cells),
        "refused": int(Exclusion.REFUSED),
    }
    if rule.remainder is not None:
        return both | {"lane": int(low) >> LANE_SHIFT, "until": rule.remainder.until_ms, "first_token": FIRST_TOKEN}
    return both | {
        "rosters": list(rule.roster_ids),
        "active_s": rule.active_within_h * 3600,
        "duplicate": int(Exclusion.DUPLICATE),
        "unknown": int(Exclusion.UNKNOWN_CELL),
        "stale": int(Exclusion.STALE),
    }
