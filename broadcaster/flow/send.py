"""Stage 5: leased messages go to one carrier account, part by part, at its rate, and every part ends with a durable outcome.

A `Sender` lives on the event loop. It holds at most two windows of open messages: it asks for the next lease while the last one is
still under way, writes what window and rate allow, and hands outcomes to the store's writer in batches. A message counts as open
until its outcomes are durable. Once its first part is written the others follow, whatever happens: half a warning is worse than none.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import structlog
from sqlalchemy import Connection

from broadcaster.errors import BroadcasterError
from broadcaster.flow.lease import Denied, Gate, Grant
from broadcaster.model import CarrierCard, State
from broadcaster.rules.retry import CodeWatch, Kind, after
from broadcaster.rules.throttle import Limiter
from broadcaster.rules.wire import submit_templates
from broadcaster.smpp.receipt import normal_id
from broadcaster.smpp.status import Verdict, describe, verdict
from broadcaster.smpp.submit import SubmitTemplate
from broadcaster.store import messages, receipts
from broadcaster.store.campaigns import change_lane
from broadcaster.store.messages import Outcome
from broadcaster.store.vault import Vault
from broadcaster.store.writer import Writer

START_HOLD_S = 1.001
"""No part is written sooner after a start: the former process may have used up this second's rate."""
IDLE_POLL_S = 1.0
STORE_RETRY_S = 1.0

log = structlog.get_logger("send")


class Link(Protocol):
    """What a sender needs of link.client.Client."""

    @property
    def bound(self) -> bool: ...
    @property
    def room(self) -> int: ...
    @property
    def outstanding(self) -> int: ...
    def submit(self, template: SubmitTemplate, destination: bytes, context: object, reference: int | None = None) -> None: ...
    def flush(self) -> None: ...


class Job(NamedTuple):
    """One lane that may be sent now."""

    lane_id: int
    campaign: str
    parts: int
    tps: int | None
    """The order's own ceiling for this carrier, if any."""
    urgent: bool


class _Lease:
    __slots__ = ("id", "lane_id", "open", "templates")

    def __init__(self, grant: Grant, templates: list[SubmitTemplate]) -> None:
        self.id = grant.lease_id
        self.lane_id = grant.lane_id
        self.templates = templates
        self.open = len(grant.messages)


class _Message:
    """One leased message under way.

    `todo` lists (part, attempt) not yet written, `later` those left for another lease, `open_parts` counts those written and
    unanswered.
    """

    __slots__ = ("begun", "destination", "id", "later", "lease", "open_parts", "refused", "todo", "token", "tries", "wait_s")

    def __init__(
        self, message_id: int, token: bytes, destination: bytes, todo: deque[tuple[int, int]], tries: int, lease: _Lease
    ) -> None:
        self.id = message_id
        self.token = token
        self.destination = destination
        self.todo = todo
        self.tries = tries
        self.lease = lease
        self.begun = False
        self.open_parts = 0
        self.refused = False
        self.later: list[tuple[int, int]] = []
        self.wait_s = 0


class _Flight(NamedTuple):
    message: _Message
    part: int
    attempt: int
    sent_ns: int


