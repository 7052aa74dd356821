"""What people ordered across all campaigns, and what was refused, on every engine."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from broadcaster.errors import RefusedError
from broadcaster.model import CampaignState, State
from broadcaster.store import control, messages, refused
from broadcaster.store.audit import Auditor
from broadcaster.store.control import AccountOrder, Stop
from broadcaster.store.engine import append
from broadcaster.store.messages import Outcome
from broadcaster.store.schema import submission

NO_ROUTE = 0x0B


def test_a_stop_stands_until_it_is_lifted(store, lane_of):
    lane_of(1)
    with store.write() as connection:
        assert control.standing_stop(connection) is None
        assert not control.sending_stopped(connection, "viettel")
        control.put_stop(connection, Stop(7, "tin sai"))
        assert control.standing_stop(connection) == Stop(7, "tin sai")
        assert control.sending_stopped(connection, "viettel")
        with pytest.raises(RefusedError):
            control.refuse_while_stopped(connection)
        control.put_stop(connection, None)
        assert not control.sending_stopped(connection, "viettel")
        control.refuse_while_stopped(connection)


def test_the_last_order_to_an_account_stands_and_concerns_it_alone(store, lane_of):
    lane_of(1)
    first = AccountOrder("viettel", True, None, "nghẽn", "test", 1)
    last = AccountOrder("viettel", True, 40, "giảm tải", "test", 2)
    other = AccountOrder("mobifone", False, 9, "giảm tải", "test", 3)
    with store.write() as connection:
        for order in (first, other, last):
            control.put_account_order(connection, order)
        assert control.account_orders(connection) == {"viettel": last, "mobifone": other}
        assert control.sending_stopped(connection, "viettel")
        assert not control.sending_stopped(connection, "mobifone")
        assert not control.sending_stopped(connection, "gmobile")


def test_campaigns_are_named_by_state_whatever_they_hold(store, lane_of):
    lane_of(1, name="mot")
    lane_of(1, name="hai")
    with store.write() as connection:
        connection.execute(text("UPDATE campaign SET state = 'running', content_json = 'x' WHERE name = 'hai'"))
        assert [name for _, name in control.campaigns_at(connection, CampaignState.RUNNING)] == ["hai"]


def test_an_audited_action_is_found_by_its_time_and_carrier(store, lane_of):
    lane_of(1)
    auditor = Auditor(b"k" * 32, "test", lambda: 50)
    with store.write() as connection:
        auditor.record(connection, "withdraw", "mot", {"carrier": "viettel"})

        def found(action="withdraw", subject="mot", since_ms=50, carrier="viettel"):
            return control.audited_since(connection, action, subject, since_ms, carrier=carrier)

        assert found()
        assert not found(since_ms=51)
        assert not found(carrier="mobifone")
        assert not found(subject="hai")
        assert not found(action="halt")


def test_refused_messages_are_counted_by_code_and_requeued_in_pages(store, lane_of, tally_agrees):
    lane = lane_of(6)
    with store.write() as connection:
        lease_id, leased = messages.open_range(connection, lane.id, 1, 1, 6, 1, 0)
        codes = (NO_ROUTE, 0, NO_ROUTE, 0x01, NO_ROUTE, 0)
        outcomes = [
            Outcome(one.id, 1, 1, lease_id, "viettel", int(State.REFUSED if code else State.ACCEPTED), code, None, 1, 1, None)
            for one, code in zip(leased, codes, strict=True)
        ]
        append(connection, submission, Outcome._fields, outcomes)
        messages.close_leases(connection, [lease_id], 1)
        messages.fold_all(connection)
        assert refused.refusing_codes(connection, lane) == {NO_ROUTE: 3, 0x01: 1}
        assert refused.count_refused(connection, lane, NO_ROUTE) == 3
        first = refused.requeue(connection, lane, NO_ROUTE, lane.first_id, 2, 99)
        assert first == [lane.first_id, lane.first_id + 2]
        assert refused.requeue(connection, lane, NO_ROUTE, first[-1] + 1, 2, 99) == [lane.first_id + 4]
        assert refused.count_refused(connection, lane, NO_ROUTE) == 0
        assert messages.due_ids(connection, lane.id, 99, 9) == [lane.first_id, lane.first_id + 2, lane.first_id + 4]
        assert messages.due_ids(connection, lane.id, 98, 9) == []
        tally_agrees(connection)
