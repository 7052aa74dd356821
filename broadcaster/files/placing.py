"""Find the commune a cell stands in: by the name its row gives, by the department's boundaries, else by the nearest centre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from broadcaster.errors import NotFoundError
from broadcaster.files.areas import AmbiguousNameError, find_area
from broadcaster.files.units import FormerCommune, read_districts, read_former_communes
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode
from broadcaster.rules.geo import Outline, area_at, nearest_area
from broadcaster.text.fold import fold_key, nfc

_KINDS: Final = (
    "thi tran ",
    "phuong ",
    "dac khu ",
    "xa ",
    "tt. ",
    "p. ",
    "x. ",
    "h. ",
    "huyen ",
    "thi xa ",
    "thanh pho ",
    "tp. ",
    "tp ",
    "tx. ",
    "tx ",
)
_OURS: Final = frozenset({"", "quang ngai", "kon tum", "51", "62"})


class Placed(StrEnum):
    """How a cell's commune was found; kept with the cell."""

    FILE = "file"
    BOUNDARY = "boundary"
    NEAREST = "nearest"
    """Approximate."""
    OUTSIDE = "outside"
    """In no commune of ours: a site across the border, or at sea."""


class Named(NamedTuple):
    """What a row says of where it is; any of these may be empty."""

    commune: str
    district: str
    province: str


class Places:
    """Place the cells of one file; each distinct name is looked up once."""

    def __init__(self, areas: Sequence[Area], outlines: Mapping[AreaCode, Outline]) -> None:
        self._areas = {area.code: area for area in areas}
        self._outlines = outlines
        self._candidates: dict[Named, tuple[AreaCode, ...]] = {}

    def place(self, named: Named, lat: float | None, lon: float | None) -> tuple[AreaCode | None, Placed]:
        """Return the commune and how it was found. Raises `NotFoundError` when the row names a commune that nothing answers to."""
        if fold_key(named.province).removeprefix("tinh ") not in _OURS:
            return None, Placed.OUTSIDE
        candidates: tuple[AreaCode, ...] = ()
        if named.commune:
            if named not in self._candidates:
                self._candidates[named] = self._named(named)
            candidates = self._candidates[named]
            if len(candidates) == 1:
                return candidates[0], Placed.FILE
        if lat is None or lon is None:
            raise NotFoundError(Said("xã này đã chia tách; cần tọa độ", "this commune was split; coordinates are needed"))
        return self._by_coordinates(lat, lon, candidates)

    def _by_coordinates(self, lat: float, lon: float, among: Sequence[AreaCode]) -> tuple[AreaCode | None, Placed]:
        chosen = among or tuple(self._areas)
        if self._outlines:
            outlines = {code: self._outlines[code] for code in chosen if code in self._outlines}
            code = area_at(outlines, lat, lon)
            if code is not None or not among:
                return code, Placed.BOUNDARY if code else Placed.OUTSIDE
        near = nearest_area([self._areas[code] for code in chosen], lat, lon)
        return (near[0].code, Placed.NEAREST) if near else (None, Placed.OUTSIDE)

    def _named(self, named: Named) -> tuple[AreaCode, ...]:
        """Return the commune of today that a row names, or those among which a former one was split."""
        former = self._former(named.commune)
        if named.district:
            codes = {item.code for item in read_districts() if _same(item.name, named.district) or item.code == named.district}
            inside = [item for item in former if item.district in codes]
            if inside:
                return _became(inside)
        try:
            return (find_area(list(self._areas.values()), named.commune).code,)
        except AmbiguousNameError:
            raise
        except NotFoundError:
            if not former:
                raise
        return _became(former)

    @staticmethod
    def _former(text: str) -> list[FormerCommune]:
        alike = [item for item in read_former_communes() if item.name and _same(item.name, text)]
        return [item for item in alike if nfc(item.name).casefold().endswith(nfc(text).casefold().strip())] or alike


def _became(former: Sequence[FormerCommune]) -> tuple[AreaCode, ...]:
    return tuple(dict.fromkeys(code for item in former for code in item.became))


def _same(name: str, text: str) -> bool:
    return _bare(name) == _bare(text)


def _bare(text: str) -> str:
    key = fold_key(text)
    return next((key.removeprefix(kind) for kind in _KINDS if key.startswith(kind)), key)
