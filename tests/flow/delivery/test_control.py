"""What people order across all campaigns: everything stopped, a carrier paused or slowed; in force at the next lease."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broadcaster.errors import RefusedError
from broadcaster.flow import admit, control
from broadcaster.flow.lease import Denied, Grant
from broadcaster.model import CampaignState
from broadcaster.store.control import account_orders, standing_stop
from broadcaster.store.times import to_ms

LONG = "CANH BAO LUA DAO " * 26
"""Three parts."""


def take(field, limit: int = 4):
    with field.store.write() as connection:
        return field.gate().take(connection, "dien-tap", field.lane.id, limit, field.clock.now())


def stop(field, reason="tin sai"):
    return control.stop_all(field.store, field.auditor, reason=reason, now=field.clock.now())


def lift(field):
    return control.lift_stop(field.store, field.auditor, reason="đã sửa")


def resume(field):
    return admit.resume(field.store, field.auditor, "dien-tap", reason="tiếp", now=field.clock.now())


def pause_carrier(field):
    return control.pause_carrier(field.store, field.auditor, field.card, reason="nghẽn", now=field.clock.now())


def resume_carrier(field):
    return control.resume_carrier(field.store, field.auditor, field.card, reason="hết nghẽn", now=field.clock.now())


def rate(field, tps):
    return control.set_rate(field.store, field.auditor, field.card, tps, reason="giảm tải", now=field.clock.now())


def test_a_stop_pauses_what_runs_and_is_audited_once_each(field):
    field.warn(4)
    found = stop(field)
    assert (found.stop.reason, found.running, found.paused) == ("tin sai", [], ["dien-tap"])
    assert found.stop.since_ms == to_ms(field.clock.now())
    assert field.campaign().state is CampaignState.PAUSED
    assert (field.audited("stop-all"), field.audited("pause")) == (1, 1)
    assert control.standing(field.store) == found
    assert "I15" not in field.failing()


def test_a_stop_works_on_a_database_with_a_damaged_campaign(field):
    field.warn(4)
    field.sql("UPDATE campaign SET content_json = 'x'")
    assert stop(field).paused == ["dien-tap"]


def test_a_second_stop_leaves_the_first_in_force(field):
    field.warn(4)
    first = stop(field)
    field.clock.pass_s(10)
    assert stop(field, "lần nữa").stop == first.stop
    assert field.audited("stop-all") == 2


def test_nothing_is_leased_while_stopped_even_if_a_campaign_were_running(field):
    field.warn(4)
    stop(field)
    field.sql("UPDATE campaign SET state = 'running'")
    assert take(field) is Denied.STOPPED
    lift(field)
    assert isinstance(take(field), Grant)


def test_after_the_lift_a_campaign_waits_for_its_own_resume(field):
    field.warn(4)
    stop(field)
    with pytest.raises(RefusedError) as caught:
        resume(field)
    assert "stop-all --lift" in caught.value.hint.vi
    assert field.campaign().state is CampaignState.PAUSED
    assert lift(field).paused == ["dien-tap"]
    assert take(field) is Denied.NOT_RUNNING
    assert resume(field).state is CampaignState.RUNNING
    assert isinstance(take(field), Grant)


def test_there_is_nothing_to_lift_when_nothing_is_stopped(field):
    with pytest.raises(RefusedError):
        lift(field)
    assert field.audited("stop-lift") == 0


def test_a_paused_carrier_gets_no_lease_of_any_campaign_and_the_others_do(field):
    field.warn(4)
    assert pause_carrier(field).paused
    assert take(field) is Denied.STOPPED
    field.sql("UPDATE account SET carrier = 'mobifone'")
    assert isinstance(take(field), Grant)


def test_a_resumed_carrier_keeps_the_rate_that_was_ordered(field):
    field.warn(4, card={"tps": 100})
    rate(field, 40)
    pause_carrier(field)
    assert resume_carrier(field).tps == 40
    assert rate(field, None).tps is None
    assert [field.audited(f"carrier-{verb}") for verb in ("pause", "resume", "rate")] == [1, 1, 2]


def test_pausing_twice_and_resuming_what_is_open_is_refused(field):
    field.warn(1)
    with pytest.raises(RefusedError):
        resume_carrier(field)
    pause_carrier(field)
    with pytest.raises(RefusedError):
        pause_carrier(field)
    assert field.audited("carrier-resume") == 0


@pytest.mark.parametrize(("contract", "tps"), [(100, 101), (100, 0), (None, 0)])
def test_a_rate_above_the_card_or_of_nothing_is_refused(field, contract, tps):
    field.card = replace(field.card, tps=contract)
    with pytest.raises(RefusedError):
        rate(field, tps)
    with field.store.read() as connection:
        assert account_orders(connection) == {}


@pytest.mark.parametrize(("contract", "tps"), [(100, 100), (100, 1), (None, 5000)])
def test_a_rate_up_to_the_card_is_kept(field, contract, tps):
    field.card = replace(field.card, tps=contract)
    rate(field, tps)
    with field.store.read() as connection:
        assert account_orders(connection)[field.card.code].tps == tps
        assert standing_stop(connection) is None
