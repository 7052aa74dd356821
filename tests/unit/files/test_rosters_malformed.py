"""Exports as they really arrive: what is mended, what is dropped with its reason, what is refused and why."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import pyzipper
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files import parcels
from broadcaster.files.parcels import open_parcel
from broadcaster.files.rosters import RosterReader
from broadcaster.model import Secret

HEADER = "msisdn,cell,last_seen\n"
CELL = "452-04-27447297"
SEEN = "2026-11-20T08:15:30"
ROW = f"84912345678,{CELL},{SEEN}\n"
GOOD = HEADER + ROW * 3
PASSWORD = "mật-khẩu 12"


class Outcome(NamedTuple):
    """What became of a file: rows kept and dropped by reason, or where and why it was refused."""

    kept: int = 0
    dropped: Mapping[str, int] = MappingProxyType({})
    refused: str = ""
    """``file:line: message`` in English, of every problem; "" when the file was taken."""


def outcome(paths: Sequence[Path], **more: Any) -> Outcome:
    kept = rows = 0
    dropped: Counter[str] = Counter()
    try:
        for part in open_parcel(paths, **more).parts:
            with RosterReader(part) as reader:
                for piece in reader.slices(3):
                    kept += len(piece.numbers)
                    dropped.update(drop.reason.value for drop in piece.dropped)
                rows += reader.rows
    except InvalidFileError as error:
        where = [f"{Path(problem.file).name}:{problem.line or ''}: {problem.message.en}" for problem in error.problems]
        return Outcome(refused="\n".join(where))
    except ConfigurationError as error:
        return Outcome(refused=error.message.en)
    assert kept + dropped.total() == rows
    return Outcome(kept, dict(dropped))


def taken(kept: int, **dropped: int) -> Outcome:
    return Outcome(kept, {reason.replace("_", "-"): count for reason, count in dropped.items()})


def row(number: str = "84912345678", cell: str = CELL, seen: str = SEEN) -> str:
    return f"{number},{cell},{seen}\n"


def trailer(body: str, encoding: str = "utf-8", rows: int = 3) -> bytes:
    data = body.encode(encoding)
    return data + f"#rows={rows},sha256={hashlib.sha256(data).hexdigest()}\n".encode(encoding.replace("utf-16", "utf-16-le"))


def zipped(members: dict[str, bytes | str], **more: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data, **more)
    return file.getvalue()


def sealed(data: str = GOOD, password: str = PASSWORD) -> bytes:
    file = io.BytesIO()
    with pyzipper.AESZipFile(file, "w", compression=pyzipper.ZIP_DEFLATED, encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(password.encode())
        archive.writestr("roster.csv", data)
    return file.getvalue()


def linked() -> bytes:
    link = zipfile.ZipInfo("roster.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def workbook(**sheets: Sequence[Sequence[Any]]) -> bytes:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for at, values in enumerate(rows):
            for column, value in enumerate(values):
                sheet.write(at, column, value)
    book.close()
    return file.getvalue()


GOOD_PACKED = zlib.compress(GOOD.encode(), wbits=-15)
COLUMNS = ("msisdn", "cell", "last_seen")
LINES = [line.split(",") for line in GOOD.splitlines()[1:]]
HEADER_MISSING = "the header must have exactly one column for each of: "

FILES: dict[str, tuple[str | bytes, Outcome | str]] = {
    # What is mended.
    "byte order mark": ("\ufeff" + GOOD, taken(3)),
    "utf-16": (GOOD.encode("utf-16"), taken(3)),
    "utf-16 without mark": (GOOD.encode("utf-16-le"), taken(3)),
    "semicolons": (GOOD.replace(",", ";"), taken(3)),
    "tabs": (GOOD.replace(",", "\t"), taken(3)),
    "pipes": (GOOD.replace(",", "|"), taken(3)),
    "quotes and CRLF": ("".join('"' + line.replace(",", '","') + '"\r\n' for line in GOOD.splitlines()), taken(3)),
    "old Mac line ends": (GOOD.replace("\n", "\r"), taken(3)),
    "Excel's delimiter line": ("sep=;\n" + GOOD.replace(",", ";"), taken(3)),
    "no newline at the end": (GOOD.rstrip("\n"), taken(3)),
    "titles above": (f"TỔNG CÔNG TY VIỄN THÔNG\nDanh sách thuê bao hoạt động\n\n{GOOD}", taken(3)),
    "titles with commas": (f"Tỉnh Quảng Ngãi,,\nNgày 20/11/2026,,\n{GOOD}", taken(3)),
    "Vietnamese headers in NFD": (GOOD.replace("msisdn,cell,last_seen", "Sô\u0301 thuê bao,Mã cell,Thời gian"), taken(3)),
    "a total below": (GOOD + "Tổng cộng: 3\n", taken(3)),
    "a total in its own field": (GOOD + ",Tổng số thuê bao,3\n", taken(3)),
    "a total with dots, and a signature": (GOOD + "Tổng số,3,\n\nNgười lập biểu,,\n", taken(3)),
    "blank lines between": (GOOD.replace(ROW, ROW + "\n,,\n"), taken(3)),
    "lost leading zeros": (HEADER + row("912345678") * 2, taken(2)),
    "floats": (HEADER + row("84912345678.0"), taken(1)),
    "text protected as a formula": (HEADER + row('="0912345678"'), taken(1)),
    "days first": (HEADER + row(seen="20/11/2026 08:15"), taken(1)),
    "a true trailer with its checksum": (trailer(GOOD), taken(3)),
    "a true trailer in utf-16": (trailer(GOOD, "utf-16"), taken(3)),
    "gzip with a trailer": (gzip.compress(trailer(GOOD)), taken(3)),
    "zip of two parts": (zipped({"b-2-of-2.csv": GOOD, "a-1-of-2.csv": GOOD, "__MACOSX/a": "x"}), taken(6)),
    "gzip inside zip": (zipped({"roster.csv.gz": gzip.compress(GOOD.encode())}), taken(3)),
    "numbers as numbers in a workbook": (workbook(A=[COLUMNS, [912345678.0, CELL, SEEN], [84912345678, CELL, SEEN]]), taken(2)),
    "two worksheets": (workbook(A=[COLUMNS, *LINES], B=[["tháng 11"], COLUMNS, *LINES]), taken(6)),
    "workbook inside zip": (zipped({"a.xlsx": workbook(A=[COLUMNS, *LINES])}), taken(3)),
    # What is dropped, each row with its reason.
    "digits lost in a spreadsheet": (HEADER + ROW + row("8.49E+10") + row('"8,4912E+10"'), taken(1, rounded=2)),
    "every kind of bad number": (
        HEADER
        + row("")
        + row("abc")
        + row("02553822123")
        + row("156")
        + row("+66812345678")
        + row("0951234567")
        + row("01701234567"),
        taken(0, empty=1, not_a_number=1, fixed_line=1, short_code=1, foreign=1, unallocated=1, machine=1),
    ),
    "a formula for a number": (HEADER + ROW + row("=cmd|' /C calc'!A0") + row("@SUM(A1)"), taken(1, formula=2)),
    "a formula in a workbook": (workbook(A=[COLUMNS, ["=HYPERLINK(1)", CELL, SEEN], *LINES]), taken(3, formula=1)),
    "a number of thousands of digits": (GOOD + row("9" * 5000) + row("0" * 5000), taken(3, foreign=2)),
    "a total of thousands of digits": (GOOD + "Tổng cộng,1" + ".000" * 5000 + "\n", taken(3)),
    "ambiguous numbers": (HEADER + row("849123456"), taken(0, ambiguous=1)),
    "foreign SIMs": (
        f"msisdn,imsi,cell,last_seen\n84912345678,452041234567890,{CELL},{SEEN}\n84912345679,525011234567890,{CELL},{SEEN}\n",
        taken(1, roaming=1),
    ),
    "cells and moments that are none": (
        HEADER + row(cell="trạm 5") + row(cell="") + row(seen="hôm qua"),
        taken(0, bad_cell=2, bad_time=1),
    ),
    "a row cut in two": (HEADER + ROW + "84912345678,452-04\n", taken(1, few_columns=1)),
    "spare columns": (HEADER + ROW.replace("\n", ",x,y\n"), taken(1)),
    "an overlong number": (HEADER + row("9" * 1000), taken(0, foreign=1)),
    "number of another script": (HEADER + row("٨٤٩١٢٣٤٥٦٧٨"), taken(0, not_a_number=1)),
    "NUL octets": (HEADER + row("84912345678\0"), taken(0, not_a_number=1)),
    # What is refused.
    "empty": ("", "f:: the file is empty"),
    "no header": (ROW * 3, f"f:1: {HEADER_MISSING}msisdn, cell, last_seen"),
    "a header without the number": ("cell,last_seen\n" + ROW, f"f:1: {HEADER_MISSING}msisdn"),
    "two columns of numbers": ("msisdn,sdt,cell,last_seen\n", f"f:1: {HEADER_MISSING}msisdn"),
    "header below too many titles": ("x\n" * 60 + GOOD, HEADER_MISSING),
    "not UTF-8": (GOOD.encode() + "84912345678,Quảng,x\n".encode("cp1258", "replace") + b"\xff\n", "not UTF-8"),
    "an unclosed quote": (GOOD + '"84912345678,x,y\n', "f:5: broken CSV"),
    "an overlong field": (GOOD + "x" * 200_000 + ",a,b\n", "f:5: broken CSV"),
    "a trailer that says more": (GOOD + "#rows=4\n", "f:5: the trailer says 4 rows but the file has 3"),
    "a trailer without a number": (GOOD + "#rows=many\n", "f:5: #rows= must be followed by the number of rows"),
    "data after the trailer": (GOOD + "#rows=3\n" + ROW, "f:6: data after the trailer"),
    "a false checksum": (trailer(GOOD).replace(b"345678", b"345679", 1), "f:5: the sha256 is not that of the file's content"),
    "an unknown checksum": (GOOD + "#rows=3,md5=abc\n", "f:5: md5=… cannot be verified"),
    "a signature with a telephone number": (GOOD + 'Tổng cộng,3,\n"Người lập: NVB, ĐT 0912 345 678",,\n', taken(3)),
    "a signature whose number stands where numbers do": (GOOD + "Tổng cộng,3,\n0912 345 678,Trưởng phòng,\n", taken(3)),
    "a subscriber after the total and a signature": (
        GOOD + "Tổng cộng,3,\nĐT 0912 345 678,,\n0912345678,khác," + SEEN + "\n",
        "f:7: subscribers after the row of totals",
    ),
    "formulas among numbers": (
        workbook(A=[["stt", *COLUMNS], ["=ROW()-1", *LINES[0]], [2, "=0&912345678", *LINES[1][1:]]]),
        taken(1, formula=1),
    ),
    "formulas for cells and times": (
        workbook(A=[COLUMNS, *LINES, [LINES[0][0], "=A1", SEEN], [LINES[0][0], CELL, "=NOW()"]]),
        taken(3, bad_cell=1, bad_time=1),
    ),
    "a total by formula": (workbook(A=[COLUMNS, *LINES, ["Tổng cộng", "=COUNTA(A2:A4)"]]), taken(3)),
    "a total that says more": (GOOD + "Tổng cộng,1.234\n", "f:5: the trailer says 1234 rows but the file has 3"),
    "subscribers after the total": (GOOD + "Tổng cộng,3\n" + ROW, "f:6: subscribers after the row of totals"),
    "gzip cut short": (gzip.compress(GOOD.encode() * 500)[:-20], "damaged or cut short"),
    "gzip with a bad sum": (gzip.compress(GOOD.encode())[:-8] + b"\0" * 8, "damaged or cut short"),
    "a gzip that is none": (b"\x1f\x8bnot gzip at all", "damaged or cut short"),
    "zip cut short": (zipped({"a.csv": GOOD})[:-30], "f:: the zip file is damaged or cut short"),
    "zip with damaged contents": (zipped({"a.csv": GOOD}).replace(GOOD_PACKED[3:6], b"xyz"), "damaged or cut short"),
    "an empty zip": (zipped({}), "f"),
    "a zip whose name climbs out": (zipped({"../../etc/cron.d/x": GOOD}), "the name points outside the folder"),
    "a zip with an absolute name": (zipped({"/etc/passwd": GOOD}), "the name points outside the folder"),
    "a zip with a Windows path": (zipped({"C:\\a.csv": GOOD}), "the name points outside the folder"),
    "a zip with a link": (linked(), "is a link, not a file"),
    "a zip inside a zip": (zipped({"a.zip": zipped({"b.csv": GOOD})}), "an archive inside an archive"),
    "a zip of too many files": (zipped({f"{at}.csv": GOOD for at in range(201)}), "must hold 1 to 200 files"),
    "a part that is missing": (zipped({"a-1of3.csv": GOOD, "a-3of3.csv": GOOD}), "part 2 of 3 is missing"),
    "a part with another header": (zipped({"a.csv": GOOD, "b.csv": "x,y\n"}), f"f: b.csv:1: {HEADER_MISSING}"),
    "zip under a password": (sealed(), "is under a password"),
    "an old workbook": (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "save it as .xlsx"),
    "a workbook cut short": (workbook(A=[COLUMNS, *LINES])[:-200], "damaged"),
    "a worksheet without subscribers": (workbook(A=[COLUMNS, *LINES], Notes=[["x"]]), f"f: Notes:1: {HEADER_MISSING}"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ""),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_it_arrives(tmp_path: Path, name: str) -> None:
    data, expected = FILES[name]
    path = tmp_path / "f"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    found = outcome([path])
    if isinstance(expected, Outcome):
        assert found == expected
    else:
        assert found.refused
        assert expected in found.refused
        assert "912345678" not in found.refused


def test_there_are_forty_and_more() -> None:
    assert len(FILES) >= 40


def test_a_password_opens_a_zip_of_either_cipher(tmp_path: Path) -> None:
    path = tmp_path / "roster.zip"
    path.write_bytes(sealed())
    assert outcome([path], password=Secret(PASSWORD)) == taken(3)
    assert "password is wrong" in outcome([path], password=Secret("khác")).refused
    # The old cipher, made with Info-ZIP: one member of the three rows of GOOD under the password "abc".
    path.write_bytes(bytes.fromhex(OLD_CIPHER))
    assert outcome([path], password=Secret("abc")) == taken(3)
    assert "password is wrong" in outcome([path], password=Secret("abd")).refused
    assert "is under a password" in outcome([path]).refused


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"a.csv": b"0" * (parcels.FREE_BYTES + 1)}))
    assert "zip bomb" in outcome([path]).refused


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "MAX_BYTES", 1000)
    path = tmp_path / "bomb"
    path.write_bytes(zipped({"a.csv": GOOD * 5, "b.csv": GOOD * 5}))
    assert "unpacks to more than" in outcome([path]).refused


@pytest.fixture
def three(tmp_path: Path) -> Callable[[str], Path]:
    """Write three files of one snapshot and a list of names."""

    def write(names: str) -> Path:
        for at in (1, 2, 3):
            (tmp_path / f"p{at}.csv").write_text(HEADER + row(f"8491234567{at}"))
        (tmp_path / "list.txt").write_text(names, "utf-8")
        return tmp_path / "list.txt"

    return write


def test_files_of_a_list_are_one_snapshot(three: Callable[[str], Path], tmp_path: Path) -> None:
    sums = [hashlib.sha256(HEADER.encode() + row(f"8491234567{at}").encode()).hexdigest() for at in (1, 2, 3)]
    listed = three(f"# phần\n{sums[0]}  p1.csv\n{sums[1]} *p2.csv\n\np3.csv\n")
    assert outcome([], listed=listed) == taken(3)
    assert outcome([tmp_path / "p1.csv"], listed=listed) == taken(3)
    parcel = open_parcel([], listed=listed)
    assert parcel.files == {f"p{at}.csv": sums[at - 1] for at in (1, 2, 3)}
    assert parcel.sha256 == open_parcel([tmp_path / f"p{at}.csv" for at in (3, 1, 2)]).sha256


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        ("p1.csv\np2.csv\np4.csv\n", "list.txt:3: the file p4.csv is missing"),
        ("../p1.csv\n", "list.txt:1: the name points outside the folder"),
        ("/etc/passwd\n", "list.txt:1: the name points outside the folder"),
        (f"{'0' * 64}  p1.csv\n", "p1.csv:: its SHA-256 is not the one in the list"),
        ("\n# nothing\n", "list.txt:: the list names no file"),
        ("p1.csv\nlink.csv\n", "cannot read"),
    ],
)
def test_a_list_that_cannot_be_followed(three: Callable[[str], Path], tmp_path: Path, names: str, refused: str) -> None:
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    assert refused in outcome([], listed=three(names)).refused


def test_a_file_that_is_not_in_the_list_is_refused(three: Callable[[str], Path], tmp_path: Path) -> None:
    assert "p2.csv:: is not in the list" in outcome([tmp_path / "p2.csv"], listed=three("p1.csv\n")).refused


def test_the_same_file_twice_is_refused(three: Callable[[str], Path], tmp_path: Path) -> None:
    three("")
    (tmp_path / "copy.csv").write_bytes((tmp_path / "p1.csv").read_bytes())
    assert "given twice" in outcome([tmp_path / "p1.csv", tmp_path / "copy.csv"]).refused


@pytest.mark.parametrize("name", ["0986555444.csv", "viettel_84986555444.csv", "986555444"])
def test_a_subscribers_number_in_the_name_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GOOD)
    refused = outcome([tmp_path / name]).refused
    assert "the file's name has a subscriber's number" in refused
    assert "86555" not in refused


@pytest.mark.parametrize("name", ["viettel-20261124.csv", "20261124080000.csv", "202611240800.csv", "roster_1764000000.csv"])
def test_a_moment_in_the_name_of_a_file_is_no_number(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GOOD)
    assert outcome([tmp_path / name]) == taken(3)


def test_a_missing_part_is_told_of_a_file_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "a-1of2.csv").write_text(GOOD)
    assert outcome([tmp_path / "a-1of2.csv"]).refused == "a-1of2.csv:: part 2 of 2 is missing"


def test_what_never_ends_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert outcome([tmp_path / "pipe.csv"]).refused == "pipe.csv:: is no regular file"


def test_named_worksheets(tmp_path: Path) -> None:
    path = tmp_path / "f.xlsx"
    path.write_bytes(workbook(A=[COLUMNS, *LINES], B=[["x"]]))
    assert outcome([path], sheets=["A"]) == taken(3)
    assert "the worksheet “C” is missing; there are: A, B" in outcome([path], sheets=["A", "C"]).refused
    csv = tmp_path / "f.csv"
    csv.write_text(GOOD)
    assert "has no worksheets" in outcome([csv], sheets=["A"]).refused


FIELD = st.sampled_from(
    ["84912345678", "0912345678", "912345678", "8.49E+10", "", "=1", "156", "x", CELL, SEEN, "Tổng 3", "113", "#"]
) | st.text(st.characters(exclude_characters='"\r\n,;\t|', exclude_categories=["Cs", "Cc"]), max_size=8)


@given(st.lists(st.lists(FIELD, min_size=1, max_size=4), max_size=30))
def test_rows_kept_and_dropped_add_up_whatever_they_hold(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "f.csv"
    path.write_text(GOOD + "".join(",".join(fields) + "\n" for fields in rows), "utf-8")
    found = outcome([path])
    if not found.refused:
        meant = [fields for fields in rows if any(field.strip() for field in fields)]
        assert 3 <= found.kept + sum(found.dropped.values()) <= 3 + len(meant)


@given(st.binary(max_size=400))
def test_any_octets_are_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("octets") / "f"
    path.write_bytes(data)
    assert outcome([path]).refused


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=4), st.sampled_from(["zip", "aes", "gz", "xlsx"]))
def test_a_packed_file_with_some_octets_changed_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, octets: bytes, form: str
) -> None:
    whole = {"zip": ZIPPED, "aes": SEALED, "gz": GZIPPED, "xlsx": BOOK}[form]
    at %= len(whole)
    path = tmp_path_factory.mktemp("packed") / "f"
    path.write_bytes(whole[:at] + octets + whole[at + len(octets) :])
    found = outcome([path], password=Secret(PASSWORD))
    assert found.refused or found.kept + sum(found.dropped.values()) <= 3


ZIPPED, SEALED, GZIPPED, BOOK = zipped({"a.csv": GOOD}), sealed(), gzip.compress(GOOD.encode()), workbook(A=[COLUMNS, *LINES])
OLD_CIPHER = (
    "504b0304140009000800ee0b785d742c719c54000000a60000000a000000726f737465722e637376b420cb2ab0086dd626180d54afbaa2f68fef67e7"
    "07eb85452bc88d25c0ef587fc68948c5644ddff8fc3cab601da1db804b90ebc30881efe32b2c6993b88504ef6cc16b72ba2ed0f18a247b77d573f909"
    "2c9f8c07504b0708742c719c54000000a6000000504b01021e03140009000800ee0b785d742c719c54000000a60000000a0000000000000001000000"
    "a48100000000726f737465722e637376504b05060000000001000100380000008c0000000000"
)
