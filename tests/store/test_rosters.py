"""Snapshots of subscribers in the database."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from broadcaster.errors import LockedError, StoreError
from broadcaster.model import CarrierCode, RosterId
from broadcaster.store import rosters as table
from broadcaster.store.engine import Store

VIETTEL, MOBIFONE = CarrierCode("viettel"), CarrierCode("mobifone")


def begin(store: Store, carrier: CarrierCode = VIETTEL, sha: str = "sha") -> RosterId:
    with store.write() as connection:
        return table.begin_roster(
            connection,
            carrier=carrier,
            file_name="export.csv",
            file_sha256=sha,
            legal_basis="1/CV",
            requested_on="2026-03-02",
            observed_ms=1,
            imported_ms=2,
            salt=b"s" * 16,
        )


def add(store: Store, roster_id: RosterId, *rows: tuple[int, int, int]) -> None:
    with store.write() as connection:
        table.add_subscribers(connection, roster_id, [(number.to_bytes(16, "big"), cell, seen) for number, cell, seen in rows])


def complete(store: Store, roster_id: RosterId, observed_ms: int, rows: int, dropped: dict[str, int] | None = None) -> None:
    with store.write() as connection:
        table.complete_roster(
            connection, roster_id, observed_ms=observed_ms, file_rows=rows, dropped=dropped or {}, commitment=f"of-{roster_id}"
        )


def test_only_complete_rosters_count(store: Store) -> None:
    done, cut_off = begin(store), begin(store)
    add(store, done, (1, 1, 1))
    add(store, cut_off, (1, 1, 1))
    complete(store, done, 5, 3, {"empty": 1, "repeated": 1})
    with store.read() as connection:
        (only,) = table.rosters(connection)
        assert (only.id, only.file_rows, only.kept, only.dropped) == (done, 3, 1, {"empty": 1, "repeated": 1})
        assert table.incomplete_rosters(connection, VIETTEL) == [cut_off]
        assert table.incomplete_rosters(connection, MOBIFONE) == []
        assert table.count_subscribers(connection, [done, cut_off]) == 1
        assert table.find_same_file(connection, VIETTEL, "sha") == only
        assert table.find_same_file(connection, MOBIFONE, "sha") is None


def test_the_newest_observation_wins_not_the_last_import(store: Store) -> None:
    newer, older, other = begin(store, sha="1"), begin(store, sha="2"), begin(store, MOBIFONE)
    complete(store, newer, 20, 0)
    complete(store, older, 10, 0)
    complete(store, other, 1, 0)
    with store.read() as connection:
        assert {code: item.id for code, item in table.newest_rosters(connection).items()} == {VIETTEL: newer, MOBIFONE: other}


def test_only_the_newest_roster_of_a_carrier_stands_for_its_file(store: Store) -> None:
    first = begin(store, sha="1")
    complete(store, first, 10, 0)
    with store.read() as connection:
        found = table.find_same_file_elsewhere(connection, MOBIFONE, "1")
        assert found
        assert found.id == first
        assert table.find_same_file_elsewhere(connection, VIETTEL, "1") is None
    complete(store, begin(store, sha="2"), 11, 0)
    with store.read() as connection:
        assert table.find_same_file(connection, VIETTEL, "1") is None
        assert table.find_same_file_elsewhere(connection, MOBIFONE, "1") is None


def test_of_several_rows_for_one_number_the_one_seen_last_stays(store: Store) -> None:
    roster_id = begin(store)
    add(store, roster_id, (1, 11, 100), (2, 12, 100))
    add(store, roster_id, (1, 13, 300))
    add(store, roster_id, (1, 14, 200))
    add(store, roster_id, (2, 15, 50), (1, 16, 301), (3, 17, 1))
    with store.read() as connection:
        found = connection.execute(text("SELECT cell_id, seen_s FROM subscriber ORDER BY token")).all()
        assert [tuple(row) for row in found] == [(16, 301), (12, 100), (17, 1)]
        assert table.stored_subscribers(connection, roster_id) == 3


def test_a_removed_roster_cannot_be_completed(store: Store) -> None:
    roster_id = begin(store)
    with store.write() as connection:
        assert table.drop_slice(connection, roster_id)
    with pytest.raises(LockedError):
        complete(store, roster_id, 1, 0)


def test_leftovers_go_in_slices(store: Store) -> None:
    cut_off, other = begin(store), begin(store)
    add(store, cut_off, *[(number, 1, 1) for number in range(10)])
    add(store, other, (1, 1, 1))
    left = []
    gone = False
    while not gone:
        with store.write() as connection:
            gone = table.drop_slice(connection, cut_off, limit=4)
        with store.read() as connection:
            left.append(table.stored_subscribers(connection, cut_off))
    assert left == [6, 2, 0, 0]
    with store.read() as connection:
        assert table.incomplete_rosters(connection, VIETTEL) == [other]
        assert table.stored_subscribers(connection, other) == 1


def test_an_id_is_never_used_again(store: Store) -> None:
    removed = begin(store)
    with store.write() as connection:
        assert table.drop_slice(connection, removed)
    assert begin(store) > removed
    with pytest.raises(StoreError):
        add(store, removed, (1, 1, 1))
