"""A campaign that is approved and running, a link that answers as told, and a sender between them on a clock turned by hand."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, text

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.account import Account
from broadcaster.flow.lease import Gate
from broadcaster.flow.send import Sender
from broadcaster.flow.settle import Inbox
from broadcaster.flow.underway import Flight, Job
from broadcaster.flow.verify import Check, verify
from broadcaster.model import Approval, CampaignState, CarrierCard, CarrierCode, DailyWindow, Environment, Order, Person, State
from broadcaster.rules import approval as rule
from broadcaster.rules.lifecycle import Action
from broadcaster.rules.order import order_to_json
from broadcaster.rules.wire import pieces
from broadcaster.smpp.submit import Submit
from broadcaster.store import messages
from broadcaster.store.audit import Auditor, fingerprint
from broadcaster.store.campaigns import (
    Campaign,
    Lane,
    add_approval,
    change_campaign,
    change_lane,
    find_campaign,
    insert_campaign,
    insert_lane,
    lanes,
)
from broadcaster.store.engine import Store, append
from broadcaster.store.refusals import Refusal, record_refusals
from broadcaster.store.schema import installation, message, tally
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault
from broadcaster.store.writer import Writer

NAME = "dien-tap"
CARRIER = CarrierCode("viettel")
FIRST_NUMBER = 84_961_000_000
AREA = "21025"
SECOND_NS = 1_000_000_000
ALL_DAY = DailyWindow(dt.time(0), dt.time(0))


class Clock:
    """A monotonic and a wall clock that move only when told."""

    def __init__(self, now: dt.datetime) -> None:
        self.wall = now
        self.ns = 10 * SECOND_NS

    def now(self) -> dt.datetime:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / SECOND_NS

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND_NS)
        self.wall += dt.timedelta(seconds=seconds)


class ScriptedLink:
    """Keeps what it is given, and answers when told."""

    def __init__(self, window: int, clock: Clock) -> None:
        self.window = window
        self.bound = True
        self.flights: deque[Flight] = deque()
        self.log: list[tuple[int, int, int, int]] = []
        """(moment in ns, message id, part, attempt) of everything written."""
        self.references: list[tuple[int | None, int | None]] = []
        """(user_message_reference, part reference) of everything written."""
        self.most_outstanding = 0
        self._clock = clock
        self._next_id = 0
        self.sender: Sender

    @property
    def room(self) -> int:
        return self.window - len(self.flights) if self.bound else 0

    @property
    def outstanding(self) -> int:
        return len(self.flights)

    def submit(
        self,
        template: object,
        destination: bytes,
        context: Any,
        reference: int | None = None,
        part_reference: int | None = None,
    ) -> None:
        assert self.room > 0, "the window was overrun"
        self.flights.append(context)
        self.log.append((self._clock.ns, context.message.id, context.part, context.attempt))
        self.references.append((reference, part_reference))
        self.most_outstanding = max(self.most_outstanding, len(self.flights))

    def submit_all(self, parts: Sequence[Submit]) -> None:
        for part in parts:
            self.submit(*part)

    def flush(self) -> None:
        pass

    async def request_cancel(self, smsc_id: str, source: str, destination: str) -> int | None:
        pytest.fail("nothing is cancelled here")

    def answer(self, *statuses: int) -> None:
        """Answer the oldest parts, one for each status."""
        answers = []
        for status in statuses:
            self._next_id += 1
            answers.append((self.flights.popleft(), status, f"id{self._next_id}" if status == 0 else None))
        self.sender.on_answer(answers)

    def answer_all(self, status: int = 0) -> None:
        self.answer(*[status] * len(self.flights))

    def lose(self) -> None:
        """End the connection with everything outstanding."""
        self.bound = False
        left = list(self.flights)
        self.flights.clear()
        if left:
            self.sender.on_unanswered(left, "lost")

    def written(self) -> list[tuple[int, int, int]]:
        """(position of the message, part, attempt) in the order they were written."""
        return [(message_id & 0xFFFFFFFF, part, attempt) for _, message_id, part, attempt in self.log]


class Field:
    """One database with one running campaign of one carrier."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        auditor: Auditor,
        audit_key: bytes,
        keys: Mapping[str, Ed25519PrivateKey],
        people: Mapping[str, Person],
        card: CarrierCard,
        order: Order,
        now: dt.datetime,
    ) -> None:
        self.store = store
        self.vault = vault
        self.auditor = auditor
        self.audit_key = audit_key
        self.keys = keys
        self.people = dict(people)
        # So many that it takes two approvers.
        self.order = replace(order, name=NAME, window=ALL_DAY, audience=replace(order.audience, max_recipients=50_000))
        self.clock = Clock(now)
        self.card = replace(card, tps=None, window=4, retry_after_s=(2, 5), throttle_pause_s=1.0, status_verdicts={})
        self.refused: set[bytes] = set()
        self.link = ScriptedLink(self.card.window, self.clock)
        with store.write() as connection:
            names = {"vault_fingerprint": vault.fingerprint, "audit_fingerprint": fingerprint(audit_key)}
            connection.execute(insert(installation).values(id=1, environment="rehearsal", created_ms=0, epoch=1, **names))

    def warn(
        self,
        messages: int,
        *,
        text_of_body: str = "CANH BAO",
        signed: bool = True,
        duty_officer: bool = True,
        card: Any = None,
        **order: Any,
    ) -> Lane:
        """Make the campaign to `messages` people; `card` and further fields change card and order."""
        self.card = replace(self.card, **(card or {}))
        self.link.window = self.card.window
        self.order = replace(self.order, **order)
        parts = len(pieces(text_of_body, self.card))
        body = {"carrier": CARRIER, "text": text_of_body, "coding": "gsm", "parts": parts, "units": len(text_of_body), "sha256": "-"}
        content = rule.content_of(order_to_json(self.order), [body], [], self.order.environment)
        start = self.clock.now()
        with self.store.write() as connection:
            record = self.auditor.record
            campaign_id = insert_campaign(
                connection,
                name=NAME,
                content_json=rule.canonical(content).decode(),
                digest=rule.digest(content),
                recipients=messages,
                submitted_by="van-thu",
                submitted_ms=to_ms(start),
                roster_ids=[],
            )
            record(connection, Action.SUBMIT, NAME)
            if signed:
                digest = rule.digest(content)
                officers = ("truc-ban",) if self.order.override_refusals and duty_officer else ()
                for name in ("truong-phong", "pho-giam-doc", *officers):
                    add_approval(connection, campaign_id, Approval(name, digest, rule.sign(self.keys[name], digest), start))
            for action in (Action.APPROVE, Action.SCHEDULE, Action.START):
                record(connection, action, NAME)
            lane_id = insert_lane(connection, campaign_id, CARRIER, text_of_body, parts)
            change_lane(connection, lane_id, messages=messages)
            first = (lane_id << 32) + 1
            tokens = self.vault.tokens([FIRST_NUMBER + at for at in range(messages)])
            rows = [(first + at, tokens[at], AREA, 0, 0) for at in range(messages)]
            append(connection, message, ("id", "token", "area_code", "state", "exclusion"), rows)
            append(connection, tally, ("lane_id", "area_code", "state", "exclusion", "messages"), [(lane_id, AREA, 0, 0, messages)])
            change_campaign(
                connection, campaign_id, CampaignState.RUNNING, planned_ms=to_ms(start), started_ms=to_ms(start), enlisted=True
            )
            self.lane = lanes(connection, campaign_id)[0]
            return self.lane

    def token(self, position: int) -> bytes:
        return self.vault.token(FIRST_NUMBER + position - 1)

    def sql(self, statement: str, **values: Any) -> Any:
        """Change or read the database by a road that is not ours."""
        with self.store.write() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else None

    def refuse(self, position: int) -> None:
        """Let somebody have refused long ago."""
        with self.store.write() as connection:
            record_refusals(connection, [Refusal(self.token(position), True, "file", "", 0)])

    def gate(self) -> Gate:
        return Gate(lambda: self.people, self.auditor, self.vault, Environment.REHEARSAL, epoch=1)

    def job(self, **more: Any) -> dict[int, Job]:
        job = Job(self.lane.id, NAME, self.lane.parts, self.order.max_tps.get(CARRIER), urgent=False)
        return {self.lane.id: job._replace(**more)}

    def states(self) -> dict[int, State]:
        """Return position → state of every message."""
        return {row[0] & 0xFFFFFFFF: State(row[1]) for row in self.sql("SELECT id, state FROM message ORDER BY id")}

    def campaign(self) -> Campaign:
        with self.store.read() as connection:
            return find_campaign(connection, NAME)

    def audited(self, action: str) -> int:
        return int(self.sql("SELECT count(*) FROM audit WHERE action = :action", action=action)[0][0])

    def verify(self, ledgers: Any = None) -> list[Check]:
        return verify(
            self.store,
            self.vault,
            self.audit_key,
            NAME,
            cards={CARRIER: self.card},
            people=self.people,
            ledgers=ledgers or {},
        )

    def failing(self, ledgers: Any = None) -> set[str]:
        return {check.id for check in self.verify(ledgers) if not check.ok}

    def open_leases(self) -> int:
        return int(self.sql("SELECT count(*) FROM lease WHERE closed_ms IS NULL")[0][0])

    def leased_open(self) -> int:
        """How many messages of the lane were leased and have no outcome for all of their parts."""
        return int(self.sql("SELECT count(*) FROM message WHERE state = 0")[0][0]) - (
            self.lane.messages - self.sql("SELECT next_position FROM lane")[0][0] + 1
        )

    def tallied(self) -> int:
        return int(self.sql("SELECT sum(messages) FROM tally")[0][0])

    def play(self, scene: Callable[[Stage], Any], *, past_the_hold: bool = True) -> None:
        """Run a scene with a sender that has the campaign's lane, past the hold at the start unless told otherwise."""

        async def run() -> None:
            async with asyncio.timeout(60):
                stage = Stage(self)
                if past_the_hold:
                    self.clock.pass_s(1.1)
                stage.account.assign(self.job())
                await stage.calm()
                await scene(stage)
                await stage.writer.submit(messages.fold_all)
                await stage.writer.close()

        asyncio.run(run())


