"""The units that the communes of today came from: former communes, districts and provinces, with dates, and how names find them.

Districts ended on 30-06-2025 (resolution 202/2025/QH15). Until 31-01-2020 there were 14 in the old province, then 13: Tây Trà went
into Trà Bồng, and Đức Phổ became a town (resolution 867/NQ-UBTVQH14).
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Final

from broadcaster.errors import NotFoundError
from broadcaster.files.areas import NEAR, AmbiguousNameError, find_area
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode
from broadcaster.text.fold import fold_key, nfc

QUANG_NGAI: Final = "51"
KON_TUM: Final = "62"
_PROVINCES: Final = {QUANG_NGAI: "Tỉnh Quảng Ngãi", KON_TUM: "Tỉnh Kon Tum"}
_WHOLE: Final = frozenset({"tinh quang ngai", "toan tinh", "toan tinh quang ngai", "tinh quang ngai moi", "province"})
_FORMER: Final = re.compile(r"\s*(?:\(\s*cu\s*\)|\bcu)$", re.ASCII)
_SHORT_KINDS: Final = (
    *(("tp.", "thanh pho "), ("tx.", "thi xa "), ("tp ", "thanh pho "), ("tx ", "thi xa "), ("h.", "huyen ")),
    *(("tt.", "thi tran "), ("tt ", "thi tran "), ("p.", "phuong "), ("x.", "xa ")),
)
_SHORT_TODAY: Final = tuple(
    (re.compile(rf"{short}\s*", re.IGNORECASE), kind)
    for short, kind in ((r"p\.", "Phường "), (r"x\.", "Xã "), (r"[đd]k[.\s]", "Đặc khu "))
)
"""The rest keeps its accents, which alone tell Ba Tơ from Ba Tô."""
_WRITE_KIND: Final = Said("ghi cả chữ huyện, thị xã, thành phố hoặc tỉnh", "write the word for its kind as well")
_DISTRICT_KINDS: Final = ("huyen ", "thi xa ", "thanh pho ")
_COMMUNE_KINDS: Final = ("xa ", "phuong ", "thi tran ", "dac khu ")


@dataclass(frozen=True, slots=True)
class FormerCommune:
    """A commune of before 01-07-2025 and what became of it; its code may be another unit's today."""

    code: str
    name: str
    district: str
    province: str
    became: tuple[AreaCode, ...]
    """One commune of today, or two where it was split, the larger part first."""


@dataclass(frozen=True, slots=True)
class District:
    """A former district as it was between two dates; the code and the dates are the key."""

    code: str
    name: str
    province: str
    valid_from: dt.date | None
    """None: before our data begin."""
    valid_to: dt.date
    areas: tuple[AreaCode, ...]
    """The communes of today that have land of it, in order of code."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a name stands for today; `areas` is empty for the whole province."""

    name: str
    areas: tuple[AreaCode, ...]


def _rows(file_name: str) -> Iterator[dict[str, str]]:
    text = resources.files("broadcaster.files").joinpath(f"data/{file_name}").read_text("utf-8")
    return csv.DictReader(text.splitlines())


@cache
def read_former_communes() -> tuple[FormerCommune, ...]:
    """Return the communes of January 2025 with the communes of today, in order of district and code."""
    rows: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in _rows("communes_old_to_new.csv"):
        rows.setdefault((row["old_district_code"], row["old_ward_code"]), []).append(row)
    return tuple(
        FormerCommune(
            code,
            found[0]["old_ward"],
            district,
            found[0]["old_province_code"],
            tuple(AreaCode(row["new_ward_code"]) for row in sorted(found, key=lambda row: row["how"] != "part-default")),
        )
        for (district, code), found in sorted(rows.items())
    )


@cache
def read_districts() -> tuple[District, ...]:
    """Return every state of every former district that the data know, in order of code and date."""
    districts = []
    for row in _rows("districts.csv"):
        named = row["former_communes"].split()
        land = [item for item in read_former_communes() if (item.code in named if named else item.district == row["code"])]
        areas = sorted({code for item in land for code in item.became})
        valid_from = dt.date.fromisoformat(row["valid_from"]) if row["valid_from"] else None
        valid_to = dt.date.fromisoformat(row["valid_to"])
        districts.append(District(row["code"], row["name"], row["province"], valid_from, valid_to, tuple(areas)))
    return tuple(districts)


def districts_on(day: dt.date) -> list[District]:
    """Return the districts that existed on a day; none since 01-07-2025."""
    return [item for item in read_districts() if (item.valid_from is None or item.valid_from <= day) and day <= item.valid_to]


