"""What the service says of what other processes did, and of its links."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from broadcaster.lang import speak
from broadcaster.link.client import LinkState
from broadcaster.model import CampaignState
from broadcaster.service.app import _tell_refusals
from broadcaster.service.line import Standing
from broadcaster.service.local import Campaigns
from broadcaster.store.campaigns import change_campaign, insert_campaign
from broadcaster.store.refusals import Refusal
from broadcaster.store.schema import installation
from broadcaster.store.times import SYSTEM


@pytest.fixture
def campaigns(store, auditor, now, monkeypatch):
    """What is to be sent of them is no matter here."""
    with store.write() as connection:
        named = {"vault_fingerprint": "-", "audit_fingerprint": "-"}
        connection.execute(insert(installation).values(id=1, environment="rehearsal", created_ms=0, epoch=1, **named))
    monkeypatch.setattr(Campaigns, "_assign", lambda *_: None)
    return Campaigns(SimpleNamespace(store=store, auditor=auditor), None, {}, now=lambda: now, planned=lambda times: None)


@pytest.fixture
def stand(store, campaigns):
    """Put the one campaign into a state as another process does, and return what the next two looks say."""
    with store.write() as connection:
        values = {"content_json": "{}", "digest": "-", "recipients": 1, "submitted_by": "test", "submitted_ms": 0, "roster_ids": []}
        campaign_id = insert_campaign(connection, name="thu", **values)

    def stand(state, **more):
        with store.write() as connection:
            change_campaign(connection, campaign_id, CampaignState(state), **more)
        with capture_logs() as lines:
            for _ in range(2):
                campaigns.look()
        return [{key: line[key] for key in line if key not in {"event", "campaign"}} for line in lines if line["event"] == "campaign"]

    return stand


def test_each_move_by_another_process_is_told_once(stand):
    assert stand("submitted") == []
    assert stand("running") == [{"state": "running", "log_level": "info"}]
    assert stand("paused", reason="chờ") == [{"state": "paused", "action": "pause", "reason": "chờ", "log_level": "info"}]
    assert stand("running", reason="tiếp") == [{"state": "running", "action": "resume", "reason": "tiếp", "log_level": "info"}]
    assert stand("halted", reason="sai") == [{"state": "halted", "action": "halt", "reason": "sai", "log_level": "warning"}]


@pytest.mark.parametrize(("state", "action"), [("cancelled", "cancel"), ("finished", "finish")])
def test_an_end_is_told(stand, state, action):
    stand("running")
    (line,) = stand(state, reason="thôi")
    assert (line["action"], line.get("reason")) == (action, "thôi" if action == "cancel" else None)


def test_an_ended_campaign_that_cannot_be_read_stops_nothing(stand, store):
    stand("running")
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE campaign SET content_json = '{'")
    (line,) = stand("halted")
    assert line["action"] == "halt"


def test_refusals_are_counted_and_not_named():
    with capture_logs() as lines:
        _tell_refusals([Refusal(token, refuses, "reply", "TC", 1) for token, refuses in ((b"a", True), (b"b", True), (b"c", False))])
        _tell_refusals([])
    assert [(line["event"], line["count"]) for line in lines] == [("refusals", 2), ("refusals-withdrawn", 1)]


def test_a_link_that_fails_is_a_warning_and_one_that_is_bound_says_with_whom():
    standing = Standing("viettel", 2, SYSTEM)
    speak("en")
    with capture_logs() as lines:
        for state in (LinkState.CONNECTING, LinkState.BOUND, LinkState.LOST, LinkState.REFUSED, LinkState.STOPPED):
            standing.note(state, "smsc-1")
    assert [entry["log_level"] for entry in lines] == ["info", "info", "warning", "warning", "info"]
    assert lines[1]["reason"] == "the carrier calls itself “smsc-1”"
