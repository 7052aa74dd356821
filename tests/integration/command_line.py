"""The program's command line in a new installation, for tests that type what an operator types."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broadcaster.cli.main import run


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Typed(io.StringIO):
    """Standard input, at a terminal or not."""

    def __init__(self, text: str, *, terminal: bool) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class CommandLine:
    """`folder` holds the installation and is the working folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *words: str, stdin: str = "", terminal: bool = False) -> Said:
        self._monkeypatch.setattr("sys.stdin", Typed(stdin, terminal=terminal))
        return Said(run(list(words)), *self._capsys.readouterr())
