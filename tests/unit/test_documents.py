"""What the documents say of commands, states, tables, alarms and exit codes is what the code has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from broadcaster.cli.main import NOUNS, root
from broadcaster.errors import BroadcasterError
from broadcaster.rules.lifecycle import MOVES, Action
from broadcaster.service.alarms import Cause
from broadcaster.store.schema import metadata

ROOT = Path(__file__).parents[2]
HANDBOOK = ROOT / "docs" / "so-tay-van-hanh.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)


def commands_in(text: str) -> Iterator[str]:
    """Yield the commands of blocks and spans that begin with the program or a noun of it."""
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            found = re.match(r"(?:\$ )?broadcaster (.+)", line)
            if found:
                yield re.split(r" (?:&|2?>|\|) ?", found[1] + " & ")[0]
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        words = span.removeprefix("broadcaster ").split()
        if words and (span.startswith("broadcaster ") or (words[0] in NOUNS and len(words) > 1)):
            yield " ".join(words)


def unknown_in(command: str) -> str | None:
    """Return the first word of a command that the program does not know."""
    at: click.Command = root()
    words = shlex.split(command.replace("…", "x"))
    with click.Context(at) as context:
        while words and isinstance(at, click.Group):
            verbs = words.pop(0).split("|")
            found = [at.get_command(context, verb) for verb in verbs]
            if None in found:
                return "|".join(verbs)
            at = found[0]  # type: ignore[assignment]
        known = {option for parameter in at.params for option in parameter.opts} | {"--help"}
    return next((word for word in words if word.startswith("--") and word not in known), None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    assert [(command, unknown) for command in commands_in(text) if (unknown := unknown_in(command)) is not None] == []


def test_the_handbook_names_every_command_a_person_needs() -> None:
    named = "\n".join(commands_in(HANDBOOK.read_text("utf-8")))
    assert [noun for noun in NOUNS if not re.search(rf"^{noun}\b", named, re.MULTILINE)] == []


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of the table whose first row begins with `heading`, that row included."""
    table = text[text.index(f"| {heading} |") :].split("\n\n")[0]
    for line in table.splitlines():
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_moves_is_the_codes() -> None:
    head, _, *body = rows(ARCHITECTURE.read_text("utf-8"), "from")
    found = {
        (None if state == "–" else state, Action(action)): to
        for states, *cells in body
        for state in states.split(", ")
        for action, to in zip(head[1:], cells, strict=True)
        if to
    }
    assert found == {key: to.value for key, to in MOVES.items()}


def test_every_table_of_the_store_is_described() -> None:
    _, _, *body = rows(ARCHITECTURE.read_text("utf-8"), "table")
    assert {name for names, _ in body for name in re.findall(r"`(\w+)`", names)} == set(metadata.tables)


def test_the_handbook_explains_every_alarm() -> None:
    _, _, *body = rows(HANDBOOK.read_text("utf-8"), "báo động")
    assert {name.strip("`") for name, *_ in body} == {cause.value for cause in Cause}


def test_the_handbook_explains_every_exit_code_of_an_error() -> None:
    _, _, *body = rows(HANDBOOK.read_text("utf-8"), "mã")
    assert {kind.exit_code for kind in [BroadcasterError, *BroadcasterError.__subclasses__()]} <= {int(code) for code, *_ in body}
