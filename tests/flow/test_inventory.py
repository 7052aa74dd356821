"""Inventories and boundaries come in; an order's outlines become cells."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.errors import InvalidFileError, RefusedError
from broadcaster.files.cells import Asked
from broadcaster.files.templates import read_templates
from broadcaster.flow import admit, enlist, inventory
from broadcaster.flow.compose import bodies
from broadcaster.flow.invariant import Check
from broadcaster.flow.verify_people import people_signed_for
from broadcaster.model import Area, CampaignState, CarrierCard, CarrierCode, Circle, DailyWindow, Exclusion, Order, Person, Polygon
from broadcaster.store.audit import Auditor, entries
from broadcaster.store.campaigns import Campaign, change_campaign, find_campaign, lanes
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster
from broadcaster.store.vault import Vault

VIETTEL = CarrierCode("viettel")
HEADER = "carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"
TODAY = dt.date(2026, 3, 12)
CITY, COAST = Circle(15.12, 108.81, 3), Circle(15.38, 109.11, 5)
PLACES = (("15.1135,108.812", "21025"), ("15.3313,108.746", "21040"), ("15.38,109.11", "21548"), ("15.16,108.80", "21172"))
"""Of the cells that the flow's rosters name: in the city, in Bình Sơn, on Lý Sơn, in Trương Quang Trọng."""

Load = Callable[..., Roster]
Import = Callable[..., inventory.Inventory]


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def take_in(installed_store: Store, auditor: Auditor, areas: list[Area], tmp_path: Path) -> Import:
    """Import lines as an inventory."""

    def run(*lines: str, today: dt.date = TODAY, header: str = HEADER, asked: Asked | None = None) -> inventory.Inventory:
        path = tmp_path / "cells.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return inventory.import_cells(installed_store, auditor, path, areas, today=today, asked=asked)

    return run


@pytest.fixture
def spread(take_in: Import) -> None:
    """Viettel's cells as `PLACES` has them."""
    take_in(*(f"viettel,lte,452,04,100,{1000 + at},S{at},{place},{code},," for at, (place, code) in enumerate(PLACES)))


def test_an_inventory_without_a_good_row_changes_nothing(take_in: Import, installed_store: Store) -> None:
    with pytest.raises(InvalidFileError):
        take_in("viettel,lte,x,y,,,,,,,,")
    assert rows(installed_store, "SELECT count(*) FROM cell") == [(0,)]


def test_an_inventory_of_which_every_row_is_passed_over_says_so(take_in: Import) -> None:
    rows = ("S1,452-04-100-1,Ba Tơ,Dừng", "S2,452-04-100-2,Ba Tơ,Dừng")
    with pytest.raises(InvalidFileError) as refused:
        take_in(*rows, header="site,cgi,commune,status", asked=Asked(VIETTEL, "04"))
    assert "cả 2 dòng bị bỏ qua" in refused.value.problems[0].message.vi


def test_border_sites_are_kept_and_listed(take_in: Import, installed_store: Store) -> None:
    made = take_in("viettel,lte,452,04,100,1000,S1,15.1,108.8,,,", "viettel,lte,452,04,100,1001,S2,13.9,109.2,,,")
    assert made.placed == {"nearest": 1, "outside": 1}
    assert [row.site for row in made.outside] == ["S2"]
    assert rows(installed_store, "SELECT key, area_code, placed FROM cell ORDER BY key")[1] == ("lte:452-04:1001", None, "outside")


@pytest.mark.parametrize(
    ("today", "site"),
    [("2024-01-01", "old"), ("2025-12-31", "old"), ("2026-01-01", "new"), ("2026-12-31", "new"), ("2028-01-01", "last")],
)
def test_of_several_states_of_a_cell_the_one_of_today_counts(take_in: Import, installed_store: Store, today: str, site: str) -> None:
    states = (("new", "2026-01-01", "2026-12-31"), ("old", "2025-01-01", "2025-12-31"), ("last", "2027-06-01", ""))
    lines = [f"viettel,lte,452,04,100,1000,{name},15.1,108.8,21025,{begins},{ends}" for name, begins, ends in states]
    made = take_in(*lines, today=dt.date.fromisoformat(today))
    assert (len(made.cells), made.superseded) == (1, 2)
    assert rows(installed_store, "SELECT site FROM cell") == [(site,)]


