"""Help reads like a manual: every noun, verb, option and argument is explained, in both languages."""

import importlib
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import click
import pytest

from broadcaster.cli.main import NOUNS, root

VERBS = {
    "init": [],
    "config": ["check"],
    "db": ["upgrade", "adopt"],
    "area": ["list", "show", "import-boundaries"],
    "template": ["list", "lint", "preview"],
    "carrier": ["list", "show", "pause", "resume", "rate", "simulate", "check", "approve-check"],
    "cell": ["import", "coverage", "export"],
    "roster": ["import", "import-ports", "list"],
    "optout": ["add", "import", "list", "withdraw"],
    "inbox": ["export", "list"],
    "subscriber": ["show", "forget"],
    "hold": ["add", "list", "release"],
    "person": ["add", "list"],
    "vault": ["escrow", "recover"],
    "campaign": [
        *("plan", "submit", "approve", "schedule", "status", "list", "pause", "resume", "cancel"),
        *("requeue", "uncertain", "remainder", "verify"),
    ],
    "message": ["trace"],
    "stop-all": [],
    "service": ["run", "status"],
    "report": ["export"],
}


def commands() -> Iterator[tuple[str, click.Command]]:
    for noun in NOUNS:
        found = importlib.import_module(NOUNS[noun].module).commands
        yield noun, found
        if isinstance(found, click.Group):
            for verb, command in found.commands.items():
                yield f"{noun} {verb}", command


def test_the_nouns_and_verbs_are_these() -> None:
    found = {noun: [] for noun in NOUNS}
    for name, command in commands():
        noun, _, verb = name.partition(" ")
        if verb:
            found[noun].append(command.name)
    assert {noun: sorted(verbs) for noun, verbs in found.items()} == {noun: sorted(verbs) for noun, verbs in VERBS.items()}


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_everything_is_explained(name: str, command: click.Command) -> None:
    assert command.help, name
    for parameter in command.params:
        about = getattr(parameter, "help", None)
        assert about, f"{name}: {parameter.name}"
        assert unicodedata.is_normalized("NFC", about)


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_in_vietnamese(cli, name: str) -> None:
    said = cli(*name.split(), "--help")
    assert said.code == 0
    assert said.out.startswith(f"Cách dùng: broadcaster {name} ")
    assert "Hiện trang hướng dẫn này rồi thoát." in said.out
    assert not {"Usage", "Options", "Commands", "Show this", "required", "default"} & set(said.out.replace(":", " ").split())


def test_without_arguments_the_help_is_shown(cli) -> None:
    assert cli().out == cli("--help").out


def english(*arguments: str) -> str:
    command = [sys.executable, "-m", "broadcaster", "--lang", "en", *arguments, "--help"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.parametrize("arguments", [[], ["campaign"], ["campaign", "schedule"], ["carrier", "simulate"]])
def test_help_in_english_has_no_vietnamese_left(arguments: list[str]) -> None:
    shown = english(*arguments)
    assert shown.startswith("Usage: broadcaster")
    letters = {char for char in shown if ord(char) > 127}
    # A name of the mark itself may stand in English text.
    assert not letters - set("–…·DIỄN TẬP")


def test_help_loads_nothing_heavy() -> None:
    heavy = ("sqlalchemy", "pydantic", "rich", "jinja2", "cryptography", "alembic", "asyncio", "apscheduler", "structlog")
    code = (
        "import sys; from broadcaster.cli.main import run; run(['--help']); run(['campaign', 'schedule', '--help']); "
        f"sys.exit(' '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.stderr == ""
    assert done.returncode == 0


def test_the_root_lists_every_noun() -> None:
    tree = root()
    assert tree.list_commands(click.Context(tree)) == list(VERBS)
