import datetime as dt
import gzip
import hashlib
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.parcels import open_parcel
from broadcaster.files.rosters import Drop, RosterReader, RosterSlice
from broadcaster.model import TIMEZONE, DropReason

HEADER = "msisdn,cell,last_seen\n"
ROW = "84912345678,452-04-27447297,2026-11-20T08:15:30\n"
SEEN = int(dt.datetime(2026, 11, 20, 1, 15, 30, tzinfo=dt.UTC).timestamp())


def open_roster(path: Path) -> RosterReader:
    (part,) = open_parcel([path]).parts
    return RosterReader(part)


def read(tmp_path: Path, text: str, size: int = 20_000) -> list[RosterSlice]:
    path = tmp_path / "roster.csv"
    path.write_bytes(text.encode())
    with open_roster(path) as reader:
        return list(reader.slices(size))


def refused(tmp_path: Path, data: bytes) -> tuple[int | None, str]:
    path = tmp_path / "roster.csv"
    path.write_bytes(data)
    with pytest.raises(InvalidFileError) as caught, open_roster(path) as reader:
        list(reader.slices(3))
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    assert "912345678" not in problem.message.vi + problem.message.en
    return problem.line, problem.message.en


def test_a_row_becomes_a_number_a_cell_and_a_moment(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + ROW) == [RosterSlice([84912345678], ["lte:452-04:27447297"], [SEEN], [])]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T08:15:30",
        "2026-11-20 08:15:30",
        " 2026-11-20 08:15:30 ",
        "2026-11-20T08:15:30.123456",
        "2026-11-20T08:15:30+07:00",
        "2026-11-20T01:15:30Z",
        "2026-11-20T01:15:30+0000",
        "2026-11-19T20:15:30-05:00",
        "2026-11-20 08:15:30.5",
        "20/11/2026 08:15:30",
        "20-11-2026 08:15:30",
        "20.11.2026 08:15:30",
        "8:15:30 20/11/2026",
        "08:15:30 20/11/2026",
        "20/11/2026  8:15:30",
        "20/11/2026 8:15:30 SA",
        "20/11/2026 08:15:30 am",
        "20261120081530",
        "46346.344097",
        str(SEEN),
        str(SEEN * 1000 + 499),
    ],
)
def test_moments_in_every_accepted_form(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, HEADER + ROW.replace("2026-11-20T08:15:30", text))[0].seen == [SEEN]


def test_a_moment_without_seconds(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + ROW.replace(":30", ""))[0].seen == [SEEN - 30]


@pytest.mark.parametrize(
    ("text", "hours_later"),
    [("20/11/2026 8:15:30 PM", 12), ("20/11/2026 08:15:30 CH", 12), ("20/11/2026 12:15:30 PM", 4), ("20/11/2026 12:15:30 SA", -8)],
)
def test_hours_of_half_a_day(tmp_path: Path, text: str, hours_later: int) -> None:
    assert read(tmp_path, HEADER + ROW.replace("2026-11-20T08:15:30", text))[0].seen == [SEEN + hours_later * 3600]


@given(st.integers(1_000_000_000, 4_000_000_000))
def test_moments_agree_with_the_standard_library(tmp_path_factory: pytest.TempPathFactory, epoch_s: int) -> None:
    local = dt.datetime.fromtimestamp(epoch_s, ZoneInfo(TIMEZONE)).replace(tzinfo=None)
    slices = read(tmp_path_factory.mktemp("roster"), HEADER + ROW.replace("2026-11-20T08:15:30", local.isoformat()))
    assert slices[0].seen == [epoch_s]


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "13/13/2026 08:15:30", "20-11/2026 08:15", "20/11/2026 20:15 PM", "26/11/20 08:15", "20261120",
     "2026-02-30T08:15:30", "2026-11-20T24:15:30", "2026-11-20T08:15:61", "12", "99999999999",
     "1970-01-01T00:00:00", "2026-11-20T08:15:30+99:00", "2026-11-20", "٢٠٢٦-11-20T08:15:30"],
)  # fmt: skip
def test_a_bad_moment_drops_the_row_only(tmp_path: Path, text: str) -> None:
    (part,) = read(tmp_path, HEADER + ROW.replace("2026-11-20T08:15:30", text) + ROW)
    assert part.dropped == [Drop(2, DropReason.BAD_TIME, "8491****678")]
    assert part.seen == [SEEN]


