"""`broadcaster vault` as an operator and the holders of recovery sheets meet it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broadcaster.files.recovery import read_sheet, split_key
from broadcaster.files.settings import load_settings
from broadcaster.service.installation import CONFIG_FILE, open_installation
from broadcaster.store import audit
from tests.integration.command_line import CommandLine, Said

Vault = Callable[..., Said]


@pytest.fixture
def vault(command_line: CommandLine) -> Vault:
    """`broadcaster vault …` in a new installation, which is the working folder."""
    return partial(command_line, "vault")


def entries() -> list[audit.Entry]:
    here = open_installation(load_settings(Path(CONFIG_FILE), {}), actor="test")
    with here.store.read() as connection:
        assert audit.first_break(connection, here.audit_key) is None
        return list(audit.entries(connection))


def made(vault: Vault, shares: int = 5, threshold: int = 3) -> list[Path]:
    said = vault("escrow", "--shares", str(shares), "--threshold", str(threshold), "--to", "usb", "--json")
    assert said.code == 0
    document: Any = json.loads(said.out)
    return [Path(name) for name in document["sheets"]]


def test_a_lost_key_comes_back_from_three_of_five_sheets(vault: Vault) -> None:
    sheets = made(vault)
    before = Path("vault.key").read_bytes()
    Path("vault.key").unlink()
    few = vault("recover", *map(str, sheets[:2]))
    assert few.code == 5
    assert not Path("vault.key").exists()
    said = vault("recover", str(sheets[4]), str(sheets[0]), str(sheets[2]))
    assert said.code == 0
    assert Path("vault.key").read_bytes() == before
    assert Path("vault.key").stat().st_mode & 0o777 == 0o600
    found = [(entry.action, dict(entry.detail)) for entry in entries()][1:]
    assert found == [
        ("vault-escrow", {"shares": 5, "threshold": 3}),
        ("vault-recover", {"sheets": 3, "dry_run": False}),
    ]


def test_words_are_asked_for_until_there_are_enough(vault: Vault) -> None:
    words = [read_sheet(path) for path in made(vault, 3, 2)]
    Path("vault.key").unlink()
    slip = " ".join(reversed(words[0].split()))
    said = vault("recover", stdin="\n".join([slip, words[0], words[0], words[2]]) + "\n", terminal=True)
    assert said.code == 0
    assert "sai thứ tự" in said.err
    assert "xóa màn hình" in said.err
    assert Path("vault.key").exists()


def test_a_slip_in_a_script_is_an_error(vault: Vault) -> None:
    Path("vault.key").unlink()
    said = vault("recover", stdin="academic acid\n")
    assert said.code == 5
    assert "cần 33 từ, đọc được 2" in said.err


def test_a_key_that_is_there_is_never_overwritten(vault: Vault) -> None:
    sheets = made(vault)
    before = Path("vault.key").read_bytes()
    said = vault("recover", *map(str, sheets[:3]))
    assert said.code == 5
    assert "đã có tệp khóa" in said.err
    assert Path("vault.key").read_bytes() == before
    tried = vault("recover", "--dry-run", *map(str, sheets[:3]))
    assert tried.code == 0
    assert "ghép được đúng khóa" in tried.out
    assert [entry.action for entry in entries()][1:] == ["vault-escrow", "vault-recover"]
    assert entries()[-1].detail["dry_run"] is True


def test_another_installations_key_is_refused(vault: Vault) -> None:
    Path("vault.key").unlink()
    paths = [Path(f"{place}.txt") for place in range(2)]
    for path, words in zip(paths, split_key(bytes(32), 2, 2), strict=True):
        path.write_text(words)
    said = vault("recover", *map(str, paths))
    assert said.code == 5
    assert "không phải của cơ sở dữ liệu này" in said.err
    assert not Path("vault.key").exists()


def test_sheets_nobody_recorded_are_taken_back(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit.Auditor, "record", fails)
    assert vault("escrow", "--shares", "3", "--threshold", "2", "--to", "usb").code == 1
    assert list(Path("usb").iterdir()) == []
