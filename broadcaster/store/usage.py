"""The `usage` table: how many parts each carrier account was given on each day, for its quotas.

What was or may have been accepted counts; days are Vietnam's.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Self

from sqlalchemy import Connection, func, select

from broadcaster.rules.windows import local_day
from broadcaster.store.engine import execute_many
from broadcaster.store.schema import usage
from broadcaster.store.times import from_ms


class Usage(NamedTuple):
    """What an account was given on `day` (YYYY-MM-DD) and in its month, in parts."""

    day: str
    today_parts: int
    month_parts: int

    def on(self, day: str) -> Self:
        """Return the same account's usage on this day, of which nothing is known yet when it is another one."""
        if day == self.day:
            return self
        return self._replace(day=day, today_parts=0, month_parts=self.month_parts if day[:7] == self.day[:7] else 0)

    def plus(self, parts: int) -> Self:
        """Count more parts."""
        return self._replace(today_parts=self.today_parts + parts, month_parts=self.month_parts + parts)


UNUSED = Usage("", 0, 0)


def day_of(at: dt.datetime) -> str:
    """Return the day, in Vietnam, of an aware datetime."""
    return local_day(at).isoformat()


def add(connection: Connection, carrier: str, sent_ns: Iterable[int]) -> None:
    """Count parts by the instants at which they were written."""
    by_day = Counter(day_of(from_ms(each // 1_000_000)) for each in sent_ns)
    execute_many(
        connection,
        "INSERT INTO usage (carrier, day, parts) VALUES (?, ?, ?) "
        "ON CONFLICT (carrier, day) DO UPDATE SET parts = usage.parts + excluded.parts",
        [(carrier, day, parts) for day, parts in by_day.items()],
    )


def used(connection: Connection, carrier: str, now: dt.datetime) -> Usage:
    """Return what the account was given today and this month."""
    day = day_of(now)
    columns = func.coalesce(func.sum(usage.c.parts), 0)
    month = select(columns).where(usage.c.carrier == carrier, usage.c.day >= day[:7], usage.c.day <= day)
    today = select(columns).where(usage.c.carrier == carrier, usage.c.day == day)
    return Usage(day, int(connection.execute(today).scalar_one()), int(connection.execute(month).scalar_one()))