@pytest.mark.parametrize(
    ("valid_from", "valid_to", "known"),
    [("", "", True), ("2026-03-12", "2026-03-12", True), ("2026-03-13", "", False), ("", "2026-03-11", False)],
)
def test_a_cell_counts_for_those_seen_there_while_it_was_valid(
    take_in: Import, load: Load, installed_store: Store, order: Order, now: dt.datetime, valid_from: str, valid_to: str, known: bool
) -> None:
    for at, (place, code) in enumerate(PLACES):
        dates = f"{valid_from},{valid_to}" if at == 0 else ","
        take_in(f"viettel,lte,452,04,100,{1000 + at},S{at},{place},{code},{dates}")
    load("viettel", 8, with_inventory=False, observed_at=dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC))
    load("mobifone", 4)
    counts = enlist.count(installed_store, order, now).counts
    unknown = sum(item.messages for item in counts if item.exclusion == Exclusion.UNKNOWN_CELL)
    assert unknown == (0 if known else 2)


def test_people_under_cells_placed_by_the_nearest_centre_are_counted_as_approximate(
    take_in: Import, load: Load, installed_store: Store, order: Order, now: dt.datetime
) -> None:
    take_in(*(f"viettel,lte,452,04,100,{1000 + at},S{at},{place},{code if at else ''},," for at, (place, code) in enumerate(PLACES)))
    load("viettel", 8, with_inventory=False)
    load("mobifone", 4)
    counts = enlist.count(installed_store, order, now).counts
    assert {(item.carrier, item.area_code): item.approximate for item in counts if item.approximate} == {("viettel", "21025"): 2}


def units(areas: list[Area], side: float = 0.02) -> str:
    """A square around every commune's centre."""
    features = []
    for area in areas:
        corners = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
        ring = [[area.lon - side / 2 + east, area.lat - side / 2 + north] for east, north in corners]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"code": area.code}})
    return json.dumps({"type": "FeatureCollection", "features": features})


def test_boundaries_place_the_cells_of_the_next_import(
    take_in: Import, installed_store: Store, auditor: Auditor, areas: list[Area], tmp_path: Path, now: dt.datetime
) -> None:
    path = tmp_path / "dia-gioi.geojson"
    path.write_text(units(areas), encoding="utf-8")
    for _ in range(2):
        assert inventory.import_boundaries(installed_store, auditor, path, areas, now=now) == 96
    made = take_in("viettel,lte,452,04,100,1000,S1,15.1135,108.812,,,", "viettel,lte,452,04,100,1001,S2,15.23,108.79,,,")
    assert made.placed == {"boundary": 1, "outside": 1}
    assert rows(installed_store, "SELECT area_code FROM cell WHERE site = 'S1'") == [("21025",)]
    assert rows(installed_store, "SELECT count(*) FROM boundary") == [(96,)]
    with installed_store.read() as connection:
        assert [entry.action for entry in entries(connection)] == ["boundary-import", "boundary-import", "cell-import"]


def test_coverage_names_communes_without_cells_and_with_few(take_in: Import, installed_store: Store, areas: list[Area]) -> None:
    lines = []
    for at, area in enumerate(areas[:-1]):
        place = f"{area.lat},{area.lon},{area.code}"
        lines += [f"viettel,lte,452,04,100,{at * 100 + cell},S{at}-{cell // 3},{place},," for cell in range(1 if at == 0 else 8)]
    take_in(*lines)
    found = inventory.coverage(installed_store, areas, [VIETTEL, CarrierCode("mobifone")])
    viettel = [item for item in found if item.carrier == VIETTEL]
    assert [item.area.code for item in viettel if item.few] == [areas[0].code, areas[-1].code]
    assert [(item.cells, item.sites) for item in viettel][:2] == [(1, 1), (8, 3)]
    assert all(item.few and not item.cells for item in found if item.carrier != VIETTEL)


