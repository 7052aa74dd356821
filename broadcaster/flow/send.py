"""Stage 5: leased messages go to one carrier account, part by part, at its rate, and every part ends with a durable outcome.

A `Sender` lives on the event loop. It holds at most two windows of open messages: it asks for the next lease while the last one is
still under way, writes what window and rate allow, and hands outcomes to the store's writer in batches. A message counts as open
until its outcomes are durable. Once the carrier has its first part the others follow: half a warning is worse than none.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from broadcaster.errors import BroadcasterError
from broadcaster.flow.lease import Denied, Gate
from broadcaster.flow.outcomes import STORE_RETRY_S, Outcomes
from broadcaster.flow.underway import Flight, Job, Lease, Link, Message, Ready
from broadcaster.model import CarrierCard, State
from broadcaster.rules.retry import CodeWatch, Kind, after
from broadcaster.rules.throttle import Limiter
from broadcaster.rules.wire import submit_templates
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.receipt import normal_id
from broadcaster.smpp.status import Verdict, describe, verdict
from broadcaster.store.campaigns import change_lane
from broadcaster.store.messages import Outcome
from broadcaster.store.times import to_ms
from broadcaster.store.writer import Writer

START_HOLD_NS = 1_001_000_000
"""No part is written sooner after a start: the former process may have used up this second's rate."""
REBIND_HOLD_NS = 1_000_000_000
"""Nothing is written on a session of which the carrier says that it is not bound, until the link has closed it (F56)."""
IDLE_POLL_S = 1.0
POLL_S = 0.01
STOP_TIMEOUT_S = 30.0
"""How long a stopping sender tries to store its last outcomes; what is not stored then is uncertain at the next start."""

_ACCEPTED = int(State.ACCEPTED)

log = structlog.get_logger("send")


