"""Open a table as a carrier or an office sends it: CSV, TSV or XLSX, gzipped or not, whatever the encoding and the delimiter.

What was found is said (`encoding`, `delimiter`, `sheet`), and rows come with the line they stand on. Text is streamed, so memory is
flat; limits on size hold after unpacking, so a bomb ends in an error. Nothing here knows what the columns mean.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NoReturn, Self, cast

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.workbook import OLE_MAGIC, ZIP_MAGIC, Workbook, WorkbookError
from broadcaster.lang import Said

MAX_BYTES: Final = 2 * 1024 * 1024 * 1024
"""After unpacking; five million rows of a roster are about 250 MB."""
MAX_ROWS: Final = 20_000_000
MAX_WORKBOOK_BYTES: Final = 256 * 1024 * 1024
"""Of an .xlsx file as it lies on disk."""
BLOCK_ROWS: Final = 20_000

_GZIP_MAGIC: Final = b"\x1f\x8b"
_SAMPLE_BYTES: Final = 256 * 1024
_SAMPLE_LINES: Final = 200
_DELIMITERS: Final = "\t;|,"
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_QUOTED: Final = re.compile(r'"[^"]*"')
_DECIMAL_COMMA: Final = re.compile(r"(?<=\d),(?=\d)")
_DELIMITER_HINT: Final = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
"""Excel's own first line."""

_BROKEN_CSV: Final = Said("sai cú pháp CSV: dấu nháy không đóng hoặc ô quá dài", "broken CSV: an unclosed quote or an overlong field")
_BROKEN_GZIP: Final = Said("tệp gz hỏng hoặc bị cắt cụt", "the gz file is damaged or cut short")

Block = tuple[Sequence[int], list[list[str]]]
"""Lines (1-based) and rows, of equal length."""


class SheetFile:
    """A table that has been opened; use as a context manager, read it once."""

    def __init__(self, name: str, encoding: str | None, delimiter: str | None, sheet: str | None) -> None:
        self.name = name
        """What errors call the file."""
        self.encoding = encoding
        """As Python names it; None in a workbook."""
        self.delimiter = delimiter
        """None in a workbook."""
        self.sheet = sheet
        """Name of the worksheet; None in a text file."""
        self._close: list[BinaryIO] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._close:
            file.close()

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Block]:
        """Yield all rows, blank ones too, `size` at a time. Raises `InvalidFileError` where the file stops being a table."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line, row) for every row that is not blank."""
        for lines, rows in self.blocks():
            for line, row in zip(lines, rows, strict=True):
                if any(row) and any(field.strip() for field in row):
                    yield line, row


class _WorkbookFile(SheetFile):
    def __init__(self, name: str, workbook: Workbook, sheet: str) -> None:
        super().__init__(name, None, None, sheet)
        self._workbook = workbook

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Block]:
        assert self.sheet is not None  # noqa: S101  set by the constructor
        try:
            rows = self._workbook.rows(self.sheet)
            while piece := list(islice(rows, size)):
                yield [line for line, _ in piece], [row for _, row in piece]
        except WorkbookError as error:
            _fail(self.name, error.message)


class _TextFile(SheetFile):
    def __init__(self, name: str, file: BinaryIO, encoding: str | None, max_bytes: int, *, packed: bool) -> None:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
        bounded = io.BufferedReader(_Bounded(stream, max_bytes, name), _SAMPLE_BYTES)
        self._text = io.TextIOWrapper(bounded, encoding="utf-8", newline="")
        sample = _peek(name, bounded)
        if not sample:
            _fail(name, Said("tệp rỗng", "the file is empty"))
        found = encoding or _encoding_of(sample)
        start = sample.decode(found, "ignore")
        hint = _DELIMITER_HINT.match(start.lstrip("\ufeff"))
        super().__init__(name, found, hint[1] if hint else _delimiter_of(start), None)
        self._text.reconfigure(encoding=found)
        self._first_line = 1
        if hint:
            self._text.readline()
            self._first_line = 2
        self._close += [stream, file]

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Block]:
        table = csv.reader(self._text, delimiter=self.delimiter or ",", strict=True)
        line, total = self._first_line, 0
        while True:
            before = table.line_num
            rows: list[list[str]] = []
            try:
                # What `extend` took before an error stays, and tells where the broken row begins.
                rows.extend(islice(table, size))
            except csv.Error:
                _fail(self.name, _BROKEN_CSV, (_lines(line, [*rows, []]))[-1])
            except UnicodeError:
                self._fail_encoding(line)
            except (OSError, EOFError, zlib.error):
                _fail(self.name, _BROKEN_GZIP, line)
            if not rows:
                return
            total += len(rows)
            if total > MAX_ROWS:
                _fail(self.name, Said(f"tệp có hơn {MAX_ROWS} dòng", f"the file has more than {MAX_ROWS} rows"))
            advanced = table.line_num - before
            yield (range(line, line + len(rows)) if advanced == len(rows) else _lines(line, rows)), rows
            line += advanced

    def _fail_encoding(self, line: int) -> NoReturn:
        assert self.encoding is not None  # noqa: S101  set by the constructor
        wanted = self.encoding.removesuffix("-sig").upper()
        _fail(
            self.name,
            Said(
                f"từ dòng này trở đi có chữ không phải {wanted}; lưu lại tệp dạng UTF-8",
                f"from this line on there are letters that are not {wanted}; save the file as UTF-8",
            ),
            line,
        )


