import gzip
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import xlsxwriter  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files import sheets
from broadcaster.files.sheets import open_table, sheet_names, table_of

TABLE = [["mã", "vĩ độ", "kinh độ"], ["A1", "15,1", "108,8"], ["A2", "15,2", "108,9"]]
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


def text_of(rows: list[list[str]], delimiter: str) -> str:
    return "".join(delimiter.join(f'"{field}"' if delimiter in field else field for field in row) + "\r\n" for row in rows)


def read(path: Path, **chosen: str) -> list[tuple[int, list[str]]]:
    with open_table(path, **chosen) as file:  # type: ignore[arg-type]
        return list(file)


def workbook(path: Path, sheets_of: Mapping[str, Sequence[Sequence[object]]], hidden: str = "") -> Path:
    book = xlsxwriter.Workbook(str(path))
    for name, rows in sheets_of.items():
        sheet = book.add_worksheet(name)
        for at, row in enumerate(rows):
            sheet.write_row(at, 0, row)
        if name == hidden:
            sheet.hide()
    book.close()
    return path


def with_member(source: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Copy a workbook with one member of its archive changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            data = old.read(member)
            new.writestr(member, change(data) if member == name else data)
    return target


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_encoding_delimiter_and_gzip_are_found(tmp_path: Path, delimiter: str, encoding: str, packed: bool) -> None:
    path = tmp_path / "table"
    data = text_of(TABLE, delimiter).encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    with open_table(path) as file:
        assert (file.delimiter, file.encoding, file.sheet) == (delimiter, encoding, None)
        assert list(file) == [(1, TABLE[0]), (2, TABLE[1]), (3, TABLE[2])]


def test_utf_16_of_the_other_order_is_told_by_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xfe\xff" + text_of(TABLE, "\t").encode("utf-16-be"))
    assert read(path)[0] == (1, TABLE[0])


def test_lines_are_counted_through_blank_rows_title_rows_and_fields_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('DANH SÁCH\n\na,b,c\n1,"two\nlines",3\n , ,\n4,5,6\n', encoding="utf-8")
    assert [line for line, _ in read(path)] == [1, 3, 4, 7]


def test_the_delimiter_that_excel_states_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sep=|\na;b|c;d\n1;2|3;4\n", encoding="utf-8")
    assert read(path) == [(2, ["a;b", "c;d"]), (3, ["1;2", "3;4"])]


def test_commas_in_quotes_do_not_make_a_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('a\t"x,y,z,w"\nb\t"x,y,z,w"\n', encoding="utf-8")
    assert read(path)[0] == (1, ["a", "x,y,z,w"])


def test_blocks_hold_at_most_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("".join(f"{n},x\n" for n in range(25)), encoding="utf-8")
    with open_table(path) as file:
        found = [(list(lines), len(rows)) for lines, rows in file.blocks(10)]
    assert found == [(list(range(1, 11)), 10), (list(range(11, 21)), 10), (list(range(21, 26)), 5)]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5))
def test_any_octets_are_read_with_rising_lines_or_refused(rows: list[list[str]]) -> None:
    data = "\n".join(";".join(row) for row in rows).encode()
    found: list[tuple[int, list[str]]] = []
    with suppress(InvalidFileError), table_of(io.BytesIO(data), "export.csv") as file:
        found.extend(file)
    assert all(1 <= line <= data.count(b"\n") + 1 + data.count(b"\r") for line, _ in found)
    assert [line for line, _ in found] == sorted({line for line, _ in found})


def test_a_letter_of_another_encoding_is_refused_with_the_line_of_its_block(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n" * 100_000 + b"\xe1\xbb,c\n")
    with pytest.raises(InvalidFileError, match="UTF-8") as caught:
        read(path)
    assert caught.value.problems[0].line in range(1, 100_002)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'a,b\n"open,1\n2,3\n', "CSV"),
        (gzip.compress(b"a,b\n1,2\n" * 9999)[:-30], "gz"),
        (b"\x1f\x8bnot gzip at all", "gz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), r"\.xls"),
        (b"PK\x03\x04 and nothing more", "Excel"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(data)
    with pytest.raises(InvalidFileError) as caught:
        read(path)
    assert words.replace("\\", "") in str(caught.value)


def test_a_gzip_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n" * 1_000_000))
    assert path.stat().st_size < 50_000
    with pytest.raises(InvalidFileError, match="MiB"), open_table(path, max_bytes=1 << 20) as file:
        list(file)


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MAX_ROWS", 10)
    path = tmp_path / "table.csv"
    path.write_text("1,2\n" * 11)
    with pytest.raises(InvalidFileError, match="10"):
        read(path)


def test_a_worksheet_is_read_as_people_see_it(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"Trạm": [["mã", "số"], ["A1", 84912345678.0], ["A2", 15.5], ["A3", True], ["A4", "=1+1"]]})
    assert sheet_names(path) == ["Trạm"]
    with open_table(path) as file:
        assert (file.sheet, file.delimiter, file.encoding) == ("Trạm", None, None)
        found = list(file)
    assert found[:4] == [(1, ["mã", "số"]), (2, ["A1", "84912345678"]), (3, ["A2", "15.5"]), (4, ["A3", "TRUE"])]
    assert found[4] == (5, ["A4", "=0"])  # never what the writing program left as the formula's value


def test_formulas_are_found_in_the_sheet_they_stand_in(tmp_path: Path) -> None:
    plain, formula = ["84912345678", "x"], ["=0&912345678", "=NOW()"]
    path = workbook(tmp_path / "t.xlsx", {"B & C": [["a", "b"], plain], "A": [["a", "b"], plain, [], formula], "Đ": [formula]})
    assert read(path, sheet="B & C") == [(1, ["a", "b"]), (2, plain)]
    assert read(path, sheet="A") == [(1, ["a", "b"]), (2, plain), (4, ["=0", "=0"])]
    assert read(path, sheet="Đ") == [(1, ["=0", "=0"])]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_formulas_are_found_wherever_a_piece_of_the_sheet_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("broadcaster.files.workbook._PIECE_BYTES", size)
    path = workbook(tmp_path / "t.xlsx", {"A": [["x", "=1", 5, "=2"]] * 5})
    assert read(path) == [(line, ["x", "=0", "5", "=0"]) for line in range(1, 6)]


def test_a_formula_without_a_place_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"A": [["x", "=1"]]})
    changed = with_member(path, tmp_path / "u.xlsx", "xl/worksheets/sheet1.xml", lambda data: data.replace(b' r="B1"', b""))
    with pytest.raises(InvalidFileError, match=r"formula|công thức"):
        read(changed)


