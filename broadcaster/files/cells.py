"""Read an inventory of base stations (BTS) and place every cell in a commune."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broadcaster.errors import ConfigurationError, InvalidFileError, NotFoundError, Problem
from broadcaster.files.areas import find_area
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode, CarrierCode
from broadcaster.rules.cellid import key_of
from broadcaster.rules.geo import in_province, nearest_area

COLUMNS: Final = ("carrier", "radio", "mcc", "mnc", "area", "cell", "site", "lat", "lon", "commune", "valid_from", "valid_to")
MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CellRow:
    """One cell of one carrier, valid for a span of dates."""

    carrier: CarrierCode
    key: str
    site: str
    lat: float
    lon: float
    commune: AreaCode | None
    """None: the file names no commune and no commune's centre is near."""
    approximate: bool
    """Placed by the nearest centre, not by the file's own commune."""
    valid_from: dt.date
    valid_to: dt.date | None


@dataclass(frozen=True, slots=True)
class CellFile:
    """What one inventory holds: the good rows in the file's order, and a problem for every other row."""

    rows: list[CellRow]
    problems: list[Problem]


class _BadRowError(Exception):
    def __init__(self, key: str, message: Said) -> None:
        super().__init__(key)
        self.key = key
        self.message = message


def read_cells(path: Path, areas: Sequence[Area]) -> CellFile:
    """Return the cells of a CSV file (``,`` or ``;``, UTF-8) with the columns `COLUMNS`.

    Raises `ConfigurationError` when the file cannot be read or is over 64 MiB, `InvalidFileError` when it is not such a table; a bad
    row never raises.
    """
    text = _text(path)
    delimiter = ";" if text.split("\n", 1)[0].count(";") > text.split("\n", 1)[0].count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", strict=True)
    found = CellFile([], [])
    places = _Places(areas)
    first_line: dict[tuple[CarrierCode, str, dt.date], int] = {}
    try:
        _check_header(path, [name.strip().lower() for name in reader.fieldnames or ()])
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        for record in reader:
            line = reader.line_num
            try:
                row = _row(record, places)
                _refuse_repeated(row, line, first_line)
                found.rows.append(row)
            except _BadRowError as error:
                found.problems.append(Problem(str(path), error.message, line, error.key))
    except csv.Error:
        message = Said(vi="sai cú pháp CSV (dấu nháy không đóng?)", en="broken CSV (an unclosed quote?)")
        raise InvalidFileError([Problem(str(path), message, reader.line_num)]) from None
    return found


def _refuse_repeated(row: CellRow, line: int, first_line: dict[tuple[CarrierCode, str, dt.date], int]) -> None:
    earlier = first_line.setdefault((row.carrier, row.key, row.valid_from), line)
    if earlier != line:
        raise _BadRowError("cell", Said(vi=f"ô này đã có ở dòng {earlier}", en=f"this cell is already on line {earlier}"))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(vi=f"không đọc được tệp {path}: {reason}", en=f"cannot read {path}: {reason}")) from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(Said(vi=f"tệp {path} lớn hơn 64 MiB", en=f"{path} is larger than 64 MiB"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidFileError([Problem(str(path), Said(vi="tệp không phải UTF-8", en="the file is not UTF-8"), line)]) from error


def _check_header(path: Path, names: Sequence[str]) -> None:
    problems = [
        Problem(str(path), Said(vi="thiếu cột bắt buộc", en="required column is missing"), 1, column)
        for column in COLUMNS
        if column not in names
    ]
    problems += [
        Problem(str(path), Said(vi="cột lặp lại", en="repeated column"), 1, name)
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    if problems:
        raise InvalidFileError(problems)


class _Places:
    """Find communes by the names of one file, each distinct name looked up once."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self._areas = areas
        self._by_name: dict[str, AreaCode | NotFoundError] = {}

    def place(self, name: str, lat: float, lon: float) -> tuple[AreaCode | None, bool]:
        if not name:
            near = nearest_area(self._areas, lat, lon)
            return (near[0].code, True) if near else (None, False)
        if name not in self._by_name:
            try:
                self._by_name[name] = find_area(self._areas, name).code
            except NotFoundError as error:
                self._by_name[name] = error
        found = self._by_name[name]
        if isinstance(found, NotFoundError):
            raise _BadRowError("commune", found.message)
        return found, False


def _row(record: Mapping[str, str | None], places: _Places) -> CellRow:
    if None in record:
        raise _BadRowError("carrier", Said(vi="thừa cột", en="too many columns"))
    value = {name: (text or "").strip() for name, text in record.items()}
    key = key_of(value["radio"], value["mcc"], value["mnc"], value["area"], value["cell"])
    if not value["carrier"]:
        raise _BadRowError("carrier", Said(vi="thiếu mã nhà mạng", en="the carrier's code is missing"))
    if key is None:
        raise _BadRowError(
            "cell",
            Said(
                vi="không đọc được định danh ô từ radio, mcc, mnc, area, cell",
                en="radio, mcc, mnc, area and cell do not make a cell identity",
            ),
        )
    lat, lon = _degrees(value["lat"], "lat"), _degrees(value["lon"], "lon")
    if not in_province(lat, lon):
        raise _BadRowError("lat", Said(vi="tọa độ nằm ngoài tỉnh Quảng Ngãi", en="the coordinates lie outside Quảng Ngãi province"))
    commune, approximate = places.place(value["commune"], lat, lon)
    valid_from = _date(value["valid_from"], "valid_from")
    valid_to = _date(value["valid_to"], "valid_to") if value["valid_to"] else None
    if valid_to and valid_to < valid_from:
        raise _BadRowError("valid_to", Said(vi="phải không sớm hơn valid_from", en="must not be before valid_from"))
    return CellRow(CarrierCode(value["carrier"]), key, value["site"], lat, lon, commune, approximate, valid_from, valid_to)


def _degrees(text: str, key: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise _BadRowError(key, Said(vi="phải là số độ, ví dụ 15,1135", en="must be degrees such as 15.1135")) from None


def _date(text: str, key: str) -> dt.date:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a calendar day, no moment
    except ValueError:
        raise _BadRowError(key, Said(vi="phải là ngày dạng 2026-01-31", en="must be a date such as 2026-01-31")) from None
