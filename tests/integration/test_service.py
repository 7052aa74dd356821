"""The service as real processes: a campaign from schedule to proof, and kill -9 in the middle of one."""

from __future__ import annotations

import pytest

from broadcaster.model import Variant

QUIET = "seed = 1\n[receipt]\ndelay_ms = [0, 5]\n"
REPLIES = "seed = 2\n[receipt]\ndelay_ms = [0, 5]\n[reply]\nshare = 0.05\ndelay_ms = [0, 5]\n[refuse]\nshare = 0.05\nstatus = 0x0B\n"

pytestmark = pytest.mark.slow


def failures(checks):
    return [(check.id, [detail.en for detail in check.details]) for check in checks if not check.ok]


def test_a_campaign_is_sent_and_every_record_agrees_with_the_carriers(make_rig):
    rig = make_rig({"viettel": QUIET, "gmobile": REPLIES}, 300, tps=2000)
    service = rig.serve()
    rig.wait_for(lambda: rig.state() == "finished", service)
    assert rig.stop(service) == 0
    assert failures(rig.verify()) == []
    assert 300 <= rig.taken() <= 600


def test_a_long_text_arrives_whole_and_in_order(make_rig):
    rig = make_rig({"vinaphone": QUIET}, 100, tps=2000, variant=Variant.ACCENTED)
    service = rig.serve()
    rig.wait_for(lambda: rig.state() == "finished", service)
    rig.stop(service)
    assert failures(rig.verify()) == []
    parts: dict[str, list[tuple[int | None, int | None]]] = {}
    for row in rig.rows("vinaphone"):
        if row.event == "submit":
            parts.setdefault(row.dst, []).append((row.part, row.ref))
    assert len(parts) == 100
    assert all([part for part, _ in found] == [1, 2, 3] for found in parts.values())
    assert len({ref for found in parts.values() for _, ref in found}) == 1


def test_killed_in_the_middle_nobody_is_lost_and_nobody_gets_it_twice(make_rig):
    rig = make_rig({"viettel": QUIET, "mobifone": QUIET}, 600, tps=400)
    for target in (150, 400, 700):
        service = rig.serve()
        rig.wait_for(lambda target=target: rig.taken() >= target, service)
        service.kill()
        service.wait()
    service = rig.serve()
    rig.wait_for(lambda: rig.state() == "finished", service)
    assert rig.stop(service) == 0
    checks = rig.verify()
    assert failures(checks) == []
    uncertain = next(check for check in checks if check.id == "I6")
    assert int(uncertain.said.en.rsplit(" ", 1)[1]) <= 3 * 2 * 2 * 20
    received = [row.dst for code in rig.ledgers for row in rig.rows(code) if row.event == "submit" and row.status == 0]
    assert len(received) == len(set(received))
    assert len(received) >= 1200 - 3 * 2 * 2 * 20