def test_every_dropped_row_has_its_line_and_reason_and_totals_add_up(tmp_path: Path) -> None:
    lines = [
        ROW,
        "02553822123,452-04-27447297,2026-11-20T08:15:30\n",
        "\n",
        "84912345678,nowhere,2026-11-20T08:15:30\n",
        "84912345678,452-04-27447297,never\n",
        "84912345678\n",
        ",452-04-27447297,2026-11-20T08:15:30\n",
        "abc,nowhere,never\n",
        ROW.replace("84912345678", "01201234567"),
    ]
    path = tmp_path / "roster.csv"
    path.write_text(HEADER + "".join(lines), "utf-8")
    for size in (1, 2, 3, 100):
        with open_roster(path) as reader:
            slices = list(reader.slices(size))
        assert sorted((drop.line, drop.reason) for part in slices for drop in part.dropped) == [
            (3, DropReason.FIXED_LINE),
            (5, DropReason.BAD_CELL),
            (6, DropReason.BAD_TIME),
            (7, DropReason.FEW_COLUMNS),
            (8, DropReason.EMPTY),
            (9, DropReason.NOT_A_NUMBER),
        ]
        assert [number for part in slices for number in part.numbers] == [84912345678, 84701234567]
        assert reader.rows == 8


@pytest.mark.parametrize(
    "header",
    [
        "so_thue_bao;ma_cell;lan_cuoi",
        "Số thuê bao;CGI;Thời gian",
        '"MSISDN";"Cell ID";"Last seen"',
        "STT;isdn;ecgi;extra;last_activity",
    ],
)
def test_columns_are_found_by_name(tmp_path: Path, header: str) -> None:
    row = {"STT": "1", "extra": "x"}
    fields = iter(["84912345678", "452-04-27447297", "2026-11-20T08:15:30"])
    body = ";".join(row[name] if name in row else next(fields) for name in header.split(";"))
    (part,) = read(tmp_path, f"\ufeff{header}\r\n{body}\r\n")
    assert (part.numbers, part.seen, part.dropped) == ([84912345678], [SEEN], [])


@pytest.mark.parametrize(
    ("header", "fields", "key"),
    [
        ("lac,ci", "12345,6789", "cgi:452-04:12345-6789"),
        ("TAC,ECI", "100,27447297", "lte:452-04:27447297"),
        ("eci,x", "27447297,y", "lte:452-04:27447297"),
        ("nci,tac", "68719476735,100", "nr:452-04:68719476735"),
        ("RAT,LAC/TAC,CI/ECI", "4G,100,27447297", "lte:452-04:27447297"),
        ("Công nghệ,LAC,CI", "2G,12345,6789", "cgi:452-04:12345-6789"),
        ("lac,ci", "12345,x", None),
        ("lac,ci", ",6789", None),
    ],
)
def test_a_cell_over_several_columns_is_of_the_carriers_network(tmp_path: Path, header: str, fields: str, key: str | None) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(f"msisdn,{header},last_activity\n84912345678,{fields},2026-11-20T08:15:30\n", "utf-8")
    with RosterReader(open_parcel([path]).parts[0], "04") as reader:
        (piece,) = reader.slices()
    assert piece.cells == ([key] if key else [])
    assert [drop.reason for drop in piece.dropped] == ([] if key else [DropReason.BAD_CELL])


