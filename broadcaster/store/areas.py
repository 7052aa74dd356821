"""The `area` and `cell` tables: communes, the carriers' cells that belong to them, and the cells inside an order's outlines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, delete, func, insert, select

from broadcaster.model import Area, AreaCode, CampaignId, CarrierCode, Circle, Polygon
from broadcaster.rules.geo import Outline, in_circle
from broadcaster.store.engine import append, execute_many
from broadcaster.store.schema import area, boundary, campaign_cell, cell

KEYS_AT_ONCE = 500
UNKNOWN_CELL = "unknown"
"""`cell.placed` of a cell that a roster names and no inventory knows; a later inventory fills it in."""


class PlacedCell(NamedTuple):
    """One inventory row ready to store; `placed` says how its commune was found (``file``, ``boundary``, ``nearest``), or that it is
    in none of ours (``outside``).
    """

    carrier: str
    key: str
    site: str
    area_code: str | None
    lat: float | None
    lon: float | None
    placed: str
    radio: str | None
    valid_from_s: int | None
    valid_to_s: int | None
    """Exclusive."""


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
        "INSERT INTO cell (carrier, key, site, area_code, lat, lon, placed, radio, valid_from_s, valid_to_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (carrier, key) DO UPDATE SET site = excluded.site, area_code = excluded.area_code, lat = excluded.lat, "
        "lon = excluded.lon, placed = excluded.placed, radio = excluded.radio, valid_from_s = excluded.valid_from_s, "
        "valid_to_s = excluded.valid_to_s",
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
    found: dict[str, int] = {}
    wanted = sorted(set(keys))
    for at in range(0, len(wanted), KEYS_AT_ONCE):
        asked = cell.c.key.in_(wanted[at : at + KEYS_AT_ONCE])
        rows = connection.execute(select(cell.c.key, cell.c.id).where(cell.c.carrier == carrier, asked))
        found |= {row.key: row.id for row in rows}
    return found


class CellCount(NamedTuple):
    """One carrier's cells in one commune."""

    carrier: str
    area_code: str
    cells: int
    sites: int
    approximate: int


def cell_counts(connection: Connection) -> list[CellCount]:
    """Count the cells that an inventory has placed, by carrier and commune."""
    approximate = func.sum(case((cell.c.placed == "nearest", 1), else_=0))
    counted = select(cell.c.carrier, cell.c.area_code, func.count(), func.count(cell.c.site.distinct()), approximate)
    rows = connection.execute(counted.where(cell.c.area_code.is_not(None)).group_by(cell.c.carrier, cell.c.area_code))
    return [CellCount(*row) for row in rows]


class KnownCell(NamedTuple):
    """One cell as it is stored."""

    carrier: str
    key: str
    radio: str | None
    site: str | None
    area_code: str | None
    lat: float | None
    lon: float | None
    placed: str


def known_cells(connection: Connection, carrier: CarrierCode | None = None) -> list[KnownCell]:
    """Return the cells of one carrier or of all, in order of carrier and key."""
    columns = (cell.c[name] for name in KnownCell._fields)
    query = select(*columns).order_by(cell.c.carrier, cell.c.key)
    return [KnownCell(*row) for row in connection.execute(query if carrier is None else query.where(cell.c.carrier == carrier))]


def put_boundaries(connection: Connection, outlines: Mapping[AreaCode, Sequence[Polygon]], imported_ms: int) -> None:
    """Replace the outlines of the communes."""
    connection.execute(delete(boundary))
    rows = [
        {"area_code": code, "rings_json": json.dumps([polygon.rings for polygon in polygons]), "imported_ms": imported_ms}
        for code, polygons in outlines.items()
    ]
    connection.execute(insert(boundary), rows)


def boundaries(connection: Connection) -> dict[AreaCode, list[Polygon]]:
    """Return the outlines of the communes, empty when none were imported."""
    return {
        AreaCode(row.area_code): [
            Polygon(tuple(tuple((lon, lat) for lon, lat in ring) for ring in rings)) for rings in json.loads(row.rings_json)
        ]
        for row in connection.execute(select(boundary.c.area_code, boundary.c.rings_json))
    }


class Outlined(NamedTuple):
    """The cells inside an order's circles and polygons, as they were found or as they were stored with a campaign."""

    ids: Sequence[int]
    communes: Sequence[str]
    """Codes of the communes these cells are in, sorted."""
    digest: str
    """SHA-256 over the carriers and keys, in hexadecimal."""

    def signed(self) -> dict[str, Any]:
        """Return what approvers sign of it."""
        return {"cells": len(self.ids), "communes": list(self.communes), "digest": self.digest}


def find_outlined(
    connection: Connection, carriers: Iterable[CarrierCode], circles: Sequence[Circle], polygons: Sequence[Polygon]
) -> Outlined:
    """Return the cells of these carriers that stand inside a circle or a polygon and in a commune."""
    outline = Outline(polygons) if polygons else None
    query = select(cell.c.id, cell.c.carrier, cell.c.key, cell.c.area_code, cell.c.lat, cell.c.lon)
    known = query.where(cell.c.carrier.in_(list(carriers)), cell.c.lat.is_not(None), cell.c.area_code.is_not(None))
    return _outlined(
        row
        for row in connection.execute(known)
        if any(in_circle(item, row.lat, row.lon) for item in circles) or (outline and outline.contains(row.lat, row.lon))
    )


def put_outlined(connection: Connection, campaign_id: CampaignId, ids: Sequence[int]) -> None:
    """Keep the cells inside a campaign's outlines, so that a later inventory does not change who is warned."""
    if ids:
        connection.execute(insert(campaign_cell), [{"campaign_id": campaign_id, "cell_id": cell_id} for cell_id in ids])


def outlined_of(connection: Connection, campaign_id: CampaignId) -> Outlined:
    """Return the cells kept for a campaign; its digest differs from the signed one when somebody changed them."""
    kept = select(cell.c.id, cell.c.carrier, cell.c.key, cell.c.area_code).join(campaign_cell, campaign_cell.c.cell_id == cell.c.id)
    return _outlined(connection.execute(kept.where(campaign_cell.c.campaign_id == campaign_id)))


def _outlined(rows: Iterable[Any]) -> Outlined:
    found = sorted((row.carrier, row.key, row.id, row.area_code) for row in rows)
    digest = hashlib.sha256("".join(f"{carrier} {key}\n" for carrier, key, _, _ in found).encode()).hexdigest()
    return Outlined([cell_id for _, _, cell_id, _ in found], sorted({code for *_, code in found if code}), digest)
