"""Inventories, exports and refusals come in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.errors import ConfigurationError, InvalidFileError, LockedError, RefusedError
from broadcaster.files.parcels import open_parcel
from broadcaster.flow import intake, inventory, load
from broadcaster.flow.refuse import refuse
from broadcaster.model import Area, CarrierCode, DropReason, Msisdn
from broadcaster.store import rosters
from broadcaster.store.audit import Auditor, entries, first_break
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault, commitment

VIETTEL, MOBIFONE = CarrierCode("viettel"), CarrierCode("mobifone")
HEADER = "msisdn,cell,last_seen"
SEEN = "2026-03-12T09:00:00"
SEEN_S = int(dt.datetime(2026, 3, 12, 2, tzinfo=dt.UTC).timestamp())

Import = Callable[..., Roster]


@pytest.fixture
def take_in(store: Store, auditor: Auditor, vault: Vault, tmp_path: Path, now: dt.datetime) -> Import:
    """Import lines as one export of Viettel."""

    def run(
        *lines: str,
        name: str = "export.csv",
        header: str = HEADER,
        observed_at: dt.datetime | None = None,
        carrier: CarrierCode = VIETTEL,
        legal_basis: str = "1/CV-SKHCN",
        requested_on: dt.date = dt.date(2026, 3, 2),
        **more: Any,
    ) -> Roster:
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        basis = intake.Basis(legal_basis, requested_on)
        parcel = open_parcel([path])
        return intake.import_roster(
            store, auditor, vault, parcel, carrier=carrier, observed_at=observed_at, basis=basis, now=now, **more
        ).roster

    return run


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def actions(store: Store) -> list[str]:
    with store.read() as connection:
        return [entry.action for entry in entries(connection)]


def test_every_row_is_kept_or_dropped_with_a_reason(store: Store, take_in: Import, vault: Vault) -> None:
    made = take_in(
        f"84961000001,452-04-100-1,{SEEN}",
        f"01621000002,452-04-100-1,{SEEN}",
        f",452-04-100-1,{SEEN}",
        f"0255123456789,452-04-100-1,{SEEN}",
        f"+15551234567,452-04-100-1,{SEEN}",
        f"113,452-04-100-1,{SEEN}",
        f"84961000003,no cell,{SEEN}",
        "84961000004,452-04-100-1,yesterday",
        "84961000005,452-04-100-1",
        f"0961000001,452-04-100-1,{SEEN}",
    )
    assert made.file_rows == 10
    assert made.kept == 2
    assert made.kept + sum(made.dropped.values()) == made.file_rows
    assert made.dropped["repeated"] == 1
    assert {"empty", "bad-cell", "bad-time", "few-columns", "foreign", "short-code"} <= made.dropped.keys()
    assert sorted(vault.reveal([token for (token,) in rows(store, "SELECT token FROM subscriber")])) == [84321000002, 84961000001]
    assert actions(store) == ["roster-import"]


def test_the_commitment_is_over_the_numbers(store: Store, take_in: Import) -> None:
    made = take_in(f"84961000002,452-04-100-1,{SEEN}", f"84961000001,452-04-100-1,{SEEN}", f"84961000002,452-04-100-1,{SEEN}")
    ((salt,),) = rows(store, "SELECT salt FROM roster")
    assert made.commitment == commitment([84961000001, 84961000002], salt)


def test_the_row_seen_last_places_a_repeated_number(store: Store, take_in: Import) -> None:
    take_in(
        "84961000001,452-04-100-1,2026-03-12T08:00:00",
        "84961000001,452-04-100-2,2026-03-12T09:00:00",
        "84961000001,452-04-100-3,2026-03-12T07:00:00",
    )
    assert rows(store, "SELECT c.key, s.seen_s FROM subscriber s JOIN cell c ON c.id = s.cell_id") == [("cgi:452-04:100-2", SEEN_S)]


def test_cells_nobody_knows_are_noted_and_placed_by_a_later_inventory(
    store: Store, take_in: Import, auditor: Auditor, areas: list[Area], tmp_path: Path
) -> None:
    take_in(f"84961000001,lte:452-04:1000,{SEEN}")
    assert rows(store, "SELECT key, area_code, placed FROM cell") == [("lte:452-04:1000", None, "unknown")]
    before = rows(store, "SELECT cell_id FROM subscriber")
    listed = tmp_path / "cells.csv"
    header = "carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"
    listed.write_text(f"{header}\nviettel,lte,452,04,100,1000,S1,15.1,108.8,21025,2025-07-01,\nviettel,lte,452,04,100,x,S2,1,1,,,\n")
    done = inventory.import_cells(store, auditor, listed, areas, today=dt.date(2026, 3, 12))
    assert (len(done.cells), done.placed, len(done.problems)) == (1, {"file": 1}, 1)
    assert done.changes == inventory.Changes(new=1, moved=[], missing=0)
    assert done.problems[0].line == 3
    assert rows(store, "SELECT key, area_code, placed FROM cell") == [("lte:452-04:1000", "21025", "file")]
    assert rows(store, "SELECT cell_id FROM subscriber") == before
    assert rows(store, "SELECT count(*) FROM area") == [(96,)]


def test_the_same_file_is_taken_once(store: Store, take_in: Import) -> None:
    take_in(f"84961000001,452-04-100-1,{SEEN}")
    with pytest.raises(RefusedError, match=r"export\.csv"):
        take_in(f"84961000001,452-04-100-1,{SEEN}")
    assert rows(store, "SELECT count(*) FROM roster") == [(1,)]
    take_in(f"84961000001,452-04-100-1,{SEEN}", f"84961000002,452-04-100-1,{SEEN}")
    assert rows(store, "SELECT count(*) FROM roster") == [(2,)]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (["2026-03-12T08:00:00", SEEN, "2026-03-11T09:00:00"], dt.datetime(2026, 3, 12, 2, tzinfo=dt.UTC)),
        ([SEEN, "2099-01-01T00:00:00"], dt.datetime(2026, 3, 12, 2, tzinfo=dt.UTC)),
        ([SEEN, "2026-03-12T10:09:00"], dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC)),
    ],
)
def test_without_a_time_of_observation_the_newest_row_gives_it(take_in: Import, seen: list[str], expected: dt.datetime) -> None:
    made = take_in(*[f"8496100000{number},452-04-100-1,{at}" for number, at in enumerate(seen)])
    assert made.observed_ms == to_ms(expected)


def test_who_was_active_in_the_future_is_dropped(store: Store, take_in: Import, tmp_path: Path, now: dt.datetime) -> None:
    ahead = [(now + dt.timedelta(minutes=minutes)).isoformat() for minutes in (10, 11)]
    made = take_in(*[f"8496100000{number},452-04-100-1,{at}" for number, at in enumerate([SEEN, *ahead])])
    assert (made.kept, made.dropped) == (2, {"bad-time": 1})
    counted = intake.survey(open_parcel([tmp_path / "export.csv"]), carrier=VIETTEL, mnc=None, now=now)
    assert (counted.kept, counted.dropped) == (2, {"bad-time": 1})


def test_activity_after_the_stated_observation_is_refused(store: Store, take_in: Import) -> None:
    seen = dt.datetime.fromtimestamp(SEEN_S, dt.UTC)
    with pytest.raises(RefusedError) as refused:
        take_in(f"84961000001,452-04-100-1,{SEEN}", observed_at=seen - dt.timedelta(days=1, seconds=1))
    assert "12-03-2026 09:00" in refused.value.message.vi
    assert rows(store, "SELECT count(*) FROM roster") == [(0,)]
    assert take_in(f"84961000001,452-04-100-1,{SEEN}", observed_at=seen - dt.timedelta(days=1)).kept == 1


def test_a_time_of_observation_ahead_is_refused(store: Store, take_in: Import, now: dt.datetime) -> None:
    with pytest.raises(RefusedError):
        take_in(f"84961000001,452-04-100-1,{SEEN}", observed_at=now + dt.timedelta(seconds=1))
    made = take_in(f"84961000001,452-04-100-1,{SEEN}", observed_at=now - dt.timedelta(hours=5))
    assert made.observed_ms == to_ms(now - dt.timedelta(hours=5))


@pytest.mark.parametrize("lines", [[], [f"113,452-04-100-1,{SEEN}"], ["84961000001,452-04-100-1,never"]])
def test_a_file_without_subscribers_leaves_nothing(store: Store, take_in: Import, lines: list[str]) -> None:
    with pytest.raises(InvalidFileError):
        take_in(*lines)
    assert rows(store, "SELECT count(*) FROM roster") == [(0,)]
    assert actions(store) == []


def test_a_cut_off_import_leaves_nothing_that_counts(store: Store, take_in: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SLICE_ROWS", 2)
    lines = [f"8496100000{number},452-04-100-1,{SEEN}" for number in range(5)]
    reached = []

    def pull_the_plug(done: int) -> None:
        reached.append(done)
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_in(*lines, progress=pull_the_plug)
    assert reached == [2, 4]
    assert rows(store, "SELECT count(*) FROM roster") == [(0,)]
    assert rows(store, "SELECT count(*) FROM subscriber") == [(0,)]
    assert actions(store) == []


def test_what_a_killed_import_left_goes_with_the_next(store: Store, take_in: Import) -> None:
    with store.write() as connection:
        left = rosters.begin_roster(
            connection,
            carrier=VIETTEL,
            file_name="cut.csv",
            file_sha256="0",
            legal_basis="1/CV",
            requested_on="2026-03-02",
            observed_ms=1,
            imported_ms=1,
            salt=b"s" * 16,
        )
        rosters.add_subscribers(connection, left, [(b"t" * 16, 1, 1)])
    made = take_in(f"84961000001,452-04-100-1,{SEEN}")
    assert rows(store, "SELECT id, complete FROM roster") == [(made.id, 1)]
    assert rows(store, "SELECT count(*) FROM subscriber") == [(1,)]


@pytest.mark.parametrize(("elsewhere", "refused"), [(2, False), (3, True)])
def test_a_roster_mostly_of_another_network_is_refused(store: Store, take_in: Import, elsewhere: int, refused: bool) -> None:
    lines = [f"8496100000{at},lte:452-{'01' if at < elsewhere else '04'}:1000,{SEEN}" for at in range(4)]
    lines.append(f"113,452-01-100-1,{SEEN}")
    if not refused:
        assert take_in(*lines, mnc="04").kept == 4
        return
    with pytest.raises(RefusedError, match="3/4"):
        take_in(*lines, mnc="04")
    assert rows(store, "SELECT count(*) FROM roster") == [(0,)]
    assert rows(store, "SELECT count(*) FROM subscriber") == [(0,)]
    assert actions(store) == []


def test_a_file_of_another_carrier_is_refused_until_the_mistake_is_undone(store: Store, take_in: Import, now: dt.datetime) -> None:
    right, other = f"84961000001,452-04-100-1,{SEEN}", f"84901000001,452-01-100-1,{SEEN}"
    first = take_in(right)
    take_in(other, name="other.csv")
    with pytest.raises(RefusedError, match="viettel"):
        take_in(other, name="other.csv", carrier=MOBIFONE)
    again = take_in(right)
    assert again.id > first.id
    with pytest.raises(RefusedError):
        take_in(right)
    take_in(other, name="other.csv", carrier=MOBIFONE)
    with store.read() as connection:
        newest = rosters.newest_rosters(connection)
    assert (newest[VIETTEL].id, newest[MOBIFONE].file_name) == (again.id, "other.csv")


@pytest.mark.parametrize("carrier", [VIETTEL, MOBIFONE])
def test_of_two_imports_of_one_file_at_once_the_second_is_refused(store: Store, take_in: Import, carrier: CarrierCode) -> None:
    lines = [f"84961000001,452-04-100-1,{SEEN}"]

    def let_the_same_in(_done: int) -> None:
        with store.write() as connection:
            connection.execute(text("UPDATE roster SET carrier = 'hidden'"))
        take_in(*lines, carrier=carrier)
        with store.write() as connection:
            connection.execute(text("UPDATE roster SET carrier = 'viettel' WHERE carrier = 'hidden'"))

    with pytest.raises(RefusedError):
        take_in(*lines, progress=let_the_same_in)
    assert rows(store, "SELECT carrier, complete FROM roster") == [(carrier, 1)]
    assert rows(store, "SELECT count(*) FROM subscriber") == [(1,)]
    assert actions(store) == ["roster-import"]


def test_a_file_of_bad_rows_tells_why_and_where(take_in: Import) -> None:
    bad = [f"not {at},452-04-100-1,{SEEN}" for at in range(6)]
    with pytest.raises(InvalidFileError) as caught:
        take_in(*bad, f"02553812345,452-04-100-1,{SEEN}")
    problems = caught.value.problems
    assert [(problem.line, problem.message.en) for problem in problems[1:]] == [
        (2, "not a number: 6 rows (2, 3, 4, 5, 6, …)"),
        (8, "fixed line: 1 rows (8)"),
    ]
    assert problems[1].message.vi == "không phải số: 6 dòng (2, 3, 4, 5, 6, …)"
    assert "3812345" not in str(caught.value)


def test_a_phone_number_in_free_text_is_refused(
    store: Store, auditor: Auditor, vault: Vault, take_in: Import, now: dt.datetime
) -> None:
    with pytest.raises(ConfigurationError):
        take_in(f"84961000001,452-04-100-1,{SEEN}", legal_basis="theo 099 300 0001")
    with pytest.raises(ConfigurationError):
        refuse(store, auditor, vault, [Msisdn(84961000001)], refuses=True, source="cli", evidence="máy 0961.000.001", now=now)
    assert rows(store, "SELECT count(*) FROM refusal") == [(0,)]
    assert actions(store) == []


def test_every_reason_for_a_dropped_row_has_words() -> None:
    assert set(load.DROP_WORDS) == set(DropReason)


def test_a_broken_end_leaves_nothing_that_counts(store: Store, take_in: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SLICE_ROWS", 2)
    with pytest.raises(InvalidFileError):
        take_in(*[f"8496100000{number},452-04-100-1,{SEEN}" for number in range(4)], "#rows=9")
    with store.read() as connection:
        assert rosters.rosters(connection) == []


def test_two_imports_of_one_carrier_at_once_do_not_mix(store: Store, take_in: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SLICE_ROWS", 2)
    lines = [f"8496100000{number},452-04-100-1,{SEEN}" for number in range(2)]

    def let_another_in(_done: int) -> None:
        take_in(f"84961000009,452-04-100-1,{SEEN}", name="other.csv")

    with pytest.raises(LockedError):
        take_in(*lines, progress=let_another_in)
    with store.read() as connection:
        assert [item.file_name for item in rosters.rosters(connection)] == ["other.csv"]


def test_progress_counts_the_rows_read(take_in: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SLICE_ROWS", 2)
    seen: list[int] = []
    take_in(*[f"8496100000{number},452-04-100-1,{SEEN}" for number in range(5)], progress=seen.append)
    assert seen == [2, 4, 5]


def test_refusals_are_in_force_at_once_and_repeatable(
    store: Store, auditor: Auditor, vault: Vault, audit_key: bytes, now: dt.datetime
) -> None:
    numbers = [Msisdn(84961000001), Msisdn(84961000002), Msisdn(84961000001)]

    def record(refuses: bool) -> tuple[int, int]:
        return refuse(store, auditor, vault, numbers, refuses=refuses, source="phone", evidence="sổ trực", now=now)

    assert record(True) == (2, 0)
    assert record(True) == (2, 2)
    assert sorted(vault.reveal([token for (token,) in rows(store, "SELECT token FROM opt_out")])) == [84961000001, 84961000002]
    assert record(False) == (2, 0)
    assert rows(store, "SELECT count(*) FROM opt_out") == [(0,)]
    assert rows(store, "SELECT count(*) FROM refusal") == [(6,)]
    assert actions(store) == ["refusal", "refusal", "refusal-withdrawn"]
    with store.read() as connection:
        assert first_break(connection, audit_key) is None
        assert not any("8496" in str(entry) for entry in entries(connection))
