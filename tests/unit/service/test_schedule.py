"""The alarm wakes the service on its own loop, at each planned start, whatever the campaigns are called."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading

import pytest

from broadcaster.service import schedule
from broadcaster.service.schedule import Alarm


def play(scene, monkeypatch=None):
    async def run():
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(run())


def test_it_wakes_on_the_thread_of_the_loop(monkeypatch):
    monkeypatch.setattr(schedule, "SWEEP_S", 0.01)
    threads = []

    async def scene():
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake():
            threads.append(threading.current_thread())
            loop.call_soon_threadsafe(woken.set)

        alarm = Alarm(wake)
        alarm.start()
        await woken.wait()
        alarm.stop()

    play(scene)
    assert set(threads) == {threading.main_thread()}


@pytest.mark.parametrize("name", ["dien-tap", "sweep"])
def test_a_planned_time_wakes_once_and_the_sweep_lives_on(name):
    async def scene():
        woken = asyncio.Event()
        alarm = Alarm(woken.set)
        alarm.start()
        alarm.plan({name: dt.datetime.now(dt.UTC)})
        await woken.wait()
        assert alarm._scheduler.get_job("sweep") is not None
        alarm.plan({name: dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)})
        assert len(alarm._scheduler.get_jobs()) == 2
        alarm.plan({})
        assert [job.id for job in alarm._scheduler.get_jobs()] == ["sweep"]
        alarm.stop()

    play(scene)
