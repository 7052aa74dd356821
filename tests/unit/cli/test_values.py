"""The values people type: moments, pairs, reasons."""

import datetime as dt

import click
import pytest

from broadcaster.cli.commands import Moment, Pair, Reason
from broadcaster.lang import speak


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-01-31T08:00", 1), ("2026-01-31 08:00:00", 1), ("2026-01-31T08:00+00:00", 8), ("2026-01-31T08:00Z", 8)]
)
def test_a_moment_is_vietnamese_time_unless_it_says_otherwise(text: str, hour: int) -> None:
    assert Moment().convert(text, None, None) == dt.datetime(2026, 1, 31, hour, tzinfo=dt.UTC)


@pytest.mark.parametrize("text", ["", "mai", "31-01-2026", "2026-13-01T00:00", "0001-01-01T00:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="2026-01-31T08:00"):
        Moment().convert(text, None, None)


def test_a_pair_keeps_what_follows_the_first_equals_sign() -> None:
    assert Pair().convert("viettel=a=b.jsonl", None, None) == ("viettel", "a=b.jsonl")


@pytest.mark.parametrize("text", ["viettel", "=x", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Pair().convert(text, None, None)


@pytest.mark.parametrize("text", ["Kiểm tra lại", "Công văn 12/CT-UBND ngày 12-06-2019", "mã 0x45, 1800 tin"])
def test_a_reason_is_kept_without_the_space_around_it(text: str) -> None:
    assert Reason().convert(f" {text}\n", None, None) == text


EVERY_REASON = [
    *(["campaign", verb, "x"] for verb in ("pause", "resume", "cancel")),
    *(["campaign", "uncertain", verb, "x"] for verb in ("release", "settle")),
    ["campaign", "requeue", "x", "--carrier", "viettel", "--code", "0x45"],
    *(["carrier", verb, "viettel"] for verb in ("pause", "resume")),
    ["carrier", "rate", "viettel", "100"],
    ["stop-all"],
    ["db", "adopt"],
]


@pytest.mark.parametrize("command", EVERY_REASON, ids=" ".join)
@pytest.mark.parametrize(
    ("reason", "vietnamese", "english"),
    [
        (" \t", "cần ghi lý do", "a reason is needed"),
        ("bà 0912 345 678 kêu", "có thể là số máy", "may be a phone number"),
    ],
)
def test_a_reason_is_never_empty_and_never_holds_a_number(
    cli, command: list[str], reason: str, vietnamese: str, english: str
) -> None:
    for language, told in (("vi", vietnamese), ("en", english)):
        speak(language)
        said = cli(*command, "--reason", reason)
        assert (said.code, said.out) == (2, "")
        assert told in said.err
        assert "--reason" in said.err
        assert "345 678" not in said.err