class Stage:
    """A sender on an event loop."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.clock = field.clock
        self.link = field.link
        self.writer = Writer(field.store)
        self.account = Account(field.card, writer=self.writer, gate=field.gate(), refused=field.refused, clock=field.clock)
        self.link.sender = self.sender = Sender(self.account, field.link)

    def inbox(self, acknowledge: Callable[[Any, int], None]) -> Inbox:
        field = self.field
        return Inbox(
            field.card,
            writer=self.writer,
            vault=field.vault,
            plan=read_plan(),
            refused=field.refused,
            acknowledge=acknowledge,
            now=field.clock.now,
        )

    async def calm(self) -> None:
        """Wait until the writer has nothing and the sender asks for nothing."""
        for _ in range(500):
            await self.writer.submit(messages.fold_all)
            await asyncio.sleep(0)
            if not self.sender._leasing and not self.sender._outcomes.busy:
                return
        pytest.fail("the sender never came to rest")

    async def wait_s(self, seconds: float) -> None:
        """Let time pass, and the sender act on it."""
        self.clock.pass_s(seconds)
        self.sender.pump()
        await self.calm()

    async def answer(self, *statuses: int) -> None:
        self.link.answer(*statuses)
        await self.calm()

    async def answer_everything(self, status: int = 0) -> None:
        """Answer until nothing is left to answer."""
        for _ in range(10_000):
            if not self.link.flights:
                return
            self.link.answer_all(status)
            await self.calm()
        pytest.fail("it never ends")

    async def stop(self) -> None:
        self.link.lose()
        await self.sender.stop()


@pytest.fixture
def field(
    store: Store,
    vault: Vault,
    auditor: Auditor,
    audit_key: bytes,
    keys: dict[str, Ed25519PrivateKey],
    people: dict[str, Person],
    cards: dict[CarrierCode, CarrierCard],
    order: Order,
    now: dt.datetime,
) -> Field:
    return Field(store, vault, auditor, audit_key, keys, people, cards[CARRIER], order, now)
