"""One campaign by the commands an operator types, from an empty folder to the proof; and what each refuses on the way."""

import contextlib
import datetime as dt
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.flow import enlist
from broadcaster.store.campaigns import find_campaign
from broadcaster.store.engine import open_store
from tests.integration.command_line import CommandLine, Said

REPOSITORY = Path(__file__).parents[2]
BASIS = ("--legal-basis", "01/DT", "--legal-date", "2026-01-05", "--observed-at", "newest")
PEOPLE = {"can-bo-soan": "author", "lanh-dao-so": "approver", "pho-giam-doc": "approver"}
ORDER = """
[campaign]
title = "Diễn tập: giả danh Công an"
environment = "rehearsal"
class = "advisory"
[instruction]
number = "12/CT-UBND"
date = 2019-06-12
issued_by = "Ủy ban nhân dân tỉnh Quảng Ngãi"
[text]
template = "T08"
variant = "unaccented"
sender = "SKHCN-QNG"
[audience]
areas = ["Xã Bình Sơn", "21548"]
carriers = ["viettel"]
active_within_h = 72
roster_max_age_h = 48
max_recipients = 500
[time]
window = "all-day"
start_within_h = 2
deadline_h = 12
validity_h = 12
"""
RECIPIENTS = 30
IN_CLEAR = re.compile(r"(?<!\d)(84|0)9\d{8}(?!\d)")


class Desk:
    """An operator's desk: a folder with an installation, and the command line."""

    def __init__(self, command_line: CommandLine) -> None:
        self.folder = command_line.folder
        self._type = command_line

    def __call__(self, *arguments: str, stdin: str = "") -> Said:
        said = self._type(*arguments, stdin=stdin)
        assert not IN_CLEAR.search(said.out + said.err), "a number stands in clear"
        return said

    def ok(self, *arguments: str, stdin: str = "") -> Said:
        said = self(*arguments, stdin=stdin)
        assert said.code == 0, said
        return said

    def order(self, name: str, change: Callable[[str], str] = str) -> str:
        path = self.folder / "campaigns" / f"{name}.toml"
        path.write_text(change(ORDER), encoding="utf-8")
        return str(path)


@pytest.fixture
def desk(command_line: CommandLine) -> Desk:
    return Desk(command_line)


@pytest.fixture
def stocked(desk: Desk) -> Desk:
    """The desk with a carrier, its cells, its subscribers and the people who sign."""
    card = (REPOSITORY / "carriers" / "rehearsal" / "viettel.toml").read_text("utf-8")
    (desk.folder / "carriers" / "viettel.toml").write_text(card, encoding="utf-8")
    for name, role in PEOPLE.items():
        desk.ok("person", "add", name, "--title", name, "--role", role, "--new-key", f"keys/{name}.pem")
    cells = ["carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"]
    cells += [
        f"viettel,lte,452,04,100,{1000 + at},S{at},15.3,108.8,{commune},2025-07-01,"
        for at, commune in enumerate(("Xã Bình Sơn", "21548", "21025"))
    ]
    (desk.folder / "cells.csv").write_text("\n".join(cells) + "\n", encoding="utf-8")
    desk.ok("cell", "import", "cells.csv")
    seen = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).isoformat(timespec="seconds")
    rows = [f"849612{at:05d},lte:452-04:{1000 + at % 3},{seen}" for at in range(46)]
    rows += [f"849613{at:05d},lte:452-04:9999,{seen}" for at in range(3)] + ["không phải số,lte:452-04:1000," + seen]
    (desk.folder / "viettel.csv").write_text("\n".join(["msisdn,cell,last_seen", *rows]) + "\n", encoding="utf-8")
    said = desk.ok("roster", "import", "viettel.csv", "--carrier", "viettel", *BASIS, "--json")
    assert (said.document["rows"], said.document["kept"], said.document["dropped"]) == (50, 49, {"not-a-number": 1})
    desk.ok("optout", "add", "--evidence", "Phiếu số 1", stdin="0961 200 000\n")
    return desk


