"""Try one carrier's connection before it is relied on: connect, bind, enquire, send the signed test texts, wait for their receipts.

One connection, tried once: whatever goes wrong is the finding. While the check is bound the carrier may also deliver what belongs to
the service, receipts of campaigns and subscribers' refusals. Those are answered with a temporary error, so that the carrier keeps
them; only receipts of our own test texts are acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from broadcaster.flow.check_further import TRY_AGAIN, further_binds, further_hosts
from broadcaster.flow.check_gate import Errand
from broadcaster.flow.check_seen import Cause, Failure, Seen, SentPart, cause_of
from broadcaster.lang import Said
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.model import CarrierCard
from broadcaster.rules.dialect import FINAL_STATES, SeenReceipt, dialect_of, every_form
from broadcaster.rules.throttle import Limiter
from broadcaster.rules.wire import receipt_part, submit_templates
from broadcaster.smpp import DataSm, EnquireLink, Quarantined, SubmitTemplate, Tag
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import tlv_int, tlv_text
from broadcaster.smpp.receipt import classify, parse_receipt
from broadcaster.smpp.status import Verdict, verdict

ENQUIRIES: Final = 3
GENTLE_TPS: Final = 5
"""The test texts themselves go out no faster than this, whatever the contract allows."""
START_HOLD_NS: Final = 1_001_000_000
"""No text sooner after the start: whoever sent before may have used up this second's rate."""
VALID_MINUTES: Final = 60
LINGER_S: Final = 2.0
"""Once all receipts that the card promises are there, others may still come for so long (F11)."""
POLL_S: Final = 0.01
MOST_OPENING_S: Final = 60.0
"""More than the client takes to give up on connecting and binding."""

_RECEIPT_BITS: Final = 0x3C
_BUSY: Final = frozenset({Verdict.THROTTLED, Verdict.QUEUE_FULL, Verdict.TEMPORARY})