class Sender:
    """Send one carrier account's lanes. `refused` is the live set of tokens that refused since the service started."""

    def __init__(
        self,
        card: CarrierCard,
        link: Link,
        *,
        writer: Writer,
        vault: Vault,
        gate: Gate,
        refused: set[bytes],
        now: Callable[[], dt.datetime],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.card = card
        self.link = link
        self._writer = writer
        self._vault = vault
        self._gate = gate
        self._refused = refused
        self._now = now
        self._clock_ns = clock_ns
        self._limiter = Limiter(card.tps)
        self._limiter.hold(clock_ns() + int(START_HOLD_S * 1e9))
        self._tps = card.tps
        self._watch = CodeWatch()
        self._jobs: dict[int, Job] = {}
        self._asleep: dict[int, float] = {}
        self._queue: deque[_Message] = deque()
        self._leases: dict[int, _Lease] = {}
        self._open = 0
        self._unsettled = 0
        self._outcomes: list[Outcome] = []
        self._deferred: list[tuple[int, int]] = []
        self._closed: list[int] = []
        self._leasing = False
        self._settling = False
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self.sent = 0

    # -- what the service tells the sender

    def assign(self, jobs: Mapping[int, Job]) -> None:
        """Replace the lanes that may be sent; messages not begun of any other lane are given back."""
        if jobs.keys() - self._jobs.keys():
            self._watch = CodeWatch()
        self._jobs = dict(jobs)
        self._asleep.clear()
        self._set_rate()
        if any(not message.begun and message.lease.lane_id not in jobs for message in self._queue):
            self._release(lambda message: message.lease.lane_id not in jobs)
        self.pump()

    def _set_rate(self) -> None:
        ceilings = [tps for tps in (self.card.tps, *(job.tps for job in self._jobs.values())) if tps is not None]
        tps = min(ceilings, default=None)
        if tps != self._tps:
            self._tps = tps
            self._limiter = Limiter(tps)
            self._limiter.hold(self._clock_ns() + int(START_HOLD_S * 1e9))

    async def stop(self) -> None:
        """Take no more leases, give back what was not begun, and settle everything; the link must have been stopped before."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        self._release(lambda _message: True)
        while self._outcomes or self._closed or self._settling or self._leasing:
            self._settle()
            await asyncio.sleep(0.01)

    def give_back(self, lane_ids: set[int]) -> None:
        """Give back what was not begun of these lanes."""
        self._release(lambda message: not message.begun and message.lease.lane_id in lane_ids)
        self._settle()

    def prepare_stop(self) -> None:
        """Take no more leases and give back what was not begun, while the link still waits for answers."""
        self._stopping = True
        self._release(lambda message: not message.begun)

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
        now = self._now()
        future = self._writer.submit(lambda connection: self._gate.take(connection, job.campaign, job.lane_id, size, now))
        future.add_done_callback(lambda done: self._leased(job, done))

    def _next_job(self) -> Job | None:
        moment = self._clock_ns() / 1e9
        awake = [job for job in self._jobs.values() if self._asleep.get(job.lane_id, 0) <= moment]
        return min(awake, key=lambda job: (not job.urgent, job.lane_id), default=None)

    def _leased(self, job: Job, done: asyncio.Future[Grant | Denied]) -> None:
        self._leasing = False
        try:
            grant = done.result()
        except BroadcasterError as error:
            log.warning("lease-failed", carrier=self.card.code, campaign=job.campaign, error=type(error).__name__)
            self._asleep[job.lane_id] = self._clock_ns() / 1e9 + STORE_RETRY_S
            self._arm(STORE_RETRY_S)
            return
        if isinstance(grant, Denied):
            if grant is Denied.NOT_APPROVED:
                log.error("not-approved", carrier=self.card.code, campaign=job.campaign)
            self._asleep[job.lane_id] = self._clock_ns() / 1e9 + IDLE_POLL_S
        else:
            self._accept(grant)
        self.pump()

    def _accept(self, grant: Grant) -> None:
        templates = submit_templates(
            grant.text, self.card, sender=grant.sender, campaign=grant.campaign_id, valid_minutes=grant.valid_minutes
        )
        lease = _Lease(grant, templates)
        self._leases[lease.id] = lease
        self._open += lease.open
        numbers = self._vault.reveal([leased.token for leased in grant.messages])
        for leased, number in zip(grant.messages, numbers, strict=True):
            destination = str(number).encode()
            message = _Message(leased.id, leased.token, destination, deque(leased.parts), leased.tries, lease)
            if leased.refuses:
                self._end_unsent(message, State.SUPPRESSED, "opt-out")
            else:
                self._queue.append(message)

    # -- writing

    def pump(self) -> None:
        """Write what window, rate and last-moment checks allow; ask for the next lease; hand outcomes over."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now_ns = self._clock_ns()
        permits = self._limiter.permits(now_ns, self.link.room) if self._queue else 0
        if permits:
            written = self._write(permits)
            if written:
                self._limiter.take(now_ns, written)
                self.sent += written
                self.link.flush()
        self._lease_more()
        self._settle()
        if self._stopping:
            return
        if self._queue and self.link.room:
            self._arm(max(0.001, (self._limiter.next_ns(now_ns) - now_ns) / 1e9))
        elif self._jobs:
            self._arm(IDLE_POLL_S)

    def _write(self, permits: int) -> int:
        queue, submit, refused = self._queue, self.link.submit, self._refused
        sent_ns = time.time_ns()
        written = 0
        while written < permits and queue:
            message = queue[0]
            if not message.begun:
                if message.token in refused:
                    queue.popleft()
                    self._end_unsent(message, State.SUPPRESSED, "opt-out")
                    continue
                message.begun = True
            part, attempt = message.todo.popleft()
            message.open_parts += 1
            if not message.todo:
                queue.popleft()
            submit(message.lease.templates[part - 1], message.destination, _Flight(message, part, attempt, sent_ns))
            written += 1
        return written

    def _arm(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.pump)

    # -- answers

    def on_answer(self, answers: list[tuple[Any, int, str | None]]) -> None:
        """Take what the carrier answered: (flight, command status, message id)."""
        now_ms = time.time_ns() // 1_000_000
        code, form = self.card.code, self.card.ids.response
        append, watch = self._outcomes.append, self._watch
        for flight, status, smsc_id in answers:
            message = flight.message
            message.open_parts -= 1
            if status == 0:
                found = normal_id(smsc_id, form) if smsc_id else None  # type: ignore[arg-type]
                lease_id = message.lease.id
                append(Outcome(message.id, flight.part, flight.attempt, lease_id, code, 30, 0, found, flight.sent_ns, now_ms, None))
                watch.note(0)
            else:
                self._judge(flight, status, now_ms)
            if not message.open_parts and not message.todo:
                self._end(message)
        if watch.alarm() is not None:
            self._halt_lanes(watch.alarm() or 0)
        self.pump()

    def _judge(self, flight: _Flight, status: int, now_ms: int) -> None:
        message = flight.message
        meaning = verdict(status, self.card.status_verdicts)
        step = after(meaning.value, message.tries + 1, self.card.retry_after_s)
        state = {Kind.ACCEPT: State.ACCEPTED, Kind.REFUSE: State.REFUSED}.get(step.kind, State.RETRY)
        self._note(message, flight.part, flight.attempt, state, status=status, sent_ns=flight.sent_ns, now_ms=now_ms)
        if meaning is Verdict.THROTTLED:
            self._limiter.throttled(self._clock_ns(), self.card.throttle_pause_s)
            log.info("throttled", carrier=self.card.code, rate_tps=self._limiter.rate_tps(self._clock_ns()))
        else:
            self._watch.note(status)
        if step.kind is Kind.RETRY_LINK and not message.refused:
            message.todo.appendleft((flight.part, flight.attempt + 1))
            if len(message.todo) == 1:
                self._queue.appendleft(message)
        elif state is State.RETRY:
            message.later.append((flight.part, flight.attempt + 1))
            message.wait_s = max(message.wait_s, step.wait_s)
        elif step.kind is Kind.REFUSE:
            message.refused = True
            self._drop_rest(message, State.REFUSED, "other part refused")

    def _note(
        self,
        message: _Message,
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
        self._outcomes.append(Outcome(message.id, part, attempt, lease_id, code, int(state), status, None, sent_ns, now_ms, reason))

    def _drop_rest(self, message: _Message, state: State, reason: str) -> None:
        """Give the parts not yet written an outcome without writing them."""
        if not message.todo:
            return
        now_ms = time.time_ns() // 1_000_000
        for part, attempt in message.todo:
            self._note(message, part, attempt, state, now_ms=now_ms, reason=reason)
            if state is State.RETRY:
                message.later.append((part, attempt + 1))
        message.todo.clear()
        if message in self._queue:
            self._queue.remove(message)

    def on_unanswered(self, flights: list[Any], reason: str) -> None:
        """Take the parts that were perhaps written and whose answer will not come any more: nobody can know what became of them."""
        now_ms = time.time_ns() // 1_000_000
        log.warning("uncertain", carrier=self.card.code, parts=len(flights), reason=reason)
        for flight in flights:
            message = flight.message
            message.open_parts -= 1
            self._note(
                message, flight.part, flight.attempt, State.UNCERTAIN, now_ms=now_ms, sent_ns=flight.sent_ns, reason="no answer"
            )
            if not message.open_parts and not message.todo:
                self._end(message)
        self.pump()

    def _end(self, message: _Message) -> None:
        """All parts of this try have an outcome: the message leaves its lease."""
        now_ms = time.time_ns() // 1_000_000
        if message.refused:
            for part, attempt in message.later:
                self._note(message, part, attempt, State.REFUSED, now_ms=now_ms, reason="other part refused")
        elif message.later:
            self._deferred.append((now_ms + message.wait_s * 1000, message.id))
        self._unsettled += 1
        message.lease.open -= 1
        if not message.lease.open:
            self._closed.append(message.lease.id)
            del self._leases[message.lease.id]

    def _end_unsent(self, message: _Message, state: State, reason: str) -> None:
        self._drop_rest(message, state, reason)
        self._end(message)

    def _release(self, chosen: Callable[[_Message], bool]) -> None:
        """Give chosen messages back without writing; what is missing of them goes into a later lease."""
        kept: deque[_Message] = deque()
        released = [message for message in self._queue if chosen(message) and (self._stopping or not message.begun)]
        freed = set(map(id, released))
        kept.extend(message for message in self._queue if id(message) not in freed)
        self._queue = kept
        for message in released:
            self._drop_rest(message, State.RETRY, "released")
            if not message.open_parts:
                self._end(message)

    def _halt_lanes(self, status: int) -> None:
        """Too many refusals with one code: stop this carrier before it burns the audience (failures.md F53, F55)."""
        reason = describe(status)
        log.error("carrier-halted", carrier=self.card.code, reason=reason)
        halted, self._jobs, self._watch = list(self._jobs.values()), {}, CodeWatch()

        def halt(connection: Connection) -> None:
            for job in halted:
                change_lane(connection, job.lane_id, halted=reason)
                self._gate.auditor.record(connection, "carrier-halt", job.campaign, {"carrier": self.card.code, "reason": reason})

        self._writer.submit(halt).add_done_callback(_note_failure)
        self._release(lambda message: not message.begun)

    # -- outcomes

    def _settle(self) -> None:
        """Hand what has gathered to the writer, one batch at a time; keep it and try again if the store fails."""
        if self._settling or not (self._outcomes or self._closed):
            return
        outcomes, self._outcomes = self._outcomes, []
        deferred, self._deferred = self._deferred, []
        closed, self._closed = self._closed, []
        ended, self._unsettled = self._unsettled, 0
        now_ms = time.time_ns() // 1_000_000

        def settle(connection: Connection) -> None:
            messages.record_outcomes(connection, outcomes)
            messages.defer(connection, deferred)
            messages.close_leases(connection, closed, now_ms)
            receipts.match_waiting(connection)

        def settled(done: asyncio.Future[None]) -> None:
            self._settling = False
            if error := done.exception():
                log.error("outcomes-not-stored", carrier=self.card.code, error=type(error).__name__, parts=len(outcomes))
                self._outcomes = outcomes + self._outcomes
                self._deferred = deferred + self._deferred
                self._closed = closed + self._closed
                self._unsettled += ended
                self._arm(STORE_RETRY_S)
                return
            self._open -= ended
            self.pump()

        self._settling = True
        self._writer.submit(settle).add_done_callback(settled)


def _note_failure(done: asyncio.Future[None]) -> None:
    if error := done.exception():
        log.error("not-stored", error=type(error).__name__)
