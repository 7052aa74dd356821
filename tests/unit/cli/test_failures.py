"""A failure is one sentence, a hint, every problem, and the exit code of its class."""

import errno
import json
import os
from pathlib import Path

import click
import pytest

from broadcaster.cli import failures
from broadcaster.cli.failures import hide_numbers
from broadcaster.errors import (
    BroadcasterError,
    CarrierError,
    ConfigurationError,
    InvalidFileError,
    LockedError,
    NotFoundError,
    Problem,
    RefusedError,
    StoreError,
)
from broadcaster.lang import Said, speak


def _fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("broadcaster.files.areas.read_areas", fail)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BroadcasterError, 1),
        (NotFoundError, 2),
        (RefusedError, 4),
        (ConfigurationError, 5),
        (StoreError, 10),
        (LockedError, 11),
        (CarrierError, 12),
    ],
)
def test_each_class_has_its_exit_code(cli, monkeypatch: pytest.MonkeyPatch, kind: type[BroadcasterError], code: int) -> None:
    _fails_with(monkeypatch, kind(Said("hỏng rồi", "it broke"), Said("sửa đi", "mend it")))
    assert cli("area", "list") == (code, "", "Lỗi: hỏng rồi\nCách sửa: sửa đi\n")
    speak("en")
    assert cli("area", "list") == (code, "", "Error: it broke\nHow to fix: mend it\n")
    assert json.loads(cli("area", "list", "--json").err) == {
        "error": kind.__name__,
        "message": "it broke",
        "hint": "mend it",
        "problems": [],
        "exit_code": code,
    }


def test_a_bad_file_lists_every_problem(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [Problem("a.toml", Said("sai", "wrong"), 3, "x.y"), Problem("a.toml", Said("thiếu", "missing"))]
    _fails_with(monkeypatch, InvalidFileError(problems))
    said = cli("area", "list")
    assert said.code == 5
    assert said.err.splitlines() == ["Lỗi: a.toml: 2 lỗi", "  a.toml:3: x.y: sai", "  a.toml: thiếu"]
    document = json.loads(cli("--json", "area", "list").err)
    assert document["problems"] == [
        {"file": "a.toml", "line": 3, "key": "x.y", "message": "sai"},
        {"file": "a.toml", "line": None, "key": None, "message": "thiếu"},
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_exits_130(cli, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    _fails_with(monkeypatch, error)
    said = cli("area", "list", "--json")
    assert said.code == 130
    assert json.loads(said.err.strip().splitlines()[-1])["exit_code"] == 130


def test_an_unexpected_fault_shows_neither_values_nor_trace(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    _fails_with(monkeypatch, KeyError("bí mật 84912345678"))
    said = cli("area", "list")
    assert said.code == 1
    assert "KeyError, cli/area.py:" in said.err
    assert "bí mật" not in said.err
    assert "Traceback" not in said.err
    assert "--debug" in said.err


@pytest.mark.parametrize(
    ("code", "told"), [(errno.EACCES, "không có quyền"), (errno.EROFS, "chỉ đọc"), (errno.ENOSPC, "hết chỗ"), (errno.EMLINK, "links")]
)
def test_what_the_file_system_refuses_is_one_sentence_with_its_place(
    cli, monkeypatch: pytest.MonkeyPatch, code: int, told: str
) -> None:
    _fails_with(monkeypatch, OSError(code, os.strerror(code), "reports/thu.html"))
    said = cli("area", "list")
    assert said.code == 1
    assert "reports/thu.html: " in said.err
    assert told in said.err
    assert "không ngờ tới" not in said.err


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_trace_on_demand_has_masked_numbers(cli, monkeypatch: pytest.MonkeyPatch, by_environment: bool) -> None:
    _fails_with(monkeypatch, KeyError("84912345678"))
    if by_environment:
        monkeypatch.setenv("BROADCASTER_DEBUG", "1")
    said = cli(*([] if by_environment else ["--debug"]), "area", "list")
    assert said.code == 1
    assert "Traceback" in said.err
    assert "8491****678" in said.err
    assert "84912345678" not in said.err


def test_what_escapes_every_except_is_told_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    failures.guard_uncaught(debug=False)
    error = ValueError("84912345678")
    sys.excepthook(ValueError, error, None)
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert "345678" not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gửi 84912345678 hỏng", "gửi 8491****678 hỏng"),
        ("+84912345678", "8491****678"),
        ("0084912345678", "8491****678"),
        ("0912345678", "0912****678"),
        ("01692345678", "0169****678"),
        ("2026-11-23T19:00:00", "2026-11-23T19:00:00"),
        ("1795453261000000000", "1795453261000000000"),
        ("20000 thuê bao", "20000 thuê bao"),
    ],
)
def test_numbers_are_masked(text: str, shown: str) -> None:
    assert hide_numbers(text) == shown


def test_a_number_typed_in_the_wrong_place_is_masked(cli) -> None:
    said = cli("area", "list", "0912345678")
    assert said.code == 2
    assert "0912345678" not in said.err


@pytest.mark.parametrize("place", [["--json", "area", "nothing"], ["area", "list", "--nothing", "--json"]])
def test_usage_errors_are_json_wherever_json_stands(cli, place: list[str]) -> None:
    said = cli(*place)
    document = json.loads(said.err)
    assert (said.code, said.out) == (2, "")
    assert document["error"] == "UsageError"
    assert document["exit_code"] == 2


def test_a_missing_config_file_is_named(cli, tmp_path: Path) -> None:
    said = cli("--config", str(tmp_path / "none.toml"), "template", "list")
    assert said.code == 5
    assert "none.toml" in said.err


@pytest.mark.parametrize(
    ("code", "vietnamese", "english"),
    [(errno.ENOSPC, "hết chỗ trên đĩa", "no space is left on the disk"), (errno.EIO, os.strerror(errno.EIO), os.strerror(errno.EIO))],
)
def test_a_file_that_cannot_be_written_says_why_in_both_languages(code: int, vietnamese: str, english: str) -> None:
    told = failures.unwritable(Path("ra.csv"), OSError(code, os.strerror(code))).message
    assert (told.vi, told.en) == (f"không ghi được ra.csv: {vietnamese}", f"cannot write ra.csv: {english}")
