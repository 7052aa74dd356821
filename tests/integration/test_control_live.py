"""Orders on the command line beside a running service: in force within a second, by the carriers' own books."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from broadcaster.model import State

QUIET = "seed = 1\n[receipt]\ndelay_ms = [0, 5]\n"
SLOW_RECEIPTS = "seed = 4\n[receipt]\ndelay_ms = [600000, 600000]\n"
SECOND_NS = 1_000_000_000

pytestmark = pytest.mark.slow


def ordered(rig, *words: str) -> dict:
    """Give an order on the command line; return what it answered."""
    done = rig.command(*words, "--reason", "thử", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def committed_ns(rig, action: str) -> int:
    """When the last such order was put on the audit chain."""
    with rig.open().store.read() as connection:
        query = text("SELECT max(at_ms) FROM audit WHERE action = :action")
        return int(connection.execute(query, {"action": action}).scalar_one()) * 1_000_000


def open_leases(rig, carrier: str) -> int:
    with rig.open().store.read() as connection:
        query = text("SELECT count(*) FROM lease JOIN lane ON lane.id = lane_id WHERE closed_ms IS NULL AND carrier = :carrier")
        return int(connection.execute(query, {"carrier": carrier}).scalar_one())


def sent(rig, carrier: str) -> list[int]:
    """When each part reached the carrier, in ns."""
    return [row.t for row in rig.rows(carrier) if row.event == "submit"]


def test_a_paused_carrier_and_a_stop_of_everything_hold_within_a_second_and_through_a_restart(make_rig):
    rig = make_rig({"viettel": QUIET, "gmobile": QUIET}, 1000, tps=20)
    service = rig.serve()
    rig.wait_for(lambda: len(sent(rig, "gmobile")) > 20, service)
    assert ordered(rig, "carrier", "pause", "gmobile")["paused"]
    before = len(sent(rig, "viettel"))
    rig.wait_for(lambda: not open_leases(rig, "gmobile") and len(sent(rig, "viettel")) > before + 20, service)
    assert max(sent(rig, "gmobile")) <= committed_ns(rig, "carrier-pause") + SECOND_NS

    assert ordered(rig, "stop-all")["paused"] == ["dien-tap"]
    rig.wait_for(lambda: not open_leases(rig, "viettel"), service)
    assert rig.command("campaign", "resume", "dien-tap", "--reason", "thử").returncode == 4
    for words in (("service", "status"), ("campaign", "status", "dien-tap")):
        said = rig.command(*words).stdout
        assert "ĐÃ DỪNG TOÀN BỘ" in said
        assert "tạm ngừng" in said
    assert rig.stop(service) == 0
    service = rig.serve()
    rig.wait_for(lambda: {item.link for item in rig.status().carriers} == {"bound"}, service)
    stood = ordered(rig, "stop-all", "--lift")
    assert (stood["stopped"], stood["paused"]) == (False, ["dien-tap"])
    assert max(sent(rig, "viettel")) <= committed_ns(rig, "stop-all") + SECOND_NS

    ordered(rig, "campaign", "resume", "dien-tap")
    ordered(rig, "carrier", "resume", "gmobile")
    assert ordered(rig, "carrier", "rate", "viettel", "10")["tps"] == 10
    stood_at = {code: len(sent(rig, code)) for code in ("viettel", "gmobile")}
    rig.wait_for(lambda: all(len(sent(rig, code)) > count + 10 for code, count in stood_at.items()), service)
    ordered(rig, "campaign", "cancel", "dien-tap")
    rig.wait_for(lambda: rig.count(State.READY) == rig.count(State.RETRY) == rig.count(State.ACCEPTED) == 0, service)
    assert rig.stop(service) == 0
    assert max(row.t for row in rig.submits()) <= committed_ns(rig, "cancel") + SECOND_NS
    assert [check.id for check in rig.verify() if not check.ok] == []


def test_a_cancelled_campaign_is_asked_back_from_a_carrier_that_can(make_rig):
    rig = make_rig({"viettel": SLOW_RECEIPTS}, 1000, tps=40, absent=("viettel",))
    card = rig.folder / "carriers" / "viettel.toml"
    card.write_text("cancels = true\n" + card.read_text())
    rig.simulate("viettel", rig.port("viettel"))
    service = rig.serve()
    rig.wait_for(lambda: rig.taken() > 40, service)
    ordered(rig, "campaign", "cancel", "dien-tap")
    rig.wait_for(lambda: rig.count(State.DELETED) > 40, service)
    rig.wait_for(lambda: rig.count(State.ACCEPTED) == 0, service)
    assert rig.stop(service) == 0
    assert rig.count(State.DELETED) == rig.taken()
    assert [check.id for check in rig.verify() if not check.ok] == []