class _Bounded(io.RawIOBase):
    """A stream that ends in an error when it gives more than it may."""

    def __init__(self, stream: BinaryIO, max_bytes: int, name: str) -> None:
        super().__init__()
        self._stream, self._left, self._max_bytes, self._name = stream, max_bytes, max_bytes, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any writable buffer
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            size = self._max_bytes >> 20
            _fail(self._name, Said(f"tệp bung ra lớn hơn {size} MiB", f"the file is larger than {size} MiB when unpacked"))
        buffer[: len(data)] = data
        return len(data)


def _fail(name: str, message: Said, line: int | None = None) -> NoReturn:
    raise InvalidFileError([Problem(name, message, line)]) from None


def _peek(name: str, stream: io.BufferedReader[_Bounded]) -> bytes:
    try:
        return stream.peek(_SAMPLE_BYTES)
    except (OSError, EOFError, zlib.error):
        _fail(name, _BROKEN_GZIP, 1)


def _lines(first: int, rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the line each row begins on, where some fields span lines."""
    lines = []
    for row in rows:
        lines.append(first)
        first += 1 + sum(field.count("\n") or field.count("\r") for field in row)
    return lines


def _encoding_of(sample: bytes) -> str:
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    # Without a mark, UTF-16 shows itself by the zeros of its plain letters: behind each in little endian, before it in big.
    pairs = max(len(sample) // 2, 1)
    if sample[1::2].count(0) * 2 > pairs:
        return "utf-16-le"
    return "utf-16-be" if sample[::2].count(0) * 2 > pairs else "utf-8"


def _delimiter_of(text: str) -> str:
    """Return the delimiter that cuts most lines into the same number of fields."""
    lines = [_QUOTED.sub('""', line) for line in text.splitlines()[:_SAMPLE_LINES]]
    return max(_DELIMITERS, key=lambda delimiter: _score(lines, delimiter))


def _score(lines: Sequence[str], delimiter: str) -> float:
    by_count: dict[int, list[str]] = {}
    for line in lines:
        if delimiter in line:
            by_count.setdefault(line.count(delimiter), []).append(line)
    alike = max(by_count.values(), key=lambda found: len(found) * found[0].count(delimiter), default=[])
    fields = sum(line.count(delimiter) for line in alike)
    # In a file cut by semicolons, commas between digits are decimal points.
    return fields - sum(len(_DECIMAL_COMMA.findall(line)) for line in alike) / 2 if delimiter == "," else fields


def open_table(path: Path, *, sheet: str | None = None, encoding: str | None = None, max_bytes: int = MAX_BYTES) -> SheetFile:
    """Open the table in `path`; see `table_of`.

    Raises `ConfigurationError` when the file cannot be read, `InvalidFileError` when it is no table, or larger than allowed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(f"không đọc được tệp {path}: {reason}", f"cannot read {path}: {reason}")) from error
    try:
        return table_of(file, str(path), sheet=sheet, encoding=encoding, max_bytes=max_bytes)
    except BaseException:
        file.close()
        raise


def table_of(
    file: BinaryIO, name: str, *, sheet: str | None = None, encoding: str | None = None, max_bytes: int = MAX_BYTES
) -> SheetFile:
    """Open the table in a stream of octets, which then belongs to what is returned; `name` is what errors call it.

    `sheet` names a worksheet and may be left out where only one is visible; `encoding` overrides what the first octets tell. Raises
    `InvalidFileError` when it is no table, or larger than `max_bytes` after unpacking.
    """
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", file))
    head = buffered.peek(4)[:4]
    if head == ZIP_MAGIC:
        return _WorkbookFile(name, *_workbook(buffered, name, sheet))
    if head == OLE_MAGIC:
        message = Said(
            "sổ Excel đời cũ (.xls) hoặc có mật khẩu; lưu lại dạng .xlsx không mật khẩu",
            "an old workbook (.xls), or one under a password; save it as .xlsx without a password",
        )
        _fail(name, message)
    if sheet is not None:
        _fail(name, Said(f"tệp chữ không có trang tính “{sheet}”", f"a text file has no worksheet “{sheet}”"))
    return _TextFile(name, cast("BinaryIO", buffered), encoding, max_bytes, packed=head[:2] == _GZIP_MAGIC)


def sheet_names(path: Path) -> list[str]:
    """Return the names of a workbook's visible worksheets, or nothing for a text file. Raises as `open_table` does."""
    try:
        with path.open("rb") as file:
            if file.peek(4)[:4] != ZIP_MAGIC:
                return []
            return _opened(file, str(path)).sheets
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(f"không đọc được tệp {path}: {reason}", f"cannot read {path}: {reason}")) from error


def _opened(file: BinaryIO, name: str) -> Workbook:
    data = file.read(MAX_WORKBOOK_BYTES + 1)
    if len(data) > MAX_WORKBOOK_BYTES:
        size = MAX_WORKBOOK_BYTES >> 20
        _fail(name, Said(f"tệp Excel lớn hơn {size} MiB", f"the workbook is larger than {size} MiB"))
    try:
        return Workbook(data)
    except WorkbookError as error:
        _fail(name, error.message)


def _workbook(file: BinaryIO, name: str, sheet: str | None) -> tuple[Workbook, str]:
    with file:
        workbook = _opened(file, name)
    listed = ", ".join(workbook.sheets)
    if sheet is None:
        if len(workbook.sheets) != 1:
            _fail(
                name,
                Said(f"tệp có các trang tính: {listed}; chọn một trang", f"the workbook has the worksheets: {listed}; choose one"),
            )
        return workbook, workbook.sheets[0]
    if sheet not in workbook.sheets:
        _fail(name, Said(f"không có trang tính “{sheet}”; có: {listed}", f"there is no worksheet “{sheet}”; there are: {listed}"))
    return workbook, sheet