def test_an_empty_installation_checks_itself(desk: Desk) -> None:
    said = desk("config", "check", "--json")
    assert (said.code, said.document["carriers"]) == (0, 5)
    (desk.folder / "carriers" / "viettel.toml").write_text('name = "Viettel"\ntsp = 5\n', encoding="utf-8")
    (desk.folder / "templates" / "dien-tap.toml").write_text("version = 1\n", encoding="utf-8")
    (desk.folder / "vault.key").chmod(0o644)
    problems = json.loads(desk("config", "check", "--json").err)["problems"]
    assert {Path(problem["file"]).name for problem in problems} == {"viettel.toml", "dien-tap.toml", "vault.key"}
    assert any(problem["key"] == "tsp" for problem in problems)


def test_an_installation_is_never_made_over_files(desk: Desk) -> None:
    said = desk("init", str(desk.folder))
    assert said.code == 5
    assert str(desk.folder) in said.err


def test_the_database_says_its_version(desk: Desk) -> None:
    said = desk.ok("db", "upgrade", "--json").document
    assert said["before"] == said["after"]
    (desk.folder / "state" / "broadcaster.db").unlink()
    assert desk("db", "upgrade").code == 10
    assert desk("campaign", "list").code == 10


def test_people_and_keys(desk: Desk) -> None:
    desk.ok(
        "person", "add", "truc-ban", "--title", "Trực ban", "--role", "duty-officer", "--role", "approver", "--new-key", "keys/a.pem"
    )
    (key,) = (item["public_key"] for item in desk.ok("person", "list", "--json").document)
    again = ["person", "add", "nguoi-khac", "--title", "Ai đó", "--role", "approver"]
    assert desk(*again, "--public-key", key).code == 4
    assert desk(*again, "--new-key", "keys/a.pem").code == 4
    assert desk(*again, "--public-key", "không phải khóa").code == 2
    assert desk(*again).code == 2
    assert desk("person", "add", "truc-ban", "--title", "x", "--role", "approver", "--new-key", "keys/b.pem").code == 4
    assert not (desk.folder / "keys" / "b.pem").exists()
    assert (desk.folder / "keys" / "a.pem").stat().st_mode & 0o777 == 0o600
    assert len(desk.ok("person", "list", "--json").document) == 1


def test_refusals_come_from_argv_file_or_stdin_and_are_always_masked(desk: Desk) -> None:
    (desk.folder / "so.txt").write_text("\ufeff+84 905 000 001\n\n0905.000.002\n", encoding="utf-8")
    assert desk.ok("optout", "add", "--file", "so.txt", "--evidence", "Đơn", "--json").document == {
        "recorded": 2,
        "refused_before": 0,
        "scope": "all",
    }
    desk.ok("optout", "add", "0905000003", "--evidence", "Đơn")
    said = desk.ok("optout", "list", "--limit", "2", "--json").document
    assert said["refusing"] == 3
    assert [item["number"] for item in said["newest"]] == ["8490****003", "8490****002"]
    bad = desk("optout", "add", "--evidence", "Đơn", "--json", stdin="0905000004\n0905\nabc\n")
    assert bad.code == 2
    assert [problem["line"] for problem in json.loads(bad.err)["problems"]] == [2, 3]
    assert desk("optout", "add", "--evidence", "Đơn", stdin="").code == 2
    assert desk("optout", "add", "0905000004", "--evidence", "Máy 0905 000 004").code == 5
    assert "nhập từ đơn" in desk.ok("optout", "list").out
    assert desk.ok("optout", "list", "--json").document["refusing"] == 3
    assert desk("optout", "add", "0905000004", "--file", "so.txt", "--evidence", "Đơn").code == 2


