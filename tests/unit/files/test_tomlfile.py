from __future__ import annotations

import datetime as dt
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, field_validator

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.tomlfile import MAX_BYTES, Table, load, parse
from broadcaster.lang import Said


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(Table):
    kind: str
    count: int = Field(ge=1)


class Outer(Table):
    title: str = Field(max_length=10)
    colour: Colour = Colour.RED
    day: dt.date | None = None
    hours: tuple[int, ...] = ()
    mode: Literal["a", "b"] = "a"
    ratio: float = 1.0
    on: bool = True
    named: dict[str, Inner] = Field(default_factory=dict)
    rows: list[Inner] = Field(default_factory=list)
    max_tps: int = Field(default=1, alias="max-tps")

    @field_validator("title")
    @classmethod
    def _no_shouting(cls, value: str) -> str:
        if value == "AAA":
            raise ValueError(Said(vi="đừng hét", en="do not shout"))
        return value


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidFileError) as caught:
        parse(text, "mau.toml", Outer)
    return caught.value.problems


def test_values_reach_the_model() -> None:
    outer = parse(
        'title = "x"\ncolour = "blue"\nday = 2019-06-12\nhours = [7, 22]\nratio = 2\nmax-tps = 5\n[named.a]\nkind = "k"\ncount = 2\n',
        "f",
        Outer,
    )
    assert outer.colour is Colour.BLUE
    assert outer.day == dt.date(2019, 6, 12)
    assert outer.hours == (7, 22)
    assert outer.named["a"].count == 2
    assert outer.max_tps == 5


def test_every_problem_comes_with_its_line_and_key() -> None:
    text = """\
title = 7
colour = "green"
day = 20190612
hours = [1, "2"]
on = 1
ratio = nan
[named.mot]
kin = "k"
kind = "k"
count = 0
[[rows]]
kind = "1"
count = 1
[[rows]]
kind = \"\"\"
count = false
\"\"\"
count = true
"""
    assert [(problem.line, problem.key) for problem in problems(text)] == [
        (1, "title"),
        (2, "colour"),
        (3, "day"),
        (4, "hours[2]"),
        (5, "on"),
        (6, "ratio"),
        (8, "named.mot.kin"),
        (10, "named.mot.count"),
        (18, "rows[2].count"),
    ]


def test_an_unknown_key_lists_the_allowed_ones_and_the_nearest() -> None:
    (problem,) = problems('title = "x"\n[named.mot]\nkind = "k"\ncount = 1\nkimd = "k"\n')
    assert problem.message.vi == "khóa không có (có phải là kind?); các khóa được phép: count, kind"
    assert problem.message.en == "unknown key (did you mean kind?); allowed keys: count, kind"


def test_keys_are_known_by_the_name_the_file_uses() -> None:
    (problem,) = problems('title = "x"\nmax_tps = 3\n')
    assert "max-tps" in problem.message.en
    assert "max_tps" not in problem.message.en


def test_a_missing_key_points_at_its_table() -> None:
    (problem,) = problems('title = "x"\n\n[named.mot]\nkind = "k"\n')
    assert (problem.line, problem.key, problem.message.vi) == (3, "named.mot.count", "thiếu khóa bắt buộc")


def test_choices_are_listed_in_both_languages() -> None:
    (problem,) = problems('title = "x"\nmode = "c"\n')
    assert problem.message == Said(vi="phải là một trong: 'a', 'b'", en="must be one of: 'a' or 'b'")


def test_a_validator_speaks_for_itself() -> None:
    (problem,) = problems('title = "AAA"\n')
    assert problem.message == Said(vi="đừng hét", en="do not shout")


def test_values_are_never_shown() -> None:
    for problem in problems('title = "mat-khau-bi-mat"\nmode = "mat-khau-bi-mat"\nmax-tps = "mat-khau-bi-mat"\n'):
        assert "bi-mat" not in problem.message.vi + problem.message.en


@pytest.mark.parametrize(("text", "line"), [('a = 1\nb = "x\n', 2), ("a = 1\na = \n", 2), ("a = 1\n\n[b\n", 3)])
def test_syntax_errors_have_a_line(text: str, line: int) -> None:
    (problem,) = problems(text)
    assert problem.line == line
    assert problem.message.vi.startswith("sai cú pháp TOML")
    assert problem.message.en.startswith("TOML syntax error")


def test_an_empty_file_lacks_its_keys() -> None:
    (problem,) = problems("")
    assert (problem.line, problem.key) == (None, "title")


def test_files_are_read_with_or_without_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes('\ufefftitle = "Đỏ"\n'.encode())
    assert load(path, Outer).title == "Đỏ"


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b'title = "x"\n# \xe1\n')
    with pytest.raises(InvalidFileError) as caught:
        load(path, Outer)
    assert caught.value.problems[0].line == 2


def test_missing_folder_and_huge_files_are_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (MAX_BYTES + 1))
    for path in (tmp_path / "khong-co.toml", tmp_path, huge):
        with pytest.raises(ConfigurationError) as caught:
            load(path, Outer)
        assert not isinstance(caught.value, InvalidFileError)
