"""Stream one table of a carrier's export of active subscribers: number, cell, last seen. Numbers never enter an error text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from types import TracebackType
from typing import Final, NamedTuple, NoReturn, Self, cast

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.moments import BAD_TIME, Moments
from broadcaster.files.parcels import Part
from broadcaster.files.prefixes import read_plan
from broadcaster.files.roster_layout import MAX_TITLE_ROWS, REQUIRED, TRAILER, Layout, SplitCell, find_layout, stated_in, totals_in
from broadcaster.lang import Said
from broadcaster.model import DropReason
from broadcaster.rules.cellid import cell_key, key_of
from broadcaster.rules.numbers import holds_number

SLICE_ROWS: Final = 20_000

_VIETNAM: Final = "452"
"""Mobile country code: the first digits of an IMSI."""
_MAX_REMEMBERED: Final = 100_000
_SIGN_OF_AN_END: Final = re.compile(r"[#tTcCgG]")
"""What a trailer's or a total's first field has, in any spelling of the words."""
_NOT_DIGITS: Final = re.compile(r"\D+", re.ASCII)


class Drop(NamedTuple):
    """A row that does not become a subscriber."""

    line: int
    reason: DropReason
    masked: str
    """The row's number as it may be shown; empty where it has no nine digits."""


@dataclass(frozen=True, slots=True)
class RosterSlice:
    """Some consecutive rows: the good ones in three columns of equal length, the dropped ones with their reasons."""

    numbers: list[int]
    cells: list[str]
    """Keys as `rules.cellid` makes them."""
    seen: list[int]
    """Seconds since 1970 (UTC)."""
    dropped: list[Drop]


class _Keys(dict[str, "str | None"]):
    def __missing__(self, text: str) -> str | None:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        self[text] = value = cell_key(text)
        return value


class _SplitKeys(dict[tuple[str, ...], "str | None"]):
    """Keys of cells given as (number, area, radio), in the network of one carrier."""

    def __init__(self, mnc: str | None, split: SplitCell) -> None:
        super().__init__()
        self._mnc, self._split = mnc or "", split

    def of(self, rows: Sequence[Sequence[str]], cell: int) -> list[str | None]:
        area, radio = self._split.area, self._split.radio
        return [self[row[cell], "" if area is None else row[area], "" if radio is None else row[radio]] for row in rows]

    def __missing__(self, fields: tuple[str, ...]) -> str | None:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        cell, area, told = (field.strip() for field in fields)
        radio = told or self._split.implied
        # A number alone may be of any radio, and a guess would be of somebody else's cell.
        self[fields] = value = key_of(radio, _VIETNAM, self._mnc, area, cell) if radio or area else None
        return value


