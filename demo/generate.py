"""Make up a province to rehearse with: five carriers' base stations and exports of active subscribers, with the usual dirt in them.

Nobody real is in it: numbers, cells and times are drawn from a seed. The same seed, size and observation time give the same files.
Shares and densities are assumptions for a rehearsal, not statistics. `Truth` says what a correct import and plan must count.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from broadcaster.files.areas import read_areas
from broadcaster.model import TIMEZONE, Area, CarrierCode, DropReason, Exclusion

ACTIVE_WITHIN_H: Final = 72
"""The campaign's limit of freshness that the truth is counted for."""

TRUTH_FILE: Final = "truth.json"
REFUSED_FILE: Final = "refused-before.txt"
CALLERS_FILE: Final = "refused-by-phone.txt"
"""Subscribers of the biggest carrier who ring up to refuse while the campaign is being sent."""
_CALLERS_ONE_IN: Final = 500

_DAY_S: Final = 86_400
_STALE_DAYS: Final = (4, 10)
_BLOCK: Final = 1_000_000
"""Numbers behind one head of three digits."""

_REFUSED: Final = 0.005
_STALE: Final = _REFUSED + 0.02
_UNKNOWN_CELL: Final = _STALE + 0.01
_ELSEWHERE_TOO: Final = _UNKNOWN_CELL + 0.01
_REPEATED: Final = _ELSEWHERE_TOO + 0.005
"""Upper ends of the lots of subscribers with a peculiarity; everybody above is ordinary, nobody has two."""

_BROKEN_ONE_IN: Final = 500
_FEWEST_BROKEN: Final = 3
_NAMELESS_SHARE: Final = 0.04
"""Of the sites, whose commune the inventory leaves out."""


class Network(NamedTuple):
    """One carrier as this rehearsal imagines it."""

    code: CarrierCode
    mnc: str
    share: float
    heads: str
    """Digits after the trunk 0 that its numbers begin with."""
    sites: int
    lte: bool
    """4G cells (ECI); else LAC and CI."""
    writes_codes: bool
    """Its inventory names communes by code, not by name."""


NETWORKS: Final = (
    Network(CarrierCode("viettel"), "04", 0.56, "32 33 34 35 36 37 38 39 86 96 97 98", 900, lte=True, writes_codes=False),
    Network(CarrierCode("vinaphone"), "02", 0.22, "81 82 83 84 85 88 91 94", 700, lte=True, writes_codes=True),
    Network(CarrierCode("mobifone"), "01", 0.175, "70 76 77 78 79 89 90 93", 600, lte=True, writes_codes=False),
    Network(CarrierCode("vietnamobile"), "05", 0.03, "52 56 58 92", 150, lte=False, writes_codes=False),
    Network(CarrierCode("gmobile"), "07", 0.015, "59 993 994 995 996 997", 60, lte=False, writes_codes=True),
)

_OLD_HEADS: Final = (
    {70: "120", 79: "121", 77: "122", 76: "126", 78: "128"}
    | {83: "123", 84: "124", 85: "125", 81: "127", 82: "129"}
    | {32: "162", 33: "163", 34: "164", 35: "165", 36: "166", 37: "167", 38: "168", 39: "169"}
    | {56: "186", 58: "188", 59: "199"}
)
"""What numbers with these heads began with before 15-09-2018, when they had one digit more."""

_WARD_DENSITY: Final = {"51": 1500, "62": 900}
_COMMUNE_DENSITY: Final = {"lowland": 550, "mountain": 70}
_ISLAND_DENSITY: Final = 1900
_LOWLAND_DISTRICTS: Final = frozenset({"522", "524", "527", "528", "532", "533", "534"})
"""People per km², and the former districts of the plain and the coast."""


@dataclass(slots=True)
class Truth:
    """What a correct import and plan must find; carriers, reasons and communes by their codes."""

    seed: int
    subscribers: int
    """Distinct valid numbers over all exports, those included whom a plan excludes as stale, refusing or in an unknown cell."""
    observed_at: str
    active_within_h: int
    refused_before: int
    cells: dict[str, dict[str, int]]
    """By carrier: `rows`, and of these `by_file` and `by_nearest`."""
    rosters: dict[str, dict[str, int]]
    """By carrier: `rows` and of these `kept`."""
    dropped: dict[str, dict[str, int]]
    """By carrier and `DropReason`."""
    recipients: dict[str, int]
    excluded: dict[str, dict[str, int]]
    """By carrier and name of `Exclusion` in lower case."""
    communes: dict[str, int]
    """Recipients by commune."""


