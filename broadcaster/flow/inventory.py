"""Stage 1: the carriers' inventories and the department's boundaries become rows; which cells the communes have."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.cells import Asked, CellRow, Skip, read_cells
from broadcaster.files.geojson import read_boundaries
from broadcaster.files.placing import Placed
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode, CarrierCode
from broadcaster.rules.geo import Outline
from broadcaster.store import areas as area_table
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.times import to_ms

SLICE_ROWS: Final = 10_000
FEW_SHARE: Final = 0.25
"""A commune with fewer of a carrier's cells than this share of the median commune's is suspicious."""
_VIETNAM_S: Final = 7 * 3600


class Changes(NamedTuple):
    """How an inventory differs from what was known of its carriers' cells before."""

    new: int
    moved: Sequence[int]
    """Lines of cells that stood in another commune."""
    missing: int
    """Known cells that the inventory does not have; they stay, so that nobody under them is lost."""


class Inventory(NamedTuple):
    """What an inventory holds: one state of each cell, and what was left out."""

    cells: Sequence[CellRow]
    problems: Sequence[Problem]
    skipped: Mapping[Skip, int]
    superseded: int
    """Older or later states of a cell that the file has in another state for today."""
    swapped: Sequence[int]
    """Lines on which latitude and longitude were exchanged."""
    statuses: Mapping[str, int]
    """Words for a cell's state that say neither way, and how many cells have them; such cells count."""
    changes: Changes

    @property
    def placed(self) -> Counter[Placed]:
        """Count the cells by how their commune was found."""
        return Counter(row.placed for row in self.cells)

    @property
    def outside(self) -> list[CellRow]:
        """Return the cells in no commune of ours: border sites, and those that nothing places."""
        return [row for row in self.cells if row.commune is None]


class Coverage(NamedTuple):
    """One carrier's cells in one commune."""

    area: Area
    carrier: CarrierCode
    cells: int
    sites: int
    approximate: int
    few: bool
    """None at all, or suspiciously few next to the carrier's other communes."""


def import_cells(
    store: Store, auditor: Auditor, path: Path, areas: Sequence[Area], *, today: dt.date, asked: Asked | None = None
) -> Inventory:
    """Read an inventory as `read_inventory` does and store its cells, replacing what was known of the same ones."""
    made = read_inventory(store, path, areas, today=today, asked=asked)
    cells = [_stored(row) for row in made.cells]
    for start in range(0, len(cells), SLICE_ROWS):
        with store.write() as connection:
            area_table.put_areas(connection, areas)
            area_table.put_cells(connection, cells[start : start + SLICE_ROWS])
            if start + SLICE_ROWS >= len(cells):
                auditor.record(connection, "cell-import", path.name, {"cells": len(cells), "problems": len(made.problems)})
    return made


def read_inventory(store: Store, path: Path, areas: Sequence[Area], *, today: dt.date, asked: Asked | None = None) -> Inventory:
    """Read an inventory and place its cells, by the stored boundaries where there are any; bad rows are reported.

    Where the file has a cell in several states, the one of `today` counts. Raises `InvalidFileError` when no row is good.
    """
    with store.read() as connection:
        outlines = {code: Outline(polygons) for code, polygons in area_table.boundaries(connection).items()}
    file = read_cells(path, areas, asked or Asked(), outlines)
    if not file.rows:
        raise InvalidFileError(file.problems or [Problem(str(path), _nothing(file.skipped.total()))])
    chosen = _on_day(file.rows, today)
    superseded = len(file.rows) - len(chosen)
    return Inventory(chosen, file.problems, file.skipped, superseded, file.swapped, file.statuses, _changes(store, chosen))


def _changes(store: Store, rows: Sequence[CellRow]) -> Changes:
    with store.read() as connection:
        known = {
            (item.carrier, item.key): item.area_code
            for carrier in {row.carrier for row in rows}
            for item in area_table.known_cells(connection, carrier)
            # Others are only noted, because a roster names them.
            if item.area_code is not None or item.lat is not None
        }
    moved = [row.line for row in rows if known.get((row.carrier, row.key), row.commune) != row.commune]
    kept = sum(1 for row in rows if (row.carrier, row.key) in known)
    return Changes(len(rows) - kept, moved, len(known) - kept)


def _nothing(passed_over: int) -> Said:
    if not passed_over:
        return Said("không có dòng dữ liệu nào dùng được", "there is no usable data row")
    return Said(
        f"không có dòng nào dùng được; cả {passed_over} dòng bị bỏ qua: không phát sóng, của mạng khác, ngoài tỉnh hoặc dòng tổng",
        f"there is no usable data row; all {passed_over} were passed over: off the air, of another network, far away, or totals",
    )


def _on_day(rows: Iterable[CellRow], today: dt.date) -> list[CellRow]:
    """Return one state of each cell: the one valid today, else the last that was, else the first that will be."""
    chosen: dict[tuple[CarrierCode, str], CellRow] = {}
    for row in rows:
        known = chosen.setdefault((row.carrier, row.key), row)
        if _rank(row, today) > _rank(known, today):
            chosen[row.carrier, row.key] = row
    return list(chosen.values())


def _rank(row: CellRow, today: dt.date) -> tuple[int, int]:
    begins, ends = row.valid_from or dt.date.min, row.valid_to or dt.date.max
    if begins > today:
        return 0, -begins.toordinal()
    return (2, begins.toordinal()) if ends >= today else (1, ends.toordinal())


def _stored(row: CellRow) -> area_table.PlacedCell:
    valid_from_s = _day_s(row.valid_from) if row.valid_from else None
    valid_to_s = _day_s(row.valid_to + dt.timedelta(days=1)) if row.valid_to else None
    return area_table.PlacedCell(
        row.carrier, row.key, row.site, row.commune, row.lat, row.lon, row.placed.value, row.radio, valid_from_s, valid_to_s
    )


def _day_s(day: dt.date) -> int:
    """Return the first second of a day in Vietnam."""
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()) - _VIETNAM_S


def import_boundaries(store: Store, auditor: Auditor, path: Path, areas: Sequence[Area], *, now: dt.datetime) -> int:
    """Replace the stored outlines of the communes by those of a GeoJSON file; return how many polygons it holds.

    Cells are placed by them from the next import on. Raises `InvalidFileError` with every problem of the file.
    """
    outlines = read_boundaries(path, areas)
    with store.write() as connection:
        area_table.put_boundaries(connection, outlines, to_ms(now))
        auditor.record(connection, "boundary-import", path.name, {"communes": len(outlines)})
    return sum(map(len, outlines.values()))


def coverage(store: Store, areas: Sequence[Area], carriers: Iterable[CarrierCode]) -> list[Coverage]:
    """Return every carrier's cells in every commune, in order of carrier and commune."""
    with store.read() as connection:
        counts = {(item.carrier, item.area_code): item for item in area_table.cell_counts(connection)}
    found = []
    for carrier in sorted(carriers):
        mine: dict[AreaCode, area_table.CellCount] = {
            area.code: counts.get((carrier, area.code), area_table.CellCount(carrier, area.code, 0, 0, 0)) for area in areas
        }
        usual = median(item.cells for item in mine.values())
        found += [Coverage(area, carrier, *mine[area.code][2:], few=mine[area.code].cells <= usual * FEW_SHARE) for area in areas]
    return found
