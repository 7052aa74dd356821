"""The `roster` and `subscriber` tables: one immutable snapshot per carrier's export.

A roster counts only once its last slice has marked it complete; an import that was cut off leaves an incomplete one, which the next
import of the same carrier removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, text, update

from broadcaster.errors import LockedError
from broadcaster.lang import Said
from broadcaster.model import CarrierCode, RosterId
from broadcaster.store.engine import append
from broadcaster.store.schema import roster, roster_drop, subscriber

_ROWS_A_STATEMENT: Final = 200


class Roster(NamedTuple):
    """One complete snapshot; `file_rows` = `kept` + dropped."""

    id: RosterId
    carrier: CarrierCode
    file_name: str
    file_sha256: str
    legal_basis: str
    """Number of the written request."""
    requested_on: str
    """Its date, ISO."""
    observed_ms: int
    imported_ms: int
    file_rows: int
    kept: int
    commitment: str
    dropped: Mapping[str, int]


def begin_roster(
    connection: Connection,
    *,
    carrier: CarrierCode,
    file_name: str,
    file_sha256: str,
    legal_basis: str,
    requested_on: str,
    observed_ms: int,
    imported_ms: int,
    salt: bytes,
) -> RosterId:
    """Open a new, incomplete roster and return its id."""
    result = connection.execute(
        insert(roster).values(
            carrier=carrier,
            file_name=file_name,
            file_sha256=file_sha256,
            legal_basis=legal_basis,
            requested_on=requested_on,
            observed_ms=observed_ms,
            imported_ms=imported_ms,
            file_rows=0,
            kept=0,
            complete=False,
            salt=salt,
        )
    )
    return RosterId(int(result.inserted_primary_key[0]))  # type: ignore[index]


def add_subscribers(connection: Connection, roster_id: RosterId, rows: Sequence[tuple[bytes, int, int]]) -> None:
    """Add (token, cell id, last seen in epoch seconds) rows, no token twice; of those of earlier calls the one seen last stays."""
    # Many rows a statement and bytearrays, for the reasons that `engine.append` gives.
    for at in range(0, len(rows), _ROWS_A_STATEMENT):
        chunk = rows[at : at + _ROWS_A_STATEMENT]
        flat = tuple(chain.from_iterable([(roster_id, bytearray(token), cell, seen) for token, cell, seen in chunk]))
        connection.exec_driver_sql(_upsert(len(chunk), "?" if connection.dialect.paramstyle == "qmark" else "%s"), flat)


@lru_cache(maxsize=8)
def _upsert(rows: int, mark: str) -> str:
    row = f"({mark}, {mark}, {mark}, {mark})"
    return (
        f"INSERT INTO subscriber (roster_id, token, cell_id, seen_s) VALUES {', '.join([row] * rows)} "  # noqa: S608  marks only
        "ON CONFLICT (roster_id, token) DO UPDATE SET cell_id = excluded.cell_id, seen_s = excluded.seen_s "
        "WHERE excluded.seen_s > subscriber.seen_s"
    )


def stored_subscribers(connection: Connection, roster_id: RosterId) -> int:
    """Return how many different numbers a roster holds so far."""
    query = select(func.count()).select_from(subscriber).where(subscriber.c.roster_id == roster_id)
    return int(connection.execute(query).scalar_one())


def complete_roster(
    connection: Connection, roster_id: RosterId, *, observed_ms: int, file_rows: int, dropped: Mapping[str, int], commitment: str
) -> None:
    """Mark a roster complete, with its counts. Raises `LockedError` when another import of the same carrier has removed it."""
    kept = file_rows - sum(dropped.values())
    changed = connection.execute(
        update(roster)
        .where(roster.c.id == roster_id)
        .values(complete=True, observed_ms=observed_ms, file_rows=file_rows, kept=kept, commitment=commitment)
    ).rowcount
    if not changed:
        raise _removed()
    append(connection, roster_drop, ("roster_id", "reason", "file_rows"), [(roster_id, *item) for item in sorted(dropped.items())])


def require_roster(connection: Connection, roster_id: RosterId) -> None:
    """Raise `LockedError` when another import of the same carrier has removed this incomplete roster."""
    if connection.execute(select(roster.c.id).where(roster.c.id == roster_id)).scalar() is None:
        raise _removed()


def _removed() -> LockedError:
    return LockedError(
        Said("Một lần nhập khác của cùng nhà mạng đã chen vào.", "Another import of the same carrier came in between."),
        Said("Nhập lại tệp này.", "Import this file again."),
    )


def incomplete_rosters(connection: Connection, carrier: CarrierCode) -> list[RosterId]:
    """Return what cut-off imports of this carrier left behind."""
    query = select(roster.c.id).where(roster.c.carrier == carrier, roster.c.complete.is_(False))
    return [RosterId(row) for row in connection.execute(query).scalars()]


def drop_slice(connection: Connection, roster_id: RosterId, limit: int = 20_000) -> bool:
    """Delete up to `limit` subscribers of a roster, at last the roster itself; return True when nothing of it is left."""
    tokens = select(subscriber.c.token).where(subscriber.c.roster_id == roster_id).limit(limit)
    gone = connection.execute(
        delete(subscriber).where(subscriber.c.roster_id == roster_id, subscriber.c.token.in_(tokens.scalar_subquery()))
    ).rowcount
    if gone:
        return False
    connection.execute(delete(roster).where(roster.c.id == roster_id))
    return True


def find_same_file(connection: Connection, carrier: CarrierCode, file_sha256: str) -> Roster | None:
    """Return the carrier's newest complete roster if it came from the very same file; an older one does not stand in the way."""
    newest = newest_rosters(connection).get(carrier)
    return newest if newest and newest.file_sha256 == file_sha256 else None


