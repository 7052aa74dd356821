"""Where a campaign stands, as an operator sees it: every message in one place, and why a carrier does not send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time, timedelta

import pytest

from broadcaster.flow.status import status
from broadcaster.model import CampaignState, DailyWindow
from broadcaster.store import usage
from broadcaster.store.campaigns import insert_campaign
from broadcaster.store.engine import service_lock
from broadcaster.store.links import LinkRow, put_links
from broadcaster.store.times import to_ms


def look(field):
    return status(field.store, "dien-tap", cards={"viettel": field.card}, people=field.people, now=field.clock.now())


def put_link(field, state: str, reason: str = "", *, age_ms: int = 0, carrier: str = "viettel") -> None:
    seen_ms = to_ms(field.clock.now()) - age_ms
    with field.store.write() as connection:
        put_links(connection, [LinkRow(carrier, state, reason, seen_ms, seen_ms, 12.5, 3)])


@contextmanager
def service(field) -> Iterator[None]:
    """Run a service as far as others see it: by its lock or, without a file to lock, by what it wrote lately."""
    if field.store.path is None:
        put_link(field, "bound", carrier="gmobile")
        yield
        field.clock.pass_s(6)
    else:
        with service_lock(field.store.path):
            yield


@pytest.fixture
def _service(field):
    with service(field):
        yield


def test_every_message_is_in_one_place(field):
    field.warn(12, card={"window": 4})

    async def scene(stage):
        await stage.answer(0, 0x0B, 0x14, 0)
        field.refused.add(field.token(12))
        stage.link.lose()
        await stage.calm()

    field.play(scene)
    (found,) = look(field).carriers
    assert (found.messages, found.accepted, found.refused, found.uncertain, found.suppressed) == (12, 2, 1, 4, 0)
    assert found.left == 5
    assert found.sent == 2 + 1 + 4
    assert found.sent + found.suppressed + found.closed + found.left + found.excluded == found.messages


@pytest.mark.usefixtures("_service")
def test_a_link_that_was_not_heard_of_lately_is_down(field):
    field.warn(3)
    assert look(field).carriers[0].link == "down"
    put_link(field, "refused", "RINVPASWD", age_ms=4_000)
    (found,) = look(field).carriers
    assert (found.link, found.reason, found.rate_tps) == ("refused", "RINVPASWD", 12.5)
    put_link(field, "bound", age_ms=6_000)
    (found,) = look(field).carriers
    assert (found.link, found.reason, found.rate_tps) == ("down", "", None)


def test_without_a_service_nothing_is_told_as_of_now(field):
    field.warn(3)
    with service(field):
        put_link(field, "bound")
        seen = look(field)
        assert seen.service_running
        assert (seen.carriers[0].link, seen.carriers[0].rate_tps) == ("bound", 12.5)
        assert seen.carriers[0].finish_ms is not None
    dead = look(field)
    assert not dead.service_running
    assert (dead.carriers[0].link, dead.carriers[0].rate_tps, dead.carriers[0].finish_ms) == ("down", None, None)


@pytest.mark.usefixtures("_service")
def test_a_paused_campaign_has_neither_rate_nor_end(field):
    field.warn(3)
    put_link(field, "bound")
    field.sql("UPDATE campaign SET state = 'paused'")
    (found,) = look(field).carriers
    assert (found.link, found.left, found.rate_tps, found.finish_ms) == ("bound", 3, None, None)


@pytest.mark.usefixtures("_service")
def test_the_end_is_predicted_from_the_lower_of_both_limits(field):
    field.warn(980, card={"tps": 500}, max_tps={"viettel": 10})
    (found,) = look(field).carriers
    assert found.limit_tps == 10
    assert found.finish_ms == to_ms(field.clock.now()) + 100_000


@pytest.mark.usefixtures("_service")
def test_the_end_is_predicted_inside_the_window(field):
    field.warn(980, card={"tps": 1}, window=DailyWindow(time(8), time(10, 1)))
    (found,) = look(field).carriers
    assert found.finish_ms is not None
    assert found.finish_ms > to_ms(field.clock.now()) + 22 * 3_600_000


@pytest.mark.usefixtures("_service")
def test_the_end_is_predicted_with_what_the_quota_has_lost_already(field):
    field.warn(10, card={"tps": 500, "parts_per_day": 10})
    today = look(field).carriers[0].finish_ms
    with field.store.write() as connection:
        usage.add(connection, "viettel", [to_ms(field.clock.now()) * 1_000_000])
    tomorrow = look(field).carriers[0].finish_ms
    assert today is not None
    assert tomorrow is not None
    assert tomorrow - today > 3_600_000


@pytest.mark.usefixtures("_service")
def test_a_quota_without_room_for_a_message_is_told_with_the_end_tomorrow(field):
    field.warn(10, card={"tps": 500, "parts_per_day": 10})
    assert look(field).carriers[0].quota_used is None
    with field.store.write() as connection:
        usage.add(connection, "viettel", [to_ms(field.clock.now()) * 1_000_000] * 10)
    (found,) = look(field).carriers
    assert found.quota_used == "day"
    assert found.finish_ms is not None
    assert found.finish_ms - to_ms(field.clock.now()) > 3_600_000


@pytest.mark.usefixtures("_service")
def test_an_end_that_the_deadline_forbids_is_not_told(field):
    field.warn(10, card={"tps": 500, "parts_per_month": 10})
    yesterday = field.clock.now() - timedelta(days=1)
    with field.store.write() as connection:
        usage.add(connection, "viettel", [to_ms(yesterday) * 1_000_000] * 10)
    (found,) = look(field).carriers
    assert (found.quota_used, found.finish_ms, found.left) == ("month", None, 10)


@pytest.mark.usefixtures("_service")
def test_a_closed_carrier_says_until_when(field):
    now = field.clock.now()
    field.warn(10, card={"tps": 500, "maintenance": ((now - timedelta(hours=1), now + timedelta(hours=1)),)})
    (found,) = look(field).carriers
    assert found.closed_until_ms == to_ms(now + timedelta(hours=1))
    assert found.finish_ms is not None
    assert found.finish_ms > found.closed_until_ms


def test_a_carrier_that_takes_parts_is_neither_closed_nor_used_up(field):
    field.warn(3)
    (found,) = look(field).carriers
    assert (found.closed_until_ms, found.quota_used) == (None, None)


@pytest.mark.usefixtures("_service")
def test_a_halted_lane_says_why_and_has_no_end(field):
    field.warn(3)
    assert look(field).carriers[0].finish_ms is not None
    field.sql("UPDATE lane SET halted = 'RINVSRCADR'")
    (found,) = look(field).carriers
    assert (found.halted, found.finish_ms) == ("RINVSRCADR", None)


def test_signatures_are_judged_by_the_register_of_now(field):
    field.warn(3)
    assert look(field).approvals.ok
    del field.people["truong-phong"]
    found = look(field).approvals
    assert not found.ok
    assert found.missing


def test_content_that_cannot_be_read_is_shown_as_not_approved(field):
    field.warn(3)
    field.sql("UPDATE campaign SET content_json = '{\"order\": 1}', state = 'halted'")
    found = look(field)
    assert found.campaign.state is CampaignState.HALTED
    assert not found.approvals.ok
    assert found.carriers[0].finish_ms is None


def test_the_campaigns_of_one_story_are_named(field):
    field.warn(1)
    assert (look(field).remainder_of, look(field).remainders) == (None, ())
    content = json.dumps({"order": {"audience": {"remainder_of": "dien-tap"}}})
    values = {"content_json": content, "digest": "-", "recipients": 1, "submitted_by": "x", "submitted_ms": 1, "roster_ids": []}
    with field.store.write() as connection:
        for name in ("con-lai", "con-lai-2"):
            insert_campaign(connection, name=name, **values)
    found = look(field)
    assert [(item.name, item.state) for item in found.remainders] == [
        ("con-lai", CampaignState.SUBMITTED),
        ("con-lai-2", CampaignState.SUBMITTED),
    ]