class _Cell(NamedTuple):
    roster_text: str
    area_code: str


class _Export:
    """One carrier's export in the making: its lines, and what is true of them."""

    def __init__(
        self, rng: random.Random, network: Network, cells: Sequence[_Cell], observed_at: dt.datetime, seen: Sequence[str]
    ) -> None:
        self.network = network
        self.lines: list[str] = []
        self.visitors: list[tuple[int, int, int]] = []
        """National number, index of the cell, age of the sighting (s) of those who are in another export too."""
        self.refused: list[int] = []
        self.extra_rows = 0
        self.dropped: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()
        self.hits = [0] * len(cells)
        """Recipients by cell."""
        self.cells = cells
        self._rng = rng
        self._observed_at = observed_at
        self._seen = seen
        """Times as written, by age in seconds, of the last day."""

    def fill(self, count: int) -> None:
        """Add `count` subscribers and a few broken rows."""
        rng, random_, lines, hits, seen = self._rng, self._rng.random, self.lines, self.hits, self._seen
        bases = _bases(self.network)
        names = [cell.roster_text for cell in self.cells]
        broken = max(_FEWEST_BROKEN, count // _BROKEN_ONE_IN)
        nationals = [bases[place // _BLOCK] + place % _BLOCK for place in rng.sample(range(len(bases) * _BLOCK), count + broken)]
        for national in nationals[:count]:
            cell, age_s, lot = int(random_() * len(names)), int(random_() * _DAY_S), random_()
            if lot < _REPEATED:
                self._peculiar(national, cell, age_s, lot)
            else:
                hits[cell] += 1
                lines.append(f"{_spell(national, random_())},{names[cell]},{seen[age_s]}")
        for national in nationals[count:]:
            self._attach(self._broken(national))

    def _peculiar(self, national: int, cell: int, age_s: int, lot: float) -> None:
        place = self.cells[cell].roster_text
        if lot < _REFUSED:
            self.refused.append(national)
            self.excluded["refused"] += 1
        elif lot < _STALE:
            age_s += _DAY_S * self._rng.randint(*_STALE_DAYS)
            self.excluded["stale"] += 1
        elif lot < _UNKNOWN_CELL:
            place = _roster_cell(self.network, self.network.sites + cell, 1)
            self.excluded["unknown_cell"] += 1
        else:
            self.hits[cell] += 1
        line = self._line(national, place, age_s)
        self.lines.append(line)
        if _UNKNOWN_CELL <= lot < _ELSEWHERE_TOO:
            self.visitors.append((national, cell, age_s))
        elif lot >= _ELSEWHERE_TOO:
            self.dropped[DropReason.REPEATED] += 1
            self._attach(self._line(national, place, age_s))

    def host(self, national: int, age_at_home_s: int) -> bool:
        """List another carrier's subscriber too; return whether this export saw them last."""
        cell = self._rng.randrange(len(self.cells))
        age_s = (age_at_home_s + self._rng.randrange(60, _DAY_S - 60)) % _DAY_S
        self._attach(self._line(national, self.cells[cell].roster_text, age_s))
        if age_s > age_at_home_s:
            self.excluded["duplicate"] += 1
            return False
        self.hits[cell] += 1
        return True

    def lose(self, cell: int) -> None:
        """Give a subscriber of this cell up to the export that saw them later."""
        self.hits[cell] -= 1
        self.excluded["duplicate"] += 1

    def write(self, path: Path) -> None:
        """Write the export as CSV."""
        path.write_text("msisdn,cell,last_seen\n" + "\n".join(self.lines) + "\n", "utf-8")

    def rows(self) -> int:
        """Return how many data rows `write` writes."""
        return len(self.lines) + self.extra_rows

    def _line(self, national: int, place: str, age_s: int) -> str:
        seen = self._seen[age_s] if age_s < _DAY_S else _stamp(self._observed_at, age_s)
        return f"{_spell(national, self._rng.random())},{place},{seen}"

    def _attach(self, line: str) -> None:
        """Put a row behind a random other one, without moving the rest."""
        if not self.lines:
            self.lines.append(line)
            return
        self.lines[int(self._rng.random() * len(self.lines))] += "\n" + line
        self.extra_rows += 1

    def _broken(self, national: int) -> str:
        """Return a row that must be dropped, and count why."""
        rest = f",{self.cells[0].roster_text},{self._seen[0]}"
        digits = f"{national % _BLOCK:06d}"
        kinds = (
            (DropReason.FIXED_LINE, f"02553{digits}{rest}"),
            (DropReason.SHORT_CODE, f"1900{digits[:4]}{rest}"),
            (DropReason.EMPTY, rest),
            (DropReason.FOREIGN, f"+85620{digits}55{rest}"),
            (DropReason.WRONG_LENGTH, f"84{national // 10}{rest}"),
            (DropReason.NOT_A_NUMBER, f"không rõ{rest}"),
            (DropReason.UNALLOCATED, f"0950{digits}{rest}"),
            (DropReason.BAD_CELL, f"84{national},trạm {digits[:3]},{self._seen[0]}"),
            (DropReason.BAD_TIME, f"84{national},{self.cells[0].roster_text},hôm qua"),
            (DropReason.FEW_COLUMNS, f"84{national}"),
        )
        reason, line = self._rng.choice(kinds)
        self.dropped[reason] += 1
        return line


def generate(folder: Path, subscribers: int, seed: int, observed_at: dt.datetime) -> Truth:
    """Write inventories, exports, earlier and later refusals and `truth.json` into `folder` and return the truth.

    `observed_at` is the moment of the exports: whole seconds, with a time zone. Exactly `subscribers` distinct valid numbers come
    out; rounding in the carriers' shares goes to the biggest.
    """
    rng = random.Random(seed)  # noqa: S311 - a rehearsal wants the same draws again
    observed_at = observed_at.astimezone(ZoneInfo(TIMEZONE)).replace(tzinfo=None)
    areas = read_areas()
    cell_counts: dict[str, dict[str, int]] = {}
    seen = [_stamp(observed_at, age_s) for age_s in range(_DAY_S)]
    exports = []
    for network in NETWORKS:
        cells, cell_counts[network.code] = _inventory(rng, network, areas, cells_path(folder, network.code))
        exports.append(_Export(rng, network, cells, observed_at, seen))
    for export, count in zip(exports, _counts(subscribers), strict=True):
        export.fill(count)
    _list_twice(rng, exports)
    for export in exports:
        export.write(roster_path(folder, export.network.code))
    refused = [national for export in exports for national in export.refused]
    (folder / REFUSED_FILE).write_text("".join(f"0{national}\n" for national in refused), "utf-8")
    callers = rng.sample(exports[0].lines, max(1, subscribers // _CALLERS_ONE_IN))
    (folder / CALLERS_FILE).write_text("".join(line.split(",", 1)[0] + "\n" for line in callers), "utf-8")
    truth = _truth(exports, cell_counts, seed, subscribers, observed_at)
    (folder / TRUTH_FILE).write_text(json.dumps(asdict(truth), ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
    return truth


def cells_path(folder: Path, carrier: str) -> Path:
    """Return where a carrier's inventory lies."""
    return folder / f"cells-{carrier}.csv"


def roster_path(folder: Path, carrier: str) -> Path:
    """Return where a carrier's export lies."""
    return folder / f"roster-{carrier}.csv"


def _counts(subscribers: int) -> list[int]:
    counts = [int(subscribers * network.share) for network in NETWORKS]
    return [subscribers - sum(counts[1:]), *counts[1:]]


def _list_twice(rng: random.Random, exports: Sequence[_Export]) -> None:
    for home in exports:
        others = [export for export in exports if export is not home]
        shares = [export.network.share for export in others]
        hosts = rng.choices(others, shares, k=len(home.visitors))
        for (national, cell, age_s), host in zip(home.visitors, hosts, strict=True):
            if host.host(national, age_s):
                home.lose(cell)


def _truth(
    exports: Sequence[_Export], cell_counts: dict[str, dict[str, int]], seed: int, subscribers: int, observed_at: dt.datetime
) -> Truth:
    communes: Counter[str] = Counter()
    for export in exports:
        for cell, hits in zip(export.cells, export.hits, strict=True):
            communes[cell.area_code] += hits
    return Truth(
        seed=seed,
        subscribers=subscribers,
        observed_at=observed_at.replace(tzinfo=ZoneInfo(TIMEZONE)).isoformat(),
        active_within_h=ACTIVE_WITHIN_H,
        refused_before=sum(len(export.refused) for export in exports),
        cells=cell_counts,
        rosters={export.network.code: {"rows": export.rows(), "kept": export.rows() - export.dropped.total()} for export in exports},
        dropped={export.network.code: {str(reason): rows for reason, rows in export.dropped.items()} for export in exports},
        recipients={export.network.code: sum(export.hits) for export in exports},
        excluded={
            export.network.code: {kind.name.lower(): export.excluded[kind.name.lower()] for kind in Exclusion} for export in exports
        },
        communes={code: hits for code, hits in communes.items() if hits},
    )


def _inventory(rng: random.Random, network: Network, areas: Sequence[Area], path: Path) -> tuple[list[_Cell], dict[str, int]]:
    """Write one carrier's base stations, three sectors a site, and return the cells with what an import must count."""
    weights = [_people(area) for area in areas]
    everywhere = list(areas) if network.lte else []
    places = everywhere + rng.choices(areas, weights, k=network.sites - len(everywhere))
    cells: list[_Cell] = []
    lines = ["carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"]
    nameless = 0
    for index, area in enumerate(places):
        named = rng.random() >= _NAMELESS_SHARE
        nameless += not named
        lat, lon = _site(rng, area, near_centre=not named)
        commune = (area.code if network.writes_codes else area.name) if named else ""
        for sector in (1, 2, 3):
            zone, cell = _identity(network, index, sector)
            radio = "lte" if network.lte else "gsm"
            lines.append(
                f"{network.code},{radio},452,{network.mnc},{zone},{cell},QNG{network.mnc}{index:04d},"
                f"{lat:.5f},{lon:.5f},{commune},2025-07-01,"
            )
            cells.append(_Cell(_roster_cell(network, index, sector), area.code))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return cells, {"rows": len(cells), "by_file": len(cells) - 3 * nameless, "by_nearest": 3 * nameless}


def _people(area: Area) -> float:
    """Return about how many people live in an area."""
    if area.kind == "Phường":
        density = _WARD_DENSITY[area.former_province]
    elif area.kind == "Xã":
        lowland = area.former_province == "51" and not _LOWLAND_DISTRICTS.isdisjoint(area.former_districts)
        density = _COMMUNE_DENSITY["lowland" if lowland else "mountain"]
    else:
        density = _ISLAND_DENSITY
    return density * area.area_km2


def _site(rng: random.Random, area: Area, *, near_centre: bool) -> tuple[float, float]:
    """Return a place within the area, taken as a disc; `near_centre` keeps it clear of any other area's centre."""
    reach_km = 0.4 if near_centre else 0.8 * math.sqrt(area.area_km2 / math.pi)
    km, bearing = reach_km * math.sqrt(rng.random()), math.tau * rng.random()
    km_per_degree = 111.2
    lat = area.lat + km * math.cos(bearing) / km_per_degree
    return lat, area.lon + km * math.sin(bearing) / (km_per_degree * math.cos(math.radians(area.lat)))


def _identity(network: Network, site: int, sector: int) -> tuple[int, int]:
    """Return TAC and ECI, or LAC and CI, of a sector."""
    if network.lte:
        return 1000 + site // 100, (100_000 + site) * 256 + sector
    return 20_000 + site // 100, site * 10 + sector


def _roster_cell(network: Network, site: int, sector: int) -> str:
    zone, cell = _identity(network, site, sector)
    return f"452-{network.mnc}-{cell}" if network.lte else f"452-{network.mnc}-{zone}-{cell}"


def _bases(network: Network) -> list[int]:
    """Return the first national number of every block of a million."""
    ends = {2: range(10), 3: range(1)}
    return [(int(head) * len(ends[len(head)]) + last) * _BLOCK for head in network.heads.split() for last in ends[len(head)]]


def _spell(national: int, chance: float) -> str:
    """Spell a number as exports do: 84…, 0…, +84…, and about 3 % in the 11 digits of before 2018."""
    if chance < 0.7:
        return f"84{national}"
    if chance < 0.85:
        return f"0{national}"
    old = _OLD_HEADS.get(national // 10_000_000) if chance > 0.954 else None
    return f"0{old}{national % 10_000_000:07d}" if old else f"+84{national}"


def _stamp(observed_at: dt.datetime, age_s: int) -> str:
    return (observed_at - dt.timedelta(seconds=age_s)).isoformat(" ")
