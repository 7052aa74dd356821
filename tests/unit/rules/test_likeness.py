"""Is a new snapshot like the one before?"""

import pytest

from broadcaster.rules.likeness import Likeness, emptied_communes


@pytest.mark.parametrize(
    ("before", "after", "overlap", "doubtful"),
    [
        (10_000, 10_000, 0.9, False),
        (10_000, 6_000, 0.9, False),
        (10_000, 5_999, 0.9, True),
        (10_000, 16_666, 0.9, False),
        (10_000, 16_700, 0.9, True),
        (10_000, 10_000, 0.5, False),
        (10_000, 10_000, 0.49, True),
        (10_000, 10_000, None, False),
        (999, 10, 0.0, False),
        (1_000, 10, 0.9, True),
        (0, 1_000_000, 0.0, False),
    ],
)
def test_a_snapshot_unlike_the_one_before_is_doubtful(before: int, after: int, overlap: float | None, doubtful: bool) -> None:
    assert Likeness(before, after, overlap, ()).doubtful is doubtful


def test_one_empty_commune_is_enough() -> None:
    assert Likeness(10_000, 10_000, 0.9, ("21025",)).doubtful
    assert not Likeness(500, 500, 0.9, ("21025",)).doubtful


def test_communes_that_lost_most_of_their_people() -> None:
    before = {"21025": 1000.0, "21040": 1000.0, "21548": 99.0, "": 5000.0, "21109": 100.0}
    assert emptied_communes(before, {"21025": 299.0, "21040": 300.0}) == ("21025", "21109")