def test_of_several_worksheets_one_must_be_named_and_hidden_ones_do_not_count(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", {"Một": [["a", "b"]], "Hai": [["c", "d"]], "Ba": [["e"]]}, hidden="Ba")
    assert sheet_names(path) == ["Một", "Hai"]
    with pytest.raises(InvalidFileError, match="Một, Hai"):
        open_table(path)
    with pytest.raises(InvalidFileError, match="Một, Hai"):
        open_table(path, sheet="Ba")
    assert read(path, sheet="Hai") == [(1, ["c", "d"])]


def test_a_text_file_has_no_worksheets(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n")
    assert sheet_names(path) == []
    with pytest.raises(InvalidFileError, match="Một"):
        open_table(path, sheet="Một")


@pytest.mark.parametrize(
    ("member", "change", "words"),
    [
        ("xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'r="B1"', b'r="XFD1048576"'), "1048576"),
        ("xl/sharedStrings.xml", lambda xml: xml.replace(b"<sst", b'<!DOCTYPE sst [<!ENTITY a "b">]><sst', 1), "Excel"),
        ("xl/workbook.xml", lambda _: b"no xml", "Excel"),
        ("xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'r="B1"', b"r = 'xfd1048576'"), "1048576"),
        ("xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'ref="A1:B1"', b'ref="A1:XFD1048576"'), "1048576"),
        ("xl/sharedStrings.xml", lambda xml: xml.replace(b'uniqueCount="2"', b'uniqueCount="799999999999"'), "Excel"),
        ("xl/sharedStrings.xml", lambda xml: xml.replace(b'count="2"', b'count="&#57;99999999"'), "Excel"),
        ("xl/styles.xml", lambda xml: xml.replace(b'cellXfs count="1"', b'cellXfs count="99999999999"'), "Excel"),
    ],
)
def test_a_workbook_that_would_exhaust_the_reader_is_refused(
    tmp_path: Path, member: str, change: Callable[[bytes], bytes], words: str
) -> None:
    good = workbook(tmp_path / "good.xlsx", {"T": [["a", "b"]]})
    bad = with_member(good, tmp_path / "bad.xlsx", member, change)
    with pytest.raises(InvalidFileError) as caught:
        read(bad)
    assert words in str(caught.value)


def test_cells_without_a_place_of_their_own_count_too(tmp_path: Path) -> None:
    good = workbook(tmp_path / "good.xlsx", {"T": [["a", "b"]]})
    wide = b"<row>" + b"<c ></c>" * 5_000 + b"</row>" + b"<row/>" * 20_000 + b"</sheetData>"
    bad = with_member(good, tmp_path / "bad.xlsx", "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b"</sheetData>", wide))
    with pytest.raises(InvalidFileError, match="5000"):
        read(bad)


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcaster.files.workbook.MAX_UNPACKED_BYTES", 8 << 20)
    good = workbook(tmp_path / "good.xlsx", {"T": [["a", "b"]]})
    bomb = with_member(good, tmp_path / "bomb.xlsx", "docProps/core.xml", lambda _: bytes(9 << 20))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(InvalidFileError, match="8 MiB"):
        read(bomb)


def test_a_long_text_that_many_cells_repeat_is_refused(tmp_path: Path) -> None:
    good = workbook(tmp_path / "good.xlsx", {"T": [["a" * 30_000, "b"]] + [["c", "d"]] * 50_000})
    with pytest.raises(InvalidFileError, match="dài bất thường"):
        read(good)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    for attempt in (open_table, sheet_names):
        with pytest.raises(ConfigurationError, match="nowhere"):
            attempt(tmp_path / "nowhere.csv")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The archive of a sound workbook, member by member."""
    path = workbook(tmp_path_factory.mktemp("book") / "t.xlsx", {"T": [["a", 1.5, "chữ"], ["b", 2, "=1+1"]]})
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@given(data=st.data())
def test_any_workbook_is_read_or_refused(members: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    at = data.draw(st.integers(0, len(members[name])))
    cut = data.draw(st.integers(0, 12))
    put = data.draw(
        st.sampled_from([b"", b"<", b'"', b"99999999999", b"-1", b"</row>", b"<c r='A1'>", b"<row/>", b"&#0;"])
        | st.binary(max_size=3)
    )
    bad = io.BytesIO()
    with zipfile.ZipFile(bad, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text[:at] + put + text[at + cut :] if member == name else text)
    with suppress(InvalidFileError), table_of(io.BytesIO(bad.getvalue()), "t.xlsx") as file:
        assert all(line > 0 for line, _ in file)
