"""The service and its carriers as real processes: from schedule to proof, through stops, kills, orders and carriers that fail."""

from __future__ import annotations

import threading
import time

import pytest

from broadcaster.flow import admit
from broadcaster.model import State, Variant

QUIET = "seed = 1\n[receipt]\ndelay_ms = [0, 5]\n"
LATE = "seed = 1\n[response]\nid = 'hex'\n[receipt]\nid = 'decimal'\ndelay_ms = [500, 1500]\n"
REPLIES = (
    "seed = 2\n[receipt]\ndelay_ms = [0, 5]\n[reply]\nshare = 0.3\ndelay_ms = [0, 5]\n[refuse]\nshare = 0.05\nstatus = 0x0B\n"
    "[throttle]\ntps = 150\n"
)
CROSS = "seed = 3\n[receipt]\ndelay_ms = [0, 5]\nbefore_response_share = 0.3\nduplicate_share = 0.2\n[disconnect]\nafter = 120\n"

pytestmark = pytest.mark.slow


def failures(checks):
    return [(check.id, [detail.en for detail in check.details]) for check in checks if not check.ok]


def uncertain_of(checks) -> int:
    (check,) = (check for check in checks if check.id == "I6")
    return int(check.said.en.rsplit(" ", 1)[1])


def wait_s(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_a_campaign_is_sent_and_every_record_agrees_with_the_carriers(make_rig):
    rig = make_rig({"viettel": CROSS, "gmobile": REPLIES}, 300, tps=2000, starts_in_s=4)
    starts_ms = rig.status().campaign.planned_ms
    service = rig.serve("--until-idle")
    rig.wait_for(lambda: service.poll() is not None)
    assert service.returncode == 0
    assert rig.state() == "finished"
    # The rest of the receipts and replies comes to the next service.
    service = rig.serve()
    rig.wait_for(lambda: rig.service_log.read_text().count("started ") == 2, service)
    rig.wait_for(lambda: rig.count(State.ACCEPTED) == 0, service)
    assert rig.stop(service) == 0
    checks = rig.verify()
    assert failures(checks) == []
    submits = rig.submits()
    assert submits[0].t >= starts_ms * 1_000_000
    assert uncertain_of(checks) <= 2 * 20  # the carrier that broke the connection off
    # Refusals texted in the middle are obeyed within a second.
    replies = [row for row in rig.rows("gmobile") if row.event == "mo"]
    assert len(replies) > 20
    refused_at = {row.dst: row.t for row in replies if row.acked}
    assert all(row.t <= refused_at.get(row.dst, row.t) + 1_000_000_000 for row in submits)
    throttled = sum(row.status == 0x58 for row in submits)
    assert throttled > 0
    assert rig.count(State.REFUSED) > 5


def test_a_long_text_arrives_whole_through_a_stop_and_a_start(make_rig):
    rig = make_rig({"vinaphone": LATE}, 120, tps=100, variant=Variant.ACCENTED)
    service = rig.serve()
    rig.wait_for(lambda: rig.taken() >= 60, service)
    # Stopped while receipts are owed and messages are half sent: nothing is left half, nothing unknown.
    assert rig.stop(service) == 0
    assert 60 <= rig.taken() < 360
    assert rig.taken() % 3 == 0
    assert rig.count(State.UNCERTAIN) == 0
    service = rig.serve()
    rig.wait_for(lambda: rig.state() == "finished", service)
    rig.wait_for(lambda: rig.count(State.ACCEPTED) == 0, service)
    assert rig.stop(service) == 0
    checks = rig.verify()
    assert failures(checks) == []
    assert uncertain_of(checks) == 0
    parts: dict[str, list[tuple[int | None, int | None]]] = {}
    for row in rig.submits():
        parts.setdefault(row.dst, []).append((row.part, row.ref))
    assert len(parts) == 120
    assert all([part for part, _ in found] == [1, 2, 3] for found in parts.values())
    # The number that ties the parts together is each subscriber's own (F60).
    assert all(len({ref for _, ref in found}) == 1 for found in parts.values())
    assert len({ref for found in parts.values() for _, ref in found}) > 50


def test_a_pause_and_a_cancellation_from_another_process_take_effect_within_a_second(make_rig):
    rig = make_rig({"viettel": QUIET}, 1200, tps=150)
    service = rig.serve()
    for act, other in ((admit.pause, admit.resume), (admit.pause, admit.resume), (admit.cancel, None)):
        before = rig.taken()
        rig.wait_for(lambda before=before: rig.taken() >= before + 50, service)
        committed_ns = rig.control(act)
        wait_s(1.5)
        assert rig.submits()[-1].t <= committed_ns + 1_000_000_000
        if other:
            rig.control(other)
    rig.wait_for(lambda: rig.count(State.READY) + rig.count(State.RETRY) == 0, service)
    assert rig.stop(service) == 0
    assert rig.state() == "cancelled"
    assert rig.count(State.CANCELLED) > 300
    checks = rig.verify()
    assert failures(checks) == []
    assert uncertain_of(checks) == 0


def test_carriers_that_fail_do_not_stop_the_others(make_rig):
    """One refuses our password, one is not there at first; and a second service is turned away."""
    rig = make_rig({"viettel": QUIET, "mobifone": QUIET, "gmobile": QUIET}, 60, tps=2000, absent=("gmobile",))
    rig.write_card("mobifone", rig.port("mobifone"), password="sai-roi")
    service = rig.serve()
    rig.wait_for(lambda: next(iter(rig.rows("viettel")), None) is not None, service)

    second = rig.command("service", "run")
    assert second.returncode == 11
    assert len(second.stderr.strip().splitlines()) <= 2

    def links() -> dict[str, tuple[str, str]]:
        return {item.carrier: (item.link, item.reason) for item in rig.status().carriers}

    rig.wait_for(lambda: links()["gmobile"][0] == "lost", service)
    assert "127.0.0.1" in links()["gmobile"][1]
    rig.simulate("gmobile", rig.port("gmobile"))
    rig.wait_for(lambda: sum(row.status == 0 for row in rig.rows("gmobile")) == 60, service)
    rig.wait_for(lambda: links()["mobifone"][0] == "stopped", service)
    assert "RINVPASWD" in links()["mobifone"][1]
    assert sum(row.status == 0 for row in rig.rows("viettel")) == 60
    assert rig.state() == "running"

    # With the password mended and the service started again, the rest goes.
    assert rig.stop(service) == 0
    rig.write_card("mobifone", rig.port("mobifone"))
    service = rig.serve("--until-idle")
    rig.wait_for(lambda: service.poll() is not None)
    assert service.returncode == 0
    assert failures(rig.verify()) == []
    assert rig.taken() == 180


def test_a_register_that_breaks_and_a_lane_that_is_tampered_with_stop_the_sending_and_say_so(make_rig):
    rig = make_rig({"viettel": QUIET}, 2000, tps=200, most=2000)
    service = rig.serve()
    rig.wait_for(lambda: rig.taken() >= 50, service)
    people = rig.folder / "people.toml"
    sound = people.read_text()
    people.write_text("[[person]\n")
    broken_ns = time.time_ns()
    wait_s(1.5)
    assert rig.submits()[-1].t <= broken_ns + 1_000_000_000
    assert service.poll() is None
    assert "lease-failed" in rig.service_log.read_text()
    assert rig.state() == "running"
    people.write_text(sound)
    before = rig.taken()
    rig.wait_for(lambda: rig.taken() >= before + 50, service)
    with rig.open().store.write() as connection:
        connection.exec_driver_sql("UPDATE lane SET body = 'Chuyen tien ngay'")
    rig.wait_for(lambda: rig.state() == "halted", service)
    rig.wait_for(lambda: rig.count(State.READY) + rig.count(State.RETRY) == 0, service)
    assert rig.stop(service) == 0
    assert len({row.sha for row in rig.submits()}) == 1
    assert {check[0] for check in failures(rig.verify())} == {"I8", "I5"}  # the text is not the signed one any more


def test_what_is_not_this_installation_s_is_refused_with_its_exit_code(make_rig):
    rig = make_rig({"viettel": QUIET}, 5)
    database = rig.open().store.path
    config = rig.folder / "broadcaster.toml"
    sound = config.read_text()

    def run() -> tuple[int, str]:
        done = rig.command("service", "run", "--until-idle")
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done.returncode, done.stderr

    config.write_text(sound.replace('environment = "rehearsal"', 'environment = "live"'))
    assert run()[0] == 5
    config.write_text(sound)

    vault_key = rig.folder / "vault.key"
    key = vault_key.read_bytes()
    vault_key.write_bytes((rig.folder / "audit.key").read_bytes())
    code, said = run()
    assert (code, "vault.key" in said) == (5, True)
    vault_key.write_bytes(key)

    with rig.open().store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert run()[0] == 10

    database.write_bytes(b"not a database at all, though it is long enough to be read as one" * 100)
    assert run()[0] == 10
    for path in [database, *database.parent.glob(database.name + "-*")]:
        path.unlink()
    assert run()[0] == 10
    assert rig.submits() == []