class Trial:
    """One check; `reserve` is called, off the loop, ahead of the first text and returns a number that no other check has."""

    def __init__(
        self,
        errand: Errand,
        *,
        reserve: Callable[[], int],
        wait_s: float,
        tell: Callable[[Said], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._errand = errand
        self._card: CarrierCard = errand.card
        self._dialect = dialect_of(errand.card)
        self._reserve = reserve
        self._wait_s = wait_s
        self._tell = tell
        self._clock = clock
        self._contract = Limiter(errand.tps)
        self._held: list[Inbound] = []
        self._leaving = False
        self._left: set[tuple[object, ...]] = set()
        self._step_refused = False
        self._concluded = False
        self._known: set[str] = set()
        self._done: set[str] = set()
        self.seen = Seen()
        self._client = Client(
            self._card,
            on_answer=self._on_answer,
            on_unanswered=lambda _parts, _reason: None,
            on_inbound=self._on_inbound,
            on_state=self._on_state,
            clock=clock,
            keep_trying=False,
        )

    async def run(self) -> Seen:
        """Do everything, unbind, and return what was seen; what `reserve` raises is raised once the session is unbound."""
        self._contract.hold(time.monotonic_ns() + START_HOLD_NS)
        self._tell(Said(vi=f"Đang kết nối {self._card.endpoint}…", en=f"Connecting to {self._card.endpoint}…"))
        running = asyncio.create_task(self._client.run())
        try:
            await self._until(lambda: running.done() or self._client.bound, MOST_OPENING_S)
            if self._client.bound:
                await self._stages()
            if not self._client.bound:
                await running
            self._note_end()
        finally:
            self._leaving = True
            self._judge_held()
            await self._client.stop(self._card.response_timeout_s)
            await running
        return self.seen

    async def _stages(self) -> None:
        self._tell(Said(vi="Đã đăng nhập; đang đo enquire_link…", en="Bound; timing enquire_link…"))
        if not await self._enquire():
            return
        reference = await asyncio.to_thread(self._reserve)
        self._tell(Said(vi="Đang gửi tin thử…", en="Sending the test texts…"))
        await self._send_texts(reference)
        if all(part.accepted for part in self.seen.parts):
            await self._climb(reference)
        self._tell(Said(vi="Đang chờ biên nhận…", en="Waiting for receipts…"))
        await self._receipts()
        if self._client.bound:
            self._note_end()
            await self._further()

    async def _enquire(self) -> bool:
        """Time a few enquire_links; False when one was not answered."""
        timeout_s = self._card.response_timeout_s
        for _ in range(ENQUIRIES):
            asked_s = self._clock()
            try:
                status = await asyncio.wait_for(self._client.request(EnquireLink()), timeout_s)
            except (TimeoutError, LocalProtocolError):
                status = None
            if status is None:
                if self._client.bound:
                    self.seen.failure = self._silence("enquire", "enquire_link")
                return False
            self.seen.enquiries_s.append(self._clock() - asked_s)
        return True

    async def _further(self) -> None:
        """Try what else the card promises; whatever becomes of it, the texts have been judged."""
        self._concluded = True
        seen, card = self.seen, self._card
        if card.binds > 1:
            self._tell(Said(vi="Đang mở thêm kết nối…", en="Opening further connections…"))
            seen.binds, seen.bind_refusal = await further_binds(card, self._clock)
        if card.alternates:
            self._tell(Said(vi="Đang thử các máy dự phòng…", en="Trying the alternate hosts…"))
            seen.hosts = await further_hosts(card, self._clock)
        taken = next((part for part in reversed(seen.parts) if part.accepted and part.smsc_id), None)
        if taken is not None and taken.smsc_id and self._client.bound:
            asked = self._client.request_cancel(taken.smsc_id, self._errand.sender, str(taken.number))
            with contextlib.suppress(TimeoutError, LocalProtocolError):
                seen.cancel_status = await asyncio.wait_for(asked, card.response_timeout_s)

    # -- sending

    def _texts(self, reference: int) -> list[tuple[SubmitTemplate, SentPart]]:
        """Return every part of every text for every number; no two long texts share their reference."""
        return [
            (template, SentPart(name, part, len(templates), number, None))
            for place, name in enumerate(self._errand.texts)
            for templates in [self._templates(name, reference * len(self._errand.texts) + place)]
            for number in self._card.test_numbers
            for part, template in enumerate(templates, 1)
        ]

    def _templates(self, name: str, reference: int) -> Sequence[SubmitTemplate]:
        errand = self._errand
        return submit_templates(
            errand.texts[name],
            # Which parts get receipts is to be found out, so one is asked for with each.
            replace(self._card, receipt_scope="all"),
            sender=errand.sender,
            campaign=reference,
            valid_minutes=VALID_MINUTES,
            at=dt.datetime.now(dt.UTC),
        )

    async def _send_texts(self, reference: int) -> None:
        """Send every test text; the first, when it is of one part, with a user_message_reference, and again without if refused."""
        jobs, tps = self._texts(reference), min(GENTLE_TPS, self._errand.tps or GENTLE_TPS)
        template, first = jobs[0]
        if first.parts == 1:
            first.reference = reference % (1 << 16)
            await self._send(jobs[:1], tps)
            if first.status:
                self.seen.parts.remove(first)
                jobs[0] = template, replace(first, reference=None, sent_s=0.0, answered_s=None, status=None)
            else:
                del jobs[0]
        await self._send(jobs, tps)
        if first.status and jobs[0][1].accepted and verdict(first.status, self._card.status_verdicts) not in _BUSY:
            self.seen.reference_refused = first.status

    async def _climb(self, reference: int) -> None:
        """Try the contract rate in steps that never exceed it; the first refusal ends the climb."""
        short = next((name for name in sorted(self._errand.texts, reverse=True) if name.endswith("-1")), None)
        if short is None:
            return
        (template,) = self._templates(short, reference)
        numbers = self._card.test_numbers
        for tps in self._errand.steps_tps:
            self._tell(Said(vi=f"Đang thử {tps} phần mỗi giây…", en=f"Trying {tps} parts a second…"))
            parts = [SentPart(short, 1, 1, numbers[at % len(numbers)], tps) for at in range(tps)]
            await self._send([(template, part) for part in parts], tps)
            if not self._client.bound or not all(part.accepted for part in parts):
                return

    async def _send(self, jobs: Sequence[tuple[SubmitTemplate, SentPart]], tps: int) -> None:
        """Send at no more than `tps` and never above the contract, and wait for every answer."""
        step, todo = Limiter(tps), deque(jobs)
        while todo and self._client.bound and not self._step_refused:
            now_ns = time.monotonic_ns()
            permits = min(self._contract.permits(now_ns, len(todo)), step.permits(now_ns, len(todo)), self._client.room)
            if permits:
                for _ in range(permits):
                    template, part = todo.popleft()
                    part.sent_s = self._clock()
                    self.seen.parts.append(part)
                    self._client.submit(template, str(part.number).encode(), part, part.reference)
                self._client.flush()
                written_ns = time.monotonic_ns()
                self._contract.take(written_ns, permits)
                step.take(written_ns, permits)
            else:
                wait_ns = max(self._contract.next_ns(now_ns), step.next_ns(now_ns)) - now_ns
                await asyncio.sleep(min(max(POLL_S / 10, wait_ns / 1e9), 1.0))
        # The session gives up on an answer after the card's time, so this limit is never what ends the wait.
        await self._until(lambda: not (self._client.bound and self._client.outstanding), 2 * self._card.response_timeout_s + 1)

    def _on_answer(self, answers: list[tuple[Any, int, str | None]]) -> None:
        now_s = self._clock()
        for part, status, smsc_id in answers:
            part.answered_s, part.status, part.smsc_id = now_s, status, smsc_id
            if status == 0 and smsc_id:
                self._known |= every_form(smsc_id)
            self._step_refused |= status != 0 and part.step_tps is not None
        self._judge_held()

    # -- receipts

    async def _receipts(self) -> None:
        """Wait until each part that the card promises a receipt has its final one, or time is over; then a little for the rest."""
        card = self._card
        if card.receipt_means == "none":
            return
        taken = [part for part in self.seen.parts if part.accepted and part.smsc_id]
        promised = [part for part in taken if receipt_part(card, part.parts) in (0, part.part)]
        await self._until(lambda: self._ended(promised), self._wait_s)
        await self._until(lambda: self._ended(taken), min(LINGER_S, self._wait_s))

    def _ended(self, parts: Sequence[SentPart]) -> bool:
        """Tell whether each of these has its final receipt, or none can come any more."""
        return not self._client.bound or all(not every_form(part.smsc_id or "").isdisjoint(self._done) for part in parts)

    async def _until(self, happened: Callable[[], bool], limit_s: float) -> None:
        """Wait until something is so, or for so long."""
        for _ in range(max(1, round(limit_s / POLL_S))):
            if happened():
                return
            await asyncio.sleep(POLL_S)

    def _on_inbound(self, inbounds: list[Inbound]) -> None:
        self._held += inbounds
        self._judge_held()

    def _judge_held(self) -> None:
        """Acknowledge receipts of ours; leave what is not ours with the carrier once no answer can make it ours any more."""
        held, self._held = self._held, []
        waiting = bool(self._client.outstanding) and not self._leaving
        for inbound in held:
            found = self._receipt_in(inbound)
            if found is not None and not every_form(found.receipt.message_id).isdisjoint(self._known):
                self.seen.receipts.append(found)
                if found.receipt.state in FINAL_STATES:
                    self._done |= every_form(found.receipt.message_id)
                self._client.acknowledge(inbound)
            elif waiting:
                self._held.append(inbound)
            else:
                self._note_left(inbound, found)
                self._client.acknowledge(inbound, TRY_AGAIN)

    def _receipt_in(self, inbound: Inbound) -> SeenReceipt | None:
        body = inbound.body
        if isinstance(body, Quarantined) or classify(body, self._dialect) != "receipt":
            return None
        receipt = parse_receipt(body, self._dialect)
        if receipt is None:
            return None
        tlv_id = tlv_text(body.tlvs, Tag.RECEIPTED_MESSAGE_ID)
        marked = bool(body.esm_class & _RECEIPT_BITS)
        reference = tlv_int(body.tlvs, Tag.USER_MESSAGE_REFERENCE)
        return SeenReceipt(receipt, tlv_id or None, marked, isinstance(body, DataSm), self._clock(), reference)

    def _note_left(self, inbound: Inbound, found: SeenReceipt | None) -> None:
        """Count what is left with the carrier; it comes again and again, so each is counted once."""
        body = inbound.body
        if isinstance(body, Quarantined):
            key: tuple[object, ...] = (body.raw,)
        else:
            key = (body.source, body.short_message, body.tlvs.get(Tag.RECEIPTED_MESSAGE_ID))
        if key in self._left:
            return
        self._left.add(key)
        self.seen.left_alone += 1
        if isinstance(body, Quarantined) or (found is None and classify(body, self._dialect) == "receipt"):
            self.seen.unreadable += 1
        elif found is not None and any(body.source.endswith(str(number)[2:]) for number in self._card.test_numbers):
            self.seen.strangers.append(found)

    # -- ends

    def _on_state(self, state: LinkState, reason: str) -> None:
        if state is LinkState.BOUND:
            self.seen.peer = reason

    def _silence(self, stage: str, what: str) -> Failure:
        timeout_s = self._card.response_timeout_s
        return Failure(
            stage,
            Cause.SILENT,
            Said(
                vi=f"im lặng: không trả lời {what} trong {timeout_s:g} giây",
                en=f"silence: no answer to {what} within {timeout_s:g} s",
            ),
        )

    def _note_end(self) -> None:
        """Name why the connection ended before we ended it, or that the texts met silence."""
        seen, client = self.seen, self._client
        if seen.failure is not None or self._concluded:
            return
        if client.ending is not None:
            ending, reason = client.ending
            stage = "bind" if client.bind_status is not None else "connect" if seen.peer is None else "link"
            seen.failure = Failure(stage, cause_of(ending, client.error), reason, client.bind_status)
        elif seen.parts and all(part.answered_s is None for part in seen.parts):
            seen.failure = self._silence("send", "submit_sm")
