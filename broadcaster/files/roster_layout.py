"""Where in a carrier's table the columns stand, and which rows are no subscribers: titles above, blank lines, totals below."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broadcaster.text.fold import fold_key

MAX_TITLE_ROWS: Final = 40
TRAILER: Final = "#rows="

REQUIRED: Final = ("msisdn", "cell", "last_seen")
_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "msisdn": frozenset(
        {
            "msisdn",
            "so_thue_bao",
            "thue_bao",
            "so_dien_thoai",
            "dien_thoai",
            "isdn",
            "so_may",
            "sdt",
            "phone",
            "phone_number",
            "mobile",
        }
    ),
    "cell": frozenset({"cell", "cell_id", "cellid", "cgi", "ecgi", "ncgi", "cgi_ecgi", "ma_cell", "ma_o", "last_cell"}),
    "last_seen": frozenset(
        {
            *("last_seen", "last_activity", "last_active", "last_update", "timestamp", "thoi_gian", "thoi_diem"),
            *("lan_cuoi", "hoat_dong_cuoi", "lan_hoat_dong_cuoi", "thoi_gian_hoat_dong", "thoi_gian_hoat_dong_cuoi"),
        }
    ),
    "imsi": frozenset({"imsi", "so_imsi"}),
    "area": frozenset({"lac", "tac", "lac_tac", "tac_lac"}),
    "radio": frozenset({"radio", "rat", "technology", "cong_nghe", "loai_mang"}),
}
_IDENTITIES: Final[Mapping[str, str | None]] = {"ci": None, "ci_eci": None, "eci": "lte", "nci": "nr"}
"""Columns with a cell's number inside the carrier's own network, and the radio that the name implies."""
_TOTALS: Final = re.compile(
    r"(?:tong|tong so|tong cong|cong|total|totals|grand total)(?: thue bao| dong| so dong| rows| records)?\s*[:=]?[\s\d.,]*"
)
_COUNT: Final = re.compile(r"\d{1,3}(?:[.,]\d{3}){1,3}|\d{1,12}", re.ASCII)
_STATED: Final = re.compile(r"(\w+)=([^\s;,]+)")


@dataclass(frozen=True, slots=True)
class Layout:
    """Places (0-based) of the columns; `imsi` may be missing."""

    number: int
    cell: int
    seen: int
    imsi: int | None = None
    split: SplitCell | None = None
    """Set where the cell is spelt over several columns, of which `cell` is its number."""

    @property
    def width(self) -> int:
        """How many fields a row must have."""
        return max(self.number, self.cell, self.seen, *(self.split.places if self.split else ())) + 1


@dataclass(frozen=True, slots=True)
class SplitCell:
    """The other columns of a cell's identity, as VLR and MME dumps have them, without country and network."""

    area: int | None
    radio: int | None
    implied: str | None
    """The radio, where no column tells it."""

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(at for at in (self.area, self.radio) if at is not None)


def find_layout(row: Sequence[str]) -> Layout | list[str]:
    """Return the layout that a header row gives, or the columns that it lacks or has more than once."""
    names = [re.sub(r"[\s._/-]+", "_", fold_key(field.strip().strip('"'))) for field in row]
    places = {column: [at for at, name in enumerate(names) if name in aliases] for column, aliases in _ALIASES.items()}
    split = None
    identities = [at for at, name in enumerate(names) if name in _IDENTITIES]
    if not places["cell"] and len(identities) == 1:
        places["cell"] = identities
        split = SplitCell(_only(places["area"]), _only(places["radio"]), _IDENTITIES[names[identities[0]]])
    wrong = [column for column in REQUIRED if len(places[column]) != 1]
    if wrong:
        return wrong
    return Layout(places["msisdn"][0], places["cell"][0], places["last_seen"][0], _only(places["imsi"]), split)


def _only(places: Sequence[int]) -> int | None:
    return places[0] if len(places) == 1 else None


def totals_in(row: Sequence[str]) -> list[int] | None:
    """Return the counts that a row of totals states, or None when the row is none; a formula states nothing."""
    first = next((field for field in row if field.strip()), "")
    if not _TOTALS.fullmatch(fold_key(first)):
        return None
    return [int(re.sub("[.,]", "", count)) for field in row if field[:1] != "=" for count in _COUNT.findall(field)]


def stated_in(row: Sequence[str]) -> dict[str, str]:
    """Return what a trailer (``#rows=12 sha256=…``) states, by name."""
    return {name.casefold(): value.casefold() for name, value in _STATED.findall(" ".join(row))}
