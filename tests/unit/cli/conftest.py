"""Run command lines inside this process, in either language."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from broadcaster.cli.main import run
from broadcaster.lang import speak


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _quiet_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what `run` sets for a whole process out of the other tests."""
    monkeypatch.setattr("sys.excepthook", __import__("sys").excepthook)
    monkeypatch.setattr("threading.excepthook", __import__("threading").excepthook)
    for name in ("BROADCASTER_CONFIG", "BROADCASTER_DEBUG", "BROADCASTER_LANG"):
        monkeypatch.delenv(name, raising=False)
    yield
    speak("vi")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def execute(*arguments: str) -> Outcome:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return execute
