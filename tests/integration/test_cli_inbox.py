"""The reply number's file and the inbox of scam reports, by the commands an operator types."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

from tests.integration.command_line import CommandLine

HEADING = "Số máy;Thời gian;Nội dung\n"
TEXTS = (
    HEADING + "0905000001;05/01/2026 08:15;TC\n"
    "0905000002;05/01/2026 08:16;Từ chối\n"
    "0905000002;05/01/2026 09:00;HUY TC\n"
    "0905000003;05/01/2026 08:20;LD 0912345678 tự xưng công an\n"
    "0905000004;05/01/2026 08:21;=LD 0912345678\n"
    "abc;05/01/2026 08:22;TC\n"
    "0905000005;hôm qua;TC\n"
)


class Desk:
    def __init__(self, command_line: CommandLine) -> None:
        self.folder = command_line.folder
        self._type = command_line

    def __call__(self, *arguments: str) -> tuple[int, str]:
        said = self._type(*arguments)
        return said.code, said.out + said.err


@pytest.fixture
def desk(command_line: CommandLine) -> Desk:
    (command_line.folder / "texts.csv").write_text(TEXTS, encoding="utf-8")
    return Desk(command_line)


def test_a_file_of_texts_is_obeyed_once_and_its_bad_rows_are_named_by_line(desk: Desk) -> None:
    code, said = desk("optout", "import", "texts.csv", "--dry-run")
    assert (code, "Chưa thay đổi gì" in said) == (3, True)
    assert "Đọc được 5 tin: 2 từ chối, 1 nhận lại, 2 báo lừa đảo; 0 tin đã nhập trước đó" in said
    assert "not-a-number" not in said
    assert "Đang từ chối: 0" in desk("optout", "list")[1]
    code, said = desk("optout", "import", "texts.csv")
    assert code == 3
    assert "Đọc được 5 tin: 2 từ chối, 1 nhận lại, 2 báo lừa đảo; 0 tin đã nhập trước đó" in said
    assert "texts.csv:7" in said
    assert "texts.csv:8" in said
    assert "Đang từ chối: 1" in desk("optout", "list")[1]
    _, said = desk("optout", "import", "texts.csv")
    assert "Đọc được 5 tin: 0 từ chối, 0 nhận lại, 0 báo lừa đảo; 5 tin đã nhập trước đó" in said
    assert "0905000001" not in said
    state = b"".join(path.read_bytes() for path in (desk.folder / "state").iterdir())
    assert b"0912345678" not in state


def test_what_was_said_later_stands_against_an_older_text(desk: Desk) -> None:
    assert desk("optout", "withdraw", "0905000001", "--evidence", "Letter 1")[0] == 0
    _, said = desk("optout", "import", "texts.csv")
    assert "1 lời cũ hơn lời đã ghi" in said
    assert "Đang từ chối: 0" in desk("optout", "list")[1]


def test_texts_that_nothing_understands_are_counted_and_shown_to_a_person(desk: Desk) -> None:
    more = "0905000007;05/01/2026 08:20;Đừng nhắn cho 0912345678 nữa\n0905000008;05/01/2026 08:20;Từ chối nhận tin nhắn này đi\n"
    (desk.folder / "texts.csv").write_text(HEADING + more, encoding="utf-8")
    code, said = desk("optout", "import", "texts.csv")
    assert (code, "1 từ chối" in said, "1 tin không hiểu" in said, "inbox list --kind other" in said) == (0, True, True, True)
    code, said = desk("inbox", "list", "--kind", "other", "--days", "3660", "--json")
    assert [(item["number"], item["text"]) for item in json.loads(said)["reports"]] == [
        ("8490****007", "Đừng nhắn cho 0912****678 nữa")
    ]
    assert json.loads(desk("inbox", "list", "--days", "3660", "--json")[1])["reports"] == []


def test_a_file_without_its_columns_is_refused(desk: Desk) -> None:
    (desk.folder / "texts.csv").write_text("Số máy;Ghi chú\n0905000001;TC\n", encoding="utf-8")
    code, said = desk("optout", "import", "texts.csv")
    assert code == 5
    assert "dòng tiêu đề thiếu cột: time" in said


def test_reports_are_masked_in_the_list_and_whole_only_for_who_may(desk: Desk) -> None:
    desk("optout", "import", "texts.csv")
    code, said = desk("inbox", "list", "--days", "3660")
    assert code == 0
    assert "8490****003" in said
    assert "0912****678" in said
    assert "0912345678" not in said
    for name, role in (("cong-an", "content-authority"), ("can-bo", "operator")):
        desk("person", "add", name, "--title", name, "--role", role, "--new-key", f"keys/{name}.pem")
    days = ("--from", "2026-01-05", "--to", "2026-01-05")
    reason = ("--reason", "CV 7/2026")
    assert desk("inbox", "export", "out.csv", "--as", "can-bo", "--key", "keys/can-bo.pem", *reason, *days)[0] == 4
    assert desk("inbox", "export", "out.csv", "--as", "cong-an", "--key", "keys/can-bo.pem", *reason, *days)[0] == 4
    bad = ("--reason", "for 0912345678")
    assert desk("inbox", "export", "out.csv", "--as", "cong-an", "--key", "keys/cong-an.pem", *bad, *days)[0] == 5
    assert not (desk.folder / "out.csv").exists()
    assert desk("inbox", "export", "out.csv", "--as", "cong-an", "--key", "keys/cong-an.pem", *reason, *days)[0] == 0
    assert (desk.folder / "out.csv").stat().st_mode & 0o777 == 0o600
    with (desk.folder / "out.csv").open(encoding="utf-8-sig") as file:
        listed = list(csv.DictReader(file))
    found = {row["number"]: row["text"] for row in listed}
    assert {row["received_at"] for row in listed} == {"2026-01-05T08:20:00+07:00", "2026-01-05T08:21:00+07:00"}
    assert found == {"84905000003": "LD 0912345678 tự xưng công an", "84905000004": "'=LD 0912345678"}
    code, said = desk("inbox", "export", "out.csv", "--as", "cong-an", "--key", "keys/cong-an.pem", *reason, *days)
    assert (code, "đã có tệp này" in said) == (5, True)
    turned = ("--from", "2026-01-06", "--to", "2026-01-05")
    code, said = desk("inbox", "export", "out2.csv", "--as", "cong-an", "--key", "keys/cong-an.pem", *reason, *turned)
    assert (code, "--to sớm hơn --from" in said) == (2, True)
    assert not (desk.folder / "out2.csv").exists()


def test_who_refused_before_is_told_apart(desk: Desk) -> None:
    both = ("0905000001", "0905000002", "--evidence")
    assert "từ trước" not in desk("optout", "add", "0905000001", "--evidence", "Letter 1", "--scope", "advisory")[1]
    assert json.loads(desk("optout", "add", *both, "Letter 2", "--json")[1])["refused_before"] == 0
    code, said = desk("optout", "add", *both, "Letter 3", "--scope", "advisory")
    assert (code, "Đã ghi nhận 2 số từ chối.\nĐã từ chối từ trước: 2." in said) == (0, True)
    assert desk("optout", "list")[1].count("trừ tin khẩn") == 1
    assert "Trước đó không từ chối" not in desk("optout", "withdraw", *both, "Letter 4")[1]
    assert "Trước đó không từ chối: 2." in desk("optout", "withdraw", *both, "Letter 5")[1]


def test_what_was_refused_after_the_backup_was_made_is_refused_when_it_was_put_back(desk: Desk) -> None:
    desk("optout", "add", "0905000001", "--evidence", "Letter 1")
    database = desk.folder / "state" / "broadcaster.db"
    copy = database.read_bytes()
    desk("optout", "add", "0905000002", "--evidence", "Letter 2", "--scope", "advisory")
    desk("optout", "withdraw", "0905000001", "--evidence", "Letter 3")
    assert (desk.folder / "refusals.journal").stat().st_mode & 0o777 == 0o600
    database.write_bytes(copy)
    code, said = desk("db", "adopt", "--reason", "disk failed", "--dry-run")
    assert (code, "Sẽ lấy lại 2 lời từ chối từ sổ từ chối" in said) == (0, True)
    assert "2 lời từ chối có trong sổ mà cơ sở dữ liệu không có" in desk("config", "check")[1]
    code, said = desk("db", "adopt", "--reason", "disk failed")
    assert (code, "Lấy lại 2 lời từ chối từ sổ từ chối" in said) == (0, True)
    code, said = desk("optout", "list", "--json")
    document = json.loads(said)
    assert (code, document["refusing"]) == (0, 1)
    assert next((item["number"], item["scope"]) for item in document["newest"] if item["refuses"]) == ("8490****002", "advisory")


def test_config_check_compares_journal_and_database_and_names_altered_lines(desk: Desk) -> None:
    for position in (1, 2, 3):
        desk("optout", "add", f"090500000{position}", "--evidence", f"Letter {position}")
    journal = desk.folder / "refusals.journal"
    assert "sổ mà" not in desk("config", "check")[1]
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b"Letter 2", b"Letter 7"))
    code, said = desk("config", "check")
    assert (code, "refusals.journal:2" in said) == (5, True)
    code, said = desk("db", "adopt", "--reason", "checked")
    assert code == 0
    assert "1 dòng bị sửa hoặc hỏng, không dùng được: dòng 2" in said
    assert "Ghi lại 1 lời còn thiếu vào sổ từ chối" in said
    journal.unlink()
    code, said = desk("config", "check")
    assert (code, "3 lời từ chối có trong cơ sở dữ liệu mà không có trong sổ" in said) == (0, True)
    assert "Ghi lại 3 lời" in desk("db", "adopt", "--reason", "checked")[1]
    code, said = desk("config", "check")
    assert (code, "sổ mà" in said or "trong sổ" in said) == (0, False)


def test_the_service_takes_up_what_a_restored_database_forgot_before_anything_else(desk: Desk) -> None:
    def serve() -> str:
        command = [sys.executable, "-m", "broadcaster", "service", "run", "--until-idle"]
        ended = subprocess.run(command, cwd=desk.folder, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    assert "journal" not in serve()
    database = desk.folder / "state" / "broadcaster.db"
    copy = database.read_bytes()
    assert desk("optout", "add", "0905000001", "--evidence", "Letter 1")[0] == 0
    database.write_bytes(copy)
    assert "Đang từ chối: 0" in desk("optout", "list")[1]
    said = serve()
    assert said.index("refusals-restored") < said.index("started")
    assert "Đang từ chối: 1" in desk("optout", "list")[1]
    (desk.folder / "refusals.journal").unlink()
    assert "journal-incomplete" in serve()
    assert (desk.folder / "refusals.journal").read_text().count("Letter 1") == 1
    assert "refusals-restored" not in (said := serve())
    assert "journal-" not in said


def test_a_reply_number_needs_its_card(desk: Desk) -> None:
    with (desk.folder / "broadcaster.toml").open("a", encoding="utf-8") as settings:
        settings.write('reply_number = "8066"\n')
    code, said = desk("config", "check")
    assert (code, "không tin nào được hứa nhận trả lời" in said) == (5, True)
    card = 'number = "8067"\nenvironment = "rehearsal"\ncost_vnd = 500\nchannel = "file"\n'
    (desk.folder / "reply.toml").write_text(card, encoding="utf-8")
    assert "khác với số 8067" in desk("config", "check")[1]
    (desk.folder / "reply.toml").write_text(card.replace("8067", "8066"), encoding="utf-8")
    assert json.loads(desk("config", "check", "--json")[1])["refusal_footer"] == "Từ chối: TC gửi 8066 (500đ)"
    assert "8066 (500d)" in desk("template", "preview", "T08")[1]
