"""Stage 5: leased messages go out over one bind, part by part, at the account's rate, and every part ends with a durable outcome.

A `Sender` lives on the event loop and has one bind of a carrier account; what the binds share is its `Account` (flow/account.py). It
holds at most two windows of open messages: it asks for the next lease while the last one is still under way, writes what window and
rate allow, and hands outcomes to the store's writer in batches. A message counts as open until its outcomes are durable. Once the
carrier has its first part the others follow on the same bind, in order (F64): half a warning is worse than none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from sqlalchemy import Connection

from broadcaster.errors import BroadcasterError
from broadcaster.flow.account import POLL_S, Account
from broadcaster.flow.lease import Denied
from broadcaster.flow.outcomes import STORE_RETRY_S, Outcomes
from broadcaster.flow.underway import Flight, Job, Lease, Link, Message, Ready
from broadcaster.model import State
from broadcaster.rules.retry import Breaker, Kind, Next, Waits, after
from broadcaster.rules.wire import part_reference, submit_templates
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.receipt import normal_id, own_spelling
from broadcaster.smpp.status import Verdict, describe, verdict
from broadcaster.smpp.submit import Submit
from broadcaster.store.messages import OTHER_REFUSED, Outcome

REBIND_HOLD_NS = 1_000_000_000
"""Nothing is written on a session of which the carrier says that it is not bound, until the link has closed it (F56)."""
IDLE_POLL_S = 1.0
STOP_TIMEOUT_S = 30.0
"""How long a stopping sender tries to store its last outcomes; what is not stored then is uncertain at the next start."""
UNCOUNTED_WAIT_S = 60
"""How long a message waits that a full gateway turned away, when its card names no waits (F51)."""
LINK_AT_FAULT = "link"
"""The `reason` of an attempt that a carrier did not take for a reason of its own: it counts as no try."""

_ACCEPTED = int(State.ACCEPTED)

log = structlog.get_logger("send")


class Sender:
    """Send an account's lanes over one of its binds."""

    def __init__(self, account: Account, link: Link) -> None:
        self.account = account
        self.card = account.card
        self.link = link
        self._refused = account.refused
        self._queue: deque[Message] = deque()
        self._leases: dict[int, Lease] = {}
        self._open = 0
        self._outcomes = Outcomes(
            self.card.code, account.writer, now_ms=account.now_ms, durable=self._on_durable, count=account.counts
        )
        self._leasing = False
        self._held_until_ns = 0
        self._waits = Waits(self.card.retry_after_s, self.card.queue_full_after_s)
        self._breaker = Breaker(self.card.temporary_recent_percent, self.card.retry_after_s)
        self._rest_s = 0
        self.sent = 0
        account.add(self)

    async def finish(self, limit_s: float) -> None:
        """Wait up to `limit_s` until the other parts of every message begun are written."""
        for _ in range(int(limit_s / POLL_S)):
            if not self._queue or not self.link.bound:
                return
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Give back what was not written and settle everything; the link must have been stopped before."""
        self.account.prepare_stop()
        self.release(lambda _message: True)
        for _ in range(int(STOP_TIMEOUT_S / POLL_S)):
            self._outcomes.settle()
            if not self._leasing and self._outcomes.settled:
                return
            await asyncio.sleep(POLL_S)
        log.error("not-settled", carrier=self.card.code, backlog=self._open)

    @property
    def backlog(self) -> int:
        """Messages under open leases, outcomes not yet durable included (never more than two windows' worth)."""
        return self._open

    def held_jobs(self) -> Iterator[Job]:
        """Yield the lanes of the open leases, as they were when these were given."""
        return (lease.job for lease in self._leases.values())

    # -- leasing

    def _hand_over(self) -> None:
        """Hand outcomes to the store and, in the same transaction, ask for the next lease.

        What the outcomes end makes room for that lease, and both are durable at once: the wire need not wait for one commit before
        another is asked for, and at no commit are more than two windows open.
        """
        if self._outcomes.busy:
            return
        wish = self._next_lease()
        if wish is None:
            self._outcomes.settle()
            return
        job, size = wish
        charged = size * job.parts
        self._leasing = True
        self.account.charge(charged)
        self._outcomes.settle(lambda connection: self._take(connection, job, size), lambda found: self._leased(job, charged, found))

    def _next_lease(self) -> tuple[Job, int] | None:
        """Return the lane to lease from and how many messages, None when nothing is to be leased now."""
        now_ns = self.account.clock.monotonic_ns()
        if not self.link.bound or now_ns < self._held_until_ns:
            return None
        job = self.account.next_job(now_ns)
        if job is None:
            return None
        size = max(1, self.account.lease_parts // job.parts)
        if self._open - self._outcomes.ended > size:
            return None
        room = self.account.quota_room(job.parts)
        if room is not None:
            size = min(size, room // job.parts)
        return (job, size) if size > 0 else None

    def _take(self, connection: Connection, job: Job, size: int) -> Ready | Denied:
        """Lease, and prepare the parts, in one transaction (on the writer's thread): what cannot be written is not leased."""
        now = self.account.clock.now()
        grant = self.account.gate.take(connection, job.campaign, job.lane_id, size, now)
        if isinstance(grant, Denied):
            return grant
        templates = submit_templates(
            grant.text,
            self.card,
            sender=grant.sender,
            campaign=grant.campaign_id,
            valid_minutes=grant.valid_minutes,
            at=now,
            receipted=grant.receipt_part,
        )
        if len(templates) != grant.parts:
            raise LocalProtocolError(f"the carrier card makes {len(templates)} parts of the text, {grant.parts} were signed")
        if grant.parts == 1:
            return Ready(grant, templates, [None] * len(grant.messages))
        return Ready(grant, templates, [part_reference(leased.token, grant.campaign_id, self.card) for leased in grant.messages])

    def _leased(self, job: Job, charged: int, found: Ready | Denied | Exception) -> None:
        self._leasing = False
        if isinstance(found, Exception):
            self.account.charge(-charged)
            self._not_leased(job, found)
            return
        if isinstance(found, Denied):
            self.account.charge(-charged)
            if found is Denied.NOT_APPROVED:
                log.error("not-approved", carrier=self.card.code, campaign=job.campaign)
            self.account.sleep(job, IDLE_POLL_S)
        else:
            lease = Lease(found, job)
            self.account.charge(lease.charged - charged)
            self._accept(found, lease)
            self.release(lambda message: not message.begun and not self.account.may_send(message))
        self.pump()

    def _not_leased(self, job: Job, error: BaseException) -> None:
        log.error("lease-failed", carrier=self.card.code, campaign=job.campaign, error=type(error).__name__, reason=str(error))
        if isinstance(error, BroadcasterError):
            self.account.sleep(job, STORE_RETRY_S)
        else:
            self.account.halt(str(error), [job.lane_id])
        self.pump()

    def _accept(self, ready: Ready, lease: Lease) -> None:
        if not lease.open:
            self._outcomes.close(lease.id)
            return
        self._leases[lease.id] = lease
        self._open += lease.open
        grant = ready.grant
        for leased, number, reference in zip(grant.messages, grant.numbers, ready.references, strict=True):
            message = Message(leased, number, reference, lease)
            if leased.refuses and message.may_be_refused():
                self._suppress(message)
            elif message.todo:
                self._queue.append(message)
            else:
                self._end(message, self.account.now_ms())

    # -- writing

    def pump(self) -> None:
        """Write what window, rate and last-moment checks allow; ask for the next lease; hand outcomes over."""
        account = self.account
        self._expire()
        if not self.link.bound:
            self.release(lambda message: not message.begun)
        # Ahead of the writing, so that the store works while the wire does; behind it again, for what was suppressed there.
        self._hand_over()
        now_ns = account.clock.monotonic_ns()
        if self._queue and (room := self.link.room) and now_ns >= self._held_until_ns:
            permits = account.permits(now_ns, room)
            if permits and (written := self._write(permits)):
                self.sent += written
                self.link.flush()
                # Counted from after the write: no second of the wire's own clock then holds more than were permitted.
                account.limiter.take(account.clock.monotonic_ns(), written)
        self._hand_over()
        if self._queue and self.link.room:
            account.arm(max(0.001, (max(account.next_ns(now_ns), self._held_until_ns) - now_ns) / 1e9))
        elif self._queue or account.busy:
            account.arm(IDLE_POLL_S)

    def _expire(self) -> None:
        """Give back what a lease did not get written in its time, begun or not: its window, validity or deadline may be over."""
        if not self._queue:
            return
        now_ms = self.account.now_ms()
        if any(lease.until_ms <= now_ms for lease in self._leases.values()):
            self.release(lambda message: message.lease.until_ms <= now_ms)

    def _write(self, permits: int) -> int:
        queue, refused, tagged = self._queue, self._refused, self.card.user_message_reference
        sent_ns = self.account.now_ms() * 1_000_000
        parts: list[Submit] = []
        while len(parts) < permits and queue:
            message = queue[0]
            if message.token in refused and message.may_be_refused() and not self.account.still_wants(message):
                queue.popleft()
                self._suppress(message)
                continue
            part, attempt = message.todo.popleft()
            message.open_parts += 1
            if not message.todo:
                queue.popleft()
            reference = (message.id + part) & 0xFFFF if tagged else None
            # A named tuple's own constructor takes twice as long.
            flight = tuple.__new__(Flight, (message, part, attempt, sent_ns))
            parts.append((message.lease.templates[part - 1], message.destination, flight, reference, message.reference))
        self.link.submit_all(parts)
        return len(parts)

    # -- answers

    def on_answer(self, answers: list[tuple[Any, int, str | None]]) -> None:
        """Take what the carrier answered: (flight, command status, message id)."""
        now_ms = self.account.now_ms()
        account, code, form = self.account, self.card.code, self.card.ids.response
        note = self._outcomes.note
        accepted = 0
        new = tuple.__new__
        again: list[Message] = []
        for flight, status, smsc_id in answers:
            message, part, attempt, sent_ns = flight
            message.open_parts -= 1
            if status == 0:
                accepted += 1
                message.taken = True
                lease = message.lease
                lease.spent += 1
                found = normal_id(smsc_id, form) if smsc_id else None  # type: ignore[arg-type]
                # A named tuple's own constructor takes twice as long.
                raw = None if found == smsc_id else own_spelling(smsc_id, found)
                fields = (message.id, part, attempt, lease.id, code, _ACCEPTED, 0, found, sent_ns, now_ms, None, raw)
                note(new(Outcome, fields))
            else:
                self._note_accepted(accepted)
                accepted = 0
                if self._judge(flight, status, now_ms):
                    again.append(message)
            if not message.open_parts and not message.todo:
                self._end(message, now_ms)
        self._note_accepted(accepted)
        self._queue.extendleft(message for message in reversed(again) if message.todo)
        if again:
            self.release(lambda message: not message.begun and not account.may_send(message))
        if (alarm := account.excess()) is not None:
            account.halt(describe(alarm))
        if self._rest_s:
            self._rest()
        self.pump()

    def _judge(self, flight: Flight, status: int, now_ms: int) -> bool:
        """Note what a refusal means for the part and its message; True when the message must go back into the queue."""
        message = flight.message
        step = after(status, self.card.status_verdicts, message.tries + 1, self._waits, repeated=flight.attempt > 1)
        counted = self._weigh(status) and step.kind is not Kind.RETRY_LINK
        if not counted and step.kind is Kind.REFUSE:
            waits_s = self.card.queue_full_after_s
            step = Next(Kind.RETRY_LATER, waits_s[-1] if waits_s else UNCOUNTED_WAIT_S)
        state = {Kind.ACCEPT: State.ACCEPTED, Kind.REFUSE: State.REFUSED}.get(step.kind, State.RETRY)
        reason = None if counted else LINK_AT_FAULT
        self._note(message, flight.part, flight.attempt, state, now_ms=now_ms, status=status, sent_ns=flight.sent_ns, reason=reason)
        if step.halts:
            self.account.halt(describe(status))
        if state is State.ACCEPTED:
            message.taken = True
            message.lease.spent += 1
        elif step.kind is Kind.REFUSE:
            message.refused = True
            self._drop_rest(message, State.REFUSED, OTHER_REFUSED)
        elif step.kind is Kind.RETRY_LINK and not message.refused and self.account.may_send(message):
            return message.put_back(flight.part, flight.attempt + 1)
        else:
            message.later.append((flight.part, flight.attempt + 1))
            message.wait_s = max(message.wait_s, step.wait_s)
        return False

    def _note_accepted(self, count: int) -> None:
        self.account.note_accepted(count)
        self._breaker.note_others(count, accepted=True)

    def _weigh(self, status: int) -> bool:
        """Tell the account of a refusal; False when it is the link's or the whole gateway's, and no try of the message."""
        account = self.account
        match verdict(status, self.card.status_verdicts):
            case Verdict.THROTTLED:
                account.throttled()
                return False
            case Verdict.REBIND:
                self._held_until_ns = account.clock.monotonic_ns() + REBIND_HOLD_NS
                return False
            case Verdict.QUEUE_FULL:
                return not account.note_queue_full()
            case Verdict.DUPLICATE | Verdict.ACCEPTED:
                return True
            case Verdict.TEMPORARY:
                account.note_refused(status)
                self._rest_s = self._breaker.note_trouble() or self._rest_s
                return True
            case _:
                account.note_refused(status)
                self._breaker.note_others(1, accepted=False)
                return True

    def _rest(self) -> None:
        """Write nothing on this bind for a while, and leave what was not begun to the others (F52)."""
        log.warning("bind-rests", carrier=self.card.code, seconds=self._rest_s)
        self._held_until_ns = self.account.clock.monotonic_ns() + self._rest_s * 1_000_000_000
        self._rest_s = 0
        self.release(lambda message: not message.begun)

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
        now_ms = self.account.now_ms()
        log.warning("uncertain", carrier=self.card.code, parts=len(flights), reason=reason)
        for flight in flights:
            message = flight.message
            message.open_parts -= 1
            message.taken = True
            message.lease.spent += 1
            self._note(
                message, flight.part, flight.attempt, State.UNCERTAIN, now_ms=now_ms, sent_ns=flight.sent_ns, reason="no answer"
            )
            if not message.open_parts and not message.todo:
                self._end(message, now_ms)
        self.pump()

    def on_late(self, answers: list[tuple[Any, int, str | None]]) -> None:
        """Take answers to parts that were given up as unanswered: what became of them is known after all (F39)."""
        now_ms, form = self.account.now_ms(), self.card.ids.response
        log.info("late-answers", carrier=self.card.code, parts=len(answers))
        for flight, status, smsc_id in answers:
            found = normal_id(smsc_id, form) if smsc_id else None  # type: ignore[arg-type]
            step = after(status, self.card.status_verdicts, 1, self._waits, repeated=flight.attempt > 1)
            state = State.ACCEPTED if step.kind is Kind.ACCEPT else State.REFUSED
            self._outcomes.resolve(
                Outcome(
                    flight.message.id,
                    flight.part,
                    flight.attempt,
                    flight.message.lease.id,
                    self.card.code,
                    int(state),
                    status,
                    found,
                    flight.sent_ns,
                    now_ms,
                    None,
                    own_spelling(smsc_id, found),
                )
            )
        self._hand_over()

    # -- ends

    def _drop_rest(self, message: Message, state: State, reason: str) -> None:
        """Give the parts not yet written an outcome without writing them."""
        if not message.todo:
            return
        now_ms = self.account.now_ms()
        for part, attempt in message.todo:
            self._note(message, part, attempt, state, now_ms=now_ms, reason=reason)
            if state is State.RETRY:
                message.later.append((part, attempt + 1))
        message.todo.clear()
        if message in self._queue:
            self._queue.remove(message)

    def _suppress(self, message: Message) -> None:
        self._drop_rest(message, State.SUPPRESSED, "opt-out")
        self._end(message, self.account.now_ms())

    def release(self, chosen: Callable[[Message], bool]) -> None:
        """Give chosen messages back; what was not written of them goes into a later lease."""
        released = [message for message in self._queue if chosen(message)]
        if not released:
            return
        gone = set(map(id, released))
        self._queue = deque(message for message in self._queue if id(message) not in gone)
        for message in released:
            self._drop_rest(message, State.RETRY, "released")
            if not message.open_parts:
                self._end(message, self.account.now_ms())

    def _end(self, message: Message, now_ms: int) -> None:
        """All parts of this try have an outcome: the message leaves its lease."""
        not_before_ms = None
        if message.refused:
            for part, attempt in message.later:
                self._note(message, part, attempt, State.REFUSED, now_ms=now_ms, reason=OTHER_REFUSED)
        elif message.later:
            not_before_ms = now_ms + message.wait_s * 1000
        self._outcomes.end(message.id, not_before_ms=not_before_ms)
        lease = message.lease
        lease.open -= 1
        if not lease.open:
            self._outcomes.close(lease.id)
            del self._leases[lease.id]
            self.account.spend(lease.charged, lease.spent)

    def _on_durable(self, ended: int) -> None:
        self._open -= ended
        if not self._leasing:
            self.pump()
