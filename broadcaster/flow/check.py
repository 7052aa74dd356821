"""Try one carrier's connection before it is relied on: connect, bind, enquire, send the signed test texts, wait for their receipts.

One connection, tried once: whatever goes wrong is the finding. While the check is bound the carrier may also deliver what belongs to
the service, receipts of campaigns and subscribers' refusals. Those are answered with a temporary error, so that the carrier keeps
them; only receipts of our own test texts are acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broadcaster.flow.check_gate import Errand
from broadcaster.lang import Said
from broadcaster.link.backoff import Ending
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.link.pump import Pump
from broadcaster.model import CarrierCard, Msisdn
from broadcaster.rules.dialect import FINAL_STATES, SeenReceipt, every_form
from broadcaster.rules.numbers import mask
from broadcaster.rules.throttle import Limiter
from broadcaster.rules.wire import submit_templates
from broadcaster.smpp import DataSm, EnquireLink, Event, Quarantined, Responded, SubmitTemplate, Tag
from broadcaster.smpp.fields import tlv_text
from broadcaster.smpp.receipt import classify, parse_receipt

ENQUIRIES: Final = 3
GENTLE_TPS: Final = 5
"""The test texts themselves go out no faster than this, whatever the contract allows."""
START_HOLD_NS: Final = 1_001_000_000
"""No text sooner after the start: whoever sent before may have used up this second's rate."""
VALID_MINUTES: Final = 60
POLL_S: Final = 0.01
MOST_OPENING_S: Final = 60.0
"""More than the client takes to give up on connecting and binding."""

_TRY_AGAIN: Final = 0x64
"""RX_T_APPN: the carrier keeps the message and delivers it later."""
_RECEIPT_BITS: Final = 0x3C


class NotAnsweredError(Exception):
    """The connection ended, or time ran out, before an enquire_link was answered."""


@dataclass(slots=True, eq=False)
class _Enquiry:
    answered: asyncio.Future[float]
    asked_s: float


class Probe(Client):
    """The link client as the service uses it, but tried once: enquire_links are timed, and how it ended is kept."""

    ending: tuple[Ending, Said] | None = None
    bind_status: int | None = None

    async def enquire(self, timeout_s: float) -> float:
        """Exchange one enquire_link and return the seconds it took. Raises `NotAnsweredError`."""
        pump = self._pump
        if pump is None or not self.bound:
            raise NotAnsweredError
        enquiry = _Enquiry(asyncio.get_running_loop().create_future(), self._clock())
        pump.session.request(EnquireLink(), enquiry, enquiry.asked_s)
        pump.flush()
        try:
            return await asyncio.wait_for(enquiry.answered, timeout_s)
        except TimeoutError:
            raise NotAnsweredError from None

    async def _live_once(self) -> tuple[Ending, Said]:
        self.ending = await super()._live_once()
        self.bind_status = self._bind_status
        self._stop_asked.set()
        return self.ending

    def _on_session_event(self, pump: Pump, event: Event) -> None:
        if isinstance(event, Responded) and isinstance(event.context, _Enquiry):
            if not event.context.answered.done():
                event.context.answered.set_result(self._clock() - event.context.asked_s)
        else:
            super()._on_session_event(pump, event)


