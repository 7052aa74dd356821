"""Read the province's communes, which ship with the program, and find one by the name people write."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Final

from broadcaster.errors import NotFoundError
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode
from broadcaster.text.fold import fold_key, nfc

UNITS_SINCE: Final = dt.date(2025, 7, 1)
"""Resolution 202/2025/QH15: districts ended, the 96 communes began."""

NEAR: Final = 0.7
"""How alike a name must be to be suggested; with less, Đà Nẵng is answered with Đăk Long."""
_KINDS: Final = ("xa", "phuong", "dac khu")


class AmbiguousNameError(NotFoundError):
    """Several places answer to one name."""


@cache
def read_areas() -> tuple[Area, ...]:
    """Return the 96 communes, wards and the special zone since 01-07-2025, in order of code."""
    text = resources.files("broadcaster.files").joinpath("data/communes_2025.csv").read_text("utf-8")
    areas = (
        Area(
            code=AreaCode(row["code"]),
            name=row["name"],
            kind=row["kind"],
            area_km2=float(row["area_km2"]),
            lat=float(row["lat"]),
            lon=float(row["lon"]),
            former_province=row["old_province"],
            former_districts=tuple(row["old_district_codes"].split("|")),
            valid_from=UNITS_SINCE,
        )
        for row in csv.DictReader(text.splitlines())
    )
    return tuple(sorted(areas, key=lambda area: area.code))


def find_area(areas: Sequence[Area], text: str) -> Area:
    """Return the area that `text` names by code or by name, with or without accents, case and the word for its kind.

    A name is first taken as it is written, accents and all, because accents alone tell Sơn Hà from Sơn Hạ. Raises `NotFoundError`
    with suggestions when no area answers, `AmbiguousNameError` when several do.
    """
    wanted = nfc(text).casefold().strip()
    exact = [area for area in areas if wanted in (area.code, area.name.casefold(), _without_kind(area).casefold())]
    if len(exact) == 1:
        return exact[0]
    key = fold_key(text)
    found = exact or [area for area in areas if key in (fold_key(area.name), fold_key(_without_kind(area)))]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{area.name} ({area.code})" for area in found)
        raise AmbiguousNameError(
            Said(vi=f"“{text}” có thể là nhiều nơi: {names}", en=f"“{text}” may be several places: {names}"),
            Said(vi="ghi tên có dấu hoặc mã năm chữ số", en="write the accents or the five-digit code"),
        )
    raise NotFoundError(
        Said(
            vi=f"không có xã, phường, đặc khu nào tên “{text}” trong tỉnh",
            en=f"no commune, ward or special zone of the province is named “{text}”",
        ),
        _suggestion(areas, key),
    )


def _without_kind(area: Area) -> str:
    return area.name[len(area.kind) :].lstrip()


def _suggestion(areas: Sequence[Area], key: str) -> Said | None:
    for kind in _KINDS:
        key = key.removeprefix(kind + " ")
    names = {fold_key(_without_kind(area)): area.name for area in areas}
    inside = [name for bare, name in names.items() if f" {bare} " in f" {key} "]
    near = inside or [names[match] for match in get_close_matches(key, names, n=3, cutoff=NEAR)]
    if not near:
        return None
    listed = ", ".join(near)
    return Said(vi=f"có phải: {listed}?", en=f"did you mean: {listed}?")
