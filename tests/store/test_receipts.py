"""How a receipt finds its submission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store import messages, receipt_faults, receipts
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import Store
from broadcaster.store.messages import Outcome
from broadcaster.store.receipts import Received

Check = Callable[[Connection], None]
WEEK_MS = 7 * 86_400_000


def token_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def accept(store: Store, message_id: int, smsc_id: str, *, part: int = 1, carrier: str = "viettel", answered_ms: int = 7) -> int:
    """Record an acceptance; return how many waiting receipts it met."""
    with store.write() as connection:
        row = Outcome(message_id, part, 1, 1, carrier, int(State.ACCEPTED), 0, smsc_id, 1, answered_ms, None)
        before = matched(connection)
        messages.record_outcomes(connection, [row])
        messages.choose(connection, [message_id])
        receipts.settle_waiting(connection)
        messages.fold_chosen(connection)
        return matched(connection) - before


def receive(store: Store, *received: Received) -> int:
    """Store receipts as the service does; return how many found their submission."""
    with store.write() as connection:
        before = matched(connection)
        receipts.record_receipts(connection, received)
        messages.fold_all(connection)
        return matched(connection) - before


def matched(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM receipt WHERE matched")).scalar_one())


def receipt(smsc_id: str, number: int = 1, state: State | None = State.DELIVERED, **more: Any) -> Received:
    values: dict[str, Any] = {"carrier": "viettel", "stat": "?", "error": None, "received_ms": 50}
    return Received(smsc_id=smsc_id, token=token_of(number), state=state, **(values | more))


def states(store: Store) -> list[int]:
    with store.read() as connection:
        return list(connection.execute(text("SELECT state FROM message ORDER BY id")).scalars())


def unmatched(store: Store) -> int:
    with store.read() as connection:
        return receipts.unmatched(connection)


def test_a_receipt_settles_its_message(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(2)
    accept(store, lane.first_id, "a1")
    assert receive(store, receipt("a1", state=State.UNDELIVERABLE, error="001")) == 1
    assert states(store) == [State.UNDELIVERABLE, State.READY]
    with store.read() as connection:
        row = connection.execute(text("SELECT state, receipt_ms, receipt_error, smsc_id FROM submission")).one()
        assert tuple(row) == (State.UNDELIVERABLE, 50, "001", "a1")
        tally_agrees(connection)
    assert unmatched(store) == 0


def test_a_receipt_before_its_response(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(2)
    assert receive(store, receipt("a1"), receipt("a2", 2)) == 0
    assert unmatched(store) == 2
    assert accept(store, lane.first_id, "a1") == 1
    assert states(store) == [State.DELIVERED, State.READY]
    assert unmatched(store) == 1
    assert accept(store, lane.first_id + 1, "other") == 0
    with store.read() as connection:
        tally_agrees(connection)


def test_the_sweep_matches_what_was_left(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1)
    receive(store, receipt("a1"), receipt("nobody's"))
    with store.write() as connection:
        row = Outcome(lane.first_id, 1, 1, 1, "viettel", int(State.ACCEPTED), 0, "a1", 1, 7, None)
        messages.record_outcomes(connection, [row])
    with store.write() as connection:
        assert receipts.match(connection) == 1
        assert receipts.match(connection) == 0
    assert states(store) == [State.DELIVERED]
    assert unmatched(store) == 1


@pytest.mark.parametrize(
    "wrong", [receipt("a1", 2), receipt("a1", carrier="mobifone"), receipt("A1"), receipt("a1")._replace(token=None), receipt("")]
)
def test_number_carrier_and_id_must_all_fit(store: Store, lane_of: Callable[..., Lane], wrong: Received) -> None:
    lane = lane_of(2)
    accept(store, lane.first_id, "a1")
    assert receive(store, wrong) == 0
    assert states(store) == [State.ACCEPTED, State.READY]
    assert unmatched(store) == 1


@pytest.mark.parametrize("together", [True, False])
def test_the_first_final_state_stands(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check, together: bool) -> None:
    lane = lane_of(1)
    accept(store, lane.first_id, "a1")
    both = [receipt("a1", state=State.EXPIRED, received_ms=60), receipt("a1", state=State.DELIVERED, received_ms=70)]
    if together:
        assert receive(store, *both) == 2
    else:
        assert [receive(store, item) for item in both] == [1, 0]
        with store.write() as connection:
            assert receipts.match(connection) == 1
    assert states(store) == [State.EXPIRED]
    assert unmatched(store) == 0
    with store.read() as connection:
        assert connection.execute(text("SELECT receipt_ms FROM submission")).scalar() == 60
        tally_agrees(connection)


def test_an_intermediate_receipt_decides_nothing(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1)
    accept(store, lane.first_id, "a1")
    assert receive(store, receipt("a1", state=None)) == 1
    assert states(store) == [State.ACCEPTED]
    assert receive(store, receipt("a1", state=None), receipt("a1")) == 2
    assert states(store) == [State.DELIVERED]


def faults(store: Store) -> dict[str, dict[str, int]]:
    with store.read() as connection:
        return receipt_faults.faults_by_carrier(connection)


@pytest.mark.parametrize("first", [True, False])
def test_of_two_messages_that_fit_none_gets_it(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check, first: bool) -> None:
    """Whether the receipt comes after both answers, or waits for them."""
    older, newer = lane_of(1), lane_of(1, name="hai")
    if first:
        assert receive(store, receipt("a1", state=State.UNDELIVERABLE)) == 0
        with store.write() as connection:
            rows = [Outcome(lane.first_id, 1, 1, 1, "viettel", int(State.ACCEPTED), 0, "a1", 1, 7, None) for lane in (older, newer)]
            messages.record_outcomes(connection, rows)
            messages.choose(connection, [newer.first_id])
            receipts.settle_waiting(connection)
            messages.fold(connection, {older.first_id, newer.first_id})
    else:
        accept(store, older.first_id, "a1", answered_ms=8)
        accept(store, newer.first_id, "a1", answered_ms=9)
        assert receive(store, receipt("a1", state=State.UNDELIVERABLE), receipt("b2")) == 0
        assert faults(store) == {"viettel": {"two_candidates": 1}}
    with store.write() as connection:
        assert receipts.match(connection) == 0
    assert states(store) == [State.ACCEPTED, State.ACCEPTED]
    assert unmatched(store) == (1 if first else 2)
    with store.read() as connection:
        tally_agrees(connection)


def test_two_parts_of_one_message_are_two_candidates(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1, parts=2)
    accept(store, lane.first_id, "a1")
    accept(store, lane.first_id, "a1", part=2)
    assert receive(store, receipt("a1")) == 0
    assert states(store) == [State.ACCEPTED]


def test_of_two_attempts_at_one_part_the_newest_gets_it(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1)
    with store.write() as connection:
        rows = [Outcome(lane.first_id, 1, n, 1, "viettel", int(State.ACCEPTED), 0, "a1", 1, 7 + n, None) for n in (1, 2)]
        messages.record_outcomes(connection, rows)
    assert receive(store, receipt("a1")) == 1
    with store.read() as connection:
        found = connection.execute(text("SELECT state FROM submission ORDER BY attempt")).scalars()
        assert list(found) == [State.ACCEPTED, State.DELIVERED]
    assert states(store) == [State.DELIVERED]
    assert faults(store) == {}


@pytest.mark.parametrize("after_ms", [-WEEK_MS - 1, -WEEK_MS, WEEK_MS, WEEK_MS + 1])
def test_an_answer_more_than_seven_days_off_is_another_part_s(store: Store, lane_of: Callable[..., Lane], after_ms: int) -> None:
    lane = lane_of(1)
    now_ms = 10 * WEEK_MS
    fits = abs(after_ms) <= WEEK_MS
    if after_ms < 0:
        receive(store, receipt("a1", received_ms=now_ms + after_ms))
        assert accept(store, lane.first_id, "a1", answered_ms=now_ms) == fits
    else:
        accept(store, lane.first_id, "a1", answered_ms=now_ms)
        assert receive(store, receipt("a1", received_ms=now_ms + after_ms)) == fits
    assert states(store) == [State.DELIVERED if fits else State.ACCEPTED]
    assert unmatched(store) == (not fits)


def test_an_id_used_again_after_seven_days_is_the_newer_one_s(store: Store, lane_of: Callable[..., Lane]) -> None:
    older, newer = lane_of(1), lane_of(1, name="hai")
    accept(store, older.first_id, "a1", answered_ms=0)
    accept(store, newer.first_id, "a1", answered_ms=WEEK_MS)
    assert receive(store, receipt("a1", received_ms=WEEK_MS + 1)) == 1
    assert states(store) == [State.ACCEPTED, State.DELIVERED]


def test_a_message_is_delivered_with_its_last_part(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(1, parts=2)
    accept(store, lane.first_id, "a1")
    receive(store, receipt("a1"))
    assert states(store) == [State.READY]
    accept(store, lane.first_id, "a2", part=2)
    assert states(store) == [State.ACCEPTED]
    receive(store, receipt("a2", state=State.UNDELIVERABLE))
    assert states(store) == [State.UNDELIVERABLE]
    with store.read() as connection:
        tally_agrees(connection)
