"""The made-up province is the same for the same seed, and the product's own readers count in it what its truth says."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from broadcaster.files.areas import read_areas
from broadcaster.files.cells import read_cells
from broadcaster.files.parcels import open_parcel
from broadcaster.files.prefixes import read_plan
from broadcaster.files.rosters import RosterReader
from broadcaster.model import DropReason, Msisdn
from demo.generate import NETWORKS, REFUSED_FILE, TRUTH_FILE, Truth, cells_path, generate, roster_path

OBSERVED_AT = dt.datetime(2026, 3, 2, 1, 30, tzinfo=dt.UTC)
SUBSCRIBERS = 4_000

Sighting = tuple[int, str, str]
"""Last seen (epoch seconds), carrier, key of the cell."""


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("province")
    return folder, generate(folder, SUBSCRIBERS, 7, OBSERVED_AT)


def places(folder: Path) -> dict[str, str | None]:
    """Commune by key of the cell, over all inventories."""
    files = (read_cells(cells_path(folder, network.code), read_areas()) for network in NETWORKS)
    return {row.key: row.commune for file in files for row in file.rows}


def sightings(folder: Path) -> tuple[dict[int, list[Sighting]], dict[str, int], dict[str, Counter[str]]]:
    """Every number's sightings (one a carrier), and each carrier's rows and dropped rows."""
    found: dict[int, list[Sighting]] = {}
    rows: dict[str, int] = {}
    dropped: dict[str, Counter[str]] = {}
    for network in NETWORKS:
        mine: dict[int, Sighting] = {}
        reasons: Counter[str] = Counter()
        with RosterReader(open_parcel([roster_path(folder, network.code)]).parts[0]) as reader:
            for piece in reader.slices():
                reasons.update(drop.reason for drop in piece.dropped)
                for number, cell, seen in zip(piece.numbers, piece.cells, piece.seen, strict=True):
                    reasons[DropReason.REPEATED] += number in mine
                    mine[number] = (seen, network.code, cell)
            rows[network.code] = reader.rows
        dropped[network.code] = +reasons
        for number, sighting in mine.items():
            found.setdefault(number, []).append(sighting)
    return found, rows, dropped


def test_the_same_seed_gives_the_same_files(province: tuple[Path, Truth], tmp_path: Path) -> None:
    folder, truth = province
    assert generate(tmp_path, SUBSCRIBERS, 7, OBSERVED_AT) == truth
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_another_seed_gives_other_numbers(province: tuple[Path, Truth], tmp_path: Path) -> None:
    folder, _ = province
    generate(tmp_path, SUBSCRIBERS, 8, OBSERVED_AT)
    assert roster_path(folder, "viettel").read_bytes() != roster_path(tmp_path, "viettel").read_bytes()


def test_the_inventories_read_without_a_problem_and_are_placed_as_the_truth_says(province: tuple[Path, Truth]) -> None:
    folder, truth = province
    for network in NETWORKS:
        file = read_cells(cells_path(folder, network.code), read_areas())
        near = sum(row.approximate for row in file.rows)
        assert file.problems == []
        assert truth.cells[network.code] == {"rows": len(file.rows), "by_file": len(file.rows) - near, "by_nearest": near}
    assert sum(counts["by_nearest"] for counts in truth.cells.values()) > 0
    assert set(places(folder).values()) == {area.code for area in read_areas()}


def test_the_exports_hold_the_asked_number_of_subscribers(province: tuple[Path, Truth]) -> None:
    folder, truth = province
    found, rows, dropped = sightings(folder)
    assert len(found) == truth.subscribers == SUBSCRIBERS
    assert {code: counts["rows"] for code, counts in truth.rosters.items()} == rows
    assert truth.dropped == {code: dict(counts) for code, counts in dropped.items()}
    assert {code: counts["kept"] for code, counts in truth.rosters.items()} == {
        code: rows[code] - dropped[code].total() for code in rows
    }


def test_the_audience_is_as_the_truth_says(province: tuple[Path, Truth]) -> None:
    folder, truth = province
    commune_of = places(folder)
    refused = {read_plan().normalise(line) for line in (folder / REFUSED_FILE).read_text("utf-8").splitlines()}
    stale_before = OBSERVED_AT.timestamp() - truth.active_within_h * 3600
    recipients: Counter[str] = Counter()
    excluded = {network.code: Counter({"refused": 0, "duplicate": 0, "stale": 0, "unknown_cell": 0}) for network in NETWORKS}
    communes: Counter[str] = Counter()
    for number, all_seen in sightings(folder)[0].items():
        (seen, carrier, cell), *older = sorted(all_seen, reverse=True)
        for _, other, _ in older:
            excluded[other]["duplicate"] += 1
        commune = commune_of.get(cell)
        if commune is None:
            excluded[carrier]["unknown_cell"] += 1
        elif seen < stale_before:
            excluded[carrier]["stale"] += 1
        elif Msisdn(number) in refused:
            excluded[carrier]["refused"] += 1
        else:
            recipients[carrier] += 1
            communes[commune] += 1
    assert truth.recipients == dict(recipients)
    assert truth.excluded == {code: dict(counts) for code, counts in excluded.items()}
    assert truth.communes == dict(communes)
    assert truth.refused_before == len(refused) > 0
    assert all(sum(counts[reason] for counts in truth.excluded.values()) > 0 for reason in excluded["viettel"])


def test_no_number_is_seen_twice_at_the_same_moment(province: tuple[Path, Truth]) -> None:
    """Else which carrier a duplicate belongs to would be a matter of taste."""
    for all_seen in sightings(province[0])[0].values():
        assert len({seen for seen, _, _ in all_seen}) == len(all_seen)


def test_old_spellings_of_eleven_digits_are_among_the_numbers(province: tuple[Path, Truth]) -> None:
    lines = [line for network in NETWORKS for line in roster_path(province[0], network.code).read_text("utf-8").splitlines()]
    old = sum(line.startswith("01") and line.index(",") == 11 for line in lines)
    assert 0.02 < old / len(lines) < 0.04


def test_the_truth_is_written_beside_the_files(province: tuple[Path, Truth]) -> None:
    folder, truth = province
    assert json.loads((folder / TRUTH_FILE).read_text("utf-8")) == asdict(truth)


def test_a_handful_of_subscribers_is_enough(tmp_path: Path) -> None:
    truth = generate(tmp_path, 10, 1, OBSERVED_AT)
    assert len(sightings(tmp_path)[0]) == 10
    assert sum(counts["rows"] for counts in truth.rosters.values()) >= 10
