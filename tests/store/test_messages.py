"""Leases, outcomes, second tries, recovery, and what will never be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, text

from broadcaster.model import State
from broadcaster.store import messages
from broadcaster.store.campaigns import Lane, change_lane, lanes
from broadcaster.store.engine import Store, append
from broadcaster.store.messages import THROTTLED, Outcome
from broadcaster.store.schema import opt_out

Check = Callable[[Connection], None]


def outcome(message_id: int, state: State, *, part: int = 1, attempt: int = 1, lease: int = 1, **more: Any) -> Outcome:
    values = {"status": None, "smsc_id": None, "sent_ns": None, "answered_ms": 7, "reason": None} | more
    return Outcome(message_id, part, attempt, lease, "viettel", int(state), **values)


def record(store: Store, *outcomes: Outcome, later: Sequence[tuple[int, int]] = ()) -> None:
    with store.write() as connection:
        messages.record_outcomes(connection, outcomes)
        messages.defer(connection, later)
        messages.fold(connection, {item.message_id for item in outcomes})


def column(store: Store, query: str) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(text(query)).scalars())


def states(store: Store) -> list[int]:
    return column(store, "SELECT state FROM message ORDER BY id")


def recover(store: Store, epoch: int = 2, limit: int = 100) -> int:
    steps = 0
    while True:
        with store.write() as connection:
            if not messages.recover(connection, epoch, 99, limit):
                messages.fold_all(connection)
                return steps
        steps += 1


def test_a_range_holds_the_lanes_next_messages(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(5, parts=2)
    with store.write() as connection:
        append(connection, opt_out, ("token", "since_ms"), [((3).to_bytes(16, "big"), 1)])
        lease_id, leased = messages.open_range(connection, lane.id, 1, 2, 4, 2, 50)
    assert [item.id - lane.first_id + 1 for item in leased] == [2, 3, 4]
    assert [item.refuses for item in leased] == [False, True, False]
    assert all(list(item.parts) == [(1, 1), (2, 1)] and item.tries == 0 for item in leased)
    assert column(store, "SELECT closed_ms IS NULL FROM lease") == [1]
    with store.write() as connection:
        messages.close_leases(connection, [lease_id], 60)
        messages.close_leases(connection, [], 61)
    assert column(store, "SELECT closed_ms FROM lease") == [60]


@pytest.mark.parametrize("state", [State.ACCEPTED, State.REFUSED, State.UNCERTAIN, State.SUPPRESSED, State.LAPSED])
def test_an_outcome_moves_message_and_tally(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check, state: State) -> None:
    lane = lane_of(3)
    record(store, outcome(lane.first_id + 1, state))
    assert states(store) == [State.READY, state, State.READY]
    with store.read() as connection:
        tally_agrees(connection)
        assert messages.open_count(connection, lane.id) == 2


def test_a_message_waits_for_all_its_parts_and_is_where_the_worst_is(
    store: Store, lane_of: Callable[..., Lane], tally_agrees: Check
) -> None:
    lane = lane_of(2, parts=3)
    first = lane.first_id
    record(store, outcome(first, State.ACCEPTED), outcome(first, State.ACCEPTED, part=2))
    assert states(store)[0] == State.READY
    record(store, outcome(first, State.UNCERTAIN, part=3))
    assert states(store)[0] == State.UNCERTAIN
    record(store, outcome(first, State.ACCEPTED, part=3, attempt=2))
    assert states(store)[0] == State.ACCEPTED
    with store.read() as connection:
        tally_agrees(connection)


def test_repeating_nothing_changes_nothing(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(2)
    record(store, outcome(lane.first_id, State.ACCEPTED))
    with store.write() as connection:
        messages.fold(connection, {lane.first_id, lane.first_id + 1})
        messages.record_outcomes(connection, [])
        tally_agrees(connection)
    assert states(store) == [State.ACCEPTED, State.READY]


def test_a_second_try_is_due_in_its_own_lane_and_time(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane, other = lane_of(4), lane_of(2, name="hai", carrier="mobifone")
    first = lane.first_id
    tries = [outcome(first + at, State.RETRY, status=8) for at in range(3)]
    record(
        store,
        *tries,
        outcome(other.first_id, State.RETRY, status=8),
        later=[(300, first), (100, first + 1), (200, first + 2), (100, other.first_id), (1, first + 3)],
    )
    with store.read() as connection:
        assert messages.due_ids(connection, lane.id, 99, 9) == []
        assert messages.due_ids(connection, lane.id, 300, 9) == [first + 1, first + 2, first]
        assert messages.due_ids(connection, lane.id, 300, 2) == [first + 1, first + 2]
        assert messages.due_ids(connection, other.id, 300, 9) == [other.first_id]


def test_a_second_lease_holds_only_what_is_missing(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(2, parts=3)
    first = lane.first_id
    record(
        store,
        outcome(first, State.ACCEPTED),
        outcome(first, State.RETRY, part=2, status=THROTTLED),
        outcome(first, State.RETRY, part=2, attempt=2, status=20),
        outcome(first, State.RETRY, part=3, reason="released"),
        outcome(first + 1, State.RETRY, status=20),
        outcome(first + 1, State.RETRY, status=20, attempt=2),
        outcome(first + 1, State.RETRY, part=2, reason="released"),
        outcome(first + 1, State.RETRY, part=3, reason="released"),
        later=[(5, first), (5, first + 1)],
    )
    with store.write() as connection:
        append(connection, opt_out, ("token", "since_ms"), [((2).to_bytes(16, "big"), 1)])
        _, leased = messages.open_list(connection, lane.id, 1, [first + 1, first], 3, 9)
        assert messages.due_ids(connection, lane.id, 99, 9) == []
    assert [(item.id, list(item.parts), item.tries, item.refuses) for item in leased] == [
        (first, [(2, 3), (3, 2)], 1, False),
        (first + 1, [(1, 3), (2, 2), (3, 2)], 2, True),
    ]


def test_someone_who_refuses_before_the_second_try_is_done_with(
    store: Store, lane_of: Callable[..., Lane], tally_agrees: Check
) -> None:
    lane = lane_of(1)
    record(store, outcome(lane.first_id, State.RETRY, status=8), later=[(5, lane.first_id)])
    record(store, outcome(lane.first_id, State.SUPPRESSED, attempt=2, reason="opt-out"))
    assert states(store) == [State.SUPPRESSED]
    with store.read() as connection:
        tally_agrees(connection)
        assert messages.open_count(connection, lane.id) == 0
        assert messages.due_ids(connection, lane.id, 99, 9) == []


def test_what_a_crash_left_is_uncertain(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(6, parts=2)
    first = lane.first_id
    with store.write() as connection:
        messages.open_range(connection, lane.id, 1, 1, 4, 2, 50)
    record(
        store,
        outcome(first, State.ACCEPTED),
        outcome(first, State.ACCEPTED, part=2),
        outcome(first + 1, State.ACCEPTED),
        outcome(first + 2, State.RETRY, status=8),
        outcome(first + 2, State.RETRY, part=2, status=8),
        later=[(70, first + 2)],
    )
    assert recover(store) > 0
    assert states(store) == [State.ACCEPTED, State.UNCERTAIN, State.RETRY, State.UNCERTAIN, State.READY, State.READY]
    lost = "SELECT message_id || '/' || part || '/' || attempt || '/' || lease_id FROM submission WHERE reason = 'crash' ORDER BY 1"
    assert column(store, lost) == sorted([f"{first + 1}/2/1/1", f"{first + 3}/1/1/1", f"{first + 3}/2/1/1"])
    assert column(store, "SELECT crashed FROM lease WHERE closed_ms = 99") == [1]
    with store.read() as connection:
        tally_agrees(connection)
    assert recover(store) == 0


def test_what_was_certainly_refused_before_a_crash_goes_on_waiting(
    store: Store, lane_of: Callable[..., Lane], tally_agrees: Check
) -> None:
    """Its message had not ended yet, because of another part: only that one is unknown."""
    lane = lane_of(4, parts=2)
    first = lane.first_id
    with store.write() as connection:
        messages.open_range(connection, lane.id, 1, 1, 4, 2, 50)
    record(
        store,
        outcome(first, State.RETRY, status=8),  # and part 2 is on its way
        outcome(first + 1, State.RETRY, status=8),
        outcome(first + 1, State.REFUSED, part=2, status=0x0B),
        outcome(first + 2, State.ACCEPTED),
        outcome(first + 2, State.RETRY, part=2, reason="released"),
        outcome(first + 3, State.RETRY, status=0x58, reason="link"),  # may have been written again
        outcome(first + 3, State.ACCEPTED, part=2),
    )
    assert recover(store, limit=1) == 4 + 1  # the call that finds nothing more counts one
    assert states(store) == [State.RETRY, State.REFUSED, State.RETRY, State.UNCERTAIN]
    lost = "SELECT (message_id - :first) || '/' || part || '/' || state FROM submission WHERE answered_ms = 99 ORDER BY 1"
    with store.read() as connection:
        found = list(connection.execute(text(lost), {"first": first}).scalars())
        tally_agrees(connection)
        assert messages.due_ids(connection, lane.id, 99 + messages.RECOVERED_WAIT_MS - 1, 9) == []
        assert messages.due_ids(connection, lane.id, 99 + messages.RECOVERED_WAIT_MS, 9) == [first, first + 2]
    assert found == ["0/2/20", "1/1/10", "3/1/20"]
    with store.write() as connection:
        _, leased = messages.open_list(connection, lane.id, 2, [first, first + 2], 2, 99)
    assert [list(each.parts) for each in leased] == [[(1, 2)], [(2, 2)]]
    assert column(store, "SELECT crashed FROM lease WHERE closed_ms = 99") == [1]


def test_a_crash_counts_against_the_quota_of_the_day_of_its_lease(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane, day_ms = lane_of(7), 86_400_000
    record(store, outcome(lane.first_id + 6, State.RETRY, status=8), later=[(5, lane.first_id + 6)])
    with store.write() as connection:
        messages.open_range(connection, lane.id, 1, 1, 3, 1, 50)
        messages.open_range(connection, lane.id, 1, 4, 6, 1, 50 + day_ms)
    record(store, outcome(lane.first_id, State.ACCEPTED))
    while recover(store, limit=2):
        pass
    assert column(store, "SELECT day || ' ' || parts FROM usage ORDER BY day") == ["1970-01-01 2", "1970-01-02 3"]


def test_a_second_try_under_way_in_a_crash_is_uncertain(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(2)
    first = lane.first_id
    with store.write() as connection:
        lease_id, _ = messages.open_range(connection, lane.id, 1, 1, 2, 1, 50)
        messages.close_leases(connection, [lease_id], 50)
    record(
        store,
        outcome(first, State.RETRY, status=8, lease=lease_id),
        outcome(first + 1, State.RETRY, status=8, lease=lease_id),
        later=[(5, first), (6, first + 1)],
    )
    with store.write() as connection:
        messages.open_list(connection, lane.id, 1, [first], 1, 50)
    recover(store)
    assert states(store) == [State.UNCERTAIN, State.RETRY]
    assert column(store, "SELECT attempt FROM submission WHERE state = 20") == [2]


def test_recovery_goes_in_steps_and_leaves_this_epoch_alone(store: Store, lane_of: Callable[..., Lane], tally_agrees: Check) -> None:
    lane = lane_of(30)
    with store.write() as connection:
        messages.open_range(connection, lane.id, 1, 1, 10, 1, 50)
        messages.open_range(connection, lane.id, 1, 11, 20, 1, 50)
        messages.open_range(connection, lane.id, 2, 21, 30, 1, 50)
    assert recover(store, epoch=2, limit=3) == 8
    assert states(store) == [State.UNCERTAIN] * 20 + [State.READY] * 10
    with store.read() as connection:
        tally_agrees(connection)
    assert column(store, "SELECT closed_ms IS NULL FROM lease ORDER BY id") == [0, 0, 1]


def test_a_lease_with_all_outcomes_is_closed_without_a_crash(store: Store, lane_of: Callable[..., Lane]) -> None:
    lane = lane_of(2)
    with store.write() as connection:
        lease_id, _ = messages.open_range(connection, lane.id, 1, 1, 2, 1, 50)
    record(store, *[outcome(lane.first_id + at, State.ACCEPTED, lease=lease_id) for at in range(2)])
    recover(store)
    assert states(store) == [State.ACCEPTED] * 2
    assert column(store, "SELECT crashed FROM lease") == [0]


@pytest.mark.parametrize("state", [State.CANCELLED, State.LAPSED])
def test_what_will_never_be_sent_is_settled_in_slices(
    store: Store, lane_of: Callable[..., Lane], tally_agrees: Check, state: State
) -> None:
    lane, other = lane_of(10), lane_of(2, name="hai", carrier="mobifone")
    first = lane.first_id
    with store.write() as connection:
        change_lane(connection, lane.id, next_position=5)
    record(
        store,
        outcome(first, State.ACCEPTED),
        outcome(first + 1, State.RETRY, status=8),
        outcome(first + 2, State.RETRY, status=8),
        outcome(other.first_id, State.RETRY, status=8),
        later=[(5, first + 1), (5, other.first_id)],
    )
    settled = []
    while not settled or settled[-1]:
        with store.write() as connection:
            fresh = next(item for item in lanes(connection, lane.campaign_id) if item.id == lane.id)
            settled.append(messages.close_rest(connection, fresh, state, 4))
            tally_agrees(connection)
    assert settled == [4, 2, 1, 0]
    assert states(store) == [State.ACCEPTED, state, State.RETRY, State.READY, *[state] * 6, State.RETRY, State.READY]
    with store.read() as connection:
        assert messages.open_count(connection, lane.id) == 2
        assert messages.open_count(connection, other.id) == 2
