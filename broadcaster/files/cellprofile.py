"""How one carrier's inventory of base stations is to be read: which column holds what, in TOML beside the carriers' cards.

Most inventories need no profile: columns are found by the names that carriers use, in English and Vietnamese.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from broadcaster.files.tomlfile import Table, load
from broadcaster.lang import Said
from broadcaster.text.fold import fold_key

PROFILES_FOLDER: Final = "cells"
"""Beside the carriers' cards; a profile's file name is the carrier's code."""

FIELDS: Final = (
    "carrier", "radio", "mcc", "mnc", "plmn", "area", "cell", "node", "identity", "site", "lat", "lon",
    "commune", "district", "province", "valid_from", "valid_to", "status", "sys",
)  # fmt: skip
"""What a row may tell. `area` is LAC or TAC, `cell` is CI, ECI or NCI, `node` the eNodeB where `cell` is only local to it, `identity`
all in one, `plmn` MCC and MNC in one, `sys` CLF's number of the radio."""

_NAMES: Final[Mapping[str, str]] = {
    "carrier": "carrier, nha mang, mang, doanh nghiep",
    "radio": "radio, rat, loai, cong nghe, technology, the he, loai tram, loai cell",
    "mcc": "mcc",
    "mnc": "mnc, net",
    "plmn": "plmn, mccmnc",
    "area": "area, lac, tac, lac tac, tac lac",
    "cell": "cell, ci, eci, nci, cid, ci eci, ci eci nci, eci nci",
    "node": "node, enodeb id, enb id, enodebid, enodeb, enb",
    "identity": "identity, cgi, ecgi, ncgi, cgi ecgi, ecgi ncgi, cell global id, ma cell, ma o",
    "site": "site, site id, siteid, ma tram, ma nha tram, ma vi tri",
    "lat": "lat, latitude, vi do",
    "lon": "lon, long, lng, longitude, kinh do",
    "commune": "commune, xa, xa phuong, phuong xa, xa phuong dac khu, phuong xa dac khu, ward",
    "district": "district, huyen, quan huyen, huyen tp, huyen thi xa thanh pho",
    "province": "province, tinh, tinh tp, tinh thanh pho",
    "valid_from": "valid from, ngay phat song, ngay hoat dong, tu ngay, on air date",
    "valid_to": "valid to, ngay ngung, ngay dung, ngay ngung phat song, den ngay",
    "status": "status, trang thai, tinh trang",
    "sys": "sys",
}
_BY_NAME: Final = {name: field for field, names in _NAMES.items() for name in names.split(", ")}
_NO_LETTER: Final = re.compile(r"[^a-z0-9]+")


def column_key(title: str) -> str:
    """Return the form under which two spellings of a column's title are equal."""
    return _NO_LETTER.sub(" ", fold_key(title)).strip()


class CellProfile(Table):
    """One carrier's way of writing an inventory, as ``carriers/cells/<code>.toml`` says it."""

    sheet: str | None = None
    """Name of the worksheet, where a workbook has several."""
    encoding: Literal["utf-8", "utf-16", "cp1258", "cp1252"] | None = None
    """Where the file does not say it itself; cp1258 is Windows' Vietnamese."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our field → the column's title in the file."""
    fixed: dict[str, str] = Field(default_factory=dict)
    """Our field → the value that holds for every row of a file without such a column."""
    hexadecimal: tuple[str, ...] = ()
    """Fields written in hexadecimal without ``0x``."""

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        unknown = sorted({*self.columns, *self.fixed, *self.hexadecimal} - set(FIELDS))
        if unknown:
            names, known = ", ".join(unknown), ", ".join(FIELDS)
            raise ValueError(Said(f"không có trường {names}; chỉ có: {known}", f"there is no field {names}; there are: {known}"))
        return self

    def fields_of(self, titles: Sequence[str]) -> dict[str, int]:
        """Return field → place of its column, as far as the titles of one row tell; a title that comes twice counts once."""
        chosen = {column_key(title): field for field, title in self.columns.items()}
        found: dict[str, int] = {}
        for place, title in enumerate(titles):
            key = column_key(title)
            field = chosen.get(key) or _BY_NAME.get(key)
            if field is not None and (field not in self.columns or key in chosen):
                found.setdefault(field, place)
        return found


def read_profile(path: Path) -> CellProfile:
    """Read a profile. Raises `ConfigurationError` when the file cannot be read, `InvalidFileError` with every problem."""
    return load(path, CellProfile)
