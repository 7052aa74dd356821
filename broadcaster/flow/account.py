"""One carrier account, shared by all its binds: its rate, its terms and quotas, what may be sent, and when its refusals are too many.

The contract is the account's, not the bind's: however many connections it has, in no second are more parts written than it allows
(docs/delivery.md I9), and a throttling answer on one of them slows them all (F50).
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog
from sqlalchemy import Connection

from broadcaster.flow.lease import Gate
from broadcaster.flow.outcomes import STORE_RETRY_S
from broadcaster.flow.underway import Job, Link, Message
from broadcaster.model import CarrierCard, State
from broadcaster.rules.retry import CodeWatch, full_queues
from broadcaster.rules.terms import closed_until, quota_left, quota_used, tps_now
from broadcaster.rules.throttle import SECOND_NS, Limiter
from broadcaster.store import usage
from broadcaster.store.campaigns import change_lane
from broadcaster.store.messages import Outcome
from broadcaster.store.suspicion import UNBLEMISHED, Past, clear_suspect, put_suspect
from broadcaster.store.times import SYSTEM, Clock, to_ms
from broadcaster.store.usage import UNUSED, Usage
from broadcaster.store.writer import Writer

START_HOLD_NS: Final = 1_001_000_000
"""No part is written sooner after a start: the former process may have used up this second's rate."""
REVIEW_NS: Final = SECOND_NS
"""How often the hour's rate, closures and quotas are looked at."""
LEASE_S: Final = 2
POLL_S: Final = 0.01

log = structlog.get_logger("send")


class Bind(Protocol):
    """What an account needs of each of its binds (flow/send.py)."""

    link: Link

    @property
    def backlog(self) -> int: ...
    def held_jobs(self) -> Iterable[Job]: ...
    def release(self, chosen: Callable[[Message], bool]) -> None: ...
    def pump(self) -> None: ...