def test_slices_are_no_longer_than_asked(tmp_path: Path) -> None:
    assert [len(part.numbers) for part in read(tmp_path, HEADER + ROW * 5, size=2)] == [2, 2, 1]


@pytest.mark.parametrize("end", ["#rows=3", "#rows=3\n", "#rows=3;;\n", "#rows=3\n\n;;\n"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_true_trailer_is_no_row(tmp_path: Path, end: str, size: int) -> None:
    slices = read(tmp_path, (HEADER + ROW * 3).replace(",", ";") + end, size)
    assert sum(len(part.numbers) for part in slices) == 3
    assert not any(part.dropped for part in slices)


def test_gzip_is_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    path = tmp_path / "roster.dat"
    path.write_bytes(gzip.compress((HEADER + ROW * 3 + "#rows=3\n").encode()))
    with open_roster(path) as reader:
        assert sum(len(part.numbers) for part in reader.slices()) == 3
    assert open_parcel([path]).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_export_without_rows_is_sound(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER) == []


def test_structural_errors_name_the_line(tmp_path: Path) -> None:
    rows = (HEADER + ROW * 3).encode()
    assert refused(tmp_path, b"") == (None, "the file is empty")
    assert refused(tmp_path, b"\n") == (1, "the header must have exactly one column for each of: msisdn, cell, last_seen")
    assert refused(tmp_path, ROW.encode())[0] == 1
    assert refused(tmp_path, b"msisdn,so_thue_bao,cell,last_seen\n")[1].endswith(": msisdn")
    assert refused(tmp_path, b"msisdn,cell\n")[1].endswith(": last_seen")
    assert "UTF-8" in refused(tmp_path, rows + b"84912345678,\xff\xfe,x\n")[1]
    assert refused(tmp_path, rows + b"#rows=4\n") == (5, "the trailer says 4 rows but the file has 3")
    assert refused(tmp_path, rows + b"#rows=many\n")[0] == 5
    assert refused(tmp_path, rows + b"#rows=3\n" + ROW.encode())[0] == 6
    assert refused(tmp_path, rows + b'"84912345678,452-04-1,2026-11-20T08:15:30\n' + ROW.encode() * 2)[0] == 5
    assert refused(tmp_path, rows + b'"' + b"9" * 200_000 + b'"\n')[0] == 5


def test_a_damaged_or_cut_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + "".join(ROW.replace("678", f"{i % 1000:03}") for i in range(5000))).encode())
    assert "gz" in refused(tmp_path, whole[: len(whole) // 2])[1]
    assert "gz" in refused(tmp_path, whole[:-8] + b"\0" * 8)[1]
    assert "gz" in refused(tmp_path, b"\x1f\x8bnot gzip at all")[1]


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        open_roster(tmp_path / "nowhere.csv")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("roster") / "roster.csv"
    path.write_bytes(HEADER.encode() + data)
    refusals: list[InvalidFileError] = []
    dropped_or_kept = rows = 0
    try:
        with open_roster(path) as reader:
            dropped_or_kept = sum(len(part.numbers) + len(part.dropped) for part in reader.slices(2))
            rows = reader.rows
    except InvalidFileError as error:
        refusals.append(error)
    assert all(error.problems[0].line for error in refusals)
    assert dropped_or_kept == rows


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("0986000018", "8498****018"),
        ("986000018", "8498****018"),
        ("+84 986 000 018", "8498****018"),
        ("0084986000018", "8498****018"),
        ("84 (0) 986000018", "8409****018"),
        ("098600018", "84****018"),
        ("9860000181", "98****181"),
        ("12345678", ""),
    ],
)
def test_the_mask_of_a_dropped_number_hides_four_digits_however_it_was_written(tmp_path: Path, number: str, shown: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"msisdn,cell,last_seen\n{number},452-04-27447297,never\n")
    with open_roster(path) as table:
        assert [drop.masked for piece in table.slices() for drop in piece.dropped] == [shown]
