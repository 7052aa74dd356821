"""The continuous fold: what was appended becomes states and totals, in slices, and a crash between two loses nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store import messages, receipts
from broadcaster.store.campaigns import Lane
from broadcaster.store.engine import Store
from broadcaster.store.messages import OPEN_LEASE_FOLD_MS, Outcome
from broadcaster.store.receipts import Received

Check = Callable[[Connection], None]
OPENED_MS = 50


def accepted(lane: Lane, position: int, lease_id: int = 1) -> Outcome:
    smsc_id = f"id-{position}"
    return Outcome(lane.first_id + position - 1, 1, 1, lease_id, "viettel", int(State.ACCEPTED), 0, smsc_id, 1, 7, None)


def delivered(position: int, state: State = State.DELIVERED) -> Received:
    return Received("viettel", f"id-{position}", position.to_bytes(16, "big"), "?", int(state), None, 9)


def states(store: Store) -> list[int]:
    with store.read() as connection:
        return list(connection.execute(text("SELECT state FROM message ORDER BY id")).scalars())


def fold(store: Store, *, now_ms: int = OPENED_MS, limit: int = 100) -> bool:
    with store.write() as connection:
        return messages.fold_some(connection, now_ms, limit)


def lease(store: Store, lane: Lane, first: int, last: int) -> int:
    with store.write() as connection:
        return messages.open_range(connection, lane.id, 1, first, last, 1, OPENED_MS)[0]


def test_nothing_moves_before_the_fold_and_everything_with_it(
    store: Store, lane_of: Callable[..., Lane], tally_agrees: Check
) -> None:
    lane = lane_of(3)
    lease_id = lease(store, lane, 1, 3)
    with store.write() as connection:
        messages.record_outcomes(connection, [accepted(lane, at, lease_id) for at in (1, 2, 3)])
        messages.close_leases(connection, [lease_id], 60)
        receipts.record_receipts(connection, [delivered(2)])
    assert states(store) == [State.READY] * 3
    assert fold(store) is False
    assert states(store) == [State.ACCEPTED, State.DELIVERED, State.ACCEPTED]
    with store.read() as connection:
        tally_agrees(connection)


def test_a_lease_that_stays_open_is_folded_as_far_as_it_has_come(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(2)
    lease_id = lease(store, lane, 1, 2)
    with store.write() as connection:
        messages.record_outcomes(connection, [accepted(lane, 1, lease_id)])
    fold(store, now_ms=OPENED_MS + OPEN_LEASE_FOLD_MS - 1)
    assert states(store) == [State.READY, State.READY]
    fold(store, now_ms=OPENED_MS + OPEN_LEASE_FOLD_MS)
    assert states(store) == [State.ACCEPTED, State.READY]
    with store.write() as connection:
        messages.record_outcomes(connection, [accepted(lane, 2, lease_id)])
        messages.close_leases(connection, [lease_id], 60)
    fold(store)
    assert states(store) == [State.ACCEPTED, State.ACCEPTED]


def test_a_receipt_ahead_of_its_response_waits_for_the_fold_of_its_lease(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(1)
    lease_id = lease(store, lane, 1, 1)
    with store.write() as connection:
        receipts.record_receipts(connection, [delivered(1, State.EXPIRED)])
    fold(store)
    with store.write() as connection:
        assert receipts.unmatched(connection) == 1
        messages.record_outcomes(connection, [accepted(lane, 1, lease_id)])
        receipts.record_receipts(connection, [delivered(1)])
        messages.close_leases(connection, [lease_id], 60)
    fold(store)
    assert states(store) == [State.EXPIRED], "the first final word stands, although it had to wait"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_slices_go_on_where_the_last_one_ended(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check, limit: int) -> None:
    lane = lane_of(6)
    leases = [lease(store, lane, at, at + 1) for at in (1, 3, 5)]
    with store.write() as connection:
        for lease_id, first in zip(leases, (1, 3, 5), strict=True):
            messages.record_outcomes(connection, [accepted(lane, at, lease_id) for at in (first, first + 1)])
        messages.close_leases(connection, leases, 60)
        receipts.record_receipts(connection, [delivered(at) for at in (6, 5, 4, 3, 2)])
    steps = 1
    while fold(store, limit=limit):
        steps += 1
        with store.read() as connection:
            tally_agrees(connection)
    assert steps == {1: 5, 2: 3, 3: 2}[limit]
    assert states(store) == [State.ACCEPTED, *[State.DELIVERED] * 5]
    with store.read() as connection:
        tally_agrees(connection)


def test_a_crash_before_the_fold_leaves_nothing_uncertain_that_is_known(
    store: Store, lane_of: Callable[..., Lane], tally_agrees: Check
) -> None:
    lane = lane_of(4)
    lease_id = lease(store, lane, 1, 3)
    with store.write() as connection:
        messages.record_outcomes(connection, [accepted(lane, at, lease_id) for at in (1, 2)])
        receipts.record_receipts(connection, [delivered(1)])
    while True:
        with store.write() as connection:
            if not messages.recover(connection, 2, 99, 1):
                break
    with store.write() as connection:
        messages.fold_all(connection)
        tally_agrees(connection)
    assert states(store) == [State.DELIVERED, State.ACCEPTED, State.UNCERTAIN, State.READY]


def test_many_open_leases_keep_nothing_else_waiting(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(6)
    for at in (1, 3):
        lease(store, lane, at, at + 1)
    lease_id = lease(store, lane, 5, 6)
    with store.write() as connection:
        messages.record_outcomes(connection, [accepted(lane, 1), accepted(lane, 5, lease_id), accepted(lane, 6, lease_id)])
        messages.close_leases(connection, [lease_id], 60)
    assert fold(store, now_ms=OPENED_MS + OPEN_LEASE_FOLD_MS, limit=2) is False
    assert states(store) == [State.ACCEPTED, *[State.READY] * 3, State.ACCEPTED, State.ACCEPTED]
