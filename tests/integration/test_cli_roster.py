"""`roster import` as an operator meets it: questions, passwords, several files, the list of drops, ported numbers."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
import pyzipper

from tests.integration.command_line import CommandLine, Said

REPOSITORY = Path(__file__).parents[2]
BASIS = ("--legal-basis", "01/DT", "--legal-date", "05-01-2026")
NEWEST = ("--observed-at", "newest")
PASSWORD = "mật khẩu 12"


Roster = Callable[..., Said]


@pytest.fixture
def roster(command_line: CommandLine) -> Roster:
    """`broadcaster roster …` in a new installation with Viettel's card."""
    card = (REPOSITORY / "carriers" / "rehearsal" / "viettel.toml").read_text("utf-8")
    (command_line.folder / "carriers" / "viettel.toml").write_text(card)

    def say(*words: str, stdin: str = "", terminal: bool = False) -> Said:
        said = command_line("roster", *words, stdin=stdin, terminal=terminal)
        assert "84961" not in said.out + said.err
        return said

    return say


@pytest.fixture
def seen() -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def rows(seen: str, first: int = 0) -> str:
    body = [f"8496100{first + at:04d},lte:452-04:{1000 + at % 3},{seen}" for at in range(5)]
    return "\n".join(["msisdn,cell,last_seen", *body, f"113,lte:452-04:1000,{seen}"]) + "\n"


def test_the_time_of_observation_is_asked_for(roster: Roster, seen: str) -> None:
    Path("a.csv").write_text(rows(seen))
    silent = roster("import", "a.csv", "--carrier", "viettel", *BASIS)
    assert silent.code == 4
    assert "--observed-at" in silent.err
    contradicted = roster("import", "a.csv", "--carrier", "viettel", *BASIS, stdin="2026-01-31T06:00\n")
    assert contradicted.code == 4
    assert "sau lúc chốt số liệu" in contradicted.err
    stated = (dt.datetime.fromisoformat(seen) - dt.timedelta(hours=20)).replace(second=0)
    asked = roster("import", "a.csv", "--carrier", "viettel", *BASIS, "--json", stdin=f"{stated.isoformat()}\n")
    assert asked.code == 0
    assert "chốt số liệu" in asked.err
    assert asked.document["observed_at"] == stated.strftime("%Y-%m-%dT%H:%M:%SZ")
    Path("a.csv").write_text(rows(seen, 5))
    newest = roster("import", "a.csv", "--carrier", "viettel", *BASIS, "--json", stdin="\n")
    assert newest.document["observed_at"] == seen


def test_the_basis_is_a_document_with_a_date(roster: Roster, seen: str) -> None:
    Path("a.csv").write_text(rows(seen))
    assert roster("import", "a.csv", "--carrier", "viettel", "--legal-basis", "01/DT", *NEWEST).code == 2
    assert (
        roster("import", "a.csv", "--carrier", "viettel", "--legal-basis", "công văn", "--legal-date", "2026-01-05", *NEWEST).code
        == 5
    )
    assert roster("import", "a.csv", "--carrier", "viettel", "--legal-basis", "1/CV", "--legal-date", "2099-01-05", *NEWEST).code == 5
    made = roster("import", "a.csv", "--carrier", "viettel", *BASIS, *NEWEST, "--json").document
    assert (made["legal_basis"], made["requested_on"]) == ("01/DT", "2026-01-05")
    assert "01/DT (05-01-2026)" in roster("list").out


def test_dropped_rows_are_listed_in_the_state_folder_or_where_asked(roster: Roster, seen: str) -> None:
    Path("a.csv").write_text(rows(seen) + f"84961000001,lte:452-04:1000,{seen}\n")
    said = roster("import", "a.csv", "--carrier", "viettel", *BASIS, *NEWEST)
    assert "(không liệt kê các dòng lặp lại)" in said.err
    (kept,) = Path("state/drops").iterdir()
    assert str(kept) in said.err
    assert "short-code" in kept.read_text("utf-8-sig")
    Path("a.csv").write_text(rows(seen, 5))
    made = roster("import", "a.csv", "--carrier", "viettel", *BASIS, *NEWEST, "--drops", "bo.csv", "--json").document
    assert made["drops_file"] == "bo.csv"
    assert made["before"]["doubtful"] is False
    assert Path("bo.csv").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_the_list_of_drops_never_replaces_a_file(roster: Roster, seen: str, dry: tuple[str, ...]) -> None:
    Path("a.csv").write_text(rows(seen))
    key = Path("audit.key").read_bytes()
    said = roster("import", "a.csv", "--carrier", "viettel", *BASIS, *NEWEST, *dry, "--drops", "audit.key")
    assert (said.code, Path("audit.key").read_bytes()) == (5, key)
    assert roster("list", "--json").document == []


