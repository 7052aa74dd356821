"""Who is to be warned: rosters × cells × refusals, counted for a plan and written out as messages.

Both walk the tokens in slices, so that no write holds the lock long and memory stays flat. Tokens are ciphertext, so token order is a
fair shuffle of numbers and places: sending in that order never falls on one cell or exchange at once.

A subscriber found in several rosters belongs to the one that saw it last (then to the older roster); the other rows are excluded as
duplicates. Someone last seen outside the chosen communes is no part of the audience.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, text

from broadcaster.model import AreaCode, Exclusion, RosterId, State
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import execute_many
from broadcaster.store.schema import EXCLUDED_FROM, LANE_SHIFT

SLICE_ROWS = 5_000
DISCARD_ROWS = 20_000

_AUDIENCE = """
    SELECT token, carrier, coalesce(area_code, '') AS area_code,
           CASE WHEN pick > 1 THEN :duplicate
                WHEN area_code IS NULL THEN :unknown
                WHEN seen_s < stale_before_s THEN :stale
                WHEN refuses THEN :refused
                ELSE 0 END AS exclusion
    FROM (
        SELECT s.token, r.carrier, c.area_code, s.seen_s, r.observed_ms / 1000 - :active_s AS stale_before_s,
               o.token IS NOT NULL AND :obey AS refuses,
               row_number() OVER (PARTITION BY s.token ORDER BY s.seen_s DESC, s.roster_id) AS pick
        FROM subscriber s
        JOIN roster r ON r.id = s.roster_id
        JOIN cell c ON c.id = s.cell_id
        LEFT JOIN opt_out o ON o.token = s.token
        WHERE s.roster_id IN :rosters AND s.token >= :low AND s.token < :high
    ) AS picked
    WHERE area_code IS NULL OR :everywhere OR area_code IN (SELECT code FROM target)
"""
_ROSTERS: BindParameter[Any] = bindparam("rosters", expanding=True)
_COUNT = text("SELECT carrier, area_code, exclusion, count(*) FROM (" + _AUDIENCE + ") AS a GROUP BY 1, 2, 3").bindparams(_ROSTERS)  # noqa: S608  two constants
_SLICE = text("INSERT INTO slice (token, carrier, area_code, exclusion)" + _AUDIENCE).bindparams(_ROSTERS)
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


class Rule(NamedTuple):
    """What the audience query needs of an order; no `communes` means the whole province."""

    roster_ids: Sequence[RosterId]
    communes: Sequence[AreaCode]
    active_within_h: int
    obey_refusals: bool


class Count(NamedTuple):
    carrier: str
    area_code: str
    exclusion: int
    messages: int


def token_slices(subscribers: int) -> Iterator[tuple[bytes, bytes]]:
    """Cut the token space into ranges [low, high) of about `SLICE_ROWS` of `subscribers` each."""
    pieces = min(max(subscribers // SLICE_ROWS, 1), 1 << 16)
    edges = [((1 << 32) * piece // pieces).to_bytes(5, "big")[1:] if piece else b"" for piece in range(pieces)]
    yield from zip(edges, [*edges[1:], b"\xff" * 17], strict=True)


def prepare(connection: Connection, rule: Rule) -> None:
    """Set the communes of the rule aside for `count` and `enlist` on the same connection."""
    connection.execute(text("DELETE FROM target"))
    if rule.communes:
        execute_many(connection, "INSERT INTO target VALUES (?)", [(code,) for code in sorted(set(rule.communes))])


def count(connection: Connection, rule: Rule, low: bytes, high: bytes) -> list[Count]:
    """Count the audience of one slice by carrier, commune and exclusion."""
    return [Count(*row) for row in connection.execute(_COUNT, _values(rule, low, high))]


def enlist(connection: Connection, rule: Rule, lanes: Sequence[Lane], low: bytes, high: bytes) -> dict[int, tuple[int, int]]:
    """Write one slice of the audience as messages behind those its lanes already have.

    Returns lane id → (messages, excluded) added. The caller passes lanes with their current counts and stores the new ones.
    """
    connection.execute(text("DELETE FROM slice"))
    connection.execute(_SLICE, _values(rule, low, high))
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


def _values(rule: Rule, low: bytes, high: bytes) -> dict[str, object]:
    return {
        "rosters": list(rule.roster_ids),
        "low": low,
        "high": high,
        "active_s": rule.active_within_h * 3600,
        "obey": rule.obey_refusals,
        "everywhere": not rule.communes,
        "duplicate": int(Exclusion.DUPLICATE),
        "unknown": int(Exclusion.UNKNOWN_CELL),
        "stale": int(Exclusion.STALE),
        "refused": int(Exclusion.REFUSED),
    }
