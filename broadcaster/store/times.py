"""The clock, and UTC datetimes as the database keeps them: integer milliseconds since 1970."""

from __future__ import annotations

import datetime as dt
import time
from typing import Final, Protocol

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


class Clock(Protocol):
    """What the service reads the time from; the two monotonic readings are of one clock."""

    def now(self) -> dt.datetime:
        """Return the wall clock, in UTC."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never runs backwards."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds of a clock that never runs backwards."""


class _SystemClock:
    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    # Unlike CLOCK_MONOTONIC it goes on while the machine sleeps: whoever wakes must notice how long it was.
    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def monotonic_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


SYSTEM: Final[Clock] = _SystemClock()


def to_ms(at: dt.datetime) -> int:
    """Return the milliseconds of an aware datetime, rounded down."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(at_ms: int) -> dt.datetime:
    """Return the aware UTC datetime."""
    return _EPOCH + at_ms * _MILLISECOND


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000
