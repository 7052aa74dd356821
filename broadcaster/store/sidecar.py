"""The note beside the database of how far it had come: what tells an older copy, put back from a backup, from the one that sent.

The service writes it at each start and every second. It is the width of a hand away from the database on purpose: whoever restores
the database file alone leaves the note behind, and whoever restores the whole folder gives the database file another inode.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from broadcaster.errors import StoreError
from broadcaster.lang import Said
from broadcaster.model import CampaignState
from broadcaster.store.engine import unusable
from broadcaster.store.schema import campaign, installation, lane, lease

OPEN: Final = (
    CampaignState.SUBMITTED,
    CampaignState.APPROVED,
    CampaignState.SCHEDULED,
    CampaignState.RUNNING,
    CampaignState.PAUSED,
)
"""States in which a campaign may still come to send."""

_SUFFIX: Final = ".high-water"
_PRIVATE: Final = 0o600


class Mark(NamedTuple):
    """How far a database had come: epoch, newest lease, and by open campaign the first position of each lane not leased yet.

    `campaigns` are the open ones without lanes. In a note, `lanes` run ahead of the database by what may be leased before the next
    note. `requeues` says how often each campaign's refused messages were let to be tried again. `seen_ms` is the last moment known
    to have been lived through, `inode` the database file's. `anchor_ns` is how far the wall clock was ahead of the running one while
    the machine's start was the one that `boot` names.
    """

    epoch: int
    lease: int
    seen_ms: int
    inode: int
    lanes: Mapping[int, int]
    campaigns: frozenset[int]
    boot: str = ""
    anchor_ns: int = 0
    requeues: Mapping[int, int] = MappingProxyType({})


def mark_of(connection: Connection, database: Path, seen_ms: int, ahead: Mapping[str, int] | None = None) -> Mark:
    """Return how far the database has come; `ahead` adds to the positions of each carrier's lanes."""
    states = [state.value for state in OPEN]
    rows = connection.execute(
        select(campaign.c.id, lane.c.id.label("lane"), lane.c.carrier, lane.c.next_position)
        .select_from(campaign.outerjoin(lane, lane.c.campaign_id == campaign.c.id))
        .where(campaign.c.state.in_(states))
    ).all()
    requeued = connection.execute(select(campaign.c.id, campaign.c.requeues).where(campaign.c.requeues > 0)).all()
    more = ahead or {}
    return Mark(
        epoch=int(connection.execute(select(installation.c.epoch)).scalar_one()),
        lease=int(connection.execute(select(func.coalesce(func.max(lease.c.id), 0))).scalar_one()),
        seen_ms=seen_ms,
        inode=inode_of(database),
        lanes={row.lane: row.next_position + more.get(row.carrier, 0) for row in rows if row.lane is not None},
        campaigns=frozenset(row.id for row in rows if row.lane is None),
        requeues={row.id: row.requeues for row in requeued},
    )


def inode_of(database: Path) -> int:
    """Return the number of the database's file. Raises `StoreError` when it is gone."""
    try:
        return database.stat().st_ino
    except OSError as error:
        raise unusable(database, error.strerror or type(error).__name__) from error


def write_mark(database: Path, mark: Mark) -> None:
    """Replace the note beside the database as a whole, readable by its owner only. Raises `StoreError`."""
    path = _path(database)
    fresh = path.with_name(path.name + ".new")
    first = not path.exists()
    values = mark._asdict() | {"campaigns": sorted(mark.campaigns)}
    values |= {name: {str(key): value for key, value in values[name].items()} for name in ("lanes", "requeues")}
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        if first:
            _make_durable(path.parent)
    except OSError as error:
        raise unusable(path, error.strerror or type(error).__name__) from error


def _make_durable(folder: Path) -> None:
    """Make the names in a folder outlast a power cut; a database that raised its epoch without a note would never start again."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_mark(database: Path) -> Mark | None:
    """Return what the note beside the database says, None when there is none. Raises `StoreError` when it cannot be read."""
    path = _path(database)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        lanes, requeues = ({int(key): int(value) for key, value in values[name].items()} for name in ("lanes", "requeues"))
        numbers = {name: int(values[name]) for name in ("epoch", "lease", "seen_ms", "inode", "anchor_ns")}
        campaigns = frozenset(map(int, values["campaigns"]))
        return Mark(lanes=lanes, campaigns=campaigns, boot=str(values["boot"]), requeues=requeues, **numbers)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error.strerror or type(error).__name__) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            Said(f"{path}: tệp mốc đã hỏng.", f"{path}: the high-water note is damaged."),
            Said(
                f"Xóa {path.name} rồi xem: broadcaster db adopt --dry-run",
                f"Remove {path.name}, then see: broadcaster db adopt --dry-run",
            ),
        ) from error


def _path(database: Path) -> Path:
    return database.with_name(database.name + _SUFFIX)
