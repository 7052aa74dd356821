"""The end of a simulation: when all is at rest, what only a person can mend until then, and the hours in which nothing happens."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sim_office import Office
from sqlalchemy import func, select, text

from broadcaster.flow.judgement import readable_order
from broadcaster.link.client import LinkState
from broadcaster.link.simulator import Simulator
from broadcaster.model import CampaignState, State
from broadcaster.rules import windows
from broadcaster.rules.clockguard import SUSPENDED_NS, Trust
from broadcaster.rules.terms import steady_until
from broadcaster.store.campaigns import campaigns, lanes
from broadcaster.store.links import binds
from broadcaster.store.schema import submission
from broadcaster.store.times import from_ms

if TYPE_CHECKING:
    from sim_world import World

LOOK_S: Final = 1.0
QUIET_S: Final = 2.0
"""So long nothing must happen before all is quiet."""
HELP_S: Final = 10.0
PATIENCE_S: Final = 900.0
STEP_NS: Final = SUSPENDED_NS - 1_000_000_000
"""How far the time may jump without being taken for a machine that slept."""
IDLE_S: Final = 2.0
"""After so long without a part or a word the time may jump by steps."""
BETWEEN_STEPS_S: Final = 0.25
"""How long the time goes on as usual between two such steps."""
MOST_JUMPS: Final = 15
LONG_IDLE_S: Final = 200.0
"""After so long it may jump over hours, for whatever waits for minutes has come to pass; only what is unknown does."""
SHORT_IDLE_S: Final = 10.0
LIVING: Final = (CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)
_UNKNOWN: Final = select(func.count()).select_from(submission).where(submission.c.state == int(State.UNCERTAIN))
_NEXT_TRY: Final = text("SELECT min(not_before_ms) FROM message WHERE not_before_ms IS NOT NULL")


class Rest:
    """Wait until every campaign has ended and no carrier holds anything for us."""

    def __init__(self, world: World, office: Office, deeds: asyncio.Future[None], running: asyncio.Task[None]) -> None:
        self._world = world
        self._loop = world.loop
        self._office = office
        self._deeds = deeds
        self._running = running
        self._events = self._parts = 0
        self._active_s = self._loop.time()
        self._steps = False
        self._jumps = 0
        self._until_s = max(self._loop.time(), world.began_s + world.scenario.faults_end_s) + PATIENCE_S

    async def reached(self) -> bool:
        """Wait for it. True when the service must be started anew: it gave up a carrier, or a person confirmed the clock."""
        quiet_since: float | None = None
        last_help_s = doubt_since_s = self._loop.time()
        while quiet_since is None or self._loop.time() < quiet_since + QUIET_S:
            if self._running.done():
                return False
            await asyncio.sleep(BETWEEN_STEPS_S if self._steps else LOOK_S)
            if self._loop.time() > self._until_s:
                self._world.record.faults.append(f"I17: not quiet {PATIENCE_S:g} s after the last fault: {self._unrest()}")
                return False
            over = self._deeds.done() and self._loop.time() > self._world.began_s + self._world.scenario.faults_end_s
            calm = over and not self._unrest()
            quiet_since = (quiet_since or self._loop.time()) if calm else None
            if self._world.trust is Trust.SOUND or self._loop.wall_skew_ns:
                doubt_since_s = self._loop.time()
            elif self._loop.time() > doubt_since_s + HELP_S:
                self._world.clock_to_confirm = True
                return True
            if not calm and self._loop.time() > last_help_s + HELP_S:
                last_help_s = self._loop.time()
                self._office.help(deeds_done=self._deeds.done())
                if self._given_up():
                    return True
            if over and not calm:
                self._pass_time()
        return False

    def _unrest(self) -> str:
        """Return what is not at rest yet."""
        for code, simulator in self._world.simulators.items():
            if owed := _owed(simulator):
                return f"{code} owes {owed}"
        with self._office.installed.store.read() as connection:
            for found in campaigns(connection, *LIVING):
                halted = [f"{lane.carrier}: {lane.halted}" for lane in lanes(connection, found.id) if lane.halted]
                return f"{found.name} is {found.state} {halted or ''}"
        return ""

    def _given_up(self) -> bool:
        with self._office.installed.store.read() as connection:
            return any(row.state == LinkState.STOPPED for row in binds(connection))

    # -- time in which nothing happens

    def _pass_time(self) -> None:
        """Let the time jump when nothing happens: by seconds, or over the hours to whatever is due next."""
        record, loop = self._world.record, self._loop
        happened = len(record.events), len(record.written)
        if happened != (self._events, self._parts):
            (self._events, self._parts), self._active_s = happened, loop.time()
        idle_s = loop.time() - self._active_s
        self._steps = idle_s >= IDLE_S
        if not self._steps:
            return
        wait_ns = min((at_ns - loop.now_ns for at_ns in self._due_ns() if at_ns > loop.now_ns), default=STEP_NS)
        if wait_ns > STEP_NS and self._jumps < MOST_JUMPS and idle_s > (LONG_IDLE_S if self._unknown() else SHORT_IDLE_S):
            record.hits["hours passed"] += 1
            record.hits["window closed"] += not self._world.further.window.all_day and self._living()
            self._jumps += 1
            loop.now_ns += wait_ns
            self._active_s = loop.time()
            self._until_s = self._active_s + PATIENCE_S
        else:
            loop.now_ns += min(wait_ns, STEP_NS)

    def _living(self) -> bool:
        with self._office.installed.store.read() as connection:
            return bool(campaigns(connection, *LIVING))

    def _unknown(self) -> int:
        with self._office.installed.store.read() as connection:
            return int(connection.execute(_UNKNOWN).scalar_one())

    def _due_ns(self) -> Iterator[int]:
        """Yield when something may happen next, on the loop's clock."""
        for simulator in self._world.simulators.values():
            dues = (wheel.next_due() for wheel in (simulator._answers, simulator._receipts, simulator._owed_later))
            yield from (int(due * 1e9) for due in dues if due is not None)
        now = self._loop.wall()
        instants: list[dt.datetime | None] = [steady_until(card, now) for card in self._world.cards.values()]
        with self._office.installed.store.read() as connection:
            for found in campaigns(connection, *LIVING):
                order = readable_order(found)
                assert order is not None
                closes = windows.closes_at(order.window, now)
                instants += [closes, closes and windows.next_open(order.window, closes)]
                instants.append(from_ms(found.planned_ms) if found.planned_ms else None)
                if found.started_ms is not None:
                    instants.append(from_ms(found.started_ms) + dt.timedelta(hours=order.deadline_h))
            if (next_try_ms := connection.execute(_NEXT_TRY).scalar_one()) is not None:
                instants.append(from_ms(next_try_ms))
        yield from (self._loop.now_ns + (each - now) // dt.timedelta(microseconds=1) * 1000 for each in instants if each)


def _owed(simulator: Simulator) -> int:
    """Count what a carrier has to hand over yet."""
    wheels = (simulator._answers, simulator._receipts, simulator._owed_later)
    held = sum(len(wheel.rest()) for wheel in wheels) + len(simulator._outbox) + len(simulator._rows) + len(simulator._judged_rows)
    return held + sum(link.session.outstanding for link in simulator._sessions)
