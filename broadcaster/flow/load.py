"""Turn the tables of an export into subscriber rows: enciphered, deduplicated, in runs sorted by token."""

from __future__ import annotations

import csv
import os
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from sqlalchemy import Connection

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem, RefusedError
from broadcaster.files.rosters import Drop, RosterSlice
from broadcaster.lang import Said
from broadcaster.model import CarrierCode, DropReason, RosterId
from broadcaster.review.csv import BYTE_ORDER_MARK, formula_safe
from broadcaster.store import areas as area_table
from broadcaster.store import rosters as roster_table
from broadcaster.store.engine import Store
from broadcaster.store.vault import Vault

RUN_ROWS: Final = 250_000
"""Sorted together in memory: a run in the order of the table touches each of its pages once, single slices touch them all."""
WRITE_ROWS: Final = 10_000
"""Inserted in one transaction, so that the lock is held for milliseconds."""

_VIETNAM: Final = "452"
"""Mobile country code."""
_SHOWN_LINES: Final = 5
_BLOCK: Final = 10_000_000
"""Numbers of one head."""

DROP_WORDS: Final[Mapping[DropReason, Said]] = {
    DropReason.EMPTY: Said("ô số máy trống", "empty"),
    DropReason.NOT_A_NUMBER: Said("không phải số", "not a number"),
    DropReason.WRONG_LENGTH: Said("sai độ dài", "wrong length"),
    DropReason.FIXED_LINE: Said("số cố định", "fixed line"),
    DropReason.SHORT_CODE: Said("đầu số ngắn", "short code"),
    DropReason.FOREIGN: Said("số nước ngoài", "foreign"),
    DropReason.UNALLOCATED: Said("đầu số chưa cấp", "prefix not allocated"),
    DropReason.MACHINE: Said("số của thiết bị (M2M)", "number of a device (M2M)"),
    DropReason.ROUNDED: Said("bảng tính đã làm mất chữ số (dạng 8,49E+10)", "digits lost in a spreadsheet (8.49E+10)"),
    DropReason.AMBIGUOUS: Said("84 và 7 chữ số: không rõ là số nào", "84 and 7 digits: not clear which number"),
    DropReason.FORMULA: Said("công thức, không phải số", "a formula, not a number"),
    DropReason.ROAMING: Said("SIM của mạng nước ngoài", "SIM of a foreign network"),
    DropReason.BAD_CELL: Said("mã cell sai", "bad cell"),
    DropReason.BAD_TIME: Said("thời điểm sai", "bad time"),
    DropReason.FEW_COLUMNS: Said("thiếu cột", "too few columns"),
    DropReason.REPEATED: Said("lặp lại trong tệp", "repeated in the file"),
}


