"""The statements that run for every batch must begin with the few rows at hand and look the others up: no walk through a big table.

There is deliberately no ANALYZE: its figures, taken while most columns are still empty, once made SQLite ignore the right index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from broadcaster.model import AreaCode, RosterId, State
from broadcaster.store import audience, messages, receipts
from broadcaster.store.audience import Rule
from broadcaster.store.campaigns import Lane, lanes
from broadcaster.store.engine import Store
from broadcaster.store.messages import Outcome
from broadcaster.store.receipts import Received

pytestmark = pytest.mark.sqlite_only(reason="these are SQLite's plans")

SMALL = {
    "scratch",
    "folded",
    "hit",
    "target",
    "slice",
    "h",
    "best",
    "worst",
    "picked",
    "candidate",
    "moves",
    "CONSTANT",
    "json_each",
    "moved",
}
SMALL |= {"installation"}
BIG = {"message", "submission", "receipt", "subscriber", "opt_out", "cell", "m", "s", "r", "o", "c", "refusal"}


@contextmanager
def planned(store: Store) -> Iterator[dict[str, list[str]]]:
    """Collect the plan of every statement that runs inside the block: statement → lines of EXPLAIN QUERY PLAN."""
    plans: dict[str, list[str]] = {}

    def explain(connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            plans[statement] = [row[3] for row in cursor.fetchall()]
            cursor.close()

    event.listen(store.engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(store.engine, "before_cursor_execute", explain)


def walks(plans: dict[str, list[str]]) -> list[str]:
    """Return the plan lines that walk a whole big table or a whole index of one."""
    lines = [line.split() for plan in plans.values() for line in plan]
    assert all(words[1] in SMALL | BIG | {"lease", "lane"} or words[1].startswith("(") for words in lines if words[0] == "SCAN"), (
        lines
    )
    return [" ".join(words) for words in lines if words[0] == "SCAN" and words[1] in BIG]


@pytest.fixture
def filled(store: Store, lane_of: Callable[..., Lane]) -> Lane:
    """A lane in the middle of its life: some messages answered, some set aside."""
    lane = lane_of(50)
    with store.write() as connection:
        lease_id, _ = messages.open_range(connection, lane.id, 1, 1, 20, 1, 1)
        rows = [
            Outcome(
                lane.first_id + at, 1, 1, lease_id, "viettel", State.RETRY if at % 2 else State.ACCEPTED, 0, f"id-{at}", 1, 1, None
            )
            for at in range(10)
        ]
        messages.record_outcomes(connection, rows)
        messages.defer(connection, [(5, row.message_id) for row in rows])
    return lane


def test_leases(store: Store, filled: Lane) -> None:
    with planned(store) as plans, store.write() as connection:
        messages.open_range(connection, filled.id, 1, 21, 25, 1, 1)
        due = messages.due_ids(connection, filled.id, 9, 3)
        messages.open_list(connection, filled.id, 1, due, 1, 1)
    assert due
    assert len(plans) >= 6
    assert walks(plans) == []
    (plan,) = [plan for statement, plan in plans.items() if "ORDER BY not_before_ms" in statement]
    assert plan == ["SEARCH message USING COVERING INDEX ix_message_due (not_before_ms<?)"]


def test_outcomes(store: Store, filled: Lane) -> None:
    with planned(store) as plans, store.write() as connection:
        rows = [Outcome(filled.first_id + 12, 1, 1, 1, "viettel", State.ACCEPTED, 0, "new", 1, 1, None)]
        messages.record_outcomes(connection, rows)
        messages.record_outcomes(connection, [rows[0]._replace(attempt=2)])
        messages.defer(connection, [(1, filled.first_id + 1)])
        messages.close_leases(connection, [1], 1)
    assert len(plans) >= 8
    assert walks(plans) == []


def test_receipts(store: Store, filled: Lane) -> None:
    with planned(store) as plans, store.write() as connection:
        token = connection.execute(text("SELECT token FROM message WHERE id = :id"), {"id": filled.first_id}).scalar_one()
        new = [Received("viettel", smsc_id, token, "?", int(State.DELIVERED), None, 1) for smsc_id in ("id-0", "astray")]
        receipts.record_receipts(connection, new)
        messages.fold_all(connection)
        messages.close_leases(connection, [1], 1)
        messages.fold_all(connection)
        assert receipts.unmatched(connection) == 1
    assert len(plans) >= 16
    assert set(walks(plans)) == {"SCAN receipt USING INDEX ix_receipt_unmatched"}
    for statement, index in (("FROM receipt r", "ix_submission_awaiting"), ("FROM scratch", "ix_receipt_unmatched")):
        assert any(index in line for found, plan in plans.items() if statement in found for line in plan)
    assert any("ix_lease_unfolded" in line for plan in plans.values() for line in plan)


def test_the_sweep_walks_only_what_is_unmatched(store: Store) -> None:
    with planned(store) as plans, store.write() as connection:
        receipts.match(connection)
        receipts.unmatched(connection)
    assert walks(plans) == [
        "SCAN r USING INDEX ix_receipt_unmatched",
        "SCAN receipt USING INDEX ix_receipt_unmatched",
    ]


def test_recovery_and_closing(store: Store, filled: Lane) -> None:
    with planned(store) as plans, store.write() as connection:
        assert messages.recover(connection, 2, 1, 100)
        messages.close_rest(connection, filled, State.LAPSED, 100)
        messages.close_rest(connection, lanes(connection, filled.campaign_id)[0]._replace(next_position=51), State.LAPSED, 100)
        messages.open_count(connection, filled.id)
    found = walks(plans)
    assert [line for line in found if "ix_message_due" not in line] == []
    assert [line for plan in plans.values() for line in plan if line.startswith("SCAN lease")] == [
        "SCAN lease USING INDEX ix_lease_open"
    ]


@pytest.mark.parametrize("communes", [[], [AreaCode("21025")]])
def test_one_slice_of_an_audience(store: Store, filled: Lane, communes: list[AreaCode]) -> None:
    rule = Rule([RosterId(1), RosterId(2)], communes, 24, obey_refusals=True)
    with planned(store) as plans, store.write() as connection:
        audience.prepare(connection, rule)
        audience.count(connection, rule, b"\x10", b"\x20")
        audience.enlist(connection, rule, [filled], b"\x10", b"\x20")
    assert walks(plans) == []
    searched = {line for plan in plans.values() for line in plan if line.startswith("SEARCH s ")}
    assert searched == {"SEARCH s USING PRIMARY KEY (roster_id=? AND token>? AND token<?)"}
