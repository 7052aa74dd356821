"""The `roster` and `subscriber` tables: one immutable snapshot per carrier's export.

A roster counts only once its last slice has marked it complete; an import that was cut off leaves an incomplete one, which the next
import of the same carrier removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from broadcaster.errors import LockedError
from broadcaster.lang import Said
from broadcaster.model import CarrierCode, RosterId
from broadcaster.store.engine import append, execute_many
from broadcaster.store.schema import roster, roster_drop, subscriber


class Roster(NamedTuple):
    """One complete snapshot; `file_rows` = `kept` + dropped."""

    id: RosterId
    carrier: CarrierCode
    file_name: str
    file_sha256: str
    legal_basis: str
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
    """Add (token, cell id, last seen in epoch seconds) rows; of several rows for one number the one seen last stays."""
    execute_many(
        connection,
        "INSERT INTO subscriber (roster_id, token, cell_id, seen_s) VALUES (?, ?, ?, ?) ON CONFLICT (roster_id, token) "
        "DO UPDATE SET cell_id = excluded.cell_id, seen_s = excluded.seen_s WHERE excluded.seen_s > subscriber.seen_s",
        [(roster_id, *row) for row in rows],
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
        raise LockedError(
            Said("Một lần nhập khác của cùng nhà mạng đã chen vào.", "Another import of the same carrier came in between."),
            Said("Nhập lại tệp này.", "Import this file again."),
        )
    append(connection, roster_drop, ("roster_id", "reason", "file_rows"), [(roster_id, *item) for item in sorted(dropped.items())])


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
