"""The `receipt` inbox, and how a receipt finds its submission.

A receipt belongs to the part that awaits one, taken within seven days of it by the same carrier under the same normalised id for the
same number; of several attempts at that part, to the newest. Where two parts fit, or none, it is left unmatched and counted (F03):
a warning credited wrongly is worse than one without a receipt. The first final state stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, TextClause, func, select, text

from broadcaster.model import State
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import append
from broadcaster.store.receipt_faults import IN_DOUBT, note_faults
from broadcaster.store.schema import LANE_SHIFT, receipt
from broadcaster.store.states import choose, fold_chosen

REPEATS_AMONG: Final = 200_000
"""A repetition of one of so many newest receipts is recognised; an older one is kept as unmatched."""
FITS_WITHIN_MS: Final = 7 * 86_400_000
"""Carriers give their ids again after days: a part answered longer before its receipt, or after, is another one (F03)."""


class Received(NamedTuple):
    """One receipt as it came; `state` is None for an intermediate or unknown one.

    `reference` is the user_message_reference in it, `submit_date` the carrier's word for when it took the message, as written.
    """

    carrier: str
    smsc_id: str
    token: bytes | None
    stat: str
    state: int | None
    error: str | None
    received_ms: int
    reference: int | None = None
    submit_date: str | None = None
    raw_id: str | None = None
    """The id as the receipt spells it, where the card's rule made another of it (F02)."""


# CROSS JOIN names the order of the loops, as in store/states.py. An answer that has not had its final receipt is found by its id
# (ix_submission_awaiting, which is small for that reason).
_FITS = (
    "s.state = 30 AND s.smsc_id = r.smsc_id AND s.carrier = r.carrier AND m.id = s.message_id AND m.token = r.token AND "
    f"s.answered_ms BETWEEN r.received_ms - {FITS_WITHIN_MS} AND r.received_ms + {FITS_WITHIN_MS}"
)
_SEARCH = (
    "INSERT INTO hit (receipt_id, message_id, part, attempt, state, error, received_ms) "
    "SELECT r.id, s.message_id, s.part, s.attempt, r.state, r.error, r.received_ms "
    "FROM {tables} CROSS JOIN message m WHERE {fits} AND {which}"
)
_RECEIPTS_FIRST = "receipt r CROSS JOIN submission s"
_SLICE = "r.id > :after AND r.id <= :until"
_NEW = text(_SEARCH.format(tables=_RECEIPTS_FIRST, fits=_FITS, which=_SLICE))
_LEFT = text(_SEARCH.format(tables=_RECEIPTS_FIRST, fits=_FITS, which="NOT r.matched"))
_WAITING = text(
    _SEARCH.format(
        tables="scratch CROSS JOIN submission s CROSS JOIN receipt r", fits=_FITS, which="s.message_id = scratch.id AND NOT r.matched"
    )
)
_DROP_RIVALS = text(
    "DELETE FROM hit WHERE EXISTS (SELECT 1 FROM receipt r CROSS JOIN submission s CROSS JOIN message m "  # noqa: S608  constants
    f"WHERE r.id = hit.receipt_id AND {_FITS} AND (s.message_id <> hit.message_id OR s.part <> hit.part)) "
    "RETURNING receipt_id"
)
_DROP_OLDER = text(
    "DELETE FROM hit WHERE (receipt_id, attempt) NOT IN (SELECT receipt_id, max(attempt) FROM hit GROUP BY receipt_id)"
)
_NOT_FOUND = text(f"UPDATE receipt AS r SET matched = false WHERE {_SLICE} AND r.id NOT IN (SELECT receipt_id FROM hit)")  # noqa: S608
_MATCHED = text("UPDATE receipt SET matched = true WHERE id IN (SELECT receipt_id FROM hit)")
_REPEATED = text(
    "INSERT INTO hit (receipt_id) SELECT r.id FROM receipt e CROSS JOIN receipt r "
    "WHERE e.id > :after AND e.matched AND NOT r.matched AND r.smsc_id = e.smsc_id AND r.carrier = e.carrier AND r.token = e.token"
)
_SETTLE = (
    "UPDATE submission SET state = h.state, receipt_ms = h.received_ms, receipt_error = h.error FROM {hits} AS h "
    "WHERE submission.message_id = h.message_id AND submission.part = h.part AND submission.attempt = h.attempt AND {which}"
)
_SETTLE_BY_ANY = text(_SETTLE.format(hits="hit", which="h.state IS NOT NULL"))
_SETTLE_BY_FIRST = text(
    _SETTLE.format(
        hits="(SELECT message_id, part, attempt, state, error, received_ms, "
        "row_number() OVER (PARTITION BY message_id, part, attempt ORDER BY receipt_id) AS nth FROM hit WHERE state IS NOT NULL)",
        which="h.nth = 1",
    )
)
_UNMATCHED = text("NOT matched")
"""As the partial index spells it: SQLAlchemy would write ``matched = 0`` for SQLite, which does not use the index."""


def record_receipts(connection: Connection, received: Sequence[Received]) -> None:
    """Append to the inbox."""
    append(connection, receipt, Received._fields, received)


def newest_id(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(receipt.c.id), 0))).scalar_one())