class Sender:
    """Send one carrier account's lanes. `refused` is the live set of tokens that refused since the service started."""

    def __init__(
        self,
        card: CarrierCard,
        link: Link,
        *,
        writer: Writer,
        gate: Gate,
        refused: set[bytes],
        now: Callable[[], dt.datetime],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.card = card
        self.link = link
        self._writer = writer
        self._gate = gate
        self._refused = refused
        self._now = now
        self._clock_ns = clock_ns
        self._tps = card.tps
        self._limiter = self._new_limiter()
        self._paused_until_ns = 0
        self._watch = CodeWatch()
        self._jobs: dict[int, Job] = {}
        self._asleep: dict[int, int] = {}
        self._halting: set[int] = set()
        self._queue: deque[Message] = deque()
        self._leases: dict[int, Lease] = {}
        self._open = 0
        self._outcomes = Outcomes(card.code, writer, now_ms=self._now_ms, durable=self._on_durable)
        self._leasing = False
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self.sent = 0

    def _now_ms(self) -> int:
        return to_ms(self._now())

    # -- what the service tells the sender

    def assign(self, jobs: Mapping[int, Job]) -> None:
        """Replace the lanes that may be sent; messages not begun of any other lane are given back."""
        if jobs.keys() - self._jobs.keys():
            self._watch = CodeWatch()
        self._jobs = {} if self._stopping else {lane_id: job for lane_id, job in jobs.items() if lane_id not in self._halting}
        self._asleep.clear()
        self._set_rate()
        self._release(lambda message: not message.begun and message.lease.lane_id not in self._jobs)
        self.pump()

    def _set_rate(self) -> None:
        tps = min((tps for tps in (self.card.tps, *(job.tps for job in self._jobs.values())) if tps is not None), default=None)
        if tps != self._tps:
            self._tps = tps
            self._limiter = self._new_limiter()

    def _new_limiter(self) -> Limiter:
        limiter = Limiter(self._tps)
        limiter.hold(self._clock_ns() + START_HOLD_NS)
        return limiter

    def give_back(self, lane_ids: set[int]) -> None:
        """Give back what was not begun of these lanes."""
        self._release(lambda message: not message.begun and message.lease.lane_id in lane_ids)
        self._outcomes.settle()

    def prepare_stop(self) -> None:
        """Take no more leases and give back what was not begun, while the link still takes the rest of what was."""
        self._stopping = True
        self.assign({})

    async def finish(self, limit_s: float) -> None:
        """Wait up to `limit_s` until the other parts of every message begun are written."""
        for _ in range(int(limit_s / POLL_S)):
            if not self._queue or not self.link.bound:
                return
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Give back what was not written and settle everything; the link must have been stopped before."""
        self._stopping, self._jobs = True, {}
        self._release(lambda _message: True)
        for _ in range(int(STOP_TIMEOUT_S / POLL_S)):
            self._outcomes.settle()
            if not self._leasing and self._outcomes.settled:
                break
            await asyncio.sleep(POLL_S)
        else:
            log.error("not-settled", carrier=self.card.code, backlog=self._open)
        if self._timer:
            self._timer.cancel()

    @property
    def backlog(self) -> int:
        """Messages under open leases, outcomes not yet durable included (never more than two windows' worth)."""
        return self._open

    @property
    def limit_tps(self) -> int | None:
        return self._tps

    # -- leasing

    def _lease_more(self) -> None:
        if self._stopping or self._leasing or not self.link.bound:
            return
        job = self._next_job()
        if job is None:
            return
        size = max(1, self.card.window // job.parts)
        if self._open > size:
            return
        self._leasing = True
        self._writer.submit(lambda connection: self._take(connection, job, size)).add_done_callback(
            lambda done: self._leased(job, done)
        )

    def _next_job(self) -> Job | None:
        now_ns = self._clock_ns()
        awake = [job for job in self._jobs.values() if self._asleep.get(job.lane_id, 0) <= now_ns]
        return min(awake, key=lambda job: (not job.urgent, job.lane_id), default=None)

    def _take(self, connection: Connection, job: Job, size: int) -> Ready | Denied:
        """Lease, and prepare the parts, in one transaction (on the writer's thread): what cannot be written is not leased."""
        grant = self._gate.take(connection, job.campaign, job.lane_id, size, self._now())
        if isinstance(grant, Denied):
            return grant
        templates = submit_templates(
            grant.text, self.card, sender=grant.sender, campaign=grant.campaign_id, valid_minutes=grant.valid_minutes
        )
        if len(templates) != grant.parts:
            raise LocalProtocolError(f"the carrier card makes {len(templates)} parts of the text, {grant.parts} were signed")
        return Ready(grant, templates)

    def _leased(self, job: Job, done: asyncio.Future[Ready | Denied]) -> None:
        self._leasing = False
        if error := done.exception():
            self._not_leased(job, error)
            return
        found = done.result()
        if isinstance(found, Denied):
            if found is Denied.NOT_APPROVED:
                log.error("not-approved", carrier=self.card.code, campaign=job.campaign)
            self._sleep(job, IDLE_POLL_S)
        else:
            self._accept(found)
            self._release(lambda message: not message.begun and message.lease.lane_id not in self._jobs)
        self.pump()

    def _not_leased(self, job: Job, error: BaseException) -> None:
        log.error("lease-failed", carrier=self.card.code, campaign=job.campaign, error=type(error).__name__, reason=str(error))
        if isinstance(error, BroadcasterError):
            self._sleep(job, STORE_RETRY_S)
        else:
            self._halt([job], str(error))
        self.pump()

    def _sleep(self, job: Job, delay_s: float) -> None:
        self._asleep[job.lane_id] = self._clock_ns() + int(delay_s * 1e9)

    def _accept(self, ready: Ready) -> None:
        lease = Lease(ready)
        if not lease.open:
            self._outcomes.close(lease.id)
            return
        self._leases[lease.id] = lease
        self._open += lease.open
        for leased, number in zip(ready.grant.messages, ready.grant.numbers, strict=True):
            message = Message(leased, number, lease)
            if leased.refuses and message.may_be_refused():
                self._suppress(message)
            elif message.todo:
                self._queue.append(message)
            else:
                self._end(message)

    # -- writing

    def pump(self) -> None:
        """Write what window, rate and last-moment checks allow; ask for the next lease; hand outcomes over."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._expire()
        now_ns = self._clock_ns()
        permits = self._limiter.permits(now_ns, self.link.room) if self._queue else 0
        if permits and (written := self._write(permits)):
            self.sent += written
            self.link.flush()
            # Counted from after the write: no second of the wire's own clock then holds more than were permitted.
            self._limiter.take(self._clock_ns(), written)
        self._lease_more()
        self._outcomes.settle()
        if self._queue and self.link.room:
            self._arm(max(0.001, (self._limiter.next_ns(now_ns) - now_ns) / 1e9))
        elif self._queue or self._jobs:
            self._arm(IDLE_POLL_S)

    def _expire(self) -> None:
        """Give back what a lease did not get written in its time, begun or not: its window, validity or deadline may be over."""
        if not self._queue:
            return
        now_ms = self._now_ms()
        if any(lease.until_ms <= now_ms for lease in self._leases.values()):
            self._release(lambda message: message.lease.until_ms <= now_ms)

    def _write(self, permits: int) -> int:
        queue, submit, refused = self._queue, self.link.submit, self._refused
        sent_ns = self._now_ms() * 1_000_000
        written = 0
        while written < permits and queue:
            message = queue[0]
            if message.token in refused and message.may_be_refused():
                queue.popleft()
                self._suppress(message)
                continue
            part, attempt = message.todo.popleft()
            message.open_parts += 1
            if not message.todo:
                queue.popleft()
            submit(message.lease.templates[part - 1], message.destination, Flight(message, part, attempt, sent_ns))
            written += 1
        return written

    def _arm(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.pump)

    # -- answers

    def on_answer(self, answers: list[tuple[Any, int, str | None]]) -> None:
        """Take what the carrier answered: (flight, command status, message id)."""
        now_ms = self._now_ms()
        code, form = self.card.code, self.card.ids.response
        note, watch = self._outcomes.note, self._watch
        again: list[Message] = []
        for flight, status, smsc_id in answers:
            message = flight.message
            message.open_parts -= 1
            if status == 0:
                message.taken = True
                found = normal_id(smsc_id, form) if smsc_id else None  # type: ignore[arg-type]
                lease_id = message.lease.id
                note(
                    Outcome(
                        message.id, flight.part, flight.attempt, lease_id, code, _ACCEPTED, 0, found, flight.sent_ns, now_ms, None
                    )
                )
                watch.note(0)
            elif self._judge(flight, status, now_ms):
                again.append(message)
            if not message.open_parts and not message.todo:
                self._end(message)
        self._queue.extendleft(message for message in reversed(again) if message.todo)
        if again:
            self._release(lambda message: not message.begun and message.lease.lane_id not in self._jobs)
        if (alarm := watch.alarm()) is not None:
            self._watch = CodeWatch()
            self._halt(list(self._jobs.values()), describe(alarm))
        self.pump()

    def _judge(self, flight: Flight, status: int, now_ms: int) -> bool:
        """Note what a refusal means for the part and its message; True when the message must go back into the queue."""
        message = flight.message
        meaning = verdict(status, self.card.status_verdicts)
        step = after(meaning.value, message.tries + 1, self.card.retry_after_s)
        state = {Kind.ACCEPT: State.ACCEPTED, Kind.REFUSE: State.REFUSED}.get(step.kind, State.RETRY)
        self._note(message, flight.part, flight.attempt, state, now_ms=now_ms, status=status, sent_ns=flight.sent_ns)
        if meaning is Verdict.THROTTLED:
            self._throttled(self._clock_ns())
        elif meaning is Verdict.REBIND:
            self._limiter.hold(self._clock_ns() + REBIND_HOLD_NS)
        elif state is not State.ACCEPTED:
            self._watch.note(status)
        if state is State.ACCEPTED:
            message.taken = True
        elif step.kind is Kind.REFUSE:
            message.refused = True
            self._drop_rest(message, State.REFUSED, "other part refused")
        elif step.kind is Kind.RETRY_LINK and not message.refused:
            return message.put_back(flight.part, flight.attempt + 1)
        else:
            message.later.append((flight.part, flight.attempt + 1))
            message.wait_s = max(message.wait_s, step.wait_s)
        return False

    def _throttled(self, now_ns: int) -> None:
        """Pause; the other parts of a window that are throttled as well only lengthen it, and say nothing new."""
        self._limiter.throttled(now_ns, self.card.throttle_pause_s)
        if now_ns >= self._paused_until_ns:
            log.info("throttled", carrier=self.card.code, rate_tps=self._limiter.rate_tps(now_ns))
        self._paused_until_ns = now_ns + int(self.card.throttle_pause_s * 1e9)

    def _note(
        self,
        message: Message,
        part: int,
        attempt: int,
        state: State,
        *,
        now_ms: int,
        status: int | None = None,
        sent_ns: int | None = None,
        reason: str | None = None,
    ) -> None:
        lease_id, code = message.lease.id, self.card.code
        self._outcomes.note(Outcome(message.id, part, attempt, lease_id, code, int(state), status, None, sent_ns, now_ms, reason))

    def on_unanswered(self, flights: list[Any], reason: str) -> None:
        """Take the parts that were perhaps written and whose answer will not come any more: nobody can know what became of them."""
        now_ms = self._now_ms()
        log.warning("uncertain", carrier=self.card.code, parts=len(flights), reason=reason)
        for flight in flights:
            message = flight.message
            message.open_parts -= 1
            message.taken = True
            self._note(
                message, flight.part, flight.attempt, State.UNCERTAIN, now_ms=now_ms, sent_ns=flight.sent_ns, reason="no answer"
            )
            if not message.open_parts and not message.todo:
                self._end(message)
        self.pump()

    # -- ends

    def _drop_rest(self, message: Message, state: State, reason: str) -> None:
        """Give the parts not yet written an outcome without writing them."""
        if not message.todo:
            return
        now_ms = self._now_ms()
        for part, attempt in message.todo:
            self._note(message, part, attempt, state, now_ms=now_ms, reason=reason)
            if state is State.RETRY:
                message.later.append((part, attempt + 1))
        message.todo.clear()
        if message in self._queue:
            self._queue.remove(message)

    def _suppress(self, message: Message) -> None:
        self._drop_rest(message, State.SUPPRESSED, "opt-out")
        self._end(message)

    def _release(self, chosen: Callable[[Message], bool]) -> None:
        """Give chosen messages back; what was not written of them goes into a later lease."""
        released = [message for message in self._queue if chosen(message)]
        if not released:
            return
        gone = set(map(id, released))
        self._queue = deque(message for message in self._queue if id(message) not in gone)
        for message in released:
            self._drop_rest(message, State.RETRY, "released")
            if not message.open_parts:
                self._end(message)

    def _end(self, message: Message) -> None:
        """All parts of this try have an outcome: the message leaves its lease."""
        now_ms = self._now_ms()
        not_before_ms = None
        if message.refused:
            for part, attempt in message.later:
                self._note(message, part, attempt, State.REFUSED, now_ms=now_ms, reason="other part refused")
        elif message.later:
            not_before_ms = now_ms + message.wait_s * 1000
        self._outcomes.end(message.id, not_before_ms=not_before_ms)
        message.lease.open -= 1
        if not message.lease.open:
            self._outcomes.close(message.lease.id)
            del self._leases[message.lease.id]

    def _on_durable(self, ended: int) -> None:
        self._open -= ended
        self.pump()

    def _halt(self, jobs: list[Job], reason: str) -> None:
        """Stop lanes before they burn their audience (docs/delivery.md F53, F55); tried again until it is stored."""
        if not jobs:
            return
        log.error("carrier-halted", carrier=self.card.code, reason=reason, lanes=len(jobs))
        lane_ids = {job.lane_id for job in jobs}
        self._halting |= lane_ids
        self._jobs = {lane_id: job for lane_id, job in self._jobs.items() if lane_id not in lane_ids}
        self._release(lambda message: not message.begun and message.lease.lane_id in lane_ids)

        def halt(connection: Connection) -> None:
            for job in jobs:
                change_lane(connection, job.lane_id, halted=reason)
                self._gate.auditor.record(connection, "carrier-halt", job.campaign, {"carrier": self.card.code, "reason": reason})

        def halted(done: asyncio.Future[None]) -> None:
            if error := done.exception():
                log.error("halt-not-stored", carrier=self.card.code, error=type(error).__name__)
                asyncio.get_running_loop().call_later(STORE_RETRY_S, store)
            else:
                self._halting -= lane_ids

        def store() -> None:
            self._writer.submit(halt).add_done_callback(halted)

        store()
