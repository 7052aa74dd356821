"""What one seed adds around the carriers: clocks, sleep, hours, quotas, second hosts, a second campaign.

It is drawn from a stream of its own, so that what is added here leaves the carriers' faults of a seed as they were.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sim_field import ALL_DAY, CARRIERS, START

from broadcaster.link.faults import Fault, fault
from broadcaster.model import DailyWindow

DAY: Final = dt.timedelta(days=1)
_ZONE: Final = dt.timezone(dt.timedelta(hours=7))
_MIDNIGHT: Final = START.astimezone(_ZONE).replace(hour=0, minute=0) + DAY
_WINDOW: Final = DailyWindow(dt.time(7), dt.time(10, 10))
_LAST_LEASE: Final = START + dt.timedelta(minutes=4)
"""Of that window: what is leased later could make a phone ring after it."""
_STEPS_S: Final = (-1.0, 1.0, -1.5, 1.5, -3600.0, 3600.0, -86_400.0, 86_400.0)
_OUR_FAULT: Final = (0x04, 0x61, 0xC2)


class ClockSet(NamedTuple):
    """Somebody sets the clock of our machine wrong, and right again at `until_s`."""

    at_s: float
    by_s: float
    until_s: float


class Sleep(NamedTuple):
    """The service's process is stopped as by SIGSTOP, and goes on later; the carriers never stop."""

    at_s: float
    for_s: float


class HostFault(NamedTuple):
    """One of the two hosts of a carrier's account answers nobody."""

    carrier: str
    host: int
    from_s: float
    until_s: float


class Urgent(NamedTuple):
    """A second campaign, which goes first."""

    communes: int
    starts_in_s: float


@dataclass(frozen=True)
class Further:
    """What is added; times are seconds after the start."""

    begins: dt.datetime
    window: DailyWindow
    deadline_h: int
    terms: Mapping[str, Mapping[str, Any]]
    """Carrier → what its contract says of hours and quotas."""
    faults: Mapping[str, tuple[Fault, ...]]
    clock: tuple[ClockSet, ...]
    early_s: float
    """How far behind the clock stands after the power came back, for a few seconds."""
    sleeps: tuple[Sleep, ...]
    hosts: tuple[HostFault, ...]
    urgent: Urgent | None


def draw_further(seed: int, end_s: float) -> Further:
    """Return what a seed adds to a scenario whose faults end after `end_s`."""
    rng = random.Random(f"further/{seed}")
    begins, window = _hours(rng)
    clock = _clock(rng, end_s)
    return Further(
        begins,
        window,
        deadline_h=rng.choice((12, 30)),
        terms={code: _terms(rng, begins) for code in CARRIERS},
        faults={code: _faults(rng, end_s) for code in CARRIERS},
        clock=clock,
        early_s=0.0 if clock or rng.random() < 0.7 else rng.choice((600.0, 3600.0, 86_400.0)),
        sleeps=_sleeps(rng, end_s),
        hosts=_hosts(rng, end_s),
        urgent=Urgent(rng.choice((1, 2)), rng.uniform(0, 8)) if rng.random() < 0.15 else None,
    )


def _hours(rng: random.Random) -> tuple[dt.datetime, DailyWindow]:
    """Return when it begins, and the campaign's window: one that ends in the middle, midnight in the middle, or neither."""
    chance, lead = rng.random(), dt.timedelta(seconds=rng.uniform(3, 15))
    if chance < 0.12:
        return _LAST_LEASE - lead, _WINDOW
    return (_MIDNIGHT - lead if chance < 0.24 else START), ALL_DAY


def _terms(rng: random.Random, begins: dt.datetime) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    if rng.random() < 0.07:
        terms[rng.choice(("parts_per_day", "parts_per_day", "parts_per_month"))] = rng.randint(2, 25)
    if (hours := _some_seconds(rng, begins)) is not None and rng.random() < 0.1:
        terms["hourly_tps"] = ((DailyWindow(*hours), rng.randint(1, 8)),)
    if (hours := _some_seconds(rng, begins)) is not None and rng.random() < 0.08:
        terms["closed"] = (DailyWindow(*hours),)
    if rng.random() < 0.08:
        start = begins + dt.timedelta(seconds=rng.uniform(1, 15))
        terms["maintenance"] = ((start, start + dt.timedelta(seconds=rng.uniform(2, 30))),)
    return terms


def _some_seconds(rng: random.Random, begins: dt.datetime) -> tuple[dt.time, dt.time] | None:
    """Return a span of the day soon after the beginning; None when midnight lies in it."""
    start = begins.astimezone(_ZONE) + dt.timedelta(seconds=rng.uniform(1, 12))
    end = start + dt.timedelta(seconds=rng.uniform(4, 30))
    return (start.time(), end.time()) if start.date() == end.date() else None


def _faults(rng: random.Random, end_s: float) -> tuple[Fault, ...]:
    """Return what the scenario's own choice meets too rarely: settings of ours at fault, receipts later than any process lives."""
    faults = []
    if rng.random() < 0.05:
        faults.append(fault("vendor_status", share=rng.uniform(0.1, 0.3), times=3, status=rng.choice(_OUR_FAULT), until_s=end_s))
    if rng.random() < 0.03:
        faults.append(fault("dlr_late", share=0.3, after_s=rng.choice((3600.0, 21_600.0, 172_800.0)), until_s=end_s))
    return tuple(faults)


def _clock(rng: random.Random, end_s: float) -> tuple[ClockSet, ...]:
    if rng.random() < 0.8:
        return ()
    sets = []
    at_s = rng.uniform(0.5, 6)
    for _ in range(rng.choice((1, 2))):
        until_s = at_s + rng.uniform(0.05, 6)
        sets.append(ClockSet(at_s, rng.choice(_STEPS_S), until_s))
        at_s = until_s + rng.uniform(0.5, 6)
    return tuple(each for each in sets if each.at_s < end_s)


def _sleeps(rng: random.Random, end_s: float) -> tuple[Sleep, ...]:
    if rng.random() < 0.85:
        return ()
    return (Sleep(rng.uniform(1, end_s), rng.choice((1.0, 4.0, 11.0, 45.0, 600.0))),)


def _hosts(rng: random.Random, end_s: float) -> tuple[HostFault, ...]:
    """Return which hosts fail when; one of the two may stay away for good."""
    if rng.random() < 0.8:
        return ()
    code = rng.choice(CARRIERS)
    gone_for_good = HostFault(code, rng.randrange(2), rng.choice((0.0, rng.uniform(0, end_s))), float("inf"))
    if rng.random() < 0.5:
        return (gone_for_good,)
    from_s = rng.uniform(0, end_s)
    return (HostFault(code, rng.randrange(2), from_s, from_s + rng.uniform(1, 8)), gone_for_good)
