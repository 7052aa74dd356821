"""What follows an answer, and when refusals stop a carrier."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.rules.retry import Breaker, CodeWatch, Kind, Next, Waits, after, full_queues

WAITS = Waits((30, 120, 600), (60, 180, 601))
THROTTLED, NOT_BOUND, QUEUE_FULL, SYSTEM_ERROR, INVALID_SCHEDULE = 0x58, 0x04, 0x14, 0x08, 0x61
INVALID_DESTINATION, INVALID_SOURCE, VENDOR = 0x0B, 0x0A, 0x401
DUPLICATE, EXPLAINED = 0x402, 0x403
CARD = {DUPLICATE: "duplicate", EXPLAINED: "refused"}


@pytest.mark.parametrize(
    ("status", "tries", "step"),
    [
        (0, 1, Next(Kind.ACCEPT)),
        (0, 4, Next(Kind.ACCEPT)),
        (THROTTLED, 1, Next(Kind.RETRY_LINK)),
        (THROTTLED, 99, Next(Kind.RETRY_LINK)),
        (NOT_BOUND, 1, Next(Kind.RETRY_LINK)),
        (SYSTEM_ERROR, 1, Next(Kind.RETRY_LATER, 30)),
        (SYSTEM_ERROR, 2, Next(Kind.RETRY_LATER, 120)),
        (SYSTEM_ERROR, 3, Next(Kind.RETRY_LATER, 600)),
        (SYSTEM_ERROR, 4, Next(Kind.REFUSE)),
        (QUEUE_FULL, 1, Next(Kind.RETRY_LATER, 60)),
        (QUEUE_FULL, 2, Next(Kind.RETRY_LATER, 180)),
        (QUEUE_FULL, 3, Next(Kind.RETRY_LATER, 601)),
        (QUEUE_FULL, 4, Next(Kind.REFUSE)),
        (INVALID_SOURCE, 1, Next(Kind.RETRY_LATER, 30)),
        (INVALID_SOURCE, 4, Next(Kind.REFUSE)),
        (INVALID_SCHEDULE, 1, Next(Kind.RETRY_LATER, 30, halts=True)),
        (INVALID_SCHEDULE, 4, Next(Kind.RETRY_LATER, 30, halts=True)),
        (INVALID_DESTINATION, 1, Next(Kind.REFUSE)),
        (VENDOR, 1, Next(Kind.RETRY_LATER, 30)),
        (VENDOR, 2, Next(Kind.REFUSE)),
        (EXPLAINED, 1, Next(Kind.REFUSE)),
        (DUPLICATE, 1, Next(Kind.REFUSE)),
        (DUPLICATE, 2, Next(Kind.ACCEPT)),
    ],
)
def test_each_answer_has_its_consequence(status: int, tries: int, step: Next) -> None:
    assert after(status, CARD, tries, WAITS) == step


def test_a_card_without_waits_allows_no_second_try() -> None:
    assert all(after(status, {}, 1, Waits((), ())) == Next(Kind.REFUSE) for status in (VENDOR, SYSTEM_ERROR, QUEUE_FULL))


@given(st.integers(0, 0x500), st.integers(1, 20), st.lists(st.integers(0, 3600), max_size=5))
def test_counted_tries_come_to_an_end(status: int, tries: int, waits: list[int]) -> None:
    step = after(status, CARD, tries, Waits(waits, waits))
    if tries > len(waits):
        assert step.kind is not Kind.RETRY_LATER or step.halts
    assert step.kind is Kind.RETRY_LATER or step.wait_s == 0


def test_an_unknown_verdict_and_a_zeroth_try_are_errors() -> None:
    with pytest.raises(ValueError, match="perhaps"):
        after(VENDOR, {VENDOR: "perhaps"}, 1, WAITS)
    with pytest.raises(ValueError, match="start at 1"):
        after(SYSTEM_ERROR, {}, 0, WAITS)


def feed(watch: CodeWatch, codes: Sequence[int]) -> CodeWatch:
    """Note each answer, acceptances that follow each other at once."""
    for code, group in itertools.groupby(codes):
        if code:
            for _ in group:
                watch.note(code)
        else:
            watch.note_accepted(len(list(group)))
    return watch


def watched(*codes: int) -> CodeWatch:
    return feed(CodeWatch(), codes)


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
    feed(watch, [VENDOR] * 199)
    assert watch.alarm() is None
    watch.note(VENDOR)
    assert watch.alarm() == VENDOR


def test_a_carrier_that_refuses_a_tenth_goes_on() -> None:
    assert watched(*([0] * 9 + [VENDOR]) * 500).alarm() is None


@pytest.mark.parametrize("code", [INVALID_DESTINATION, INVALID_SOURCE, 0x01, 0x65, 0x66])
def test_of_what_a_wrong_sender_gives_to_everybody_a_twentieth_is_borne(code: int) -> None:
    """F53: more than 5 % in 1,000."""
    assert watched(*([0] * 19 + [code]) * 200).alarm() is None
    assert watched(*([0] * 18 + [code]) * 200).alarm() == code
    assert watched(*[0] * 1_000, *[code] * 50).alarm() is None
    assert watched(*[0] * 1_000, *[code] * 51).alarm() == code


def test_the_alarm_stays() -> None:
    assert watched(*[VENDOR] * 10, *[0] * 5_000).alarm() == VENDOR


def test_the_shares_are_configurable() -> None:
    strict = CodeWatch(first_percent=10, recent_percent=5)
    assert feed(strict, [0] * 9 + [VENDOR]).alarm() == VENDOR


@pytest.mark.parametrize(("percent", "borne"), [(1, 10), (8, 80), (15, 150)])
def test_how_many_invalid_numbers_are_borne_is_the_cards_to_say(percent: int, borne: int) -> None:
    """F53: 5 % in 1,000, unless the card says otherwise."""
    watch = feed(CodeWatch(invalid_percent=percent), [0] * 1_000 + [INVALID_DESTINATION] * borne)
    assert watch.alarm() is None
    watch.note(INVALID_DESTINATION)
    assert watch.alarm() == INVALID_DESTINATION


def test_a_code_that_stopped_the_carrier_stops_it_again_at_its_first_refusal() -> None:
    assert feed(CodeWatch(suspect=VENDOR), [VENDOR]).alarm() == VENDOR
    assert feed(CodeWatch(suspect=VENDOR), [0x404] * 9).alarm() is None


def test_a_code_is_no_longer_suspect_once_the_carrier_took_something() -> None:
    watch = CodeWatch(suspect=VENDOR)
    watch.note_accepted(0)
    assert watch.suspect == VENDOR
    watch.note_accepted(1)
    assert feed(watch, [VENDOR] * 8).alarm() is None


OTHER = 0x404


@given(st.lists(st.sampled_from([0, 0, 0, 0, VENDOR, OTHER]), max_size=1_300))
def test_the_watch_agrees_with_counting_by_hand(codes: list[int]) -> None:
    raised = False
    for end in range(1, len(codes) + 1):
        recent = codes[max(0, end - 1_000) : end]
        most = max(recent.count(VENDOR), recent.count(OTHER)) / len(recent)
        raised |= (10 <= end <= 20 and most >= 0.5) or (len(recent) >= 200 and most >= 0.2)
    assert (watched(*codes).alarm() is not None) == raised


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 99))
def test_full_queues_are_too_many_above_their_share_of_the_last_hundred(answers: list[bool], percent: int) -> None:
    watch = full_queues(percent)
    for end, full in enumerate(answers, 1):
        if not full:
            watch.note_others(1)
            continue
        watch.note()
        recent = answers[max(0, end - 100) : end]
        assert watch.too_many == (len(recent) >= 20 and 100 * sum(recent) > percent * len(recent))


@given(st.lists(st.sampled_from(["taken", "refused", "trouble"]), max_size=400), st.integers(1, 99))
def test_a_bind_rests_when_troubles_are_above_their_share_of_the_last_two_hundred(answers: list[str], percent: int) -> None:
    breaker, since = Breaker(percent, WAITS.later_s), 0
    for end, answer in enumerate(answers, 1):
        if answer != "trouble":
            breaker.note_others(1, accepted=answer == "taken")
            continue
        recent = answers[max(since, end - 200) : end]
        rests = len(recent) >= 40 and 100 * recent.count("trouble") > percent * len(recent)
        assert bool(breaker.note_trouble()) == rests
        since = end if rests else since


def rests(breaker: Breaker, times: int) -> list[int]:
    """Return how long the bind rests, troubles being all that comes, so many times."""
    return [rest_s for rest_s in (breaker.note_trouble() for _ in range(40 * times)) if rest_s]


def test_a_bind_rests_for_longer_while_nothing_is_taken() -> None:
    breaker = Breaker(20, WAITS.later_s)
    assert rests(breaker, 5) == [30, 120, 600, 600, 600]
    breaker.note_others(5, accepted=False)
    assert rests(breaker, 1) == [600]
    breaker.note_others(1, accepted=True)
    assert rests(breaker, 2) == [30, 120]


def test_a_bind_whose_card_names_no_waits_rests_all_the_same() -> None:
    assert rests(Breaker(20, ()), 2) == [60, 60]
