"""Stream a carrier's export of active subscribers: number, cell, last seen. Numbers never enter an error text."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NoReturn, Self, cast

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.prefixes import read_plan
from broadcaster.lang import Said
from broadcaster.model import DropReason
from broadcaster.rules.cellid import cell_key
from broadcaster.text.fold import fold_key

SLICE_ROWS: Final = 20_000
HEADER_CHARS: Final = 4096

_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "msisdn": frozenset({"msisdn", "so_thue_bao", "thue_bao", "so_dien_thoai", "isdn"}),
    "cell": frozenset({"cell", "cell_id", "cgi", "ecgi", "ma_cell", "ma_o"}),
    "last_seen": frozenset({"last_seen", "last_activity", "thoi_gian", "lan_cuoi", "hoat_dong_cuoi"}),
}
_TRAILER: Final = "#rows="
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MINUTE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)", re.ASCII)
_REST: Final = re.compile(r"(?::([0-5]\d)(?:\.\d{1,9})?)?(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_LOCAL_OFFSET_S: Final = 7 * 3600
"""Asia/Ho_Chi_Minh since 1975."""
_EARLIEST_S: Final = 946_684_800
_LATEST_S: Final = 4_102_444_800
_BAD_TIME: Final = -1
_MAX_REMEMBERED: Final = 100_000
_BROKEN_CSV: Final = Said(
    vi="sai cú pháp CSV: dấu nháy không đóng hoặc ô quá dài", en="broken CSV: an unclosed quote or an overlong field"
)
_BROKEN_GZIP: Final = Said(vi="tệp gz hỏng hoặc bị cắt cụt", en="the gz file is damaged or cut short")


@dataclass(frozen=True, slots=True)
class RosterSlice:
    """Some consecutive rows: the good ones in three columns of equal length, the dropped ones with their reasons."""

    first_line: int
    numbers: list[int]
    cells: list[str]
    """Keys as `rules.cellid` makes them."""
    seen: list[int]
    """Seconds since 1970 (UTC)."""
    dropped: list[tuple[int, DropReason]]
    """Line and reason."""


class _Minutes(dict[str, int]):
    """Epoch seconds of ``YYYY-MM-DDTHH:MM`` taken as UTC, or of plain epoch digits; remembers what it was asked."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        self[text] = value = self._parse(text)
        return value

    @staticmethod
    def _parse(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 10:
            # Plain epoch seconds carry no local offset; `_Rests` takes it off again.
            return int(text) + _LOCAL_OFFSET_S
        match = _MINUTE.fullmatch(text)
        if not match:
            raise ValueError
        year, month, day, hour, minute = map(int, match.groups())
        return int(dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC).timestamp())