def find_same_file_elsewhere(connection: Connection, carrier: CarrierCode, file_sha256: str) -> Roster | None:
    """Return the newest complete roster of another carrier that came from the very same file, if any."""
    others = (item for code, item in newest_rosters(connection).items() if code != carrier)
    return next((item for item in others if item.file_sha256 == file_sha256), None)


def rosters(connection: Connection) -> list[Roster]:
    """Return all complete rosters, newest observation first."""
    drops: dict[int, dict[str, int]] = {}
    for row in connection.execute(select(roster_drop)):
        drops.setdefault(row.roster_id, {})[row.reason] = row.file_rows
    query = select(roster).where(roster.c.complete).order_by(roster.c.observed_ms.desc(), roster.c.id.desc())
    return [
        Roster(
            RosterId(row.id),
            CarrierCode(row.carrier),
            row.file_name,
            row.file_sha256,
            row.legal_basis,
            row.requested_on,
            row.observed_ms,
            row.imported_ms,
            row.file_rows,
            row.kept,
            row.commitment,
            drops.get(row.id, {}),
        )
        for row in connection.execute(query)
    ]


def newest_rosters(connection: Connection) -> dict[CarrierCode, Roster]:
    """Return each carrier's newest complete roster."""
    newest: dict[CarrierCode, Roster] = {}
    for item in rosters(connection):
        newest.setdefault(item.carrier, item)
    return newest


def count_subscribers(connection: Connection, roster_ids: Sequence[RosterId]) -> int:
    """Return how many subscribers these rosters hold together, duplicates included."""
    query = select(func.coalesce(func.sum(roster.c.kept), 0)).where(roster.c.id.in_(roster_ids))
    return int(connection.execute(query).scalar_one())


class Overlap(NamedTuple):
    """What two rosters have in common, on the tokens below an edge: tokens are ciphertext, so any range is a fair sample."""

    share: float
    """Of all tokens, that were looked at."""
    before: int
    after: int
    both: int
    communes_before: Mapping[str, int]
    communes_after: Mapping[str, int]
    """Commune → subscribers in the sample; "" is a cell of no known commune."""


def overlap(connection: Connection, before: Roster, after: RosterId, rows: int, sample_rows: int = 200_000) -> Overlap:
    """Compare a roster with another that is to have `rows`, on a sample of about `sample_rows` of the larger."""
    share = min(1.0, sample_rows / max(before.kept, rows, 1))
    edge = b"\xff" * 17 if share == 1.0 else int(share * (1 << 32)).to_bytes(4, "big")
    values = {"before": before.id, "after": after, "edge": edge}
    both = connection.execute(_BOTH, values).scalar_one()
    counted = [
        {row[0]: int(row[1]) for row in connection.execute(_COMMUNES, {"roster": key, "edge": edge})} for key in (before.id, after)
    ]
    return Overlap(share, sum(counted[0].values()), sum(counted[1].values()), int(both), counted[0], counted[1])


_BOTH = text(
    "SELECT count(*) FROM subscriber a JOIN subscriber b ON b.roster_id = :before AND b.token = a.token "
    "WHERE a.roster_id = :after AND a.token < :edge"
)
_COMMUNES = text(
    "SELECT coalesce(c.area_code, ''), count(*) FROM subscriber s JOIN cell c ON c.id = s.cell_id "
    "WHERE s.roster_id = :roster AND s.token < :edge GROUP BY 1"
)
