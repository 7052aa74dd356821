"""Ported numbers: the list, and what it decides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from broadcaster.errors import InvalidFileError
from broadcaster.files.parcels import open_parcel
from broadcaster.flow import enlist, intake
from broadcaster.flow.ports import PortImport, import_ports
from broadcaster.model import CarrierCard, CarrierCode, Exclusion, Order
from broadcaster.rules.basis import Basis
from broadcaster.store.audit import Auditor, entries
from broadcaster.store.engine import Store
from broadcaster.store.ports import count_ports
from broadcaster.store.rosters import Roster
from broadcaster.store.vault import Vault

Take = Callable[..., PortImport]


@pytest.fixture
def take(
    installed_store: Store, auditor: Auditor, vault: Vault, cards: dict[CarrierCode, CarrierCard], now: dt.datetime, tmp_path: Path
) -> Take:
    def run(*lines: str, header: str = "msisdn,rno,effective_at") -> PortImport:
        path = tmp_path / "ports.csv"
        path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
        return import_ports(installed_store, auditor, vault, path, cards, basis=Basis("3/CV", now.date()), now=now)

    return run


def test_networks_are_known_by_code_name_and_number(installed_store: Store, take: Take, auditor: Auditor) -> None:
    made = take(
        "84900000001,viettel,2026-01-01",
        "0900000002;Viettel;x".replace(";", ","),
        "0900000003,04,01/02/2026",
        "0900000004,45204,2026-01-01T08:00:00",
        "0900000005,4,2026-01-01",
        "0900000006,Sao Hỏa,2026-01-01",
        "113,viettel,2026-01-01",
    )
    assert (made.rows, made.stored) == (7, 4)
    assert [(problem.line, problem.key) for problem in made.problems] == [(3, "effective_at"), (7, "rno"), (8, "msisdn")]
    with installed_store.read() as connection:
        assert count_ports(connection) == {"viettel": 4}
        (entry,) = entries(connection)
    assert entry.action == "port-import"
    assert "900000" not in str(entry)


def test_of_two_moves_the_later_one_stays(installed_store: Store, take: Take) -> None:
    take("84900000001,viettel,2026-02-01", "84900000002,viettel,2026-02-01", "84900000001,vinaphone,2026-01-01")
    take("84900000002,vinaphone,2026-03-01", header="Số thuê bao,Mạng đến,Ngày chuyển")
    with installed_store.read() as connection:
        assert count_ports(connection) == {"viettel": 1, "vinaphone": 1}


@pytest.mark.parametrize("lines", [[], ["113,viettel,2026-01-01"], ["0900000001,?,2026-01-01"]])
def test_a_list_without_a_good_row_is_refused(installed_store: Store, take: Take, lines: list[str]) -> None:
    with pytest.raises(InvalidFileError):
        take(*lines)
    with installed_store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM port")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar() == 0


def test_a_missing_column_is_named(take: Take) -> None:
    with pytest.raises(InvalidFileError) as caught:
        take("84900000001,viettel", header="msisdn,rno")
    assert "effective_at" in caught.value.problems[0].message.en


@pytest.mark.parametrize(("moved", "owner"), [(None, "viettel"), ("2026-01-01", "mobifone"), ("2026-03-12T09:30", "viettel")])
def test_who_serves_a_number_that_two_carriers_export(
    installed_store: Store,
    load: Callable[..., Roster],
    take: Take,
    order: Order,
    auditor: Auditor,
    vault: Vault,
    now: dt.datetime,
    tmp_path: Path,
    moved: str | None,
    owner: str,
) -> None:
    """MobiFone saw it an hour ago, Viettel five minutes ago; what the list says counts if the carrier saw it since."""
    load("mobifone", 4)
    load("viettel", 4)
    export = tmp_path / "both.csv"
    export.write_text(f"msisdn,cell,last_seen\n84900000001,lte:452-04:1001,{(now - dt.timedelta(minutes=5)).isoformat()}\n")
    intake.import_roster(
        *(installed_store, auditor, vault, open_parcel([export])),
        carrier=CarrierCode("viettel"),
        observed_at=None,
        basis=Basis("2/CV", now.date()),
        now=now,
    )
    if moved:
        take(f"84900000001,mobifone,{moved}")
    told = {
        (item.carrier, item.exclusion): item.messages
        for item in enlist.count(installed_store, order, now).counts
        if item.area_code == "21040"
    }
    other = "viettel" if owner == "mobifone" else "mobifone"
    assert told[owner, 0] == 1
    assert told[other, int(Exclusion.DUPLICATE)] == 1
