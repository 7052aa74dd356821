"""Write stored cells in the two public forms: OpenCelliD's CSV and CLF 4.1. A text that could be a formula is made harmless."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from broadcaster.errors import ConfigurationError
from broadcaster.lang import Said

OPENCELLID_COLUMNS: Final = (
    "radio", "mcc", "net", "area", "cell", "unit", "lon", "lat",
    "range", "samples", "changeable", "created", "updated", "averageSignal",
)  # fmt: skip
CLF_COLUMNS: Final = (
    "MCCMNC", "CID", "LAC", "TYPE", "LAT", "LON", "POS-RAT", "DESC", "SYS", "LABEL", "AZI", "HEIGHT", "HBW", "VBW", "TILT", "LOC",
)  # fmt: skip
_SYS: Final = {"GSM": 1, "UMTS": 3, "LTE": 4, "NR": 5}
_RADIOS: Final = {"lte": "LTE", "nr": "NR"}


class StoredCell(Protocol):
    """What is written of a cell."""

    @property
    def key(self) -> str: ...
    @property
    def radio(self) -> str | None: ...
    @property
    def site(self) -> str | None: ...
    @property
    def lat(self) -> float | None: ...
    @property
    def lon(self) -> float | None: ...


def _fields(cell: StoredCell) -> tuple[str, str, str, str, str] | None:
    """Return radio, MCC, MNC, area and identity; None where neither key nor inventory tells GSM from UMTS."""
    kind, plmn, identity = cell.key.split(":")
    mcc, mnc = plmn.split("-")
    area, _, number = identity.rpartition("-")
    radio = _RADIOS.get(kind) or (cell.radio or "").upper()
    return (radio, mcc, mnc, area or "0", number) if radio in _SYS else None


def write_opencellid(path: Path, cells: Iterable[StoredCell]) -> int:
    """Write the cells as OpenCelliD's CSV; return how many. Raises `ConfigurationError` when the file exists or cannot be written."""
    rows = []
    for cell in cells:
        if fields := _fields(cell):
            radio, mcc, mnc, area, number = fields
            rows.append([radio, mcc, str(int(mnc)), area, number, "0", str(cell.lon), str(cell.lat), "0", "0", "0", "0", "0", "0"])
    return _write(path, OPENCELLID_COLUMNS, rows, ",")


def write_clf(path: Path, cells: Iterable[StoredCell]) -> int:
    """Write the cells as CLF 4.1; return how many. Raises `ConfigurationError` when the file exists or cannot be written."""
    rows = []
    for cell in cells:
        if fields := _fields(cell):
            radio, mcc, mnc, area, number = fields
            site = _harmless(cell.site or "")
            place = [str(cell.lat), str(cell.lon), "-1", radio, str(_SYS[radio]), site]
            rows.append([f"{mcc}{mnc}", f"{int(number):05d}", f"{int(area):05d}", "0", *place, "0", "0", "0", "0", "0", site])
    return _write(path, CLF_COLUMNS, rows, ";")


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, nor a reader for two fields."""
    bare = text.replace(";", ",")
    return f"'{bare}" if bare.startswith(("=", "+", "-", "@", "\t", "\r")) else bare


def _write(path: Path, columns: Iterable[str], rows: list[list[str]], delimiter: str) -> int:
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except FileExistsError as error:
        raise ConfigurationError(
            Said(f"đã có tệp {path}; không ghi đè.", f"{path} exists already and is not written over."),
            Said("Ghi tên một tệp chưa có.", "Give the name of a file that does not exist."),
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(f"không ghi được tệp {path}: {reason}", f"cannot write {path}: {reason}")) from error
    return len(rows)


FORMS: Final[Mapping[str, Callable[[Path, Iterable[StoredCell]], int]]] = {"opencellid": write_opencellid, "clf": write_clf}