def test_a_roster_of_the_wrong_carrier_is_refused(stocked: Desk) -> None:
    before = stocked.ok("roster", "list", "--json").document
    text = (stocked.folder / "viettel.csv").read_text("utf-8")
    (stocked.folder / "other.csv").write_text(text.replace("452-04", "452-01"), encoding="utf-8")
    wrong = stocked("roster", "import", "other.csv", "--carrier", "viettel", *BASIS)
    assert wrong.code == 4
    assert "49/49" in wrong.err
    assert stocked("roster", "import", "viettel.csv", "--carrier", "mobifone", *BASIS).code == 4
    assert stocked.ok("roster", "list", "--json").document == before
    older = re.sub(r",20[^,\n]+$", ",2026-01-01T00:00:00", text, flags=re.MULTILINE)
    (stocked.folder / "more.csv").write_text(older + "113,lte:452-04:1000,2026-01-01T00:00:00\n", encoding="utf-8")
    said = stocked.ok(
        *("roster", "import", "more.csv", "--carrier", "viettel", "--legal-basis", "x1", "--legal-date", "2026-01-02"),
        *("--observed-at", "2026-01-02T00:00"),
    )
    assert "bỏ: đầu số ngắn" in said.out
    assert f"danh sách {before[0]['id']} (số liệu mới hơn)" in said.out + said.err


def test_a_bad_row_of_an_inventory_is_named_and_the_rest_is_stored(stocked: Desk) -> None:
    lines = (stocked.folder / "cells.csv").read_text("utf-8").splitlines()
    (stocked.folder / "cells.csv").write_text(
        "\n".join([*lines, "viettel,lte,452,04,100,2000,S9,15.3,108.8,Xã Không Có,2025-07-01,"]) + "\n", "utf-8"
    )
    said = stocked("cell", "import", "cells.csv", "--json")
    assert said.code == 3
    assert said.document["stored"] == 3
    assert said.document["problems"][0]["line"] == 5


def test_a_plan_says_who_what_and_how_long(stocked: Desk) -> None:
    plan = stocked.ok("campaign", "plan", stocked.order("thu"), "--json").document
    assert plan["recipients"] == RECIPIENTS
    assert plan["excluded"] == {"refused": 1, "duplicate": 0, "stale": 0, "unknown_cell": 3}
    assert {item["code"]: item["recipients"] for item in plan["communes"]} == {"21040": 15, "21548": 15}
    assert plan["requirement"] == {"approvers": 1, "duty_officer": False}
    assert plan["carriers"][0]["parts"] == RECIPIENTS
    assert "".join(plan["texts"][0]["parts"]) == plan["texts"][0]["text"]
    assert plan["texts"][0]["text"].startswith("DIEN TAP: ")
    shown = stocked.ok("campaign", "plan", stocked.order("thu")).out
    assert shown.startswith("DIỄN TẬP")
    assert "đã từ chối nhận tin" in shown
    assert stocked.ok("campaign", "list", "--json").document == []


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda text: text.replace("Xã Bình Sơn", "Xã Không Có"), 5, "audience.areas"),
        (lambda text: text.replace("T08", "T99"), 5, "text.template"),
        (lambda text: text.replace("rehearsal", "live").replace("all-day", "07:00-22:00"), 4, "rehearsal"),
        (lambda text: text.replace("sender", "sendr"), 5, "text.sendr"),
        (lambda text: text.replace('["viettel"]', '["vietel"]'), 5, "vietel"),
    ],
)
def test_a_bad_order_is_refused_with_its_place(stocked: Desk, change: Callable[[str], str], code: int, told: str) -> None:
    said = stocked("campaign", "plan", stocked.order("sai", change))
    assert (said.code, said.out) == (code, "")
    assert told in said.err


