"""Read an inventory of base stations (BTS) as a carrier exports it, and place every cell in a commune.

Also read: OpenCelliD's and MLS's CSV (github.com/mozilla/ichnaea, docs/import_export.rst), with or without its header, and CLF 4.1,
whose numbers for radios (SYS) are 1 GSM, 3 UMTS, 4 LTE, 5 NR; programs that write CLF differ in them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from broadcaster.errors import InvalidFileError, NotFoundError, Problem
from broadcaster.files.cellprofile import FIELDS, CellProfile
from broadcaster.files.cellstatus import on_air
from broadcaster.files.placing import Named, Placed, Places
from broadcaster.files.sheets import open_table
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode, CarrierCode
from broadcaster.rules.cellid import cell_key, key_of, pair_key, radio_of, with_node
from broadcaster.rules.coordinates import Spot, degrees, spot
from broadcaster.rules.geo import Outline, distance_km, in_province
from broadcaster.text.fold import fold_key, nfc

COLUMNS: Final = ("carrier", "radio", "mcc", "mnc", "area", "cell", "site", "lat", "lon", "commune", "valid_from", "valid_to")
"""What an inventory of our own making has."""
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_SITE_CHARS: Final = 64
_HEADER_ROWS: Final = 40
"""How far down a header may stand, below titles."""
_SAME_PLACE_KM: Final = 1.0
"""Sectors of one mast are written with coordinates that differ a little."""

_OPENCELLID: Final = ("radio", "mcc", "mnc", "area", "cell", "unit", "lon", "lat")
_CLF: Final = ("plmn", "cell", "area", "type", "lat", "lon", "pos-rat", "desc", "sys", "site")
_CLF_RADIOS: Final = {"1": "gsm", "3": "umts", "4": "lte", "5": "nr"}
_OPENCELLID_FIRST: Final = re.compile(r"(?:GSM|UMTS|LTE|NR|CDMA),\d{3},\d{1,3},", re.ASCII)
_CLF_FIRST: Final = re.compile(r"\d{5},(?:0x)?[0-9A-Fa-f]+,(?:0x)?[0-9A-Fa-f]+,\d,", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"[0-9]*[A-Fa-f][0-9A-Fa-f]*", re.ASCII)
_WRAPPED: Final = re.compile(r'="([^"]*)"')
"""How spreadsheets keep leading zeros in CSV."""
_FOOT: Final = ("tong", "cong", "total", "ghi chu", "nguoi lap", "ngay lap")
"""How a line of totals, notes or signatures below the table begins."""
_TELLING: Final = ("identity", "cell", "commune", "lat", "lon")
"""A line below the table has at most one of these filled, by chance."""
_DAY_FORMS: Final = ("%Y-%m-%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y")
_SERIAL: Final = re.compile(r"(\d{5})(?:[.,]\d+)?", re.ASCII)
_SPREADSHEET_EPOCH: Final = dt.date(1899, 12, 30)


class Skip(StrEnum):
    """Why a row that is in order does not become a cell of its own."""

    OTHER_NETWORK = "other-network"
    OFF_AIR = "off-air"
    REPEATED = "repeated"
    """The same cell again, as inventories by sector or by band have it."""
    FAR_AWAY = "far-away"
    """Outside the province, in a format that covers a whole country."""
    FOOT = "foot"
    """No cell at all: totals, notes, signatures."""


@dataclass(frozen=True, slots=True)
class CellRow:
    """One cell of one carrier, valid for a span of dates."""

    line: int
    carrier: CarrierCode
    key: str
    radio: str | None
    """``gsm``, ``umts``, ``lte`` or ``nr``, if the row tells."""
    site: str
    lat: float | None
    lon: float | None
    commune: AreaCode | None
    """None: the cell stands in no commune of ours."""
    placed: Placed
    valid_from: dt.date | None
    valid_to: dt.date | None
    """Inclusive."""

    @property
    def approximate(self) -> bool:
        """Whether only the nearest centre placed it."""
        return self.placed is Placed.NEAREST


@dataclass(frozen=True, slots=True)
class CellFile:
    """What one inventory holds: cells in the file's order, a problem for every bad row, how many rows were passed over and why."""

    rows: list[CellRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: Counter[Skip] = field(default_factory=Counter)
    swapped: list[int] = field(default_factory=list)
    """Lines on which latitude and longitude stood in each other's place."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Words for a cell's state that say neither way, such as *mất liên lạc*; such a cell counts, lest its people be lost."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose inventory it is said to be, and how it is to be read."""

    carrier: CarrierCode | None = None
    """None: the file names the carrier of every row."""
    mnc: str = ""
    """The carrier's own network; rows of other networks are passed over."""
    profile: CellProfile = field(default_factory=CellProfile)
    sheet: str | None = None
    names: Mapping[str, CarrierCode] = field(default_factory=dict)
    """Folded names that a row may call a carrier by, see `files.ports.network_names`; empty: any code is taken."""


class _BadRowError(Exception):
    def __init__(self, key: str, message: Said) -> None:
        super().__init__(key)
        self.key = key
        self.message = message


class _SkippedRowError(Exception):
    def __init__(self, why: Skip) -> None:
        super().__init__(why)
        self.why = why


class _Layout(NamedTuple):
    """Where a file's columns are."""

    line: int
    """Of the header; 0 if the file has none."""
    fields: Mapping[str, int]
    width: int
    """Columns that have a title; what stands further right is a slip, such as a decimal comma between commas. 0: no titles."""
    whole_country: bool


def read_cells(
    path: Path, areas: Sequence[Area], asked: Asked = Asked(), outlines: Mapping[AreaCode, Outline] | None = None
) -> CellFile:
    """Return the cells of an inventory: CSV, TSV or XLSX, its header anywhere in the first rows, columns in any order.

    Raises `ConfigurationError` when the file cannot be read, `InvalidFileError` when it is no such table; a bad row never raises.
    """
    layout, hexadecimal = _survey(path, asked)
    reader = _Reader(asked, layout, hexadecimal, Places(areas, outlines or {}))
    found = CellFile()
    for line, row in _rows(path, asked):
        if line <= layout.line:
            continue
        try:
            reader.refuse_foot(row)
            cell = reader.read(line, row, found)
            reader.refuse_repeated(cell)
            found.rows.append(cell)
        except _SkippedRowError as error:
            found.skipped[error.why] += 1
        except _BadRowError as error:
            found.problems.append(Problem(str(path), error.message, line, error.key))
    return found


def _rows(path: Path, asked: Asked) -> Iterator[tuple[int, list[str]]]:
    sheet = asked.sheet or asked.profile.sheet
    with open_table(path, sheet=sheet, encoding=asked.profile.encoding, max_bytes=MAX_BYTES) as table:
        yield from table


def _survey(path: Path, asked: Asked) -> tuple[_Layout, set[str]]:
    """Find the columns, and those among them that are hexadecimal throughout: one value with a letter tells it of the others."""
    layout: _Layout | None = None
    best: tuple[int, dict[str, int]] = (1, {})
    letters: dict[str, bool] = {"area": False, "cell": False, "node": False}
    plain = dict(letters)
    for number, (line, row) in enumerate(_rows(path, asked)):
        if layout is None:
            layout = _layout(line, row, asked)
            found = asked.profile.fields_of(row)
            best = max(best, (line, found), key=lambda item: len(item[1]))
            if layout is None and number >= _HEADER_ROWS:
                break
            if layout is None or layout.line:
                continue
        for name in letters.keys() & layout.fields.keys():
            value = row[layout.fields[name]].strip() if layout.fields[name] < len(row) else ""
            letters[name] = letters[name] or _HEXADECIMAL.fullmatch(value) is not None
            plain[name] = plain[name] or value[:2] in ("0x", "0X")
    if layout is None:
        _fail_header(path, *best, asked)
    return layout, {name for name, has in letters.items() if has and not plain[name]} | set(asked.profile.hexadecimal)


def _layout(line: int, row: Sequence[str], asked: Asked) -> _Layout | None:
    head = ",".join(row[:5])
    if _OPENCELLID_FIRST.match(head) and len(row) >= len(_OPENCELLID):
        return _Layout(0, {name: place for place, name in enumerate(_OPENCELLID)}, 0, whole_country=True)
    if _CLF_FIRST.match(head) and len(row) >= len(_CLF):
        return _Layout(0, {name: place for place, name in enumerate(_CLF)}, 0, whole_country=True)
    fields = asked.profile.fields_of(row)
    known = fields.keys() | asked.profile.fixed.keys()
    if not _missing(known, asked):
        titles = {title.strip().lower() for title in row}
        return _Layout(line, fields, len(row), whole_country={"net", "unit"} <= titles or "mccmnc" in titles)
    return None


def _missing(known: set[str], asked: Asked) -> list[str]:
    missing = [] if {"cell", "identity"} & known else ["cell"]
    if "commune" not in known:
        missing += [name for name in ("lat", "lon") if name not in known]
    return missing + (["carrier"] if asked.carrier is None and "carrier" not in known else [])


def _fail_header(path: Path, line: int, fields: Mapping[str, int], asked: Asked) -> NoReturn:
    expected = Said("không tìm thấy cột này ở dòng tiêu đề", "no column of the header is this one")
    raise InvalidFileError(
        [Problem(str(path), expected, line, name) for name in _missing(fields.keys() | asked.profile.fixed.keys(), asked)]
    )


def _begins_as_foot(row: Sequence[str]) -> bool:
    first = next((text for text in row if text.strip()), "")
    return fold_key(first).startswith(_FOOT) and sum(1 for text in row if text.strip()) <= 3


class _Reader:
    """Turn rows into cells."""

    def __init__(self, asked: Asked, layout: _Layout, hexadecimal: set[str], places: Places) -> None:
        self._asked = asked
        self._layout = layout
        self._hexadecimal = hexadecimal
        self._places = places
        self._first: dict[tuple[CarrierCode, str, dt.date | None], CellRow] = {}

    def refuse_foot(self, row: Sequence[str]) -> None:
        """Raise `_SkippedRowError` for a line below the table; a row that names a cell is none, whatever its site is called."""
        if not _begins_as_foot(row):
            return
        places = [self._layout.fields[name] for name in _TELLING if name in self._layout.fields]
        if sum(1 for place in places if place < len(row) and row[place].strip()) > 1:
            return
        try:
            value = self._values(row)
            self._key(value, _radio(value), self._network(value)[1])
        except (_BadRowError, _SkippedRowError):
            raise _SkippedRowError(Skip.FOOT) from None

    def read(self, line: int, row: Sequence[str], found: CellFile) -> CellRow:
        value = self._values(row)
        carrier, mnc = self._network(value)
        if value["status"]:
            broadcasts = on_air(value["status"])
            if broadcasts is False:
                raise _SkippedRowError(Skip.OFF_AIR)
            found.statuses.update([value["status"]] if broadcasts is None else ())
        radio = _radio(value)
        key = self._key(value, radio, mnc)
        if self._asked.mnc and not key.partition(":")[2].startswith(f"452-{int(self._asked.mnc):02d}:"):
            raise _SkippedRowError(Skip.OTHER_NETWORK)
        where = self._spot(value)
        if where is not None and where.swapped:
            found.swapped.append(line)
        lat, lon = (where.lat, where.lon) if where else (None, None)
        try:
            named = Named(value["commune"], value["district"], value["province"])
            commune, placed = self._places.place(named, lat, lon)
        except NotFoundError as error:
            raise _BadRowError("commune", error.message) from None
        valid_from, valid_to = _day(value["valid_from"], "valid_from"), _day(value["valid_to"], "valid_to")
        if valid_from and valid_to and valid_to < valid_from:
            raise _BadRowError("valid_to", Said("phải không sớm hơn valid_from", "must not be before valid_from"))
        told = None if radio == "cgi" else radio
        return CellRow(line, carrier, key, told, value["site"][:MAX_SITE_CHARS], lat, lon, commune, placed, valid_from, valid_to)

    def _values(self, row: Sequence[str]) -> dict[str, str]:
        fixed, fields = self._asked.profile.fixed, self._layout.fields
        if self._layout.width and any(text.strip() for text in row[self._layout.width :]):
            raise _BadRowError("columns", Said("dòng thừa cột so với tiêu đề", "the row has more columns than the header"))
        value = dict.fromkeys(FIELDS, "")
        value |= fixed
        for name, place in fields.items():
            text = nfc(row[place]).strip() if place < len(row) else ""
            if wrapped := _WRAPPED.fullmatch(text):
                text = wrapped[1]
            if text.startswith(("=", "@")):
                raise _BadRowError(name, Said("ô chứa công thức; chỉ nhận giá trị", "a formula stands here; only values are taken"))
            if text:
                value[name] = text
        for name in self._hexadecimal:
            if value[name] and value[name][:2] not in ("0x", "0X"):
                value[name] = f"0x{value[name]}"
        return value

    def _network(self, value: Mapping[str, str]) -> tuple[CarrierCode, str]:
        """Return whose cell it is, and its network. Raises `_SkippedRowError` for another carrier where only its name tells."""
        plmn = value["plmn"]
        given = value["mnc"] or plmn[3:]
        if self._asked.carrier is None:
            if not value["carrier"]:
                raise _BadRowError("carrier", Said("thiếu mã nhà mạng", "the carrier's code is missing"))
            return self._carrier_named(value["carrier"]), given
        if not given and value["carrier"] and not fold_key(value["carrier"]).startswith(self._asked.carrier):
            raise _SkippedRowError(Skip.OTHER_NETWORK)
        return self._asked.carrier, given or self._asked.mnc

    def _carrier_named(self, text: str) -> CarrierCode:
        names = self._asked.names
        code = names.get(fold_key(text)) if names else CarrierCode(text)
        if code is None:
            known = ", ".join(sorted(set(names.values())))
            raise _BadRowError(
                "carrier",
                Said(f"không có thẻ nhà mạng “{nfc(text)}”; hiện có: {known}", f"no carrier card “{nfc(text)}”; there are: {known}"),
            )
        return code

    def _key(self, value: Mapping[str, str], radio: str | None, mnc: str) -> str:
        mcc = value["mcc"] or value["plmn"][:3] or "452"
        key = cell_key(value["identity"], radio) if value["identity"] else None
        if key is None and mnc and value["identity"]:
            key = pair_key(value["identity"], radio, mcc, mnc)
        if key is None and value["cell"]:
            area, cell = value["area"], value["cell"]
            key = key_of(radio, mcc, mnc, area, with_node(value["node"], cell) if radio in (None, "lte") else cell)
        if key is None and value["cell"]:
            key = cell_key(value["cell"], radio)
        if key is None:
            raise _BadRowError(
                "cell",
                Said(
                    "không đọc được định danh ô từ radio, mcc, mnc, area, cell; thiếu loại mạng thì ghi ở tệp mô tả cột (--profile)",
                    "radio, mcc, mnc, area and cell do not make a cell identity; a profile (--profile) can say the radio",
                ),
            )
        return key

    def _spot(self, value: Mapping[str, str]) -> Spot | None:
        lat, lon = value["lat"], value["lon"]
        if not (lat or lon) and value["commune"]:
            return None
        found = spot(lat, lon)
        if found is None:
            name = "lat" if degrees(lat) is None else "lon"
            raise _BadRowError(
                name, Said("phải là số độ, ví dụ 15,1135 hoặc 15°06'48\"", "must be degrees such as 15.1135 or 15°06'48\"")
            )
        if not in_province(found.lat, found.lon):
            if self._layout.whole_country:
                raise _SkippedRowError(Skip.FAR_AWAY)
            raise _BadRowError("lat", Said("tọa độ nằm ngoài tỉnh Quảng Ngãi", "the coordinates lie outside Quảng Ngãi province"))
        return found

    def refuse_repeated(self, row: CellRow) -> None:
        """Raise `_SkippedRowError` for one more sector of a cell, `_BadRowError` when the same cell stands in two places."""
        first = self._first.setdefault((row.carrier, row.key, row.valid_from), row)
        if first is row:
            return
        if first.commune == row.commune and (row.lat is None or first.lat is None or _apart_km(first, row) <= _SAME_PLACE_KM):
            raise _SkippedRowError(Skip.REPEATED)
        raise _BadRowError(
            "cell",
            Said(f"ô này đã có ở dòng {first.line}, tại nơi khác", f"this cell is already on line {first.line}, in another place"),
        )


def _radio(value: Mapping[str, str]) -> str | None:
    return radio_of(value["radio"]) or _CLF_RADIOS.get(value["sys"])


def _apart_km(first: CellRow, second: CellRow) -> float:
    return distance_km(first.lat or 0, first.lon or 0, second.lat or 0, second.lon or 0)


def _day(text: str, key: str) -> dt.date | None:
    text = text.partition(" ")[0].partition("T")[0]
    if not text:
        return None
    if serial := _SERIAL.fullmatch(text):
        return _SPREADSHEET_EPOCH + dt.timedelta(days=int(serial[1]))
    for form in _DAY_FORMS:
        try:
            return dt.datetime.strptime(text, form).date()  # noqa: DTZ007  a calendar day, no moment
        except ValueError:
            continue
    raise _BadRowError(key, Said("phải là ngày dạng 31/01/2026 hoặc 2026-01-31", "must be a date such as 2026-01-31 or 31/01/2026"))
