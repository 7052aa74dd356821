"""A wall clock that is set, forward or back, is noticed at once; one that merely runs is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.rules.clockguard import MOST_DRIFT_NS, MOST_EARLIER_NS, ClockGuard, Trust

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
WALL_NS = 1_800_000_000 * SECOND_NS
RUNNING_NS = 500 * SECOND_NS


def guard(seen_ns: int | None = None) -> ClockGuard:
    return ClockGuard(WALL_NS, RUNNING_NS, seen_ns)


@given(st.lists(st.integers(0, 8 * HOUR_NS), max_size=20))
def test_time_that_passes_on_both_clocks_is_sound_sleep_included(steps: list[int]) -> None:
    watched, passed = guard(), 0
    for step in steps:
        passed += step
        assert watched.look(WALL_NS + passed, RUNNING_NS + passed) is Trust.SOUND


@given(st.integers(-(10**9) * SECOND_NS, 10**9 * SECOND_NS), st.integers(0, HOUR_NS))
def test_a_wall_clock_that_is_set_by_more_than_two_seconds_is_not_trusted_until_it_is_set_back(jump: int, passed: int) -> None:
    watched, far = guard(), abs(jump) > MOST_DRIFT_NS
    moment = (WALL_NS + passed + jump, RUNNING_NS + passed)
    assert watched.still(*moment) is not far
    assert watched.steady_ns(*moment) == WALL_NS + passed + (0 if far else jump)
    assert watched.look(*moment) is (Trust.JUMPED if far else Trust.SOUND)
    assert watched.still(*moment)
    assert watched.drift_ns(*moment) == jump
    assert watched.look(WALL_NS + passed + SECOND_NS, RUNNING_NS + passed + SECOND_NS) is Trust.SOUND


@pytest.mark.parametrize("jump", [MOST_DRIFT_NS + 1, -MOST_DRIFT_NS - 1])
def test_many_small_steps_count_together(jump: int) -> None:
    watched = guard()
    found = [
        watched.look(WALL_NS + second * SECOND_NS + jump * second // 10, RUNNING_NS + second * SECOND_NS) for second in range(11)
    ]
    assert found == [Trust.SOUND] * 10 + [Trust.JUMPED]


@pytest.mark.parametrize(
    ("earlier_ns", "trust"), [(-HOUR_NS, Trust.SOUND), (MOST_EARLIER_NS, Trust.SOUND), (MOST_EARLIER_NS + 1, Trust.EARLY)]
)
def test_a_start_before_a_moment_that_has_been_waits(earlier_ns: int, trust: Trust) -> None:
    assert guard(WALL_NS + earlier_ns).trust is trust


def test_a_start_with_an_unset_clock_goes_on_once_the_clock_is_set_and_is_held_there() -> None:
    watched = guard(WALL_NS + HOUR_NS)
    assert watched.look(WALL_NS + SECOND_NS, RUNNING_NS + SECOND_NS) is Trust.EARLY
    set_ns, running_ns = WALL_NS + 2 * HOUR_NS, RUNNING_NS + 2 * SECOND_NS
    assert watched.look(set_ns, running_ns) is Trust.SOUND
    assert watched.look(set_ns + SECOND_NS, running_ns + SECOND_NS) is Trust.SOUND
    assert watched.look(set_ns + HOUR_NS, running_ns + 2 * SECOND_NS) is Trust.JUMPED


@pytest.mark.parametrize("jump", [HOUR_NS, -HOUR_NS])
def test_a_clock_set_between_two_processes_is_noticed_while_the_machine_runs(jump: int) -> None:
    passed = 60 * SECOND_NS
    wall_ns, running_ns = WALL_NS + passed + jump, RUNNING_NS + passed
    after = ClockGuard(wall_ns, running_ns, WALL_NS, WALL_NS - RUNNING_NS)
    assert after.trust is Trust.JUMPED
    assert after.steady_ns(wall_ns, running_ns) == WALL_NS + passed
    assert ClockGuard(WALL_NS + passed, running_ns, WALL_NS, WALL_NS - RUNNING_NS).trust is Trust.SOUND


def test_while_the_clock_is_early_time_goes_on_from_the_last_moment_known() -> None:
    watched = guard(WALL_NS + HOUR_NS)
    assert watched.steady_ns(WALL_NS, RUNNING_NS) == WALL_NS + HOUR_NS
    assert watched.steady_ns(WALL_NS + SECOND_NS, RUNNING_NS + SECOND_NS) == WALL_NS + HOUR_NS + SECOND_NS
    assert watched.still(WALL_NS + SECOND_NS, RUNNING_NS)
