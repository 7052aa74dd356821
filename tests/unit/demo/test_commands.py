"""The demo's commands: what fails is named, nothing stays behind, no setting of the caller gets in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import demo.__main__
from demo.commands import Commands, StepFailedError
from demo.place import Rate, free_ports, listens, write_cards
from demo.screen import Screen


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(Screen(1), tmp_path, tmp_path, "en")


def pause() -> None:
    time.sleep(0.02)


def test_a_command_that_fails_is_named_with_its_code_and_the_end_of_what_it_said(commands: Commands) -> None:
    with commands, pytest.raises(StepFailedError) as caught:
        commands.run("carrier", "simulate", "nowhere.toml", "--ledger", "here it is.jsonl")
    assert caught.value.command == "broadcaster carrier simulate nowhere.toml --ledger 'here it is.jsonl'"
    assert "nowhere.toml" in caught.value.tail
    assert "5" in caught.value.why.en


def test_what_a_command_prints_can_be_captured(commands: Commands) -> None:
    with commands:
        assert commands.run("area", "list", "--json", captured=True).lstrip().startswith(("[", "{"))


def test_settings_of_the_caller_do_not_reach_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROADCASTER_VAULT_KEY_FILE", str(tmp_path / "live.key"))
    (tmp_path / "broadcaster.toml").touch()
    with Commands(Screen(1), tmp_path, tmp_path, "en") as fresh, pytest.raises(StepFailedError) as caught:
        fresh.run("roster", "list")
    assert "vault.key" in caught.value.tail
    assert "live.key" not in caught.value.tail


def test_a_process_behind_that_ends_by_itself_fails_the_step(commands: Commands) -> None:
    with commands:
        commands.start("gone", "carrier", "simulate", "nowhere.toml", "--ledger", "ledger.jsonl")
        with pytest.raises(StepFailedError) as caught:
            commands.wait_until("gone", lambda: False, pause)
    assert caught.value.command == "gone"
    assert "nowhere.toml" in caught.value.tail


def test_leaving_stops_what_runs_behind_even_after_an_error(commands: Commands, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    write_cards(tmp_path, {"viettel": port}, {"viettel": Rate(50, 500)})

    def play() -> None:
        with commands:
            commands.start("viettel", "carrier", "simulate", "viettel.toml", "--ledger", "ledger.jsonl")
            commands.wait_until("viettel", lambda: listens(port), pause)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play()
    assert not listens(port)


def test_the_demo_refuses_a_folder_that_is_not_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.html").write_text("kept")
    assert demo.__main__.main(["--state", str(tmp_path), "--lang", "en"]) == 1
    assert "--state" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("arguments", [["--subscribers", "5"], ["--rate", "fast"], ["--rate", "0"], ["--lang", "fr"]])
def test_arguments_out_of_range_are_usage_errors(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.__main__.main(arguments)
    assert caught.value.code == 2
