"""The values people type: moments, pairs."""

import datetime as dt

import click
import pytest

from broadcaster.cli.commands import Moment, Pair


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
