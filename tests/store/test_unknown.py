"""Parts whose fate is unknown: late answers, another try, a person's last word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store import messages, receipts, unknown
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import Store
from broadcaster.store.messages import Outcome
from broadcaster.store.receipts import Received

Check = Callable[[Connection], None]
NOW_MS = 1_000


def outcome(message_id: int, state: State, *, part: int = 1, attempt: int = 1, **more: Any) -> Outcome:
    values = {"status": None, "smsc_id": None, "sent_ns": 5, "answered_ms": 7, "reason": None} | more
    return Outcome(message_id, part, attempt, 1, "viettel", int(state), **values)


def record(store: Store, *outcomes: Outcome) -> None:
    with store.write() as connection:
        messages.record_outcomes(connection, outcomes)
        messages.fold(connection, {item.message_id for item in outcomes})


def change(store: Store, work: Callable[..., Any], *values: Any, **more: Any) -> Any:
    with store.write() as connection:
        return work(connection, *values, **more)


def states(store: Store) -> list[int]:
    return column(store, "SELECT state FROM message ORDER BY id")


def column(store: Store, query: str) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(text(query)).scalars())


def test_a_late_answer_settles_an_unknown_part_once(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(2)
    record(store, outcome(lane.first_id, State.UNCERTAIN), outcome(lane.first_id + 1, State.ACCEPTED, smsc_id="known"))
    late = [outcome(at, State.ACCEPTED, status=0, smsc_id="late") for at in (lane.first_id, lane.first_id + 1)]
    assert change(store, unknown.resolve, late) == 1
    assert change(store, unknown.resolve, late) == 0
    assert states(store) == [State.ACCEPTED] * 2
    assert column(store, "SELECT smsc_id FROM submission ORDER BY message_id") == ["late", "known"]
    assert column(store, "SELECT resolved FROM submission ORDER BY message_id") == ["late answer", None]
    with store.read() as connection:
        tally_agrees(connection)


@pytest.mark.parametrize("state", [State.RETRY, State.REFUSED])
def test_a_late_refusal_is_final(store: Store, lane_of: Callable[..., Lane], state: State) -> None:
    lane = lane_of(1)
    record(store, outcome(lane.first_id, State.UNCERTAIN))
    change(store, unknown.resolve, [outcome(lane.first_id, state, status=8)])
    assert states(store) == [State.REFUSED]


def test_a_late_answer_meets_the_receipt_that_came_before_it(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1)
    record(store, outcome(lane.first_id, State.UNCERTAIN))
    with store.write() as connection:
        receipts.record_receipts(
            connection, [Received("viettel", "late", (1).to_bytes(16, "big"), "?", int(State.DELIVERED), None, 9)]
        )
        messages.fold_all(connection)
    assert states(store) == [State.UNCERTAIN]
    change(store, unknown.resolve, [outcome(lane.first_id, State.ACCEPTED, status=0, smsc_id="late")])
    assert states(store) == [State.DELIVERED]


def test_what_is_released_is_due_at_once_and_marked(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(3, parts=2)
    first = lane.first_id
    record(
        store,
        outcome(first, State.ACCEPTED),
        outcome(first, State.UNCERTAIN, part=2),
        outcome(first + 1, State.REFUSED),
        outcome(first + 1, State.UNCERTAIN, part=2),
    )
    assert change(store, unknown.release, [first, first + 1, first + 2], NOW_MS) == 1
    assert change(store, unknown.release, [first], NOW_MS) == 0
    assert states(store) == [State.RETRY, State.REFUSED, State.READY]
    with store.write() as connection:
        tally_agrees(connection)
        assert messages.due_ids(connection, lane.id, NOW_MS, 9) == [first]
        _, (leased,) = messages.open_list(connection, lane.id, 1, [first], 2, NOW_MS)
    assert list(leased.parts) == [(2, 2)]
    record(store, outcome(first, State.ACCEPTED, part=2, attempt=2))
    assert states(store)[0] == State.ACCEPTED
    marked = "SELECT part || '/' || attempt FROM submission WHERE dup_risk ORDER BY 1"
    assert column(store, marked) == ["2/2"]
    assert column(store, "SELECT resolved FROM submission WHERE resolved IS NOT NULL") == ["released"]


def test_an_answer_that_comes_after_the_release_stops_the_second_try(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1)
    record(store, outcome(lane.first_id, State.UNCERTAIN))
    change(store, unknown.release, [lane.first_id], NOW_MS)
    assert change(store, unknown.resolve, [outcome(lane.first_id, State.ACCEPTED, status=0, smsc_id="late")]) == 1
    assert states(store) == [State.ACCEPTED]
    with store.read() as connection:
        assert messages.due_ids(connection, lane.id, NOW_MS, 9) == []


def test_only_a_second_copy_is_marked(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(3)
    first = lane.first_id
    record(store, outcome(first, State.RETRY, status=8), outcome(first + 1, State.UNCERTAIN), outcome(first + 2, State.UNCERTAIN))
    change(store, unknown.release, [first + 1, first + 2], NOW_MS)
    record(
        store,
        outcome(first, State.ACCEPTED, attempt=2),
        outcome(first + 1, State.ACCEPTED, attempt=2),
        outcome(first + 2, State.RETRY, attempt=2, sent_ns=None, reason="released"),
    )
    assert column(store, "SELECT message_id FROM submission WHERE dup_risk") == [first + 1]


def test_a_second_copy_that_a_crash_left_unknown_is_marked(store: Store, lane_of: Callable[..., Lane]) -> None:
    """Nobody knows when it was written, or whether; the carrier may have it twice all the same."""
    lane = lane_of(1)
    record(store, outcome(lane.first_id, State.UNCERTAIN))
    change(store, unknown.release, [lane.first_id], NOW_MS)
    record(store, outcome(lane.first_id, State.UNCERTAIN, attempt=2, sent_ns=None, reason="crash"))
    assert column(store, "SELECT attempt FROM submission WHERE dup_risk") == [2]


def test_what_is_settled_stays_unknown_for_good(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(2)
    record(store, outcome(lane.first_id, State.UNCERTAIN), outcome(lane.first_id + 1, State.ACCEPTED))
    assert change(store, unknown.settle, [lane.first_id, lane.first_id + 1]) == 1
    assert change(store, unknown.release, [lane.first_id], NOW_MS) == 0
    assert change(store, unknown.retry, lane.id, NOW_MS, NOW_MS, 9) == 0
    assert states(store) == [State.UNCERTAIN, State.ACCEPTED]
    assert column(store, "SELECT resolved FROM submission ORDER BY message_id") == ["settled", None]


def test_the_policy_waits_and_goes_in_slices(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane, other = lane_of(4), lane_of(1, name="hai", carrier="mobifone")
    first = lane.first_id
    late = [outcome(first + at, State.UNCERTAIN, answered_ms=100 * at) for at in range(4)]
    record(store, *late, outcome(other.first_id, State.UNCERTAIN, answered_ms=0))
    assert [change(store, unknown.retry, lane.id, 200, NOW_MS, 2) for _ in range(3)] == [2, 1, 0]
    assert states(store) == [State.RETRY] * 3 + [State.UNCERTAIN] * 2
    assert set(column(store, "SELECT resolved FROM submission WHERE state = 1")) == {"policy"}
    with store.read() as connection:
        tally_agrees(connection)


def test_recording_twice_is_harmless(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(1)
    rows = [outcome(lane.first_id, State.ACCEPTED, smsc_id="a1"), outcome(lane.first_id, State.UNCERTAIN, attempt=2)]
    for _ in range(2):
        record(store, *rows)
    assert column(store, "SELECT count(*) FROM submission") == [2]
    assert states(store) == [State.ACCEPTED]
    with store.read() as connection:
        tally_agrees(connection)


@pytest.mark.parametrize(
    ("first", "second", "receipt", "expected"),
    [
        (State.ACCEPTED, State.ACCEPTED, State.DELIVERED, State.DELIVERED),
        (State.ACCEPTED, State.ACCEPTED, State.EXPIRED, State.EXPIRED),
        (State.ACCEPTED, State.ACCEPTED, None, State.ACCEPTED),
        (State.UNCERTAIN, State.ACCEPTED, State.DELIVERED, State.UNCERTAIN),
        (State.REFUSED, State.ACCEPTED, State.DELIVERED, State.REFUSED),
    ],
)
def test_one_receipt_may_speak_for_all_parts(
    store: Store,
    lane_of: Callable[..., Lane],
    tally_agrees: Check,
    first: State,
    second: State,
    receipt: State | None,
    expected: State,
) -> None:
    lane = lane_of(1, parts=2)
    with store.write() as connection:
        connection.execute(text("UPDATE lane SET receipt_part = 2"))
        rows = [outcome(lane.first_id, first), outcome(lane.first_id, second, part=2, smsc_id="a2")]
        messages.record_outcomes(connection, rows)
        if receipt is not None:
            receipts.record_receipts(connection, [Received("viettel", "a2", (1).to_bytes(16, "big"), "?", int(receipt), None, 9)])
        messages.fold(connection, {lane.first_id})
        messages.fold_all(connection)
        tally_agrees(connection)
    assert states(store) == [expected]
