"""Stage 1: what comes in from outside becomes rows: inventories, carriers' exports, refusals."""

from __future__ import annotations

import datetime as dt
import secrets
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from broadcaster.errors import InvalidFileError, Problem, RefusedError
from broadcaster.files.cells import read_cells
from broadcaster.files.rosters import RosterSlice, open_roster
from broadcaster.lang import Said
from broadcaster.model import Area, CarrierCode, DropReason, Msisdn, RosterId
from broadcaster.store import areas as area_table
from broadcaster.store import rosters as roster_table
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.refusals import Refusal, record_refusals
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault, commitment

SLICE_ROWS = 10_000


class CellImport(NamedTuple):
    """What an inventory brought: stored cells by how their commune was found, and the rows that were left out."""

    stored: int
    by_file: int
    by_nearest: int
    unplaced: int
    problems: Sequence[Problem]


def import_cells(store: Store, auditor: Auditor, path: Path, areas: Sequence[Area]) -> CellImport:
    """Store the good rows of an inventory, replacing what was known of the same cells; bad rows are reported, not stored.

    Raises `InvalidFileError` when no row is good.
    """
    file = read_cells(path, areas)
    if not file.rows:
        raise InvalidFileError(
            file.problems or [Problem(str(path), Said("không có dòng dữ liệu nào", "there is no data row"))],
        )
    cells = [
        area_table.PlacedCell(
            row.carrier,
            row.key,
            row.site,
            row.commune or "",
            row.lat,
            row.lon,
            "nearest" if row.approximate else "file",
            row.valid_from.isoformat(),
            row.valid_to.isoformat() if row.valid_to else None,
        )
        for row in file.rows
        if row.commune is not None
    ]
    nearest = sum(1 for cell in cells if cell.placed == "nearest")
    for start in range(0, len(cells), SLICE_ROWS):
        with store.write() as connection:
            area_table.put_areas(connection, areas)
            area_table.put_cells(connection, cells[start : start + SLICE_ROWS])
            if start + SLICE_ROWS >= len(cells):
                auditor.record(connection, "cell-import", path.name, {"cells": len(cells), "problems": len(file.problems)})
    return CellImport(len(cells), len(cells) - nearest, nearest, len(file.rows) - len(cells), file.problems)


def import_roster(
    store: Store,
    auditor: Auditor,
    vault: Vault,
    path: Path,
    *,
    carrier: CarrierCode,
    observed_at: dt.datetime | None,
    legal_basis: str,
    now: dt.datetime,
    progress: Callable[[int], None] | None = None,
) -> roster_table.Roster:
    """Make an immutable snapshot of a carrier's export and return it.

    Without `observed_at` the newest last-seen time of the file is taken. Rows that cannot be subscribers are dropped and counted by
    reason; cells that no inventory knows are noted as unknown. An import that fails leaves nothing that counts. Raises
    `RefusedError` when this very file was imported before or `observed_at` lies ahead, `InvalidFileError` when it is not a table of
    subscribers.
    """
    if observed_at and observed_at > now:
        raise RefusedError(Said("Thời điểm trích xuất nằm trong tương lai.", "The time of observation lies in the future."))
    _clear_leftovers(store, carrier)
    salt = secrets.token_bytes(16)
    with open_roster(path) as reader:
        with store.write() as connection:
            if roster_table.find_same_file(connection, carrier, reader.sha256):
                raise RefusedError(
                    Said(f"{path.name}: tệp này đã được nhập trước đây.", f"{path.name}: this file was imported before.")
                )
            roster_id = roster_table.begin_roster(
                connection,
                carrier=carrier,
                file_name=path.name,
                file_sha256=reader.sha256,
                legal_basis=legal_basis,
                observed_ms=to_ms(observed_at or now),
                imported_ms=to_ms(now),
                salt=salt,
            )
            cells = area_table.cell_ids(connection, carrier)
        loader = _Loader(store, vault, carrier, roster_id, cells)
        for piece in reader.slices(SLICE_ROWS):
            loader.add(piece)
            if progress:
                progress(reader.rows)
        file_rows = reader.rows
    if not loader.numbers:
        _clear_leftovers(store, carrier)
        raise InvalidFileError([Problem(str(path), Said("không có thuê bao nào dùng được", "it has no usable subscriber"))])
    # A carrier's clock may be ahead; a snapshot is never of a time after its import.
    observed_ms = to_ms(observed_at) if observed_at else min(loader.newest_s * 1000, to_ms(now))
    with store.write() as connection:
        if repeated := len(loader.numbers) - roster_table.stored_subscribers(connection, roster_id):
            loader.dropped[DropReason.REPEATED.value] = repeated
        roster_table.complete_roster(
            connection,
            roster_id,
            observed_ms=observed_ms,
            file_rows=file_rows,
            dropped=loader.dropped,
            commitment=commitment(loader.numbers, salt),
        )
        made = next(item for item in roster_table.rosters(connection) if item.id == roster_id)
        detail = {"carrier": carrier, "rows": file_rows, "kept": made.kept, "commitment": made.commitment, "legal_basis": legal_basis}
        auditor.record(connection, "roster-import", path.name, detail)
    return made


class _Loader:
    """Turn slices of an export into subscriber rows, one write transaction each."""

    def __init__(self, store: Store, vault: Vault, carrier: CarrierCode, roster_id: RosterId, cells: dict[str, int]) -> None:
        self._store = store
        self._vault = vault
        self._carrier = carrier
        self._roster_id = roster_id
        self._cells = cells
        self.numbers = array("Q")
        self.dropped: Counter[str] = Counter()
        self.newest_s = 0

    def add(self, piece: RosterSlice) -> None:
        self.dropped.update(reason.value for _, reason in piece.dropped)
        if not piece.numbers:
            return
        self.numbers.extend(piece.numbers)
        self.newest_s = max(self.newest_s, *piece.seen)
        tokens = self._vault.tokens(piece.numbers)
        with self._store.write() as connection:
            unknown = {cell for cell in piece.cells if cell not in self._cells}
            if unknown:
                self._cells.update(area_table.add_unknown_cells(connection, self._carrier, unknown))
            ids = [self._cells[cell] for cell in piece.cells]
            rows = sorted(zip(tokens, ids, piece.seen, strict=True))
            roster_table.add_subscribers(connection, self._roster_id, rows)


def _clear_leftovers(store: Store, carrier: CarrierCode) -> None:
    with store.read() as connection:
        leftovers = roster_table.incomplete_rosters(connection, carrier)
    for roster_id in leftovers:
        gone = False
        while not gone:
            with store.write() as connection:
                gone = roster_table.drop_slice(connection, roster_id)


def refuse(
    store: Store,
    auditor: Auditor,
    vault: Vault,
    numbers: Sequence[Msisdn],
    *,
    refuses: bool,
    source: str,
    evidence: str,
    now: dt.datetime,
) -> int:
    """Record that these numbers refuse warnings (or take them again); in force as soon as this returns. Returns how many."""
    tokens = vault.tokens(list(dict.fromkeys(numbers)))
    rows = [Refusal(token, refuses, source, evidence, to_ms(now)) for token in tokens]
    with store.write() as connection:
        record_refusals(connection, rows)
        auditor.record(
            connection, "refusal" if refuses else "refusal-withdrawn", source, {"numbers": len(rows), "evidence": evidence}
        )
    return len(rows)