def test_signing_and_scheduling_refuse_what_they_must(stocked: Desk) -> None:
    file = stocked.order("thu")
    assert stocked("campaign", "submit", file, "--as", "nobody").code == 2
    assert stocked("campaign", "submit", file, "--as", "lanh-dao-so").code == 4
    stocked.ok("campaign", "submit", file, "--as", "can-bo-soan")
    assert stocked("campaign", "submit", file, "--as", "can-bo-soan").code == 4
    early = stocked("campaign", "schedule", "thu", "--in", "5", "--yes", "--expect-recipients", str(RECIPIENTS))
    assert early.code == 4
    assert stocked("campaign", "approve", "thu", "--as", "lanh-dao-so", "--key", "keys/pho-giam-doc.pem").code == 4
    assert stocked("campaign", "approve", "thu", "--as", "can-bo-soan", "--key", "keys/can-bo-soan.pem").code == 4
    signed = stocked.ok("campaign", "approve", "thu", "--as", "lanh-dao-so", "--key", "keys/lanh-dao-so.pem", "--json").document
    assert signed == {"approved": True, "valid": ["lanh-dao-so"], "missing": [], "discounted": []}
    schedule = ["campaign", "schedule", "thu", "--in", "60"]
    assert stocked(*schedule, "--yes").code == 2
    assert stocked(*schedule, "--expect-recipients", "30").code == 2
    assert stocked(*schedule, "--at", "2026-01-01T08:00").code == 2
    assert stocked("campaign", "schedule", "thu", "--yes", "--expect-recipients", "30").code == 2
    assert stocked(*schedule, "--yes", "--expect-recipients", "29").code == 4
    for typed in ("", "29\n", "ba mươi\n"):
        said = stocked(*schedule, stdin=typed)
        assert said.code == 4
        assert "Xã Bình Sơn" in said.err
        assert f"Số thuê bao sẽ nhận tin: {RECIPIENTS}" in said.err
    assert stocked.ok("campaign", "list", "--json").document[0]["state"] == "approved"
    assert stocked.ok(*schedule, "--json", stdin="30\n").document["state"] == "scheduled"
    assert stocked("campaign", "pause", "thu", "--reason", "chờ").code == 4
    assert stocked.ok("campaign", "cancel", "thu", "--reason", "hoãn", "--json").document["state"] == "cancelled"
    said = stocked("campaign", "status", "thu", "--watch", "--quiet-s", "0", "--json")
    assert (said.code, said.document["state"], said.document["reason"]) == (0, "cancelled", "hoãn")


def test_a_value_the_template_lacks_is_named_with_file_and_key(stocked: Desk) -> None:
    said = stocked("campaign", "plan", stocked.order("sai", _with_template_of_one_variable(stocked)), "--json")
    assert said.code == 5
    (problem,) = json.loads(said.err)["problems"]
    assert (Path(problem["file"]).name, problem["key"]) == ("sai.toml", "text.values")


def _with_template_of_one_variable(desk: Desk) -> Callable[[str], str]:
    listed = desk.ok("template", "list", "--json").document
    key = next(item["key"] for item in listed if len(item["variables"]) == 1)
    return lambda text: text.replace("T08", key)


def test_schedule_asks_for_no_number_in_vain(stocked: Desk) -> None:
    stocked.ok("campaign", "submit", stocked.order("thu"), "--as", "can-bo-soan")
    said = stocked("campaign", "schedule", "thu", "--in", "60", stdin="30\n")
    assert said.code == 4
    assert "Số thuê bao sẽ nhận tin" not in said.err
    assert "Có thể: phê duyệt, hủy." in said.err


def test_receipts_with_something_wrong_are_shown(stocked: Desk) -> None:
    from broadcaster.store.engine import Store
    from broadcaster.store.receipt_faults import note_faults

    assert stocked.ok("service", "status", "--json").document["receipt_faults"] == {}
    store = Store(f"sqlite:///{stocked.folder / 'state' / 'broadcaster.db'}")
    for fault in ("dlr_id_conflict", "dlr_id_conflict", "unparsed", "unknown_state", "two_candidates"):
        with store.write() as connection:
            note_faults(connection, {("viettel", fault): 600})
    words = "1.200 mang hai mã tin khác nhau, 600 khớp với hai tin, 600 có trạng thái không rõ, 600 không đọc được"
    assert f"viettel: biên nhận {words}\n" in stocked.ok("service", "status").out
    counts = {"dlr_id_conflict": 1200, "two_candidates": 600, "unknown_state": 600, "unparsed": 600}
    assert stocked.ok("service", "status", "--json").document["receipt_faults"] == {"viettel": counts}
    assert stocked.ok("carrier", "show", "viettel", "--json").document["receipt_faults"] == counts
    assert "1.200 mang hai mã tin khác nhau" in " ".join(stocked.ok("carrier", "show", "viettel").out.split())
    assert stocked.ok("carrier", "show", "mobifone", "--json").document["receipt_faults"] == {}


