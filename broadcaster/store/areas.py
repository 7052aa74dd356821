"""The `area` and `cell` tables: communes by date, and the carriers' cells that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from broadcaster.model import Area, CarrierCode
from broadcaster.store.engine import append, execute_many
from broadcaster.store.schema import area, cell

UNKNOWN_CELL = "unknown"
"""`cell.placed` of a cell that a roster names and no inventory knows; a later inventory fills it in."""


class PlacedCell(NamedTuple):
    """One inventory row ready to store; `placed` says how its commune was found (``file`` or ``nearest``)."""

    carrier: str
    key: str
    site: str
    area_code: str
    lat: float | None
    lon: float | None
    placed: str
    valid_from: str | None
    valid_to: str | None


def put_areas(connection: Connection, areas: Iterable[Area]) -> None:
    """Store the communes; those already there stay as they are."""
    columns = [column.name for column in area.columns]
    rows = [
        (
            item.code,
            item.valid_from.isoformat(),
            item.valid_to and item.valid_to.isoformat(),
            item.name,
            item.kind,
            item.area_km2,
            item.lat,
            item.lon,
            item.former_province,
            " ".join(item.former_districts),
        )
        for item in areas
    ]
    append(connection, area, columns, rows, or_ignore=True)


def put_cells(connection: Connection, cells: Sequence[PlacedCell]) -> None:
    """Insert inventory rows, replacing what was known of the same carrier and key."""
    execute_many(
        connection,
        "INSERT INTO cell (carrier, key, site, area_code, lat, lon, placed, valid_from, valid_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (carrier, key) DO UPDATE SET site = excluded.site, area_code = excluded.area_code, lat = excluded.lat, "
        "lon = excluded.lon, placed = excluded.placed, valid_from = excluded.valid_from, valid_to = excluded.valid_to",
        cells,
    )


def cell_ids(connection: Connection, carrier: CarrierCode) -> dict[str, int]:
    """Return key → id of every cell of a carrier."""
    rows = connection.execute(select(cell.c.key, cell.c.id).where(cell.c.carrier == carrier))
    return {row.key: row.id for row in rows}


def add_unknown_cells(connection: Connection, carrier: CarrierCode, keys: Iterable[str]) -> dict[str, int]:
    """Note cells that no inventory knows; return their ids."""
    append(
        connection, cell, ("carrier", "key", "placed"), [(carrier, key, UNKNOWN_CELL) for key in sorted(set(keys))], or_ignore=True
    )
    known = cell_ids(connection, carrier)
    return {key: known[key] for key in keys}
