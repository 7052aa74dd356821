"""Read the cells of an Excel workbook (.xlsx) as text, after making sure that opening it cannot exhaust the machine.

An .xlsx file is a zip archive of XML. A small one can unpack to terabytes, one cell in the last corner or a boast about the size of
the sheet or of a list makes a reader allocate it all, which ends the whole process, and one long shared text can be repeated by a
million cells; each is measured before the workbook is opened. Formulas are never evaluated, and what the program that wrote the
file last computed is no value either: such a cell reads as ``=`` and that, which no column takes.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import IO, Final
from xml.etree import ElementTree as ET

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetVisibleEnum, load_workbook

from broadcaster.lang import Said

ZIP_MAGIC: Final = b"PK\x03\x04"
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0"
"""Workbooks of Excel 97, and .xlsx files under a password."""

MAX_UNPACKED_BYTES: Final = 512 * 1024 * 1024
MAX_PLACES: Final = 32_000_000
"""Rows × columns of the used range: a reader holds a place for each, filled or not."""
MAX_TEXT_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Longest shared text × cells that may repeat it."""
_LEAST_CELL_BYTES: Final = 20
"""``<c t="s"><v>0</v>``, about."""
_PIECE_BYTES: Final = 1 << 20
_SHEET: Final = re.compile(r"xl/worksheets/[^/]+\.xml", re.ASCII)
_TEXTS: Final = "xl/sharedStrings.xml"
_PLACE: Final = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})(\d{1,12})["']""")
_BOAST: Final = re.compile(rb"""\b(?:unique)?count\s*=\s*["'][\s+0]*(?:[1-9]\d{7}|[^"'\d])""", re.IGNORECASE)
"""A number of items of eight digits or more, or one that is not in plain digits."""
_DIMENSION: Final = re.compile(rb"<dimension\b[^>]*>")
_CORNER: Final = re.compile(rb"([A-Za-z]{1,3})(\d{1,12})")
_FORMULA: Final = re.compile(rb"<c(\s[^>]*)?>\s*<f[\s/>]")
"""The beginning of a cell with a formula, and the cell's attributes."""
_CELL: Final = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]{1,3})(\d{1,7})["']""")
_COLUMNS: Final = 1 << 14
"""At most, of a sheet; a place is row × this + column."""
_BOOK: Final = "xl/workbook.xml"
_LINKS: Final = "xl/_rels/workbook.xml.rels"
_MEMBER: Final = re.compile(r".*\.(?:xml|rels)", re.IGNORECASE)
_PREFIX: Final = re.compile(rb"<(/?)\w+:")
_ENTITY: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)")

UNREADABLE: Final = Said("tệp Excel hỏng hoặc không phải .xlsx", "the workbook is damaged or not .xlsx")


class WorkbookError(Exception):
    """The workbook cannot or must not be opened; carries a sentence for people."""

    def __init__(self, message: Said) -> None:
        super().__init__(message)
        self.message = message


class Workbook:
    """An opened workbook: the names of its visible sheets, and the rows of each."""

    def __init__(self, data: bytes) -> None:
        """Open the .xlsx file whose octets are `data`. Raises `WorkbookError`."""
        formulas = _measure(data)
        try:
            self._book: CalamineWorkbook = load_workbook(BytesIO(data))
        except (CalamineError, OSError, ValueError) as error:
            raise WorkbookError(UNREADABLE) from error
        self.sheets = [item.name for item in self._book.sheets_metadata if item.visible == SheetVisibleEnum.Visible]
        self._formulas: Mapping[str, array[int]] = _by_sheet(data, formulas) if formulas else {}

    def rows(self, sheet: str) -> Iterator[tuple[int, list[str]]]:
        """Yield (number as Excel shows it, texts) of each row, blank rows too. Raises `WorkbookError`."""
        try:
            opened: CalamineSheet = self._book.get_sheet_by_name(sheet)
        except (CalamineError, OSError, ValueError) as error:
            raise WorkbookError(UNREADABLE) from error
        places = iter(sorted(self._formulas.get(sheet, ())))
        place = next(places, None)
        for number, row in enumerate(opened.iter_rows(), 1):
            texts = [_text(value) for value in row]
            while place is not None and place // _COLUMNS <= number:
                at = place % _COLUMNS
                if place // _COLUMNS == number and at < len(texts) and not texts[at].startswith("="):
                    texts[at] = f"={texts[at]}"
                place = next(places, None)
            yield number, texts