def test_without_a_service_status_says_so_first(stocked: Desk) -> None:
    from broadcaster.store import usage
    from broadcaster.store.engine import Store, service_lock
    from broadcaster.store.links import LinkRow, put_links
    from broadcaster.store.times import now_ms

    stocked.ok("campaign", "submit", stocked.order("thu"), "--as", "can-bo-soan")
    database = stocked.folder / "state" / "broadcaster.db"
    store = Store(f"sqlite:///{database}")
    with store.write() as connection:
        put_links(connection, [LinkRow("viettel", "bound", "", now_ms(), now_ms() + 60_000, 12.5, 0)])
    assert stocked.ok("campaign", "status", "thu").out.startswith("Dịch vụ không chạy")
    said = stocked.ok("service", "status").out
    assert said.startswith("Dịch vụ không chạy")
    assert "không rõ (lúc" in said
    assert "12,5" not in said
    assert stocked.ok("service", "status", "--json").document["links"][0]["stale"] is True
    with service_lock(database):
        assert stocked.ok("campaign", "status", "thu").out.startswith("thu:")
        said = stocked.ok("service", "status").out
        assert "không rõ" not in said
        assert all(word in said for word in ("đã kết nối", "12,5"))
        assert stocked.ok("campaign", "status", "thu", "--json").document["service_running"] is True
        card = stocked.folder / "carriers" / "viettel.toml"
        text = card.read_text("utf-8")
        card.write_text(text.replace("window =", "parts_per_day = 1\nwindow ="), "utf-8")
        with store.write() as connection:
            usage.add(connection, "viettel", [now_ms() * 1_000_000])
        assert "hết hạn mức ngày" in " ".join(stocked.ok("service", "status").out.split())
        assert stocked.ok("service", "status", "--json").document["links"][0]["quota_used"] == "day"
        card.write_text("broken", "utf-8")
        assert "đã kết nối" in stocked.ok("service", "status").out
        card.write_text(text, "utf-8")
    stocked.ok("campaign", "cancel", "thu", "--reason", "xong")
    assert stocked.ok("campaign", "status", "thu").out.startswith("thu:")


def test_outside_an_installation_a_command_says_where_to_go(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["campaign", "list"], ["db", "upgrade"]):
        said = desk(*command)
        assert said.code == 5
        assert all(word in said.err for word in ("broadcaster.toml", "--config", "cd"))
    desk.ok("--config", str(desk.folder / "broadcaster.toml"), "campaign", "list")


def test_a_database_that_went_missing_is_a_problem_not_a_beginning(desk: Desk) -> None:
    (desk.folder / "state" / "broadcaster.db").unlink()
    said = desk("campaign", "list")
    assert said.code == 10
    assert "khôi phục" in said.err
    problems = json.loads(desk("config", "check", "--json").err)["problems"]
    assert [Path(problem["file"]).name for problem in problems] == ["broadcaster.db"]


