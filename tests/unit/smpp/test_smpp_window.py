"""The window: numbers, slots, deadlines (F26, F34)."""

from __future__ import annotations

import math

import pytest

from broadcaster.smpp import LocalProtocolError
from broadcaster.smpp.window import MOST_SEQUENCE, Window


def test_numbers_wrap_and_skip_what_is_outstanding() -> None:
    window = Window(10, MOST_SEQUENCE - 1)
    first = window.reserve()
    window.put(first, 4, "a", 1.0)
    assert [first, window.reserve()] == [MOST_SEQUENCE - 1, MOST_SEQUENCE]
    window.put(1, 4, "b", 1.0)
    window.put(2, 4, "c", 1.0, control=True)
    assert window.reserve() == 3


def test_numbers_skip_across_the_wrap() -> None:
    window = Window(10, MOST_SEQUENCE)
    window.put(MOST_SEQUENCE, 4, "a", 1.0)
    assert window.reserve() == 1


def test_only_windowed_requests_take_slots() -> None:
    window = Window(2)
    window.put(1, 4, "a", 1.0)
    window.put(2, 4, "probe", 1.0, control=True)
    assert (window.room, window.outstanding) == (1, 1)
    assert window.take(2) == (4, "probe", 1.0)
    assert window.take(1) == (4, "a", 1.0)
    assert window.take(1) is None
    assert window.room == 2


def test_expiry_frees_slots_oldest_first() -> None:
    window = Window(3)
    for sequence, deadline in ((1, 1.0), (2, 2.0), (3, 3.0)):
        window.put(sequence, 4, sequence, deadline)
    window.put(9, 6, "unbind", 2.0, control=True)
    assert window.next_deadline() == 1.0
    assert window.expire(0.9) == []
    assert window.expire(2.0) == [1, 2, "unbind"]
    assert window.next_deadline() == 3.0
    assert window.drain() == [3]
    assert window.next_deadline() == math.inf


def test_the_nearest_deadline_may_be_a_control_request() -> None:
    window = Window(3)
    window.put(1, 4, "a", 5.0)
    window.put(2, 6, "b", 4.0, control=True)
    assert window.next_deadline() == 4.0


@pytest.mark.parametrize(("size", "first"), [(0, 1), (1, 0), (1, MOST_SEQUENCE + 1)])
def test_impossible_windows_are_refused(size: int, first: int) -> None:
    with pytest.raises(LocalProtocolError):
        Window(size, first)
