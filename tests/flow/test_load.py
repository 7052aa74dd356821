"""Snapshots from messy deliveries: several parts, repetitions across runs, the list of drops, the comparison with the one before."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from broadcaster.errors import InvalidFileError, RefusedError
from broadcaster.files.parcels import open_parcel
from broadcaster.flow import intake, load
from broadcaster.flow.load import DropList
from broadcaster.model import CarrierCode
from broadcaster.rules.basis import Basis
from broadcaster.store.audit import Auditor, entries
from broadcaster.store.engine import Store
from broadcaster.store.rosters import rosters
from broadcaster.store.vault import Vault, commitment

HEADER = "msisdn,cell,last_seen"
Import = Callable[..., intake.Imported]


@pytest.fixture
def take_in(store: Store, auditor: Auditor, vault: Vault, now: dt.datetime) -> Import:
    def run(*paths: Path, **more: Any) -> intake.Imported:
        given = {"carrier": CarrierCode("viettel"), "observed_at": now, "basis": Basis("1/CV", now.date()), "now": now} | more
        return intake.import_roster(store, auditor, vault, open_parcel(paths), **given)

    return run


def people(count: int, *, first: int = 0, cells: int = 4, at: str = "08:00") -> list[str]:
    return [f"8496{number:07d},lte:452-04:{1000 + number % cells},2026-03-12T{at}:00" for number in range(first, first + count)]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n", "utf-8")
    return path


def stored(store: Store) -> list[tuple[Any, ...]]:
    query = "SELECT s.roster_id, s.token, c.key, s.seen_s FROM subscriber s JOIN cell c ON c.id = s.cell_id ORDER BY 1, 2"
    with store.read() as connection:
        return [(row[0], bytes(row[1]), row[2], row[3]) for row in connection.execute(text(query))]


def test_several_files_are_one_snapshot(store: Store, take_in: Import, tmp_path: Path, auditor: Auditor) -> None:
    one, two = write(tmp_path / "a.csv", *people(3)), write(tmp_path / "b.csv", *people(3, first=2), "113,x,y")
    made = take_in(one, two)
    assert (made.roster.file_rows, made.roster.kept, made.roster.dropped) == (7, 5, {"short-code": 1, "repeated": 1})
    assert (made.roster.file_name, set(made.files)) == ("a.csv (+1)", {"a.csv", "b.csv"})
    with store.read() as connection:
        assert set(list(entries(connection))[-1].detail["files"]) == {"a.csv", "b.csv"}
    with pytest.raises(RefusedError, match=r"b\.csv"):
        take_in(two, one)


def test_a_bad_part_leaves_nothing(store: Store, take_in: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "RUN_ROWS", 2)
    one, two = write(tmp_path / "a.csv", *people(50)), tmp_path / "b.csv"
    two.write_text("x,y\n")
    with pytest.raises(InvalidFileError, match=r"b\.csv"):
        take_in(one, two)
    assert stored(store) == []
    with store.read() as connection:
        assert rosters(connection) == []


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 59)), min_size=1, max_size=40),
    run=st.integers(1, 12),
    piece=st.integers(1, 7),
)
def test_whatever_the_runs_the_row_seen_last_stays_and_totals_add_up(
    make_store: Callable[..., Store],
    auditor: Auditor,
    vault: Vault,
    now: dt.datetime,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
    run: int,
    piece: int,
) -> None:
    path = write(
        tmp_path_factory.mktemp("rows") / "a.csv",
        *[f"8496{number:07d},lte:452-04:{1000 + cell},2026-03-12T08:{minute:02d}:00" for number, cell, minute in rows],
        "113,lte:452-04:1000,2026-03-12T08:00:00",
    )
    store = make_store(path.parent.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "RUN_ROWS", run)
        patch.setattr(load, "WRITE_ROWS", 3)
        patch.setattr(intake, "SLICE_ROWS", piece)
        basis = Basis("1/CV", now.date())
        parcel = open_parcel([path])
        made = intake.import_roster(
            store, auditor, vault, parcel, carrier=CarrierCode("viettel"), observed_at=None, basis=basis, now=now
        ).roster
    latest: dict[int, tuple[int, set[int]]] = {}
    for number, cell, minute in rows:
        seen, cells = latest.get(number, (-1, set()))
        latest[number] = (minute, {cell}) if minute > seen else (seen, cells | {cell}) if minute == seen else (seen, cells)
    assert made.file_rows == len(rows) + 1 == made.kept + sum(made.dropped.values())
    assert made.kept == len(latest)
    found = {number: (key, seen_s) for (_, token, key, seen_s) in stored(store) for number in vault.reveal([token])}
    assert set(found) == {84960000000 + number for number in latest}
    for number, (minute, cells) in latest.items():
        key, seen_s = found[84960000000 + number]  # type: ignore[index]
        assert key in {f"lte:452-04:{1000 + cell}" for cell in cells}
        assert seen_s % 3600 == minute * 60
    with store.read() as connection:
        salt = bytes(connection.execute(text("SELECT salt FROM roster")).scalar_one())
    assert made.commitment == commitment([84960000000 + number for number in latest], salt)


def test_every_dropped_row_is_on_the_list_masked(take_in: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export = write(Path("=a.csv"), *people(2), "02553822123,lte:452-04:1000,x", "84961234567,nowhere,x", "+cmd,x,y", "84961234568")
    with DropList(tmp_path / "lists" / "drops.csv") as drops:
        made = take_in(export, drops=drops)
    rows = list(csv.reader((tmp_path / "lists" / "drops.csv").read_text("utf-8-sig").splitlines()))
    assert [row[1:3] + row[4:] for row in rows] == [
        ["line", "reason", "number"],
        ["4", "fixed-line", "8425****123"],
        ["5", "bad-cell", "8496****567"],
        ["6", "not-a-number", ""],
        ["7", "few-columns", "8496****568"],
    ]
    assert len(rows) - 1 == sum(made.roster.dropped.values())
    assert rows[1][0] == "'=a.csv"
    assert not any(field.startswith(("=", "+", "-", "@")) for row in rows for field in row)
    assert (tmp_path / "lists" / "drops.csv").stat().st_mode & 0o777 == 0o600


def test_without_drops_there_is_no_list(take_in: Import, tmp_path: Path) -> None:
    with DropList(tmp_path / "drops.csv") as drops:
        take_in(write(tmp_path / "a.csv", *people(2)), drops=drops)
    assert not drops.written
    assert not drops.path.exists()


def test_half_a_file_is_refused_until_somebody_accepts_it(store: Store, take_in: Import, tmp_path: Path) -> None:
    first = take_in(write(tmp_path / "a.csv", *people(2_000)))
    assert first.likeness is None
    half = write(tmp_path / "b.csv", *people(1_000))
    with pytest.raises(RefusedError, match=r"1000.*2000"):
        take_in(half)
    with store.read() as connection:
        assert [item.id for item in rosters(connection)] == [first.roster.id]
    made = take_in(half, accept_difference=True)
    assert made.likeness is not None
    assert (made.likeness.before, made.likeness.after, made.likeness.overlap, made.likeness.doubtful) == (2_000, 1_000, 1.0, True)


def test_a_like_file_is_taken_and_told(take_in: Import, tmp_path: Path) -> None:
    take_in(write(tmp_path / "a.csv", *people(1_500)))
    made = take_in(write(tmp_path / "b.csv", *people(1_500, first=300, at="09:00")))
    assert made.likeness is not None
    assert made.likeness.overlap == pytest.approx(0.8)
    assert not made.likeness.doubtful


def test_people_of_another_file_are_noticed(take_in: Import, tmp_path: Path) -> None:
    take_in(write(tmp_path / "a.csv", *people(1_500)))
    with pytest.raises(RefusedError, match="40%"):
        take_in(write(tmp_path / "b.csv", *people(1_500, first=900)))


def test_an_emptied_commune_is_named(store: Store, take_in: Import, tmp_path: Path) -> None:
    take_in(write(tmp_path / "a.csv", *people(2_000)))
    with store.write() as connection:
        connection.execute(text("UPDATE cell SET area_code = '21025' WHERE key = 'lte:452-04:1001'"))
        connection.execute(text("UPDATE cell SET area_code = '21040' WHERE key <> 'lte:452-04:1001'"))
    gone = [row for row in people(2_000) if ":1001," not in row]
    with pytest.raises(RefusedError, match="21025") as caught:
        take_in(write(tmp_path / "b.csv", *gone))
    assert "21040" not in str(caught.value)


def test_a_flood_of_unknown_cells_is_noted(store: Store, take_in: Import, tmp_path: Path) -> None:
    take_in(write(tmp_path / "a.csv", *people(1_200, cells=1_200)))
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM cell WHERE placed = 'unknown'")).scalar() == 1_200
