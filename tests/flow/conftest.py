"""Files as carriers send them, taken in through the product's own intake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import insert

from broadcaster.files.parcels import open_parcel
from broadcaster.flow import intake, inventory
from broadcaster.model import Area, CarrierCode
from broadcaster.store.audit import Auditor, fingerprint
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster
from broadcaster.store.schema import installation
from broadcaster.store.vault import Vault

MNC = {"mobifone": "01", "viettel": "04"}
HEADS = {"mobifone": "8490", "viettel": "8496"}
COMMUNES = ("21025", "21040", "21548", "21172")
HEADER = "carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"

Load = Callable[..., Roster]


def inventory_of(carrier: str) -> str:
    """One LTE cell a commune; the cell's identity is its place in `COMMUNES`, from 1000."""
    mnc = MNC[carrier]
    cells = [f"{carrier},lte,452,{mnc},100,{1000 + at},S{at},15.1,108.8,{code},2025-07-01," for at, code in enumerate(COMMUNES)]
    return "\n".join([HEADER, *cells]) + "\n"


def export_of(carrier: str, rows: Iterable[tuple[int, int, dt.datetime]]) -> str:
    """Rows of (number within the carrier, place in `COMMUNES`, last seen)."""
    lines = [f"{HEADS[carrier]}{number:07d},lte:452-{MNC[carrier]}:{1000 + place},{seen.isoformat()}" for number, place, seen in rows]
    return "\n".join(["msisdn,cell,last_seen", *lines]) + "\n"


@pytest.fixture
def load(installed_store: Store, vault: Vault, auditor: Auditor, areas: list[Area], tmp_path: Path, now: dt.datetime) -> Load:
    """Take in a carrier's inventory and an export of `subscribers`, in turn in each commune, all seen an hour ago."""
    return partial(take_in, installed_store, vault, auditor, areas, tmp_path, now)


def take_in(
    store: Store,
    vault: Vault,
    auditor: Auditor,
    areas: list[Area],
    folder: Path,
    now: dt.datetime,
    carrier: str,
    subscribers: int,
    *,
    with_inventory: bool = True,
    observed_at: dt.datetime | None = None,
) -> Roster:
    if with_inventory:
        cells = folder / f"cells-{carrier}.csv"
        cells.write_text(inventory_of(carrier), encoding="utf-8")
        inventory.import_cells(store, auditor, cells, areas, today=now.date())
    seen = (observed_at or now) - dt.timedelta(hours=1)
    export = folder / f"export-{carrier}-{subscribers}.csv"
    export.write_text(export_of(carrier, [(number, number % len(COMMUNES), seen) for number in range(subscribers)]))
    code, basis, parcel = CarrierCode(carrier), intake.Basis("1/CV", now.date()), open_parcel([export])
    return intake.import_roster(
        store, auditor, vault, parcel, carrier=code, observed_at=observed_at, basis=basis, now=now, accept_difference=True
    ).roster


@pytest.fixture(scope="session")
def kept() -> dict[str, str]:
    """The database of `loaded` by engine, once a test has needed it."""
    return {}


@pytest.fixture
def loaded(
    kept: dict[str, str],
    engine_name: str,
    make_store: Callable[..., Store],
    keep: Callable[[Store], str],
    vault: Vault,
    auditor: Auditor,
    audit_key: bytes,
    areas: list[Area],
    now: dt.datetime,
    tmp_path: Path,
) -> str:
    """A rehearsal installation's database with 16 subscribers of MobiFone and 24 of Viettel, to be copied."""
    if engine_name not in kept:
        store = make_store("loaded")
        with store.write() as connection:
            names = {"vault_fingerprint": vault.fingerprint, "audit_fingerprint": fingerprint(audit_key)}
            values = {"id": 1, "environment": "rehearsal", "created_ms": 0, "epoch": 1} | names
            connection.execute(insert(installation).values(values))
        take_in(store, vault, auditor, areas, tmp_path, now, "mobifone", 16)
        take_in(store, vault, auditor, areas, tmp_path, now, "viettel", 24)
        kept[engine_name] = keep(store)
    return kept[engine_name]