@dataclass(slots=True, eq=False)
class SentPart:
    """One part of a test text, and what the carrier said to it."""

    text: str
    part: int
    parts: int
    number: Msisdn
    step_tps: int | None
    """The rate that was being tried; None for the test texts themselves."""
    sent_s: float = 0.0
    answered_s: float | None = None
    status: int | None = None
    smsc_id: str | None = None

    def __repr__(self) -> str:
        return f"SentPart({self.text} {self.part}/{self.parts} to {mask(self.number)}, status={self.status})"

    @property
    def accepted(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the check could not go on."""

    stage: str
    """``connect``, ``bind``, ``enquire``, ``send`` or ``link``."""
    reason: Said
    bind_status: int | None = None


@dataclass(slots=True)
class Seen:
    """Everything one check saw; times are seconds of one clock."""

    peer: str | None = None
    """The name the carrier gave itself; None when it never bound."""
    failure: Failure | None = None
    enquiries_s: list[float] = field(default_factory=list)
    parts: list[SentPart] = field(default_factory=list)
    receipts: list[SeenReceipt] = field(default_factory=list)
    strangers: list[SeenReceipt] = field(default_factory=list)
    """Receipts from our test numbers whose ids belong to none of our texts under any rule."""
    left_alone: int = 0
    """Receipts and messages that are not ours and were left with the carrier, each counted once."""
    unreadable: int = 0
    """Receipts of which no id could be read."""

    def ids(self) -> list[str]:
        """Return the ids the carrier gave to the parts it took."""
        return [part.smsc_id for part in self.parts if part.accepted and part.smsc_id]


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
        self._reserve = reserve
        self._wait_s = wait_s
        self._tell = tell
        self._clock = clock
        self._contract = Limiter(self._card.tps)
        self._held: list[Inbound] = []
        self._leaving = False
        self._left: set[tuple[object, ...]] = set()
        self._step_refused = False
        self._known: set[str] = set()
        self._done: set[str] = set()
        self.seen = Seen()
        self._client = Probe(
            self._card,
            on_answer=self._on_answer,
            on_unanswered=self._on_unanswered,
            on_inbound=self._on_inbound,
            on_state=self._on_state,
            clock=clock,
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
        try:
            for _ in range(ENQUIRIES):
                self.seen.enquiries_s.append(await self._client.enquire(self._card.response_timeout_s))
        except NotAnsweredError:
            if self._client.bound:
                self.seen.failure = self._silence("enquire", "enquire_link")
            return
        reference = await asyncio.to_thread(self._reserve)
        self._tell(Said(vi="Đang gửi tin thử…", en="Sending the test texts…"))
        await self._send(self._texts(reference), min(GENTLE_TPS, self._card.tps or GENTLE_TPS))
        if all(part.accepted for part in self.seen.parts):
            await self._climb(reference)
        self._tell(Said(vi="Đang chờ biên nhận…", en="Waiting for receipts…"))
        await self._receipts()

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
        return submit_templates(errand.texts[name], self._card, sender=errand.sender, campaign=reference, valid_minutes=VALID_MINUTES)

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
                    self._client.submit(template, str(part.number).encode(), part)
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

    def _on_unanswered(self, contexts: list[Any], _reason: str) -> None:
        for context in contexts:
            if isinstance(context, _Enquiry) and not context.answered.done():
                context.answered.set_exception(NotAnsweredError())

    # -- receipts

    async def _receipts(self) -> None:
        """Wait until every accepted part has its final receipt, or the time is over."""
        if self._card.receipt_means == "none":
            return
        await self._until(
            lambda: not self._client.bound or all(not every_form(one).isdisjoint(self._done) for one in self.seen.ids()), self._wait_s
        )

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
                self._client.acknowledge(inbound, _TRY_AGAIN)

    def _receipt_in(self, inbound: Inbound) -> SeenReceipt | None:
        body = inbound.body
        receipt = None if isinstance(body, Quarantined) or classify(body) != "receipt" else parse_receipt(body)
        if receipt is None or isinstance(body, Quarantined):
            return None
        tlv_id = tlv_text(body.tlvs, Tag.RECEIPTED_MESSAGE_ID)
        return SeenReceipt(receipt, tlv_id or None, bool(body.esm_class & _RECEIPT_BITS), isinstance(body, DataSm), self._clock())

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
        if isinstance(body, Quarantined) or (found is None and classify(body) == "receipt"):
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
            Said(
                vi=f"im lặng: không trả lời {what} trong {timeout_s:g} giây",
                en=f"silence: no answer to {what} within {timeout_s:g} s",
            ),
        )

    def _note_end(self) -> None:
        """Name why the connection ended before we ended it, or that the texts met silence."""
        seen, ending = self.seen, self._client.ending
        if seen.failure is not None:
            return
        if ending is not None:
            refused = self._client.bind_status is not None
            stage = "bind" if refused else "connect" if seen.peer is None else "link"
            seen.failure = Failure(stage, ending[1], self._client.bind_status)
        elif seen.parts and all(part.answered_s is None for part in seen.parts):
            seen.failure = self._silence("send", "submit_sm")