class Account:
    """Everything the binds of one carrier account share.

    `refused` is the live set of tokens that refused since the service started, `wants_urgent` those among them whose refusal leaves
    urgent warnings out; `used` what the account's quotas have lost already, `past` what the former service knew of its refusals;
    `may_write` tells at any moment whether parts may be written at all.
    """

    def __init__(
        self,
        card: CarrierCard,
        *,
        writer: Writer,
        gate: Gate,
        refused: set[bytes],
        wants_urgent: Container[bytes] = frozenset(),
        clock: Clock = SYSTEM,
        used: Usage = UNUSED,
        past: Past = UNBLEMISHED,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self.card = card
        self.writer = writer
        self.gate = gate
        self.refused = refused
        self._wants_urgent = wants_urgent
        self.clock = clock
        self.stopping = False
        self.limiter = Limiter(tps_now(card, clock.now()))
        self.limiter.hold(clock.monotonic_ns() + START_HOLD_NS)
        self._used = used
        self._leased_parts = 0
        """Parts under open leases: no more than these may still be added to what is used, whatever day it is then."""
        self._may_write = may_write
        self._has_quotas = card.parts_per_day is not None or card.parts_per_month is not None
        self._jobs: dict[int, Job] = {}
        self._asleep: dict[int, int] = {}
        self._halting: set[int] = set()
        self._halted: set[int] = set(past.halted)
        """Lanes that refusals stopped; that one of them comes again means that a person let the carrier go on."""
        self._watch = self._new_watch(past.suspect)
        self._full = full_queues(card.queue_full_percent)
        self._throttled_until_ns = 0
        self._closed = False
        self._exhausted = False
        self._review_at_ns = 0
        self._binds: deque[Bind] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0

    def add(self, bind: Bind) -> None:
        """Take one more bind of the account."""
        self._binds.append(bind)

    # -- what the service tells the account

    def assign(self, jobs: Mapping[int, Job]) -> None:
        """Replace the lanes that may be sent; messages not begun of any other lane are given back, and make way for urgent ones."""
        allowed = {} if self.stopping else {lane_id: job for lane_id, job in jobs.items() if lane_id not in self._halting}
        new = allowed.keys() - self._jobs.keys()
        if new:
            resumed = not self._halted.isdisjoint(new)
            if resumed:
                self._trust()
            self._watch = self._new_watch(self._watch.suspect)
            self._halted -= new
        self._jobs = allowed
        self._asleep.clear()
        self._set_rate()
        hurry = any(jobs[lane_id].urgent for lane_id in new)
        self._release(lambda message: not message.begun and (not self.may_send(message) or (hurry and not message.lease.job.urgent)))
        self.pump()

    def give_back(self, lane_ids: set[int]) -> None:
        """Give back what was not begun of these lanes."""
        self._release(lambda message: not message.begun and message.lease.lane_id in lane_ids)
        self.pump()

    def cut_short(self, lane_ids: set[int]) -> None:
        """Give back whatever is not written of these lanes, other parts of messages begun included."""
        self._release(lambda message: message.lease.lane_id in lane_ids)
        self.pump()

    def prepare_stop(self) -> None:
        """Take no more leases and give back what was not begun, while the links still take the rest of what was."""
        self.stopping = True
        self.assign({})

    def end(self) -> None:
        """Wake no more."""
        if self._timer:
            self._timer.cancel()

    @property
    def backlog(self) -> int:
        """Messages under open leases, outcomes not yet durable included (never more than two windows' worth on each bind)."""
        return sum(bind.backlog for bind in self._binds)

    @property
    def limit_tps(self) -> int | None:
        return self.limiter.tps

    @property
    def lease_parts(self) -> int:
        """How many parts one bind leases at once: a window, but no more than `LEASE_S` of its share of the rate.

        What is leased is what a crash leaves unknown, so at a low rate it must be little.
        """
        tps = self.limiter.tps
        return self.card.window if tps is None else min(self.card.window, max(1, LEASE_S * tps // max(1, len(self._binds))))

    @property
    def busy(self) -> bool:
        """Whether any lane may be sent."""
        return bool(self._jobs)

    async def cancel(self, smsc_id: str, source: str, destination: str) -> int | None:
        """Ask the carrier to drop a message that it still holds (cancel_sm), within the account's rate.

        Returns the command status of its answer, None when there is none or no bind to ask on.
        """
        while any(bind.link.bound for bind in self._binds):
            now_ns = self.clock.monotonic_ns()
            if self._is_closed(now_ns):
                break
            link = next((bind.link for bind in self._binds if bind.link.room), None)
            if link is not None and self.permits(now_ns, 1):
                self.limiter.take(now_ns, 1)
                return await link.request_cancel(smsc_id, source, destination)
            await asyncio.sleep(POLL_S)
        return None

    # -- what a bind asks

    def may_send(self, message: Message) -> bool:
        """Tell whether the message's lane may be sent now."""
        return message.lease.lane_id in self._jobs

    def still_wants(self, message: Message) -> bool:
        """Tell whether a subscriber who refused meanwhile still takes this message, an urgent one."""
        return message.lease.job.urgent and message.token in self._wants_urgent

    def next_job(self, now_ns: int) -> Job | None:
        """Return the lane to lease from next: urgent ones first, then the oldest."""
        if self.stopping or self._is_closed(now_ns):
            return None
        awake = [job for job in self._jobs.values() if self._asleep.get(job.lane_id, 0) <= now_ns]
        return min(awake, key=lambda job: (not job.urgent, job.lane_id), default=None)

    def sleep(self, job: Job, delay_s: float) -> None:
        """Lease nothing of this lane for a while."""
        self._asleep[job.lane_id] = self.clock.monotonic_ns() + int(delay_s * SECOND_NS)

    def permits(self, now_ns: int, wanted: int) -> int:
        """Return how many parts, at most `wanted`, may be written now."""
        return 0 if self._is_closed(now_ns) or not self._may_write() else self.limiter.permits(now_ns, wanted)

    def next_ns(self, now_ns: int) -> int:
        """Return when permits are worth asking for again."""
        return self._review_at_ns if self._closed or not self._may_write() else self.limiter.next_ns(now_ns)

    def arm(self, delay_s: float) -> None:
        """Pump all binds after so long, or sooner."""
        due_s = self.clock.monotonic() + delay_s
        if self._timer is not None:
            if self._timer_due_s <= due_s:
                return
            self._timer.cancel()
        self._timer_due_s = due_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def pump(self) -> None:
        """Pump all binds, another one first each time, so that none takes every permit."""
        self._binds.rotate(-1)
        for bind in tuple(self._binds):
            bind.pump()

    def _ring(self) -> None:
        self._timer = None
        self.pump()

    def _release(self, chosen: Callable[[Message], bool]) -> None:
        for bind in self._binds:
            bind.release(chosen)

    # -- rate and terms

    def _set_rate(self) -> None:
        """Keep to the lowest of what the contract says of this hour and of the ceilings of everything under way."""
        under_way = (*self._jobs.values(), *(job for bind in self._binds for job in bind.held_jobs()))
        ceilings = (tps_now(self.card, self.clock.now()), *(job.tps for job in under_way))
        tps = min((tps for tps in ceilings if tps is not None), default=None)
        if tps != self.limiter.tps:
            self.limiter.change(self.clock.monotonic_ns(), tps)

    def _is_closed(self, now_ns: int) -> bool:
        if now_ns >= self._review_at_ns:
            self._review(now_ns)
        return self._closed

    def _review(self, now_ns: int) -> None:
        """Look at the terms of this hour; in closed hours nothing is written, and what was not begun is given back."""
        self._review_at_ns = now_ns + REVIEW_NS
        self._set_rate()
        until = closed_until(self.card, self.clock.now())
        if (until is not None) != self._closed:
            self._closed = until is not None
            log.info("carrier-closed" if until else "carrier-open", carrier=self.card.code)
            if until:
                self._release(lambda message: not message.begun)

    # -- quotas

    def quota_room(self, message_parts: int) -> int | None:
        """Return how many more parts the quotas let be leased now; None without quotas.

        Less than a message of so many parts takes is a quota used up, which is told; unless open leases may give some back.
        """
        if not self._has_quotas:
            return None
        used = self._today()
        exhausted = quota_used(self.card, used.today_parts, used.month_parts, message_parts) is not None
        if exhausted != self._exhausted:
            self._exhausted = exhausted
            say = log.warning if exhausted else log.info
            say("quota-used" if exhausted else "quota-open", carrier=self.card.code)
        used = used.plus(self._leased_parts)
        return quota_left(self.card, used.today_parts, used.month_parts)

    def charge(self, parts: int) -> None:
        """Count parts that are about to be leased, or with a minus those that are not leased after all."""
        self._leased_parts += parts

    def spend(self, charged: int, spent: int) -> None:
        """Count the end of a lease: of the parts charged for it, so many were or may have been accepted.

        They count on the day on which it ends: what was sent under it before midnight counts against the new day, too, until the next
        start reads the table.
        """
        self._leased_parts -= charged
        if self._has_quotas:
            self._used = self._today().plus(spent)

    def _today(self) -> Usage:
        self._used = self._used.on(usage.day_of(self.clock.now()))
        return self._used

    @property
    def counts(self) -> Callable[[Connection, Sequence[Outcome]], None] | None:
        """What makes the parts of a batch of outcomes count durably against the quotas; None where there are none."""
        return self._count if self._has_quotas else None

    def _count(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        usage.add(connection, self.card.code, [item.sent_ns for item in outcomes if item.state >= State.UNCERTAIN and item.sent_ns])

    # -- what the carrier's answers mean for the account

    def note_accepted(self, count: int) -> None:
        if count and self._watch.suspect is not None:
            self._trust()
        self._watch.note_accepted(count)
        self._full.note_others(count)

    def note_refused(self, status: int) -> None:
        self._watch.note(status)
        self._full.note_others(1)

    def note_queue_full(self) -> bool:
        """Count a full queue; True, and the account slowed, when they are so many that the whole gateway is full (F51)."""
        self._full.note()
        if self._full.too_many:
            self.throttled()
            return True
        return False

    def throttled(self) -> None:
        """Pause; the other parts of a window that are throttled as well only lengthen it, and say nothing new."""
        now_ns, pause_s = self.clock.monotonic_ns(), self.card.throttle_pause_s
        self.limiter.throttled(now_ns, pause_s)
        if now_ns >= self._throttled_until_ns:
            log.info("throttled", carrier=self.card.code, rate_tps=self.limiter.rate_tps(now_ns))
        self._throttled_until_ns = now_ns + int(pause_s * SECOND_NS)

    def excess(self) -> int | None:
        """Return the refusal code that exceeded its share, once; the watch begins anew, and that code stays suspect."""
        alarm = self._watch.alarm()
        if alarm is not None:
            self._watch = self._new_watch(alarm)
        return alarm

    def _trust(self) -> None:
        """Suspect no code any more; should this not be stored, the next start is more careful than it need be."""
        if self._watch.suspect is None:
            return
        self._watch.suspect = None

        def cleared(done: asyncio.Future[None]) -> None:
            if error := done.exception():
                log.warning("not-stored", carrier=self.card.code, error=type(error).__name__)

        self.writer.submit(lambda connection: clear_suspect(connection, self.card.code)).add_done_callback(cleared)

    def _new_watch(self, suspect: int | None) -> CodeWatch:
        card = self.card
        return CodeWatch(card.refused_first_percent, card.refused_recent_percent, card.invalid_recent_percent, suspect=suspect)

    def halt(self, reason: str, lane_ids: Iterable[int] | None = None) -> None:
        """Stop lanes, all when none is named, before they burn their audience (F53–F55); tried again until it is stored."""
        jobs = [self._jobs[lane_id] for lane_id in (self._jobs if lane_ids is None else lane_ids) if lane_id in self._jobs]
        if not jobs:
            return
        log.error("carrier-halted", carrier=self.card.code, reason=reason, lanes=len(jobs))
        halted_ids = {job.lane_id for job in jobs}
        self._halting |= halted_ids
        self._halted |= halted_ids
        self._jobs = {lane_id: job for lane_id, job in self._jobs.items() if lane_id not in halted_ids}
        self._release(lambda message: not message.begun and message.lease.lane_id in halted_ids)
        suspect = self._watch.suspect

        def halt(connection: Connection) -> None:
            if suspect is not None:
                put_suspect(connection, self.card.code, suspect)
            for job in jobs:
                change_lane(connection, job.lane_id, halted=reason)
                self.gate.auditor.record(connection, "carrier-halt", job.campaign, {"carrier": self.card.code, "reason": reason})

        def halted(done: asyncio.Future[None]) -> None:
            if error := done.exception():
                log.error("halt-not-stored", carrier=self.card.code, error=type(error).__name__)
                asyncio.get_running_loop().call_later(STORE_RETRY_S, store)
            else:
                self._halting -= halted_ids

        def store() -> None:
            self.writer.submit(halt).add_done_callback(halted)

        store()

    def now_ms(self) -> int:
        return to_ms(self.clock.now())

    def now(self) -> dt.datetime:
        return self.clock.now()