class RosterReader:
    """Read one table slice by slice; use as a context manager."""

    def __init__(self, part: Part, mnc: str | None = None, latest_s: int | None = None) -> None:
        """Open the table; `mnc` is the carrier's network, for exports that give cells without it.

        Rows seen after `latest_s` (seconds since 1970, UTC) are dropped: nobody was active in the future.
        """
        self.name = part.name
        self._mnc, self._latest_s = mnc, latest_s
        self._split_keys: _SplitKeys | None = None
        self.rows = 0
        """Rows read so far that are meant as subscribers, the dropped ones included."""
        self._opened = part.open()
        self._moments, self._keys = Moments(), _Keys()
        self._trailer: tuple[int, dict[str, str]] | None = None
        self._totals: tuple[int, list[int]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    def slices(self, size: int = SLICE_ROWS) -> Iterator[RosterSlice]:
        """Yield the rows in slices of at most `size` lines.

        Raises `InvalidFileError` where the file stops being a table, or is not as long, or not the one, that its own end states.
        """
        blocks = self._opened.table.blocks(max(size, MAX_TITLE_ROWS))
        lines, rows = next(blocks, ([], []))
        layout, header = self._find_header(lines, rows)
        lines, rows = lines[header + 1 :], rows[header + 1 :]
        while True:
            for at in range(0, len(rows), size):
                yield self._slice(rows[at : at + size], lines[at : at + size], layout)
            following = next(blocks, None)
            if following is None:
                break
            lines, rows = following
        self._check_end()

    def _find_header(self, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> tuple[Layout, int]:
        """Return the layout and the index of the header among the first rows; above it titles may stand."""
        nearest: tuple[int, list[str]] | None = None
        for at, row in enumerate(rows[:MAX_TITLE_ROWS]):
            found = find_layout(row)
            if isinstance(found, Layout):
                return found, at
            if nearest is None or len(found) < len(nearest[1]):
                nearest = (lines[at], found)
        line, missing = nearest or (1, list(REQUIRED))
        expected = ", ".join(missing)
        message = Said(
            vi=f"dòng tiêu đề phải có đúng một cột cho mỗi tên: {expected}",
            en=f"the header must have exactly one column for each of: {expected}",
        )
        raise InvalidFileError([Problem(self.name, message, line)])

    def _slice(self, rows: list[list[str]], lines: Sequence[int], layout: Layout) -> RosterSlice:
        dropped: list[Drop] = []
        if self._trailer or self._totals or self._needs_a_look(rows, layout.width):
            rows, lines, dropped = self._whole_rows(rows, lines, layout)
        self.rows += len(rows) + len(dropped)
        raws = [row[layout.number] for row in rows]
        numbers = read_plan().normalise_many(raws)
        cells = self._cells(rows, layout)
        seen = self._moments.read_many([row[layout.seen] for row in rows])
        bad = {index: number for index, number in enumerate(numbers) if isinstance(number, DropReason)}
        if layout.imsi is not None:
            bad = self._foreign_sims(rows, layout.imsi) | bad
        if None in cells:
            bad = {index: DropReason.BAD_CELL for index, key in enumerate(cells) if key is None} | bad
        latest_s = self._latest_s
        if BAD_TIME in seen or (latest_s is not None and max(seen, default=0) > latest_s):
            wrong = [index for index, time in enumerate(seen) if time == BAD_TIME or (latest_s is not None and time > latest_s)]
            bad = dict.fromkeys(wrong, DropReason.BAD_TIME) | bad
        if not bad:
            return RosterSlice(cast("list[int]", numbers), cast("list[str]", cells), seen, sorted(dropped))
        keep = bytearray(b"\x01") * len(rows)
        for index, reason in bad.items():
            keep[index] = 0
            dropped.append(Drop(lines[index], reason, _masked(raws[index])))
        return RosterSlice(
            numbers=cast("list[int]", list(compress(numbers, keep))),
            cells=cast("list[str]", list(compress(cells, keep))),
            seen=list(compress(seen, keep)),
            dropped=sorted(dropped),
        )

    def _cells(self, rows: Sequence[Sequence[str]], layout: Layout) -> list[str | None]:
        if layout.split is None:
            keys = self._keys
            return [keys[row[layout.cell]] for row in rows]
        self._split_keys = split = self._split_keys or _SplitKeys(self._mnc, layout.split)
        return split.of(rows, layout.cell)

    @staticmethod
    def _foreign_sims(rows: Sequence[Sequence[str]], at: int) -> dict[int, DropReason]:
        return {
            index: DropReason.ROAMING
            for index, row in enumerate(rows)
            if at < len(row)
            and not row[at].startswith(_VIETNAM)
            and row[at].strip().isdigit()
            and not row[at].strip().startswith(_VIETNAM)
        }

    @staticmethod
    def _needs_a_look(rows: Sequence[Sequence[str]], width: int) -> bool:
        """Tell whether one of the rows may be something else than a subscriber."""
        if min(map(len, rows)) < width:
            return True
        firsts = [row[0] for row in rows]
        joined = "".join(firsts)
        return not joined.isdigit() and ("" in firsts or _SIGN_OF_AN_END.search(joined) is not None)

    def _whole_rows(
        self, rows: list[list[str]], lines: Sequence[int], layout: Layout
    ) -> tuple[list[list[str]], list[int], list[Drop]]:
        """Return the rows that have every column with their lines, and the short ones; take out blank lines, trailer and totals."""
        whole: list[list[str]] = []
        kept_lines: list[int] = []
        short: list[Drop] = []
        for line, row in zip(lines, rows, strict=True):
            if not any(field.strip() for field in row) or self._is_end(line, row, layout):
                continue
            if len(row) < layout.width:
                masked = _masked(row[layout.number]) if layout.number < len(row) else ""
                short.append(Drop(line, DropReason.FEW_COLUMNS, masked))
            else:
                whole.append(row)
                kept_lines.append(line)
        return whole, kept_lines, short

    def _is_end(self, line: int, row: list[str], layout: Layout) -> bool:
        """Tell whether a row belongs to the end of the table, and remember what it states; after the end no subscriber may come."""
        if row[0].startswith(TRAILER) and not self._trailer:
            self._trailer = (line, stated_in(row))
            return True
        if self._trailer:
            self._fail(line, Said(vi=f"còn dữ liệu sau dòng cuối {TRAILER}…", en=f"data after the trailer {TRAILER}…"))
        if (totals := totals_in(row)) is not None:
            self._totals = self._totals or (line, totals)
            return True
        if self._totals and self._is_subscriber(row, layout):
            self._fail(line, Said(vi="còn thuê bao sau dòng tổng cộng", en="subscribers after the row of totals"))
        return self._totals is not None

    def _is_subscriber(self, row: list[str], layout: Layout) -> bool:
        """Tell a subscriber's row from a signature, which may hold a telephone number too, by its cell or time."""
        if len(row) <= layout.number or not holds_number(row[layout.number]):
            return False
        padded = row + [""] * (layout.width - len(row))
        return self._cells([padded], layout) != [None] or self._moments.read(padded[layout.seen]) != BAD_TIME

    def _check_end(self) -> None:
        if self._trailer:
            line, stated = self._trailer
            rows = stated.pop("rows", "")
            if not (rows.isascii() and rows.isdigit() and len(rows) <= 12):
                self._fail(line, Said(vi=f"sau {TRAILER} phải là số dòng", en=f"{TRAILER} must be followed by the number of rows"))
            self._check_count(line, int(rows))
            self._check_sum(line, stated)
        # A row of totals with several counts does not say which of them is the rows'.
        if self._totals and len(set(self._totals[1])) == 1:
            self._check_count(self._totals[0], self._totals[1][0])

    def _check_count(self, line: int, stated: int) -> None:
        if stated != self.rows:
            self._fail(
                line,
                Said(
                    vi=f"dòng cuối ghi {stated} thuê bao nhưng tệp có {self.rows}",
                    en=f"the trailer says {stated} rows but the file has {self.rows}",
                ),
            )

    def _check_sum(self, line: int, stated: dict[str, str]) -> None:
        for name, value in stated.items():
            if name != "sha256" or self._opened.sums is None:
                self._fail(
                    line, Said(vi=f"không kiểm được {name}=…; chỉ nhận sha256", en=f"{name}=… cannot be verified; only sha256 can")
                )
            if self._opened.sums.before(TRAILER) != value:
                self._fail(
                    line, Said(vi="mã kiểm tra sha256 không khớp nội dung tệp", en="the sha256 is not that of the file's content")
                )

    def _fail(self, line: int, message: Said) -> NoReturn:
        raise InvalidFileError([Problem(self.name, message, line)]) from None


def _masked(raw: str) -> str:
    digits = _NOT_DIGITS.sub("", raw)
    if len(digits) < 9:
        return ""
    # With a trunk 0, or without any prefix, a mask of what is written would hide less than it seems to.
    if digits.startswith("00"):
        digits = digits[2:]
    elif digits.startswith("0") or len(digits) == 9:
        digits = "84" + digits.removeprefix("0")
    # The form of `rules.numbers.mask`; of a number that is too short, as many digits stay hidden as of a whole one.
    return f"{digits[: 4 if len(digits) >= 11 else 2]}****{digits[-3:]}"