def find_place(areas: Sequence[Area], text: str) -> Place:
    """Return the communes of today behind the name or code of a commune, or of a former commune, district or province.

    A former unit is named with «cũ» behind it, or by its kind alone, as no districts are left. The last state of a district counts.
    Raises `NotFoundError` with suggestions when nothing answers, `AmbiguousNameError` with the candidates when several do.
    """
    key = _key(text)
    if key in _WHOLE:
        return Place(_PROVINCES[QUANG_NGAI], ())
    if key == "quang ngai":
        # The former city is called so as well, and a slip would reach ten times the people.
        listed = "tỉnh Quảng Ngãi, thành phố Quảng Ngãi cũ, tỉnh Quảng Ngãi cũ"
        raise AmbiguousNameError(_several(text, listed), _WRITE_KIND)
    bare = _FORMER.sub("", key)
    former = bare != key or bare.startswith(_DISTRICT_KINDS) or re.fullmatch(r"\d{3}", bare) is not None
    if not former and bare != "tinh kon tum":
        try:
            area = find_area(areas, _written_out(text))
        except AmbiguousNameError:
            raise
        except NotFoundError as error:
            raise _explained(areas, text, bare, error) from None
        return Place(area.name, (area.code,))
    found = _former(areas, bare, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousNameError(_several(text, ", ".join(f"{place.name} cũ" for place in found)), _WRITE_KIND)
    raise NotFoundError(
        Said(
            f"trong tỉnh không có xã, huyện, thị xã, thành phố hay tỉnh cũ nào tên “{nfc(text)}”",
            f"the province has no former commune, district or province named “{nfc(text)}”",
        ),
        _suggested(bare),
    )


def _key(text: str) -> str:
    key = fold_key(text)
    for short, kind in _SHORT_KINDS:
        if key.startswith(short):
            return kind + key.removeprefix(short).strip()
    return key


def _written_out(text: str) -> str:
    plain = nfc(text).strip()
    for short, kind in _SHORT_TODAY:
        if match := short.match(plain):
            return kind + plain[match.end() :]
    return text


def _several(text: str, listed: str) -> Said:
    return Said(f"“{nfc(text)}” có thể là nhiều nơi: {listed}", f"“{nfc(text)}” may be several places: {listed}")


def _newest_districts() -> list[District]:
    return list({fold_key(item.name): item for item in read_districts()}.values())


def _former(areas: Sequence[Area], bare: str, text: str) -> list[Place]:
    """Return the former districts and provinces, else the former commune, that a folded name or code, written `text`, stands for."""
    named = [item for item in _newest_districts() if bare in (fold_key(item.name), _bare(item.name, _DISTRICT_KINDS), item.code)]
    # Đức Phổ is one place, whether it is called a district or a town.
    places = {item.code: Place(item.name, item.areas) for item in named}
    found = list(places.values())
    for code, name in _PROVINCES.items():
        if bare in (fold_key(name), fold_key(name).removeprefix("tinh ")):
            found.append(Place(name, tuple(area.code for area in areas if area.former_province == code)))
    if found:
        return found
    communes = _former_communes(bare)
    if len(communes) > 1:
        told = ", ".join(f"{item.name} cũ ({_district_name(item.district)}, {item.code})" for item in communes)
        example = f"{communes[0].code} cũ"
        raise AmbiguousNameError(
            _several(text, told), Said(f"ghi mã cũ, ví dụ “{example}”", f"write the former code, such as “{example}”")
        )
    return [Place(item.name, item.became) for item in communes]


def _former_communes(bare: str) -> list[FormerCommune]:
    return [
        item
        for item in read_former_communes()
        if item.name and bare in (item.code, fold_key(item.name), _bare(item.name, _COMMUNE_KINDS))
    ]


def _bare(name: str, kinds: Sequence[str]) -> str:
    key = fold_key(name)
    return next((key.removeprefix(kind) for kind in kinds if key.startswith(kind)), key)


def _explained(areas: Sequence[Area], text: str, bare: str, error: NotFoundError) -> NotFoundError:
    """Say what became of a former unit that somebody named as if it still were one."""
    gone = _former_communes(bare)
    names = {area.code: area.name for area in areas}
    if gone:
        told = "; ".join(
            f"{item.name} ({_district_name(item.district)}) → {', '.join(names[code] for code in item.became)}" for item in gone
        )
        vi, en = ("mã cũ", "code") if bare.isdigit() else ("tên cũ", "name")
        return NotFoundError(
            Said(f"“{nfc(text)}” là {vi}, đã sáp nhập từ 01-07-2025", f"“{nfc(text)}” is a former {en}, merged on 01-07-2025"),
            Said(told, told),
        )
    return NotFoundError(error.message, error.hint or _suggested(bare))


def _district_name(code: str) -> str:
    return next((item.name for item in reversed(read_districts()) if item.code == code), code)


def _suggested(bare: str) -> Said | None:
    names = {_bare(item.name, _DISTRICT_KINDS): item.name for item in _newest_districts()}
    near = [f"{names[match]} cũ" for match in get_close_matches(_bare(bare, _DISTRICT_KINDS), names, n=3, cutoff=NEAR)]
    listed = ", ".join(near)
    return Said(f"có phải: {listed}?", f"did you mean: {listed}?") if near else None
