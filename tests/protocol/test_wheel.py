from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broadcaster.link.wheel import Wheel

TICK_S = 0.005


@given(dues=st.lists(st.floats(0, 100), max_size=50), moments=st.lists(st.floats(0, 110), max_size=10))
def test_everything_comes_once_never_early_and_at_most_a_tick_late(dues: list[float], moments: list[float]) -> None:
    wheel: Wheel[tuple[int, float]] = Wheel(TICK_S)
    for index, due in enumerate(dues):
        wheel.add(due, (index, due))
    taken: list[tuple[int, float]] = []
    for now in [*sorted(moments), 111.0]:
        assert {index for index, _ in wheel.rest()} == set(range(len(dues))) - {index for index, _ in taken}
        batch = wheel.take(now)
        assert all(due <= now + 1e-9 for _, due in batch)
        taken += batch
        next_due = wheel.next_due()
        left = [due for index, due in enumerate(dues) if index not in {other for other, _ in taken}]
        assert (next_due is None) == (not left)
        if next_due is not None:
            assert now < next_due
            assert min(left) - 1e-9 <= next_due <= min(left) + TICK_S + 1e-9
    assert sorted(taken) == list(enumerate(dues))


def test_within_a_tick_the_order_is_kept() -> None:
    wheel: Wheel[str] = Wheel(1.0)
    for name, due in (("b", 1.5), ("a", 0.5), ("c", 1.2)):
        wheel.add(due, name)
    assert wheel.take(2.0) == ["a", "b", "c"]
