"""An alarm leaves through the configured ways, once in its time, and whatever happens to it there does not stop the service."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broadcaster.files import settings
from broadcaster.lang import Said
from broadcaster.model import Environment
from broadcaster.service import alarms as module
from broadcaster.service.alarms import Alarms, Cause

SAID = Said("Kết nối đứt 61 giây.", "The link is down for 61 s.")


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 3, 12, tzinfo=dt.UTC)

    def monotonic(self) -> float:
        return self.s

    def monotonic_ns(self) -> int:
        return int(self.s * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.0)


def play(clock: Clock, act: Callable[[Alarms], Awaitable[None]], **where: Any) -> list[dict[str, Any]]:
    """Run `act` with alarms that go `where`; return what was logged."""

    async def run() -> None:
        alarms = Alarms(settings.Alarms(**where), Environment.REHEARSAL, clock)
        await act(alarms)
        await alarms.close()

    with capture_logs() as lines:
        asyncio.run(run())
    return [dict(line) for line in lines]


def command_writing(path: Path) -> tuple[str, ...]:
    code = f"import sys; open({str(path)!r}, 'ab').write(sys.stdin.buffer.read() + b'\\n')"
    return (sys.executable, "-c", code)


def test_a_command_reads_the_alarm_in_both_languages(clock: Clock, tmp_path: Path) -> None:
    async def act(alarms: Alarms) -> None:
        assert alarms.raise_alarm(Cause.LINK_DOWN, "viettel", SAID, seconds=61)

    lines = play(clock, act, command=command_writing(tmp_path / "told"))
    assert json.loads((tmp_path / "told").read_text("utf-8")) == {
        "alarm": "link-down",
        "carrier": "viettel",
        "environment": "rehearsal",
        "at": "2026-03-12T00:00:00+00:00",
        "vi": SAID.vi,
        "en": SAID.en,
        "seconds": 61,
    }
    assert [(line["event"], line["log_level"], line["cause"]) for line in lines] == [("alarm", "error", "link-down")]


def test_a_cause_is_told_once_in_its_time_for_each_carrier(clock: Clock, tmp_path: Path) -> None:
    async def act(alarms: Alarms) -> None:
        said = []
        for at_s, carrier in ((0, "viettel"), (59, "viettel"), (59, "mobifone"), (60, "viettel")):
            clock.s = at_s
            said.append(alarms.raise_alarm(Cause.LINK_DOWN, carrier, SAID))
        assert said == [True, False, True, True]
        assert alarms.raised == 3

    play(clock, act, command=command_writing(tmp_path / "told"), repeat_min=1)
    told = [json.loads(line)["carrier"] for line in (tmp_path / "told").read_text("utf-8").splitlines()]
    assert told == ["viettel", "mobifone", "viettel"]


def test_a_number_that_strays_into_an_alarm_is_masked(clock: Clock, tmp_path: Path) -> None:
    async def act(alarms: Alarms) -> None:
        alarms.raise_alarm(Cause.STORE, "", Said("84961000000", "84961000000"))

    play(clock, act, command=command_writing(tmp_path / "told"))
    assert "84961000000" not in (tmp_path / "told").read_text("utf-8")


def serve(answers: list[bytes], act: Callable[[str], Awaitable[None]]) -> list[bytes]:
    """Answer one connection after the other with these lines while `act` runs; return what was posted."""
    posted: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        posted.append(head.split(b"\r\n")[0] + b"|" + await reader.readexactly(length))
        writer.write(answers[len(posted) - 1])
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await act(f"http://127.0.0.1:{port}/bao?x=1")
        server.close()
        await server.wait_closed()

    asyncio.run(run())
    return posted


def test_a_webhook_is_posted_to_and_tried_again(clock: Clock) -> None:
    async def act(url: str) -> None:
        alarms = Alarms(settings.Alarms(webhook=url), Environment.LIVE, clock)
        alarms.raise_alarm(Cause.CLOCK, "", SAID)
        await alarms.close()

    posted = serve([b"HTTP/1.1 500 no\r\n\r\n", b"", b"HTTP/1.1 204 ok\r\n\r\n"], act)
    assert len(posted) == 3
    assert {line.partition(b"|")[0] for line in posted} == {b"POST /bao?x=1 HTTP/1.1"}
    assert {json.loads(line.partition(b"|")[2])["environment"] for line in posted} == {"live"}


def test_ways_that_fail_are_logged_and_forgotten(clock: Clock, tmp_path: Path) -> None:
    async def act(alarms: Alarms) -> None:
        alarms.raise_alarm(Cause.CLOCK, "", SAID)

    missing = str(tmp_path / "missing")
    for command in ((missing,), (sys.executable, "-c", "raise SystemExit(3)")):
        lines = play(clock, act, command=command)
        assert [line["event"] for line in lines] == ["alarm"] + ["alarm-not-told"] * module.TRIES


def test_a_command_that_hangs_is_killed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "TRIES", 1)

    async def act(alarms: Alarms) -> None:
        alarms.raise_alarm(Cause.CLOCK, "", SAID)

    lines = play(clock, act, command=(sys.executable, "-c", "import time; time.sleep(600)"))
    assert [line["event"] for line in lines] == ["alarm", "alarm-not-told"]


def test_ending_does_not_wait_for_ever(clock: Clock) -> None:
    async def act(alarms: Alarms) -> None:
        alarms.raise_alarm(Cause.CLOCK, "", SAID)
        alarms.raise_alarm(Cause.STORE, "", SAID)
        await alarms.close(0.05)

    lines = play(clock, act, command=(sys.executable, "-c", "import time; time.sleep(600)"))
    assert any(line["event"] == "alarm-not-told" and line.get("count") == 2 for line in lines)


def test_more_than_can_wait_are_still_logged(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)

    async def act(alarms: Alarms) -> None:
        assert all(alarms.raise_alarm(Cause.LINK_DOWN, str(number), SAID) for number in range(3))

    lines = play(clock, act, command=("/bin/true",))
    assert [line["event"] for line in lines] == ["alarm", "alarm", "alarm-not-told", "alarm", "alarm-not-told"]


def test_without_a_way_it_is_only_logged(clock: Clock) -> None:
    async def act(alarms: Alarms) -> None:
        alarms.raise_alarm(Cause.CLOCK, "", SAID)

    assert [line["event"] for line in play(clock, act)] == ["alarm"]


def test_what_the_log_says_of_a_carrier_is_heard(clock: Clock) -> None:
    async def act(alarms: Alarms) -> None:
        alarms.hear({"event": "link", "carrier": "viettel"})
        for event in ("carrier-halted", "carrier-halted", "id-rule", "quota-used"):
            alarms.hear({"event": event, "carrier": "viettel", "reason": "ESME_RINVSRCADR {x}"})
        await asyncio.sleep(0)

    lines = play(clock, act)
    assert [(line["cause"], line["carrier"]) for line in lines] == [
        ("carrier-halted", "viettel"),
        ("id-rule", "viettel"),
        ("quota-used", "viettel"),
    ]
    assert "ESME_RINVSRCADR {x}" in lines[0]["reason"]
