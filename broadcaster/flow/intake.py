"""Stage 1: what comes in from outside becomes rows: inventories, carriers' exports, refusals."""

from __future__ import annotations

import datetime as dt
import secrets
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection

from broadcaster.errors import ConfigurationError, InvalidFileError, LockedError, Problem, RefusedError, StoreError
from broadcaster.files.cells import read_cells
from broadcaster.files.rosters import RosterReader, RosterSlice, open_roster
from broadcaster.lang import Said
from broadcaster.model import Area, CarrierCode, DropReason, Msisdn, RosterId
from broadcaster.rules.numbers import holds_number
from broadcaster.store import areas as area_table
from broadcaster.store import rosters as roster_table
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.refusals import Refusal, record_refusals
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault, commitment

SLICE_ROWS = 10_000
_VIETNAM: Final = "452"
"""Mobile country code."""
_SHOWN_LINES: Final = 5

DROP_WORDS: Final[Mapping[DropReason, Said]] = {
    DropReason.EMPTY: Said("ô số máy trống", "empty"),
    DropReason.NOT_A_NUMBER: Said("không phải số", "not a number"),
    DropReason.WRONG_LENGTH: Said("sai độ dài", "wrong length"),
    DropReason.FIXED_LINE: Said("số cố định", "fixed line"),
    DropReason.SHORT_CODE: Said("đầu số ngắn", "short code"),
    DropReason.FOREIGN: Said("số nước ngoài", "foreign"),
    DropReason.UNALLOCATED: Said("đầu số chưa cấp", "prefix not allocated"),
    DropReason.BAD_CELL: Said("mã cell sai", "bad cell"),
    DropReason.BAD_TIME: Said("thời điểm sai", "bad time"),
    DropReason.FEW_COLUMNS: Said("thiếu cột", "too few columns"),
    DropReason.REPEATED: Said("lặp lại trong tệp", "repeated in the file"),
}


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
    mnc: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> roster_table.Roster:
    """Make an immutable snapshot of a carrier's export and return it.

    Without `observed_at` the newest last-seen time of the file is taken. Rows that cannot be subscribers are dropped and counted by
    reason; cells that no inventory knows are noted as unknown. An import that fails leaves no roster. Raises `RefusedError` when this
    very file is the newest roster of this or another carrier, when most cells are not of the network `mnc` or `observed_at` lies
    ahead, `ConfigurationError` when the legal basis holds a phone number, `InvalidFileError` when it is not a table of subscribers.
    """
    _refuse_number_in(legal_basis, Said("căn cứ pháp lý", "the legal basis"))
    if observed_at and observed_at > now:
        raise RefusedError(Said("Thời điểm trích xuất nằm trong tương lai.", "The time of observation lies in the future."))
    _clear_leftovers(store, carrier)
    salt = secrets.token_bytes(16)
    with open_roster(path) as reader:
        with store.write() as connection:
            _refuse_known_file(connection, carrier, reader)
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
        loader = _Loader(store, vault, carrier, roster_id, cells, mnc)
        try:
            for piece in reader.slices(SLICE_ROWS):
                loader.add(piece)
                if progress:
                    progress(reader.rows)
            loader.check(path)
            # A carrier's clock may be ahead; a snapshot is never of a time after its import.
            observed_ms = to_ms(observed_at) if observed_at else min(loader.newest_s * 1000, to_ms(now))
            with store.write() as connection:
                # Another import of the same file may have ended while this one read.
                _refuse_known_file(connection, carrier, reader)
                made = loader.complete(connection, observed_ms, reader.rows, commitment(loader.numbers, salt))
                _record(connection, auditor, made)
        except BaseException:
            # What stopped the import is what the caller must hear of; rows that stay behind go with the next import.
            with suppress(StoreError, LockedError):
                _remove(store, roster_id)
            raise
    return made


def _record(connection: Connection, auditor: Auditor, made: roster_table.Roster) -> None:
    detail = {
        "carrier": made.carrier,
        "rows": made.file_rows,
        "kept": made.kept,
        "commitment": made.commitment,
        "legal_basis": made.legal_basis,
    }
    auditor.record(connection, "roster-import", made.file_name, detail)


def _refuse_number_in(text: str, what: Said) -> None:
    if holds_number(text):
        raise ConfigurationError(
            Said(
                f"Trong {what.vi} có dãy từ 9 chữ số trở lên, có thể là số máy.",
                f"A row of nine digits or more stands in {what.en}; it may be a phone number.",
            ),
            Said("Bỏ số máy, chỉ ghi số và ngày của văn bản.", "Leave the phone number out; give the document's number and date."),
        )


