import csv
from pathlib import Path
from typing import NamedTuple

import pytest

from broadcaster.errors import ConfigurationError
from broadcaster.files.areas import read_areas
from broadcaster.files.cellexport import CLF_COLUMNS, FORMS, OPENCELLID_COLUMNS
from broadcaster.files.cells import Asked, read_cells
from broadcaster.model import CarrierCode

AREAS = read_areas()


class Cell(NamedTuple):
    key: str
    radio: str | None
    site: str | None
    lat: float | None
    lon: float | None


CELLS = [
    Cell("lte:452-04:27447297", "lte", "QNG001", 15.1135, 108.812),
    Cell("nr:452-04:68719476735", "nr", "QNG002", 15.3313, 108.746),
    Cell("cgi:452-04:12345-6789", "gsm", "QNG003", 14.8, 108.9),
    Cell("cgi:452-04:12345-99", "umts", None, 14.8, 108.9),
    Cell("cgi:452-04:12345-100", None, "QNG005", 14.8, 108.9),
]


@pytest.mark.parametrize("form", ["opencellid", "clf"])
def test_what_is_written_is_read_again(tmp_path: Path, form: str) -> None:
    path = tmp_path / "cells"
    assert FORMS[form](path, CELLS) == 4  # GSM or UMTS, nobody knows: left out
    found = read_cells(path, AREAS, Asked(CarrierCode("viettel"), "04"))
    assert found.problems == []
    assert [(row.key, row.radio, row.lat, row.lon) for row in found.rows] == [(c.key, c.radio, c.lat, c.lon) for c in CELLS[:4]]


def test_the_columns_are_those_of_the_two_forms(tmp_path: Path) -> None:
    path = tmp_path / "cells"
    FORMS["opencellid"](path, CELLS[:1])
    rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    assert rows[0] == list(OPENCELLID_COLUMNS)
    assert rows[1][:8] == ["LTE", "452", "4", "0", "27447297", "0", "108.812", "15.1135"]
    assert len(rows[1]) == len(OPENCELLID_COLUMNS)
    path.unlink()
    FORMS["clf"](path, CELLS[2:3])
    rows = list(csv.reader(path.read_text("utf-8").splitlines(), delimiter=";"))
    assert rows[0] == list(CLF_COLUMNS)
    assert rows[1] == ["45204", "06789", "12345", "0", "14.8", "108.9", "-1", "GSM", "1", "QNG003", "0", "0", "0", "0", "0", "QNG003"]


@pytest.mark.parametrize("site", ["=1+1", "+84", "-1", "@SUM(1)", "a;b"])
def test_no_site_becomes_a_formula_or_another_field(tmp_path: Path, site: str) -> None:
    path = tmp_path / "cells"
    FORMS["clf"](path, [CELLS[0]._replace(site=site)])
    row = path.read_text("utf-8").splitlines()[1].split(";")
    assert len(row) == len(CLF_COLUMNS)
    assert row[9][0] not in "=+-@"


def test_a_file_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="khong-co"):
        FORMS["clf"](tmp_path / "khong-co" / "cells", CELLS)