@pytest.mark.parametrize(
    ("outlines", "communes", "recipients"),
    [
        ({"circles": (CITY,)}, (), {"21025": 2}),
        ({"circles": (CITY, COAST)}, (), {"21025": 2, "21548": 2}),
        ({"circles": (COAST,)}, ("21172",), {"21548": 2, "21172": 2}),
        ({"polygons": (Polygon((((108.7, 15.3), (108.8, 15.3), (108.8, 15.4), (108.7, 15.4)),)),)}, (), {"21040": 2}),
    ],
)
@pytest.mark.usefixtures("spread")
def test_an_order_by_outline_reaches_who_is_under_the_cells_inside(
    load: Load,
    installed_store: Store,
    order: Order,
    order_for: Callable[..., Order],
    now: dt.datetime,
    outlines: dict[str, Any],
    communes: tuple[str, ...],
    recipients: dict[str, int],
) -> None:
    load("viettel", 8, with_inventory=False)
    asked = order_for(order, carriers=(VIETTEL,), communes=communes, **outlines)
    found = enlist.count(installed_store, asked, now)
    assert {item.area_code: item.messages for item in found.counts if not item.exclusion} == recipients
    assert found.outlined is not None
    assert set(found.outlined.communes) == recipients.keys() - set(communes)


@pytest.mark.usefixtures("spread")
def test_an_outline_without_a_cell_is_refused(
    load: Load, installed_store: Store, order: Order, order_for: Callable[..., Order], now: dt.datetime
) -> None:
    load("viettel", 8, with_inventory=False)
    asked = order_for(order, carriers=(VIETTEL,), communes=(), circles=(Circle(14.2, 107.9, 1),))
    with pytest.raises(RefusedError, match="cell"):
        enlist.count(installed_store, asked, now)


@pytest.fixture
def submitted(
    spread: None,
    load: Load,
    installed_store: Store,
    auditor: Auditor,
    order: Order,
    order_for: Callable[..., Order],
    people: dict[str, Person],
    cards: dict[CarrierCode, CarrierCard],
    now: dt.datetime,
) -> Campaign:
    """A campaign for a circle in the city, submitted, then scheduled without further ado."""
    load("viettel", 8, with_inventory=False)
    asked = order_for(order, carriers=(VIETTEL,), communes=(), circles=(CITY,))
    templates = {item.key: item for item in read_templates(Path(__file__).parents[2] / "templates")}
    texts = bodies(asked, templates[asked.template], cards, reply_number="8066", alternative=None)
    found = enlist.count(installed_store, asked, now)
    made = admit.draft(asked, texts, found.rosters, found.counts, cards, now, found.earlier, found.outlined)
    hours = DailyWindow(dt.time(7), dt.time(22))
    campaign = admit.submit(installed_store, auditor, made, submitter=people["van-thu"], hours=hours, now=now)
    with installed_store.write() as connection:
        change_campaign(connection, campaign.id, CampaignState.SCHEDULED)
        return find_campaign(connection, campaign.name)


def enlisted(store: Store, campaign: Campaign) -> list[tuple[Any, ...]]:
    for step in enlist.steps(store, campaign):
        with store.write() as connection:
            step(connection)
    return rows(store, "SELECT area_code, state, count(*) FROM message GROUP BY 1, 2")


def test_the_cells_inside_are_signed_and_a_later_inventory_changes_nothing(
    submitted: Campaign, take_in: Import, installed_store: Store, vault: Vault
) -> None:
    assert submitted.content["outlined"]["cells"] == 1
    assert submitted.content["outlined"]["communes"] == ["21025"]
    take_in("viettel,lte,452,04,100,1001,S1,15.12,108.81,21040,,")  # Bình Sơn's cell moves into the circle
    assert enlisted(installed_store, submitted) == [("21025", 0, 2)]
    assert verified(installed_store, vault, submitted).ok


def verified(store: Store, vault: Vault, campaign: Campaign) -> Check:
    with store.read() as connection:
        return people_signed_for(connection, vault, campaign, lanes(connection, campaign.id))


def test_other_cells_than_the_signed_ones_stop_the_enlisting(submitted: Campaign, installed_store: Store, vault: Vault) -> None:
    with installed_store.write() as connection:
        connection.execute(text("INSERT INTO campaign_cell SELECT 1, id FROM cell WHERE key = 'lte:452-04:1002'"))
    with pytest.raises(RefusedError, match="đã ký"):
        enlisted(installed_store, submitted)
    assert rows(installed_store, "SELECT count(*) FROM message") == [(0,)]
    assert not verified(installed_store, vault, submitted).ok
