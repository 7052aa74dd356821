"""UTC datetimes as the database keeps them: integer milliseconds since 1970."""

from __future__ import annotations

import datetime as dt
import time

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


def to_ms(at: dt.datetime) -> int:
    """Return the milliseconds of an aware datetime, rounded down."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(at_ms: int) -> dt.datetime:
    """Return the aware UTC datetime."""
    return _EPOCH + at_ms * _MILLISECOND


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000