def _refuse_known_file(connection: Connection, carrier: CarrierCode, reader: RosterReader) -> None:
    name = reader.path.name
    if roster_table.find_same_file(connection, carrier, reader.sha256):
        raise RefusedError(
            Said(
                f"{name}: tệp này đã được nhập và đang là danh sách mới nhất của nhà mạng.",
                f"{name}: this file was imported before and is the carrier's newest roster.",
            )
        )
    if other := roster_table.find_same_file_elsewhere(connection, carrier, reader.sha256):
        raise RefusedError(
            Said(
                f"{name}: tệp này đang là danh sách mới nhất của nhà mạng khác ({other.carrier}).",
                f"{name}: this file is the newest roster of another carrier ({other.carrier}).",
            ),
            Said(
                f"Kiểm tra --carrier; nếu lần trước nhập nhầm thì nhập lại tệp đúng của {other.carrier} trước.",
                f"Check --carrier; if the earlier import was the mistake, import the right file of {other.carrier} first.",
            ),
        )


class _Loader:
    """Turn slices of an export into subscriber rows, one write transaction each."""

    def __init__(
        self, store: Store, vault: Vault, carrier: CarrierCode, roster_id: RosterId, cells: dict[str, int], mnc: str | None
    ) -> None:
        self._store = store
        self._vault = vault
        self._carrier = carrier
        self._roster_id = roster_id
        self._cells = cells
        self._network = f"{_VIETNAM}-{mnc}" if mnc else None
        self._elsewhere = 0
        self._first_lines: dict[DropReason, list[int]] = {}
        self.numbers = array("Q")
        self.dropped: Counter[DropReason] = Counter()
        self.newest_s = 0

    def add(self, piece: RosterSlice) -> None:
        for line, reason in piece.dropped:
            self.dropped[reason] += 1
            if self.dropped[reason] <= _SHOWN_LINES:
                self._first_lines.setdefault(reason, []).append(line)
        if not piece.numbers:
            return
        if self._network:
            rows_by_cell = Counter(piece.cells).items()
            self._elsewhere += sum(count for cell, count in rows_by_cell if cell.split(":")[1] != self._network)
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

    def check(self, path: Path) -> None:
        """Raise `InvalidFileError` when no row was usable, `RefusedError` when most cells are of another network."""
        if not self.numbers:
            raise InvalidFileError(
                [
                    Problem(str(path), Said("không có thuê bao nào dùng được", "it has no usable subscriber")),
                    *(Problem(str(path), self._told(reason), lines[0]) for reason, lines in self._first_lines.items()),
                ]
            )
        if self._elsewhere * 2 > len(self.numbers):
            rows = f"{self._elsewhere}/{len(self.numbers)}"
            raise RefusedError(
                Said(
                    f"{path.name}: {rows} dòng có cell không thuộc mạng {self._network} của {self._carrier}; có thể nhầm nhà mạng.",
                    f"{path.name}: {rows} rows have cells outside network {self._network} of {self._carrier}; wrong carrier?",
                ),
                Said("Kiểm tra --carrier và mnc trên thẻ nhà mạng.", "Check --carrier and mnc on the carrier's card."),
            )

    def _told(self, reason: DropReason) -> Said:
        count, lines = self.dropped[reason], self._first_lines[reason]
        shown = ", ".join(map(str, lines)) + (", …" if count > len(lines) else "")
        words = DROP_WORDS[reason]
        return Said(f"{words.vi}: {count} dòng ({shown})", f"{words.en}: {count} rows ({shown})")

    def complete(self, connection: Connection, observed_ms: int, file_rows: int, committed: str) -> roster_table.Roster:
        """Mark the roster complete and return it."""
        dropped = {reason.value: count for reason, count in self.dropped.items()}
        if repeated := len(self.numbers) - roster_table.stored_subscribers(connection, self._roster_id):
            dropped[DropReason.REPEATED.value] = repeated
        roster_table.complete_roster(
            connection, self._roster_id, observed_ms=observed_ms, file_rows=file_rows, dropped=dropped, commitment=committed
        )
        return next(item for item in roster_table.rosters(connection) if item.id == self._roster_id)


def _clear_leftovers(store: Store, carrier: CarrierCode) -> None:
    with store.read() as connection:
        leftovers = roster_table.incomplete_rosters(connection, carrier)
    for roster_id in leftovers:
        _remove(store, roster_id)


def _remove(store: Store, roster_id: RosterId) -> None:
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
    """Record that these numbers refuse warnings (or take them again); in force as soon as this returns. Returns how many.

    Raises `ConfigurationError` when the evidence holds a phone number.
    """
    _refuse_number_in(evidence, Said("bằng chứng", "the evidence"))
    tokens = vault.tokens(list(dict.fromkeys(numbers)))
    rows = [Refusal(token, refuses, source, evidence, to_ms(now)) for token in tokens]
    with store.write() as connection:
        record_refusals(connection, rows)
        auditor.record(
            connection, "refusal" if refuses else "refusal-withdrawn", source, {"numbers": len(rows), "evidence": evidence}
        )
    return len(rows)
