"""The limiter: never above the contract in any second, and close to it when there is work."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broadcaster.rules.throttle import BURST_NS, RECOVERY_STEP_NS, SECOND_NS, Limiter

MS = 1_000_000
START_NS = 5_000 * SECOND_NS


def most_in_a_second(log: list[tuple[int, int]]) -> int:
    """Return the most permits in any half-open window of one second."""
    most = inside = first = 0
    for at_ns, count in log:
        inside += count
        while log[first][0] <= at_ns - SECOND_NS:
            inside -= log[first][1]
            first += 1
        most = max(most, inside)
    return most


def poll(limiter: Limiter, from_ns: int, until_ns: int, every_ns: int, wanted: int = 10**9) -> list[tuple[int, int]]:
    log = []
    for now_ns in range(from_ns, until_ns, every_ns):
        if count := limiter.permits(now_ns, wanted):
            limiter.take(now_ns, count)
            log.append((now_ns, count))
    return log


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 400)),
        st.tuples(st.just("wait"), st.integers(0, 2 * SECOND_NS)),
        st.tuples(st.just("wait"), st.sampled_from([1, MS, 10 * MS, SECOND_NS - 1, SECOND_NS, SECOND_NS + 1])),
        st.tuples(st.just("next"), st.just(0)),
        st.tuples(st.just("flood"), st.integers(1, 200)),
        st.tuples(st.just("hold"), st.integers(0, 3 * SECOND_NS)),
        st.tuples(st.just("throttled"), st.integers(0, 3)),
        st.tuples(st.just("back"), st.integers(0, SECOND_NS)),
        st.tuples(st.just("change"), st.sampled_from([0, 1, 7, 100, 300])),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(st.integers(1, 300), st.sampled_from([0.5, 0.98, 1.0]), steps)
@example(1, 1.0, [("take", 0), ("wait", 10 * MS), ("take", 1), ("wait", SECOND_NS - 1), ("take", 1)])
def test_no_interleaving_exceeds_the_contract_in_any_second(tps: int, pace: float, story: list[tuple[str, int]]) -> None:
    """Whatever rate holds when a permit is taken, the second that ends with it holds no more, however high the rate was before."""
    limiter = Limiter(tps, pace)
    log: list[tuple[int, int]] = []
    limit: int | None = tps
    now_ns = latest_ns = START_NS
    held_until_ns = 0
    for what, size in story:
        if what == "wait":
            now_ns += size
        elif what == "back":
            now_ns -= size
        elif what == "next":
            now_ns = max(now_ns, limiter.next_ns(now_ns))
            assert limiter.permits(now_ns, 1) == 1
        elif what == "hold":
            limiter.hold(now_ns + size)
            held_until_ns = max(held_until_ns, now_ns + size)
        elif what == "throttled":
            limiter.throttled(now_ns, float(size))
            held_until_ns = max(held_until_ns, now_ns + size * SECOND_NS)
        elif what == "change":
            limit = size or None
            limiter.change(now_ns, limit)
        else:
            for _ in range(size if what == "flood" else 1):
                count = limiter.permits(now_ns, 1 if what == "flood" else size)
                limiter.take(now_ns, count)
                if count:
                    assert now_ns >= held_until_ns
                    latest_ns = max(latest_ns, now_ns)
                    log.append((latest_ns, count))
                    assert limit is None or sum(each for at_ns, each in log if at_ns > latest_ns - SECOND_NS) <= limit
                now_ns += MS if what == "flood" else 0


@pytest.mark.parametrize("every_ms", [1, 10])
@pytest.mark.parametrize("tps", [1, 7, 50, 100, 333, 1_000, 20_000])
def test_a_busy_minute_uses_the_contract(tps: int, every_ms: int) -> None:
    limiter = Limiter(tps)
    log = poll(limiter, START_NS, START_NS + 60 * SECOND_NS, every_ms * MS)
    assert most_in_a_second(log) <= tps
    used = sum(count for _, count in log)
    assert used >= 0.97 * 60 * tps
    assert used <= 0.98 * 60 * tps + max(count for _, count in log)


@given(st.integers(1, 30_000), st.integers(1, 100 * SECOND_NS))
def test_a_burst_is_at_most_ten_milliseconds_worth_and_one(tps: int, idle_ns: int) -> None:
    limiter = Limiter(tps)
    limiter.take(START_NS, limiter.permits(START_NS, 10**9))
    burst = limiter.permits(START_NS + idle_ns, 10**9)
    assert burst <= 1 + tps * 0.98 * BURST_NS / SECOND_NS


@given(st.integers(1, 2_000), st.lists(st.integers(1, 50 * MS), min_size=1, max_size=50))
def test_next_is_the_first_instant_with_a_permit(tps: int, waits: list[int]) -> None:
    limiter = Limiter(tps)
    now_ns = START_NS
    for wait_ns in waits:
        limiter.take(now_ns, limiter.permits(now_ns, 10**9))
        soon_ns = limiter.next_ns(now_ns)
        assert soon_ns > now_ns
        assert limiter.permits(soon_ns - 1, 1) == 0
        assert limiter.permits(soon_ns, 1) == 1
        assert limiter.next_ns(soon_ns) == soon_ns
        now_ns = soon_ns + wait_ns


def test_a_full_window_waits_for_its_oldest_permit_and_the_guard() -> None:
    limiter = Limiter(1, pace=1.0)
    limiter.take(START_NS, 1)
    assert limiter.next_ns(START_NS) == START_NS + 1_001 * MS
    assert limiter.permits(START_NS + 1_001 * MS - 1, 1) == 0
    assert limiter.permits(START_NS + 1_001 * MS, 1) == 1


def test_a_lower_rate_waits_until_the_last_second_has_room() -> None:
    limiter = Limiter(100, pace=1.0)
    log = poll(limiter, START_NS, START_NS + SECOND_NS, MS)
    limiter.change(START_NS + SECOND_NS, 10)
    at_ns = limiter.next_ns(START_NS + SECOND_NS)
    assert sum(count for taken_ns, count in log if taken_ns > at_ns - 1_001 * MS) == 9
    assert (limiter.permits(at_ns - 1, 1), limiter.permits(at_ns, 5)) == (0, 1)


def test_a_throttled_account_keeps_its_share_of_another_rate() -> None:
    limiter = Limiter(100)
    limiter.throttled(START_NS, 1.0)
    limiter.change(START_NS + SECOND_NS, 200)
    assert limiter.rate_tps(START_NS + SECOND_NS) == 98.0
    assert limiter.rate_tps(START_NS + SECOND_NS + RECOVERY_STEP_NS) == pytest.approx(107.8)


def test_a_hold_is_kept_and_never_shortened() -> None:
    limiter = Limiter(100)
    limiter.hold(START_NS + 1_001 * MS)
    limiter.hold(START_NS + 5 * MS)
    assert limiter.permits(START_NS + 1_001 * MS - 1, 5) == 0
    assert limiter.next_ns(START_NS) == START_NS + 1_001 * MS
    assert limiter.permits(START_NS + 1_001 * MS, 5) >= 1


def test_throttling_halves_the_rate_and_it_comes_back_by_steps() -> None:
    limiter = Limiter(100)
    assert limiter.rate_tps(START_NS) == 98.0
    limiter.throttled(START_NS, 2.0)
    resumed_ns = START_NS + 2 * SECOND_NS
    assert limiter.permits(resumed_ns - 1, 1) == 0
    assert limiter.rate_tps(resumed_ns) == 49.0
    assert limiter.rate_tps(resumed_ns + RECOVERY_STEP_NS - 1) == 49.0
    assert limiter.rate_tps(resumed_ns + RECOVERY_STEP_NS) == pytest.approx(53.9)
    assert limiter.rate_tps(resumed_ns + 9 * RECOVERY_STEP_NS) == pytest.approx(93.1)
    assert limiter.rate_tps(resumed_ns + 50 * RECOVERY_STEP_NS) == 98.0


def test_a_throttled_account_sends_at_the_lower_rate() -> None:
    limiter = Limiter(100)
    limiter.throttled(START_NS, 0.0)
    log = poll(limiter, START_NS, START_NS + 10 * SECOND_NS, MS)
    assert 485 <= sum(count for _, count in log) <= 492


def test_many_throttled_answers_of_one_window_halve_once() -> None:
    limiter = Limiter(100)
    for late_ms in range(50):
        limiter.throttled(START_NS + late_ms * MS, 1.0)
    assert limiter.rate_tps(START_NS + 2 * SECOND_NS) == 49.0
    assert limiter.next_ns(START_NS) == START_NS + 1_049 * MS


def test_repeated_throttling_goes_down_to_one_a_second_and_not_below() -> None:
    limiter = Limiter(100)
    now_ns = START_NS
    for _ in range(20):
        limiter.throttled(now_ns, 1.0)
        now_ns += SECOND_NS
    assert limiter.rate_tps(now_ns) == 1.0


def test_an_unlimited_account_is_only_held_and_paused() -> None:
    limiter = Limiter(None)
    assert limiter.rate_tps(START_NS) is None
    assert limiter.permits(START_NS, 12_345) == 12_345
    limiter.take(START_NS, 12_345)
    assert limiter.next_ns(START_NS) == START_NS
    limiter.throttled(START_NS, 1.0)
    assert limiter.permits(START_NS, 1) == 0
    assert limiter.next_ns(START_NS) == START_NS + SECOND_NS
    assert limiter.permits(START_NS + SECOND_NS, 7) == 7


def test_taking_more_than_permitted_is_an_error() -> None:
    limiter = Limiter(50)
    with pytest.raises(ValueError, match="more than"):
        limiter.take(START_NS, 2)
    with pytest.raises(ValueError, match="more than"):
        limiter.take(START_NS, -1)


@pytest.mark.parametrize(("tps", "pace"), [(0, 0.98), (-1, 0.98), (10, 0.0), (10, 1.1)])
def test_a_limiter_needs_a_sane_rate(tps: int, pace: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Limiter(tps, pace)
