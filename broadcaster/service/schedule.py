"""The clock tick: APScheduler wakes the service when a campaign is due. It decides nothing and remembers nothing.

Its jobs live in memory and are made anew from our tables; a sweep catches whatever a wake-up missed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

from apscheduler.schedulers.asyncio import AsyncIOScheduler

SWEEP_S = 5


class Alarm:
    """Call `wake` at each of the planned times, and every few seconds besides."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._scheduler = AsyncIOScheduler(timezone=dt.UTC)
        self._planned: dict[str, dt.datetime] = {}

    def start(self) -> None:
        self._scheduler.add_job(self._ring, "interval", seconds=SWEEP_S, id="sweep", misfire_grace_time=None, coalesce=True)
        self._scheduler.start()

    async def _ring(self) -> None:
        """Wake on the event loop: APScheduler would run a plain function in a thread of its own."""
        self._wake()

    def plan(self, times: Mapping[str, dt.datetime]) -> None:
        """Replace the planned times, by campaign name."""
        for name in self._planned.keys() - times.keys():
            if self._scheduler.get_job(_job_id(name)):
                self._scheduler.remove_job(_job_id(name))
        for name, at in times.items():
            if self._planned.get(name) != at:
                self._scheduler.add_job(
                    self._ring, "date", run_date=at, id=_job_id(name), replace_existing=True, misfire_grace_time=None, coalesce=True
                )
        self._planned = dict(times)

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)


def _job_id(campaign: str) -> str:
    return f"start {campaign}"
