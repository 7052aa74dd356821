"""A file of texts from the reply number: the last word that somebody sent counts, however the texts are spread over files."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from broadcaster.flow import inbox
from broadcaster.flow.inbox import Text, take_texts
from broadcaster.model import Msisdn
from broadcaster.store.journal import Journal
from broadcaster.store.refusals import Refusal, count_refusing, record_refusals
from broadcaster.store.schema import opt_out, refusal, reply
from broadcaster.store.times import to_ms

NUMBER = Msisdn(84_905_000_001)
MORNING = dt.datetime(2026, 3, 2, 1, tzinfo=dt.UTC)
EVENING = MORNING + dt.timedelta(hours=12)


@pytest.fixture
def take(store, auditor, vault, tmp_path):
    """Take (minutes after the morning, words) as one file, imported so many days after the evening; return who refuses then."""
    journal = Journal(tmp_path / "refusals.journal")

    def take(*texts, days=0):
        every = [Text(NUMBER, MORNING + dt.timedelta(minutes=minutes), words) for minutes, words in texts]
        at = EVENING + dt.timedelta(days=days)
        take_texts(store, auditor, vault, every, journal=journal, file="texts.csv", now=at)
        with store.read() as connection:
            return count_refusing(connection)

    return take


@pytest.mark.parametrize(("first", "then", "refusing"), [("DK", "TC", 1), ("TC", "DK", 0)])
def test_a_word_sent_before_the_last_import_and_after_its_texts_is_obeyed(take, first, then, refusing):
    take((0, first))
    assert take((60, then), days=1) == refusing


@pytest.mark.parametrize(("first", "then", "refusing"), [("DK", "TC", 1), ("TC", "DK", 0)])
def test_a_word_further_down_a_long_file_is_obeyed(take, monkeypatch, first, then, refusing):
    monkeypatch.setattr(inbox, "SLICE_TEXTS", 1)
    assert take((0, first), (60, then)) == refusing


def test_an_import_that_only_the_log_still_knows_stands_against_older_texts(take, store, vault):
    with store.write() as connection:
        record_refusals(connection, [Refusal(vault.token(NUMBER), True, "file", "", to_ms(EVENING))])
    assert take((0, "DK")) == 1


def test_a_text_dated_in_the_future_does_not_drown_what_comes_before_that_day(take):
    day = 24 * 60
    assert take((100 * day, "DK")) == 0
    assert take((day, "TC"), days=2) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(words=st.lists(st.sampled_from(["TC", "DK"]), min_size=1, max_size=6), cuts=st.sets(st.integers(1, 5)))
def test_it_makes_no_difference_how_texts_are_spread_over_files(store, take, words, cuts):
    with store.write() as connection:
        for table in (opt_out, refusal, reply):
            connection.execute(delete(table))
    texts = list(enumerate(words))
    edges = sorted({0, len(texts)} | {cut for cut in cuts if cut < len(texts)})
    for day, (low, high) in enumerate(pairwise(edges)):
        refusing = take(*texts[low:high], days=day)
    assert refusing == (words[-1] == "TC")
