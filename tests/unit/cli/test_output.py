"""Tables, numbers and moments as people read them."""

import datetime as dt
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.cli import output
from broadcaster.cli.output import Column
from broadcaster.lang import speak


@pytest.mark.parametrize(
    ("text", "width"),
    [("Quảng Ngãi", 10), (unicodedata.normalize("NFD", "Quảng Ngãi"), 10), ("", 0), ("日本", 4), ("e\u0301\u0323", 1)],
)
def test_width_counts_what_a_terminal_shows(text: str, width: int) -> None:
    assert output.width_of(text) == width


def test_plain_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[unicodedata.normalize("NFD", "Đức Phổ"), 1234567], ["Lý Sơn", 5], ["An", None]]
    output.table([Column("Xã"), Column("Thuê bao", right=True)], rows)
    assert capsys.readouterr().out.splitlines() == [
        "Xã        Thuê bao",
        "Đức Phổ  1.234.567",
        "Lý Sơn           5",
        "An               –",
    ]


@given(st.lists(st.lists(st.text(alphabet="aăâđêôơưạảấầ ", max_size=12), min_size=2, max_size=2), min_size=1, max_size=6))
def test_every_left_column_starts_at_one_place(rows: list[list[str]]) -> None:
    cells = [[f"x{row[0]}", f"|{row[1]}"] for row in rows]
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "line", lines.append)
        output.table([Column("Một"), Column("|Hai")], cells)
    assert len({text.index("|") for text in lines}) == 1


def test_an_empty_table_says_so_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([Column("Xã")], [])
    assert capsys.readouterr() == ("", "(không có)\n")


def test_a_drawn_table_never_cuts_a_number() -> None:
    from rich.console import Console

    console = Console(width=40, record=True, file=io.StringIO(), highlight=False)
    columns = [Column("Nhà mạng"), Column("Đã gửi", right=True), Column("Đã đến", right=True)]
    console.print(output.drawn_table(columns, [["vietnamobile", 1234567, 1234567]]))
    assert console.export_text().count("1.234.567") == 2


def test_numbers_follow_the_language() -> None:
    assert (output.number(1234567), output.decimal(1234.5)) == ("1.234.567", "1.234,5")
    speak("en")
    assert (output.number(1234567), output.decimal(1234.5)) == ("1,234,567", "1,234.5")


def test_moments_are_local() -> None:
    at = dt.datetime(2026, 1, 30, 18, 5, 9, tzinfo=dt.UTC)
    assert output.moment(at) == "01:05:09 31-01-2026"
    assert output.moment_of_ms(1_769_796_309_000) == at
    assert output.moment(output.moment_of_ms(None)) == "–"


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (-3, "0 s"), (59.4, "59 s"), (185, "3 ph 05 s"), (7800, "2 g 10 ph")])
def test_durations_are_words(seconds: float, shown: str) -> None:
    assert output.duration(seconds) == shown
