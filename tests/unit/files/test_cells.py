import datetime as dt
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.areas import read_areas
from broadcaster.files.cells import COLUMNS, CellFile, read_cells

AREAS = read_areas()
HEADER = ",".join(COLUMNS)
GOOD = "viettel,lte,452,04,1234,27447297,QNG001,15.1135,108.812,21025,2025-07-01,"


def read(tmp_path: Path, text: str, encoding: str = "utf-8") -> CellFile:
    path = tmp_path / "cells.csv"
    path.write_bytes(text.encode(encoding))
    return read_cells(path, AREAS)


def test_a_row_becomes_a_cell(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD}\n")
    assert found.problems == []
    (row,) = found.rows
    assert (row.carrier, row.key, row.site, row.commune, row.approximate) == (
        "viettel",
        "lte:452-04:27447297",
        "QNG001",
        "21025",
        False,
    )
    assert (row.lat, row.lon) == (15.1135, 108.812)
    assert (row.valid_from, row.valid_to) == (dt.date(2025, 7, 1), None)


def test_semicolons_bom_crlf_decimal_commas_and_names(tmp_path: Path) -> None:
    row = "mobifone;gsm;452;1;12345;6789;;15,1135;108,812;cẩm thành;2025-07-01;2026-09-15"
    found = read(tmp_path, f"{HEADER.replace(',', ';').upper()}\r\n{row}\r\n", "utf-8-sig")
    assert found.problems == []
    assert (found.rows[0].key, found.rows[0].commune, found.rows[0].lat) == ("cgi:452-01:12345-6789", "21025", 15.1135)
    assert found.rows[0].valid_to == dt.date(2026, 9, 15)


def test_without_a_commune_the_nearest_centre_is_taken_and_marked(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace('21025', '')}\n")
    assert (found.rows[0].commune, found.rows[0].approximate) == ("21025", True)


def test_a_cell_far_from_every_centre_stays_unplaced(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace('21025', '').replace('15.1135,108.812', '13.9,109.2')}\n")
    assert found.rows[0].commune is None


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("viettel", "", "carrier"),
        ("lte", "wimax", "cell"),
        ("27447297", "x", "cell"),
        ("27447297", "999999999", "cell"),
        ("15.1135", "north", "lat"),
        ("15.1135", "", "lat"),
        ("15.1135", "nan", "lat"),
        ("108.812", "", "lon"),
        ("15.1135,108.812", "108.812,15.1135", "lat"),
        ("15.1135,108.812", "21.0,105.8", "lat"),
        ("21025", "Hà Nội", "commune"),
        ("21025", "Son Ha", "commune"),
        ("2025-07-01", "01/07/2025", "valid_from"),
        ("2025-07-01", "", "valid_from"),
        ("2025-07-01,", "2025-07-01,2025-02-30", "valid_to"),
        ("2025-07-01,", "2025-07-01,2025-06-30", "valid_to"),
        ("2025-07-01,", "2025-07-01,,extra", "carrier"),
        (GOOD, "viettel", "cell"),
    ],
)
def test_a_bad_row_is_a_problem_and_the_next_row_is_read(tmp_path: Path, old: str, new: str, key: str) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace(old, new, 1)}\n{GOOD.replace('27447297', '27447298')}\n")
    assert [(problem.line, problem.key) for problem in found.problems] == [(2, key)]
    assert [row.key for row in found.rows] == ["lte:452-04:27447298"]


def test_a_repeated_cell_names_the_line_it_repeats(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD}\n{GOOD}\n{GOOD.replace('2025-07-01', '2026-01-01')}\n")
    assert len(found.rows) == 2
    assert [problem.line for problem in found.problems] == [3]
    assert "2" in found.problems[0].message.vi


def test_a_header_without_columns_names_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(tmp_path, "carrier,radio,lat,lat\n")
    assert {problem.key for problem in caught.value.problems} == set(COLUMNS) - {"carrier", "radio"}
    assert {problem.line for problem in caught.value.problems} == {1}


def test_an_empty_file_is_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError):
        read(tmp_path, "")


def test_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes(f"{HEADER}\n".encode() + b"\xff\xfe\n")
    with pytest.raises(InvalidFileError) as caught:
        read_cells(path, AREAS)
    assert caught.value.problems[0].line == 2


def test_an_unclosed_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(tmp_path, f'{HEADER}\n"{GOOD}\n{GOOD}\n')
    assert caught.value.problems[0].line is not None


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_cells(tmp_path / "nowhere.csv", AREAS)
