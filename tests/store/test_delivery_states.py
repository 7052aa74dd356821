"""Random sending, receipts, second tries and crashes, against a plain model: sums hold after every step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.rules.lifecycle import is_final, join, meet
from broadcaster.store import messages, receipts
from broadcaster.store.campaigns import Lane, change_lane, lanes
from broadcaster.store.engine import Store
from broadcaster.store.messages import Leased, Outcome
from broadcaster.store.receipts import Received

MESSAGES = 20
LATER_MS = 90_000
CHECKED = 0.4
"""How often a step is followed by a check, which folds everything first; the other steps meet states that lag behind."""
FINALS = (State.DELIVERED, State.UNDELIVERABLE, State.EXPIRED)
ENDINGS = ("accepted", "throttled, then accepted", "refused", "later", "later", "uncertain", "opt-out", "early receipt")
STEPS = (
    "lease",
    "lease",
    "second tries",
    "answer",
    "answer",
    "answer",
    "receipt",
    "receipt",
    "repeated receipt",
    "foreign receipt",
    "fold",
    "fold",
    "crash",
)


class World:
    """The database beside the model: part → attempt → state, and who leased what in the process that is alive."""

    def __init__(self, store: Store, lane: Lane) -> None:
        self.store = store
        self.lane = lane
        self.epoch = 1
        self.attempts: dict[tuple[int, int], dict[int, State]] = {}
        self.closed: dict[int, State] = {}
        self.open: dict[int, list[Leased]] = {}
        self.set_aside: set[int] = set()
        self.ids: dict[str, tuple[int, int, int]] = {}
        self.early: dict[str, State] = {}
        self.serial = itertools.count(1)
        self.strangers = 0

    def states(self) -> dict[int, State]:
        found = {}
        for message_id in range(self.lane.first_id, self.lane.end_id):
            parts = [self.attempts.get((message_id, part)) for part in range(1, self.lane.parts + 1)]
            whole = [join(part.values()) for part in parts if part]
            found[message_id] = meet(whole) if len(whole) == self.lane.parts else State.READY
        return found | self.closed

    def lease(self, size: int) -> None:
        with self.store.write() as connection:
            lane = self.fresh(connection)
            first, last = lane.next_position, min(lane.next_position + size - 1, lane.messages)
            if first > last:
                return
            change_lane(connection, lane.id, next_position=last + 1)
            lease_id, leased = messages.open_range(connection, lane.id, self.epoch, first, last, lane.parts, 1)
        self.open[lease_id] = leased

    def lease_again(self, size: int) -> None:
        with self.store.write() as connection:
            due = messages.due_ids(connection, self.lane.id, LATER_MS, size)
            assert set(due) <= self.set_aside
            assert len(due) == min(size, len(self.set_aside))
            if not due:
                return
            lease_id, leased = messages.open_list(connection, self.lane.id, self.epoch, due, self.lane.parts, 1)
        self.set_aside -= set(due)
        self.open[lease_id] = leased
        for item in leased:
            for part, attempt in item.parts:
                known = self.attempts[item.id, part]
                assert join(known.values()) is State.RETRY
                assert attempt == max(known) + 1

    def answer(self, lease_id: int, item: Leased, endings: list[str]) -> None:
        """Give the first parts still to come of a leased message their outcomes, as `endings` say, in one transaction."""
        rows: list[Outcome] = []
        for (part, attempt), ending in zip(item.parts, endings, strict=False):
            rows += self.ending(lease_id, item, part, attempt, ending)
        left = item._replace(parts=item.parts[len(endings) :])
        later = [] if left.parts else self.put_off(lease_id, item.id, rows)
        with self.store.write() as connection:
            messages.record_outcomes(connection, rows)
            messages.defer(connection, later)
        for row in rows:
            if row.smsc_id in self.early:
                self.settle(row.smsc_id or "", self.early[row.smsc_id or ""])
        items = self.open[lease_id]
        items.remove(item)
        if left.parts:
            items.append(left)
        elif not items:
            del self.open[lease_id]
            with self.store.write() as connection:
                messages.close_leases(connection, [lease_id], 2)

    def put_off(self, lease_id: int, message_id: int, rows: list[Outcome]) -> list[tuple[int, int]]:
        """Decide, as the sender does, what follows once all parts have an answer; parts to try later are refused with the others."""
        parts = {part: known for (owner, part), known in self.attempts.items() if owner == message_id}
        later = [part for part, known in parts.items() if known[max(known)] is State.RETRY]
        if any(State.REFUSED in known.values() for known in parts.values()):
            rows += [self.row(lease_id, message_id, part, max(parts[part]) + 1, State.REFUSED) for part in later]
            return []
        if later and self.states()[message_id] is State.RETRY:
            self.set_aside.add(message_id)
        return [(LATER_MS, message_id)] if later else []

    def ending(self, lease_id: int, item: Leased, part: int, attempt: int, ending: str) -> list[Outcome]:
        match ending:
            case "later":
                return [self.row(lease_id, item.id, part, attempt, State.RETRY, status=8)]
            case "refused":
                return [self.row(lease_id, item.id, part, attempt, State.REFUSED, status=11)]
            case "uncertain":
                return [self.row(lease_id, item.id, part, attempt, State.UNCERTAIN)]
            case "opt-out":
                return [self.row(lease_id, item.id, part, attempt, State.SUPPRESSED)]
        rows = []
        if ending == "throttled, then accepted":
            rows = [self.row(lease_id, item.id, part, attempt, State.RETRY, status=messages.THROTTLED)]
            attempt += 1
        smsc_id = f"id-{next(self.serial)}"
        self.ids[smsc_id] = (item.id, part, attempt)
        if ending == "early receipt":
            self.early[smsc_id] = State.DELIVERED
            self.receive(smsc_id, State.DELIVERED)
        return [*rows, self.row(lease_id, item.id, part, attempt, State.ACCEPTED, status=0, smsc_id=smsc_id)]

    def row(
        self,
        lease_id: int,
        message_id: int,
        part: int,
        attempt: int,
        state: State,
        *,
        status: int | None = None,
        smsc_id: str | None = None,
    ) -> Outcome:
        self.attempts.setdefault((message_id, part), {})[attempt] = state
        return Outcome(message_id, part, attempt, lease_id, "viettel", int(state), status, smsc_id, None, 2, None)

    def receive(self, smsc_id: str, state: State | None, stranger: int = 0) -> None:
        message_id, *_ = self.ids[smsc_id]
        token = (message_id - self.lane.first_id + 1 + stranger).to_bytes(16, "big")
        self.strangers += bool(stranger)
        with self.store.write() as connection:
            receipts.record_receipts(connection, [Received("viettel", smsc_id, token, "?", state, None, 3)])

    def settle(self, smsc_id: str, state: State | None) -> None:
        message_id, part, attempt = self.ids[smsc_id]
        known = self.attempts[message_id, part]
        if state is not None and not is_final(known[attempt]):
            known[attempt] = state

    def crash(self) -> None:
        """The process dies; the next one names what it left. A part is unknown unless it has an answer.

        What was answered with a refusal that may pass waits for its next try, as it would have.
        """
        for item in itertools.chain.from_iterable(self.open.values()):
            coming = {part for part, _ in item.parts}
            parts = {part: self.attempts.setdefault((item.id, part), {}) for part in range(1, self.lane.parts + 1)}
            refused = any(State.REFUSED in known.values() for known in parts.values())
            for part, known in parts.items():
                if part in coming or not known:
                    known[max(known, default=0) + 1] = State.UNCERTAIN
                elif join(known.values()) is State.RETRY and refused:
                    known[max(known) + 1] = State.REFUSED
            if self.states()[item.id] is State.RETRY:
                self.set_aside.add(item.id)
        self.open.clear()
        self.epoch += 1
        left = 1
        while left:
            with self.store.write() as connection:
                left = messages.recover(connection, self.epoch, 3, 2)

    def close_rest(self) -> None:
        for message_id, state in self.states().items():
            leased = any(item.id == message_id for items in self.open.values() for item in items)
            if not leased and state in (State.READY, State.RETRY):
                self.closed[message_id] = State.CANCELLED
        left = 1
        while left:
            with self.store.write() as connection:
                left = messages.close_rest(connection, self.fresh(connection), State.CANCELLED, 3)
        self.set_aside.clear()

    def fresh(self, connection: Connection) -> Lane:
        return next(item for item in lanes(connection, self.lane.campaign_id) if item.id == self.lane.id)

    def fold(self, rows: int) -> None:
        """Let the service fold a slice, or sweep."""
        with self.store.write() as connection:
            messages.fold_some(connection, 1, rows)
            if rows == 1:
                receipts.match(connection)

    def check(self, tally_agrees: Callable[[Connection], None]) -> None:
        with self.store.write() as connection:
            messages.fold_all(connection)
            receipts.match(connection)
        with self.store.read() as connection:
            rows = connection.execute(text("SELECT id, state, not_before_ms FROM message")).all()
            assert {row.id: State(row.state) for row in rows} == self.states()
            assert {row.id for row in rows if row.not_before_ms is not None} == self.set_aside
            waiting = {row.id for row in rows if row.state == State.RETRY}
            assert waiting - self.set_aside <= {item.id for items in self.open.values() for item in items}
            tally_agrees(connection)
            assert connection.execute(text("SELECT sum(messages) FROM tally")).scalar() == MESSAGES
            still_open = sum(state in (State.READY, State.RETRY) for state in self.states().values())
            assert messages.open_count(connection, self.lane.id) == still_open
            assert receipts.unmatched(connection) == self.strangers
            assert connection.execute(text("SELECT count(*) FROM lease WHERE NOT folded AND closed_ms IS NOT NULL")).scalar() == 0


def take_step(world: World, chance: random.Random, steps: Sequence[str]) -> None:
    step = chance.choice(steps)
    leased = [(lease_id, item) for lease_id, items in world.open.items() for item in items]
    answered = sorted(world.ids.keys() - world.early.keys())
    if step == "lease":
        world.lease(chance.randint(1, 3))
    elif step == "second tries":
        world.lease_again(chance.randint(1, 3))
    elif step == "answer" and leased:
        lease_id, item = chance.choice(leased)
        world.answer(lease_id, item, chance.choices(ENDINGS, k=chance.randint(1, len(item.parts))))
    elif step in ("receipt", "repeated receipt") and answered:
        smsc_id, state = chance.choice(answered), chance.choice((*FINALS, None))
        for _ in range(1 + step.startswith("repeated")):
            world.receive(smsc_id, state)
            world.settle(smsc_id, state)
    elif step == "foreign receipt" and answered:
        world.receive(chance.choice(answered), State.DELIVERED, stranger=1)
    elif step == "fold":
        world.fold(chance.randint(1, 5))
    elif step == "crash":
        world.crash()


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_every_message_is_always_counted_once(
    seed: int, parts: int, make_store: Callable[..., Store], lane_in: Callable[..., Lane], tally_agrees: Callable[[Connection], None]
) -> None:
    chance = random.Random(seed)
    store = make_store(service=True)
    world = World(store, lane_in(store, MESSAGES, parts))
    for _ in range(80):
        take_step(world, chance, STEPS)
        if chance.random() < CHECKED:
            world.check(tally_agrees)
    world.close_rest()
    for _ in range(40):
        take_step(world, chance, ["answer", "receipt", "fold"])
        if chance.random() < CHECKED:
            world.check(tally_agrees)
    world.crash()
    world.close_rest()
    world.check(tally_agrees)
    assert not any(state in (State.READY, State.RETRY) for state in world.states().values())
