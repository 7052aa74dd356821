"""`broadcaster subscriber` and `broadcaster hold` as an operator meets them: never the whole number on screen or on record."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tests.integration.command_line import CommandLine, Said

REPOSITORY = Path(__file__).parents[2]
NUMBER = "84961000002"


Cli = Callable[..., Said]


@pytest.fixture
def cli(command_line: CommandLine) -> Cli:
    """Any command in a new installation with one roster of five and a refusal of the third."""
    card = (REPOSITORY / "carriers" / "rehearsal" / "viettel.toml").read_text("utf-8")
    (command_line.folder / "carriers" / "viettel.toml").write_text(card)

    def say(*words: str, stdin: str = "") -> Said:
        said = command_line(*words, stdin=stdin)
        assert "61000002" not in said.out + said.err
        return said

    seen = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    rows = [f"8496100{at:04d},lte:452-04:1000,{seen}" for at in range(5)]
    Path("a.csv").write_text("\n".join(["msisdn,cell,last_seen", *rows]) + "\n")
    basis = ("--legal-basis", "01/DT", "--legal-date", "2026-01-05", "--observed-at", "newest")
    assert say("roster", "import", "a.csv", "--carrier", "viettel", *basis).code == 0
    assert say("optout", "add", "--evidence", "đơn 7", stdin=NUMBER).code == 0
    return say


def test_the_number_is_asked_for_or_read_and_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told = cli("subscriber", "show", "-", stdin="0961 000 002\n")
    assert told.code == 0
    for words in ("8496****002", "đơn 7", "#1 viettel", "01/DT", "Không chiến dịch nào nhắm tới số này."):
        assert words in told.out + told.err
    asked: list[bool] = []

    def prompt(_text: str, **options: bool) -> str:
        asked.append(options["hide_input"])
        return NUMBER

    monkeypatch.setattr(click, "prompt", prompt)
    document = json.loads(cli("subscriber", "show", "--json").out)
    assert asked == [True]
    assert (document["number"], document["refuses_now"], len(document["rosters"])) == ("8496****002", True, 1)
    assert document["refusals"][0]["evidence"] == "đơn 7"


def test_what_is_no_number(cli: Cli) -> None:
    said = cli("subscriber", "show", "113")
    assert said.code == 2
    assert "không phải số di động" in said.err


def test_holds_are_put_listed_and_released(cli: Cli) -> None:
    paper = ("--document", "15/QĐ-CSĐT", "--document-date", "05-01-2026", "--reason", "điều tra")
    assert cli("hold", "list").err.strip() == "Không có lệnh giữ nào."
    assert json.loads(cli("hold", "add", "number", "-", *paper, "--json", stdin=NUMBER).out) == {"hold": 1}
    assert cli("hold", "add", "roster", "1", *paper).code == 0
    assert cli("hold", "add", "roster", "2", *paper).code == 2
    assert cli("hold", "add", "province", "2", *paper).code == 2
    assert cli("hold", "release", "1", "--reason", "Công văn 9/CA").code == 0
    assert cli("hold", "release", "1", "--reason", "Công văn 9/CA").code == 2
    shown = cli("hold", "list").out
    assert "8496****002" in shown
    assert "15/QĐ-CSĐT (05-01-2026)" in shown
    first, second = json.loads(cli("hold", "list", "--json").out)
    assert (first["scope"], first["of"], first["release_reason"]) == ("number", "8496****002", "Công văn 9/CA")
    assert (second["scope"], second["of"], second["released_at"]) == ("roster", "#1", None)


def test_forgetting_says_what_goes_and_what_stays(cli: Cli) -> None:
    planned = cli("subscriber", "forget", "-", "--reason", "đơn 3", "--dry-run", stdin=NUMBER)
    assert planned.code == 0
    assert "Sẽ xóa 8496****002 khỏi 1 danh sách, 0 tin, 0 biên nhận, 0 tin trả lời." in planned.out
    assert len(json.loads(cli("subscriber", "show", "-", "--json", stdin=NUMBER).out)["rosters"]) == 1
    done = cli("subscriber", "forget", "-", "--reason", "đơn 3", stdin=NUMBER)
    assert done.code == 0
    assert "Giữ lại 1 mục từ chối" in done.out
    assert "Bản sao lưu cũ" in done.err
    left = json.loads(cli("subscriber", "show", "-", "--json", stdin=NUMBER).out)
    assert (left["rosters"], left["refuses_now"]) == ([], True)
    other = json.loads(cli("subscriber", "forget", "-", "--reason", "đơn 4", "--json", stdin="0961000003").out)
    assert (other["rosters"], other["refusals_kept"], other["log_cleared"]) == ([1], 0, True)


def test_forgetting_waits_for_a_hold(cli: Cli) -> None:
    paper = ("--document", "15/QĐ-CSĐT", "--document-date", "05-01-2026", "--reason", "điều tra")
    assert cli("hold", "add", "roster", "1", *paper).code == 0
    said = cli("subscriber", "forget", "-", "--reason", "đơn 3", stdin=NUMBER)
    assert said.code == 4
    assert "lệnh giữ: 1" in said.err
