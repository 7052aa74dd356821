"""Logs leak nothing: unknown keys are dropped, runs of digits masked."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from broadcaster.service.logs import ALLOWED, _allow, _mask, configure, heard_by, mask

PACKAGE = Path(__file__).parents[3] / "broadcaster"
LEVELS = {"debug", "info", "warning", "error", "say"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("84961000000", "8496****000"),
        ("to +84961000000 and 0905123456.", "to +8496****000 and 0905****456."),
        ("12345678", "12345678"),
        ("7:00", "7:00"),
    ],
)
def test_numbers_are_masked(text, masked):
    assert mask(text) == masked


def test_keys_that_are_not_allowed_are_dropped_and_named():
    event = {"event": "sent", "carrier": "viettel", "msisdn": "84961000000", "password": "x"}
    assert _allow(None, "", dict(event)) == {"event": "sent", "carrier": "viettel", "dropped": ["msisdn", "password"]}


def test_allowed_keys_are_masked_too():
    assert _mask(None, "", {"reason": "84961000000 x", "count": 84961000000}) == {"reason": "8496****000 x", "count": 84961000000}


def logged_keys() -> Iterator[tuple[str, str]]:
    """Yield (place, key) for every key that is spelt out where something is logged."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"log.{level}" for level in LEVELS} | {"say"}:
                yield from ((f"{path.name}:{node.lineno}", word.arg) for word in node.keywords if word.arg)


def test_every_key_that_is_logged_is_allowed():
    found = list(logged_keys())
    assert len(found) > 50
    assert [(place, key) for place, key in found if key not in ALLOWED | {"vi", "en"}] == []


def test_a_listener_hears_what_leaves_and_no_more(capsys):
    heard = []
    try:
        configure("info", "json")
        log = structlog.get_logger("test")
        with heard_by(lambda event: heard.append(dict(event))):
            log.info("link", carrier="viettel", reason="84961000000", msisdn="84961000000")
            log.debug("link", carrier="mobifone")
        log.info("link", carrier="gmobile")
    finally:
        structlog.reset_defaults()
    assert heard == [{"event": "link", "level": "info", "carrier": "viettel", "reason": "8496****000", "dropped": ["msisdn"]}]
    assert capsys.readouterr().err.count("link") == 2


class FullDisk(io.StringIO):
    """A stream that cannot be written, as one on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        self.write("")


def test_a_log_that_cannot_be_written_breaks_nobody(monkeypatch):
    monkeypatch.setattr("sys.stderr", FullDisk())
    heard = []
    try:
        configure("info", "text")
        with heard_by(heard.append):
            structlog.get_logger("test").error("outcomes-not-stored", carrier="viettel")
    finally:
        structlog.reset_defaults()
    assert len(heard) == 1
