import datetime as dt
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import xlsxwriter  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.areas import read_areas
from broadcaster.files.cellprofile import CellProfile, read_profile
from broadcaster.files.cells import COLUMNS, Asked, CellFile, Skip, read_cells
from broadcaster.files.placing import Placed
from broadcaster.files.ports import network_names
from broadcaster.model import AreaCode, CarrierCode, Polygon
from broadcaster.rules.geo import Outline

AREAS = read_areas()
HEADER = ",".join(COLUMNS)
GOOD = "viettel,lte,452,04,1234,27447297,QNG001,15.1135,108.812,21025,2025-07-01,"
VIETTEL = Asked(CarrierCode("viettel"), "04")


def read(tmp_path: Path, text: str, encoding: str = "utf-8", asked: Asked | None = None, **more: object) -> CellFile:
    path = tmp_path / "cells.csv"
    path.write_bytes(text.encode(encoding))
    return read_cells(path, AREAS, asked or Asked(), **more)  # type: ignore[arg-type]


def test_a_row_becomes_a_cell(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD}\n")
    assert found.problems == []
    (row,) = found.rows
    assert (row.line, row.carrier, row.key, row.radio) == (2, "viettel", "lte:452-04:27447297", "lte")
    assert (row.site, row.commune, row.placed, row.approximate) == ("QNG001", "21025", Placed.FILE, False)
    assert (row.lat, row.lon) == (15.1135, 108.812)
    assert (row.valid_from, row.valid_to) == (dt.date(2025, 7, 1), None)


def test_semicolons_bom_crlf_decimal_commas_and_names(tmp_path: Path) -> None:
    row = "mobifone;gsm;452;1;12345;6789;;15,1135;108,812;cẩm thành;2025-07-01;2026-09-15"
    found = read(tmp_path, f"{HEADER.replace(',', ';').upper()}\r\n{row}\r\n", "utf-8-sig")
    assert found.problems == []
    assert (found.rows[0].key, found.rows[0].commune, found.rows[0].lat) == ("cgi:452-01:12345-6789", "21025", 15.1135)
    assert found.rows[0].valid_to == dt.date(2026, 9, 15)


