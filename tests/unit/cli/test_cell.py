import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broadcaster.lang import speak

REPOSITORY = Path(__file__).parents[3]
TABLE = """Danh mục trạm
Mã trạm;ECGI;Vĩ độ;Kinh độ;Xã
S1;452-04-1A2D001;15,1135;108,812;Cẩm Thành
S2;452-04-1A2D002;108,746;15,3313;
S3;452-04-1A2D003;13,9;109,2;
S4;452-04-1A2D004;15,1;108,8;Hà Nội
S5;452-02-1A2D005;15,1;108,8;
"""


@pytest.fixture
def home(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # type: ignore[no-untyped-def]
    """A rehearsal installation with one carrier, and an inventory beside it."""
    mask = os.umask(0o077)
    folder = tmp_path / "noi-cai-dat"
    assert cli("init", str(folder)).code == 0
    shutil.copy(REPOSITORY / "carriers" / "rehearsal" / "viettel.toml", folder / "carriers")
    (folder / "cells.csv").write_text(TABLE, encoding="utf-16")
    monkeypatch.chdir(folder)
    yield folder
    os.umask(mask)


IMPORT = ("cell", "import", "cells.csv", "--carrier", "viettel")


def test_an_inventory_is_reported_row_by_row(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    said = cli(*IMPORT, "--json")
    document = json.loads(said.out)
    assert said.code == 3
    assert (document["stored"], document["placed"]) == (3, {"file": 1, "nearest": 1, "outside": 1})
    assert (document["swapped_lines"], document["skipped"]) == ([4], {"other-network": 1})
    assert [item["line"] for item in document["problems"]] == [6]
    assert [item["site"] for item in document["outside"]] == ["S3"]
    shown = cli(*IMPORT)
    assert "cells.csv:6: commune" in shown.err
    assert all(words in shown.out for words in ("gần đúng", "S3", "của mạng khác", "đảo vĩ độ"))
    speak("en")
    assert "approximate" in cli(*IMPORT).out


def test_a_carrier_without_a_card_is_a_bad_row(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    rows = "carrier,ECGI,Xã\nvina,452-02-1000-1,Ba Tơ\nviettel,452-04-1000-1,Ba Tơ\n"
    (home / "cells.csv").write_text(rows, encoding="utf-8")
    said = cli("cell", "import", "cells.csv", "--json")
    document = json.loads(said.out)
    assert (said.code, document["stored"], [item["line"] for item in document["problems"]]) == (3, 1, [2])


def test_a_status_that_says_neither_way_is_told(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    (home / "cells.csv").write_text("ECGI,Xã,Trạng thái\n452-04-1000-1,Ba Tơ,Mất liên lạc\n", encoding="utf-8")
    assert "“Mất liên lạc” (1)" in cli(*IMPORT).err
    assert json.loads(cli(*IMPORT, "--json").out)["unclear_statuses"] == {"Mất liên lạc": 1}


def test_what_a_later_inventory_changes_is_told(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    path, head = home / "cells.csv", "ECGI,Xã\n"
    path.write_text(f"{head}452-04-1000-1,Ba Tơ\n452-04-1000-2,Ba Tơ\n452-04-1000-3,Ba Tơ\n", encoding="utf-8")
    assert json.loads(cli(*IMPORT, "--json").out)["new"] == 3
    path.write_text(f"{head}452-04-1000-1,Ba Tơ\n452-04-1000-2,Bình Sơn\n452-04-1000-4,Ba Tơ\n", encoding="utf-8")
    told = json.loads(cli(*IMPORT, "--dry-run", "--json").out)
    assert (told["new"], told["moved_lines"], told["missing"]) == (1, [3], 1)
    shown = cli(*IMPORT).out
    assert "Cell đổi xã" in shown
    assert "1 (dòng 3)" in shown


def test_a_dry_run_stores_nothing(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    assert json.loads(cli(*IMPORT, "--dry-run", "--json").out)["stored"] == 0
    found = json.loads(cli("cell", "coverage", "--carrier", "viettel", "--json").out)
    assert sum(item["cells"] for item in found) == 0


def test_a_profile_beside_the_cards_is_used(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    (home / "carriers" / "cells").mkdir()
    (home / "carriers" / "cells" / "viettel.toml").write_text('[columns]\nsite = "ECGI"\nidentity = "Mã trạm"\n', encoding="utf-8")
    assert cli(*IMPORT).code == 5  # no row has an identity in the column of sites


def test_coverage_and_export(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    cli(*IMPORT)
    found = {item["code"]: item for item in json.loads(cli("cell", "coverage", "--json").out) if item["carrier"] == "viettel"}
    assert (len(found), found["21025"]["cells"], found["21040"]["approximate"]) == (96, 1, 1)
    assert "không có cell" in cli("cell", "coverage").out
    assert json.loads(cli("cell", "export", "out.csv", "--format", "opencellid", "--json").out)["written"] == 3
    assert (home / "out.csv").read_text("utf-8").startswith("radio,mcc,net,area,cell")


@pytest.mark.parametrize("form", ["opencellid", "clf"])
def test_an_export_never_writes_over_a_file(cli, home: Path, form: str) -> None:  # type: ignore[no-untyped-def]
    cli(*IMPORT)
    before = (home / "vault.key").read_bytes()
    said = cli("cell", "export", "vault.key", "--format", form)
    assert (said.code, (home / "vault.key").read_bytes()) == (5, before)
    assert "đã có tệp vault.key" in said.err


def square(lon: float, lat: float) -> list[list[float]]:
    return [[lon, lat], [lon + 0.01, lat], [lon, lat + 0.01], [lon, lat]]


def test_boundaries_are_checked_then_stored(cli, home: Path) -> None:  # type: ignore[no-untyped-def]
    features = [
        {
            "type": "Feature",
            "properties": {"code": area["code"]},
            "geometry": {
                "type": "Polygon",
                "coordinates": [square(area["lon"], area["lat"])],
            },
        }
        for area in json.loads(cli("area", "list", "--json").out)
    ]
    path = home / "dia-gioi.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features[1:]}))
    said = cli("area", "import-boundaries", str(path))
    assert said.code == 5
    assert features[0]["properties"]["code"] in said.err
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert json.loads(cli("area", "import-boundaries", str(path), "--dry-run", "--json").out) == {"units": 96, "polygons": 96}
    assert json.loads(cli(*IMPORT, "--json").out)["placed"]["nearest"] == 1
    assert cli("area", "import-boundaries", str(path)).code == 0
    assert "nearest" not in json.loads(cli(*IMPORT, "--json").out)["placed"]