class _Rests(dict[str, int]):
    """Seconds to add for what follows the minute: seconds and offset; without an offset, local time is meant."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        match = _REST.fullmatch(text)
        if not match:
            raise ValueError
        self[text] = value = int(match[1] or 0) - self._offset_s(match[2])
        return value

    @staticmethod
    def _offset_s(text: str | None) -> int:
        if not text:
            return _LOCAL_OFFSET_S
        match = _OFFSET.fullmatch(text)
        if not match:
            return 0
        seconds = int(match[2]) * 3600 + int(match[3]) * 60
        return -seconds if match[1] == "-" else seconds


class _Keys(dict[str, "str | None"]):
    def __missing__(self, text: str) -> str | None:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        self[text] = value = cell_key(text)
        return value


class RosterReader:
    """Read one export slice by slice; use as a context manager."""

    def __init__(self, path: Path, file: io.BufferedReader) -> None:
        self.path = path
        self.sha256: str = hashlib.file_digest(file, "sha256").hexdigest()
        """Of the file as delivered, compressed or not."""
        self.rows = 0
        """Data rows read so far, the dropped ones included."""
        self._file = file
        self._minutes, self._rests, self._keys = _Minutes(), _Rests(), _Keys()
        file.seek(0)
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if zipped else file
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        self._trailer: tuple[int, int] | None = None
        self._indexes, delimiter = self._header()
        self._table = csv.reader(self._text, delimiter=delimiter)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def slices(self, size: int = SLICE_ROWS) -> Iterator[RosterSlice]:
        """Yield the rows in slices of at most `size` lines. Raises `InvalidFileError` where the file stops being a table."""
        line = 2
        while rows := self._next_rows(size, line):
            yield self._slice(rows, line)
            line += len(rows)
        if self._trailer and self._trailer[1] != self.rows:
            trailer_line, stated = self._trailer
            self._fail(
                trailer_line,
                Said(
                    vi=f"dòng cuối ghi {stated} thuê bao nhưng tệp có {self.rows}",
                    en=f"the trailer says {stated} rows but the file has {self.rows}",
                ),
            )

    def _header(self) -> tuple[tuple[int, int, int], str]:
        try:
            header = self._text.readline(HEADER_CHARS)
        except UnicodeDecodeError:
            self._fail_not_utf8()
        except (OSError, EOFError, zlib.error):
            self._fail(1, _BROKEN_GZIP)
        delimiter = ";" if header.count(";") > header.count(",") else ","
        names = [fold_key(name.strip().strip('"')).replace(" ", "_") for name in header.rstrip("\r\n").split(delimiter)]
        places = {column: [i for i, name in enumerate(names) if name in aliases] for column, aliases in _ALIASES.items()}
        wrong = [column for column, indexes in places.items() if len(indexes) != 1]
        if wrong:
            expected = ", ".join(wrong)
            message = Said(
                vi=f"dòng tiêu đề phải có đúng một cột cho mỗi tên: {expected}",
                en=f"the header must have exactly one column for each of: {expected}",
            )
            self._fail(1, message)
        return (places["msisdn"][0], places["cell"][0], places["last_seen"][0]), delimiter

    def _next_rows(self, size: int, line: int) -> list[list[str]]:
        rows: list[list[str]] = []
        try:
            rows = list(islice(self._table, size))
        except UnicodeDecodeError:
            self._fail_not_utf8()
        except csv.Error:
            self._fail(self._table.line_num + 1, _BROKEN_CSV)
        except (OSError, EOFError, zlib.error):
            self._fail(line, _BROKEN_GZIP)
        if self._table.line_num != line + len(rows) - 2:
            torn = next((index for index, row in enumerate(rows) if any("\n" in field or "\r" in field for field in row)), 0)
            self._fail(line + torn, _BROKEN_CSV)
        return rows

    def _slice(self, rows: list[list[str]], first_line: int) -> RosterSlice:
        dropped: list[tuple[int, DropReason]] = []
        lines: Sequence[int] = range(first_line, first_line + len(rows))
        width = max(self._indexes) + 1
        if self._trailer or min(map(len, rows)) < width or _TRAILER in "".join([row[0] for row in rows]):
            rows, lines, dropped = self._whole_rows(rows, first_line, width)
            self.rows += len(dropped)
        number_at, cell_at, seen_at = self._indexes
        numbers = read_plan().normalise_many([row[number_at] for row in rows])
        keys = self._keys
        cells = [keys[row[cell_at]] for row in rows]
        seen = self._times([row[seen_at] for row in rows])
        self.rows += len(rows)
        bad = {index: number for index, number in enumerate(numbers) if isinstance(number, DropReason)}
        if None in cells:
            bad = {index: DropReason.BAD_CELL for index, key in enumerate(cells) if key is None} | bad
        if _BAD_TIME in seen:
            bad = {index: DropReason.BAD_TIME for index, time in enumerate(seen) if time == _BAD_TIME} | bad
        keep = bytearray(b"\x01") * len(rows)
        for index, reason in bad.items():
            keep[index] = 0
            dropped.append((lines[index], reason))
        return RosterSlice(
            first_line,
            numbers=cast("list[int]", list(compress(numbers, keep))),
            cells=cast("list[str]", list(compress(cells, keep))),
            seen=list(compress(seen, keep)),
            dropped=sorted(dropped),
        )

    def _times(self, texts: Sequence[str]) -> list[int]:
        minutes, rests = self._minutes, self._rests
        try:
            seen = [minutes[text[:16]] + rests[text[16:]] for text in texts]
            if not seen or (min(seen) >= _EARLIEST_S and max(seen) < _LATEST_S):
                return seen
        except ValueError:
            pass
        return [self._time(text) for text in texts]

    def _time(self, text: str) -> int:
        text = text.strip()
        try:
            seconds = self._minutes[text[:16]] + self._rests[text[16:]]
        except ValueError:
            return _BAD_TIME
        return seconds if _EARLIEST_S <= seconds < _LATEST_S else _BAD_TIME

    def _whole_rows(
        self, rows: list[list[str]], first_line: int, width: int
    ) -> tuple[list[list[str]], list[int], list[tuple[int, DropReason]]]:
        """Return the rows that have every column with their lines, and the short ones; take out blank lines and the trailer."""
        whole: list[list[str]] = []
        lines: list[int] = []
        short: list[tuple[int, DropReason]] = []
        for line, row in enumerate(rows, first_line):
            if not any(field.strip() for field in row):
                continue
            if self._trailer:
                self._fail(line, Said(vi=f"còn dữ liệu sau dòng cuối {_TRAILER}…", en=f"data after the trailer {_TRAILER}…"))
            if row[0].startswith(_TRAILER):
                self._trailer = (line, self._stated(row[0], line))
            elif len(row) < width:
                short.append((line, DropReason.FEW_COLUMNS))
            else:
                whole.append(row)
                lines.append(line)
        return whole, lines, short

    def _stated(self, trailer: str, line: int) -> int:
        digits = trailer.removeprefix(_TRAILER).strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
            self._fail(line, Said(vi=f"sau {_TRAILER} phải là số dòng", en=f"{_TRAILER} must be followed by the number of rows"))
        return int(digits)

    def _fail(self, line: int, message: Said) -> NoReturn:
        raise InvalidFileError([Problem(str(self.path), message, line)]) from None

    def _fail_not_utf8(self) -> NoReturn:
        """Raise with the line, which the decoder's own error does not know."""
        self._file.seek(0)
        zipped = self._file.read(2) == _GZIP_MAGIC
        self._file.seek(0)
        stream = gzip.GzipFile(fileobj=self._file) if zipped else self._file
        for line, data in enumerate(stream, 1):
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                self._fail(line, Said(vi="tệp không phải UTF-8", en="the file is not UTF-8"))
        raise AssertionError("the decoder refused what each line accepts")


def open_roster(path: Path) -> RosterReader:
    """Open a carrier's export: CSV (``,`` or ``;``), plain or gzip, with a header and perhaps a last line ``#rows=N``.

    Columns are found by name, English or Vietnamese. Raises `ConfigurationError` when the file cannot be read, `InvalidFileError`
    when it is not such a table.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(vi=f"không đọc được tệp {path}: {reason}", en=f"cannot read {path}: {reason}")) from error
    try:
        return RosterReader(path, file)
    except BaseException:
        file.close()
        raise