def test_a_dry_run_counts_and_stores_nothing(roster: Roster, seen: str) -> None:
    Path("a.csv").write_text(rows(seen) + f"84961000001,lte:452-04:1000,{seen}\n")
    counted = roster("import", "a.csv", "--carrier", "viettel", *BASIS, "--dry-run", "--json").document
    assert counted == {"dry_run": True, "rows": 7, "kept": 5, "dropped": {"short-code": 1, "repeated": 1}}
    assert "bỏ: đầu số ngắn" in roster("import", "a.csv", "--carrier", "viettel", *BASIS, "--dry-run", "--drops", "d.csv").out
    assert Path("d.csv").exists()
    assert roster("list", "--json").document == []
    made = roster("import", "a.csv", "--carrier", "viettel", *BASIS, *NEWEST, "--json").document
    assert {key: made[key] for key in ("rows", "kept", "dropped")} == {key: counted[key] for key in ("rows", "kept", "dropped")}


def test_several_files_and_a_list(roster: Roster, seen: str) -> None:
    Path("a.csv").write_text(rows(seen))
    Path("b.csv").write_text(rows(seen, 5))
    Path("list.txt").write_text("a.csv\nb.csv\nc.csv\n")
    missing = roster("import", "--parts", "list.txt", "--carrier", "viettel", *BASIS, *NEWEST)
    assert (missing.code, "c.csv" in missing.err) == (5, True)
    assert roster("import", "--carrier", "viettel", *BASIS, *NEWEST).code == 2
    made = roster("import", "a.csv", "b.csv", "--carrier", "viettel", *BASIS, *NEWEST, "--json").document
    assert (made["rows"], made["kept"], [item["name"] for item in made["files"]]) == (12, 10, ["a.csv", "b.csv"])
    assert roster("import", "b.csv", "a.csv", "--carrier", "viettel", *BASIS, *NEWEST).code == 4


def test_files_outside_the_import_folder_are_refused(roster: Roster, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROADCASTER_IMPORT_FOLDER", "nhan")
    Path("nhan").mkdir()
    Path("a.csv").write_text(rows(seen))
    Path("list.txt").write_text("a.csv\n")
    Path("nhan/link.csv").symlink_to(Path("a.csv").resolve())
    for words in (["a.csv"], ["nhan/../a.csv"], ["nhan/link.csv"], ["--parts", "list.txt"]):
        said = roster("import", *words, "--carrier", "viettel", *BASIS, *NEWEST)
        assert (said.code, "nhan" in said.err) == (4, True)
    Path("a.csv").rename("nhan/a.csv")
    assert roster("import", "nhan/a.csv", "--carrier", "viettel", *BASIS, *NEWEST).code == 0


@pytest.mark.parametrize("way", ["prompt", "file", "environment"])
def test_a_password_comes_by_question_file_or_environment(
    roster: Roster, seen: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pyzipper.AESZipFile("a.zip", "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(PASSWORD.encode())
        archive.writestr("a.csv", rows(seen))
    words = ["import", "a.zip", "--carrier", "viettel", *BASIS, *NEWEST, "--json"]
    assert roster(*words).code == 5
    if way == "prompt":
        monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _question: PASSWORD)
    elif way == "file":
        Path("mk.txt").write_text(PASSWORD + "\n", "utf-8")
        words += ["--password-file", "mk.txt"]
        Path("mk.txt").chmod(0o640)
        assert roster(*words).code == 5
        Path("mk.txt").chmod(0o600)
    else:
        monkeypatch.setenv("BROADCASTER_ROSTER_PASSWORD", PASSWORD)
    said = roster(*words, terminal=way == "prompt")
    assert (said.code, said.document["kept"]) == (0, 5)
    assert PASSWORD not in said.out + said.err


def test_ported_numbers(roster: Roster) -> None:
    Path("p.csv").write_text("msisdn,rno,effective_at\n84961000001,Viettel,2026-01-01\n84961000002,SaoHoa,2026-01-01\n")
    said = roster("import-ports", "p.csv", *BASIS, "--json")
    assert (said.code, said.document["rows"], said.document["stored"]) == (3, 2, 1)
    assert said.document["problems"][0]["line"] == 3
    shown = roster("import-ports", "p.csv", *BASIS)
    assert "p.csv:3: rno" in shown.err