def _text(value: float | str | bool | dt.time | dt.date | dt.timedelta) -> str:
    """Return a cell as a careful person would type it: whole numbers without a point, moments in ISO form."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return str(value)


def _measure(data: bytes) -> dict[str, array[int]]:
    """Return where each member that is a sheet has formulas. Raises `WorkbookError` when the workbook must not be opened."""
    formulas: dict[str, array[int]] = {}
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
                raise WorkbookError(_too_large(MAX_UNPACKED_BYTES))
            longest = 0
            sheet_bytes = 0
            for member in members:
                # `zipfile` stops at the size a member states and checks its sum, so no member can unpack to more than it says.
                with archive.open(member) as file:
                    if member.filename == _TEXTS:
                        longest = _longest_text(file)
                    elif _SHEET.fullmatch(member.filename):
                        if places := _measure_sheet(file):
                            formulas[member.filename] = places
                        sheet_bytes = max(sheet_bytes, member.file_size)
                    elif _MEMBER.fullmatch(member.filename):
                        for _ in _pieces(file):
                            pass
                    else:
                        while file.read(_PIECE_BYTES):
                            pass
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError, OSError) as error:
        raise WorkbookError(UNREADABLE) from error
    if longest * (sheet_bytes // _LEAST_CELL_BYTES) > MAX_TEXT_BYTES:
        raise WorkbookError(Said("tệp Excel có ô chữ dài bất thường", "the workbook has a cell with an abnormally long text"))
    return formulas


def _by_sheet(data: bytes, formulas: Mapping[str, array[int]]) -> dict[str, array[int]]:
    """Return places by the name of their sheet; the workbook's links say which member a sheet is (ECMA-376, part 1, 12.3.24)."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        try:
            # Measured before: neither has a document type, so nothing can expand.
            book, links = (ET.fromstring(archive.read(member)) for member in (_BOOK, _LINKS))  # noqa: S314
        except (KeyError, ET.ParseError) as error:
            raise WorkbookError(UNREADABLE) from error
    targets = {link.get("Id"): link.get("Target", "").removeprefix("/xl/") for link in links}
    found = {}
    for sheet in book.iterfind(".//{*}sheet"):
        link = next((value for name, value in sheet.items() if name.endswith("}id")), None)
        if (places := formulas.get(f"xl/{targets.get(link)}")) is not None:
            found[sheet.get("name", "")] = places
    return found


def _too_large(limit_bytes: int) -> Said:
    size = limit_bytes >> 20
    return Said(f"tệp Excel bung ra lớn hơn {size} MiB", f"the workbook unpacks to more than {size} MiB")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a member of XML in pieces that end with a tag, without prefixes of namespaces.

    Raises `WorkbookError` for a document type, and for a boast about how many items there are.
    """
    waiting: list[bytes] = []
    while piece := file.read(_PIECE_BYTES):
        head, mark, tail = piece.rpartition(b">")
        if not mark:
            waiting.append(tail)
            continue
        whole = b"".join([*waiting, head, mark])
        waiting = [tail]
        if _ENTITY.search(whole) or _BOAST.search(whole):
            raise WorkbookError(UNREADABLE)
        yield _PREFIX.sub(rb"<\1", whole)


def _measure_sheet(file: IO[bytes]) -> array[int]:
    """Return where formulas stand. Raises `WorkbookError` when the used range is larger than any inventory or roster needs."""
    formulas = array("Q")
    last_cell = b""
    letters: set[bytes] = set()
    counted = farthest = widest = cells = 0
    for piece in _pieces(file):
        if b"<f" in piece:
            formulas.extend(map(_place, _FORMULA.findall(last_cell + piece)))
        last_cell = piece[piece.rfind(b"<c") :]
        begun, *rows = piece.split(b"<row")
        cells += _cells(begun)
        for row in rows:
            widest = max(widest, cells)
            cells = _cells(row)
        for dimension in _DIMENSION.findall(piece):
            _refuse_places(*_corner(_CORNER.findall(dimension)))
        counted += len(rows)
        places = _PLACE.findall(piece)
        letters.update({column for column, _ in places})
        farthest = max(farthest, max((int(number) for _, number in places), default=0))
    _refuse_places(max(counted, farthest), max(widest, cells, max(map(_column, letters), default=0)))
    return formulas


def _place(attributes: bytes) -> int:
    match = _CELL.search(attributes)
    if not match:
        raise WorkbookError(Said("có công thức ở ô không ghi vị trí", "a formula stands in a cell that does not say its place"))
    return int(match[2]) * _COLUMNS + _column(match[1]) - 1


def _corner(corners: Sequence[tuple[bytes, bytes]]) -> tuple[int, int]:
    return max((int(row) for _, row in corners), default=0), max((_column(letters) for letters, _ in corners), default=0)


def _refuse_places(rows: int, columns: int) -> None:
    if rows * columns > MAX_PLACES:
        raise WorkbookError(
            Said(
                f"trang tính trải trên {rows} dòng × {columns} cột, quá lớn",
                f"the sheet spreads over {rows} rows × {columns} columns, too many",
            )
        )


def _cells(row: bytes) -> int:
    return row.count(b"<c ") + row.count(b"<c>") + row.count(b"<c/")


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _longest_text(file: IO[bytes]) -> int:
    """Return the length in octets of the longest shared text, its mark-up included."""
    longest = length = 0
    for piece in _pieces(file):
        *ended, begun = piece.split(b"</si>")
        for text in ended:
            longest = max(longest, length + len(text))
            length = 0
        length += len(begun)
    return max(longest, length)
