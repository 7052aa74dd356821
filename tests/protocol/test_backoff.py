from __future__ import annotations

import pytest

from broadcaster.link.backoff import Backoff, Ending


@pytest.mark.parametrize(
    ("ending", "streak", "since_start_s", "chance", "wait_s"),
    [
        (Ending.CREDENTIALS, 1, 0.0, 0.5, 5.0),
        (Ending.CREDENTIALS, 2, 0.0, 0.5, None),
        (Ending.CREDENTIALS, 3, 0.0, 0.5, None),
        (Ending.ALREADY_BOUND, 1, 1.0, 0.0, 30.0),
        (Ending.ALREADY_BOUND, 2, 1.0, 0.0, 60.0),
        (Ending.ALREADY_BOUND, 3, 1.0, 0.0, 120.0),
        (Ending.ALREADY_BOUND, 9, 1.0, 0.0, 120.0),
        (Ending.UNREACHABLE, 1, 0.0, 0.9, 5.0),
        (Ending.UNREACHABLE, 1, 4.9, 0.0, pytest.approx(0.1)),
        (Ending.UNREACHABLE, 4, 10.0, 0.5, 4.0),
        (Ending.UNREACHABLE, 7, 10.0, 0.5, 30.0),
        (Ending.UNREACHABLE, 10_000, 10.0, 0.5, 30.0),
        (Ending.REFUSED, 3, 6.0, 0.75, 3.0),
        (Ending.LOST, 1, 3600.0, 0.25, 0.25),
    ],
)
def test_wait(ending: Ending, streak: int, since_start_s: float, chance: float, wait_s: float | None) -> None:
    assert Backoff().wait_s(ending, streak, since_start_s, chance) == wait_s


@pytest.mark.parametrize("ending", [Ending.UNREACHABLE, Ending.REFUSED, Ending.LOST, Ending.ALREADY_BOUND])
def test_at_most_twelve_connections_a_minute(ending: Ending) -> None:
    """F30, whatever chance brings."""
    time_s, starts = 0.0, []
    for streak in range(1, 30):
        starts.append(time_s)
        wait_s = Backoff().wait_s(ending, streak, 0.2, 0.0)
        assert wait_s is not None
        time_s += 0.2 + wait_s
    assert max(sum(1 for other in starts if start <= other < start + 60) for start in starts) <= 12