def unmatched(connection: Connection) -> int:
    """Return how many receipts no submission is known for."""
    return int(connection.execute(select(func.count()).select_from(receipt).where(_UNMATCHED)).scalar_one())


def unfounded(connection: Connection, lane: Lane) -> int:
    """Return how many of a lane's outcomes by receipt have no matched receipt of that id and state (about 3 s a million).

    A set difference and not a join: the inbox has no index over what is matched, and needs none for anything else.
    """
    query = text(
        "SELECT count(*) FROM (SELECT smsc_id, state FROM submission "
        "WHERE message_id >= :low AND message_id < :high AND state >= :final "
        "EXCEPT SELECT smsc_id, state FROM receipt WHERE carrier = :carrier AND matched) AS unfounded"
    )
    low, high = lane.id << LANE_SHIFT, (lane.id + 1) << LANE_SHIFT
    values = {"low": low, "high": high, "final": int(State.EXPIRED), "carrier": lane.carrier}
    return int(connection.execute(query, values).scalar_one())


def in_doubt(connection: Connection, carrier: str) -> Sequence[Row[Any]]:
    """Return (token, smsc_id) of the receipts that were left unmatched because two parts await one like them (F03)."""
    query = text(
        "SELECT r.token, r.smsc_id FROM receipt r CROSS JOIN submission s CROSS JOIN message m "  # noqa: S608  a constant
        f"WHERE NOT r.matched AND r.carrier = :carrier AND {_FITS} GROUP BY r.id, r.token, r.smsc_id "
        "HAVING min(s.message_id) < max(s.message_id) OR min(s.part) < max(s.part)"
    )
    return connection.execute(query, {"carrier": carrier}).all()


def settle(connection: Connection, after: int, until: int) -> int:
    """Give the receipts with ids in (after, until] their effect on submissions; return how many found theirs.

    Adds the messages they touch to `scratch`, to be folded by the caller. What finds none waits for its response (F01).
    """
    span = {"after": after, "until": until}
    found, in_doubt = _find(connection, _NEW, span)
    if found < until - after:
        connection.execute(_NOT_FOUND, span)
    if in_doubt:
        note_faults(connection, {(carrier, IN_DOUBT): number for carrier, number in _by_carrier(connection, in_doubt).items()})
    _take_effect(connection, found)
    return found


def settle_waiting(connection: Connection) -> int:
    """Match receipts that came before their response (F01) with the outcomes of the messages in `scratch`; return how many met."""
    if not connection.execute(text("SELECT EXISTS (SELECT 1 FROM receipt WHERE NOT matched)")).scalar_one():
        return 0
    return _settle_unmatched(connection, _WAITING)


def match(connection: Connection) -> int:
    """Look all receipts that are unmatched up again, and fold what they say; return how many found their submission.

    What repeats a receipt that has had its effect counts as matched, and changes nothing more (F10).
    """
    choose(connection, ())
    found = _settle_unmatched(connection, _LEFT)
    fold_chosen(connection)
    connection.execute(text("DELETE FROM hit"))
    if connection.execute(_REPEATED, {"after": newest_id(connection) - REPEATS_AMONG}).rowcount:
        found += connection.execute(_MATCHED).rowcount
    return found


def _settle_unmatched(connection: Connection, search: TextClause) -> int:
    found, _ = _find(connection, search, {}, alone=search is not _WAITING)
    if found:
        connection.execute(_MATCHED)
        _take_effect(connection, found)
    return found


def _find(connection: Connection, search: TextClause, values: Mapping[str, int], *, alone: bool = True) -> tuple[int, set[int]]:
    """Fill `hit` with the one submission of each receipt; return how many receipts have one, and which have two (F03).

    `alone` says that the search looked at every submission: then a receipt with one candidate has no other.
    """
    connection.execute(text("DELETE FROM hit"))
    candidates = connection.execute(search, values).rowcount
    found = _receipts_in_hit(connection) if candidates else 0
    in_doubt: set[int] = set()
    if found < candidates or (candidates and not alone):
        in_doubt = set(connection.execute(_DROP_RIVALS).scalars())
        connection.execute(_DROP_OLDER)
        found = _receipts_in_hit(connection)
    return found, in_doubt


def _receipts_in_hit(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(DISTINCT receipt_id) FROM hit")).scalar_one())


def _by_carrier(connection: Connection, ids: set[int]) -> Counter[str]:
    query = select(receipt.c.carrier).where(receipt.c.id.in_(sorted(ids)))
    return Counter(connection.execute(query).scalars())


def _take_effect(connection: Connection, found: int) -> None:
    """Carry the final states of `hit` to submissions, of which none has one yet, and name their messages in `scratch`."""
    if not found:
        return
    final = connection.execute(text("SELECT count(state) FROM hit")).scalar_one()
    if connection.execute(_SETTLE_BY_ANY).rowcount < final:
        # Some part has two final words: the first one stands, which takes longer to say.
        connection.execute(_SETTLE_BY_FIRST)
    connection.execute(text("INSERT INTO scratch (id) SELECT message_id FROM hit WHERE state IS NOT NULL ON CONFLICT DO NOTHING"))