@contextlib.contextmanager
def process(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test; it is stopped at the end, cleanly."""
    started = subprocess.Popen(
        [sys.executable, "-m", "broadcaster", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def stop(running: subprocess.Popen[str]) -> str:
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    return out


@pytest.mark.slow
def test_a_campaign_from_plan_to_proof(stocked: Desk) -> None:
    card = stocked.folder / "carriers" / "viettel.toml"
    (stocked.folder / "faults.toml").write_text("[receipt]\ndelay_ms = [0, 50]\n", encoding="utf-8")
    simulate = ["carrier", "simulate", str(card), "--port", "0", "--ledger", "viettel.jsonl", "--faults", "faults.toml"]
    with process(*simulate, folder=stocked.folder) as carrier:
        assert carrier.stdout is not None
        port = int(carrier.stdout.readline())
        card.write_text(re.sub(r"(?m)^port = \d+", f"port = {port}", card.read_text("utf-8")), encoding="utf-8")
        stocked.ok("campaign", "submit", stocked.order("thu"), "--as", "can-bo-soan")
        stocked.ok("campaign", "approve", "thu", "--as", "lanh-dao-so", "--key", "keys/lanh-dao-so.pem")
        stocked.ok("campaign", "schedule", "thu", "--in", "0", "--yes", "--expect-recipients", str(RECIPIENTS))
        with process("service", "run", folder=stocked.folder) as service:
            seen = stocked.ok("campaign", "status", "thu", "--watch", "--quiet-s", "0.5", "--json").document
            assert stocked.ok("service", "status", "--json").document["running"] is True
            second = stocked("db", "upgrade")
            assert second.code == 11
            stop(service)
        totals = json.loads(stop(carrier))
    assert seen["state"] == "finished"
    assert (seen["carriers"][0]["delivered"], seen["carriers"][0]["left"]) == (RECIPIENTS, 0)
    assert (totals["accepted"], totals["receipts"]) == (RECIPIENTS, RECIPIENTS)
    assert f"đã đến {RECIPIENTS}" in stocked.ok("campaign", "status", "thu", "--watch", "--quiet-s", "0").out
    for form in ("html", "csv", "json"):
        path = Path(stocked.ok("report", "export", "thu", "--format", form, "--output", "reports", "--json").document["path"])
        assert path.name == f"thu.{form}"
        assert path.stat().st_size > 0
    key = stocked.folder / "vault.key"
    before = key.read_bytes()
    assert stocked("report", "export", "thu", "--format", "html", "--output", str(key)).code == 5
    assert key.read_bytes() == before
    verify = ["campaign", "verify", "thu", "--ledger", "viettel=viettel.jsonl"]
    assert "✗" not in stocked.ok(*verify).out
    ledger = stocked.folder / "viettel.jsonl"
    ledger.write_text("\n".join(ledger.read_text("utf-8").splitlines()[1:]) + "\n", encoding="utf-8")
    differs = stocked(*verify)
    assert differs.code == 1
    assert "✗" in differs.out


def test_the_exit_code_of_a_finished_campaign_tells_whether_something_is_unknown() -> None:
    from types import SimpleNamespace

    from broadcaster.cli.campaign_watch import exit_code
    from broadcaster.model import CampaignState

    def status(state: CampaignState, **lane: object) -> Any:
        return SimpleNamespace(
            campaign=SimpleNamespace(state=state), carriers=[SimpleNamespace(**{"uncertain": 0, "halted": None, **lane})]
        )

    assert exit_code(status(CampaignState.FINISHED)) == 0
    assert exit_code(status(CampaignState.RUNNING, uncertain=1)) == 0
    assert exit_code(status(CampaignState.FINISHED, uncertain=1)) == 3
    assert exit_code(status(CampaignState.FINISHED, halted="0x0b")) == 3
    assert exit_code(status(CampaignState.HALTED)) == 3
    assert exit_code(status(CampaignState.CANCELLED)) == 0


@pytest.fixture
def ended(stocked: Desk) -> Iterator[Callable[[str], None]]:
    """A submitted campaign whose thirty messages were all refused by the carrier, and which has ended."""
    desk = stocked
    desk.ok("campaign", "submit", desk.order("ba-xa"), "--as", "can-bo-soan")
    store = open_store(f"sqlite:///{desk.folder / 'state' / 'broadcaster.db'}")

    def sql(statement: str) -> None:
        with store.write() as connection:
            connection.execute(text(statement))

    sql("UPDATE campaign SET state = 'scheduled'")
    with store.read() as connection:
        found = find_campaign(connection, "ba-xa")
    for step in enlist.steps(store, found):
        with store.write() as connection:
            step(connection)
    sql("UPDATE campaign SET state = 'finished', started_ms = submitted_ms, finished_ms = submitted_ms")
    sql("UPDATE message SET state = 10 WHERE state = 0")
    sql("UPDATE tally SET state = 10 WHERE state = 0")
    yield sql
    store.close()


def test_a_remainder_is_prepared_planned_and_submitted(desk: Desk, ended: Callable[[str], None]) -> None:
    counted = desk.ok("campaign", "remainder", "ba-xa", "--dry-run", "--json").document
    assert (counted["recipients"], counted["path"]) == (30, None)
    made = desk.ok("campaign", "remainder", "1", "--json").document
    assert Path(made["path"]).name == "ba-xa-con-lai.toml"
    assert (made["name"], made["remainder_of"], made["recipients"]) == ("ba-xa-con-lai", "ba-xa", 30)
    again = desk.ok("campaign", "remainder", "ba-xa")
    assert "ba-xa-con-lai-2.toml" in again.out
    assert desk("campaign", "remainder", "ba-xa", "--output", made["path"]).code == 1
    plan = desk.ok("campaign", "plan", made["path"], "--json").document
    assert (plan["recipients"], plan["max_recipients"]) == (30, 30)
    found = desk.ok("campaign", "submit", made["path"], "--as", "can-bo-soan", "--json").document
    assert found["remainder_of"] == "ba-xa"
    refused = desk("campaign", "submit", "campaigns/ba-xa-con-lai-2.toml", "--as", "can-bo-soan")
    assert refused.code == 4
    assert "ba-xa-con-lai" in refused.err


def test_nobody_left_is_said(desk: Desk, ended: Callable[[str], None]) -> None:
    ended("UPDATE message SET state = 50 WHERE state = 10")
    said = desk("campaign", "remainder", "ba-xa")
    assert said.code == 4
    assert "Chú ý" not in said.err
    assert not list((desk.folder / "campaigns").glob("*con-lai*"))
    ended("UPDATE message SET state = 30 WHERE id & 65535 = 1 AND state = 50")
    ended("UPDATE tally SET state = 30")
    assert "còn chờ biên nhận" in desk("campaign", "remainder", "ba-xa").err


def test_nobody_is_left_of_a_campaign_that_never_began(stocked: Desk) -> None:
    stocked.ok("campaign", "submit", stocked.order("thu"), "--as", "can-bo-soan")
    stocked.ok("campaign", "cancel", "thu", "--reason", "hoãn")
    said = stocked("campaign", "remainder", "thu")
    assert said.code == 4
    assert "Không còn ai để gửi tiếp" in said.err


def test_a_remainder_under_a_bad_name_leaves_no_file(desk: Desk, ended: Callable[[str], None]) -> None:
    before = sorted(desk.folder.rglob("*.toml"))
    for dry_run in ([], ["--dry-run"]):
        said = desk("campaign", "remainder", "ba-xa", "--output", "campaigns/Gửi tiếp.toml", *dry_run)
        assert said.code == 5
        assert "campaigns/Gửi tiếp.toml: tên tệp chiến dịch phải gồm chữ thường không dấu" in said.err
    assert sorted(desk.folder.rglob("*.toml")) == before


def test_a_remainder_that_cannot_be_written_says_why_in_vietnamese(desk: Desk, ended: Callable[[str], None]) -> None:
    said = desk("campaign", "remainder", "ba-xa", "--output", "khong-co/tiep.toml")
    assert said.code == 1
    assert "không ghi được khong-co/tiep.toml: không có tệp hoặc thư mục này" in said.err


def test_a_remainder_tells_what_may_still_become_known(desk: Desk, ended: Callable[[str], None]) -> None:
    assert "Chú ý" not in desk.ok("campaign", "remainder", "ba-xa", "--dry-run").err
    ended("UPDATE message SET state = 30 WHERE id & 65535 <= 3 AND state = 10")
    ended("UPDATE message SET state = 20 WHERE id & 65535 IN (4, 5) AND state = 10")
    ended("UPDATE tally SET messages = messages - 5")
    ended("INSERT INTO tally SELECT lane_id, area_code, 30, 0, 3 FROM tally WHERE state = 10 LIMIT 1")
    ended("INSERT INTO tally SELECT lane_id, area_code, 20, 0, 2 FROM tally WHERE state = 10 LIMIT 1")
    ended(
        "INSERT INTO submission (message_id, part, attempt, lease_id, carrier, state, answered_ms, reason, resolved) "
        "SELECT id, 1, 1, 1, 'viettel', 20, 1, 'crash', CASE WHEN id & 65535 = 4 THEN 'settled' END FROM message WHERE state = 20"
    )
    document = desk.ok("campaign", "remainder", "ba-xa", "--dry-run", "--json").document
    assert (document["recipients"], document["receipts_due"], document["uncertain_undecided"]) == (25, 3, 1)
    said = desk.ok("campaign", "remainder", "ba-xa", "--dry-run")
    assert "3 tin còn chờ biên nhận" in said.err
    assert "1 tin chưa rõ kết quả còn chờ quyết định" in said.err


def test_stopping_everything_says_what_it_does_and_when_campaigns_start(desk: Desk, ended: Callable[[str], None]) -> None:
    stop = ["stop-all", "--reason", "thử"]
    assert "(--dry-run) chưa thay đổi gì; không có chiến dịch nào đang gửi" in desk.ok(*stop, "--dry-run").out
    ended("UPDATE campaign SET state = 'running'")
    assert "(--dry-run) chưa thay đổi gì; sẽ tạm dừng: ba-xa\n" in desk.ok(*stop, "--dry-run").out
    assert not desk.ok(*stop, "--dry-run", "--json").document["stopped"]
    stopped = desk.ok(*stop).out
    assert "chờ campaign resume: ba-xa" in stopped
    assert "--dry-run" not in stopped
    ended("UPDATE campaign SET state = 'scheduled'")
    assert "chỉ bắt đầu sau khi gỡ lệnh dừng: ba-xa" in desk.ok(*stop).out
    assert "chưa thay đổi gì; sẽ gỡ lệnh dừng toàn bộ\n" in desk.ok(*stop, "--lift", "--dry-run").out
    lifted = desk.ok(*stop, "--lift").out
    assert lifted.startswith("Đã gỡ lệnh dừng toàn bộ.\nĐã lên lịch, sẽ bắt đầu đúng giờ hẹn")
    assert lifted.endswith(": ba-xa\n")


def test_a_message_is_traced_by_reference_or_by_a_number_from_stdin(desk: Desk, ended: Callable[[str], None]) -> None:
    (story,) = desk.ok("message", "trace", "1:1", "--json").document
    assert re.fullmatch(r"8496\*\*\*\*\d{3}", story["number"])
    (same,) = desk.ok("message", "trace", "-", "--json", stdin="0961 200 001\n").document
    assert same["number"] == "8496****001"
    shown = desk.ok("message", "trace", "-", "--campaign", "ba-xa", stdin="0961 200 001\n").out
    assert "viettel.csv" in shown
    assert "trình" in shown
    assert desk("message", "trace", "1:999").code == 2


def test_the_uncertain_are_listed_and_settled(desk: Desk, ended: Callable[[str], None]) -> None:
    ended("UPDATE message SET state = 20 WHERE id & 65535 <= 2 AND state = 10")
    ended("UPDATE tally SET messages = messages - 2")
    ended("INSERT INTO tally SELECT lane_id, area_code, 20, 0, 2 FROM tally WHERE state = 10 LIMIT 1")
    ended(
        "INSERT INTO submission (message_id, part, attempt, lease_id, carrier, state, answered_ms, reason) "
        "SELECT id, 1, 1, 1, 'viettel', 20, 1, 'crash' FROM message WHERE state = 20"
    )
    listed = desk.ok("campaign", "uncertain", "list", "ba-xa", "--csv", "chua-ro.csv", "--json").document["uncertain"]
    assert [item["message"] for item in listed] == ["1:1", "1:2"]
    lines = (desk.folder / "chua-ro.csv").read_text("utf-8-sig").splitlines()
    assert len(lines) == 3
    assert not IN_CLEAR.search("\n".join(lines))
    assert "dịch vụ dừng đột ngột" in desk.ok("campaign", "uncertain", "list", "ba-xa").out
    act = ["campaign", "uncertain", "settle", "ba-xa", "--reason", "đã xem"]
    assert desk.ok(*act, "--dry-run", "--json").document["messages"] == 2
    assert desk(*act, "--expect", "3").code == 4
    assert desk(*act, stdin="hai\n").code == 4
    assert desk(*act, stdin="2\n").code == 0
    assert desk("campaign", "uncertain", "release", "ba-xa", "--reason", "x", "--expect", "2").code == 4