class DropList:
    """The list of dropped rows that goes back to the carrier: table, line, reason, masked number. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """Where the file comes to be, readable by its owner only, once a row is dropped."""
        self.written = False
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Raise `ConfigurationError` when the file is there already: it could be a key, and is not known before a row is dropped."""
        if self.path.exists():
            raise ConfigurationError(
                Said(f"đã có tệp {self.path}; không ghi đè.", f"{self.path} exists already and is not written over."),
                Said("Ghi --drops với tên tệp chưa có.", "Give --drops the name of a file that does not exist."),
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def add(self, name: str, drops: Sequence[Drop]) -> None:
        """Append rows dropped from the table `name`. Raises `ConfigurationError` when the file cannot be written."""
        try:
            self._file = file = self._file or self._begun()
            table = formula_safe(name)
            csv.writer(file).writerows(
                [table, line, reason.value, DROP_WORDS[reason].vi, formula_safe(masked)] for line, reason, masked in drops
            )
        except OSError as error:
            reason_why = error.strerror or type(error).__name__
            raise ConfigurationError(
                Said(f"không ghi được tệp {self.path}: {reason_why}", f"cannot write {self.path}: {reason_why}")
            ) from error

    def _begun(self) -> TextIO:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        file.write(BYTE_ORDER_MARK)
        csv.writer(file).writerow(["file", "line", "reason", "reason_vi", "number"])
        self.written = True
        return file


class Survey:
    """Count what an export holds, without storing any of it."""

    def __init__(
        self, carrier: CarrierCode, mnc: str | None, drops: DropList | None = None, progress: Callable[[int], None] | None = None
    ) -> None:
        self._carrier = carrier
        self._network = f"{_VIETNAM}-{mnc}" if mnc else None
        self._drops = drops
        self._progress = progress
        self._elsewhere = 0
        self._first_lines: dict[DropReason, list[tuple[str, int]]] = {}
        self._blocks: dict[int, array[int]] = {}
        self.usable = 0
        self.rows = 0
        self.dropped: Counter[DropReason] = Counter()
        self.newest_s = 0

    def add(self, name: str, piece: RosterSlice) -> None:
        """Take in one slice of the table `name`."""
        for drop in piece.dropped:
            self.dropped[drop.reason] += 1
            if self.dropped[drop.reason] <= _SHOWN_LINES:
                self._first_lines.setdefault(drop.reason, []).append((name, drop.line))
        if self._drops and piece.dropped:
            self._drops.add(name, piece.dropped)
        self.rows += len(piece.numbers) + len(piece.dropped)
        if piece.numbers:
            self._note_numbers(piece)
        if self._progress:
            self._progress(self.rows)

    def check(self, name: str) -> None:
        """Raise `InvalidFileError` when no row was usable, `RefusedError` when most cells are of another network."""
        if not self.usable:
            raise InvalidFileError(
                [
                    Problem(name, Said("không có thuê bao nào dùng được", "it has no usable subscriber")),
                    *(Problem(lines[0][0], self._told(reason), lines[0][1]) for reason, lines in self._first_lines.items()),
                ]
            )
        if self._elsewhere * 2 > self.usable:
            rows = f"{self._elsewhere}/{self.usable}"
            raise RefusedError(
                Said(
                    f"{name}: {rows} dòng có cell không thuộc mạng {self._network} của {self._carrier}; có thể nhầm nhà mạng.",
                    f"{name}: {rows} rows have cells outside network {self._network} of {self._carrier}; wrong carrier?",
                ),
                Said("Kiểm tra --carrier và mnc trên thẻ nhà mạng.", "Check --carrier and mnc on the carrier's card."),
            )

    def blocks(self) -> list[array[int]]:
        """Return all numbers in blocks that follow one another, each without order; they are given up."""
        taken, self._blocks = self._blocks, {}
        return [taken.pop(key) for key in sorted(taken)]

    def reasons(self, different: int) -> dict[str, int]:
        """Return the drops by reason; what is usable but not among the `different` numbers is a repetition."""
        found = {reason.value: count for reason, count in self.dropped.items()}
        repeated = self.usable - different
        return found | ({DropReason.REPEATED.value: repeated} if repeated else {})

    def _note_numbers(self, piece: RosterSlice) -> None:
        self.usable += len(piece.numbers)
        self.newest_s = max(self.newest_s, *piece.seen)
        if self._network:
            rows_by_cell = Counter(piece.cells).items()
            self._elsewhere += sum(count for cell, count in rows_by_cell if cell.split(":")[1] != self._network)
        ordered = sorted(piece.numbers)
        start = 0
        while start < len(ordered):
            block = ordered[start] // _BLOCK
            end = bisect_left(ordered, (block + 1) * _BLOCK, start)
            self._blocks.setdefault(block, array("Q")).extend(ordered[start:end])
            start = end

    def _told(self, reason: DropReason) -> Said:
        count, lines = self.dropped[reason], self._first_lines[reason]
        shown = ", ".join(str(line) for _, line in lines) + (", …" if count > len(lines) else "")
        words = DROP_WORDS[reason]
        return Said(f"{words.vi}: {count} dòng ({shown})", f"{words.en}: {count} rows ({shown})")


class Loader(Survey):
    """Count and store the subscribers of one roster; of several rows for one number the one seen last stays."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        carrier: CarrierCode,
        roster_id: RosterId,
        mnc: str | None,
        drops: DropList | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(carrier, mnc, drops, progress)
        self._store, self._vault, self._roster_id = store, vault, roster_id
        self._run: list[tuple[bytes, int, int]] = []
        with store.read() as connection:
            self._cells = area_table.cell_ids(connection, carrier)

    def add(self, name: str, piece: RosterSlice) -> None:
        """Take in one slice of the table `name`; it is written with its run."""
        if piece.numbers:
            self._run += zip(self._vault.tokens(piece.numbers), self._cell_ids(piece.cells), piece.seen, strict=True)
            if len(self._run) >= RUN_ROWS:
                self.flush()
        super().add(name, piece)

    def flush(self) -> None:
        """Write what was gathered. Raises `LockedError` when another import of the same carrier has removed this roster."""
        rows = self._run
        self._run = []
        rows.sort(key=itemgetter(0))
        unique = _seen_last(rows)
        for at in range(0, len(unique), WRITE_ROWS):
            with self._store.write() as connection:
                roster_table.require_roster(connection, self._roster_id)
                roster_table.add_subscribers(connection, self._roster_id, unique[at : at + WRITE_ROWS])

    def complete(self, connection: Connection, observed_ms: int, committed: str) -> roster_table.Roster:
        """Mark the roster complete and return it."""
        dropped = self.reasons(roster_table.stored_subscribers(connection, self._roster_id))
        roster_table.complete_roster(
            connection, self._roster_id, observed_ms=observed_ms, file_rows=self.rows, dropped=dropped, commitment=committed
        )
        return next(item for item in roster_table.rosters(connection) if item.id == self._roster_id)

    def _cell_ids(self, cells: list[str]) -> list[int]:
        known = self._cells
        try:
            return [known[cell] for cell in cells]
        except KeyError:
            with self._store.write() as connection:
                known.update(area_table.add_unknown_cells(connection, self._carrier, {cell for cell in cells if cell not in known}))
        return [known[cell] for cell in cells]


def _seen_last(rows: list[tuple[bytes, int, int]]) -> list[tuple[bytes, int, int]]:
    """Return rows sorted by token with one row for each token: the one seen last, of equals the first."""
    unique = rows[:1]
    for row in rows[1:]:
        if row[0] != unique[-1][0]:
            unique.append(row)
        elif row[2] > unique[-1][2]:
            unique[-1] = row
    return unique