CARRIERS_OWN = """DANH SÁCH TRẠM BTS TRÊN ĐỊA BÀN TỈNH QUẢNG NGÃI
Kèm theo Công văn

STT\tMã trạm\tTên trạm\tLoại\tLAC/TAC\tCI/ECI/NCI\tKinh độ\tVĩ độ\tAzimuth\tXã/Phường\tHuyện\tTỉnh\tTrạng thái\tNgày phát sóng
1\tQNG001\tTrạm một\t4G Macro\t1234\t27447297\t108,812\t15,1135\t0\tCẩm Thành\t\tQuảng Ngãi\tOn-air\t31/12/2024
2\tQNG001\tTrạm một\t4G Macro\t1234\t27447297\t108,812\t15,1136\t120\tCẩm Thành\t\tQuảng Ngãi\tOn-air\t31/12/2024
3\tQNG002\tTrạm hai\t3G\t5678\t4321\t108°48'43,2"Đ\t15°06'48,6"B\t0\t\t\tTỉnh Quảng Ngãi\tOn-air\t5/1/2025
4\tQNG003\tTrạm ba\t2G\t5678\t99\t15,1135\t108,812\t0\t\t\t\tĐã ngừng\t
5\tBDH001\tTrạm bốn\t4G\t1234\t27447400\t109,05\t14,58\t0\tTam Quan Bắc\tHoài Nhơn\tBình Định\tOn-air\t
Tổng cộng\t5
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_inventory_as_a_carrier_exports_it(tmp_path: Path, encoding: str, form: str) -> None:
    found = read(tmp_path, unicodedata.normalize(form, CARRIERS_OWN), encoding, VIETTEL)
    assert found.problems == []
    assert [(row.line, row.key, row.commune, row.placed) for row in found.rows] == [
        (5, "lte:452-04:27447297", "21025", "file"),
        (7, "cgi:452-04:5678-4321", "21025", "nearest"),
        (9, "lte:452-04:27447400", None, "outside"),
    ]
    assert found.skipped == {Skip.REPEATED: 1, Skip.OFF_AIR: 1, Skip.FOOT: 1}
    assert (found.rows[0].valid_from, found.rows[1].valid_from) == (dt.date(2024, 12, 31), dt.date(2025, 1, 5))
    assert found.rows[1].lat == pytest.approx(15.1135)


def test_a_workbook_is_read_like_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "cells.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet, day = book.add_worksheet("4G"), book.add_format({"num_format": "dd/mm/yyyy"})
    sheet.write_row(2, 0, ["Mã trạm", "Công nghệ", "ECI", "Vĩ độ", "Kinh độ", "Ngày phát sóng"])
    sheet.write_row(3, 0, ["QNG001", "LTE", 27447297, 15.1135, 108.812])
    sheet.write_datetime(3, 5, dt.datetime(2025, 7, 1), day)  # noqa: DTZ001  a spreadsheet knows no zones
    sheet.write_row(4, 0, ["QNG002", "LTE", 27447298, 15.1135, 108.812, 45839])
    book.close()
    found = read_cells(path, AREAS, VIETTEL)
    assert [(row.line, row.key, row.valid_from) for row in found.rows] == [
        (4, "lte:452-04:27447297", dt.date(2025, 7, 1)),
        (5, "lte:452-04:27447298", dt.date(2025, 7, 1)),
    ]


@pytest.mark.parametrize(
    ("header", "row", "key"),
    [
        ("CGI,lat,lon", "452-04-12345-6789,15.1,108.8", "cgi:452-04:12345-6789"),
        ("ECGI,lat,lon", "452041A2D001,15.1,108.8", "lte:452-04:27447297"),
        ("NCGI,rat,lat,lon", "452-04-68719476735,5G,15.1,108.8", "nr:452-04:68719476735"),
        ("ECGI,Loại,lat,lon", "107216-1,4G,15.1,108.8", "lte:452-04:27447297"),
        ("CGI,Loại,lat,lon", "12345-6789,2G,15.1,108.8", "cgi:452-04:12345-6789"),
        ("ECGI,Loại,lat,lon", "4520401A2B3C,4G,15.1,108.8", "lte:452-04:1715004"),
        ("eNodeB ID,CI,Loại,lat,lon", "107216,1,4G,15.1,108.8", "lte:452-04:27447297"),
        ("TAC,ECI,RAT,lat,lon", "04D2,1A2D001,LTE,15.1,108.8", "lte:452-04:27447297"),
        ("TAC,ECI,RAT,lat,lon", "0x4D2,0x1A2D001,LTE,15.1,108.8", "lte:452-04:27447297"),
        ("LAC,CI,RAT,lat,lon", '="01234",="00099",2G,15.1,108.8', "cgi:452-04:1234-99"),
        ("TAC,ECI,RAT,lat,lon", "1234.0,27447297.0,LTE,15.1,108.8", "lte:452-04:27447297"),
    ],
)
def test_spellings_of_identities_in_columns(tmp_path: Path, header: str, row: str, key: str) -> None:
    found = read(tmp_path, f"{header}\n{row}\n", asked=VIETTEL)
    assert [item.key for item in found.rows] == [key]


def test_one_hexadecimal_letter_tells_of_the_whole_column(tmp_path: Path) -> None:
    rows = "1234,10000000,LTE,15.1,108.8\n1234,1A2D001,LTE,15.1,108.8\n"
    found = read(tmp_path, f"TAC,ECI,RAT,lat,lon\n{rows}", asked=VIETTEL)
    assert [row.key for row in found.rows] == [f"lte:452-04:{0x1A2D001}"]
    assert [problem.key for problem in found.problems] == ["cell"]  # 0x10000000 has more than 28 bits
    assert read(tmp_path, f"TAC,ECI,RAT,lat,lon\n{rows.splitlines()[0]}\n", asked=VIETTEL).rows[0].key == "lte:452-04:10000000"


Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
STATUS = "Mã trạm,ECGI,Xã,Trạng thái\nA,452-04-1000-1,Ba Tơ,"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "status",
    ["Đang sử dụng", "Đang dùng", "dang su dung", "Dang dung", "SỬ DỤNG", "Đang hoạt động", "Dùng chung", "dung chung", "On-air", ""],
)
def test_a_cell_in_use_is_on_the_air(tmp_path: Path, status: str, form: Form) -> None:
    found = read(tmp_path, unicodedata.normalize(form, f"{STATUS}{status}\n"), asked=VIETTEL)
    assert (len(found.rows), found.skipped) == (1, {})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "status",
    [
        *("Dừng", "Tạm dừng", "ĐÃ DỪNG", "dung hoat dong", "Ngừng hoạt động", "Tạm ngưng", "Đã tháo dỡ", "Huỷ", "Hủy", "Off-air"),
        *("Không sử dụng", "Không hoạt động", "Chưa phát sóng", "khong con su dung", "inactive"),
    ],
)
def test_a_cell_that_was_stopped_is_off_the_air(tmp_path: Path, status: str, form: Form) -> None:
    found = read(tmp_path, unicodedata.normalize(form, f"{STATUS}{status}\n"), asked=VIETTEL)
    assert (found.rows, found.skipped) == ([], {Skip.OFF_AIR: 1})


@pytest.mark.parametrize(("identity", "radio"), [("107216-256", "4G"), ("107216-1", ""), ("107216-1", "5G")])
def test_a_pair_that_may_be_anything_is_no_identity(tmp_path: Path, identity: str, radio: str) -> None:
    found = read(tmp_path, f"ECGI,Loại,lat,lon\n{identity},{radio},15.1,108.8\n", asked=VIETTEL)
    assert ([problem.key for problem in found.problems], found.rows) == (["cell"], [])


def test_a_status_that_says_neither_way_counts_and_is_told(tmp_path: Path) -> None:
    rows = [f"A,452-04-1000-{at},Ba Tơ,{status}" for at, status in enumerate(["Mất liên lạc", "0", "0", "Tốt", "On-air", ""], 1)]
    found = read(tmp_path, "Mã trạm,ECGI,Xã,Trạng thái\n" + "\n".join(rows), asked=VIETTEL)
    assert (len(found.rows), found.statuses) == (6, {"Mất liên lạc": 1, "0": 2})


SITES = ("Cổng Trời", "Tổng kho", "Công viên", "Ghi chú", "Total", "Tổng cộng: 5")


@pytest.mark.parametrize("site", SITES)
def test_a_row_that_names_a_cell_is_no_foot_whatever_its_site_is_called(tmp_path: Path, site: str) -> None:
    head = "Tên trạm,ECGI,Xã\n"
    assert len(read(tmp_path, f"{head}{site},452-04-1000-1,Ba Tơ\n", asked=VIETTEL).rows) == 1
    unplaced, unreadable = (read(tmp_path, f"{head}{site},{rest}\n", asked=VIETTEL) for rest in ("452-04-1000-1,", "452-x,Ba Tơ"))
    assert [(item.problems[0].line, item.skipped) for item in (unplaced, unreadable)] == [(2, {}), (2, {})]


@pytest.mark.parametrize("foot", ["Tổng cộng,5,", "Total,,=SUM(A1:A5)", "Ghi chú: số liệu tháng 11,,", "Người lập: Nguyễn Văn B"])
def test_a_foot_is_counted(tmp_path: Path, foot: str) -> None:
    found = read(tmp_path, f"Tên trạm,ECGI,Xã\nA,452-04-1000-1,Ba Tơ\n{foot}\n", asked=VIETTEL)
    assert (len(found.rows), found.problems, found.skipped) == (1, [], {Skip.FOOT: 1})


def test_a_carrier_without_a_card_is_a_bad_row(tmp_path: Path) -> None:
    asked = Asked(names=network_names({CarrierCode("viettel"): ("Viettel", "04")}))
    rows = [GOOD.replace("viettel", name).replace("27447297", str(at)) for at, name in enumerate(["vina", "VIETTEL", "viettel"], 1)]
    found = read(tmp_path, "\n".join([HEADER, *rows]), asked=asked)
    assert [row.carrier for row in found.rows] == ["viettel", "viettel"]
    assert [(problem.line, problem.key) for problem in found.problems] == [(2, "carrier")]
    assert found.problems[0].message.vi == "không có thẻ nhà mạng “vina”; hiện có: viettel"


def test_rows_of_other_networks_are_passed_over(tmp_path: Path) -> None:
    rows = "LTE,452,4,1234,27447297,0,108.8,15.1\nLTE,452,2,1234,27447297,0,108.8,15.1\nLTE,452,04,1234,27447298,0,105.8,21.0\n"
    found = read(tmp_path, rows, asked=VIETTEL)
    assert [row.key for row in found.rows] == ["lte:452-04:27447297"]
    assert found.skipped == {Skip.OTHER_NETWORK: 1, Skip.FAR_AWAY: 1}
    assert found.problems == []


def test_opencellid_with_its_header_and_clf(tmp_path: Path) -> None:
    head = "radio,mcc,net,area,cell,unit,lon,lat,range,samples,changeable,created,updated,averageSignal"
    row = "UMTS,452,4,10068,6566021,0,108.8031464,15.1,1000,2,1,1459692342,1488347104,0"
    assert read(tmp_path, f"{head}\n{row}\n", asked=VIETTEL).rows[0].key == f"cgi:452-04:10068-{6566021 & 0xFFFF}"
    clf = "45204;27447297;01234;0;15.1135;108.812;-1;;4;QNG001;0;0;0;0;0;QNG001\n"
    (cell,) = read(tmp_path, clf, asked=VIETTEL).rows
    assert (cell.key, cell.radio, cell.site, cell.commune) == ("lte:452-04:27447297", "lte", "QNG001", "21025")


def test_coordinates_in_each_others_place_are_put_right_and_noted(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace('15.1135,108.812', '108.812,15.1135')}\n")
    assert (found.rows[0].lat, found.rows[0].lon, found.swapped) == (15.1135, 108.812, [2])


def test_a_commune_is_enough_without_coordinates(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace('15.1135,108.812', ',')}\n")
    assert (found.rows[0].lat, found.rows[0].commune) == (None, "21025")


def test_a_cell_far_from_every_centre_stays_unplaced(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace('21025', '').replace('15.1135,108.812', '13.9,109.2')}\n")
    assert (found.rows[0].commune, found.rows[0].placed) == (None, Placed.OUTSIDE)


def square(lat: float, lon: float, side: float) -> Outline:
    return Outline([Polygon((((lon, lat), (lon + side, lat), (lon + side, lat + side), (lon, lat + side)),))])


@pytest.mark.parametrize(
    ("lat", "lon", "commune", "placed"),
    [
        ("15.15", "108.85", "21040", "boundary"),
        ("15.0995", "108.85", "21040", "boundary"),  # 55 m south of the edge
        ("15.05", "108.85", None, "outside"),
    ],
)
def test_boundaries_place_before_centres_do(tmp_path: Path, lat: str, lon: str, commune: str | None, placed: str) -> None:
    outlines: Mapping[AreaCode, Outline] = {AreaCode("21040"): square(15.1, 108.8, 0.1)}
    row = GOOD.replace("21025", "").replace("15.1135,108.812", f"{lat},{lon}")
    found = read(tmp_path, f"{HEADER}\n{row}\n", outlines=outlines)
    assert [(item.commune, item.placed) for item in found.rows] == [(commune, placed)]


@pytest.mark.parametrize(
    ("commune", "district", "lat", "found", "placed"),
    [
        ("Trà Xuân", "Trà Bồng", "15.25", "21115", "file"),  # thị trấn Trà Xuân became xã Trà Bồng
        ("Sơn Hạ", "", "15.0", "21292", "file"),
        ("Trà Giang", "", "15.0", "21244", "file"),  # a commune of today, south of the river Trà Khúc
        ("Trà Giang", "H. Trà Bồng", "15.0", "21127", "file"),  # the one of before, in the mountains
        ("Trà Bùi", "Huyện Trà Bồng", "15.10", None, "nearest"),  # split in two: the nearer one
        ("Bình Châu", "", "15.23", "21109", "file"),
    ],
)
def test_names_of_before_the_merger_lead_to_the_commune_of_today(
    tmp_path: Path, commune: str, district: str, lat: str, found: str | None, placed: str
) -> None:
    made = read(tmp_path, f"ECGI,Xã,Huyện,lat,lon\n452041A2D001,{commune},{district},{lat},108.5\n", asked=VIETTEL)
    assert [item.placed for item in made.rows] == [placed]
    assert made.rows[0].commune == found or (found is None and made.rows[0].commune in ("21136", "21157"))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("viettel", "", "carrier"),
        ("lte", "wimax", "cell"),
        ("27447297", "x", "cell"),
        ("27447297", "999999999", "cell"),
        ("27447297", "2.7E+07", "cell"),
        ("15.1135", "north", "lat"),
        ("15.1135", "", "lat"),
        ("15.1135", "nan", "lat"),
        ("15.1135", "15°75'", "lat"),
        ("108.812", "", "lon"),
        ("15.1135,108.812", "21.0,105.8", "lat"),
        ("21025", "Hà Nội", "commune"),
        ("21025", "Son Ha", "commune"),
        ("2025-07-01", "01/31/2025", "valid_from"),
        ("2025-07-01", "soon", "valid_from"),
        ("2025-07-01,", "2025-07-01,2025-02-30", "valid_to"),
        ("2025-07-01,", "2025-07-01,2025-06-30", "valid_to"),
        ("2025-07-01,", "2025-07-01,,extra", "columns"),
        ("QNG001", "=HYPERLINK(1)", "site"),
        ("QNG001", "@SUM(1)", "site"),
        (GOOD, "viettel", "cell"),
    ],
)
def test_a_bad_row_is_a_problem_and_the_next_row_is_read(tmp_path: Path, old: str, new: str, key: str) -> None:
    found = read(tmp_path, f"{HEADER}\n{GOOD.replace(old, new, 1)}\n{GOOD.replace('27447297', '27447298')}\n")
    assert [(problem.line, problem.key) for problem in found.problems] == [(2, key)]
    assert [row.key for row in found.rows] == ["lte:452-04:27447298"]


def test_the_same_cell_in_two_places_names_the_line_it_repeats(tmp_path: Path) -> None:
    far, later = GOOD.replace("15.1135", "15.3").replace("21025", "21040"), GOOD.replace("2025-07-01", "2026-01-01")
    found = read(tmp_path, f"{HEADER}\n{GOOD}\n{GOOD}\n{far}\n{later}\n")
    assert [row.valid_from for row in found.rows] == [dt.date(2025, 7, 1), dt.date(2026, 1, 1)]
    assert found.skipped == {Skip.REPEATED: 1}
    assert [problem.line for problem in found.problems] == [4]
    assert "2" in found.problems[0].message.vi


def test_a_profile_says_what_titles_do_not(tmp_path: Path) -> None:
    profile = tmp_path / "viettel.toml"
    profile.write_text(
        'hexadecimal = ["cell"]\n[columns]\ncell = "Số hiệu"\nlat = "Y"\nlon = "X"\n[fixed]\nradio = "lte"\ncommune = "Lý Sơn"\n',
        encoding="utf-8",
    )
    asked = Asked(CarrierCode("viettel"), "04", read_profile(profile))
    found = read(tmp_path, "Số hiệu,X,Y,Ghi chú\n1000000,109.1,15.38,\n", asked=asked)
    assert [(row.key, row.commune) for row in found.rows] == [(f"lte:452-04:{0x1000000}", "21548")]


def test_a_profile_names_the_encoding_of_a_file_that_does_not(tmp_path: Path) -> None:
    text = "ECGI;Xa\u0303;lat;lon\n452041A2D001;C\u00e2\u0309m Thành;15.1;108.8\n"
    with pytest.raises(InvalidFileError, match="UTF-8"):
        read(tmp_path, text, "cp1258", VIETTEL)
    asked = Asked(CarrierCode("viettel"), "04", CellProfile(encoding="cp1258"))
    assert [row.commune for row in read(tmp_path, text, "cp1258", asked).rows] == ["21025"]


def test_the_pattern_of_a_profile_is_sound() -> None:
    assert read_profile(Path(__file__).parents[3] / "carriers" / "cells" / "mau.toml") == CellProfile()


def test_a_profile_with_unknown_fields_names_those_there_are(tmp_path: Path) -> None:
    profile = tmp_path / "viettel.toml"
    profile.write_text('[columns]\nazimuth = "Azimuth"\n', encoding="utf-8")
    with pytest.raises(InvalidFileError, match="azimuth"):
        read_profile(profile)


def test_a_title_that_the_profile_names_wins_over_a_usual_one() -> None:
    profile = CellProfile(columns={"cell": "NCI"})
    assert profile.fields_of(["CI", "NCI", "lat"]) == {"cell": 1, "lat": 2}


def test_a_header_without_columns_names_those_that_lack(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(tmp_path, "Tiêu đề\nradio,mcc,lat\n1,2,3\n")
    assert {problem.key for problem in caught.value.problems} == {"cell", "lon", "carrier"}
    assert {problem.line for problem in caught.value.problems} == {2}


def test_a_day_as_a_spreadsheets_serial(tmp_path: Path) -> None:
    rows = [GOOD.replace("2025-07-01", serial).replace("27447297", str(at)) for at, serial in enumerate(["45839", "45839.25"], 1)]
    assert [row.valid_from for row in read(tmp_path, "\n".join([HEADER, *rows])).rows] == [dt.date(2025, 7, 1)] * 2


def test_an_empty_file_is_no_inventory(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError):
        read(tmp_path, "")


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes(f"{HEADER}\n".encode() + b"\xff\xfe\n")
    with pytest.raises(InvalidFileError, match="UTF-8"):
        read_cells(path, AREAS)


def test_an_unclosed_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(tmp_path, f'{HEADER}\n"{GOOD}\n{GOOD}\n')
    assert caught.value.problems[0].line is not None


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_cells(tmp_path / "nowhere.csv", AREAS)


FIELD = st.sampled_from(
    [
        "",
        "LTE",
        "452",
        "04",
        "27447297",
        "1A2D001",
        "15.1",
        "108,8",
        "15°06'",
        "Cẩm Thành",
        "Sơn Hà",
        "01/07/2025",
        "45839",
        "off",
        "=1",
    ]
) | st.text(st.characters(exclude_characters='"\r\n\x00;', exclude_categories=["Cs"]), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(FIELD, min_size=len(COLUMNS), max_size=len(COLUMNS)), min_size=1, max_size=4))
def test_every_row_is_a_cell_a_problem_or_passed_over_for_a_reason(tmp_path: Path, rows: list[list[str]]) -> None:
    found = read(tmp_path, "\n".join([HEADER.replace(",", ";"), GOOD.replace(",", ";"), *(";".join(row) for row in rows)]) + "\n")
    told = len(found.rows) + len(found.problems) + sum(found.skipped.values())
    assert told == 1 + sum(1 for row in rows if any(field.strip() for field in row))
