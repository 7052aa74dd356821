"""What follows an answer, and when refusals stop a carrier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.rules.retry import CodeWatch, Kind, Next, after
from broadcaster.smpp.status import Verdict

WAITS = (30, 120, 600)
INVALID_DESTINATION, INVALID_SOURCE, VENDOR = 0x0B, 0x0A, 0x401


@pytest.mark.parametrize(
    ("verdict", "tries", "step"),
    [
        ("accepted", 1, Next(Kind.ACCEPT)),
        ("accepted", 4, Next(Kind.ACCEPT)),
        ("throttled", 1, Next(Kind.RETRY_LINK)),
        ("throttled", 99, Next(Kind.RETRY_LINK)),
        ("rebind", 1, Next(Kind.RETRY_LINK)),
        ("temporary", 1, Next(Kind.RETRY_LATER, 30)),
        ("temporary", 2, Next(Kind.RETRY_LATER, 120)),
        ("temporary", 3, Next(Kind.RETRY_LATER, 600)),
        ("temporary", 4, Next(Kind.REFUSE)),
        ("queue_full", 1, Next(Kind.RETRY_LATER, 30)),
        ("queue_full", 4, Next(Kind.REFUSE)),
        ("misconfigured", 1, Next(Kind.RETRY_LATER, 30)),
        ("misconfigured", 4, Next(Kind.REFUSE)),
        ("refused", 1, Next(Kind.REFUSE)),
        ("duplicate", 1, Next(Kind.REFUSE)),
        ("duplicate", 2, Next(Kind.ACCEPT)),
    ],
)
def test_each_verdict_has_its_consequence(verdict: str, tries: int, step: Next) -> None:
    assert after(verdict, tries, WAITS) == step


@given(st.sampled_from(Verdict), st.integers(1, 20), st.lists(st.integers(0, 3600), max_size=5))
def test_counted_tries_come_to_an_end(verdict: Verdict, tries: int, waits: list[int]) -> None:
    step = after(verdict.value, tries, waits)
    if tries > len(waits):
        assert step.kind is not Kind.RETRY_LATER
    assert step.kind is Kind.RETRY_LATER or step.wait_s == 0


def test_an_unknown_verdict_and_a_zeroth_try_are_errors() -> None:
    with pytest.raises(ValueError, match="perhaps"):
        after("perhaps", 1, WAITS)
    with pytest.raises(ValueError, match="start at 1"):
        after("temporary", 0, WAITS)


def watched(*codes: int) -> CodeWatch:
    watch = CodeWatch()
    for code in codes:
        watch.note(code)
    return watch


def test_ten_first_answers_of_one_refusal_raise_the_alarm() -> None:
    assert watched(*[INVALID_SOURCE] * 9).alarm() is None
    assert watched(*[INVALID_SOURCE] * 10).alarm() == INVALID_SOURCE


def test_half_of_the_first_answers_raise_the_alarm_with_an_acceptance_too() -> None:
    assert watched(*[VENDOR] * 9, 0).alarm() == VENDOR
    assert watched(*[VENDOR, 0] * 10).alarm() == VENDOR
    assert watched(*[0, 0, VENDOR] * 7).alarm() is None


def test_different_codes_do_not_add_up() -> None:
    assert watched(*[INVALID_SOURCE, INVALID_DESTINATION, 0] * 5).alarm() is None


def test_a_fifth_of_the_recent_answers_raises_the_alarm() -> None:
    assert watched(*[0] * 1_000, *[VENDOR] * 199).alarm() is None
    assert watched(*[0] * 1_000, *[VENDOR] * 200).alarm() == VENDOR


def test_after_the_first_answers_a_share_needs_two_hundred() -> None:
    watch = watched(*[0] * 20, *[VENDOR] * 179)
    assert watch.alarm() is None
    watch.note(VENDOR)
    assert watch.alarm() == VENDOR


def test_old_refusals_are_forgotten() -> None:
    watch = watched(*[0] * 1_000, *[VENDOR] * 150, *[0] * 1_000)
    for code in [VENDOR] * 199:
        watch.note(code)
    assert watch.alarm() is None
    watch.note(VENDOR)
    assert watch.alarm() == VENDOR


def test_a_carrier_that_refuses_a_tenth_goes_on() -> None:
    assert watched(*([0] * 9 + [INVALID_DESTINATION]) * 500).alarm() is None


def test_the_alarm_stays() -> None:
    assert watched(*[VENDOR] * 10, *[0] * 5_000).alarm() == VENDOR


def test_the_shares_are_configurable() -> None:
    strict = CodeWatch(first_percent=10, recent_percent=5)
    for code in [0] * 9 + [VENDOR]:
        strict.note(code)
    assert strict.alarm() == VENDOR


@given(st.lists(st.sampled_from([0, 0, 0, 0, VENDOR, INVALID_SOURCE]), max_size=1_300))
def test_the_watch_agrees_with_counting_by_hand(codes: list[int]) -> None:
    raised = False
    for end in range(1, len(codes) + 1):
        recent = codes[max(0, end - 1_000) : end]
        most = max(recent.count(VENDOR), recent.count(INVALID_SOURCE)) / len(recent)
        raised |= (10 <= end <= 20 and most >= 0.5) or (len(recent) >= 200 and most >= 0.2)
    assert (watched(*codes).alarm() is not None) == raised
