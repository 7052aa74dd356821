"""`config check` says whether alarms can leave."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from broadcaster.cli.main import run
from broadcaster.model import Environment
from broadcaster.service.installation import initialise

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("alarms", "problems", "notes"),
    [
        ("", [], 1),
        (f'[alarms]\ncommand = ["{sys.executable}", "x"]\n', [], 0),
        ('[alarms]\nwebhook = "https://bao.invalid/"\n', [], 0),
        ('[alarms]\ncommand = ["/khong/co"]\n', ["alarms.command"], 0),
    ],
)
def test_alarms_have_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], alarms: str, problems: list[str], notes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", __import__("threading").excepthook)
    folder = tmp_path / "here"
    initialise(folder, Environment.REHEARSAL, actor="test", resources=REPOSITORY)
    config = folder / "broadcaster.toml"
    with config.open("a", encoding="utf-8") as file:
        file.write(alarms)
    run(["--config", str(config), "--lang", "en", "--json", "config", "check"])
    said = capsys.readouterr()
    if problems:
        assert [item["key"] for item in json.loads(said.err)["problems"]] == problems
    else:
        assert sum("log" in note or "nhật ký" in note for note in json.loads(said.out)["notes"]) == notes, said
